use std::sync::Arc;
use std::sync::mpsc::channel;

use tempfile::TempDir;

use super::*;
use crate::plan::Wanted;

fn edit(text: &str) -> (DocumentId, Edit) {
    let document = parse("new", text.as_bytes()).documents.remove(0);
    (document.id.clone(), Edit { before: None, after: Some(Arc::clone(&document)) })
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(home.path().join(name), text).unwrap();
    }
    home
}

fn plan(home: &TempDir, text: &str) -> Plan {
    let site = Site::of_directory(home.path()).unwrap();
    Plan::new(&site, &Wanted::of_files(&[parse("new", text.as_bytes())]))
}

#[test]
fn what_somebody_changed_meanwhile_is_not_overwritten() {
    let home = directory(&[("a.yaml", "kind: Cell\nname: a\n"), ("b.yaml", "kind: Cell\nname: b\n")]);
    let wanted = "{kind: Cell, name: a, weight: 2}\n---\n{kind: Cell, name: c}\n";
    let (first, late) = (plan(&home, wanted), plan(&home, wanted));
    // Others may change.
    fs::write(home.path().join("b.yaml"), "kind: Cell\nname: b\nweight: 9\n").unwrap();
    write(home.path(), &first).unwrap();
    let text = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
    assert_eq!(
        (text("a.yaml").as_str(), text("cells.yaml").as_str()),
        ("kind: Cell\nname: a\nweight: 2\n", "kind: Cell\nname: c\n")
    );
    let lost = write(home.path(), &late).unwrap_err();
    assert!(lost.to_string().contains("somebody changed Cell/a, Cell/c meanwhile"), "{lost}");
    // The same text in another file is another place.
    let moving = plan(&home, "{kind: Cell, name: b, weight: 1}");
    fs::rename(home.path().join("b.yaml"), home.path().join("d.yaml")).unwrap();
    assert!(matches!(write(home.path(), &moving), Err(WriteError::Lost(_))));
}

#[test]
fn files_are_written_in_the_order_that_was_asked_for() {
    let home = directory(&[
        ("a.yaml", "kind: Cell\nname: a\n---\nkind: Cell\nname: z\n"),
        ("b.yaml", "kind: Cell\nname: b\n"),
    ]);
    let wanted = "{kind: Cell, name: a, weight: 2}\n---\n{kind: Cell, name: b, weight: 2}\n---\n{kind: Cell, name: z, weight: 2}\n";
    let rank = |id: &DocumentId| match id.name.as_str() {
        "z" => 0,
        "b" => 1,
        _ => 2,
    };
    // Stopped before each write and after it, from the start each time.
    for stop in 0.. {
        for name in ["a.yaml", "b.yaml"] {
            let text = fs::read_to_string(home.path().join(name)).unwrap().replace("weight: 2\n", "");
            fs::write(home.path().join(name), text).unwrap();
        }
        let plan = plan(&home, wanted);
        let mut asked = 0;
        let mut go_on = || {
            asked += 1;
            asked <= stop
        };
        let outcome = write_in_order(home.path(), &plan, Order { rank: &rank, go_on: &mut go_on });
        let heavy = |file: &str| fs::read_to_string(home.path().join(file)).unwrap().matches("weight: 2").count();
        let expected = [(0, 0), (1, 0), (1, 0), (1, 1), (1, 1), (2, 1)];
        let Some(expected) = expected.get(stop) else {
            assert_eq!((outcome, heavy("a.yaml"), heavy("b.yaml")), (Ok(()), 2, 1));
            break;
        };
        assert_eq!(
            (outcome, heavy("a.yaml"), heavy("b.yaml")),
            (Err(WriteError::Stopped), expected.0, expected.1),
            "{stop}"
        );
    }
}

#[test]
fn one_writes_at_a_time_and_locks_are_no_documents() {
    let home = directory(&[("a.yaml", "kind: Cell\nname: a\n")]);
    let plan = plan(&home, "{kind: Cell, name: a, weight: 2}");
    let held = Lock::of_writers(home.path()).unwrap();
    let (told, done) = channel();
    let root = home.path().to_owned();
    let writing = std::thread::spawn(move || {
        told.send("waits").unwrap();
        write(&root, &plan).unwrap();
        told.send("wrote").unwrap();
    });
    assert_eq!(done.recv(), Ok("waits"));
    assert!(done.recv_timeout(std::time::Duration::from_millis(300)).is_err());
    drop(held);
    assert_eq!(done.recv(), Ok("wrote"));
    writing.join().unwrap();
    let site = Site::of_directory(home.path()).unwrap();
    assert_eq!((site.documents.len(), site.faults.len(), site.broken.len()), (1, 0, 0));
}

#[test]
fn one_leads_until_its_lock_is_gone() {
    let home = directory(&[]);
    let lead = || Lock::of_leader(home.path()).unwrap();
    assert_eq!(lock::signed_by_leader(home.path()), Ok(None));
    let one = lead().unwrap();
    one.sign("me").unwrap();
    assert!(lead().is_none() && one.holds());
    assert_eq!(lock::signed_by_leader(home.path()), Ok(Some("me".to_owned())));
    // Somebody deletes the file: the lock is worth nothing any more.
    fs::remove_file(home.path().join(".gridctl-leader.lock")).unwrap();
    assert!(!one.holds());
    let two = lead().unwrap();
    assert!(two.holds() && !one.holds());
    drop(one);
    assert!(lead().is_none());
    drop(two);
    assert!(lead().is_some());
    assert!(Lock::of_leader(&home.path().join("nowhere")).unwrap_err().contains("is the directory there"));
}

#[test]
fn what_is_not_changed_keeps_its_words() {
    let text = "# ours\nkind: Cell\nname: a # the first\n---\nkind: Cell\nname: b\nweight: 1\n";
    let (b, change) = edit("{kind: Cell, name: b, weight: 2}");
    let (c, create) = edit("{kind: Cell, name: c}");
    let edits = [(&b, &change), (&c, &create)];
    let after = edited(text, &edits, false);
    assert_eq!(
        after,
        "# ours\nkind: Cell\nname: a # the first\n---\nkind: Cell\nname: b\nweight: 2\n---\nkind: Cell\nname: c\n"
    );
    verify(Path::new("f"), text, &after, &edits).unwrap();
    let gone = Edit { before: None, after: None };
    assert_eq!(edited("kind: Cell\nname: b\n", &[(&b, &gone)], false), "");
    assert_eq!(edited("{}", &[(&c, &create)], true), "{}\n---\n{\n  \"kind\": \"Cell\",\n  \"name\": \"c\"\n}\n");
    assert!(verify(Path::new("f"), text, text, &edits).unwrap_err().contains("change Cell/b, Cell/c in it by hand"));
}
