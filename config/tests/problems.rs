//! Every check, by example: bad documents and exactly what is said of them, where, and what to write instead.
//!
//! `tests/problems/*.txt` hold the cases: a line `=== what it is about`, the documents, a line `===>`, and the problems
//! as `line:column field: message` with the help below. `BLESS=1 cargo test` writes what is said now into the files, to
//! be read before it is committed.

use std::fmt::Write;
use std::path::Path;

use gridrouter_config::generation::check_sources;
use gridrouter_config::problem::Problem;

const ARROW: &str = "===>\n";

fn describe(problem: &Problem) -> String {
    let help = problem.help.iter().map(|help| format!("    help: {help}\n"));
    let place = format!("{}:{} {}", problem.line, problem.column, problem.path);
    std::iter::once(format!("{place}: {}\n", problem.message)).chain(help).collect::<Vec<_>>().concat()
}

fn run(source: &str) -> String {
    let report = check_sources(&[("a.yaml".to_owned(), source.as_bytes().to_vec())]);
    report.problems.iter().map(describe).collect()
}

#[test]
fn problems_are_exactly_as_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/problems");
    let (mut wrong, mut cases) = (String::new(), 0);
    for file in std::fs::read_dir(directory).unwrap() {
        let file = file.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        let mut now = String::new();
        for case in text.split("=== ").skip(1) {
            let (title, rest) = case.split_once('\n').unwrap();
            let (source, expected) = rest.split_once(ARROW).unwrap_or((rest, ""));
            let found = run(source);
            cases += 1;
            if found.trim_end() != expected.trim_end() {
                writeln!(wrong, "{}: {title}\n--- expected\n{expected}--- found\n{found}", file.display()).unwrap();
            }
            write!(now, "=== {title}\n{source}{ARROW}{found}\n").unwrap();
        }
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, now).unwrap();
        }
    }
    assert!(cases > 100, "only {cases} cases were found");
    assert!(wrong.is_empty() || std::env::var_os("BLESS").is_some(), "{wrong}");
}
