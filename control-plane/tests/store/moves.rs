//! Moves, and what they rest on, are nobody's to write but of gridctl's own verbs and the controller's.

use super::support::server::Server;
use super::support::{GRID, Ran, apply, generation, json, names, on};

/// A store with a move that somebody has left in the phase Fenced. Routers are none.
fn left() -> (Server, String) {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    let (verb, hook) = (["tenant", "move", "acme", "--to", "b", "--name", "m"], ["--hook", "sleep 60"]);
    let mut child = super::support::command(&store, &[&verb[..], &hook].concat()).spawn().unwrap();
    super::support::eventually("the fence", || match phase(&store).as_str() {
        "Fenced" => Ok(()),
        other => Err(other.to_owned()),
    });
    child.kill().unwrap();
    child.wait().unwrap();
    (server, store)
}

fn phase(store: &str) -> String {
    let all = json(store, &["move", "list", "--all"], 0);
    all["moves"][0]["phase"].as_str().unwrap_or_default().to_owned()
}

/// Expects that it was refused because of the move, and that nothing has changed.
fn refused(store: &str, ran: Ran, why: &str) {
    assert!(ran.err.contains(why) && ran.err.contains("nothing was changed"), "{why}: {ran:?}");
    ran.out(1);
    assert_eq!(phase(store), "Fenced");
}

#[test]
fn a_move_under_way_and_what_it_rests_on_are_left_alone() {
    let (_server, store) = left();
    let before = generation(&store);
    let exported = on(&store, &["get", "move", "m", "-o", "yaml"]).out(0);
    for phase in ["Fencing", "Flipping", "Succeeded", "RolledBack"] {
        let other = exported.replace("phase: Fenced", &format!("phase: {phase}"));
        refused(&store, apply(&store, &other, &[]), "move \"m\" is under way");
    }
    let new = exported.replace("name: m\n", "name: n\n").replace("phase: Fenced", "phase: Flipping");
    refused(&store, apply(&store, &new, &[]), "moves are begun with `gridctl tenant move`");
    refused(&store, on(&store, &["delete", "move", "m", "--yes"]), "`gridctl move rollback m`");
    refused(&store, on(&store, &["delete", "tenant", "acme", "--yes"]), "move \"m\" has tenant \"acme\" on its way");
    refused(
        &store,
        apply(&store, "{kind: Tenant, name: acme, grid: shop, cell: b}", &[]),
        "the pin of tenant \"acme\"",
    );
    refused(&store, apply(&store, "{kind: Cell, name: b, state: offline}", &[]), "cell \"b\" cannot be anything but");
    let undone = on(&store, &["undo", &before.to_string(), "--yes", "--force"]);
    assert!(undone.err.contains("say `gridctl move rollback m` instead"), "{undone:?}");
    assert_eq!(generation(&store), before);

    // What is not its own can be changed, and all of it applied again.
    apply(
        &store,
        "{kind: Tenant, name: acme, grid: shop, cell: a, limits: {}}\n---\n{kind: Cell, name: b, weight: 3}",
        &[],
    )
    .out(0);
    let all = on(&store, &["export"]).out(0);
    assert!(all.contains("kind: Move"), "{all}");
    apply(&store, &all, &["--prune", "--yes"]).out(0);
    assert_eq!(phase(&store), "Fenced");
    on(&store, &["move", "rollback", "m", "--yes"]).out(0);

    // What was exported meanwhile does not come back, and what has ended may be in files for good.
    let stale = apply(&store, &all, &[]);
    assert!(stale.err.contains("move \"m\" is not as the store has it"), "{stale:?}");
    stale.out(1);
    assert_eq!(phase(&store), "RolledBack");
    let ended = on(&store, &["export"]).out(0);
    apply(&store, &ended, &[]).out(0);
    on(&store, &["delete", "move", "m", "--yes"]).out(0);
    let again = apply(&store, &ended, &[]);
    assert!(
        again.err.contains("1 move of the files ended, and the store has no record any more: left out"),
        "{again:?}"
    );
    again.out(0);
    assert!(!names(&store).contains(&"Move/m".to_owned()));
    let home = super::support::directory(&ended);
    let file = home.path().join("grid.yaml");
    on(&store, &["import", file.to_str().unwrap(), "--yes"]).out(0);
    assert!(names(&store).contains(&"Move/m".to_owned()), "an import has the record, too");
}

#[test]
fn a_restored_store_has_its_fences_again() {
    let (_server, store) = left();
    let all = on(&store, &["export"]).out(0);
    let home = super::support::directory(&all);
    let file = home.path().join("grid.yaml");
    let file = file.to_str().unwrap();
    on(&store, &["move", "rollback", "m", "--yes"]).out(0);
    on(&store, &["delete", "move", "m", "--yes"]).out(0);
    let stale = on(&store, &["import", file, "--yes"]);
    assert!(stale.err.contains("was under way when this was exported"), "{stale:?}");
    stale.out(1);
    let other = Server::start();
    on(&other.store(), &["import", file]).out(0);
    assert_eq!(phase(&other.store()), "Fenced");
}

#[test]
fn a_move_without_a_hook_has_to_be_meant_and_a_dry_run_says_what_would_be_refused() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    let moves = |more: &[&str]| on(&store, &[&["tenant", "move", "acme", "--to", "b"], more].concat());
    let asked = moves(&[]).err(2);
    assert!(
        asked.contains(
            "this moves tenant acme of grid shop from a to b, and copies no data, because no --hook is given; say --yes"
        ),
        "{asked}"
    );
    for wrong in [["--hold", "abc"], ["--hold", "61s"], ["--retry-after", "2h"]] {
        let (real, dry) = (moves(&[&wrong[..], &["--yes"]].concat()), moves(&[&wrong[..], &["--dry-run"]].concat()));
        assert_eq!(dry.err(2), real.err(2));
    }
    let dry = json(&store, &["tenant", "move", "acme", "--to", "b", "--dry-run"], 0);
    assert_eq!((&dry["from"], &dry["published"], &dry["phase"]), (&"a".into(), &false.into(), &"Fencing".into()));
    assert_eq!(generation(&store), 1);
    moves(&["--yes", "--name", "m"]).out(0);
    let late = json(&store, &["move", "list", "--all"], 0);
    assert_eq!(late["moves"][0]["phase"], "Succeeded");
    let back = on(&store, &["move", "rollback", "m", "--dry-run"]).err(2);
    assert!(back.contains("`gridctl tenant move acme --grid shop --to a`"), "{back}");
}

#[test]
fn who_forgets_a_router_is_in_the_history_and_a_protected_context_is_asked_for() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    server.raw().put("/gridrouter/control/routers/ghost", "");
    let forget = |more: &[&str]| on(&store, &[&["move", "forget-router", "ghost", "--has-ended"], more].concat());
    assert!(forget(&["--dry-run"]).out(0).contains("dry run, nothing was changed: forgets router ghost"));
    assert_eq!(generation(&store), 1);
    forget(&["-m", "the machine is switched off", "--author", "bob"]).out(0);
    let history = json(&store, &["history"], 0);
    assert_eq!(
        (&history[0]["author"], &history[0]["message"], &history[0]["changed"]),
        (&"bob".into(), &"forgets router ghost, which has ended: the machine is switched off".into(), &0.into())
    );
    forget(&[]).err(2);
    assert_eq!(generation(&store), 2, "what is not there is not noted");
    on(&store, &["history", "2"]).out(0);
    apply(&store, "{kind: Cell, name: b, weight: 3}", &[]).out(0);
}
