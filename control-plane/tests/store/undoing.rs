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
    let out = on(&store, &["undo", "2", "--yes"]).out(0);
    assert!(out.ends_with("generation 3 is in force: 1 deleted, 1 changed\n"), "{out}");
    assert_eq!(head(&store)["digest"], before);
    assert_eq!(head(&store)["message"], "undo generation 2");
    let again = on(&store, &["undo", "2", "--yes"]).out(0);
    assert!(again.contains("nothing to publish"), "{again}");
    // The undo can be undone.
    on(&store, &["undo", "3", "--yes"]).out(0);
    assert_eq!(json(&store, &["get", "cell/b"], 0)["weight"], 5);
}

#[test]
fn what_was_changed_again_since_is_shown_and_kept() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    apply(&store, "{kind: Cell, name: b, weight: 5}", &[]).out(0);
    apply(&store, "{kind: Cell, name: b, weight: 6}", &[]).out(0);
    let ran = on(&store, &["undo", "2", "--yes"]);
    assert!(ran.err.contains("1 document changed again since generation 2: Cell/b"), "{}", ran.err);
    let out = ran.out(1);
    assert!(out.contains("-weight: 5\n+weight: 6\n"), "{out}");
    assert_eq!(generation(&store), 3);
    on(&store, &["undo", "2", "--force", "--yes"]).out(0);
    assert_eq!(json(&store, &["get", "cell/b"], 0).get("weight"), None);
}

#[test]
fn what_others_need_by_now_is_not_taken_back() {
    let server = Server::start();
    let store = server.store();
    apply(&store, "{kind: Cell, name: a}\n---\n{kind: Cell, name: b}", &[]).out(0);
    apply(&store, GRID, &[]).out(0);
    let out = on(&store, &["undo", "1", "--yes"]).out(1);
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
    let out = on(&store, &["undo", "2", "--yes"]).out(0);
    assert!(out.ends_with("1000 changed\n"), "{out}");
    assert_eq!(head(&store)["digest"], before);
}

