use super::*;
use crate::ids::{Kind, Name};

mod plans;
mod table;

const BASE: &str = "\
kind: Cell
name: eu-1
---
kind: Cell
name: eu-2
---
kind: Grid
name: shop
cells: [eu-1, eu-2]
---
kind: Service
name: checkout
cells:
  eu-1: {blue: [{address: 10.0.0.1:80}]}
  eu-2: {blue: [{address: 10.0.0.2:80}]}
---
kind: Limit
name: per-tenant
tokenBucket: {rate: 100/s}
---
kind: Route
name: checkout
grid: shop
service: checkout
tenant: {from: [{header: x-tenant-id}]}
limits: [per-tenant]
";

const ACME: &str = "kind: Tenant\nname: acme\ngrid: shop\ncell: eu-2\n";

fn parsed(files: &[(&str, &str)]) -> Vec<Parsed> {
    files.iter().map(|(name, text)| parse(name, text.as_bytes())).collect()
}

/// What is in force after files that are all good.
fn good(files: &[(&str, &str)]) -> InForce {
    let advanced = advance(None, &parsed(files), &TenantTable::default());
    assert!(advanced.problems.is_empty(), "{:#?}", advanced.problems);
    advanced.in_force
}

fn next(before: &InForce, files: &[(&str, &str)]) -> Advanced {
    advance(Some(before), &parsed(files), &TenantTable::default())
}

fn id(kind: Kind, name: &str) -> DocumentId {
    DocumentId { kind, name: Name::parse(name).unwrap() }
}

fn pin(in_force: &InForce, tenant: &str) -> Option<String> {
    Some(in_force.model().tenants.get(tenant)?.pin()?.cell.to_string())
}

fn assert_same_documents(one: &InForce, other: &InForce) {
    assert_eq!(one.digest(), other.digest(), "{:?}", ids(other));
}

fn ids(in_force: &InForce) -> Vec<String> {
    in_force.documents().keys().map(ToString::to_string).collect()
}

/// The one document that was refused: its name, what is in force instead, and the first problem.
fn only(advanced: &Advanced) -> (Option<String>, Fallback, String) {
    let [one] = advanced.quarantined.as_slice() else { panic!("{:#?}", advanced.quarantined) };
    assert_eq!(advanced.problems.len(), one.problems.len());
    (one.id.as_ref().map(ToString::to_string), one.fallback, one.problems[0].message.clone())
}

#[test]
fn good_files_go_live_and_the_same_again_changes_nothing() {
    let first = good(&[("a.yaml", BASE), ("t.yaml", ACME)]);
    assert_eq!(first.documents().len(), 7);
    assert_eq!(pin(&first, "acme").as_deref(), Some("eu-2"));
    // Other order, other layout, other files: the same generation.
    let commented = BASE.replace("---", "# nothing\n---");
    let again = next(&first, &[("z.yaml", ACME), ("b.yaml", &commented)]);
    assert!(!again.changed && again.problems.is_empty());
    assert!(Arc::ptr_eq(first.model(), again.in_force.model()));
    assert_eq!(first.digest(), again.in_force.digest());
    assert_eq!(first.digest().to_string().len(), 32);
    assert_eq!(&*again.in_force.documents()[&id(Kind::Tenant, "acme")].source.file, "z.yaml");
}

#[test]
fn the_digest_is_the_same_in_every_run() {
    assert_eq!(good(&[("a.yaml", BASE)]).digest().to_string(), DIGEST_OF_BASE);
    assert_ne!(good(&[("a.yaml", &BASE.replace("100/s", "101/s"))]).digest().to_string(), DIGEST_OF_BASE);
}

const DIGEST_OF_BASE: &str = "d9dec02a0ea01517086b1ce9c422d15a";

#[test]
fn only_what_changed_is_a_new_arc() {
    let first = good(&[("a.yaml", BASE), ("t.yaml", ACME)]);
    let second = next(&first, &[("a.yaml", BASE), ("t.yaml", &ACME.replace("eu-2", "eu-1"))]);
    assert!(second.changed && second.problems.is_empty());
    let (old, new) = (first.model(), second.in_force.model());
    assert!(Arc::ptr_eq(&old.routes["checkout"], &new.routes["checkout"]));
    assert!(Arc::ptr_eq(&old.services["checkout"], &new.services["checkout"]));
    assert!(Arc::ptr_eq(&old.grids, &new.grids) && !old.tenants.same(&new.tenants));
    assert_eq!(pin(&second.in_force, "acme").as_deref(), Some("eu-1"));
}

