//! Whoever carries a move on, an operator or the controller, is killed before and after every write that they ever do. What
//! is in the store then is legal, the router does with the tenant's requests what the move's phase says, and whoever comes
//! next brings the move to the same end, and does nothing twice.
//!
//! A router of its own stands before two cells in every tale, and a client asks for the tenant all the time: what a cell
//! gets is all that counts.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gridctl::controller::desk::{Crash, Refused};
use gridctl::controller::driver::{Driver, Moment, Settings, Turn};
use gridctl::controller::shift::Routers;
use gridctl::controller::tenant_move::Watch;
use gridctl::controller::{Controllers, KINDS};
use gridctl::mover::{Mover, Order, list, now};
use gridctl::plan::tenant_move::Command;
use gridctl::site::Place;
use gridrouter::lifecycle::Router;
use gridrouter_config::ids::Name;
use gridrouter_config::raw::{MoveFence, MovePhase};
use rustix::process::{Signal, getpid, kill_process};

use super::moving::{Log, cell, head, options, publish};
use super::support::{PATIENCE, Server, eventually, run, settings, target, turn_at};

/// What becomes of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tale {
    /// It goes through.
    Goes,
    /// It is taken back before the flip.
    GoesBack,
    /// It is taken back after the flip.
    GoesBackLate,
    /// Its operator is gone before the fence is up, and its time passes.
    LeftFencing,
    /// Its operator is gone after the flip.
    LeftFlipping,
    /// The same, and a router is gone that may serve still.
    LeftWithAGhost,
    /// Its operator has taken it back, and is gone.
    LeftGoingBack,
}

impl Tale {
    const ALL: [Tale; 7] = [
        Tale::Goes,
        Tale::GoesBack,
        Tale::GoesBackLate,
        Tale::LeftFencing,
        Tale::LeftFlipping,
        Tale::LeftWithAGhost,
        Tale::LeftGoingBack,
    ];

    /// How far the operator goes who is gone then; nothing where an operator does all.
    fn left_in(self) -> Option<MovePhase> {
        match self {
            Tale::Goes | Tale::GoesBack | Tale::GoesBackLate => None,
            Tale::LeftFencing => Some(MovePhase::Fencing),
            Tale::LeftFlipping | Tale::LeftWithAGhost => Some(MovePhase::Flipping),
            Tale::LeftGoingBack => Some(MovePhase::RollingBack),
        }
    }

    /// What an operator says in a phase.
    fn word(self, phase: MovePhase) -> Option<Command> {
        let back = || Command::RollBack { why: "by hand".to_owned() };
        let said_in = match self {
            Tale::GoesBack => MovePhase::Fenced,
            Tale::GoesBackLate | Tale::LeftGoingBack => MovePhase::Flipping,
            Tale::Goes | Tale::LeftFencing | Tale::LeftFlipping | Tale::LeftWithAGhost => return None,
        };
        (phase == said_in).then(back)
    }

    /// The phases that are written in the tale's part that somebody is killed in, and the cell that the tenant ends on.
    fn course(self) -> (&'static [MovePhase], &'static str) {
        use MovePhase::{Fenced, Fencing, Flipping, RolledBack, RollingBack, Succeeded};
        match self {
            Tale::Goes => (&[Fencing, Fenced, Flipping, Succeeded], "b"),
            Tale::GoesBack => (&[Fencing, Fenced, RolledBack], "a"),
            Tale::GoesBackLate => (&[Fencing, Fenced, Flipping, RollingBack, RolledBack], "a"),
            Tale::LeftFencing => (&[Fenced, RolledBack], "a"),
            Tale::LeftFlipping => (&[Succeeded], "b"),
            Tale::LeftWithAGhost => (&[RollingBack, RolledBack], "a"),
            Tale::LeftGoingBack => (&[RolledBack], "a"),
        }
    }
}

