//! What every verb owes to whoever reads its help.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use super::*;

/// What was written, also after the program is done.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs gridctl in this process, as if on a terminal or not. Returns what is on both streams.
pub(super) fn run_on(terminal: bool, words: &[&str], input: &str) -> (Status, String, String) {
    let (out, err) = (Kept::default(), Kept::default());
    let arguments: Vec<OsString> = ["gridctl"].iter().chain(words).map(OsString::from).collect();
    let open = |colour: Colour| {
        let shown = match colour {
            Colour::Auto => terminal,
            Colour::Always => true,
            Colour::Never => false,
        };
        Output::to(out.clone(), shown, err.clone(), shown).with_person(terminal).with_live(terminal)
    };
    let status = run(&arguments, &mut input.as_bytes(), open);
    (status, out.text(), err.text())
}

/// Every command but the root's own help, with its words.
fn every(command: &Command, words: &[String], each: &mut dyn FnMut(&Command, &[String])) {
    each(command, words);
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        every(verb, &[words, &[verb.get_name().to_owned()]].concat(), each);
    }
}

fn command() -> Command {
    let mut command = super::command();
    command.build();
    command
}

/// The commands of a help as somebody takes them over: a line that ends with `\\` goes on in the next one.
fn commands(help: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in help.lines().map(str::trim) {
        let (text, more) = line.strip_suffix('\\').map_or((line, false), |text| (text.trim_end(), true));
        match all.last_mut().filter(|_| goes_on) {
            Some(last) => *last = format!("{last} {text}"),
            None if text.starts_with("gridctl ") => all.push(text.to_owned()),
            None => continue,
        }
        goes_on = more;
    }
    all
}

/// The words of a line of a shell, in which a quoted word stands for itself.
fn words_of(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate().flat_map(|(n, part)| match n % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    parts.take_while(|word| !["|", "<", ">"].contains(&word.as_str())).collect()
}

#[test]
fn every_verb_says_what_it_does_and_has_examples_that_parse() {
    let mut tried = 0;
    every(&command(), &[], &mut |verb, words| {
        let name = words.join(" ");
        assert!(verb.get_about().is_some(), "{name} does not say what it does");
        let help = verb.clone().render_long_help().to_string();
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{name} has no examples"));
        let lines = commands(examples);
        assert!(!lines.is_empty(), "{name} has no examples");
        let own = format!("gridctl {name}");
        assert!(lines.iter().any(|line| line.starts_with(own.trim_end())), "{name} has examples of others only");
        for line in commands(&help) {
            let outcome = super::command().try_get_matches_from(words_of(&line));
            assert!(outcome.is_ok(), "{name}: {line}\n{}", outcome.unwrap_err());
            tried += 1;
        }
    });
    assert!(tried > 50, "only {tried} examples were found");
}

#[test]
fn no_example_is_broken_where_a_terminal_of_80_columns_or_more_ends() {
    let mut long = 0;
    every(&command(), &[], &mut |verb, words| {
        let help = |width| verb.clone().term_width(width).render_long_help().to_string();
        let (whole, name) = (help(1_000), words.join(" "));
        for width in [80, 100] {
            let help = help(width);
            assert_eq!(commands(&help), commands(&whole), "{name} at {width} columns");
            long +=
                help.lines().filter(|line| line.trim_start().starts_with("gridctl ") && line.ends_with('\\')).count();
        }
    });
    assert!(long > 0, "nothing was long enough to be tried");
}

#[test]
fn every_flag_says_what_it_is_for() {
    every(&command(), &[], &mut |verb, words| {
        for argument in verb.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{} {} has no help", words.join(" "), argument.get_id());
        }
    });
}