#[test]
fn a_bad_document_keeps_its_last_good_version_and_the_rest_goes_live() {
    let first = good(&[("a.yaml", BASE), ("t.yaml", ACME)]);
    for bad in ["wieght: 1\n", "cell: eu-9\n", "cell: [\n", "limits: {per-tenant: {burst: 0}}\n"] {
        let broken = ACME.replace("cell: eu-2\n", bad);
        let now = next(&first, &[("a.yaml", &BASE.replace("100/s", "50/s")), ("t.yaml", &broken)]);
        let (who, fallback, _) = only(&now);
        assert_eq!((who.as_deref(), fallback), (Some("Tenant/acme"), Fallback::LastGood), "{bad}");
        assert_eq!(pin(&now.in_force, "acme").as_deref(), Some("eu-2"));
        assert!(now.changed);
        assert!(!Arc::ptr_eq(&first.model().limits["per-tenant"], &now.in_force.model().limits["per-tenant"]));
    }
}

#[test]
fn a_bad_document_that_never_was_good_is_absent() {
    let now =
        advance(None, &parsed(&[("a.yaml", BASE), ("t.yaml", &ACME.replace("eu-2", "eu-9"))]), &TenantTable::default());
    assert_eq!(only(&now).1, Fallback::Absent);
    assert_eq!(now.in_force.documents().len(), 6);
}

#[test]
fn it_heals() {
    let first = good(&[("a.yaml", BASE), ("t.yaml", ACME)]);
    let broken = next(&first, &[("a.yaml", BASE), ("t.yaml", &ACME.replace("eu-2", "[eu-2"))]);
    assert!(!broken.changed);
    let healed = next(&broken.in_force, &[("a.yaml", BASE), ("t.yaml", &ACME.replace("eu-2", "eu-1"))]);
    assert!(healed.problems.is_empty());
    assert_eq!(pin(&healed.in_force, "acme").as_deref(), Some("eu-1"));
}

#[test]
fn a_document_without_a_name_that_can_be_read_removes_nothing_from_its_file() {
    let both = format!("{ACME}---\n{}", ACME.replace("acme", "bolt"));
    let first = good(&[("a.yaml", BASE), ("t.yaml", &both)]);
    for broken in [both.replace("name: bolt", "nam: bolt"), both.replace("---\nkind: Tenant", "---\nkind: Tennant")] {
        let now = next(&first, &[("a.yaml", BASE), ("t.yaml", &broken)]);
        assert_eq!((only(&now).0, only(&now).1), (None, Fallback::LastGood));
        assert_same_documents(&first, &now.in_force);
    }
}

#[test]
fn a_lost_separator_removes_nothing() {
    let both = format!("{ACME}---\n{}", ACME.replace("acme", "bolt"));
    let first = good(&[("a.yaml", BASE), ("t.yaml", &both)]);
    for broken in [both.replace("---", "#--"), both.replace("---", "-"), both.replace("---", "")] {
        let now = next(&first, &[("a.yaml", BASE), ("t.yaml", &broken)]);
        assert_eq!(now.quarantined.len(), 1);
        assert_same_documents(&first, &now.in_force);
    }
}

#[test]
fn a_half_written_file_removes_nothing() {
    let first = good(&[("a.yaml", BASE), ("t.yaml", ACME)]);
    for blank in ["", "\n", "  \n\t\n", "\u{feff}"] {
        let now = next(&first, &[("a.yaml", BASE), ("t.yaml", blank)]);
        let (who, fallback, message) = only(&now);
        assert_eq!((who, fallback), (None, Fallback::LastGood));
        assert_eq!(message, "file is empty, and held \"Tenant/acme\"");
        assert_same_documents(&first, &now.in_force);
        // And it stays so however often one looks.
        let later = next(&now.in_force, &[("a.yaml", BASE), ("t.yaml", blank)]);
        assert!(!later.changed && later.quarantined.len() == 1);
    }
    // A file that never held anything may be empty, and one of comments alone was meant.
    assert!(advance(None, &parsed(&[("a.yaml", BASE), ("t.yaml", "")]), &TenantTable::default()).problems.is_empty());
    let now = next(&first, &[("a.yaml", BASE), ("t.yaml", "# nobody\n")]);
    assert!(now.problems.is_empty() && pin(&now.in_force, "acme").is_none());
}

