//! A client's connection that speaks HTTP/2: one task that moves its frames and starts a task for each request.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gridrouter_config::model;
use h2::Reason;
use h2::server::{Builder, Connection as Frames};
use http::Request;

use super::guard::Guard;
use super::headers::MAX_LIST_BYTES;
use super::io::{Io, after_others};
use super::stream;
use crate::clock::Millis;
use crate::http::connection::{Connection, Origin};
use crate::http1::wire::Wire;
use crate::listener::wheel::Alarm;
use crate::listener::worker::Worker;
use crate::telemetry::connections::Ended;
use crate::tls::handshake::Secure;

/// What a client may send of one body before the router has passed on any of it, and of all bodies of a connection. All of
/// that may have to be kept, so it is not much: an upload over a long way takes the speed that this allows. Nor is it too little:
/// what waits for its turn, or whose endpoint takes nothing, keeps its part of the connection's from the others.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What the heads of a connection's requests may have together, for each request that it may have: they are kept for as long
/// as their requests are answered. All may be of this size, or some of them larger.
const HEAD: u32 = 1536;
/// What of an answer may wait to be written, stream by stream.
const SEND_BUFFER: usize = 64 * 1024;
/// What small pieces of bodies may cost that nobody has taken, 256 bytes each at the most: as many as one read may bring. Messages of a
/// WebSocket are such pieces; who takes them has a turn before there are more.
const SMALL_PIECES: usize = 1024 * 1024;
/// How many requests of a connection begin before others have their turn: each takes some thirty microseconds.
const REQUESTS_A_TURN: u32 = 8;
/// Streams that have ended and whose frames may still be on their way.
const ENDED: usize = 64;
const ENDED_FOR: Duration = Duration::from_secs(1);
/// How long a client has to take the words that the connection ends.
const GOODBYE: Duration = Duration::from_secs(2);
/// How often it is looked whether a connection in use has to be left, and one that is idle.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_IDLE: Duration = Duration::from_secs(8);

/// What the requests of one connection have in common.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) worker: Rc<Worker>,
    pub(crate) origin: Origin,
    pub(crate) secure: Option<Rc<Secure>>,
    /// The client's address as text.
    pub(crate) address: Rc<[u8]>,
    /// The router's address that it came to.
    pub(super) reached: Option<SocketAddr>,
    document: Arc<model::Listener>,
    alarm: Rc<Alarm>,
    pub(super) guard: Rc<RefCell<Guard>>,
    /// Requests that are being answered.
    open: Cell<u32>,
    /// What their heads have together, in bytes.
    heads: Cell<u32>,
    /// Since when there are none.
    since: Cell<Millis>,
    /// When it is given up, whatever is on its way.
    ends: Cell<Option<Millis>>,
    /// When the client was told to open no more streams.
    told: Cell<Option<Millis>>,
    /// Why it ends.
    why: Cell<Ended>,
}

/// Counts a request for as long as it is being answered.
pub(super) struct Open {
    pub(super) session: Rc<Session>,
    /// What its head has, in bytes.
    head: u32,
}

impl Open {
    fn new(session: &Rc<Session>, head: u32) -> Self {
        session.open.set(session.open.get() + 1);
        session.heads.set(session.heads.get() + head);
        Self { session: Rc::clone(session), head }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let session = &self.session;
        session.heads.set(session.heads.get() - self.head);
        session.open.set(session.open.get() - 1);
        session.since.set(session.worker.read_clock().millis());
        if session.open.get() == 0 && session.told.get().is_some() {
            session.alarm.ring();
        }
    }
}

/// Serves a client that speaks HTTP/2 on a connection on which nothing else was said.
pub(crate) async fn run(connection: Rc<Connection>) {
    let (worker, document) = (Rc::clone(connection.worker()), connection.document());
    let http2 = document.http2;
    let reached = connection.reached();
    let Wire { stream, input: early, .. } = connection.hand_over();
    let now = worker.read_clock().millis();
    let guard = Rc::new(RefCell::new(Guard::new(now)));
    let session = Rc::new(Session {
        origin: connection.origin,
        secure: connection.secure(),
        reached,
        address: connection.address(),
        alarm: Alarm::new(),
        guard: Rc::clone(&guard),
        open: Cell::new(0),
        heads: Cell::new(0),
        since: Cell::new(now),
        ends: Cell::new(None),
        told: Cell::new(None),
        why: Cell::new(Ended::Client),
        document,
        worker: Rc::clone(&worker),
    });
    drop(connection);
    worker.counters.shared.http2.add(1);
    let io = Io::new(stream, early, worker).guarded(guard);
    let handshake = bounds(http2).handshake::<_, Bytes>(io);
    // What begins as the preface is given the time of a head to become one.
    let Ok(Ok(mut frames)) = tokio::time::timeout(session.document.timeouts.head, handshake).await else {
        session.worker.counters.shared.connections.ended(Ended::Refused);
        return;
    };
    poll_fn(|cx| session.poll(cx, &mut frames)).await;
    session.alarm.cancel();
    session.worker.counters.shared.connections.ended(session.why.get());
}

