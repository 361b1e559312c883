//! A controller is killed before and after every write that it ever does. The next one brings everything to the same end.

use std::fs;
use std::process::Command;

use gridctl::controller::driver::{Driver, Moment, Turn};
use rustix::process::{Signal, getpid, kill_process};
use tempfile::TempDir;

use super::support::{Server, eventually, heavier, service, settings, store, target, turn};

fn directory() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        fs::write(home.path().join(format!("{name}.yaml")), service(name, 1)).unwrap();
    }
    home
}

/// Acts on a store until nothing is to be done any more, or until a moment. Returns which.
fn act(store: &str, crash: &mut dyn FnMut(Moment) -> bool) -> Turn {
    let mut driver = Driver::start(&target(store), settings("one"), heavier).unwrap();
    let mut leads = false;
    eventually("the end of the work", || {
        let (turn, news) = turn(&mut driver, crash);
        leads |= news.contains(&gridctl::controller::driver::News::Leads);
        match turn {
            Turn::Killed => Ok(turn),
            Turn::Wait(_) if leads && news.is_empty() => Ok(turn),
            Turn::Wait(_) => Err(format!("{news:?}")),
        }
    })
}

/// The moments of the work from its beginning to its end.
fn moments(store: &str) -> Vec<Moment> {
    let mut moments = Vec::new();
    act(store, &mut |moment| {
        moments.push(moment);
        false
    });
    moments
}

/// What the test's program is given to be somebody else's controller.
const STORE: &str = "GRIDCTL_TEST_STORE";
const WRITE: &str = "GRIDCTL_TEST_DIES_AT";

/// Not a test by itself: another test starts this very program again, to be killed.
#[test]
#[ignore = "started by another test"]
fn a_controller_that_is_killed() {
    let (Ok(store), Ok(write)) = (std::env::var(STORE), std::env::var(WRITE)) else { return };
    act(&store, &mut |moment| {
        if format!("{moment:?}") == write {
            // Nothing of this process runs after this, no destructor either.
            kill_process(getpid(), Signal::KILL).unwrap();
        }
        false
    });
}

/// Runs the work in a process that is killed at a moment.
fn killed_at(store: &str, moment: Moment) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "dying::a_controller_that_is_killed", "--ignored"]);
    let ran = command.env(STORE, store).env(WRITE, format!("{moment:?}")).output().unwrap();
    assert_eq!(ran.status.code(), None, "it was not killed: {ran:?}");
}

fn weights(home: &TempDir) -> Vec<String> {
    ["a", "b"].map(|name| fs::read_to_string(home.path().join(format!("{name}.yaml"))).unwrap()).to_vec()
}

fn has(text: &str, weight: u32) -> bool {
    text.contains(&format!("weight: {weight}")) || text.contains(&format!("\"weight\": {weight}"))
}

#[test]
fn in_a_directory_a_controller_that_is_killed_at_any_file_is_followed_by_one_that_goes_on() {
    let whole = directory();
    let moments = moments(whole.path().to_str().unwrap());
    // Two changes of two files each.
    assert_eq!(moments.len(), 8, "{moments:?}");
    let expected = weights(&whole);
    assert!(expected.iter().all(|text| has(text, 3)), "{expected:?}");
    for moment in moments {
        let home = directory();
        let store = home.path().to_str().unwrap();
        killed_at(store, moment);
        // The second service is always written first.
        let left: Vec<u32> =
            weights(&home).iter().map(|text| (1..=3).find(|weight| has(text, *weight)).unwrap()).collect();
        let done = match moment {
            Moment::BeforeWrite(n) => n - 1,
            Moment::AfterWrite(n) => n,
        };
        let expected_now = [[1, 1], [1, 2], [2, 2], [2, 3], [3, 3]][usize::try_from(done).unwrap()];
        assert_eq!(left, expected_now, "{moment:?}");
        act(store, &mut |_| false);
        assert_eq!(weights(&home), expected, "{moment:?}");
    }
}

#[test]
fn in_etcd_a_controller_that_is_killed_at_any_write_is_followed_by_one_that_goes_on() {
    let server = Server::start();
    let begin = |prefix: &str| {
        let store = format!("{}/{prefix}", store(&server));
        let home = directory();
        let ran = super::support::run(&store, &["apply", "-f", home.path().to_str().unwrap()]);
        assert!(ran.status.success(), "{ran:?}");
        store
    };
    let all = moments(&begin("whole"));
    assert_eq!(all.len(), 4, "{all:?}");
    for (n, moment) in all.into_iter().enumerate() {
        let store = begin(&format!("killed-{n}"));
        killed_at(&store, moment);
        // The lease of the one that was killed has to end first.
        act(&store, &mut |_| false);
        let history = super::support::run(&store, &["history"]);
        let text = String::from_utf8(history.stdout).unwrap();
        // Nothing is done twice.
        assert_eq!(text.matches("controller@here").count(), 2, "{moment:?}: {text}");
        let there = super::support::run(&store, &["get", "service", "-o", "yaml"]);
        let text = String::from_utf8(there.stdout).unwrap();
        assert_eq!(text.matches("weight: 3").count(), 2, "{moment:?}: {text}");
    }
}
