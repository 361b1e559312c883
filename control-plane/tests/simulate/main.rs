//! `gridctl limit simulate` as people and programs run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot run the program has to fail")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const LIMIT: &str = "\
kind: Limit
name: small
tokenBucket: {rate: 10/s, burst: 2}
---
kind: Route
name: goes-nowhere
service: is-not-here
";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridctl"));
    command.args(["limit", "simulate"]).args(arguments);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    for name in ["COLUMNS", "LC_ALL", "LC_CTYPE", "TERM", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.env("LANG", "C.UTF-8").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(mut command: Command, input: &str) -> Output {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Runs it, expects an exit code, and returns standard output and standard error.
#[track_caller]
fn expect(code: i32, arguments: &[&str], input: &str) -> (String, String) {
    let output = run(command(arguments), input);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    (out, err)
}

/// A directory with files.
struct Home(tempfile::TempDir);

impl Home {
    fn with(files: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(home.path().join(name), text).unwrap();
        }
        Self(home)
    }

    fn path(&self, name: &str) -> String {
        PathBuf::from(self.0.path()).join(name).to_str().unwrap().to_owned()
    }
}

const ARRIVALS: &str = "{\"at_ns\":0}\n{\"at_ns\":0,\"key\":\"b\",\"cost\":2}\n\n{\"at_ns\":0}\n\
                        {\"at_ns\":99999999}\n{\"at_ns\":99999999,\"release\":true}\n{\"at_ns\":100000000}\n\
                        {\"at_ns\":50000000,\"cost\":3}";

const DECISIONS: &str = r#"{"at_ns":0,"verdict":"pass","wait_ns":0,"retry_after_ns":0}
{"at_ns":0,"verdict":"pass","wait_ns":0,"retry_after_ns":0}
{"at_ns":0,"verdict":"pass","wait_ns":0,"retry_after_ns":0}
{"at_ns":99999999,"verdict":"refuse","wait_ns":0,"retry_after_ns":1}
{"at_ns":100000000,"verdict":"pass","wait_ns":0,"retry_after_ns":0}
{"at_ns":50000000,"verdict":"refuse","wait_ns":0,"retry_after_ns":null}
"#;

#[test]
fn each_arrival_gets_a_line() {
    let home = Home::with(&[("limit.yaml", LIMIT), ("arrivals.jsonl", ARRIVALS)]);
    let (limit, arrivals) = (home.path("limit.yaml"), home.path("arrivals.jsonl"));
    for (limit, arrivals, input) in
        [(limit.as_str(), arrivals.as_str(), ""), (&limit, "-", ARRIVALS), ("-", &arrivals, LIMIT)]
    {
        let (out, err) = expect(0, &["--limit", limit, "--arrivals", arrivals, "-o", "jsonl"], input);
        assert_eq!((out.as_str(), err.as_str()), (DECISIONS, ""));
    }
    let json = r#"{"kind": "Limit", "name": "small", "tokenBucket": {"rate": "10/s", "burst": 2}}"#;
    let (out, _) = expect(0, &["--limit", "-", "--arrivals", &arrivals, "-o", "jsonl"], json);
    assert_eq!(out, DECISIONS);
    assert_eq!(expect(0, &["--limit", &limit, "--arrivals", "-", "-o", "jsonl"], "\n").0, "");
}

#[test]
fn a_bad_line_ends_it_after_the_decisions_before_it() {
    let home =
        Home::with(&[("limit.yaml", LIMIT), ("arrivals.jsonl", "{\"at_ns\":0}\n\n  {\"at_ns\":1,\"cost\":0}\n{}\n")]);
    let (limit, arrivals) = (home.path("limit.yaml"), home.path("arrivals.jsonl"));
    let (out, err) = expect(1, &["--limit", &limit, "--arrivals", &arrivals, "-o", "jsonl"], "");
    assert_eq!(out, "{\"at_ns\":0,\"verdict\":\"pass\",\"wait_ns\":0,\"retry_after_ns\":0}\n");
    let wanted = format!(
        "error: cost is 0\n --> {arrivals}:3:21\n  |\n3 |   {{\"at_ns\":1,\"cost\":0}}\n  |                     ^\n  \
         = help: write a whole number, 1 to 4294967295\n"
    );
    assert_eq!(err, wanted);
    for format in ["chart", "csv", "json"] {
        let (out, err) = expect(1, &["--limit", &limit, "--arrivals", "-", "-o", format], "at 5\n");
        assert!(out.is_empty() && err.contains("<standard input>:1:1"), "{out}{err}");
    }
}

#[test]
fn a_bad_limit_is_told_as_check_tells_it() {
    let bad = LIMIT.replace("10/s", "10/x");
    let (out, err) = expect(1, &["--limit", "-", "--constant", "1/s"], &bad);
    assert!(out.is_empty() && err.contains("\"10/x\" is not a rate") && err.contains("<standard input>:3:21"), "{err}");
    for (bad, why) in [
        ("kind: Limit\nname: a\ntokenBukcet: {rate: 1/s}\n", "<standard input>:3:1"),
        ("kind: Limit\nname: a\n  tokenBucket: {rate: 1/s}\n", "<standard input>:"),
        ("kind: Limit\ntokenBucket: {rate: 1/s}\n", "name"),
        (
            "kind: Limit\nname: a\ntokenBucket: {rate: 1/s}\n---\nkind: Limit\nname: a\ntokenBucket: {rate: 2/s}\n",
            "twice",
        ),
        ("]", "<standard input>:1:1"),
    ] {
        let (out, err) = expect(1, &["--limit", "-", "--constant", "1/s"], bad);
        assert!(out.is_empty() && err.starts_with("error: ") && err.contains(why), "{bad}: {err}");
    }
    // What is wrong with others is of no interest.
    let other = format!("{LIMIT}---\nkind: Cell\nname: c\nbad: field\n---\nkind: Limit\nname: other\n");
    expect(0, &["--limit", "-", "--name", "small", "--constant", "1/s"], &other);
}

#[test]
fn it_has_to_be_clear_which_limit_is_meant() {
    let two = format!("{LIMIT}---\nkind: Limit\nname: large\ntokenBucket: {{rate: 100/s}}\n");
    let (_, err) = expect(2, &["--limit", "-", "--constant", "1/s"], &two);
    assert!(err.contains("--name: large, small"), "{err}");
    let (_, err) = expect(2, &["--limit", "-", "--constant", "1/s", "--name", "lrage"], &two);
    assert!(err.contains("no Limit \"lrage\"") && err.contains("did you mean \"large\"?"), "{err}");
    let (out, _) = expect(0, &["--limit", "-", "--constant", "1/s", "--name", "large", "-o", "json"], &two);
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((summary["limit"].as_str(), summary["arrivals"].as_u64()), (Some("large"), Some(10)));
    let (_, err) = expect(2, &["--limit", "-", "--constant", "1/s"], "kind: Cell\nname: a\n");
    assert!(err.contains("no Limit in standard input"), "{err}");
    let (_, err) = expect(2, &["--limit", "-", "--constant", "1/s", "--candidate"], LIMIT);
    assert!(err.contains("\"small\" has no candidate"), "{err}");
}

#[test]
fn wrong_usage_is_told() {
    for (arguments, why) in [
        (&["--limit", "-"][..], "required"),
        (&["--limit", "-", "--arrivals", "-"], "standard input cannot be both"),
        (&["--limit", "-", "--constant", "1/s", "--burst", "2"], "cannot be used with"),
        (&["--limit", "-", "--constant", "1/s", "--every", "2s"], "cannot be used with"),
        (&["--limit", "-", "--arrivals", "x", "--for", "2s"], "cannot be used with"),
        (&["--limit", "-", "--arrivals", "x", "--hold", "2s"], "cannot be used with"),
        (&["--limit", "-", "--burst", "2", "--key", "a", "--keys", "2"], "cannot be used with"),
        (&["--limit", "-", "--burst", "0"], "--burst"),
        (&["--limit", "-", "--constant", "many"], "write 100/s"),
        (&["--limit", "-", "--ramp", "1/s"], "write two rates"),
        (&["--limit", "-", "--constant", "1/s", "--rows", "0"], "--rows"),
        (&["--limit", "-", "--constant", "1/s", "--for", "2h", "--bucket", "1ms"], "longer --bucket"),
        (&["--limit", "/nowhere/at/all", "--constant", "1/s"], "does not exist"),
        (&["--limit", "-", "--arrivals", "/nowhere/at/all"], "cannot read /nowhere/at/all"),
    ] {
        let (out, err) = expect(2, arguments, LIMIT);
        assert!(out.is_empty() && err.starts_with("error: ") && err.contains(why), "{arguments:?}: {err}");
    }
}

#[test]
fn people_get_a_summary_and_bars() {
    let (out, err) = expect(0, &["--limit", "-", "--constant", "20/s", "--for", "2s", "--rows", "4"], LIMIT);
    let wanted = "\
small: tokenBucket {burst: 2, rate: 10/s}

arrivals  40
passed    21 (52.5 %)
waited    0
refused   19 (47.5 %)
admitted  21 over 2s, 10.5 a second; at most 11 in any second

FROM  PASSED  WAITED  REFUSED
0.0s       6       0        4  █████████████████████████████░░░░░░░░░░░░░░░░░░░░
0.5s       5       0        5  █████████████████████████░░░░░░░░░░░░░░░░░░░░░░░░
1.0s       5       0        5  █████████████████████████░░░░░░░░░░░░░░░░░░░░░░░░
1.5s       5       0        5  █████████████████████████░░░░░░░░░░░░░░░░░░░░░░░░

█ passed  ░ refused; a row is 500ms, the longest bar 10 arrivals
";
    assert_eq!((out.as_str(), err.as_str()), (wanted, ""));
    for (name, value) in [("LC_ALL", "C"), ("TERM", "dumb")] {
        let mut plain = command(&["--limit", "-", "--constant", "20/s", "--rows", "4"]);
        plain.env(name, value);
        assert!(run(plain, LIMIT).stdout.is_ascii());
    }
    let mut narrow = command(&["--limit", "-", "--constant", "20/s", "--color", "always"]);
    narrow.env("COLUMNS", "40");
    let out = String::from_utf8(run(narrow, LIMIT).stdout).unwrap();
    assert!(out.contains("\u{1b}[32m") && out.matches('█').count() < 20 * 10, "{out}");
}

#[test]
fn programs_get_rows_and_one_object() {
    let (out, _) = expect(0, &["--limit", "-", "--burst", "3", "--every", "1s", "--for", "2s", "-o", "csv"], LIMIT);
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("from_ns,to_ns,arrivals,passed,waited,refused,admitted,mean_wait_ns"));
    let rows: Vec<&str> = lines.filter(|line| !line.contains(",0,0,0,0,0,0")).collect();
    assert_eq!(rows, ["0,50000000,3,2,0,1,2,0", "1000000000,1050000000,3,2,0,1,2,0"]);
    let (out, _) = expect(0, &["--limit", "-", "--burst", "3", "--keys", "2", "--bucket", "1s", "-o", "csv"], LIMIT);
    assert_eq!(out.lines().nth(1), Some("0,1000000000,3,3,0,0,3,0"));
    let (out, _) = expect(0, &["--limit", "-", "--ramp", "0/s..20/s", "--cost", "3", "-o", "json"], LIMIT);
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((summary["refused"].as_u64(), summary["refused_for_ever"].as_u64()), (Some(100), Some(100)));
    assert_eq!((summary["algorithm"].as_str(), summary["to_ns"].as_u64()), (Some("tokenBucket"), Some(10_000_000_000)));
}

