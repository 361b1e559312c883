//! The benchmark's load generator: a number of connections on one thread, each with one request at a time.
//!
//! Two paces. *Flat out*, each connection sends its next request when the last was answered: the proxy is kept busy,
//! and what counts is how much CPU it used for each answer. *At a rate*, the same for all proxies and well below what
//! they can do: what counts is how long an answer takes. A request that was due while its connection still waited for
//! an earlier answer is counted from when it was due, so that a proxy that stalls cannot hide it (a late timer of the
//! generator's own is not the proxy's fault, and is not counted).

mod turns;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::error::{Error, Result};
use crate::histogram::Histogram;
use crate::http::{Connection, Failed};
use crate::tls::{Client, Sessions};

pub use turns::{Turns, in_turns};

/// A request that takes longer than this has failed.
const STALLED: Duration = Duration::from_secs(2);
/// How long all connections may take to open and be answered once.
const OPENING: Duration = Duration::from_secs(20);

/// What to send, and what must come back.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The proxy.
    pub target: SocketAddr,
    /// How clients come that come by TLS. Each connection remembers its own sessions.
    pub tls: Option<Client>,
    /// Whole requests, sent in turn.
    pub requests: Arc<Vec<Vec<u8>>>,
    /// How many bytes the body of every answer has.
    pub body: usize,
    /// How many connections.
    pub connections: usize,
    /// Whether each request has a connection of its own.
    pub reconnect: bool,
}

/// How fast to send.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As fast as answers come.
    FlatOut,
    /// This many requests a second, over all connections.
    Rate(u32),
}

/// What was seen in the window.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Whole answers with status 2xx and a body of the right length.
    pub good: u64,
    /// Whole answers of another status or length, from the very first request on.
    pub bad: u64,
    /// Requests without a whole answer, from the very first on.
    pub failed: u64,
    /// The first thing that was not good, in words.
    pub complaint: Option<String>,
    /// How long the window was.
    pub elapsed: Duration,
    /// The proxy's CPU time in the window.
    pub cpu: Duration,
    /// How long the good answers in the window took.
    pub latency: Histogram,
}

#[derive(Debug, Default)]
struct Shared {
    recording: AtomicBool,
    opened: AtomicU64,
    good: AtomicU64,
    bad: AtomicU64,
    failed: AtomicU64,
    complaint: Mutex<Option<String>>,
    latency: Mutex<Histogram>,
    /// When each connection sent what it waits for, in microseconds since the start; zero when it waits for nothing.
    waiting_since: Vec<AtomicU64>,
}

impl Shared {
    fn complain(&self, counter: &AtomicU64, what: impl FnOnce() -> String) {
        counter.fetch_add(1, Relaxed);
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(what);
    }
}

/// Runs the load: warms up, then measures for `window`. `cpu` tells the proxy's CPU time so far.
pub async fn run(
    plan: &Plan,
    pace: Pace,
    warm_up: Duration,
    window: Duration,
    cpu: impl Fn() -> Duration,
) -> Result<Measured> {
    let waiting_since = (0..plan.connections).map(|_| AtomicU64::new(0)).collect();
    let shared = Arc::new(Shared { waiting_since, ..Shared::default() });
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..plan.connections {
        let interval = match pace {
            Pace::FlatOut => None,
            Pace::Rate(rate) => Some(Duration::from_secs(1) * plan.connections as u32 / rate.max(1)),
        };
        // Spread evenly over the first interval.
        let first = start + interval.unwrap_or_default() * number as u32 / plan.connections as u32;
        clients.spawn(client(
            number,
            plan.clone(),
            start,
            interval.map(|interval| (first, interval)),
            Arc::clone(&shared),
        ));
    }
    while shared.opened.load(Relaxed) < plan.connections as u64 {
        if start.elapsed() > OPENING {
            let complaint = shared.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Err(Error::new(format!(
                "only {} of {} connections were answered within {OPENING:?}: {}",
                shared.opened.load(Relaxed),
                plan.connections,
                complaint.unwrap_or_else(|| "no failure either".to_owned())
            )));
        }
        sleep(Duration::from_millis(5)).await;
    }
    sleep(warm_up).await;

    shared.recording.store(true, Relaxed);
    let (begin, cpu_before, good_before) = (Instant::now(), cpu(), shared.good.load(Relaxed));
    sleep(window).await;
    let (good, cpu_after, elapsed) = (shared.good.load(Relaxed) - good_before, cpu(), begin.elapsed());
    drop(clients);

    let late = (start.elapsed().saturating_sub(STALLED)).as_micros() as u64;
    for since in &shared.waiting_since {
        if (1..late).contains(&since.load(Relaxed)) {
            shared.complain(&shared.failed, || Failed::TooLate.to_string());
        }
    }
    let latency = shared.latency.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let complaint = shared.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (bad, failed) = (shared.bad.load(Relaxed), shared.failed.load(Relaxed));
    Ok(Measured { good, bad, failed, complaint, elapsed, cpu: cpu_after.saturating_sub(cpu_before), latency })
}

