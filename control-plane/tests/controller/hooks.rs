//! The command that copies a tenant's data: it is one at a time, and it ends with whoever has started it.

use std::path::Path;
use std::time::{Duration, Instant};

use gridctl::mover::list;
use gridrouter_config::raw::MovePhase;
use rustix::process::Signal;

use super::moving::publish;
use super::support::{Running, Server, eventually, run, store, target};

const DOCUMENTS: &str = "{kind: Grid, name: g, cells: [a, b]}\n---\n{kind: Cell, name: a}\n---\n{kind: Cell, name: b}\n---\n\
                         {kind: Tenant, name: t, grid: g, cell: a}\n";

/// A store with a tenant, and a file in which hooks say what they do.
struct Scene {
    server: Server,
    store: String,
    home: tempfile::TempDir,
}

impl Scene {
    fn begin() -> Self {
        let server = Server::start();
        let store = store(&server);
        publish(&store, DOCUMENTS);
        Self { server, store, home: tempfile::tempdir().unwrap() }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// A hook that writes a line again and again, in a child of a child of its own, deaf to signals if that is wanted.
    fn ticks(&self, name: &str, deaf: bool) -> String {
        let (log, trap) = (self.home.path().join("log"), if deaf { "trap '' TERM INT HUP; " } else { "" });
        let line = format!("echo {name} $(date +%s%N) >> {}", log.display());
        format!("{trap}sh -c \"{trap}(while true; do {}; sleep 0.05; done) & wait\"; true", line.replace('$', "\\$"))
    }

    /// A move that runs such a hook.
    fn moves(&self, name: &str, deaf: bool) -> Running {
        let hook = self.ticks(name, deaf);
        let running = Running::of(&self.store, &["tenant", "move", "t", "--to", "b", "--name", "m", "--hook", &hook]);
        self.hears(name);
        running
    }

    /// Waits until a hook has written something new.
    fn hears(&self, name: &str) {
        let before = self.log().matches(name).count();
        eventually("the hook", || if self.log().matches(name).count() > before { Ok(()) } else { Err(self.log()) });
    }

    /// Waits until nothing is written any more.
    fn is_silent(&self) {
        let (mut last, mut since) = (self.log(), Instant::now());
        eventually("silence", || {
            let now = self.log();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if since.elapsed() > Duration::from_secs(1) { Ok(()) } else { Err(String::new()) }
        });
    }

    fn phase(&self) -> MovePhase {
        list(&target(&self.store)).unwrap().0[0].state.phase
    }

    fn resume(&self, more: &[&str]) -> std::process::Output {
        run(&self.store, &[&["move", "resume", "m", "--timeout", "5m"], more].concat())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_hook_ends_with_a_gridctl_that_is_killed_and_the_move_is_not_taken_up_without_its_data() {
    let scene = Scene::begin();
    let running = scene.moves("first", true);
    running.signal(Signal::KILL);
    // Deaf ones are killed after some seconds; whoever resumes at once waits for that.
    let bare = scene.resume(&["--yes"]);
    assert_eq!(bare.status.code(), Some(2), "{bare:?}");
    assert!(text(&bare.stderr).contains("give the command once more with --hook, or say --copied"), "{bare:?}");
    let hook = format!("echo second >> {}", scene.home.path().join("log").display());
    let asked = scene.resume(&["--hook", &hook]);
    assert_eq!(asked.status.code(), Some(2), "{asked:?}");
    assert!(text(&asked.stderr).contains("this takes move m over from process "), "{asked:?}");
    let dry = scene.resume(&["--hook", &hook, "--dry-run", "-o", "json"]);
    let dry: serde_json::Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert_eq!((&dry["published"], &dry["hook"]), (&false.into(), &true.into()), "{dry}");
    assert_eq!(scene.phase(), MovePhase::Fenced);
    let resumed = scene.resume(&["--hook", &hook, "--yes", "-m", "the first was killed"]);
    assert!(resumed.status.success(), "{resumed:?}");
    assert!(text(&resumed.stdout).contains("waiting    "), "{resumed:?}");
    // What the first has written, it has written before the second began.
    scene.is_silent();
    assert!(scene.log().ends_with("second\n"), "{}", scene.log());
    assert_eq!(scene.phase(), MovePhase::Succeeded);
    let history = text(&run(&scene.store, &["history"]).stdout);
    assert!(history.contains("taken up by process ") && history.contains(": the first was killed"), "{history}");
}

#[test]
fn who_is_taken_over_ends_its_hook_and_leaves() {
    let scene = Scene::begin();
    let running = scene.moves("first", false);
    let log = scene.home.path().join("log");
    let resumed = scene.resume(&["--hook", &format!("echo second >> {}", log.display()), "--yes"]);
    assert!(resumed.status.success(), "{resumed:?}");
    let (code, out, err) = running.end();
    assert_eq!(code, Some(3), "{out:?} {err}");
    assert!(err.contains("move m was taken over by process "), "{err}");
    scene.is_silent();
    assert!(scene.log().ends_with("second\n"), "{}", scene.log());
}

#[test]
fn an_interrupt_is_obeyed_before_a_deaf_hook_has_ended() {
    let scene = Scene::begin();
    let running = scene.moves("deaf", true);
    running.signal(Signal::INT);
    eventually("the rollback", || {
        let phase = scene.phase();
        if phase == MovePhase::RolledBack { Ok(()) } else { Err(format!("{phase:?}")) }
    });
    let (code, out, err) = running.end();
    assert_eq!((code, out.last().map(String::as_str)), (Some(1), Some("rolled back: interrupted")), "{err}");
    // It has waited for the hook.
    let before = scene.log();
    scene.is_silent();
    assert_eq!(scene.log(), before);
}

#[test]
fn a_second_interrupt_leaves_at_once_and_says_what_remains() {
    let scene = Scene::begin();
    let running = scene.moves("deaf", true);
    // Nothing can be written now.
    scene.server.pause();
    running.signal(Signal::INT);
    std::thread::park_timeout(Duration::from_millis(300));
    running.signal(Signal::INT);
    let (code, _, err) = running.end();
    scene.server.resume();
    assert_eq!(code, Some(5), "{err}");
    assert!(err.contains("interrupted again; move m is left as it is"), "{err}");
    assert!(err.contains("say `gridctl move rollback m`"), "{err}");
    scene.is_silent();
    eventually("the way back", || {
        let back = run(&scene.store, &["move", "rollback", "m"]);
        if back.status.success() { Ok(()) } else { Err(format!("{back:?}")) }
    });
    assert_eq!(scene.phase(), MovePhase::RolledBack);
}

#[test]
fn what_a_hook_prints_and_leaves_behind_does_no_harm() {
    let scene = Scene::begin();
    let log = scene.home.path().join("log");
    let hook = format!("echo copied; (sleep 2; echo late >> {}) & exit 0", log.display());
    let ran = run(&scene.store, &["tenant", "move", "t", "--to", "b", "--hook", &hook, "-o", "json"]);
    assert!(ran.status.success(), "{ran:?}");
    for line in text(&ran.stdout).lines() {
        let one: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(one["tenant"], "t");
    }
    assert!(text(&ran.stderr).contains("copied"), "{ran:?}");
    std::thread::park_timeout(Duration::from_millis(2_500));
    assert!(!Path::new(&log).exists(), "what it has left behind runs still");
}
