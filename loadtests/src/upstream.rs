//! The server behind the proxies: very cheap for each request, so that it is never the bottleneck, and able to
//! misbehave on command.
//!
//! It answers every request with JSON that says who answered (`service`, `cell`, `endpoint`, and `received`, the bytes
//! of the request's body) and the header `x-served-by: CELL/SERVICE/ADDRESS`. A path that ends in `/bytes/N` is answered
//! with N bytes instead, and one that ends in `/delay/N` after N milliseconds. Connections that begin with HTTP/2's preface
//! speak that: see `h2c`.

mod h2c;
pub mod journal;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::error::{Context, Error, Result};
use crate::http::{self, Framing};

use self::journal::Journal;

/// The most bytes that `/bytes/N` gives.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// How an endpoint behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers.
    Answer,
    /// Listens no more: connections are refused.
    Refuse,
    /// Does not take connections, and the queue for them is full: they neither open nor fail.
    Unreachable,
    /// Takes the request and never answers.
    Hang,
    /// Sends a head and part of the body, then nothing.
    HangInBody,
    /// Sends part of a head, then nothing.
    HangInHead,
    /// Sends part of a head and closes.
    CloseInHead,
    /// Sends a head and part of the body, and closes.
    CloseInBody,
    /// Answers after this time.
    Slow(Duration),
    /// Answers every one of so many requests with a 500, in turn.
    FailOneIn(u32),
    /// Takes the request and resets the connection.
    Reset,
    /// Takes the request and closes the connection.
    Close,
    /// Answers with bytes that are not HTTP.
    Garbage,
}

/// Who an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where it listens.
    pub address: SocketAddr,
    /// The service it serves.
    pub service: String,
    /// The cell it is in.
    pub cell: String,
}

impl Label {
    /// The value of `x-served-by`.
    pub fn served_by(&self) -> String {
        format!("{}/{}/{}", self.cell, self.service, self.address)
    }
}

impl FromStr for Label {
    type Err = Error;

    /// Reads `ADDRESS=SERVICE/CELL`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            || Error::new(format!("\"{text}\" is not ADDRESS=SERVICE/CELL, such as 127.0.0.1:9101=checkout/eu-1"));
        let (address, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (service, cell) = rest.split_once('/').filter(|(s, c)| !s.is_empty() && !c.is_empty()).ok_or_else(wrong)?;
        let address = address.parse().map_err(|_| wrong())?;
        Ok(Self { address, service: service.to_owned(), cell: cell.to_owned() })
    }
}

/// A running endpoint. Dropping it closes its listener and its connections.
#[derive(Debug)]
pub struct Endpoint {
    behaviour: watch::Sender<Behaviour>,
    task: AbortHandle,
}

impl Endpoint {
    /// Starts to listen, and answers from then on. To be called within a runtime.
    pub fn start(label: &Label) -> Result<Self> {
        Self::with(label, None)
    }

    /// The same, with every request written down.
    pub fn recorded(label: &Label, journal: Arc<Journal>) -> Result<Self> {
        Self::with(label, Some(journal))
    }

    fn with(label: &Label, journal: Option<Arc<Journal>>) -> Result<Self> {
        let listener = listen(label.address, 4096).context(format_args!("cannot listen on {}", label.address))?;
        let (behaviour, wanted) = watch::channel(Behaviour::Answer);
        let answers = Arc::new(Answers { journal, ..Answers::new(label) });
        let task = tokio::spawn(run(listener, label.address, answers, wanted)).abort_handle();
        Ok(Self { behaviour, task })
    }

