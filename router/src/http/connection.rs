//! One client connection from accept to close: served by hyper while it is in use, parked on the bare socket while it
//! is idle.
//!
//! hyper keeps about 18 KiB for a connection. One that has been idle for a second is taken out of hyper, waits for
//! readability with nothing but its socket and this state, and is served again when bytes arrive.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use gridrouter_config::model::ListenerTimeouts;
use http::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::framing::{Fed, FramingGuard, Violation};
use super::io::ClientIo;
use super::reject::Reject;
use crate::clock::{self, Millis};
use crate::listener::wheel::Alarm;
use crate::listener::worker::Worker;
use crate::pipeline::{self, own};

/// How long a connection is idle before it is parked.
const PARK_AFTER: Duration = Duration::from_secs(1);
/// How much of what a refused client still sends is read and thrown away, so that it can read the answer.
const LINGER_BYTES: usize = 1 << 20;
/// For how long.
const LINGER_TIME: Duration = Duration::from_secs(2);
/// The largest head, in bytes, and the most header lines.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Bytes hyper buffers for one connection at the most.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// Who is at the other end, and through which listener it came.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) peer: SocketAddr,
    /// The listener's position in the process: stable while it exists.
    pub(crate) listener: u32,
    pub(crate) timeouts: ListenerTimeouts,
    pub(crate) trusted_proxies: Rc<[IpNet]>,
}

/// The state of one client connection, shared by its socket, its requests and its alarm.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) origin: Origin,
    /// Whether the peer is a trusted proxy.
    pub(crate) trusted: bool,
    pub(crate) alarm: Rc<Alarm>,
    worker: Rc<Worker>,
    guard: RefCell<FramingGuard>,
    /// The ambiguity found, and which message of the connection it is in, counted from 1.
    violation: Cell<Option<(u64, Violation)>>,
    /// Nothing more is read.
    pub(crate) deaf: Cell<bool>,
    /// The framing of a body is broken: it will never be whole.
    pub(crate) broken: Cell<bool>,
    /// Heads received, and requests handed to the pipeline.
    heads: Cell<u64>,
    requests: Cell<u64>,
    /// A request is being answered.
    in_flight: Cell<bool>,
    /// Bytes of an answer may wait in hyper's buffer.
    owed: Cell<bool>,
    /// Since when the client has not taken what was written.
    stalled_since: Cell<Option<Millis>>,
    /// Since when it is idle, or when the first byte of a head came.
    since: Cell<Millis>,
    head_began: Cell<Option<Millis>>,
    /// When the request being answered must be over.
    pub(crate) request_deadline: Cell<Millis>,
    /// hyper wanted to answer a malformed request by itself.
    refusal: Cell<Option<Reject>>,
    /// The response broke off: the client must not take it for whole.
    pub(crate) aborted: Cell<bool>,
    /// The client's address as a header value, made with its first request.
    address: RefCell<Option<HeaderValue>>,
}

/// How serving a connection ended.
enum Served {
    /// It is idle; the socket goes on.
    Idle(TcpStream),
    /// It is over.
    Over,
}

