//! Checks what must stay absent from the source: ARCHITECTURE.md, "Invariants".

#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources has to fail")]

use std::fs;
use std::path::{Path, PathBuf};

/// The five leaf stages.
const STAGES: [&str; 5] = ["routing", "tenant", "placement", "limit", "balance"];
/// What the control plane may use of the router.
const PURE: [&str; 2] = ["placement", "limit"];

/// A source file, with comments, string literals and tests blanked out.
struct Source {
    /// Relative to the workspace.
    path: String,
    code: String,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The Rust files below a directory of the workspace, test files excepted.
fn sources(below: &str) -> Vec<Source> {
    let root = workspace();
    let mut found = Vec::new();
    let mut open = vec![root.join(below)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let shown = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                if !shown.contains("/tests/") && !shown.ends_with("/tests.rs") {
                    found.push(Source { path: shown, code: code(&fs::read_to_string(&path).unwrap()) });
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The code of a file: no comments, no contents of string literals, no test module.
fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let tests_follow = lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if line == "#[cfg(test)]" && tests_follow {
            break;
        }
        kept.push_str(&without_comment_and_strings(line));
        kept.push('\n');
    }
    kept
}

fn without_comment_and_strings(line: &str) -> String {
    let mut kept = String::new();
    let mut characters = line.chars().peekable();
    let mut in_string = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => drop(characters.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && characters.peek() == Some(&'/') => break,
            _ if in_string => {}
            // A quotation mark as a character literal opens nothing.
            '\'' if characters.peek() == Some(&'"') => drop((characters.next(), characters.next())),
            _ => kept.push(character),
        }
    }
    kept
}

/// Whether `code` has `text` where a path or name begins.
fn names(code: &str, text: &str) -> bool {
    let boundary = |at: usize| {
        let before = code.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|before| !before.is_alphanumeric() && before != '_')
    };
    let ended = |at: usize| {
        let after = code.get(at + text.len()..).and_then(|after| after.chars().next());
        let word = text.ends_with(|last: char| last.is_alphanumeric());
        !word || after.is_none_or(|after| !after.is_alphanumeric() && after != '_')
    };
    code.match_indices(text).any(|(at, _)| boundary(at) && ended(at))
}

/// The stage that a file of the router belongs to.
fn stage_of(path: &str) -> Option<&'static str> {
    let inner = path.strip_prefix("router/src/")?;
    STAGES.into_iter().find(|stage| inner == format!("{stage}.rs") || inner.starts_with(&format!("{stage}/")))
}

/// The sources that break a rule, with what they name.
fn offenders<'a>(sources: &'a [Source], texts: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    let named = |source: &'a Source| {
        let texts = texts.iter().filter(|text| names(&source.code, text));
        texts.map(|text| (source.path.as_str(), *text)).collect::<Vec<_>>()
    };
    sources.iter().flat_map(named).collect()
}

#[test]
fn crates_depend_one_way() {
    let dependencies = |member: &str| {
        let manifest = fs::read_to_string(workspace().join(member).join("Cargo.toml")).unwrap();
        let section = manifest.split("[dependencies]").nth(1).unwrap_or_default().to_owned();
        let section = section.split("\n[").next().unwrap_or_default().to_owned();
        section.lines().filter_map(|line| line.split(['.', ' ', '=']).next().map(str::to_owned)).collect::<Vec<_>>()
    };
    let ours = |member: &str| {
        let all = dependencies(member);
        all.into_iter().filter(|name| name.starts_with("grid") || name == "loadtests").collect::<Vec<_>>()
    };
    assert_eq!(ours("config"), Vec::<String>::new());
    assert_eq!(ours("router"), ["gridrouter-config"]);
    assert_eq!(ours("control-plane"), ["gridrouter-config", "gridrouter"]);
    // The load tests publish as gridctl does. The router they see only from outside, as a process.
    assert_eq!(ours("loadtests"), ["gridrouter-config"]);
}

#[test]
fn the_control_plane_uses_only_pure_stages_of_the_router() {
    for source in sources("control-plane/src") {
        for (at, text) in source.code.match_indices("gridrouter::") {
            let rest = source.code.get(at + text.len()..).unwrap_or_default();
            let module: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(PURE.contains(&module.as_str()), "{} names gridrouter::{module}", source.path);
        }
        assert!(!source.code.contains("use gridrouter as"), "{} renames the router", source.path);
    }
}

#[test]
fn leaf_stages_never_name_each_other() {
    let sources = sources("router/src");
    for stage in STAGES {
        assert!(sources.iter().any(|source| stage_of(&source.path) == Some(stage)), "where is the stage {stage}?");
    }
    for source in &sources {
        let Some(own) = stage_of(&source.path) else { continue };
        for other in STAGES.into_iter().filter(|other| *other != own) {
            for way in ["crate", "super", "gridrouter"] {
                let path = format!("{way}::{other}");
                assert!(!names(&source.code, &path), "{} names {path}", source.path);
            }
        }
        assert!(!source.code.contains("crate::{"), "{} hides what it names in crate::{{…}}", source.path);
    }
}

#[test]
fn decisions_do_no_io() {
    let io = [
        "std::fs",
        "std::env",
        "std::process",
        "thread::spawn",
        "thread::sleep",
        "tokio",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "ToSocketAddrs",
        "Instant::now",
        "SystemTime::now",
    ];
    let stages = sources("router/src").into_iter().filter(|source| stage_of(&source.path).is_some());
    let documents = sources("config/src").into_iter();
    let documents = documents.filter(|s| s.path != "config/src/store.rs" && !s.path.starts_with("config/src/store/"));
    let pure: Vec<Source> = stages.chain(documents).collect();
    assert!(pure.len() > 30, "only {} files were found", pure.len());
    assert_eq!(offenders(&pure, &io), []);
}

#[test]
fn only_output_modules_print() {
    let prints = ["println!", "print!", "eprintln!", "eprint!", "stdout()", "stderr()"];
    let crates = ["config/src", "router/src", "control-plane/src"];
    let silent: Vec<Source> =
        crates.into_iter().flat_map(sources).filter(|source| !source.path.ends_with("/output.rs")).collect();
    assert_eq!(offenders(&silent, &prints), []);
}

#[test]
fn modules_are_named_after_their_directory() {
    for below in ["config", "router", "control-plane", "loadtests"] {
        for source in sources(below) {
            assert!(!source.path.ends_with("/mod.rs"), "{}: call it after its directory, one level up", source.path);
        }
    }
}

#[test]
fn the_scanner_sees_code_and_only_code() {
    let seen = code(
        "use crate::limit; // crate::balance\nlet a = \"crate::tenant\"; let b = '\"'; c();\n#[cfg(test)]\nmod tests {\nx",
    );
    assert_eq!(seen, "use crate::limit; \nlet a = ; let b = ; c();\n");
    assert!(names(&seen, "crate::limit"));
    assert!(!names(&seen, "crate::lim") && !names(&seen, "rate::limit"));
}
