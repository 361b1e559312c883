//! A directory of files as the store.

use super::support::{GRID, apply, command, directory, eventually, names, on, run};

#[test]
fn a_directory_is_a_store_that_keeps_comments_and_has_no_history() {
    let home = directory(&GRID.replace("kind: Grid", "# our grid\nkind: Grid"));
    let store = home.path().to_str().unwrap();
    let file = home.path().join("grid.yaml");
    assert_eq!(names(store), ["Grid/shop", "Cell/a", "Cell/b", "Tenant/acme"]);
    let change = "{kind: Cell, name: b, weight: 5}\n---\n{kind: Cell, name: c}";
    let diff = run(command(store, &["diff", "-f", "-"]), change).out(1);
    assert!(diff.contains("+weight: 5"), "{diff}");
    apply(store, change, &["--dry-run"]).out(0);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("weight"));
    let out = apply(store, change, &[]).out(0);
    assert!(out.ends_with("files were changed: 1 created, 1 changed\n"), "{out}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# our grid\nkind: Grid") && text.contains("name: b\nweight: 5\n"), "{text}");
    assert_eq!(std::fs::read_to_string(home.path().join("cells.yaml")).unwrap(), "kind: Cell\nname: c\n");
    on(store, &["check", store]).out(0);

    let out = on(store, &["delete", "cell", "a", "--yes"]).out(1);
    assert!(out.contains("Cell/a is still needed by 2 references"), "{out}");
    on(store, &["delete", "cell", "c", "--yes"]).out(0);
    assert!(!home.path().join("cells.yaml").exists());
    let again = apply(store, GRID, &["--prune", "--yes"]).out(0);
    assert!(again.contains("1 changed, 3 unchanged"), "{again}");
    let export = on(store, &["export"]).out(0);
    assert!(export.starts_with("# gridctl export\n# documents: 4\n---\n"), "{export}");

    assert!(on(store, &["history"]).err(2).contains("keeps no history; keep it in git"));
    assert!(on(store, &["undo", "1", "--yes"]).err(2).contains("keeps no history; keep it in git"));
    assert!(on(store, &["status"]).err(2).contains("has no live routers"));
    assert!(apply(store, GRID, &["--wait"]).err(2).contains("no live routers to wait for"));
    assert!(on("/nowhere", &["get"]).err(2).contains("cannot read directory /nowhere"));
}

/// The later one of two has read the directory already when the first one writes.
#[test]
fn of_two_who_change_the_same_document_the_later_one_is_told_and_changes_nothing() {
    let home = directory(GRID);
    let store = home.path().to_str().unwrap();
    let lock = std::fs::File::create(home.path().join(".gridctl-write.lock")).unwrap();
    lock.lock().unwrap();
    let mut late = command(store, &["apply", "-f", "-"]).spawn().unwrap();
    let text = "{kind: Cell, name: a, weight: 5}";
    std::io::Write::write_all(&mut late.stdin.take().unwrap(), text.as_bytes()).unwrap();
    eventually("a wait for the lock", || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let waits = |line: &str| line.contains("->") && line.contains(&format!(" {} ", late.id()));
        if locks.lines().any(waits) { Ok(()) } else { Err(locks) }
    });
    let file = home.path().join("grid.yaml");
    let first = GRID.replace("name: a\n---", "name: a\nweight: 2\n---");
    assert_ne!(first, GRID);
    std::fs::write(&file, &first).unwrap();
    lock.unlock().unwrap();
    let late = late.wait_with_output().unwrap();
    let err = String::from_utf8(late.stderr).unwrap();
    assert_eq!(late.status.code(), Some(3), "{err}");
    assert!(err.contains("somebody changed Cell/a meanwhile"), "{err}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
}
