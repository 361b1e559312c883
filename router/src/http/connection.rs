//! One client connection: what is known of it, for its task and its requests.
//!
//! A task of its own (`serve`) reads requests one after another, hands them to the pipeline and writes the answers. While a
//! request is on its way the same task watches whether the client is still there. A connection that has been idle for a
//! second is parked: nothing is left of it but its socket and this state.

pub(crate) mod serve;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use gridrouter_config::model::{self, ListenerTimeouts, UnderscoreHeaders};
use http::HeaderMap;

use super::client_body::Incoming;
use super::forwarded;
use crate::clock::{self, Millis, Nanos};
use crate::grpc::Dialect;
use crate::http1::body::Decoder;
use crate::http1::wire::Wire;
use crate::http2::receiving::Receiving;
use crate::http2::session::Session;
use crate::limit::key::{KeyPart, KeySeed};
use crate::listener::wheel::Alarm;
use crate::listener::worker::Worker;
use crate::pipeline::fencing::UnderWay;
use crate::tls::client::{self, ClientCertificate};
use crate::tls::handshake::Secure;
use crate::tls::stream::Stream;

/// How much of the requests behind the one being answered is read already.
const MAX_AHEAD: usize = 32 * 1024;

/// Who is at the other end, and through which listener it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) peer: SocketAddr,
    /// What keys of limits have of the peer's address.
    pub(crate) network: KeyPart,
    /// The listener's position in the process: stable while it exists.
    pub(crate) listener: u32,
}

impl Origin {
    pub(crate) fn new(peer: SocketAddr, listener: u32, keys: &KeySeed) -> Self {
        Self { peer, network: keys.network(peer.ip().to_canonical()), listener }
    }
}

/// The state of one client connection, shared by its task and its requests. A stream of HTTP/2 is a connection of one request,
/// without a socket of its own.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) origin: Origin,
    /// What is known of the client by TLS; nothing without.
    secure: Option<Rc<Secure>>,
    alarm: Rc<Alarm>,
    worker: Rc<Worker>,
    /// The listener, as it was when the last request came.
    listener: RefCell<Arc<model::Listener>>,
    /// Whether the peer was a trusted proxy then.
    pub(crate) trusted: Cell<bool>,
    pub(crate) incoming: RefCell<Incoming>,
    /// Since when it is idle.
    since: Cell<Millis>,
    /// When the request being answered must be over.
    pub(crate) request_deadline: Cell<Millis>,
    /// What its client takes for an answer.
    pub(crate) dialect: Cell<Dialect>,
    /// Whether it is noted when the request's body has come.
    pub(crate) timed: Cell<bool>,
    /// When it had come.
    pub(crate) body_ended: Cell<Nanos>,
    /// Nobody reads the body yet: the request waits for its turn.
    pub(crate) waits: Cell<bool>,
    /// Whether that is because its track was left, and how the answer ends then.
    leaving: Cell<Leaving>,
    /// When it would have to be over otherwise.
    stays_until: Cell<Millis>,
    /// The track that it has to leave though it is on none, because it began before the shift did.
    left_track: Cell<Option<u32>>,
    /// Whether the answer is a stream that the client asks for again when it ends.
    pub(crate) is_renewed: Cell<bool>,
    /// What is on its way to a cell, for fences.
    pub(crate) under_way: UnderWay,
    /// It is a tunnel by now, and speaks another protocol.
    pub(crate) is_tunnel: Cell<bool>,
    /// Whether that has to end because its tenant is moving.
    pub(super) is_fenced: Cell<bool>,
    /// Where its thread finds it.
    pub(crate) position: Cell<usize>,
    /// The answer being made is the connection's last.
    ends: Cell<bool>,
    /// Something was said on it: what begins now can be no other protocol.
    has_spoken: Cell<bool>,
    /// The client's address as text, made with its first request.
    address: RefCell<Option<Rc<[u8]>>>,
}

/// How an answer ends whose track is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It is not left.
    #[default]
    Not,
    /// Such that the client does not take it for whole.
    Cut,
    /// As if it were whole: its client comes back by itself.
    Cleanly,
}