    /// Behaves like this from now on. Open connections are closed, so that the next request meets the new behaviour.
    pub fn behave(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

async fn run(first: TcpListener, address: SocketAddr, answers: Arc<Answers>, mut wanted: watch::Receiver<Behaviour>) {
    let mut listener = Some(first);
    loop {
        let behaviour = *wanted.borrow_and_update();
        // Connections that fill the queue of a listener that takes none.
        let mut fillers = Vec::new();
        if behaviour == Behaviour::Refuse {
            listener = None;
        } else if behaviour == Behaviour::Unreachable {
            drop(listener.take());
            listener = listen(address, 0).ok();
            fillers = fill_queue(address).await;
        } else if listener.is_none() {
            listener = listen(address, 4096).ok();
        }
        // The connections of one behaviour end with it, because their tasks end with the set.
        let mut connections = JoinSet::new();
        let changed = loop {
            tokio::select! {
                changed = wanted.changed() => break changed,
                accepted = accept(listener.as_ref(), behaviour) => {
                    if let Ok(stream) = accepted {
                        connections.spawn(serve(stream, Arc::clone(&answers), behaviour));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        };
        if changed.is_err() {
            return;
        }
        if !fillers.is_empty() {
            listener = None;
        }
    }
}

/// Opens connections until no more can be opened.
async fn fill_queue(address: SocketAddr) -> Vec<TcpStream> {
    let mut fillers = Vec::new();
    while let Ok(Ok(filler)) = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
        fillers.push(filler);
    }
    fillers
}

async fn accept(listener: Option<&TcpListener>, behaviour: Behaviour) -> io::Result<TcpStream> {
    match listener {
        Some(listener) if behaviour != Behaviour::Unreachable => listener.accept().await.map(|(stream, _)| stream),
        Some(_) | None => std::future::pending().await,
    }
}

/// What one endpoint answers, prepared once.
#[derive(Debug)]
struct Answers {
    served_by: String,
    /// The JSON up to the number of bytes received.
    json: String,
    /// The answer to a request without a body.
    usual: Vec<u8>,
    /// Answers of `/bytes/N`. The lock is held for a look-up, and there is one thread.
    of_size: Mutex<HashMap<usize, Arc<Vec<u8>>>>,
    /// The answer to a request that fails.
    failed: Vec<u8>,
    /// How many requests came while some failed.
    turns: AtomicU32,
    /// Where requests are written down, if they are.
    journal: Option<Arc<Journal>>,
}

impl Answers {
    fn new(label: &Label) -> Self {
        let Label { address, service, cell } = label;
        let mut answers = Self {
            served_by: label.served_by(),
            json: format!("{{\"service\":\"{service}\",\"cell\":\"{cell}\",\"endpoint\":\"{address}\",\"received\":"),
            usual: Vec::new(),
            of_size: Mutex::default(),
            failed: Vec::new(),
            turns: AtomicU32::new(0),
            journal: None,
        };
        answers.usual = answers.with_received(0);
        answers.failed = answers.message("500 Internal Server Error", "text/plain", b"on purpose");
        answers
    }

    /// Whether it is the turn of a request that fails; the first one is half-way, so that few requests have their share.
    fn fails(&self, behaviour: Behaviour) -> bool {
        let Behaviour::FailOneIn(some) = behaviour else { return false };
        self.turns.fetch_add(1, Relaxed) % some.max(1) == some / 2
    }

    /// The whole JSON.
    fn json(&self, received: usize) -> String {
        format!("{}{received}}}", self.json)
    }

    fn with_received(&self, received: usize) -> Vec<u8> {
        self.message("200 OK", "application/json", self.json(received).as_bytes())
    }

    fn of_size(&self, size: usize) -> Arc<Vec<u8>> {
        let mut known = self.of_size.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(size).or_insert_with(|| {
            let letters = (b'a'..=b'z').cycle().take(size).collect::<Vec<u8>>();
            Arc::new(self.message("200 OK", "text/plain", &letters))
        }))
    }

    fn message(&self, status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
        let Self { served_by, .. } = self;
        let length = body.len();
        let mut message = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nx-served-by: {served_by}\r\n\r\n"
        )
        .into_bytes();
        message.extend_from_slice(body);
        message
    }
}

/// One connection, until the client or the behaviour ends it. What fails here is the client's to notice.
async fn serve(mut stream: TcpStream, answers: Arc<Answers>, behaviour: Behaviour) {
    let _ = stream.set_nodelay(true);
    if behaviour == Behaviour::Answer && h2c::is_spoken(&stream).await {
        return h2c::serve(stream, answers).await;
    }
    let mut buffer = Vec::with_capacity(32 * 1024);
    while let Ok(Some(mut request)) = read_request(&mut stream, &mut buffer, answers.journal.is_some()).await {
        let keeps_alive = request.keeps_alive;
        let fails = answers.fails(behaviour);
        let stay = answers.journal.as_ref().zip(request.path.take()).map(|(journal, path)| journal.came(path, fails));
        if let Some(delay) = request.delay {
            tokio::time::sleep(delay).await;
        }
        drop(stay);
        let sent = match behaviour {
            Behaviour::FailOneIn(_) if fails => stream.write_all(visible(&answers.failed, request.head_only)).await,
            Behaviour::Answer | Behaviour::FailOneIn(_) => answer(&mut stream, &answers, &request).await,
            Behaviour::Slow(time) => {
                tokio::time::sleep(time).await;
                answer(&mut stream, &answers, &request).await
            }
            Behaviour::Refuse
            | Behaviour::Unreachable
            | Behaviour::Hang
            | Behaviour::HangInBody
            | Behaviour::HangInHead
            | Behaviour::CloseInHead
            | Behaviour::CloseInBody
            | Behaviour::Reset
            | Behaviour::Close
            | Behaviour::Garbage => return misbehave(stream, behaviour).await,
        };
        if sent.is_err() || !keeps_alive {
            return;
        }
    }
}

/// What the endpoint needs to know of a request.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    head_only: bool,
    /// N of `/bytes/N`.
    size: Option<usize>,
    /// N of `/delay/N`.
    delay: Option<Duration>,
    /// The path, where it is written down.
    path: Option<Box<str>>,
    received: usize,
    keeps_alive: bool,
}

impl Request {
    fn parse(head: &[u8], keeps_path: bool) -> Option<Self> {
        let line = head.split(|byte| *byte == b'\r').next()?;
        let mut words = line.split(|byte| *byte == b' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let path = target.split(|byte| *byte == b'?').next()?;
        let (size, delay) = wanted(path)?;
        let keeps_alive = match http::header(head, "connection") {
            Some(value) => !value.eq_ignore_ascii_case("close"),
            None => version == b"HTTP/1.1",
        };
        Some(Self {
            head_only: method == b"HEAD",
            size,
            delay,
            path: if keeps_path { std::str::from_utf8(path).ok().map(Box::from) } else { None },
            received: 0,
            keeps_alive,
        })
    }
}

/// What a path asks for: N of `/bytes/N`, and N of `/delay/N`.
fn wanted(path: &[u8]) -> Option<(Option<usize>, Option<Duration>)> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    let (before, last) = path.split_at(slash);
    let number = || std::str::from_utf8(last.get(1..)?).ok()?.parse::<usize>().ok();
    let size = if before.ends_with(b"/bytes") { number() } else { None };
    let delay = if before.ends_with(b"/delay") { number() } else { None };
    Some((size.filter(|n| *n <= MOST_BYTES), delay.map(|n| Duration::from_millis(n as u64))))
}

/// Reads a request with its whole body, which is counted and thrown away. Nothing when the client is done.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>, keeps_path: bool) -> io::Result<Option<Request>> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let head = loop {
        if let Some(length) = http::head_length(buffer) {
            break length;
        }
        if buffer.len() > 64 * 1024 {
            return Err(broken());
        }
        if read(stream, buffer).await? == 0 {
            return Ok(None);
        }
    };
    let bytes = buffer.get(..head).unwrap_or_default();
    let mut request = Request::parse(bytes, keeps_path).ok_or_else(broken)?;
    let framing = http::framing(bytes).ok_or_else(broken)?;
    if http::header(bytes, "expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    buffer.drain(..head);
    match framing {
        Framing::Close => {}
        Framing::Length(length) => {
            let mut missing = length;
            loop {
                let taken = missing.min(buffer.len());
                buffer.drain(..taken);
                missing -= taken;
                if missing == 0 {
                    break;
                }
                if read(stream, buffer).await? == 0 {
                    return Err(broken());
                }
            }
            request.received = length;
        }
        Framing::Chunked => loop {
            let (taken, data, last) = http::take_chunks(buffer).ok_or_else(broken)?;
            buffer.drain(..taken);
            request.received += data;
            if last {
                break;
            }
            if read(stream, buffer).await? == 0 {
                return Err(broken());
            }
        },
    }
    Ok(Some(request))
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.reserve(16 * 1024);
    stream.read_buf(buffer).await
}

