//! The program as people run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot run the program has to fail")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs gridctl in the workspace's directory.
fn gridctl(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridctl"));
    command
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env_remove("GRIDROUTER_CONFIG");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs it, expects an exit code, and returns standard output and standard error.
#[track_caller]
fn expect(code: i32, arguments: &[&str], input: &str) -> (String, String) {
    let output = gridctl(arguments, input.as_bytes());
    let (out, err) = (text(&output.stdout).to_owned(), text(&output.stderr).to_owned());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    (out, err)
}

const GRID: &str = "\
kind: Grid
name: shop
cells: [a, b, c]
---
kind: Cell
name: a
---
kind: Cell
name: b
---
kind: Cell
name: c
state: offline
---
kind: Tenant
name: pinned
grid: shop
cell: c
";

/// A directory with one file of documents.
fn directory(documents: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("grid.yaml"), documents).unwrap();
    home
}

#[test]
fn every_example_in_the_help_works() {
    let mut tried = 0;
    for verb in [
        &["--help"][..],
        &["check", "--help"],
        &["schema", "--help"],
        &["tenant", "--help"],
        &["tenant", "where", "--help"],
    ] {
        let (help, _) = expect(0, verb, "");
        // As a shell reads it: a line that ends with `\` goes on in the next one.
        let help = help.replace(" \\\n      ", " ");
        let (_, examples) = help.split_once("Examples:").unwrap();
        let lines = examples.lines().filter_map(|line| line.trim().strip_prefix("gridctl "));
        // Those that need an etcd are checked for what the parser says of them, and have tests of their own.
        for line in lines.filter(|line| !line.contains("etcd://")) {
            let (out, _) = expect(0, &line.split(' ').collect::<Vec<_>>(), "acme\n");
            assert!(!out.is_empty(), "{line}");
            tried += 1;
        }
    }
    assert!(tried >= 9, "only {tried} examples were found");
}

#[test]
fn problems_are_printed_and_counted() {
    let home = directory(&GRID.replace("state: offline", "stat: offline"));
    let place = home.path().to_str().unwrap();
    let (out, err) = expect(1, &["check", place], "");
    assert!(out.contains("unknown field \"stat\"") && out.contains("grid.yaml:13:1"), "{out}");
    assert!(out.contains("did you mean \"state\"?"), "{out}");
    assert!(out.ends_with("1 problem in 1 of 5 documents\n"), "{out}");
    assert!(!out.contains('\u{1b}') && err.is_empty());
    let (out, _) = expect(1, &["check", place, "--color", "always"], "");
    assert!(out.contains('\u{1b}'));

    let (out, _) = expect(1, &["check", "-o", "json", place], "");
    let problems: Value = serde_json::from_str(&out).unwrap();
    let problem = &problems.as_array().unwrap()[0];
    assert_eq!((problem["line"].as_u64(), problem["document"]["name"].as_str()), (Some(13), Some("c")));
}

#[test]
fn good_documents_are_fine_wherever_they_come_from() {
    let home = directory(GRID);
    let file = home.path().join("grid.yaml");
    assert_eq!(expect(0, &["check", home.path().to_str().unwrap()], "").0, "5 documents are fine\n");
    assert_eq!(expect(0, &["check", file.to_str().unwrap()], "").0, "5 documents are fine\n");
    assert_eq!(expect(0, &["check", "-"], GRID).0, "5 documents are fine\n");
    assert_eq!(expect(0, &["check", "-", "-o", "json"], GRID).0, "[]\n");
}

#[test]
fn the_documents_in_the_readme_are_good() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let (_, documents) = readme.split_once("```yaml\n").unwrap();
    let (documents, _) = documents.split_once("```").unwrap();
    assert_eq!(expect(0, &["check", "-"], documents).0, "8 documents are fine\n");
}

#[test]
fn what_cannot_be_read_is_said() {
    let home = directory(GRID);
    let missing = home.path().join("missing");
    let (_, err) = expect(2, &["check", missing.to_str().unwrap()], "");
    assert!(err.starts_with("error: ") && err.contains("does not exist"), "{err}");
    let empty = tempfile::tempdir().unwrap();
    let (_, err) = expect(2, &["check", empty.path().to_str().unwrap()], "");
    assert!(err.contains("no documents in"), "{err}");
    std::os::unix::fs::symlink("nowhere", home.path().join("b.yaml")).unwrap();
    let (out, _) = expect(1, &["check", home.path().to_str().unwrap()], "");
    assert!(out.contains("is a symbolic link to nothing") && out.contains("b.yaml"), "{out}");
    expect(2, &["chekc"], "");
    expect(2, &["tenant", "where", "--grid", "shop", "--config", "."], "");
}

#[test]
fn tenants_are_located() {
    let home = directory(GRID);
    let place = home.path().to_str().unwrap();
    let located = |more: &[&str], input: &str, code| {
        expect(code, &[&["tenant", "where", "--config", place, "--grid", "shop"], more].concat(), input)
    };
    let (out, _) = located(&["-o", "json", "pinned"], "", 0);
    assert_eq!(out, "{\"tenant\":\"pinned\",\"bucket\":3866,\"cell\":\"c\",\"by\":\"pin\",\"state\":\"offline\"}\n");
    let (table, _) = located(&["pinned", "acme"], "", 0);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["TENANT", "BUCKET", "CELL", "BY"]);
    assert_eq!(lines[1], ["pinned", "3866", "c", "pin,", "offline"]);
    assert_eq!(lines[2][3], "assignment");

    let (out, err) = located(&["-o", "json", "--stdin"], "acme\r\n\nbad id\nglobex", 1);
    let answers: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2);
    for answer in &answers {
        assert!(matches!(answer["cell"].as_str(), Some("a" | "b")), "offline cells take no tenants: {answer}");
        assert_eq!(answer["by"], "assignment");
        assert!(answer.get("state").is_none());
    }
    assert!(err.starts_with("error: line 3: tenant id \"bad id\""), "{err}");
}

#[test]
fn a_grid_that_is_not_there_and_documents_that_are_bad_give_no_answer() {
    let home = directory(GRID);
    let place = home.path().to_str().unwrap();
    let (_, err) = expect(2, &["tenant", "where", "--config", place, "--grid", "shpo", "acme"], "");
    assert!(err.contains("no grid \"shpo\"") && err.contains("did you mean \"shop\"?"), "{err}");
    let bad = directory(&GRID.replace("cell: c", "cell: d"));
    let place = bad.path().to_str().unwrap();
    let (out, err) = expect(1, &["tenant", "where", "--config", place, "--grid", "shop", "acme"], "");
    assert!(out.is_empty() && err.contains("there is 1 problem in"), "{err}");
}

#[test]
fn a_reader_that_leaves_is_no_trouble() {
    let home = directory(GRID);
    let ids = "somebody\n".repeat(200_000);
    let mut child = Command::new(env!("CARGO_BIN_EXE_gridctl"))
        .args(["tenant", "where", "--grid", "shop", "--stdin", "--config", home.path().to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    // The write fails when gridctl stops reading, which is the point.
    drop(child.stdin.take().unwrap().write_all(ids.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}