fn order() -> Order {
    Order {
        tenant: Name::tenant("t").unwrap(),
        grid: None,
        to: Name::parse("b").unwrap(),
        fence: MoveFence::All,
        hold: None,
        retry_after: None,
        timeout: Duration::from_mins(30),
        name: Some(name()),
        hook: false,
    }
}

fn name() -> Name {
    Name::parse("m").unwrap()
}

/// The move's phase; nothing before it was begun. What is in the store has to be right.
fn phase(store: &str) -> Option<MovePhase> {
    let site = Place::open(&target(store)).and_then(|mut place| place.read()).unwrap();
    let advanced = site.advance();
    assert!(advanced.problems.is_empty() && site.broken.is_empty(), "{:#?}", advanced.problems);
    list(&target(store)).unwrap().0.first().map(|one| one.state.phase)
}

/// An operator: takes the move up where it is, or begins it, and goes on until it has ended, or is in a phase.
fn operate(store: &str, tale: Tale, end: Option<MovePhase>, crash: impl FnMut(Moment) -> bool + 'static) {
    let target = target(store);
    let crash: Crash = Box::new(crash);
    let mut mover = match phase(store) {
        Some(phase) => {
            let mut mover = Mover::find(&target, "operator", &name()).unwrap();
            if !phase.is_last() && phase != MovePhase::RollingBack {
                mover.take_up(Duration::from_mins(30), false, None, now()).unwrap();
            }
            mover.mortal(crash)
        }
        None => Mover::begin_or_die(&target, "operator", None, &order(), now(), crash).unwrap(),
    };
    eventually("the end of the move", || {
        let one = mover.look()?.one;
        if one.has_ended() || Some(one.state.phase) == end {
            return Ok(());
        }
        let done = match (tale.word(one.state.phase), one.state.phase) {
            (Some(word), _) => mover.command(&word, now()),
            (None, MovePhase::Fenced) => mover.flip(now()),
            (None, _) => mover.go_on(now()).map(|_| ()),
        };
        match done {
            // A router has to say its word first.
            Ok(()) | Err(Refused::No(_)) => Err(format!("{done:?} of {one:?}")),
            Err(other) => panic!("{other:?}"),
        }
    });
}

/// The controller, until the move has ended. Its time is over as soon as the fence is up, but where the controller is to end
/// what an operator has put on the new cell: that waits for the router.
fn control(store: &str, tale: Tale, crash: &mut dyn FnMut(Moment) -> bool) {
    let target = target(store);
    let routers = Routers::of(&target, &[]).unwrap();
    let mut controllers = Controllers::new(routers, Watch::of(&target).unwrap()).unwrap();
    let settings = Settings { kinds: KINDS.to_vec(), ..settings("c") };
    let mut driver = Driver::start(&target, settings, move |view, now| controllers.step(view, now)).unwrap();
    eventually("the end of the move", || {
        let one = list(&target)?.0.remove(0);
        if one.has_ended() {
            return Ok(());
        }
        // A rollback waits a minute for routers that say nothing.
        let late = one.state.deadline.max(one.state.since) + 61_000;
        let in_time = tale == Tale::LeftFlipping || one.state.phase == MovePhase::Fencing;
        let late = if in_time { one.state.since } else { late };
        let (turn, news) = turn_at(&mut driver, late, crash);
        assert!(matches!(turn, Turn::Wait(_)));
        Err(format!("{news:?} of {one:?}"))
    });
    driver.resign();
}

/// The part of a tale that somebody is killed in: from where the store is to the end.
fn work(store: &str, tale: Tale, mut crash: impl FnMut(Moment) -> bool + 'static) {
    match tale.left_in() {
        None => operate(store, tale, None, crash),
        Some(_) => control(store, tale, &mut crash),
    }
}

const STORE: &str = "GRIDCTL_TEST_STORE";
const WRITE: &str = "GRIDCTL_TEST_DIES_AT";
const TALE: &str = "GRIDCTL_TEST_STORY";

