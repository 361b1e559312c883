//! What becomes of moves whose command, or whose controller, dies at any write; and the command as people run it.

use std::time::Duration;

use gridctl::controller::driver::{Driver, News, Settings};
use gridctl::controller::shift::Routers;
use gridctl::controller::tenant_move::Watch;
use gridctl::controller::{Controllers, KINDS};
use gridctl::mover::{self, Mover, Order};
use gridrouter_config::ids::Name;
use gridrouter_config::raw::{MoveFence, MovePhase};
use rustix::process::Signal;

use super::moving::publish;
use super::support::{NOW, Running, Server, eventually, run, settings, store, target, turn_at};

const DOCUMENTS: &str = "{kind: Grid, name: g, cells: [a, b]}\n---\n{kind: Cell, name: a}\n---\n{kind: Cell, name: b}\n---\n\
                         {kind: Tenant, name: t, grid: g, cell: a}\n";

fn order(timeout: Duration) -> Order {
    Order {
        tenant: Name::tenant("t").unwrap(),
        grid: None,
        to: Name::parse("b").unwrap(),
        fence: MoveFence::All,
        hold: None,
        retry_after: None,
        timeout,
        name: Some(Name::parse("m").unwrap()),
        hook: false,
    }
}

/// Where the tenant is, as `gridctl tenant where` says.
fn cell(store: &str) -> String {
    let ran = run(store, &["tenant", "where", "--grid", "g", "-o", "json", "t"]);
    let answer: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    answer["cell"].as_str().unwrap().to_owned()
}

fn phase(store: &str) -> MovePhase {
    mover::list(&target(store)).unwrap().0[0].state.phase
}

/// Begins a move at `began`, and goes on for so many writes; then whoever did that is gone.
fn command_dies_after(store: &str, writes: usize, timeout: Duration, began: u64) {
    let mut mover = Mover::begin(&target(store), "test", None, &order(timeout), began).unwrap();
    for write in 1..writes {
        match write {
            2 => mover.flip(began).unwrap(),
            _ => assert!(mover.go_on(began).unwrap()),
        }
    }
}

fn controller(store: &str) -> Driver<impl FnMut(&gridctl::controller::View, u64) -> gridctl::controller::Decision> {
    let target = target(store);
    let routers = Routers::of(&target, &[]).unwrap();
    let mut controllers = Controllers::new(routers, Watch::of(&target).unwrap()).unwrap();
    let settings = Settings { kinds: KINDS.to_vec(), ..settings("c") };
    Driver::start(&target, settings, move |view, now| controllers.step(view, now)).unwrap()
}

/// Lets a controller act until nothing is to be done.
fn act(store: &str) {
    act_at(store, NOW);
}

fn act_at(store: &str, now: u64) {
    let mut driver = controller(store);
    let (mut wrote_ever, mut quiet) = (false, 0);
    eventually("nothing to be done", || {
        let (_, news) = turn_at(&mut driver, now, &mut |_| false);
        let leads = !news.iter().any(|one| matches!(one, News::StandsBy(_) | News::Trouble(_)));
        let wrote = news.iter().any(|one| matches!(one, News::Published(..)));
        wrote_ever |= wrote;
        // The election takes a moment.
        quiet = if wrote || !leads || !wrote_ever && quiet < 30 { quiet + 1 } else { 100 };
        if quiet >= 100 { Ok(()) } else { Err(format!("{news:?}")) }
    });
    driver.resign();
}

#[test]
fn whatever_write_a_command_dies_after_the_controller_ends_the_move_legally() {
    let server = Server::start();
    // After each write: begun, fenced, flipped, done.
    for writes in 1..=4 {
        for late in [true, false] {
            let store = format!("{}/w{writes}{late}", store(&server));
            publish(&store, DOCUMENTS);
            let (timeout, began) =
                if late { (Duration::from_secs(1), NOW - 1_000) } else { (Duration::from_hours(1), NOW) };
            command_dies_after(&store, writes, timeout, began.min(NOW - 1_000));
            act(&store);
            let ended = (phase(&store), cell(&store));
            let expected = match (writes, late) {
                (1 | 2, true) => (MovePhase::RolledBack, "a"),
                (1 | 2, false) => (MovePhase::Fenced, "a"),
                // No router is there that would have to be waited for.
                _ => (MovePhase::Succeeded, "b"),
            };
            assert_eq!((ended.0, ended.1.as_str()), expected, "{writes} {late}");
            if ended.0 == MovePhase::Fenced {
                // Somebody takes it up.
                let ran = run(&store, &["move", "resume", "m", "--timeout", "1h", "--yes"]);
                assert!(ran.status.success(), "{ran:?}");
                assert_eq!((phase(&store), cell(&store).as_str()), (MovePhase::Succeeded, "b"));
            }
        }
    }
}