async fn answer(stream: &mut TcpStream, answers: &Answers, request: &Request) -> io::Result<()> {
    if let Some(size) = request.size {
        return stream.write_all(visible(&answers.of_size(size), request.head_only)).await;
    }
    if request.received == 0 {
        return stream.write_all(visible(&answers.usual, request.head_only)).await;
    }
    stream.write_all(visible(&answers.with_received(request.received), request.head_only)).await
}

/// The part of a message that is sent: all of it, or its head for HEAD.
fn visible(message: &[u8], head_only: bool) -> &[u8] {
    let head = http::head_length(message).filter(|_| head_only);
    head.and_then(|length| message.get(..length)).unwrap_or(message)
}

/// Does the wrong thing with one request. The connection lasts as long as the task where nothing is closed.
async fn misbehave(mut stream: TcpStream, behaviour: Behaviour) {
    const PART_OF_BODY: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1000\r\n\r\nthe first bytes";
    const PART_OF_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-ty";
    let (bytes, hangs): (&[u8], bool) = match behaviour {
        Behaviour::Hang => (b"", true),
        Behaviour::HangInBody => (PART_OF_BODY, true),
        Behaviour::HangInHead => (PART_OF_HEAD, true),
        Behaviour::CloseInHead => (PART_OF_HEAD, false),
        Behaviour::CloseInBody => (PART_OF_BODY, false),
        Behaviour::Garbage => (b"\x16\x03\x01 this is not HTTP\r\n\r\n", false),
        Behaviour::Reset => {
            // With a linger time of zero, closing sends a reset.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return;
        }
        Behaviour::Answer
        | Behaviour::Slow(_)
        | Behaviour::FailOneIn(_)
        | Behaviour::Refuse
        | Behaviour::Unreachable
        | Behaviour::Close => return,
    };
    // The proxy may have given up already.
    let _ = stream.write_all(bytes).await;
    if hangs {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