/// Not a test by itself: another test starts this very program again, to be killed.
#[test]
#[ignore = "started by another test"]
fn whoever_moves_a_tenant_and_is_killed() {
    let [Ok(store), Ok(write), Ok(tale)] = [STORE, WRITE, TALE].map(std::env::var) else { return };
    let tale = Tale::ALL.into_iter().find(|one| format!("{one:?}") == tale).unwrap();
    let mut left: usize = write.parse().unwrap();
    work(&store, tale, move |_| {
        if left == 0 {
            // Nothing of this process runs after this, no destructor either.
            kill_process(getpid(), Signal::KILL).unwrap();
        }
        left -= 1;
        false
    });
}

fn killed_at(store: &str, tale: Tale, moment: usize) {
    let mut process = Process::new(std::env::current_exe().unwrap());
    process.args(["--exact", "movers::whoever_moves_a_tenant_and_is_killed", "--ignored"]);
    let ran = process.env(STORE, store).env(WRITE, moment.to_string()).env(TALE, format!("{tale:?}")).output().unwrap();
    assert_eq!(ran.status.code(), None, "it was not killed: {ran:?}");
}

/// A store of its own, with a router before two cells, and a client that asks for the tenant until the end.
struct Scene {
    store: String,
    router: Option<Router>,
    address: SocketAddr,
    log: Arc<Log>,
    ended: Arc<AtomicBool>,
    client: Option<std::thread::JoinHandle<()>>,
}

impl Scene {
    fn begin(server: &Server, name: &str) -> Self {
        let store = format!("{}/{name}", super::support::store(server));
        let log = Arc::new(Log::default());
        let (a, b) = (cell("a", &log), cell("b", &log));
        publish(
            &store,
            &format!(
                "{{kind: Listener, name: web, address: '127.0.0.1:0'}}\n---\n{{kind: Grid, name: g, cells: [a, b]}}\n---\n\
                 {{kind: Cell, name: a}}\n---\n{{kind: Cell, name: b}}\n---\n{{kind: Tenant, name: t, grid: g, cell: a}}\n---\n\
                 {{kind: Service, name: s, cells: {{a: {{blue: [{{address: '{a}'}}]}}, b: {{blue: [{{address: '{b}'}}]}}}}}}\n\
                 ---\n{{kind: Route, name: r, service: s, grid: g, tenant: {{from: [{{header: x-tenant}}]}}}}\n"
            ),
        );
        let router = Router::start(&options(server, "r", Some(&format!("/{name}")))).unwrap();
        let address = router.address("web").unwrap();
        eventually("the router in etcd", || {
            let notes = server.raw().below(&format!("/{name}/control/routers/"), 0).len();
            let live = server.raw().below(&format!("/{name}/live/routers/"), 0).len();
            if (notes, live) == (1, 1) { Ok(()) } else { Err(format!("{notes} notes, {live} live")) }
        });
        let ended = Arc::new(AtomicBool::new(false));
        let client = std::thread::spawn({
            let ended = Arc::clone(&ended);
            move || {
                while !ended.load(Ordering::Relaxed) {
                    ask(address);
                    std::thread::park_timeout(Duration::from_millis(5));
                }
            }
        });
        Self { store, router: Some(router), address, log, ended, client: Some(client) }
    }

    /// What the router does with the tenant's requests when a move is in a phase.
    fn is_in(&self, phase: Option<MovePhase>) {
        let expected = match phase {
            None | Some(MovePhase::RolledBack) => "a",
            Some(MovePhase::Succeeded) => "b",
            Some(MovePhase::Fencing | MovePhase::Fenced | MovePhase::Flipping | MovePhase::RollingBack) => "fenced",
            Some(MovePhase::Failed) => panic!("the move has failed"),
        };
        eventually(expected, || match ask(self.address) {
            answer if answer == expected => Ok(()),
            answer => Err(answer),
        });
    }

