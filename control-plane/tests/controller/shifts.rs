//! The controller of shifts, and an operator, are killed before and after every write that they ever do. What is in the
//! store then is legal, requests go where they went before the write or go after it, and the next controller brings the
//! shift to the same end by the same steps.
//!
//! Time is a number here: it stands still while nobody leads, and whoever takes over goes on from when the shift came to
//! its step. So every course of the same shift is the same to the millisecond, however often somebody is killed in it.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gridctl::controller::desk::{Crash, Desk};
use gridctl::controller::driver::{Driver, Moment, News, Settings, Turn};
use gridctl::controller::shift::Routers;
use gridctl::controller::tenant_move::Watch;
use gridctl::controller::{Controllers, KINDS, Proposal, View};
use gridctl::plan::shift::write::documents;
use gridctl::plan::shift::{Command as Word, obey};
use gridctl::site::{Place, Site};
use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::model::{Model, Shift};
use gridrouter_config::raw::{self, RollbackPace};
use gridrouter_config::track::Track;
use rustix::process::{Signal, getpid, kill_process};
use tempfile::TempDir;

use super::support::{NOW, Server, eventually, run, settings, store, target, turn_at};

/// What happens to a shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// It goes through two waves and succeeds.
    Succeeds,
    /// The new track gets bad when half of the traffic is there, and it is rolled back by steps.
    GetsBad,
    /// It has succeeded, and an operator rolls it back by steps.
    TakenBack,
    /// The same at once.
    TakenBackAtOnce,
    /// An operator aborts it on its way.
    Aborted,
}

/// When the new track gets bad, where it does.
const BAD_SINCE: u64 = NOW + 1_000;
/// How much time passes in a turn.
const TURN: u64 = 500;

impl Story {
    const ALL: [Story; 5] = [Story::Succeeds, Story::GetsBad, Story::TakenBack, Story::TakenBackAtOnce, Story::Aborted];

    /// The documents in the beginning.
    fn documents(self) -> [(&'static str, String); 4] {
        let (active, state) = match self {
            Story::Succeeds | Story::GetsBad => ("blue", String::new()),
            Story::TakenBack | Story::TakenBackAtOnce => {
                let state = "phase: Succeeded, wave: 1, step: 3, shares: {a: 100%, b: 100%}";
                ("green", format!("state: {{{state}, started: {NOW}, since: {NOW}, stopped: {NOW}}}\n"))
            }
            Story::Aborted => {
                let state = "phase: Running, wave: 1, step: 0, shares: {a: 100%, b: 10%}";
                ("blue", format!("state: {{{state}, started: {NOW}, since: {NOW}}}\n"))
            }
        };
        let analysis = match self {
            Story::GetsBad => "analysis: {minRequests: 10, maxErrorRatio: 1%, rollback: stepwise}\n",
            Story::Succeeds | Story::TakenBack | Story::TakenBackAtOnce | Story::Aborted => "",
        };
        let cell = |port: u16| {
            let green = port + 1;
            format!(
                "{{blue: [{{address: 127.0.0.1:{port}}}], green: [{{address: 127.0.0.1:{green}}}], active: {active}}}"
            )
        };
        let shift = "waves: [{cells: [a], bake: 1s}, {cells: [b]}]\n\
                     steps: [{weight: 10%, hold: 1s}, {weight: 50%, hold: 1s}, {weight: 100%, hold: 1s}]\n";
        [
            ("a", "kind: Cell\nname: a\n".to_owned()),
            ("b", "kind: Cell\nname: b\n".to_owned()),
            ("service", format!("kind: Service\nname: s\ncells:\n  a: {}\n  b: {}\n", cell(1), cell(3))),
            ("shift", format!("kind: Shift\nname: x\nservice: s\nto: green\n{shift}{analysis}{state}")),
        ]
    }

    /// What the operator says first.
    fn word(self) -> Option<Word> {
        match self {
            Story::Succeeds | Story::GetsBad => None,
            Story::TakenBack => Some(Word::RollBack(RollbackPace::Stepwise)),
            Story::TakenBackAtOnce => Some(Word::RollBack(RollbackPace::AtOnce)),
            Story::Aborted => Some(Word::Abort),
        }
    }

    /// How much of each cell's traffic is on green, from the beginning to the end.
    fn course(self) -> &'static [&'static str] {
        match self {
            Story::Succeeds => &["0% 0%", "10% 0%", "50% 0%", "100% 0%", "100% 10%", "100% 50%", "100% 100%"],
            Story::GetsBad => &["0% 0%", "10% 0%", "50% 0%", "10% 0%", "0% 0%"],
            Story::TakenBack => &["100% 100%", "50% 50%", "10% 10%", "0% 0%"],
            Story::TakenBackAtOnce => &["100% 100%", "0% 0%"],
            Story::Aborted => &["100% 10%", "0% 0%"],
        }
    }

