//! What is applied and deleted, and what is refused.

use super::support::server::Server;
use super::support::{GRID, apply, command, directory, generation, json, names, on, run, tenants};

#[test]
fn documents_are_created_changed_and_left_alone() {
    let server = Server::start();
    let store = server.store();
    let out = apply(&store, GRID, &["-m", "the first cells"]).out(0);
    assert!(out.contains("created  Cell/a\n") && out.ends_with("generation 1 is in force: 4 created\n"), "{out}");
    let again = apply(&store, GRID, &[]).out(0);
    assert!(again.contains("nothing to publish, generation 1 stays: 4 unchanged"), "{again}");
    let changed = apply(&store, "{kind: Cell, name: b, weight: 50}", &["-o", "json"]).out(0);
    let changed: serde_json::Value = serde_json::from_str(&changed).unwrap();
    assert_eq!((changed["generation"].as_u64(), changed["changed"][0].as_str()), (Some(2), Some("Cell/b")));
    assert_eq!(names(&store), ["Grid/shop", "Cell/a", "Cell/b", "Tenant/acme"]);
    let cell = json(&store, &["get", "cells", "b"], 0);
    assert_eq!(cell["weight"], 50);
    let out = on(&store, &["get", "tn", "acme", "-o", "yaml"]).out(0);
    assert_eq!(out, "kind: Tenant\nname: acme\ngrid: shop\ncell: a\n");
    let head = super::support::head(&store);
    assert!(head["author"].as_str().unwrap().starts_with("ann@"), "{head}");
}

#[test]
fn a_dry_run_and_a_diff_change_nothing() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    let mut raw = server.raw();
    let before = raw.revision();
    let document = "{kind: Cell, name: b, weight: 50}";
    let dry = apply(&store, document, &["--dry-run"]).out(0);
    assert!(dry.contains("+weight: 50\n") && dry.contains("changed  Cell/b"), "{dry}");
    assert!(dry.ends_with("dry run, nothing was changed: 1 changed\n"), "{dry}");
    let diff = run(command(&store, &["diff", "-f", "-"]), document).out(1);
    assert!(diff.contains("--- Cell/b (before)") && diff.contains("+weight: 50\n"), "{diff}");
    assert_eq!(run(command(&store, &["diff", "-f", "-"]), GRID).out(0), "");
    run(command(&store, &["diff", "-f", "-"]), "{kind: Cell").err(2);
    let prune = apply(&store, document, &["--prune", "--dry-run"]).out(0);
    assert!(prune.contains("-name: acme\n") && prune.contains("3 deleted, 1 changed"), "{prune}");
    assert_eq!(raw.revision(), before);
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_nothing_is_published() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    let home = directory("kind: Cell\nname: c\n---\nkind: Tenant\nname: t\ngrid: shop\ncell: d\n");
    let place = home.path().to_str().unwrap();
    let ran = on(&store, &["apply", "-f", place]);
    assert!(ran.err.contains("nothing was changed: 1 problem"), "{}", ran.err);
    let out = ran.out(1);
    assert!(out.contains("there is no Cell \"d\"") && out.contains("grid.yaml:7:7"), "{out}");
    // What is in the store is good, and what is new breaks it.
    let out = apply(&store, "{kind: Grid, name: shop, cells: [b]}", &[]).out(1);
    assert!(out.contains("Tenant/acme"), "{out}");
    apply(&store, "kind: Cell\nname: c\nweigth: 1\n", &[]).out(1);
    apply(&store, "# nothing\n", &[]).err(2);
    assert_eq!(generation(&store), 1);
}

#[test]
fn what_others_need_is_not_deleted_and_the_list_says_who_they_are() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    let out = on(&store, &["delete", "cell", "a", "--yes"]).out(1);
    assert!(
        out.contains("Cell/a is still needed by 2 references:\n  Grid/shop, cells[0]\n  Tenant/acme, cell\n"),
        "{out}"
    );
    let err = on(&store, &["delete", "cell", "aa", "--yes"]).err(1);
    assert!(err.contains("there is no Cell/aa; did you mean \"a\"?"), "{err}");
    let err = on(&store, &["get", "route", "shop"]).err(1);
    assert!(err.contains("there is no Route/shop; there is Grid/shop"), "{err}");
    on(&store, &["delete", "cell", "zzz", "--ignore-missing", "--yes"]).out(0);
    on(&store, &["delete", "cells", "--yes"]).err(2);
    assert_eq!(generation(&store), 1);
    let out = on(&store, &["delete", "Tenant/acme", "Grid/shop", "ce/a", "--yes"]).out(0);
    assert!(out.ends_with("generation 2 is in force: 3 deleted\n"), "{out}");
    assert_eq!(names(&store), ["Cell/b"]);
    apply(&store, GRID, &[]).out(0);
    let out = run(command(&store, &["delete", "-f", "-", "--yes"]), GRID).out(0);
    assert!(out.contains("4 deleted"), "{out}");
    assert_eq!(names(&store), Vec::<String>::new());
}