/// One connection, until it is aborted.
async fn client(number: usize, mut plan: Plan, start: Instant, pace: Option<(Instant, Duration)>, shared: Arc<Shared>) {
    // Sessions of its own: what others have resumed, nobody can resume again.
    plan.tls = plan.tls.map(Client::apart);
    let mut connection = None;
    let mut next = number * 31;
    let mut first_answer = true;
    let mut due = pace.map(|(first, _)| first);
    loop {
        let mut begin = Instant::now();
        if let Some(at) = due {
            if at > begin {
                sleep_until(at).await;
                begin = Instant::now();
            } else {
                begin = at;
            }
        }
        if let (Some(at), Some((_, interval))) = (due.as_mut(), pace) {
            *at += interval;
        }
        if let Some(since) = shared.waiting_since.get(number) {
            since.store(start.elapsed().as_micros() as u64 + 1, Relaxed);
        }
        let request = plan.requests.get(next % plan.requests.len()).map(Vec::as_slice).unwrap_or_default();
        next += 1;
        match once(&mut connection, &plan, request, first_answer).await {
            Ok(()) => {
                shared.good.fetch_add(1, Relaxed);
                if shared.recording.load(Relaxed) {
                    shared.latency.lock().unwrap_or_else(PoisonError::into_inner).record(begin.elapsed());
                }
                if first_answer {
                    first_answer = false;
                    shared.opened.fetch_add(1, Relaxed);
                }
            }
            Err(Trouble::Answer(status, length)) => {
                shared.complain(&shared.bad, || format!("status {status} with {length} bytes"));
            }
            Err(Trouble::Handshake(kind)) => {
                shared.complain(&shared.bad, || format!("a handshake of another kind: {kind:?}"));
            }
            Err(Trouble::Failed(failed)) => {
                connection = None;
                shared.complain(&shared.failed, || failed.to_string());
                // A proxy that refuses connections must not keep this thread from measuring.
                sleep(Duration::from_millis(10)).await;
            }
        }
        if let Some(since) = shared.waiting_since.get(number) {
            since.store(0, Relaxed);
        }
    }
}

enum Trouble {
    Answer(u16, usize),
    Failed(Failed),
    /// Another handshake than the one that is measured.
    Handshake(Option<HandshakeKind>),
}

/// A new connection. Its handshake has to be the one that is measured, but that none can be resumed before there was one.
async fn opened(plan: &Plan, first: bool) -> std::result::Result<Connection, Trouble> {
    let connection = Connection::open_with(plan.target, plan.tls.as_ref()).await.map_err(Trouble::Failed)?;
    let kind = connection.handshake();
    let right = match plan.tls.as_ref().map(|client| client.sessions) {
        None => true,
        Some(Sessions::Full) => kind == Some(HandshakeKind::Full),
        Some(Sessions::Resumed) => first || kind == Some(HandshakeKind::Resumed),
    };
    if right { Ok(connection) } else { Err(Trouble::Handshake(kind)) }
}

async fn once(
    connection: &mut Option<Connection>,
    plan: &Plan,
    request: &[u8],
    first: bool,
) -> std::result::Result<(), Trouble> {
    let mut current = match connection.take() {
        Some(open) => open,
        None => opened(plan, first).await?,
    };
    let answer = current.exchange(request).await.map_err(Trouble::Failed)?;
    let (status, length, keeps_alive) = (answer.status, answer.body.len(), answer.keeps_alive);
    if keeps_alive && !plan.reconnect {
        *connection = Some(current);
    }
    if (200..300).contains(&status) && length == plan.body { Ok(()) } else { Err(Trouble::Answer(status, length)) }
}