#[test]
fn what_answers_can_be_printed_for_people_and_for_tools() {
    // These are a stream of a shape of their own, or nothing that is shown.
    let without = [
        "completion",
        "man",
        "endpoint register",
        "controller run",
        "schema",
        "export",
        "limit simulate",
        "shift watch",
    ];
    let leaf = |verb: &Command| verb.get_subcommands().all(|below| below.get_name() == "help");
    every(&command(), &[], &mut |verb, words| {
        let name = words.join(" ");
        let prints = !["context use", "context set", "context delete"].contains(&name.as_str());
        if !leaf(verb) || !prints || without.contains(&name.as_str()) {
            return;
        }
        let output = verb.get_arguments().find(|argument| argument.get_id() == "output");
        let output = output.unwrap_or_else(|| panic!("{name} has no -o"));
        let values: Vec<String> = output.get_possible_values().iter().map(|one| one.get_name().to_owned()).collect();
        for value in ["table", "wide", "json", "yaml"] {
            assert!(values.iter().any(|one| one == value), "{name} has no -o {value}: {values:?}");
        }
    });
}

#[test]
fn what_changes_a_store_can_be_tried_agreed_to_and_explained() {
    let changes = ["apply", "delete", "import", "undo"];
    let mut found = 0;
    every(&command(), &[], &mut |verb, words| {
        let has = |id: &str| verb.get_arguments().any(|argument| argument.get_id() == id);
        let all = ["dry_run", "yes", "message"].into_iter().filter(|id| has(id)).count();
        assert!(all == 0 || all == 3, "{} has some of --dry-run, --yes and --message", words.join(" "));
        found += usize::from(all == 3);
        if changes.contains(&words.join(" ").as_str()) {
            assert_eq!(all, 3);
        }
    });
    assert!(found >= changes.len());
}

#[test]
fn a_wrong_verb_or_flag_is_answered_with_the_right_one() {
    let said = |words: &[&str]| run_on(false, words, "");
    let (status, out, err) = said(&["delte", "x"]);
    assert!(status == Status::Failed && out.is_empty() && err.contains("'delete'"), "{err}");
    assert!(said(&["context", "lits"]).2.contains("'list'"));
    assert!(said(&["status", "--sotre", "x"]).2.contains("'--store'"));
    assert!(said(&["get", "-o", "jsn"]).2.contains("'json'"));
    assert!(said(&["man", "tenant", "wher"]).2.contains("did you mean \"where\"?"));
}

#[test]
fn what_an_error_quotes_of_the_command_line_steers_no_terminal() {
    let words = [
        &["shift", "status", "s1", "-o", "x\u{1b}[2Jy\u{202e}z"][..],
        &["shi\u{1b}[31mft\u{202e}"],
        &["get", "--\u{1b}]0;x\u{7}\u{202e}"],
        &["shift", "watch", "x", "--every", "1\u{1b}[2J\u{202e}"],
        &["history", "1\u{9b}2J\u{202e}"],
    ];
    for (words, terminal) in words.iter().flat_map(|words| [(words, true), (words, false)]) {
        let (status, out, err) = run_on(terminal, words, "");
        assert!(status == Status::Failed && out.is_empty() && err.starts_with("error: "), "{err:?}");
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!err.contains(bad), "{words:?}: {err:?}");
    }
    // An ordinary mistake is told in colour, and its lines stay lines.
    let (_, _, err) = run_on(true, &["shift", "status", "s1", "-o", "jsn"], "");
    assert!(err.contains('\u{1b}') && err.lines().count() > 2, "{err}");
}

const DOCUMENTS: &str = "{kind: Cell, name: a}\n---\n{kind: Cell, name: b}\n";

/// A directory with two cells.
fn store() -> (tempfile::TempDir, String) {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("cells.yaml"), DOCUMENTS).unwrap();
    let path = home.path().to_str().unwrap().to_owned();
    (home, path)
}