#[test]
fn a_move_that_has_ended_long_ago_is_deleted_and_the_history_keeps_it() {
    const DAY: u64 = 24 * 3_600 * 1_000;
    let server = Server::start();
    let store = store(&server);
    publish(&store, DOCUMENTS);
    command_dies_after(&store, 4, Duration::from_hours(48), NOW);
    let moves = || mover::list(&target(&store)).unwrap().0.len();
    act_at(&store, NOW + DAY - 1);
    assert_eq!((phase(&store), moves()), (MovePhase::Succeeded, 1));
    act_at(&store, NOW + DAY);
    assert_eq!((moves(), cell(&store).as_str()), (0, "b"));
    let history = String::from_utf8(run(&store, &["history"]).stdout).unwrap();
    assert!(history.contains("deletes 1 move that ended long ago") && history.contains("t is on b"), "{history}");
    // One that is under way is not deleted, however long it takes.
    let order = Order { to: Name::parse("a").unwrap(), ..order(Duration::from_hours(1_000)) };
    Mover::begin(&target(&store), "test", None, &order, NOW).unwrap();
    act_at(&store, NOW + 2 * DAY);
    assert_eq!((phase(&store), moves()), (MovePhase::Fenced, 1));
}

#[test]
fn the_command_says_each_phase_and_gives_the_hook_what_it_needs() {
    let server = Server::start();
    let store = store(&server);
    publish(&store, DOCUMENTS);
    let note = tempfile::NamedTempFile::new().unwrap();
    let hook = format!("echo $TENANT $GRID $FROM $TO $MOVE > {}", note.path().display());
    let dry = run(&store, &["tenant", "move", "t", "--to", "b", "--dry-run"]);
    assert!(String::from_utf8_lossy(&dry.stdout).contains("moves tenant t of grid g from a to b"), "{dry:?}");
    let ran = run(&store, &["tenant", "move", "t", "--to", "b", "--name", "m", "--hook", &hook, "-m", "more room"]);
    let text = String::from_utf8(ran.stdout.clone()).unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let heads: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(heads, ["fencing", "fenced", "copying", "flipping", "done"], "{text}");
    assert_eq!(std::fs::read_to_string(note.path()).unwrap(), "t g a b m\n");
    assert_eq!(cell(&store), "b");
    let there = run(&store, &["tenant", "move", "t", "--to", "b"]);
    assert!(String::from_utf8_lossy(&there.stderr).contains("is on cell \"b\" already"), "{there:?}");
    let failed = run(&store, &["tenant", "move", "t", "--to", "a", "--hook", "exit 3"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(
        String::from_utf8_lossy(&failed.stdout).contains("rolled back: the hook ended with exit code 3"),
        "{failed:?}"
    );
    assert_eq!(cell(&store), "b");
    let late = run(&store, &["tenant", "move", "t", "--to", "a", "--hook", "sleep 60", "--timeout", "1s"]);
    assert_eq!(late.status.code(), Some(1), "{late:?}");
    let unknown = run(&store, &["move", "rollback", "nothing"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no move \"nothing\""), "{unknown:?}");
    let all = run(&store, &["move", "list", "--all", "-o", "json"]);
    let all: serde_json::Value = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!(all["moves"].as_array().unwrap().len(), 3);
}

#[test]
fn an_interrupted_command_puts_everything_back() {
    let server = Server::start();
    let store = store(&server);
    publish(&store, DOCUMENTS);
    let running = Running::of(&store, &["tenant", "move", "t", "--to", "b", "--hook", "sleep 600"]);
    running.says("copying    sleep 600");
    running.signal(Signal::INT);
    let (code, out, _) = running.end();
    assert_eq!((code, out.last().map(String::as_str)), (Some(1), Some("rolled back: interrupted")), "{out:?}");
    assert_eq!(cell(&store), "a");
}

#[test]
fn a_directory_cannot_say_when_a_fence_is_up() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a.yaml"), DOCUMENTS).unwrap();
    let ran = run(home.path().to_str().unwrap(), &["tenant", "move", "t", "--to", "b"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("moves need etcd"), "{ran:?}");
}