impl Connection {
    /// One that was accepted. It is made before its task, which would keep all that this takes for as long as it lives.
    pub(crate) fn new(
        worker: Rc<Worker>,
        stream: Stream,
        secure: Option<Rc<Secure>>,
        origin: Origin,
        document: &Arc<model::Listener>,
    ) -> Rc<Self> {
        let incoming = Incoming::new(Wire::new(stream));
        Self::receiving(worker, incoming, secure, origin, document, None)
    }

    /// One stream of HTTP/2, with a request whose head has come.
    pub(crate) fn of_stream(session: &Session, body: Receiving, delimiting: Decoder) -> Rc<Self> {
        let (worker, secure) = (Rc::clone(&session.worker), session.secure.clone());
        let (incoming, address) = (Incoming::of_stream(body, delimiting), Rc::clone(&session.address));
        Self::receiving(worker, incoming, secure, session.origin, session.document(), Some(address))
    }

    fn receiving(
        worker: Rc<Worker>,
        incoming: Incoming,
        secure: Option<Rc<Secure>>,
        origin: Origin,
        document: &Arc<model::Listener>,
        address: Option<Rc<[u8]>>,
    ) -> Rc<Self> {
        let trusted = trusts(document, &origin);
        let connection = Rc::new(Self {
            origin,
            secure,
            alarm: Alarm::new(),
            worker,
            listener: RefCell::new(Arc::clone(document)),
            trusted: Cell::new(trusted),
            incoming: RefCell::new(incoming),
            since: Cell::new(clock::now_millis()),
            request_deadline: Cell::new(Millis::NEVER),
            dialect: Cell::default(),
            timed: Cell::default(),
            body_ended: Cell::new(Nanos(0)),
            waits: Cell::default(),
            leaving: Cell::default(),
            stays_until: Cell::new(Millis::NEVER),
            left_track: Cell::default(),
            is_renewed: Cell::default(),
            under_way: UnderWay::default(),
            is_tunnel: Cell::default(),
            is_fenced: Cell::default(),
            position: Cell::default(),
            ends: Cell::default(),
            has_spoken: Cell::default(),
            address: RefCell::new(address),
        });
        connection.worker.fencing.add(&connection);
        connection
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Makes this connection be looked at again at `at`.
    pub(crate) fn arm(&self, at: Millis) {
        self.worker.wheel.arm(&self.alarm, at);
    }

    /// Whether the client speaks TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure.is_some()
    }