#[test]
fn a_file_that_cannot_be_read_removes_nothing() {
    let first = good(&[("a.yaml", BASE), ("t.yaml", ACME)]);
    let now = advance(
        Some(&first),
        &[parse("a.yaml", BASE.as_bytes()), Parsed::unreadable("t.yaml", "permission denied")],
        &TenantTable::default(),
    );
    assert_eq!(only(&now), (None, Fallback::LastGood, "permission denied".to_owned()));
    assert_same_documents(&first, &now.in_force);
}

#[test]
fn a_deleted_file_removes_its_documents() {
    let first = good(&[("a.yaml", BASE), ("t.yaml", ACME)]);
    let now = next(&first, &[("a.yaml", BASE)]);
    assert!(now.changed && now.problems.is_empty());
    assert!(now.in_force.model().tenants.is_empty());
}

#[test]
fn a_deletion_is_held_back_until_nothing_refers_to_it() {
    let first = good(&[
        ("a.yaml", BASE),
        ("l.yaml", "kind: Limit\nname: extra\ntokenBucket: {rate: 1/s}\n"),
        ("t.yaml", &format!("{ACME}limits: {{extra: {{burst: 9}}}}\n")),
    ]);
    let tenant = format!("{ACME}limits: {{extra: {{burst: 9}}}}\n");
    let now = next(&first, &[("a.yaml", BASE), ("t.yaml", &tenant)]);
    let (who, fallback, message) = only(&now);
    assert_eq!((who.as_deref(), fallback), (Some("Limit/extra"), Fallback::DeletionHeld));
    assert_eq!(message, "Limit/extra was removed, and Tenant/acme at t.yaml:5 still needs it");
    assert!(!now.changed);
    assert_same_documents(&first, &now.in_force);
    let later = next(&now.in_force, &[("a.yaml", BASE), ("t.yaml", ACME)]);
    assert!(later.problems.is_empty());
    assert!(!later.in_force.model().limits.contains_key("extra"));
}

#[test]
fn a_whole_group_may_be_deleted_at_once() {
    let first = good(&[("a.yaml", BASE), ("t.yaml", ACME)]);
    let now = next(&first, &[]);
    assert!(now.problems.is_empty() && now.changed);
    assert!(now.in_force.documents().is_empty());
}

#[test]
fn a_change_that_breaks_others_is_held_back() {
    let first = good(&[("a.yaml", BASE), ("t.yaml", ACME)]);
    let smaller = BASE.replace("[eu-1, eu-2]", "[eu-1]");
    let now = next(&first, &[("a.yaml", &smaller), ("t.yaml", ACME)]);
    let (who, fallback, message) = only(&now);
    assert_eq!((who.as_deref(), fallback), (Some("Grid/shop"), Fallback::LastGood));
    assert_eq!(
        message,
        "this change of Grid/shop breaks Tenant/acme at t.yaml:4: cell \"eu-2\" is not in grid \"shop\""
    );
    assert_same_documents(&first, &now.in_force);
    // Both at once are fine.
    let now = next(&first, &[("a.yaml", &smaller), ("t.yaml", &ACME.replace("eu-2", "eu-1"))]);
    assert!(now.problems.is_empty());
}