#[test]
fn colour_is_for_terminals_and_whoever_wants_it_and_never_for_tools() {
    let (_home, store) = store();
    let dry = |more: &[&str]| {
        let words = [&["apply", "--store", &store, "--dry-run", "-f", "-"], more].concat();
        run_on(
            more.contains(&"terminal"),
            &words.into_iter().filter(|word| *word != "terminal").collect::<Vec<_>>(),
            "{kind: Cell, name: a, weight: 7}",
        )
        .1
    };
    let coloured = |text: &str| text.contains('\u{1b}');
    assert!(!coloured(&dry(&[])));
    assert!(coloured(&dry(&["terminal"])));
    assert!(!coloured(&dry(&["terminal", "--color", "never"])));
    assert!(coloured(&dry(&["--color", "always"])));
    for format in ["json", "yaml", "name"] {
        assert!(!coloured(&dry(&["--color", "always", "-o", format])), "{format}");
        for words in [&["get"][..], &["diff", "-f", "-"], &["check", "-"]] {
            if *words == ["check", "-"] && format == "name" {
                continue;
            }
            let words = [words, &["--store", &store, "--color", "always", "-o", format]].concat();
            let (_, out, _) = run_on(true, &words, "{kind: Cell, name: a, wieght: 7}");
            assert!(!coloured(&out), "{words:?}: {out}");
        }
    }
}

#[test]
fn a_delete_asks_and_does_nothing_without_a_yes() {
    let (home, store) = store();
    let delete = |terminal: bool, more: &[&str], input: &str| {
        run_on(terminal, &[&["delete", "--store", &store, "cell", "a"], more].concat(), input)
    };
    let there = || std::fs::read_to_string(home.path().join("cells.yaml")).unwrap().contains("name: a");
    let (status, _, err) = delete(false, &[], "y\n");
    assert!(status == Status::Failed && err.contains("this deletes Cell/a; say --yes"), "{err}");
    let (status, _, err) = delete(true, &[], "\n");
    assert!(status == Status::Failed && err.contains("this deletes Cell/a; go on? [y/N]"), "{err}");
    assert!(err.contains("nothing was changed") && there(), "{err}");
    assert_eq!(delete(false, &["--dry-run"], "").0, Status::Fine);
    assert!(there());
    assert_eq!(delete(true, &[], "y\n").0, Status::Fine);
    assert!(!there());
    let (status, ..) = run_on(false, &["delete", "--store", &store, "cell/b", "--yes"], "");
    assert_eq!(status, Status::Fine);
}

#[test]
fn progress_is_for_terminals() {
    let (home, store) = store();
    let files = home.path().join("more");
    std::fs::create_dir(&files).unwrap();
    for n in 0..4 {
        std::fs::write(files.join(format!("{n}.yaml")), format!("{{kind: Cell, name: c{n}}}")).unwrap();
    }
    let dry =
        |terminal| run_on(terminal, &["apply", "--store", &store, "-f", files.to_str().unwrap(), "--dry-run"], "").2;
    let seen = dry(true);
    assert!(seen.contains("reading files") && seen.contains(" 50%") && seen.contains('█'), "{seen}");
    assert!(seen.ends_with("\r\u{1b}[2K"), "the bar is not taken away: {seen:?}");
    assert_eq!(dry(false), "");
}

#[test]
fn pages_are_made_for_every_verb() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("man1");
    let (status, ..) = run_on(false, &["man", "--dir", place.to_str().unwrap()], "");
    assert_eq!(status, Status::Fine);
    let mut wanted = 0;
    every(&command(), &[], &mut |_, words| {
        let name = [&["gridctl".to_owned()], words].concat().join("-");
        let page =
            std::fs::read_to_string(place.join(format!("{name}.1"))).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(page.contains(".SH NAME") && page.contains(".SH NOTES"), "{name}");
        wanted += 1;
    });
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), wanted);
    let (_, page, _) = run_on(false, &["man", "tenant", "where"], "");
    assert!(page.contains("gridctl tenant where"), "{page}");
}

#[test]
fn the_help_of_get_has_every_kind() {
    let (_, help, _) = run_on(false, &["get", "--help"], "");
    for kind in gridrouter_config::ids::Kind::ALL {
        let word = kind.as_str().to_lowercase();
        let (_, rest) = help.split_once(&format!("{word} (")).unwrap_or_else(|| panic!("{word} is missing"));
        let (short, _) = rest.split_once(')').unwrap();
        assert_eq!(crate::kinds::parse_kind(short), Ok(kind));
    }
}