    fn write(self, home: &Path) {
        for (name, text) in self.documents() {
            fs::write(home.join(format!("{name}.yaml")), text).unwrap();
        }
    }
}

/// A router that has counted as many requests as milliseconds have passed. Answers until the process ends.
fn router(tale: Story, clock: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // One read has all of such a short request; a reader that is gone by now says nothing of the next one.
            let _asked = stream.read(&mut [0; 1024]);
            let now = clock.load(Ordering::SeqCst);
            let (requests, mut failed) = (now - NOW, now.saturating_sub(BAD_SINCE));
            if tale != Story::GetsBad {
                failed = 0;
            }
            let tracks = format!("{{\"green\": {{\"requests\": {requests}, \"failed\": {failed}}}}}");
            let one = format!("{{\"shift\": \"x\", \"started\": {NOW}, \"cell\": \"a\", \"tracks\": {tracks}}}");
            let body = format!("{{\"routerStarted\": 1, \"shifts\": [{one}]}}");
            let _sent = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    address
}

fn site(store: &str) -> Site {
    Place::open(&target(store)).and_then(|mut place| place.read()).unwrap()
}

fn the_shift(model: &Model) -> &Shift {
    model.shifts.values().next().unwrap()
}

/// How much of each cell's traffic is on green, as routers see it. What is in the store has to be right.
fn shares(store: &str) -> String {
    let site = site(store);
    let advanced = site.advance();
    assert!(advanced.problems.is_empty() && site.broken.is_empty(), "{:#?}", advanced.problems);
    let model = advanced.in_force.model();
    let (shift, service) = (the_shift(model), model.services.values().next().unwrap());
    let share = |cell: &str| {
        let (name, tracks) = service.cells.iter().find(|(name, _)| name.as_str() == cell).unwrap();
        if shift.is_under_way() {
            return shift.state.shares.get(name).copied().unwrap_or_default().to_string();
        }
        if tracks.active == Track::Green { "100%".to_owned() } else { "0%".to_owned() }
    };
    format!("{} {}", share("a"), share("b"))
}

/// Everything that is in the store, to compare.
fn all(store: &str) -> Vec<String> {
    site(store).documents.values().map(|document| format!("{:?}", document.raw)).collect()
}

fn shift_of(view: &View) -> (&raw::Shift, &raw::Service, Arc<Shift>) {
    let mut documents = view.documents.values();
    let (service, shift) = (documents.next().unwrap(), documents.next().unwrap());
    match (&service.raw, &shift.raw, convert(shift)) {
        (raw::Document::Service(service), raw::Document::Shift(raw), Ok(ModelDocument::Shift(shift))) => {
            (raw, service, shift)
        }
        other => panic!("{other:?}"),
    }
}

