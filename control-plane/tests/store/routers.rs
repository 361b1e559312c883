//! What live routers have, and waiting for them. The tests are the routers.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::support::server::{Raw, Server};
use super::support::{GRID, apply, eventually, head, json, on};

fn router(raw: &mut Raw, id: &str, generation: u64, digest: &Value) {
    let status = json!({
        "id": id, "address": "127.0.0.1:9901", "version": "0.1.0", "generation": generation, "digest": digest,
        "state": "ready", "quarantined": 0, "since": 1, "started": 1, "somethingNew": {"of": "a later version"},
    });
    raw.put(&format!("/gridrouter/live/routers/{id}"), &status.to_string());
}

#[test]
fn status_is_fine_only_when_every_live_router_has_the_generation_and_its_documents() {
    let server = Server::start();
    let store = server.store();
    let mut raw = server.raw();
    let empty = on(&store, &["status"]).out(0);
    assert!(empty.contains("nothing has been published"), "{empty}");
    apply(&store, GRID, &["-m", "first"]).out(0);
    let digest = head(&store)["digest"].clone();
    router(&mut raw, "r1", 1, &digest);
    let out = on(&store, &["status"]).out(0);
    assert!(out.contains("generation  1\n") && out.contains("message     first\n"), "{out}");
    assert!(out.contains("settled     yes\n") && out.contains("1 of 1 up to date"), "{out}");
    router(&mut raw, "r2", 0, &json!(""));
    router(&mut raw, "r3", 1, &json!("0123"));
    router(&mut raw, "r4", 2, &digest);
    raw.put("/gridrouter/live/routers/r5", "nobody can read this");
    let out = on(&store, &["status"]).out(1);
    let row = |id: &str| out.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{out}"));
    assert!(row("r1").ends_with("up to date") && row("r2").ends_with("behind"), "{out}");
    assert!(row("r3").ends_with("DIVERGED") && row("r4").ends_with("ahead") && row("r5").ends_with("behind"), "{out}");
    let status = json(&store, &["status"], 1);
    assert_eq!((&status["healthy"], &status["routers"][2]["standing"]), (&json!(false), &json!("diverged")));
    assert_eq!(status["routers"][0]["address"], "127.0.0.1:9901");
}

#[test]
fn waiting_ends_when_every_live_router_has_it() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    let mut raw = server.raw();
    let digest = head(&store)["digest"].clone();
    router(&mut raw, "r1", 1, &digest);
    router(&mut raw, "r2", 1, &digest);
    let follow = |id: &'static str, wanted: u64| {
        let (store, mut raw) = (store.clone(), server.raw());
        std::thread::spawn(move || {
            let digest = eventually("the generation", || {
                let head = head(&store);
                if head["generation"].as_u64() == Some(wanted) {
                    Ok(head["digest"].clone())
                } else {
                    Err(head.to_string())
                }
            });
            router(&mut raw, id, wanted, &digest);
        })
    };
    let followers = [follow("r1", 2), follow("r2", 2)];
    let ran = apply(&store, "{kind: Cell, name: c}", &["--wait=80s"]);
    assert!(ran.err.contains("all 2 live routers acknowledged generation 2"), "{}", ran.err);
    assert!(ran.out(0).contains("generation 2 is in force"));
    for follower in followers {
        follower.join().unwrap();
    }
    // What is there already is acknowledged already.
    apply(&store, "{kind: Cell, name: c}", &["--wait"]).out(0);
}

#[test]
fn who_did_not_acknowledge_in_time_is_named() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    let mut raw = server.raw();
    let digest = head(&store)["digest"].clone();
    router(&mut raw, "good", 7, &digest);
    router(&mut raw, "slow", 1, &digest);
    let err = apply(&store, "{kind: Cell, name: c}", &["--wait=300ms"]).err(4);
    assert!(err.contains("1 of 2 routers acknowledged generation 2; waiting for slow (at 1, ready)"), "{err}");
    assert!(err.contains("1 of 2 live routers did not acknowledge generation 2: slow (at 1, ready)"), "{err}");
    assert!(!err.contains("good"), "{err}");
    let err = on(&store, &["delete", "cell", "c", "--wait=200ms", "--yes"]).err(4);
    assert!(err.contains("generation 3: slow"), "{err}");
}

