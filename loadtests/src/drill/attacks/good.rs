//! Good clients: steady requests at a fixed rate, over connections that are kept and over new ones, in clear and by TLS, by
//! HTTP/1.1 and HTTP/2. A request that was due while an earlier one was not answered is counted from when it was due, so that
//! a stall cannot hide.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::apart::{Apart, Manners};
use crate::error::Result;
use crate::http::Connection;
use crate::tls::Client;
use crate::upstream::{Endpoint, Label};

/// What they ask for.
pub(super) const HOST: &str = "good.example.com";
const REQUEST: &[u8] = b"GET /good/answer HTTP/1.1\r\nhost: good.example.com\r\nuser-agent: drill\r\n\r\n";
const URL: &str = "http://good.example.com/good/answer";
/// A client that gives up after this was forgotten.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// What a client waits before it comes again after a failure.
const AGAIN: Duration = Duration::from_millis(10);

/// How a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// On a connection that is kept.
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
    /// With a connection for each request.
    New,
    NewTls,
}

/// How many clients come in each way, and how many requests each makes a second.
const CLIENTS: [(Way, u32, u32); 6] = [
    (Way::Http1, 4, 25),
    (Way::Http1Tls, 4, 25),
    (Way::Http2, 4, 25),
    (Way::Http2Tls, 4, 25),
    (Way::New, 2, 10),
    (Way::NewTls, 1, 5),
];

/// A request and its end.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// When it was due.
    pub(super) due: Instant,
    /// How long after that its answer was whole.
    pub(super) took: Duration,
    /// Whether a connection was opened for it.
    pub(super) is_new: bool,
    /// Why it has failed.
    pub(super) failed: Option<String>,
}

/// Where they go.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The listener in clear.
    pub(super) clear: SocketAddr,
    /// The listener with TLS.
    pub(super) secure: SocketAddr,
    /// How they come by TLS.
    pub(super) tls: Client,
}

/// Running clients, and their endpoint.
#[derive(Debug)]
pub(super) struct Good {
    thread: Apart<()>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Good {
    /// Starts the endpoint and, when they are let go, the clients.
    pub(super) fn start(label: Label, core: Option<usize>, target: Target, from: Instant) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let writes = Arc::clone(&seen);
        let thread = Apart::start("good", core, Manners::Usual, move |stopped| async move {
            let Ok(_endpoint) = Endpoint::start(&label) else { return };
            for (way, clients, rate) in CLIENTS {
                let interval = Duration::from_secs(1) / rate;
                for number in 0..clients {
                    // Not all at the same moment.
                    let first = from + interval * (number * 6 + way as u32) / (clients * 6);
                    drop(tokio::task::spawn_local(run(way, target.clone(), first, interval, Arc::clone(&writes))));
                }
            }
            let _told = stopped.await;
        })?;
        Ok(Self { thread, seen })
    }

    /// Everything that has ended.
    pub(super) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends them. Nothing when the thread broke.
    pub(super) fn end(self) -> Result<()> {
        self.thread.end()
    }
}

/// A connection that is open.
enum Open {
    One(Box<Connection>),
    Two(SendRequest<Bytes>),
}

async fn run(way: Way, target: Target, first: Instant, interval: Duration, seen: Arc<Mutex<Vec<Request>>>) {
    let is_new = matches!(way, Way::New | Way::NewTls);
    let mut open = None;
    let mut at = first;
    loop {
        let mut due = at;
        if at > Instant::now() {
            sleep_until(at).await;
            // A late timer is this program's own fault.
            due = Instant::now();
        }
        at += interval;
        let failed = match timeout(PATIENCE, once(&mut open, way, &target)).await {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(_) => Some("no answer in time".to_owned()),
        };
        let request = Request { due, took: due.elapsed(), is_new, failed };
        let has_failed = request.failed.is_some();
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        if is_new || has_failed {
            open = None;
        }
        if has_failed {
            sleep(AGAIN).await;
        }
    }
}

async fn once(open: &mut Option<Open>, way: Way, target: &Target) -> std::result::Result<(), String> {
    let is_kept = open.is_some();
    let current = match open.take() {
        Some(current) => current,
        None => connect(way, target).await?,
    };
    let said = |why: &dyn std::fmt::Display| format!("{way:?}, {}: {why}", if is_kept { "kept" } else { "first" });
    *open = Some(match current {
        Open::One(mut connection) => {
            let answer = connection.exchange(REQUEST).await.map_err(|failed| said(&failed))?;
            if answer.status != 200 {
                return Err(said(&format_args!("status {}", answer.status)));
            }
            Open::One(connection)
        }
        Open::Two(send) => {
            let mut send = send.ready().await.map_err(|error| said(&error))?;
            let request = http::Request::get(URL).body(()).map_err(|error| said(&error))?;
            let (response, _) = send.send_request(request, true).map_err(|error| said(&error))?;
            let response = response.await.map_err(|error| said(&error))?;
            let (status, mut body) = (response.status(), response.into_body());
            while let Some(piece) = body.data().await {
                let length = piece.map_err(|error| said(&error))?.len();
                body.flow_control().release_capacity(length).map_err(|error| said(&error))?;
            }
            if status != 200 {
                return Err(said(&format_args!("status {status}")));
            }
            Open::Two(send)
        }
    });
    Ok(())
}

async fn connect(way: Way, target: &Target) -> std::result::Result<Open, String> {
    let said = |why: &dyn std::fmt::Display| format!("{way:?}, connecting: {why}");
    let one = async |address, tls| {
        let opened = Connection::open_with(address, tls).await.map_err(|failed| said(&failed))?;
        Ok(Open::One(Box::new(opened)))
    };
    match way {
        Way::Http1 | Way::New => one(target.clear, None).await,
        Way::Http1Tls | Way::NewTls => one(target.secure, Some(&target.tls)).await,
        Way::Http2 | Way::Http2Tls => {
            let address = if way == Way::Http2 { target.clear } else { target.secure };
            let stream = TcpStream::connect(address).await.map_err(|error| said(&error))?;
            stream.set_nodelay(true).map_err(|error| said(&error))?;
            if way == Way::Http2 {
                return agree(stream).await.map_err(|error| said(&error));
            }
            let tls = target.tls.clone().offering(&[b"h2"]);
            let stream = tls.handshake(stream).await.map_err(|error| said(&error))?;
            agree(stream).await.map_err(|error| said(&error))
        }
    }
}

async fn agree(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> std::result::Result<Open, h2::Error> {
    let (send, frames) = h2::client::handshake(stream).await?;
    drop(tokio::task::spawn_local(frames));
    Ok(Open::Two(send))
}
