use std::collections::{BTreeMap, BTreeSet};

use gridrouter_config::codec::parse;

use super::super::super::Wanted;
use super::*;

fn site(text: &str) -> Site {
    let parsed = parse("store", text.as_bytes());
    assert!(parsed.broken.is_empty(), "{text}");
    let documents = parsed.documents.into_iter().map(|one| (one.id.clone(), one)).collect();
    let (broken, faults, foreign, odd) = (Vec::new(), Vec::new(), BTreeMap::new(), BTreeSet::new());
    Site { documents, broken, foreign, odd, complaint: None, faults, base: None }
}

fn one(phase: &str) -> String {
    format!(
        "kind: Move\nname: m\ntenant: t\ngrid: g\nfrom: a\nto: b\nstate: {{phase: {phase}, started: 1, since: 2, deadline: 3}}\n"
    )
}

fn store(phase: &str) -> Site {
    let cell = if ["Flipping", "Succeeded"].contains(&phase) { "b" } else { "a" };
    site(&format!(
        "{{kind: Grid, name: g, cells: [a, b, c]}}\n---\n{{kind: Cell, name: a}}\n---\n{{kind: Cell, name: b}}\n---\n\
         {{kind: Tenant, name: t, grid: g, cell: {cell}}}\n---\n{}",
        one(phase)
    ))
}

fn put(site: &Site, text: &str, moves: Moves) -> Result<(), String> {
    let files = [parse("input", text.as_bytes())];
    assert!(files[0].broken.is_empty(), "{text}");
    left_alone(site, &Plan::new(site, &Wanted::of_files(&files)), moves)
}

fn delete(site: &Site, kind: Kind, name: &str) -> Result<(), String> {
    let name = if kind == Kind::Tenant { Name::tenant(name) } else { Name::parse(name) };
    let delete = [DocumentId { kind, name: name.unwrap() }].into();
    left_alone(site, &Plan::new(site, &Wanted { delete, ..Wanted::default() }), Moves::AreNotWritten)
}

const UNDER_WAY: [&str; 4] = ["Fencing", "Fenced", "Flipping", "RollingBack"];
const OVER: [&str; 3] = ["Succeeded", "RolledBack", "Failed"];

#[test]
fn nobody_but_gridctl_and_the_controller_writes_moves() {
    let (all, none) = (UNDER_WAY.into_iter().chain(OVER), site(""));
    for phase in all.clone() {
        assert_eq!(put(&store(phase), &one(phase), Moves::AreNotWritten), Ok(()), "{phase}: it says the same");
        let new = put(&none, &one(phase), Moves::AreNotWritten).unwrap_err();
        assert!(new.contains("begun with `gridctl tenant move`"), "{new}");
        for other in all.clone().filter(|other| *other != phase) {
            assert!(put(&store(phase), &one(other), Moves::AreNotWritten).is_err(), "{phase} to {other}");
        }
    }
    for phase in UNDER_WAY {
        let why = delete(&store(phase), Kind::Move, "m").unwrap_err();
        assert!(why.starts_with("move \"m\" is under way") && why.contains("`gridctl move rollback m`"), "{why}");
    }
    for phase in OVER {
        assert_eq!(delete(&store(phase), Kind::Move, "m"), Ok(()));
    }
}

#[test]
fn an_import_has_records_and_restores_fences_only_where_that_is_wanted() {
    let none = site("");
    for phase in OVER {
        assert_eq!(put(&none, &one(phase), Moves::AreRecords), Ok(()));
        assert!(put(&store("Fenced"), &one(phase), Moves::AreRestored).is_err(), "one that is under way stays");
    }
    for phase in UNDER_WAY {
        assert!(put(&none, &one(phase), Moves::AreRecords).unwrap_err().contains("say --adopt"));
        assert!(put(&store("Succeeded"), &one(phase), Moves::AreRecords).is_err());
        assert_eq!(put(&none, &one(phase), Moves::AreRestored), Ok(()));
    }
}

#[test]
fn what_a_move_rests_on_stays_until_it_has_ended() {
    let tenant = |pin: &str| format!("{{kind: Tenant, name: t{pin}}}");
    let put = |phase: &str, text: &str| put(&store(phase), text, Moves::AreNotWritten);
    for phase in UNDER_WAY {
        let place = if phase == "Flipping" { "b" } else { "a" };
        assert_eq!(put(phase, &tenant(&format!(", grid: g, cell: {place}, plan: gold"))), Ok(()), "{phase}");
        for pin in ["", ", grid: g, cell: c"] {
            let why = put(phase, &tenant(pin)).unwrap_err();
            assert!(why.contains("tenant \"t\"") && why.contains("move \"m\""), "{phase} {pin}: {why}");
        }
        assert!(delete(&store(phase), Kind::Tenant, "t").is_err());
        assert_eq!(put(phase, "{kind: Cell, name: b, weight: 7}"), Ok(()));
        assert_eq!(put(phase, "{kind: Cell, name: a, state: draining}"), Ok(()), "it is where the tenant comes from");
    }
    for phase in ["Fencing", "Fenced", "Flipping"] {
        for state in ["draining", "offline"] {
            let why = put(phase, &format!("{{kind: Cell, name: b, state: {state}}}")).unwrap_err();
            assert!(why.starts_with("cell \"b\" cannot be anything but active: move \"m\""), "{why}");
        }
        assert!(delete(&store(phase), Kind::Cell, "b").unwrap_err().contains("cannot be deleted"));
        assert!(put(phase, "{kind: Grid, name: g, cells: [a, c]}").unwrap_err().contains("cannot go without"));
        assert_eq!(put(phase, "{kind: Grid, name: g, cells: [a, b]}"), Ok(()));
    }
    for phase in OVER {
        assert_eq!(put(phase, &tenant("")), Ok(()));
        assert_eq!(put(phase, "{kind: Cell, name: b, state: offline}"), Ok(()));
        assert_eq!(delete(&store(phase), Kind::Tenant, "t"), Ok(()));
    }
}

#[test]
fn what_ended_long_ago_is_no_matter_of_files() {
    let left = |phase: &str, site: &Site| {
        let mut files = [parse("input", format!("{}---\n{{kind: Cell, name: a}}\n", one(phase)).as_bytes())];
        (leave_out_ended(&mut files, site), files[0].documents.len())
    };
    for phase in OVER {
        assert_eq!(left(phase, &site("")), (1, 1));
        assert_eq!(left(phase, &store(phase)), (0, 2));
    }
    assert_eq!(left("Fenced", &site("")), (0, 2));
}