/// The operator's word, where it has not been heard yet.
fn say(store: &str, word: Word, crash: Crash) {
    let mut desk = Desk::open(&target(store)).unwrap().mortal(crash);
    let decide = |view: &View| {
        let (raw, service, shift) = shift_of(view);
        let next = obey(&shift, word, "", true, NOW)?;
        Ok(Proposal { put: documents(raw, Some(service), &next), message: next.what, ..Proposal::default() })
    };
    let (_, _, shift) = shift_of(desk.look().unwrap());
    if shift.state.reason.is_empty() {
        desk.change("operator", decide).unwrap();
    }
}

/// The controller, until nothing is to be done any more.
fn act(store: &str, tale: Story, crash: &mut dyn FnMut(Moment) -> bool) {
    let since = the_shift(site(store).advance().in_force.model()).state.since;
    let clock = Arc::new(AtomicU64::new(since.max(NOW)));
    let routers = Routers::Listed(vec![router(tale, Arc::clone(&clock))]);
    let watch = Watch::of(&target(store)).unwrap();
    let mut controllers = Controllers::new(routers, watch).unwrap();
    // Two seconds after its end, a shift's report is closed.
    let ended = Cell::new(false);
    let step = |view: &View, now: u64| {
        let shift = shift_of(view).2;
        ended.set(shift.has_ended() && shift.state.stopped.is_some_and(|stopped| now > stopped + 2_000));
        controllers.step(view, now)
    };
    let settings = Settings { kinds: KINDS.to_vec(), ..settings("one") };
    let mut driver = Driver::start(&target(store), settings, step).unwrap();
    let mut leads = false;
    eventually("the end of the shift", || {
        let (turn, news) = turn_at(&mut driver, clock.load(Ordering::SeqCst), crash);
        assert!(matches!(turn, Turn::Wait(_)));
        leads |= news.contains(&News::Leads);
        let idle = !news.iter().any(|news| matches!(news, News::Published(..) | News::Overtaken(_)));
        if leads && idle {
            clock.fetch_add(TURN, Ordering::SeqCst);
        }
        if ended.get() && idle { Ok(()) } else { Err(format!("{news:?}")) }
    });
}

/// Who is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Operator,
    Controller,
}

/// A moment, and where requests go then.
type Seen = (Who, Moment, String);

/// All the work from here on. What is seen at every moment is in the answer.
fn work(store: &str, tale: Story, crash: impl Fn(Who, Moment) + 'static) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (noted, place) = (Rc::clone(&seen), store.to_owned());
    let look = Rc::new(move |who: Who, moment: Moment| {
        noted.borrow_mut().push((who, moment, shares(&place)));
        crash(who, moment);
        false
    });
    if let Some(word) = tale.word() {
        let look = Rc::clone(&look);
        say(store, word, Box::new(move |moment| look(Who::Operator, moment)));
    }
    act(store, tale, &mut |moment| look(Who::Controller, moment));
    seen.take()
}

const STORE: &str = "GRIDCTL_TEST_STORE";
const WRITE: &str = "GRIDCTL_TEST_DIES_AT";
const STORY: &str = "GRIDCTL_TEST_STORY";

/// Not a test by itself: another test starts this very program again, to be killed.
#[test]
#[ignore = "started by another test"]
fn a_controller_of_shifts_that_is_killed() {
    let [Ok(store), Ok(write), Ok(tale)] = [STORE, WRITE, STORY].map(std::env::var) else { return };
    let tale = Story::ALL.into_iter().find(|one| format!("{one:?}") == tale).unwrap();
    work(&store, tale, move |who, moment| {
        if format!("{who:?} {moment:?}") == write {
            // Nothing of this process runs after this, no destructor either.
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    });
}

fn killed_at(store: &str, tale: Story, (who, moment): (Who, Moment)) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "shifts::a_controller_of_shifts_that_is_killed", "--ignored"]);
    command.env(STORE, store).env(WRITE, format!("{who:?} {moment:?}")).env(STORY, format!("{tale:?}"));
    let ran = command.output().unwrap();
    assert_eq!(ran.status.code(), None, "it was not killed: {ran:?}");
}