#[test]
fn a_router_with_other_documents_is_not_waited_for_and_one_that_leaves_neither() {
    let server = Server::start();
    let store = server.store();
    let mut raw = server.raw();
    router(&mut raw, "odd", 1, &json!("0123"));
    let err = apply(&store, GRID, &["--wait=80s"]).err(4);
    assert!(err.contains("odd (at 1 with other documents, ready)"), "{err}");
    router(&mut raw, "odd", 1, &json!("0123"));
    let started = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually("generation 2", || {
                let generation = head(&store)["generation"].as_u64();
                if generation == Some(2) { Ok(()) } else { Err(format!("{generation:?}")) }
            });
            started.store(true, Ordering::Relaxed);
            server.raw().delete_below("/gridrouter/live/");
        });
        apply(&store, "{kind: Cell, name: c}", &["--wait=80s"]).out(0);
    });
    assert!(started.load(Ordering::Relaxed));
}

fn put(raw: &mut Raw, id: &str, status: &Value) {
    raw.put(&format!("/gridrouter/live/routers/{id}"), &status.to_string());
}

#[test]
fn routers_that_hold_on_or_follow_another_history_are_named_and_adopt_replaces_what_they_follow() {
    let server = Server::start();
    let store = server.store();
    let mut raw = server.raw();
    apply(&store, GRID, &[]).out(0);
    let old = head(&store)["lineage"].as_str().unwrap().to_owned();
    raw.delete_below("/gridrouter/");
    put(&mut raw, "held", &json!({"generation": 7, "digest": "x", "lineage": old, "state": "held"}));
    put(&mut raw, "other", &json!({"generation": 9, "digest": "x", "lineage": "else", "state": "ready"}));
    let err = apply(&store, GRID, &["--wait=300ms"]).err(4);
    assert!(
        err.contains("2 of 2 live routers did not acknowledge generation 1: held (at 7 and does not follow"),
        "{err}"
    );
    assert!(err.contains("other (at 9 of another history, else, ready)") && err.contains("--adopt"), "{err}");
    let out = on(&store, &["status"]).out(1);
    let row = |id: &str| out.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{out}"));
    assert!(row("held").ends_with("HELD") && row("other").ends_with("another history"), "{out}");
    assert_eq!(json(&store, &["status"], 1)["routers"][1]["standing"], "another-history");

    // The store has a lineage of its own by now, and what routers follow is known from them.
    let own = head(&store)["lineage"].clone();
    let ran = apply(&store, GRID, &["--adopt"]);
    assert!(ran.err.contains("above generation 9"), "{}", ran.err);
    ran.out(0);
    let new = head(&store);
    assert_eq!(new["generation"], 10);
    let replaces: Vec<&Value> = new["replaces"].as_array().unwrap().iter().collect();
    assert!([json!(old), json!("else"), own].iter().all(|one| replaces.contains(&one)), "{new}");
    for id in ["held", "other"] {
        let status = json!({"generation": 10, "digest": new["digest"], "lineage": new["lineage"], "state": "ready"});
        put(&mut raw, id, &status);
    }
    on(&store, &["status"]).out(0);
}

#[test]
fn a_document_that_a_router_refuses_does_not_keep_other_changes_from_being_acknowledged() {
    let server = Server::start();
    let store = server.store();
    let mut raw = server.raw();
    apply(&store, GRID, &[]).out(0);
    let head = head(&store);
    let status = |digest: &str, quarantined: u64| {
        json!({"generation": 1, "digest": digest, "listed": head["digest"], "lineage": head["lineage"],
               "state": "ready", "quarantined": quarantined})
    };
    put(&mut raw, "r1", &status("01", 2));
    put(&mut raw, "r2", &status(head["digest"].as_str().unwrap(), 0));
    let ran = apply(&store, GRID, &["--wait=80s"]);
    assert!(ran.err.contains("all 2 live routers acknowledged generation 1"), "{}", ran.err);
    assert!(ran.err.contains("1 router refuses documents: r1 (at 1, 2 quarantined, ready)"), "{}", ran.err);
    ran.out(0);
    let out = on(&store, &["status"]).out(1);
    assert!(out.contains("refuses 2") && out.contains("1 of 2 up to date"), "{out}");
    // The same was read, nothing refused, and something else is in force.
    put(&mut raw, "r1", &status("01", 0));
    assert!(on(&store, &["status"]).out(1).contains("DIVERGED"));
    put(&mut raw, "r2", &status("01", 0));
    on(&store, &["status"]).out(0);
}
