//! Steady traffic of several tenants, every answer written down: what the drills look at.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::histogram::Histogram;
use crate::http::{Answer, Connection, Failed};
use crate::site::{STAMP_HEADER, TENANT_HEADER};

/// A client that gives up after this is the drill's sign that a proxy forgot a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// One tenant's client: a kept connection with a request at a steady interval.
#[derive(Debug, Clone)]
pub struct Client {
    /// The tenant.
    pub tenant: String,
    /// The host it asks for.
    pub host: String,
    /// The path it asks for.
    pub path: String,
}

impl Client {
    /// The request that the client sends.
    pub fn request(&self) -> Vec<u8> {
        let Self { tenant, host, path } = self;
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: drill\r\n{TENANT_HEADER}: {tenant}\r\n\r\n")
            .into_bytes()
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With a whole answer.
    Answered {
        /// The status.
        status: u16,
        /// `x-served-by`: cell, service and address.
        served_by: Option<String>,
        /// The stamp of the configuration in force.
        stamp: Option<usize>,
        /// The machine-readable code of a reject: in the header, and in the body.
        reject: Option<(String, Option<String>)>,
    },
    /// Without: the body of this status was cut short.
    CutShort(u16),
    /// Without, in words.
    Failed(String),
}

impl Outcome {
    /// Whether it is a 200.
    pub fn is_good(&self) -> bool {
        matches!(self, Outcome::Answered { status: 200, .. })
    }

    /// The cell that answered.
    pub fn cell(&self) -> Option<&str> {
        match self {
            Outcome::Answered { served_by, .. } => served_by.as_deref()?.split('/').next(),
            Outcome::CutShort(_) | Outcome::Failed(_) => None,
        }
    }

    /// In short words, for reports.
    pub fn brief(&self) -> String {
        match self {
            Outcome::Answered { status, reject: None, .. } => status.to_string(),
            Outcome::Answered { status, reject: Some((code, _)), .. } => format!("{status} {code}"),
            Outcome::CutShort(status) => format!("{status} cut short"),
            Outcome::Failed(words) => words.clone(),
        }
    }
}

/// One request and its end.
#[derive(Debug, Clone)]
pub struct Event {
    /// Which client.
    pub client: usize,
    /// When it was sent.
    pub sent: Instant,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// Running traffic. It ends when dropped.
#[derive(Debug)]
pub struct Traffic {
    events: Arc<Mutex<Vec<Event>>>,
    _clients: JoinSet<()>,
}

impl Traffic {
    /// Starts all clients, each with a request every `interval`, not all at the same moment.
    pub fn start(target: SocketAddr, clients: &[Client], interval: Duration) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let count = clients.len().max(1) as u32;
        for (number, client) in clients.iter().enumerate() {
            let first = Instant::now() + interval * number as u32 / count;
            tasks.spawn(run(number, client.request(), target, first, interval, Arc::clone(&events)));
        }
        Self { events, _clients: tasks }
    }

    /// Everything that was sent from `from` on, and before `until`, and has ended.
    pub fn between(&self, from: Instant, until: Instant) -> Vec<Event> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().filter(|event| event.sent >= from && event.sent < until).cloned().collect()
    }

    /// Everything that has ended.
    pub fn all(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last request that has ended of each client, newest first, since `from`.
    pub fn any_since(&self, from: Instant, wanted: impl Fn(&Event) -> bool) -> bool {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events
            .iter()
            .rev()
            .take_while(|event| event.sent + event.took >= from)
            .any(|event| event.sent >= from && wanted(event))
    }
}

/// The latencies of some events.
pub fn latencies<'a>(events: impl IntoIterator<Item = &'a Event>) -> Histogram {
    let mut histogram = Histogram::default();
    for event in events {
        histogram.record(event.took);
    }
    histogram
}

async fn run(
    client: usize,
    request: Vec<u8>,
    target: SocketAddr,
    mut due: Instant,
    interval: Duration,
    events: Arc<Mutex<Vec<Event>>>,
) {
    let mut connection = None;
    loop {
        sleep_until(due).await;
        let sent = Instant::now();
        let outcome = match timeout(PATIENCE, once(&mut connection, target, &request)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(Failed::CutShort(status))) if status > 0 => Outcome::CutShort(status),
            Ok(Err(failed)) => Outcome::Failed(failed.to_string()),
            Err(_) => Outcome::Failed(Failed::TooLate.to_string()),
        };
        events.lock().unwrap_or_else(PoisonError::into_inner).push(Event {
            client,
            sent,
            took: sent.elapsed(),
            outcome,
        });
        // A slow answer leaves out the requests that would have been due meanwhile.
        due = (due + interval).max(Instant::now());
    }
}

async fn once(connection: &mut Option<Connection>, target: SocketAddr, request: &[u8]) -> Result<Outcome, Failed> {
    let mut current = match connection.take() {
        Some(open) => open,
        None => Connection::open(target).await?,
    };
    let answer = current.exchange(request).await?;
    let (outcome, keeps_alive) = (describe(&answer), answer.keeps_alive);
    if keeps_alive {
        *connection = Some(current);
    }
    Ok(outcome)
}

fn describe(answer: &Answer<'_>) -> Outcome {
    let text = |name: &str| answer.header(name).map(ToOwned::to_owned);
    let in_body = || {
        let json: serde_json::Value = serde_json::from_slice(answer.body).ok()?;
        json.get("error")?.get("code")?.as_str().map(ToOwned::to_owned)
    };
    Outcome::Answered {
        status: answer.status,
        served_by: text("x-served-by"),
        stamp: answer.header(STAMP_HEADER).and_then(|value| value.parse().ok()),
        reject: text("x-gridrouter-reject").map(|code| (code, in_body())),
    }
}