#[test]
fn a_long_list_of_those_who_need_a_document_is_cut() {
    let server = Server::start();
    let store = server.store();
    apply(&store, &format!("{GRID}{}", tenants(300, "b")), &[]).out(0);
    let ran = on(&store, &["delete", "cell", "b", "--yes"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("Cell/b is still needed by 301 references:"), "{}", ran.out);
    assert!(ran.out.contains("  … and 281 more\n") && ran.out.lines().count() < 30, "{}", ran.out);
}

#[test]
fn pruning_deletes_what_the_input_does_not_have_and_only_with_a_yes() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    apply(&store, "{kind: Cell, name: c}", &[]).out(0);
    let err = apply(&store, GRID, &["--prune"]).err(2);
    assert!(err.contains("this deletes 1 document that the input does not have; say --yes"), "{err}");
    apply(&store, "", &["--prune", "--yes"]).err(2);
    assert_eq!(generation(&store), 2);
    let out = apply(&store, GRID, &["--prune", "--yes"]).out(0);
    assert!(out.contains("deleted    Cell/c\n") && out.contains("1 deleted, 4 unchanged"), "{out}");
    assert_eq!(names(&store).len(), 4);
}

#[test]
fn five_thousand_documents_are_one_generation_and_what_is_printed_is_cut() {
    let server = Server::start();
    let store = server.store();
    let documents = format!("{GRID}{}", tenants(5_000, "a"));
    let out = apply(&store, &documents, &[]).out(0);
    assert!(out.contains("… and 4904 more documents") && out.lines().count() < 110, "{out}");
    assert!(out.ends_with("generation 1 is in force: 5004 created\n"));
    assert_eq!(names(&store).len(), 5_004);
    let diff = on(&store, &["history", "1", "--most", "3"]).out(0);
    assert!(diff.contains("5004 documents\n") && diff.contains("… and 5001 more documents"), "{diff}");
    let head = super::support::head(&store);
    assert!(head.get("staged").is_none(), "{head}");
}