impl Connection {
    fn new(worker: Rc<Worker>, origin: Origin) -> Rc<Self> {
        let ip = origin.peer.ip().to_canonical();
        let trusted = origin.trusted_proxies.iter().any(|net| net.contains(&ip));
        Rc::new(Self {
            trusted,
            origin,
            alarm: Alarm::new(),
            worker,
            guard: RefCell::default(),
            violation: Cell::default(),
            deaf: Cell::default(),
            broken: Cell::default(),
            heads: Cell::default(),
            requests: Cell::default(),
            in_flight: Cell::default(),
            owed: Cell::default(),
            stalled_since: Cell::default(),
            since: Cell::new(clock::now_millis()),
            head_began: Cell::default(),
            request_deadline: Cell::new(Millis::NEVER),
            refusal: Cell::default(),
            aborted: Cell::default(),
            address: RefCell::default(),
        })
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Makes this connection be looked at again at `at`.
    pub(crate) fn arm(&self, at: Millis) {
        self.worker.wheel.arm(&self.alarm, at);
    }

    /// The client's address as text.
    pub(crate) fn address(&self) -> HeaderValue {
        self.address
            .borrow_mut()
            .get_or_insert_with(|| {
                let text = self.origin.peer.ip().to_canonical().to_string();
                HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
            })
            .clone()
    }

    /// Looks at bytes before hyper sees them.
    pub(crate) fn received(&self, bytes: &[u8]) -> Fed {
        let mut guard = self.guard.borrow_mut();
        let fed = guard.feed(bytes);
        self.heads.set(guard.heads());
        match fed {
            Fed::Fine => {}
            Fed::BadHead { violation, .. } => {
                self.violation.set(Some((guard.heads(), violation)));
                self.deaf.set(true);
            }
            Fed::BadBody { .. } => {
                self.broken.set(true);
                self.deaf.set(true);
            }
        }
        if guard.in_head() && self.head_began.get().is_none() {
            let now = clock::now_millis();
            self.head_began.set(Some(now));
            self.arm(now.after(self.origin.timeouts.head));
        }
        fed
    }

    /// Whether hyper is about to answer by itself, which it does when it cannot parse a head. Its answer is kept back:
    /// ours says the same with a code.
    pub(crate) fn swallow_refusal(&self, bytes: &[u8]) -> bool {
        if self.in_flight.get() || self.owed.get() {
            return false;
        }
        let reject = match (self.violation.get(), bytes.get(9..12)) {
            (Some((_, violation)), _) => own::reject_for(violation),
            (None, Some(b"414")) => Reject::UriTooLong,
            (None, Some(b"431")) if self.guard.borrow().request_line() > MAX_HEAD_BYTES / 2 => Reject::UriTooLong,
            (None, Some(b"431")) => Reject::HeadTooLarge,
            (None, _) => Reject::MalformedRequest,
        };
        self.refusal.set(Some(reject));
        true
    }

    /// Whether hyper's own answer was kept back.
    pub(crate) fn is_refused(&self) -> bool {
        self.refusal.get().is_some()
    }

    pub(crate) fn wrote(&self, progress: bool) {
        if progress {
            self.stalled_since.set(None);
        } else if self.stalled_since.get().is_none() {
            let now = clock::now_millis();
            self.stalled_since.set(Some(now));
            self.arm(now.after(self.origin.timeouts.body_write));
        }
    }

    pub(crate) fn flushed(&self) {
        if !self.in_flight.get() {
            self.owed.set(false);
        }
    }

    /// Whether nothing more is read.
    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf.get()
    }

    /// Whether the answer must be the connection's last.
    pub(crate) fn must_close(&self) -> bool {
        // Good requests before an ambiguous one are still to be answered.
        self.deaf.get() && self.violation.get().is_none_or(|(message, _)| message <= self.requests.get())
    }

    /// Whether part of the request's body has not been received.
    pub(crate) fn body_unread(&self) -> bool {
        self.guard.borrow().in_body()
    }

    /// A request was handed to the pipeline; returns what the guard found wrong with it.
    pub(crate) fn request_begins(&self) -> Option<Violation> {
        self.requests.set(self.requests.get() + 1);
        self.in_flight.set(true);
        self.owed.set(true);
        self.head_began.set(None);
        self.violation.get().filter(|(message, _)| *message == self.requests.get()).map(|(_, violation)| violation)
    }

    /// The answer was given to hyper to the last byte.
    pub(crate) fn request_ends(&self, now: Millis) {
        self.in_flight.set(false);
        self.request_deadline.set(Millis::NEVER);
        self.since.set(now);
        self.arm(now.after(PARK_AFTER));
        // The beginning of the next head may have come along with this request.
        if self.guard.borrow().in_head() && self.head_began.get().is_none() {
            self.head_began.set(Some(now));
            self.arm(now.after(self.origin.timeouts.head));
        }
    }

    fn is_idle(&self) -> bool {
        !self.in_flight.get()
            && !self.owed.get()
            && self.stalled_since.get().is_none()
            && self.violation.get().is_none()
            && self.guard.borrow().between_messages()
    }

    /// What is due at `now`, if anything; arms the alarm for what is not.
    fn due(&self, now: Millis) -> Option<Due> {
        if let Some(since) = self.stalled_since.get() {
            let at = since.after(self.origin.timeouts.body_write);
            if now >= at {
                return Some(Due::Close);
            }
            self.arm(at);
        }
        if self.request_deadline.get() <= now {
            return Some(Due::Close);
        }
        if !self.in_flight.get()
            && let Some(began) = self.head_began.get()
        {
            let at = began.after(self.origin.timeouts.head);
            if now >= at {
                return Some(Due::HeadTimeout);
            }
            self.arm(at);
        } else if self.is_idle() {
            let at = self.since.get().after(PARK_AFTER);
            if now >= at || self.worker.is_draining() {
                return Some(Due::Park);
            }
            self.arm(at);
        }
        None
    }

