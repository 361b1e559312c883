//! Real etcd servers, directories, controllers with a task of a test's own, and gridctl as a process.

// The tests of the stores start the same servers, and more of what those can do.
#[allow(dead_code, reason = "shared with the tests of the stores")]
#[path = "../../../config/tests/store/support/server.rs"]
mod server;

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use gridctl::contexts::Contexts;
use gridctl::controller::driver::{Company, Driver, Moment, News, Settings, Turn};
use gridctl::controller::{Decision, Proposal, View};
use gridctl::target::{self, Said, Target};
use gridrouter_config::ids::Kind;
use gridrouter_config::live::LiveId;
use gridrouter_config::raw;
use gridrouter_config::store::etcd::EtcdSettings;
use gridrouter_config::store::etcd::election::Candidacy;
use rustix::process::{Pid, Signal, kill_process};
pub(crate) use server::Server;

/// Long enough for a busy machine; a test that works never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// The time that every controller of a test is given.
pub(crate) const NOW: u64 = 1_700_000_000_000;

/// A loopback port that nobody listens on, below those that the kernel gives to outgoing connections.
fn free_port() -> u16 {
    static STEP: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(149);
    loop {
        let step = u32::from(STEP.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from((start + step) % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Tries again until it works; what was wrong last is in the panic.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) => assert!(start.elapsed() < PATIENCE, "{what} did not happen in time: {why}"),
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// What `--store` says of a server.
pub(crate) fn store(server: &Server) -> String {
    server.url().replace("http:", "etcd:")
}

pub(crate) fn target(store: &str) -> Target {
    let line = Said { store: Some(store.to_owned()), ..Said::default() };
    let no_contexts = || Ok(Contexts::default());
    target::settle(line, Said::default(), EtcdSettings::default(), target::Settings::default(), no_contexts).unwrap()
}

/// Services that go through the weights 1, 2 and 3 together: what the tests' controllers are for. Each is a file of its own
/// in a directory.
pub(crate) fn service(name: &str, weight: u32) -> String {
    format!(
        "{{\"kind\": \"Service\", \"name\": \"{name}\", \"endpoints\": {{\"blue\": [{{\"address\": \"127.0.0.1:1\", \"weight\": {weight}}}]}}}}\n"
    )
}

/// The weight of each service.
pub(crate) fn weights(view: &View) -> Vec<(String, u32)> {
    let weight = |document: &raw::Document| {
        let raw::Document::Service(service) = document else { panic!("{document:?} was not asked for") };
        service.endpoints.as_ref().unwrap().blue.as_ref().unwrap()[0].weight.unwrap()
    };
    view.documents.values().map(|one| (one.id.name.as_str().to_owned(), weight(&one.raw))).collect()
}

/// One step: all services get the least weight that not all of them have passed.
pub(crate) fn heavier(view: &View, now: u64) -> Decision {
    assert_eq!(now, NOW);
    let weights = weights(view);
    let least = weights.iter().map(|(_, weight)| *weight).min().unwrap_or(3);
    let most = weights.iter().map(|(_, weight)| *weight).max().unwrap_or(3);
    let next = if least < most { most } else { least + 1 };
    if next > 3 {
        return Decision::default();
    }
    // Backwards, so that the order shows.
    let lighter = weights.iter().rev().filter(|(_, weight)| *weight < next);
    let put = lighter.map(|(name, _)| serde_json::from_str(&service(name, next)).unwrap()).collect();
    Some(Proposal { put, message: format!("to {next}"), ..Proposal::default() }).into()
}

pub(crate) fn settings(id: &str) -> Settings {
    let candidacy = Candidacy::new(LiveId::parse(id).unwrap(), "here".to_owned());
    // The least that a test's etcd grants.
    let candidacy = Candidacy { lease: Duration::from_secs(3), ..candidacy };
    Settings { candidacy, kinds: vec![Kind::Service], period: Duration::from_millis(100) }
}

/// A turn, and what was told in it.
pub(crate) fn turn<Step: FnMut(&View, u64) -> Decision>(
    driver: &mut Driver<Step>,
    crash: &mut dyn FnMut(Moment) -> bool,
) -> (Turn, Vec<News>) {
    turn_at(driver, NOW, crash)
}

/// The same at another time.
pub(crate) fn turn_at<Step: FnMut(&View, u64) -> Decision>(
    driver: &mut Driver<Step>,
    now: u64,
    crash: &mut dyn FnMut(Moment) -> bool,
) -> (Turn, Vec<News>) {
    let mut news = Vec::new();
    let turn = driver.turn(now, &mut Company { tell: &mut |one| news.push(one), crash });
    (turn, news)
}

/// Takes turns until something is told. Everything told up to then.
#[track_caller]
pub(crate) fn until<Step: FnMut(&View, u64) -> Decision>(
    driver: &mut Driver<Step>,
    wanted: impl Fn(&News) -> bool,
) -> Vec<News> {
    let mut all = Vec::new();
    eventually("the news", || {
        let (ended, news) = turn(driver, &mut |_| false);
        assert!(matches!(ended, Turn::Wait(_)));
        let there = news.iter().any(&wanted);
        all.extend(news);
        if there { Ok(()) } else { Err(format!("{all:?}")) }
    });
    all
}

pub(crate) fn gridctl(store: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridctl"));
    command.args(arguments).env("GRIDCTL_STORE", store);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs gridctl to its end.
pub(crate) fn run(store: &str, arguments: &[&str]) -> Output {
    gridctl(store, arguments).output().unwrap()
}

/// A program that runs.
pub(crate) struct Running {
    child: Child,
    out: Receiver<String>,
}

impl Running {
    /// `gridctl controller run`.
    pub(crate) fn controller(store: &str, id: &str) -> Self {
        Self::start(gridctl(store, &["controller", "run", "--id", id, "--period", "100ms"]))
    }

    /// Any command of gridctl.
    pub(crate) fn of(store: &str, arguments: &[&str]) -> Self {
        Self::start(gridctl(store, arguments))
    }

    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (told, out) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| told.send(line)));
        Self { child, out }
    }

    /// Waits for a line that it prints.
    #[track_caller]
    pub(crate) fn says(&self, wanted: &str) {
        self.says_what(wanted, |line| line == wanted);
    }

    /// The same for a part of a line.
    #[track_caller]
    pub(crate) fn says_something_of(&self, wanted: &str) {
        self.says_what(wanted, |line| line.contains(wanted));
    }

    #[track_caller]
    fn says_what(&self, wanted: &str, is: impl Fn(&str) -> bool) {
        let start = Instant::now();
        let mut said = Vec::new();
        while let Ok(line) = self.out.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
            if is(&line) {
                return;
            }
            said.push(line);
        }
        panic!("it did not say `{wanted}`, but {said:?}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits for its end: the exit code, and what else it printed.
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<String>, String) {
        let mut err = String::new();
        let out: Vec<String> = self.out.iter().collect();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().code(), out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
