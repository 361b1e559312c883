//! `gridctl controller` as people run it.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use super::support::{Running, Server, run, store};

fn leader(store: &str, code: i32) -> Value {
    let ran = run(store, &["controller", "status", "-o", "json"]);
    assert_eq!(ran.status.code(), Some(code), "{ran:?}");
    serde_json::from_slice::<Value>(&ran.stdout).unwrap()["leader"].clone()
}

fn handed_over(store: &str) {
    assert_eq!(leader(store, 1), Value::Null);
    let one = Running::controller(store, "one");
    one.says("leads");
    let two = Running::controller(store, "two");
    two.says("stands by: one leads");
    assert_eq!(leader(store, 0)["id"], "one");
    let table = run(store, &["controller", "status"]);
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(text.starts_with("leader  one\nhost    ") && text.contains("\nsince   "), "{text}");
    // Killed: its lease, or its lock, ends.
    let start = Instant::now();
    one.signal(Signal::KILL);
    assert_eq!(one.end().0, None);
    two.says("leads");
    println!("taken over after {:?}", start.elapsed());
    // Ended: it resigns.
    let three = Running::controller(store, "three");
    three.says("stands by: two leads");
    two.signal(Signal::TERM);
    let (code, out, err) = two.end();
    assert_eq!((code, out.last().map(String::as_str), err.as_str()), (Some(0), Some("ended"), ""));
    three.says("leads");
    three.signal(Signal::INT);
    assert_eq!(three.end().0, Some(0));
    assert_eq!(leader(store, 1), Value::Null);
    assert_eq!(String::from_utf8(run(store, &["controller", "status"]).stdout).unwrap(), "leader  none\n");
}

#[test]
fn in_etcd_the_next_controller_takes_over_from_one_that_is_killed_or_ended() {
    handed_over(&store(&Server::start()));
}

#[test]
fn one_that_sleeps_while_another_one_takes_over_knows_when_it_wakes() {
    let server = Server::start();
    let store = store(&server);
    let one = Running::controller(&store, "one");
    one.says("leads");
    let two = Running::controller(&store, "two");
    two.says("stands by: one leads");
    one.signal(Signal::STOP);
    two.says("leads");
    one.signal(Signal::CONT);
    one.says("leads no more");
    one.says("stands by: two leads");
    assert_eq!(leader(&store, 0)["id"], "two");
}

#[test]
fn in_a_directory_the_next_controller_takes_over_from_one_that_is_killed_or_ended() {
    let home = tempfile::tempdir().unwrap();
    handed_over(home.path().to_str().unwrap());
}

#[test]
fn wrong_usage_is_told() {
    let ran = run("/nowhere/at/all", &["controller", "run", "--period", "1ms"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("write 100ms to 1m"), "{ran:?}");
    let ran = run("/nowhere/at/all", &["controller", "status"]);
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
    let ran = run("/nowhere/at/all", &["controller", "run", "--id", "a b"]);
    assert!(String::from_utf8_lossy(&ran.stderr).contains("id \"a b\" has the character"), "{ran:?}");
}