    /// The client's certificate, if it has shown one.
    pub(crate) fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.secure.as_ref()?.client.as_ref()
    }

    /// Takes out of a request's trailers what only the router may say.
    pub(crate) fn take_out_reserved(&self, trailers: &mut HeaderMap) {
        if let Some(reserved) = &self.worker.snapshot().reserved_headers {
            client::take_out(trailers, reserved);
        }
    }

    /// What is known of the client by TLS.
    pub(crate) fn secure(&self) -> Option<Rc<Secure>> {
        self.secure.clone()
    }

    /// The router's address that the client's connection came to.
    pub(crate) fn reached(&self) -> Option<SocketAddr> {
        self.incoming.borrow().reached()
    }

    /// Lends the client's address as text.
    pub(crate) fn with_address<T>(&self, use_it: impl FnOnce(&[u8]) -> T) -> T {
        let text = || forwarded::address_text(self.origin.peer.ip()).into_bytes().into();
        use_it(self.address.borrow_mut().get_or_insert_with(text))
    }

    /// The client's address as text.
    pub(crate) fn address(&self) -> Rc<[u8]> {
        self.with_address(|text| Rc::from(text))
    }

    /// The listener, as it was when the last request came.
    pub(crate) fn document(&self) -> Arc<model::Listener> {
        Arc::clone(&self.listener.borrow())
    }

    /// Whether the request asks for a tunnel by HTTP/2, such that an answer of 2xx would say that there is one.
    pub(crate) fn connects(&self) -> bool {
        self.incoming.borrow().connects()
    }

    /// Gives the socket to what speaks another protocol on it, with what was received and not used.
    pub(crate) fn hand_over(&self) -> Wire {
        std::mem::replace(&mut self.incoming.borrow_mut().wire, Wire::new(Stream::Gone))
    }

    /// A request's head was taken, and this is what follows it.
    pub(crate) fn begins(&self, body: Decoder, expects_continue: bool) {
        self.incoming.borrow_mut().begin(body, expects_continue);
    }

    /// Takes from the listener what applies to the connection from now on.
    pub(crate) fn obey(&self, document: &Arc<model::Listener>) {
        if !Arc::ptr_eq(&self.listener.borrow(), document) {
            self.listener.replace(Arc::clone(document));
            self.trusted.set(trusts(document, &self.origin));
        }
    }

    /// How long the client may take.
    pub(crate) fn timeouts(&self) -> ListenerTimeouts {
        self.listener.borrow().timeouts
    }

    /// What becomes of header names with underscores.
    pub(crate) fn underscores(&self) -> UnderscoreHeaders {
        self.listener.borrow().underscore_headers
    }

    /// Makes the answer to the request at hand the connection's last.
    pub(crate) fn end_after_answer(&self) {
        self.ends.set(true);
    }

    /// Whether the answer to the request at hand is the connection's last.
    pub(super) fn ends(&self) -> bool {
        self.ends.get() || self.worker.is_draining()
    }

    /// Throws away what has come of the request's body and nobody took. Returns whether that was the rest of it.
    pub(crate) fn discard_body(&self) -> bool {
        self.incoming.borrow_mut().discard(&self.worker.spare)
    }

    /// Whether the client has gone while its request is on its way. What it sends meanwhile is kept, within bounds.
    ///
    /// Not told while somebody reads the body, who learns of it.
    pub(super) fn client_left(&self, cx: &mut Context<'_>) -> bool {
        let mut incoming = self.incoming.borrow_mut();
        if !incoming.body.is_done() && !self.waits.get() {
            return false;
        }
        while incoming.wire.input.len() < MAX_AHEAD {
            match incoming.wire.poll_fill(cx, &self.worker.spare) {
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        false
    }

    /// Who is woken when the connection is to be looked at.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.alarm.register(cx.waker());
    }

    /// Makes the answer end at `at`, because its track was left, if that is before it has to be over anyway.
    pub(crate) fn leave(&self, at: Millis, deadline: Millis) {
        self.leaving.set(match (at < deadline, self.is_renewed.get()) {
            (false, _) => Leaving::Not,
            (true, false) => Leaving::Cut,
            (true, true) => Leaving::Cleanly,
        });
        self.stays_until.set(deadline);
        self.request_deadline.set(at.min(deadline));
        self.arm(at.min(deadline));
    }

    /// Counts the answer among those that have to leave a track, or no more.
    pub(crate) fn leaves_track(&self, track: Option<u32>) {
        let before = self.left_track.replace(track);
        if before != track {
            for (track, leaves) in
                before.map(|track| (track, false)).into_iter().chain(track.map(|track| (track, true)))
            {
                self.worker.counters.track(track, |counters| counters.leaves(leaves));
            }
        }
    }

    /// Makes the tunnel that this has become end, because its tenant is moving.
    pub(crate) fn fence(&self) {
        if !self.is_fenced.replace(true) {
            self.alarm.ring();
        }
    }

    /// How the answer ends if its time is over.
    pub(crate) fn leaving(&self) -> Leaving {
        self.leaving.get()
    }

    /// When the request has to be over, whether or not its track was left.
    pub(crate) fn own_deadline(&self) -> Millis {
        match self.leaving.get() {
            Leaving::Not => self.request_deadline.get(),
            Leaving::Cut | Leaving::Cleanly => self.stays_until.get(),
        }
    }

    /// The answer was sent, or given up.
    pub(crate) fn request_ends(&self, now: Millis) {
        self.under_way.ends();
        self.request_deadline.set(Millis::NEVER);
        self.leaving.set(Leaving::Not);
        self.leaves_track(None);
        self.is_renewed.set(false);
        self.dialect.set(Dialect::Plain);
        self.since.set(now);
    }
}

/// Whether the peer is one of the listener's trusted proxies.
fn trusts(document: &model::Listener, origin: &Origin) -> bool {
    let ip = origin.peer.ip().to_canonical();
    document.trusted_proxies.iter().any(|net| net.contains(&ip))
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The wheel would keep the connection's task until the alarm's time, which may be minutes away.
        self.alarm.cancel();
        self.incoming.get_mut().wire.stream.say_goodbye();
        self.worker.fencing.remove(self.position.get());
    }
}