    /// Serves the connection through hyper until it is idle or over.
    async fn serve(self: Rc<Self>, stream: TcpStream) -> Served {
        let io = TokioIo::new(ClientIo { stream, connection: Rc::clone(&self) });
        let connection = &self;
        let service = service_fn(move |request| pipeline::handle(Rc::clone(connection), request));
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.header_read_timeout(None).max_buf_size(MAX_BUFFER_BYTES).max_header_size(MAX_HEAD_BYTES);
        let mut hyper = builder.serve_connection(io, service);
        self.arm(clock::now_millis().after(PARK_AFTER));
        let due = poll_fn(|cx| {
            self.alarm.register(cx.waker());
            match Pin::new(&mut hyper).poll(cx) {
                Poll::Ready(result) => Poll::Ready(Err(result)),
                Poll::Pending => match self.due(self.worker.now_millis()) {
                    Some(due) => Poll::Ready(Ok(due)),
                    None => Poll::Pending,
                },
            }
        })
        .await;
        let stream = hyper.into_parts().io.into_inner().stream;
        match due {
            Ok(Due::Park) => return Served::Idle(stream),
            Ok(Due::HeadTimeout) => self.answer_and_linger(stream, Reject::HeadTimeout).await,
            Ok(Due::Close) => reset(&stream),
            Err(_) if self.aborted.get() => reset(&stream),
            Err(result) => {
                let unanswered = result.as_ref().is_err_and(hyper::Error::is_parse) && !self.in_flight.get();
                // hyper says nothing at all to the preface of HTTP/2.
                let refusal = self.refusal.get().or(unanswered.then_some(Reject::MalformedRequest));
                if let Some(reject) = refusal {
                    self.answer_and_linger(stream, reject).await;
                } else if result.is_ok() && (self.deaf.get() || !self.guard.borrow().between_messages()) {
                    linger(stream).await;
                }
            }
        }
        Served::Over
    }

    /// Answers where hyper cannot any more.
    async fn answer_and_linger(&self, mut stream: TcpStream, reject: Reject) {
        self.worker.count_reject(reject);
        let sent = async {
            stream.write_all(&reject.raw_response()).await?;
            stream.shutdown().await
        };
        if let Ok(Ok(())) = tokio::time::timeout(LINGER_TIME, sent).await {
            linger(stream).await;
        }
    }

    /// Waits on the bare socket. Returns whether there is something to read.
    async fn parked(&self, stream: &TcpStream) -> bool {
        self.address.take();
        let closes = self.since.get().after(self.origin.timeouts.idle);
        let readable = stream.readable();
        let mut readable = std::pin::pin!(readable);
        poll_fn(|cx| {
            self.alarm.register(cx.waker());
            if let Poll::Ready(result) = readable.as_mut().poll(cx) {
                return Poll::Ready(result.is_ok());
            }
            if self.worker.now_millis() >= closes || self.worker.is_draining() {
                return Poll::Ready(false);
            }
            self.arm(closes);
            Poll::Pending
        })
        .await
    }
}

/// What is due on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Park,
    HeadTimeout,
    Close,
}

/// Serves one client from accept to close.
pub(crate) async fn run(worker: Rc<Worker>, stream: TcpStream, origin: Origin) {
    let connection = Connection::new(worker, origin);
    let mut stream = stream;
    while connection.parked(&stream).await {
        // Boxed, so that a parked connection's task is small.
        match Box::pin(Rc::clone(&connection).serve(stream)).await {
            Served::Idle(idle) => stream = idle,
            Served::Over => return,
        }
    }
}

/// Reads and throws away a bounded amount, so that closing does not reset the connection before the client has read
/// the answer.
async fn linger(stream: TcpStream) {
    let mut left = LINGER_BYTES;
    let drain = async {
        let mut buffer = [0; 4096];
        while left > 0 {
            stream.readable().await.ok()?;
            match stream.try_read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => left = left.saturating_sub(n),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
        Some(())
    };
    // However it ends, the connection is closed.
    let _ended: Result<Option<()>, _> = tokio::time::timeout(LINGER_TIME, drain).await;
}

/// Closing will reset the connection instead of ending it cleanly.
fn reset(stream: &TcpStream) {
    // If the option cannot be set the connection is broken already.
    let _set = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
