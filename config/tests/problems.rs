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

/// A document that is small to write must not be large to hold.
#[test]
fn a_route_takes_no_more_room_than_a_router_can_spare() {
    let route = |hosts: usize, paths: &[String]| {
        let hosts: Vec<_> = (0..hosts).map(|host| format!("h{host}.test")).collect();
        format!(
            "kind: Route\nname: all\nhosts: [{}]\npaths: [{}]\nrespond: {{status: 204}}\n",
            hosts.join(", "),
            paths.join(", ")
        )
    };
    let prefixes = |count: usize| (0..count).map(|path| format!("{{prefix: /{path}}}")).collect::<Vec<_>>();
    let expressions = |count: usize| (0..count).map(|path| format!("{{regex: '/{path}/.*'}}")).collect::<Vec<_>>();
    assert_eq!(run(&route(500, &prefixes(200))), "");
    assert_eq!(run(&route(1, &expressions(100))), "");
    let (many, expressions) = (run(&route(501, &prefixes(200))), run(&route(1, &expressions(101))));
    assert_eq!(
        many,
        "4:1 paths: 501 hosts times 200 paths are more than the 100000 of one route\n    help: make several routes \
         of it, each with some of the hosts\n"
    );
    assert_eq!(
        expressions,
        "1:1 : 101 regular expressions are more than the 100 of one route\n    help: make several routes of it, or \
         join some expressions with `|`\n"
    );
}

/// Nobody reads ten thousand problems, and a router keeps what it says.
#[test]
fn of_very_many_problems_the_first_are_told() {
    for line in ["  - {exact: a}", "  - {rejex: a}", "  - !tag a"] {
        let source =
            format!("kind: Route\nname: all\nrespond: {{status: 204}}\npaths:\n{}", format!("{line}\n").repeat(10_000));
        let report = check_sources(&[("a.yaml".to_owned(), source.into_bytes())]);
        let told: Vec<_> = report.problems.iter().map(|problem| problem.message.as_str()).collect();
        let last = told.last().copied().unwrap_or_default();
        assert!((1_001..=2_002).contains(&told.len()), "{} for {line}: {last}", told.len());
        assert!(told.iter().any(|message| message.ends_with("more problems of this document are not told")), "{line}");
    }
}
