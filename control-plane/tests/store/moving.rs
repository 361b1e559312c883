//! Exports and imports.

use super::support::server::Server;
use super::support::{GRID, apply, generation, head, names, on, tenants};

/// The documents of an export, without what it says of itself.
fn documents(export: &str) -> &str {
    export.split_once("---\n").unwrap().1
}

#[test]
fn an_export_read_into_another_etcd_has_the_same_digest() {
    let (one, other) = (Server::start(), Server::start());
    let (from, to) = (one.store(), other.store());
    apply(&from, &format!("{GRID}{}", tenants(500, "b")), &[]).out(0);
    let odd = "kind: Tenant\nname: 'Ä/b:c'\nlimits: {}\n---\nkind: Route\nname: r\nhosts: ['*.x.test']\n\
               paths: [{prefix: /}]\nrespond: {status: 200, body: \"a\\n# b: 'c'\\t\\u0085\"}\n";
    let odd = odd.replace("limits: {}", "grid: shop\ncell: a");
    apply(&from, &odd, &[]).out(0);
    let export = on(&from, &["export"]).out(0);
    assert!(export.starts_with("# gridctl export\n# generation: 2\n# digest: "), "{export}");

    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("export.yaml");
    let file = file.to_str().unwrap();
    on(&from, &["export", "-f", file]).out(0);
    let out = on(&to, &["import", file]).out(0);
    assert!(out.ends_with("generation 1 is in force: 506 created\n"), "{out}");
    assert_eq!(head(&to)["digest"], head(&from)["digest"]);
    assert_eq!(head(&to)["message"], "import of generation 2");
    assert_eq!(documents(&on(&to, &["export"]).out(0)), documents(&export));

    // Exactly what the export has: what came since goes, once somebody says yes.
    apply(&to, "{kind: Cell, name: later}", &[]).out(0);
    on(&to, &["import", file]).err(2);
    on(&to, &["import", file, "--yes"]).out(0);
    assert_eq!(head(&to)["digest"], head(&from)["digest"]);

    // As a directory, too; and an export that lost a part is noticed.
    let place = format!("{}/many/", home.path().display());
    on(&from, &["export", "-f", &place]).out(0);
    std::fs::write(format!("{place}tenants-002.yaml"), "# gridctl export\n---\n{kind: Cell, name: stale}\n").unwrap();
    on(&from, &["export", "-f", &place]).out(0);
    std::fs::write(format!("{place}mine.yaml"), "kind: Cell\nname: mine\n").unwrap();
    assert!(on(&from, &["export", "-f", &place]).err(2).contains("mine.yaml is there and is not of an export"));
    std::fs::remove_file(format!("{place}mine.yaml")).unwrap();
    let again = on(&to, &["import", &place]).out(0);
    assert!(again.contains("506 unchanged"), "{again}");
    std::fs::remove_file(format!("{place}routes.yaml")).unwrap();
    let err = on(&to, &["import", &place, "--yes"]).err(2);
    assert!(err.contains("506 documents, and 505 could be read"), "{err}");
}

#[test]
fn an_emptied_store_is_restored_above_what_routers_had() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    for weight in 1..5 {
        apply(&store, &format!("{{kind: Cell, name: a, weight: {weight}}}"), &[]).out(0);
    }
    let old = head(&store);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("export.yaml");
    on(&store, &["export", "-f", file.to_str().unwrap()]).out(0);
    let mut raw = server.raw();
    raw.delete_below("/gridrouter/");
    raw.put("/gridrouter/live/routers/r1", r#"{"id":"r1","generation":9,"digest":"x","state":"held"}"#);
    let ran = on(&store, &["import", file.to_str().unwrap(), "--adopt"]);
    assert!(ran.err.contains("above generation 9"), "{}", ran.err);
    ran.out(0);
    let new = head(&store);
    assert_eq!((new["generation"].as_u64(), &new["digest"]), (Some(10), &old["digest"]));
    assert_eq!(new["replaces"][0], old["lineage"]);
    assert_eq!(names(&store).len(), 4);
    // The word is given once more for a store that has all documents already.
    let ran = apply(&store, GRID, &["--adopt", "--above", "20", "--replaces", "abc"]);
    ran.out(0);
    assert_eq!(generation(&store), 21);
}