#[test]
fn the_history_is_searched_by_document_author_and_age() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &["--author", "ann"]).out(0);
    apply(&store, "{kind: Cell, name: b, weight: 5}", &["--author", "Bob", "-m", "more"]).out(0);
    apply(&store, &tenants(300, "a"), &["--author", "ann"]).out(0);
    let found = |more: &[&str]| {
        let out = on(&store, &[&["history", "-o", "name"], more].concat()).out(0);
        out.lines().map(|line| line.parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(found(&[]), [3, 2, 1]);
    assert_eq!(found(&["--document", "Cell/b"]), [2, 1]);
    assert_eq!(found(&["--document", "cells/b", "--author", "bob"]), [2]);
    // The entry names a hundred documents, and this one is none of them.
    assert_eq!(found(&["--document", "tn/t000299"]), [3]);
    assert_eq!(found(&["--document", "tn/unknown"]), Vec::<u64>::new());
    assert_eq!(found(&["--author", "ann", "-n", "1"]), [3]);
    assert_eq!(found(&["--since", "7d"]), [3, 2, 1]);
    assert!(on(&store, &["history", "--document", "Cel/b"]).err(2).contains("did you mean \"Cell\"?"));
    on(&store, &["history", "2", "--author", "ann"]).err(2);
    let err = on(&store, &["undo", "2"]).err(2);
    assert!(err.contains("this takes back what generation 2 changed; say --yes"), "{err}");
}

#[test]
fn a_step_of_a_shift_is_not_undone() {
    let server = Server::start();
    let store = server.store();
    let service =
        "{kind: Cell, name: a}\n---\n{kind: Service, name: s, cells: {a: {blue: [{address: 127.0.0.1:1}], green: []}}}";
    apply(&store, service, &[]).out(0);
    let steps = "[{weight: 1%, hold: 1h}, {weight: 100%, hold: 1h}]";
    let shift = format!("{{kind: Shift, name: x, service: s, to: green, waves: [{{cells: [a]}}], steps: {steps}");
    apply(&store, &format!("{shift}, state: {{phase: Running, shares: {{a: 1%}}, started: 1, since: 1}}}}"), &[])
        .out(0);
    on(&store, &["shift", "promote", "x", "--yes"]).out(0);
    for more in [&["undo", "3", "--yes"][..], &["undo", "2", "--yes", "--force"]] {
        let ran = on(&store, more);
        assert!(ran.err.contains("shift \"x\" would go on from where it is put"), "{}", ran.err);
        assert_eq!((ran.code, generation(&store)), (Some(1), 3));
    }
    on(&store, &["shift", "abort", "x", "--yes"]).out(0);
    let err = on(&store, &["undo", "3", "--yes", "--force"]).err(1);
    assert!(err.contains("shift \"x\" is Aborted, and would go on") && err.contains("`gridctl shift start`"), "{err}");
    on(&store, &["undo", "2", "--yes", "--force"]).out(0);
}

#[test]
fn of_a_shift_that_has_succeeded_only_the_way_back_is_offered() {
    let server = Server::start();
    let store = server.store();
    let service = "{kind: Cell, name: a}\n---\n{kind: Service, name: s, cells: {a: {blue: [{address: 127.0.0.1:1}], \
                   green: [{address: 127.0.0.1:2}]}}}";
    apply(&store, service, &[]).out(0);
    let shift = "{kind: Shift, name: x, service: s, to: green, waves: [{cells: [a]}], steps: [{weight: 100%, hold: 1h}], \
                 state: {phase: Running, shares: {a: 100%}, started: 1, since: 1}}";
    apply(&store, shift, &[]).out(0);
    on(&store, &["shift", "pause", "x"]).out(0);
    on(&store, &["shift", "promote", "x", "--full", "--yes"]).out(0);
    let err = on(&store, &["undo", "4", "--yes"]).err(1);
    assert!(
        err.contains("shift \"x\" is Succeeded") && err.contains("say `gridctl shift rollback x` instead"),
        "{err}"
    );
    assert!(!err.contains("pause") && !err.contains("abort"), "{err}");
    let err = on(&store, &["undo", "3", "--yes"]).err(1);
    assert!(err.contains("gridctl shift rollback x") && !err.contains("--force"), "it would not help: {err}");
    on(&store, &["shift", "rollback", "x", "--yes"]).out(0);
}

#[test]
fn the_history_of_a_name_that_nobody_knows_is_an_error() {
    let server = Server::start();
    let store = server.store();
    let service = "{kind: Cell, name: a}\n---\n{kind: Grid, name: shop, cells: [a]}\n---\n{kind: Service, name: s, cells: {a: {blue: [{address: 127.0.0.1:1}], \
                   green: [{address: 127.0.0.1:2}]}}}";
    apply(&store, service, &["--author", "ann"]).out(0);
    let shift =
        "{kind: Shift, name: canary, service: s, to: green, waves: [{cells: [a]}], steps: [{weight: 100%, hold: 1h}]}";
    apply(&store, shift, &["--author", "bob"]).out(0);
    let err = on(&store, &["shift", "history", "nope"]).err(2);
    assert!(err.contains("there is no shift \"nope\", and the history names none; `gridctl get shift` lists"), "{err}");
    let err = on(&store, &["shift", "history", "canray"]).err(2);
    assert!(err.contains("did you mean \"canary\"?"), "{err}");
    // What was too much to be kept may have been about anything: it is in nobody's list, and that is said.
    apply(&store, &tenants(700, "a"), &["--author", "carl"]).out(0);
    for n in 0..101 {
        apply(&store, &format!("{{kind: Cell, name: a, weight: {}}}", n + 2), &[]).out(0);
    }
    let ran = on(&store, &["shift", "history", "canary", "-o", "name"]);
    assert_eq!(ran.err, "not listed, because it is not known any more all that they changed: generation 3\n");
    assert_eq!(ran.out(0), "2\n");
    let err = on(&store, &["shift", "history", "nope"]).err(2);
    assert!(err.contains("names none (not listed, because") && err.contains("generation 3)"), "{err}");
    // One that is deleted is known all the same, also to whoever mistypes it.
    on(&store, &["delete", "shift", "canary", "--yes"]).out(0);
    assert_eq!(on(&store, &["shift", "history", "canary", "-o", "name"]).out(0), "105\n2\n");
    assert!(on(&store, &["shift", "history", "canray"]).err(2).contains("did you mean \"canary\"?"));
}
