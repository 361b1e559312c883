//! Where attackers stand: what they attack, what they may use for it, and what they have done.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::frames::{self, Reader};
use crate::tls::Client;

/// What an attacker waits before it comes again, when it was sent away.
const AGAIN: Duration = Duration::from_millis(100);
/// How often somebody who sends at a rate does so.
const BEAT: Duration = Duration::from_millis(10);

/// What was done in an attack, and what the router did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Connections that were opened.
    pub(super) connections: u64,
    /// Those that could not be opened.
    pub(super) unopened: u64,
    /// Bytes that the router took.
    pub(super) bytes: u64,
    /// Frames, requests, or what else the attack counts.
    pub(super) frames: u64,
    /// What the router did about it, and how often.
    pub(super) stops: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds another one.
    pub(super) fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.unopened += other.unopened;
        self.bytes += other.bytes;
        self.frames += other.frames;
        for (stop, count) in &other.stops {
            *self.stops.entry(stop.clone()).or_default() += count;
        }
    }
}

/// Where the attackers of one attack stand.
#[derive(Debug)]
pub(super) struct Ground {
    /// The listener in clear.
    pub(super) clear: SocketAddr,
    /// The listener with TLS.
    pub(super) secure: SocketAddr,
    /// How they come by TLS.
    pub(super) tls: Client,
    /// Of their own, so that they take no ports from good clients.
    pub(super) source: Ipv4Addr,
    /// What they have done.
    pub(super) tally: RefCell<Tally>,
}

impl Ground {
    /// Opens a connection.
    pub(super) async fn connect(&self, target: SocketAddr) -> io::Result<TcpStream> {
        self.connect_with(target, None).await
    }

    /// The same; `room` is how many bytes its own socket takes that nobody reads, where not the system decides.
    pub(super) async fn connect_with(&self, target: SocketAddr, room: Option<u32>) -> io::Result<TcpStream> {
        let opened = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((self.source, 0).into())?;
            if let Some(room) = room {
                socket.set_recv_buffer_size(room)?;
            }
            let stream = socket.connect(target).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let opened = opened.await;
        let mut tally = self.tally.borrow_mut();
        match opened {
            Ok(_) => tally.connections += 1,
            Err(_) => tally.unopened += 1,
        }
        opened
    }

    /// So much was sent.
    pub(super) fn sent(&self, bytes: usize, frames: u64) {
        let mut tally = self.tally.borrow_mut();
        tally.bytes += bytes as u64;
        tally.frames += frames;
    }

    /// The router did this.
    pub(super) fn stopped(&self, how: impl Into<String>) {
        *self.tally.borrow_mut().stops.entry(how.into()).or_default() += 1;
    }

    /// Reads what the router says by HTTP/1.1 until the connection ends, and notes status and end.
    pub(super) async fn hears(&self, stream: &mut (impl AsyncRead + Unpin)) {
        let mut buffer = [0; 4096];
        let mut is_first = true;
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) => return self.stopped("closed"),
                Ok(got) if is_first => {
                    is_first = false;
                    let status = buffer.get(..got).and_then(|bytes| bytes.strip_prefix(b"HTTP/1.1 "));
                    let status = status.and_then(|bytes| std::str::from_utf8(bytes.get(..3)?).ok());
                    self.stopped(status.unwrap_or("something else"));
                }
                Ok(_) => {}
                Err(_) => return self.stopped("reset"),
            }
        }
    }

    /// Reads frames until the connection ends, and notes how. `tell` is told each frame.
    pub(super) async fn hears_frames(&self, stream: &mut (impl AsyncRead + Unpin), mut tell: impl FnMut(frames::Said)) {
        let mut buffer = vec![0; 16 * 1024];
        let mut reader = Reader::default();
        loop {
            let got = match stream.read(&mut buffer).await {
                Ok(0) => return self.stopped("closed"),
                Ok(got) => got,
                Err(_) => return self.stopped("reset"),
            };
            reader.take(buffer.get(..got).unwrap_or_default(), |said| {
                match said.kind {
                    frames::GOAWAY => self.stopped(format!("GOAWAY {}", code(said.code))),
                    frames::RST_STREAM => self.stopped(format!("RST_STREAM {}", code(said.code))),
                    _ => {}
                }
                tell(said);
            });
        }
    }
}

/// The name of an error code of HTTP/2 (RFC 9113 §7).
fn code(code: u32) -> String {
    let names = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
    ];
    names.get(code as usize).map_or_else(|| code.to_string(), ToString::to_string)
}

/// `size` attackers who come one after the other, so many a second, and come again when they were sent away, as many at the most.
pub(super) async fn crowd<F: Future<Output = ()> + 'static>(
    ground: Rc<Ground>,
    size: u32,
    a_second: u32,
    one: impl Fn(Rc<Ground>, u32) -> F + Clone + 'static,
) {
    let (begin, between) = (Instant::now(), Duration::from_secs(1) / a_second.max(1));
    let mut attackers = JoinSet::new();
    for number in 0..size {
        let mut comes = begin + between * number;
        let (ground, one) = (Rc::clone(&ground), one.clone());
        attackers.spawn_local(async move {
            loop {
                sleep_until(comes).await;
                one(Rc::clone(&ground), number).await;
                comes = (comes + between * size).max(Instant::now() + AGAIN);
            }
        });
    }
    while attackers.join_next().await.is_some() {}
}

/// A rate that is kept on average, and never made up for by a burst.
#[derive(Debug)]
pub(super) struct Pace {
    a_second: u32,
    since: Cell<Instant>,
}

impl Pace {
    pub(super) fn new(a_second: u32) -> Self {
        Self { a_second, since: Cell::new(Instant::now()) }
    }

    /// Waits a moment, and tells how many are due.
    pub(super) async fn due(&self) -> u32 {
        loop {
            sleep(BEAT).await;
            let now = Instant::now();
            let due = now.duration_since(self.since.get()).min(4 * BEAT).as_secs_f64() * f64::from(self.a_second);
            if due >= 1.0 {
                self.since.set(now);
                return due as u32;
            }
        }
    }
}
