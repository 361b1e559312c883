//! `gridctl shift watch` as people run it.

use std::fs;

use super::support::{Running, gridctl};

const SITE: &str = "\
{kind: Cell, name: a}
---
{kind: Service, name: s, cells: {a: {blue: [{address: 127.0.0.1:1}], green: [{address: 127.0.0.1:2}]}}}
";
const SHIFT: &str = "\
{kind: Shift, name: x, service: s, to: green, waves: [{cells: [a]}], steps: [{weight: 100%, hold: 1h}],
 state: {phase: Running, shares: {a: 100%}, started: 1, since: 1}}
";

#[test]
fn a_watch_ends_when_its_shift_is_deleted_and_not_when_it_cannot_be_read() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("shift.yaml");
    fs::write(home.path().join("site.yaml"), SITE).unwrap();
    fs::write(&file, SHIFT).unwrap();
    let store = home.path().to_str().unwrap();
    let watch = Running::start(gridctl(store, &["shift", "watch", "x", "--every", "200ms"]));
    watch.says_something_of("Running");
    fs::write(&file, "{kind: Shift, name: x, service").unwrap();
    // One that has never seen it does not wait for it.
    let other = Running::start(gridctl(store, &["shift", "watch", "x", "--every", "200ms"]));
    assert_eq!(other.end().0, Some(2));
    fs::write(&file, SHIFT.replace("Running", "Paused")).unwrap();
    watch.says_something_of("Paused");
    fs::remove_file(&file).unwrap();
    let (code, _, err) = watch.end();
    assert_eq!(code, Some(1), "{err}");
    assert!(err.ends_with("shift \"x\" was deleted\n"), "{err}");
}

/// The exit code of both is one, also where it is only that nobody acts.
#[test]
fn a_watch_whose_time_is_over_ends_as_status_does() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("site.yaml"), SITE).unwrap();
    fs::write(home.path().join("shift.yaml"), SHIFT).unwrap();
    let store = home.path().to_str().unwrap();
    for words in [&["shift", "status", "x"][..], &["shift", "watch", "x", "--every", "200ms", "--timeout", "300ms"]] {
        let (code, out, err) = Running::start(gridctl(store, words)).end();
        assert_eq!(code, Some(1), "{out:?} {err}");
        assert!(out.iter().any(|line| line == "acting    nobody: start `gridctl controller run`"), "{out:?} {err}");
    }
}