#[test]
fn a_new_document_that_refers_to_a_bad_new_one_waits_for_it() {
    let first = good(&[("a.yaml", BASE)]);
    let files = [
        ("a.yaml", BASE),
        (
            "b.yaml",
            "kind: Cell\nname: us-1\nweight: 0\n---\nkind: Grid\nname: us\ncells: [us-1]\n---\nkind: Tenant\nname: zeta\ngrid: us\ncell: us-1\n",
        ),
    ];
    let now = next(&first, &files);
    assert!(!now.changed);
    let refused: Vec<String> = now.quarantined.iter().map(|one| one.id.as_ref().unwrap().to_string()).collect();
    assert_eq!(refused, ["Grid/us", "Cell/us-1", "Tenant/zeta"]);
    assert!(now.quarantined.iter().all(|one| one.fallback == Fallback::Absent));
    let grid = now.problems.iter().find(|problem| problem.document == Some(id(Kind::Grid, "us"))).unwrap();
    assert_eq!(grid.missing, Some(id(Kind::Cell, "us-1")));
    assert_eq!(grid.help.as_deref(), Some("it is there, at b.yaml:3, with a problem of its own"));
    let fixed = next(&now.in_force, &[files[0], ("b.yaml", &files[1].1.replace("weight: 0", "weight: 1"))]);
    assert!(fixed.problems.is_empty());
    assert_eq!(pin(&fixed.in_force, "zeta").as_deref(), Some("us-1"));
}

#[test]
fn the_document_in_force_wins_over_its_copies() {
    let first = good(&[("a.yaml", BASE), ("t.yaml", ACME)]);
    // A copy in a file that comes first, then one in the same file, before and after.
    let edited = ACME.replace("eu-2", "eu-1");
    let cases = [
        vec![("0.yaml", edited.clone()), ("t.yaml", ACME.to_owned())],
        vec![("t.yaml", format!("{edited}---\n{ACME}"))],
        vec![("t.yaml", format!("{ACME}---\n{edited}"))],
    ];
    for case in cases {
        let mut files = vec![("a.yaml", BASE)];
        files.extend(case.iter().map(|(name, text)| (*name, text.as_str())));
        let now = next(&first, &files);
        assert_eq!(only(&now).2, "Tenant \"acme\" is defined twice");
        assert_same_documents(&first, &now.in_force);
    }
    // Moved to another file it is the same document.
    assert!(!next(&first, &[("a.yaml", BASE), ("u.yaml", ACME)]).changed);
}

#[test]
fn a_new_route_does_not_unseat_one_that_it_overlaps() {
    let first = good(&[("m.yaml", BASE)]);
    let copy = "kind: Route\nname: other\nrespond: {status: 200}\n";
    for name in ["a.yaml", "z.yaml"] {
        let now = next(&first, &[("m.yaml", BASE), (name, copy)]);
        assert_eq!((only(&now).0.as_deref(), only(&now).1), (Some("Route/other"), Fallback::Absent));
        assert_same_documents(&first, &now.in_force);
    }
}

#[test]
fn draining_the_last_cell_is_held_back() {
    let first = good(&[("a.yaml", BASE)]);
    let drained = BASE
        .replace("name: eu-1\n---", "name: eu-1\nstate: draining\n---")
        .replace("name: eu-2\n---", "name: eu-2\nstate: offline\n---");
    let now = next(&first, &[("a.yaml", &drained)]);
    assert_eq!(only(&now).0.as_deref(), Some("Cell/eu-1"));
    assert!(now.changed, "the other cell's change is live");
}

#[test]
fn documents_without_text_go_live_too() {
    let first = good(&[("a.yaml", BASE), ("t.yaml", ACME)]);
    let bare = first.documents().values().map(|entry| {
        let source = &entry.source;
        Arc::new(SourceDocument::from_raw(&source.file, source.line, source.raw.clone()).unwrap())
    });
    let second = advance(None, &[Parsed::from_documents("last-good", bare.collect())], &TenantTable::default());
    assert!(second.problems.is_empty());
    assert_eq!(first.digest(), second.in_force.digest());
    // The files take over from them without a change, also one that was broken in the meantime.
    for tenants in [ACME, "kind: Ten", ""] {
        let third = next(&second.in_force, &[("a.yaml", BASE), ("t.yaml", tenants)]);
        assert!(!third.changed, "{tenants}");
        assert_eq!(third.problems.is_empty(), tenants == ACME);
    }
}

#[test]
fn a_check_counts_good_and_bad() {
    let files = [("a.yaml".to_owned(), BASE.as_bytes().to_vec()), ("b.yaml".to_owned(), b"kind: Cell\n".to_vec())];
    let report = check_sources(&files);
    assert_eq!((report.documents, report.problems.len(), report.in_force.documents().len()), (7, 1, 6));
}