/// Where requests went one after the other.
fn course<'a>(seen: impl Iterator<Item = &'a Seen>) -> Vec<&'a str> {
    let mut course: Vec<&str> = seen.map(|(_, _, shares)| shares.as_str()).collect();
    course.dedup();
    course
}

/// A tale without a death, and then with one at every moment of it. `begin` makes a store with the first documents in it.
fn told(tale: Story, begin: &(impl Fn(&str) -> String + Sync)) -> Vec<Seen> {
    let store = begin("whole");
    let whole = work(&store, tale, |_, _| {});
    assert_eq!(course(whole.iter()), tale.course(), "{whole:#?}");
    let end = all(&store);
    let one = |n: usize| {
        let (who, moment, shares_then) = &whole[n];
        let store = begin(&format!("killed-{n}"));
        killed_at(&store, tale, (*who, *moment));
        assert_eq!(shares(&store), *shares_then, "{tale:?} {who:?} {moment:?}");
        // Whoever comes next does what is left, and nothing of it twice.
        let left = work(&store, tale, |_, _| {});
        let (_, then) = whole.split_at(n + usize::from(matches!(moment, Moment::AfterWrite(_))));
        assert_eq!((left.len(), course(left.iter())), (then.len(), course(then.iter())), "{tale:?} {who:?} {moment:?}");
        assert_eq!(all(&store), end, "{tale:?} {who:?} {moment:?}");
    };
    // A lease has to end after every death in etcd: some at a time.
    let all: Vec<usize> = (0..whole.len()).collect();
    for some in all.chunks(8) {
        std::thread::scope(|scope| some.iter().for_each(|n| drop(scope.spawn(move || one(*n)))));
    }
    whole
}

fn in_a_directory(tale: Story) -> usize {
    let homes = tempfile::tempdir().unwrap();
    let begin = |name: &str| {
        let home = homes.path().join(name);
        fs::create_dir(&home).unwrap();
        tale.write(&home);
        home.to_str().unwrap().to_owned()
    };
    told(tale, &begin).len()
}

fn in_etcd(tale: Story) -> usize {
    let server = Server::start();
    let begin = |name: &str| {
        let store = format!("{}/{name}", store(&server));
        let home: TempDir = tempfile::tempdir().unwrap();
        tale.write(home.path());
        let ran = run(&store, &["apply", "-f", home.path().to_str().unwrap()]);
        assert!(ran.status.success(), "{ran:?}");
        store
    };
    told(tale, &begin).len()
}

#[test]
fn in_a_directory_a_shift_comes_to_its_end_whenever_its_controller_is_killed() {
    // Eight transitions, the last of them two files, and the closing report.
    assert_eq!(in_a_directory(Story::Succeeds), 20);
    assert_eq!(in_a_directory(Story::GetsBad), 12);
}

#[test]
fn in_a_directory_a_shift_comes_to_its_end_whenever_an_operator_is_killed() {
    assert_eq!(in_a_directory(Story::TakenBack), 12);
    assert_eq!(in_a_directory(Story::TakenBackAtOnce), 8);
    assert_eq!(in_a_directory(Story::Aborted), 4);
}

#[test]
fn in_etcd_a_shift_comes_to_its_end_whenever_its_controller_is_killed() {
    assert_eq!(in_etcd(Story::Succeeds), 18);
}

#[test]
fn in_etcd_a_shift_that_gets_bad_is_rolled_back_whenever_its_controller_is_killed() {
    assert_eq!(in_etcd(Story::GetsBad), 12);
}

#[test]
fn in_etcd_a_shift_comes_to_its_end_whenever_an_operator_is_killed() {
    assert_eq!(in_etcd(Story::TakenBack), 10);
    assert_eq!(in_etcd(Story::TakenBackAtOnce), 6);
    assert_eq!(in_etcd(Story::Aborted), 4);
}