#[test]
fn what_somebody_wrote_without_gridctl_is_not_taken_in_by_accident() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    server.raw().put("/gridrouter/config/cell/c", r#"{"kind":"Cell","name":"c","weight":7}"#);
    let err = apply(&store, "{kind: Cell, name: d}", &[]).err(1);
    assert!(err.contains("1 document written without gridctl would come into force with this: Cell/c"), "{err}");
    let status = on(&store, &["status"]).out(1);
    assert!(status.contains("Cell/c") && status.contains("without a head"), "{status}");
    // Applied on purpose, or taken in.
    apply(&store, "{kind: Cell, name: c, weight: 8}", &[]).out(0);
    assert_eq!(json(&store, &["get", "cell/c"], 0)["weight"], 8);
    server.raw().put("/gridrouter/config/cell/e", r#"{"kind":"Cell","name":"e"}"#);
    apply(&store, "{kind: Cell, name: d}", &["--take-in"]).out(0);
    assert_eq!(names(&store).len(), 7);
    on(&store, &["status"]).out(0);
    // Deleted without gridctl.
    server.raw().delete_below("/gridrouter/config/tenant/");
    let err = apply(&store, "{kind: Cell, name: f}", &[]).err(1);
    assert!(err.contains("without gridctl") && err.contains("--take-in"), "{err}");
    on(&store, &["export"]).err(1);
    apply(&store, GRID, &["--prune", "--yes"]).out(0);
    assert_eq!(names(&store).len(), 4);
    on(&store, &["status"]).out(0);
}

#[test]
fn what_is_taken_in_is_part_of_the_change_and_can_be_taken_back() {
    let server = Server::start();
    let (store, mut raw) = (server.store(), server.raw());
    apply(&store, GRID, &[]).out(0);
    let before = super::support::head(&store)["digest"].clone();
    raw.put("/gridrouter/config/cell/b", r#"{ "weight": 7, "kind": "Cell", "name": "b" }"#);
    raw.put("/gridrouter/config/cell/e", r#"{"kind":"Cell","name":"e"}"#);
    raw.delete_below("/gridrouter/config/tenant/acme");
    let out = apply(&store, "{kind: Cell, name: d}", &["--take-in"]).out(0);
    assert!(out.ends_with("generation 2 is in force: 1 deleted, 2 created, 1 changed\n"), "{out}");
    let changes = json(&store, &["history", "2"], 0)["changes"].clone();
    let of = |id: &str| changes.as_array().unwrap().iter().find(|one| one["document"] == id).unwrap().clone();
    assert_eq!(changes.as_array().unwrap().len(), 4, "{changes}");
    assert_eq!(of("Cell/b")["before"], serde_json::json!({"kind": "Cell", "name": "b"}));
    assert_eq!(of("Cell/b")["after"]["weight"], 7);
    assert!(of("Cell/e")["before"].is_null() && of("Tenant/acme")["after"].is_null(), "{changes}");
    assert_eq!(of("Tenant/acme")["before"]["cell"], "a");
    on(&store, &["status"]).out(0);
    on(&store, &["undo", "2", "--yes"]).out(0);
    assert_eq!(super::support::head(&store)["digest"], before);
    on(&store, &["status"]).out(0);
}

#[test]
fn what_etcd_does_not_remember_any_more_is_taken_in_and_stays() {
    let server = Server::start();
    let (store, mut raw) = (server.store(), server.raw());
    apply(&store, GRID, &[]).out(0);
    raw.put("/gridrouter/config/cell/b", r#"{ "kind": "Cell", "name": "b", "weight": 7 }"#);
    let revision = raw.revision();
    raw.client(async |client| client.compact(revision, None).await.map(drop));
    apply(&store, "{kind: Cell, name: d}", &["--take-in"]).out(0);
    on(&store, &["status"]).out(0);
    on(&store, &["undo", "2", "--yes"]).out(0);
    assert_eq!(json(&store, &["get", "cell/b"], 0)["weight"], 7);
    on(&store, &["status"]).out(0);
}

#[test]
fn what_is_wrong_is_not_taken_in() {
    let server = Server::start();
    let (store, mut raw) = (server.store(), server.raw());
    apply(&store, GRID, &[]).out(0);
    for bad in ["{", r#"{"kind":"Cell","name":"other"}"#, r#"{"kind":"Cell","name":"c","weight":-1}"#] {
        raw.put("/gridrouter/config/cell/c", bad);
        let ran = apply(&store, "{kind: Cell, name: d}", &["--take-in"]);
        assert!(ran.err.contains("taken in only if it is right") && ran.err.contains("nothing was changed"), "{ran:?}");
        assert!(ran.out(1).contains("/gridrouter/config/cell/c"));
    }
    raw.put("/gridrouter/config/tenant/t", r#"{"kind":"Tenant","name":"t","grid":"shop","cell":"gone"}"#);
    apply(&store, "{kind: Cell, name: c}", &["--take-in"]).err(1);
    on(&store, &["delete", "tenant", "t", "--yes"]).err(1);
    on(&store, &["delete", "Tenant/t", "Cell/c", "--yes"]).out(0);
    on(&store, &["status"]).out(0);
    // Deleted without gridctl, and others need it.
    raw.delete_below("/gridrouter/config/cell/b");
    let out = apply(&store, "{kind: Cell, name: d}", &["--take-in"]).out(1);
    assert!(out.contains("Cell/b is still needed by 1 reference:\n  Grid/shop, cells[1]"), "{out}");
    apply(&store, "{kind: Cell, name: b}", &[]).out(0);
    on(&store, &["status"]).out(0);
}

#[test]
fn a_document_that_is_not_written_as_gridctl_writes_it_is_written_again() {
    let server = Server::start();
    let (store, mut raw) = (server.store(), server.raw());
    apply(&store, GRID, &[]).out(0);
    let digest = super::support::head(&store)["digest"].clone();
    raw.delete_below("/gridrouter/head");
    raw.put("/gridrouter/config/cell/b", "{ \"kind\": \"Cell\", \"name\": \"b\" }");
    raw.put("/gridrouter/head", "garbage");
    // An unreadable head is replaced by an operator's word, with the documents as they are.
    let err = apply(&store, GRID, &[]).err(2);
    assert!(err.contains("gridctl apply --adopt replaces a head that cannot be read"), "{err}");
    on(&store, &["status"]).err(2);
    apply(&store, "{kind: Cell, name: d}", &["--adopt"]).out(0);
    let head = super::support::head(&store);
    assert_eq!((head["generation"].as_u64(), head["documents"].as_u64()), (Some(2), Some(5)));
    on(&store, &["status"]).out(0);
    on(&store, &["delete", "cell", "d", "--yes"]).out(0);
    assert_ne!(super::support::head(&store)["digest"], digest);
    let again = apply(&store, GRID, &[]).out(0);
    assert!(again.contains("changed    Cell/b\n") && again.contains("1 changed, 3 unchanged"), "{again}");
    assert_eq!(super::support::head(&store)["digest"], digest);
    assert!(apply(&store, GRID, &[]).out(0).contains("4 unchanged"));
}

#[test]
fn a_generation_that_cannot_be_is_refused() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    for above in ["18446744073709551615", "9223372036854775807"] {
        let err = apply(&store, GRID, &["--adopt", "--above", above]).err(2);
        assert!(
            err.contains(&format!("cannot be adopted above generation {above}; 9007199254740992 is the most")),
            "{err}"
        );
    }
    assert_eq!(generation(&store), 1);
    apply(&store, GRID, &["--adopt", "--above", "9007199254740992"]).out(0);
    apply(&store, "{kind: Cell, name: d}", &[]).out(0);
    assert_eq!(generation(&store), 9_007_199_254_740_994);
}