    /// Nothing goes to the new cell and then to the old one, and to the new one only where the tenant is put there.
    fn end(mut self, end: &str) {
        self.ended.store(true, Ordering::Relaxed);
        self.client.take().unwrap().join().unwrap();
        self.router.take().unwrap().stop();
        let mut course: Vec<&str> = self.log.got.lock().unwrap().iter().map(|got| got.cell).collect();
        course.dedup();
        let expected = if end == "b" { &["a", "b"][..] } else { &["a"] };
        assert_eq!(course, expected);
    }
}

/// The cell that answers, or `fenced`.
fn ask(router: SocketAddr) -> String {
    let stream = TcpStream::connect(router).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nX-Tenant: t\r\nConnection: close\r\n\r\n";
    (&mut &stream).write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(&stream);
    let lines = head(&mut reader).unwrap();
    let mut body = String::new();
    reader.read_to_string(&mut body).unwrap();
    match lines[0].split(' ').nth(1).unwrap() {
        "200" => body,
        "503" if body.contains("tenant_fenced") => "fenced".to_owned(),
        _ => panic!("{lines:?} {body}"),
    }
}

/// The tale up to where somebody is killed in it.
fn prologue(server: &Server, tale: Tale, name: &str) -> Scene {
    let scene = Scene::begin(server, name);
    if let Some(phase) = tale.left_in() {
        operate(&scene.store, tale, Some(phase), |_| false);
    }
    if tale == Tale::LeftWithAGhost {
        server.raw().put(format!("/{name}/control/routers/ghost"), "");
    }
    scene
}

/// What the history has of the move, but for who has taken it up.
fn written(store: &str) -> usize {
    let history = run(store, &["history", "-o", "json"]);
    assert!(history.status.success(), "{history:?}");
    let text = String::from_utf8(history.stdout).unwrap();
    text.matches("move m: ").count() - text.matches("move m: taken up by ").count()
}

/// A tale without a death, and then with one at every moment of it.
fn told(tale: Tale) {
    let server = Server::start();
    let (phases, end) = tale.course();
    let whole = prologue(&server, tale, "whole");
    work(&whole.store, tale, |_| false);
    assert_eq!(phase(&whole.store), phases.last().copied());
    let writes = written(&whole.store);
    whole.is_in(phases.last().copied());
    whole.end(end);
    let one = |moment: usize| {
        let scene = prologue(&server, tale, &format!("killed-{moment}"));
        let before = phase(&scene.store);
        killed_at(&scene.store, tale, moment);
        // Before and after each write.
        let done = moment.div_ceil(2);
        let expected = if done == 0 { before } else { Some(phases[done - 1]) };
        assert_eq!(phase(&scene.store), expected, "{tale:?} {moment}");
        scene.is_in(expected);
        work(&scene.store, tale, |_| false);
        assert_eq!((phase(&scene.store), written(&scene.store)), (phases.last().copied(), writes), "{tale:?} {moment}");
        scene.is_in(phases.last().copied());
        scene.end(end);
    };
    let all: Vec<usize> = (0..phases.len() * 2).collect();
    for some in all.chunks(5) {
        std::thread::scope(|scope| {
            // One that fails ends the test when the scope ends.
            for moment in some {
                scope.spawn(move || one(*moment));
            }
        });
    }
}

#[test]
fn a_move_ends_as_its_operator_wants_whenever_the_operator_is_killed() {
    told(Tale::Goes);
}

#[test]
fn a_move_is_taken_back_whenever_its_operator_is_killed() {
    told(Tale::GoesBack);
    told(Tale::GoesBackLate);
}

#[test]
fn a_move_that_is_left_ends_whenever_the_controller_is_killed() {
    told(Tale::LeftFencing);
    told(Tale::LeftFlipping);
}

#[test]
fn a_move_that_is_left_is_taken_back_whenever_the_controller_is_killed() {
    told(Tale::LeftWithAGhost);
    told(Tale::LeftGoingBack);
}
