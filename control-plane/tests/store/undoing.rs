//! The history, and taking back what it has.

use super::support::server::Server;
use super::support::{GRID, apply, generation, head, json, on, tenants};

#[test]
fn a_generation_is_taken_back_and_the_digest_is_the_one_from_before() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &["-m", "first"]).out(0);
    let before = head(&store)["digest"].clone();
    let change = "{kind: Cell, name: b, weight: 5}\n---\n{kind: Cell, name: c}";
    apply(&store, change, &["--author", "bob", "-m", "weights"]).out(0);
    let history = on(&store, &["history"]).out(0);
    let rows: Vec<Vec<&str>> = history.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["GENERATION", "AGE", "AUTHOR", "CHANGED", "MESSAGE"]);
    assert_eq!((rows[1][0], rows[1][2], rows[1][3], rows[1][4]), ("2", "bob", "2", "weights"));
    let one = on(&store, &["history", "2"]).out(0);
    assert!(one.contains("generation 2 by bob") && one.contains("+weight: 5") && one.contains("+name: c"), "{one}");
    assert_eq!(json(&store, &["history", "-n", "1"], 0).as_array().unwrap().len(), 1);
    assert_eq!(json(&store, &["history", "2"], 0)["changes"][1]["after"]["name"], "c");
    on(&store, &["history", "7"]).err(1);

    let dry = on(&store, &["undo", "2", "--dry-run"]).out(0);
    assert!(dry.contains("-weight: 5") && dry.contains("1 deleted, 1 changed"), "{dry}");
    let out = on(&store, &["undo", "2"]).out(0);
    assert!(out.ends_with("generation 3 is in force: 1 deleted, 1 changed\n"), "{out}");
    assert_eq!(head(&store)["digest"], before);
    assert_eq!(head(&store)["message"], "undo generation 2");
    let again = on(&store, &["undo", "2"]).out(0);
    assert!(again.contains("nothing to publish"), "{again}");
    // The undo can be undone.
    on(&store, &["undo", "3"]).out(0);
    assert_eq!(json(&store, &["get", "cell/b"], 0)["weight"], 5);
}

#[test]
fn what_was_changed_again_since_is_shown_and_kept() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    apply(&store, "{kind: Cell, name: b, weight: 5}", &[]).out(0);
    apply(&store, "{kind: Cell, name: b, weight: 6}", &[]).out(0);
    let ran = on(&store, &["undo", "2"]);
    assert!(ran.err.contains("1 document changed again since generation 2: Cell/b"), "{}", ran.err);
    let out = ran.out(1);
    assert!(out.contains("-weight: 5\n+weight: 6\n"), "{out}");
    assert_eq!(generation(&store), 3);
    on(&store, &["undo", "2", "--force"]).out(0);
    assert_eq!(json(&store, &["get", "cell/b"], 0).get("weight"), None);
}

#[test]
fn what_others_need_by_now_is_not_taken_back() {
    let server = Server::start();
    let store = server.store();
    apply(&store, "{kind: Cell, name: a}\n---\n{kind: Cell, name: b}", &[]).out(0);
    apply(&store, GRID, &[]).out(0);
    let out = on(&store, &["undo", "1"]).out(1);
    assert!(out.contains("Cell/a is still needed by 2 references:"), "{out}");
    assert_eq!(generation(&store), 2);
}

#[test]
fn a_large_generation_is_taken_back() {
    let server = Server::start();
    let store = server.store();
    apply(&store, &format!("{GRID}{}", tenants(1_000, "a")), &[]).out(0);
    let before = head(&store)["digest"].clone();
    apply(&store, &tenants(1_000, "b"), &[]).out(0);
    let out = on(&store, &["undo", "2"]).out(0);
    assert!(out.ends_with("1000 changed\n"), "{out}");
    assert_eq!(head(&store)["digest"], before);
}