/// What a client may do.
fn bounds(http2: model::ListenerHttp2) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(http2.max_streams)
        .max_header_list_size(MAX_LIST_BYTES)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(ENDED)
        // What was taken back before its turn came is counted by the guard, as what was taken back later is.
        .max_pending_accept_reset_streams(http2.max_streams as usize)
        .reset_stream_duration(ENDED_FOR)
        .data_frame_budget(SMALL_PIECES)
        // RFC 8441 §3.
        .enable_connect_protocol();
    builder
}

/// How many bytes a request's head has.
fn length<B>(request: &Request<B>) -> u32 {
    let uri = request.uri();
    let target =
        uri.path().len() + uri.query().map_or(0, str::len) + uri.authority().map_or(0, |host| host.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    u32::try_from(target + fields.sum::<usize>()).unwrap_or(u32::MAX)
}

impl Session {
    /// The listener as it was when the connection began.
    pub(crate) fn document(&self) -> &Arc<model::Listener> {
        &self.document
    }

    fn poll(self: &Rc<Self>, cx: &mut Context<'_>, frames: &mut Frames<Io, Bytes>) -> Poll<()> {
        self.alarm.register(cx.waker());
        // Whatever is noted of what comes now is measured by this.
        let now = self.worker.read_clock().millis();
        let mut begun = 0;
        loop {
            if begun == REQUESTS_A_TURN {
                self.looks_after(frames, now);
                let _pending: Poll<()> = after_others(cx);
                break;
            }
            match frames.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, mut respond)))) => {
                    begun += 1;
                    let head = length(&request);
                    if !self.has_room(head) {
                        // It was not looked at, and may be sent again.
                        respond.send_reset(Reason::REFUSED_STREAM);
                        continue;
                    }
                    // Counted now: its task may begin when the connection was looked after.
                    drop(tokio::task::spawn_local(stream::serve(Open::new(self, head), request, respond)));
                }
                // What is wrong the client was told.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending if self.looks_after(frames, now) => {}
                Poll::Pending => break,
            }
        }
        self.sleep(now)
    }

    /// Whether a request may be added whose head has so many bytes.
    fn has_room(&self, head: u32) -> bool {
        let most = self.document.http2.max_streams.saturating_mul(HEAD).max(MAX_LIST_BYTES);
        self.heads.get().saturating_add(head) <= most
    }

    /// Ends the connection where that is due. Returns whether there is something new to be said.
    fn looks_after(&self, frames: &mut Frames<Io, Bytes>, now: Millis) -> bool {
        if self.ends.get().is_some() {
            return false;
        }
        let guard = self.guard.borrow();
        let flood = guard.flood();
        let stalls = guard.unfinished().is_some_and(|since| now >= since.after(self.document.timeouts.head));
        drop(guard);
        if flood.is_some() || stalls {
            let why = flood.map_or("a list of header fields did not come in time", super::guard::Flood::as_str);
            tracing::debug!(client = %self.origin.peer, "connection ended: {why}");
            self.worker.counters.shared.http2_floods.add(u64::from(flood.is_some()));
            frames.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            self.ends.set(Some(now.after(GOODBYE)));
            self.why.set(if flood.is_some() { Ended::Flood } else { Ended::Refused });
            return true;
        }
        let idle = self.open.get() == 0 && now >= self.since.get().after(self.document.timeouts.idle);
        if self.told.get().is_none() && (idle || self.has_to_leave()) {
            frames.graceful_shutdown();
            self.told.set(Some(now));
            self.why.set(if idle { Ended::Idle } else { Ended::Drained });
            return true;
        }
        false
    }

    /// Whether the client has to go elsewhere with its next request.
    fn has_to_leave(&self) -> bool {
        let snapshot = self.worker.snapshot();
        let stays = snapshot.listener(self.origin.listener).is_some_and(|listener| !listener.gone);
        !stays || self.worker.is_draining()
    }

    /// Waits for what comes, or for the next time that something is due. It is over when it was given up.
    fn sleep(&self, now: Millis) -> Poll<()> {
        let timeouts = &self.document.timeouts;
        let is_quiet = self.open.get() == 0;
        // Who was told, and has nothing on its way, is not waited for.
        let left = self.told.get().filter(|_| is_quiet).map(|told| told.max(self.since.get()).after(GOODBYE));
        if let Some(ends) = self.ends.get().into_iter().chain(left).min() {
            self.worker.wheel.arm(&self.alarm, ends);
            return if now >= ends { Poll::Ready(()) } else { Poll::Pending };
        }
        let next =
            if is_quiet { self.since.get().after(timeouts.idle).min(now.after(LOOK_IDLE)) } else { now.after(LOOK) };
        let unfinished = self.guard.borrow().unfinished();
        let stalls = unfinished.map_or(Millis::NEVER, |since| since.after(timeouts.head));
        self.worker.wheel.arm(&self.alarm, next.min(stalls));
        Poll::Pending
    }
}