#[test]
fn every_example_in_the_help_works() {
    let mut tried = 0;
    for arguments in [&["limit", "--help"][..], &["limit", "simulate", "--help"]] {
        let mut help = Command::new(env!("CARGO_BIN_EXE_gridctl"));
        let help = help.args(arguments).env_remove("COLUMNS").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        // As a shell reads it: a line that ends with `\` goes on in the next one.
        let help = help.replace(" \\\n      ", " ");
        let (_, examples) = help.split_once("Examples:").unwrap();
        for line in examples.lines().filter(|line| !line.trim().is_empty()) {
            let arguments = line.trim().strip_prefix("gridctl limit simulate ").expect(line);
            let (out, err) = expect(0, &arguments.split(' ').collect::<Vec<_>>(), ARRIVALS);
            assert!(!out.is_empty() && err.is_empty(), "{line}");
            tried += 1;
        }
    }
    assert_eq!(tried, 5);
}

#[test]
fn a_reader_that_leaves_is_no_trouble() {
    let home = Home::with(&[("limit.yaml", LIMIT)]);
    let limit = home.path("limit.yaml");
    let mut child = command(&["--limit", &limit, "--constant", "1000000/s", "--for", "24h", "-o", "jsonl"]);
    let mut child = child.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    assert_eq!(first, DECISIONS.lines().next().unwrap().to_owned() + "\n");
}

/// The most memory that a process ever had, in KiB.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_million_arrivals_take_no_more_memory_than_a_few() {
    let home = Home::with(&[("limit.yaml", LIMIT)]);
    let limit = home.path("limit.yaml");
    for format in ["jsonl", "json"] {
        let mut child = command(&["--limit", &limit, "--arrivals", "-", "-o", format]);
        let mut child = child.stdout(Stdio::null()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut peaks = Vec::new();
        for part in 0..10_u64 {
            let mut lines = Vec::new();
            for n in 0..100_000 {
                let at = (part * 100_000 + n) * 10_000_000;
                writeln!(lines, "{{\"at_ns\":{at},\"key\":\"{}\"}}", n % 10).unwrap();
            }
            // The pipe holds a little of it; the rest has been read when this returns.
            stdin.write_all(&lines).unwrap();
            peaks.extend(peak(child.id()));
        }
        drop(stdin);
        assert!(child.wait().unwrap().success());
        let (first, last) = (peaks[0], peaks[9]);
        assert!(last < first + 4_096, "{format}: {peaks:?}");
    }
}
