//! What a client sends: its socket, and the body of the request at hand, read when somebody wants it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use gridrouter_config::model::ListenerTimeouts;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};

use super::connection::Connection;
use super::fields::Fields;
use super::kept_body::{Keeper, KeptBody};
use super::reject::Reject;
use super::tempo::Tempo;
use crate::clock;
use crate::http1::body::{Decoded, Decoder};
use crate::http1::wire::{Spare, Wire};
use crate::http2::receiving::Receiving;
use crate::tls::stream::Stream;

/// A connection's receiving side.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) wire: Wire,
    /// The body, where it comes by HTTP/2 and not by the wire.
    stream: Option<Box<Receiving>>,
    /// Where in the body of the request at hand the next byte belongs.
    pub(super) body: Decoder,
    /// The client waits to be told that it may send the body.
    owes_continue: bool,
    /// How many bytes its body may still have.
    room: u64,
    /// How it gets on.
    tempo: Tempo,
    /// What is wrong with it, if it is broken.
    pub(crate) fault: Reject,
    /// Where what comes next would begin is unknown: nothing more is read as a request.
    pub(super) broken: bool,
}

impl Incoming {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            stream: None,
            body: Decoder::Done,
            owes_continue: false,
            room: u64::MAX,
            tempo: Tempo::default(),
            fault: Reject::MalformedRequest,
            broken: false,
        }
    }

    /// That of one stream of HTTP/2.
    pub(super) fn of_stream(stream: Receiving, body: Decoder) -> Self {
        Self { stream: Some(Box::new(stream)), body, ..Self::new(Wire::new(Stream::Gone)) }
    }

    /// The router's address that the client's connection came to.
    pub(super) fn reached(&self) -> Option<SocketAddr> {
        match &self.stream {
            Some(stream) => stream.reached,
            None => self.wire.stream.socket()?.local_addr().ok(),
        }
    }

    /// Whether the request asks for a tunnel, such that an answer of 2xx would say that there is one (RFC 8441 §5).
    pub(super) fn connects(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.connects)
    }

    /// Takes the stream, which is a tunnel by now.
    pub(crate) fn take_stream(&mut self) -> Option<Box<Receiving>> {
        self.stream.take()
    }

    /// A head was taken.
    pub(super) fn begin(&mut self, body: Decoder, expects_continue: bool) {
        self.body = body;
        (self.room, self.tempo, self.fault) = (u64::MAX, Tempo::default(), Reject::MalformedRequest);
        self.owes_continue = expects_continue && !body.is_done();
    }

    /// Bounds the body of the request at hand: what is beyond is not taken.
    pub(crate) fn bound(&mut self, bytes: u64) {
        self.room = bytes;
    }

    /// Notes a piece that has come. Returns whether it may be taken.
    fn admits(&mut self, length: u64) -> bool {
        let left = self.room.checked_sub(length);
        self.room = left.unwrap_or(0);
        if left.is_none() {
            self.fault = Reject::BodyTooLarge;
        }
        left.is_some()
    }

    /// Receives more of the body. Returns whether it goes on.
    fn poll_more(&mut self, cx: &mut Context<'_>, spare: &Spare, timeouts: ListenerTimeouts) -> Poll<bool> {
        let polled = self.wire.poll_fill_body(cx, spare, self.body.left());
        let Poll::Ready(came) = polled else {
            self.tempo.waits(clock::now_millis);
            return Poll::Pending;
        };
        let Ok(came @ 1..) = came else { return Poll::Ready(false) };
        let fine = self.tempo.gets_on(came as u64, timeouts.body_read, timeouts.min_rate, clock::now_millis);
        if !fine {
            self.fault = Reject::BodyTimeout;
        }
        Poll::Ready(fine)
    }

    /// Receives what comes next of a body that comes by HTTP/2: its end where nothing is left.
    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
        timeouts: ListenerTimeouts,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let Poll::Ready(came) = stream.poll_frame(cx) else {
            self.tempo.waits(clock::now_millis);
            return Poll::Pending;
        };
        let is_over = stream.is_over();
        let frame = match came.transpose() {
            Ok(frame) => frame,
            Err(error) if error.is_library() => return Poll::Ready(Some(Err(BrokenBody))),
            // The client has taken its request back, or has gone: whoever answers it finds that out now.
            Err(_) => return Poll::Pending,
        };
        let Some(data) = frame.as_ref().and_then(Frame::data_ref) else {
            // Trailers, or the end.
            self.body = Decoder::Done;
            return Poll::Ready(frame.map(Ok));
        };
        let length = data.len() as u64;
        if !self.tempo.gets_on(length, timeouts.body_read, timeouts.min_rate, clock::now_millis) {
            self.fault = Reject::BodyTimeout;
            return Poll::Ready(Some(Err(BrokenBody)));
        }
        if !self.admits(length) {
            return Poll::Ready(Some(Err(BrokenBody)));
        }
        if is_over {
            self.body = Decoder::Done;
        } else if let Decoder::Length(left) = self.body {
            // The h2 crate sees to it that there is no more than was said.
            self.body = Decoder::new(left.saturating_sub(length), false);
        }
        Poll::Ready(frame.map(Ok))
    }

    /// Throws away what has come of the body. Returns whether that was the rest of it.
    pub(super) fn discard(&mut self, spare: &Spare) -> bool {
        if self.stream.is_some() {
            // The next request has a stream of its own.
            return true;
        }
        while !self.broken && !self.body.is_done() {
            match self.body.decode(&mut self.wire.input) {
                Ok(Decoded::Data(_)) => {}
                Ok(Decoded::Trailers(_) | Decoded::End) => break,
                Ok(Decoded::Missing) => return false,
                Err(_) => self.broken = true,
            }
        }
        self.wire.settle(spare);
        !self.broken
    }

    /// Whether the client may be sending what nobody will read.
    pub(super) fn is_expecting(&self) -> bool {
        self.broken || !self.body.is_done() || !self.wire.input.is_empty()
    }

    /// Lets an interim response go ahead of the answer, where that goes by HTTP/2. Returns whether it does.
    pub(crate) fn says_first(&mut self, status: StatusCode, fields: Fields) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        stream.interim.push((status, fields));
        true
    }

    /// Takes the interim responses that are to go ahead of the answer.
    pub(crate) fn take_interim(&mut self) -> Vec<(StatusCode, Fields)> {
        self.stream.as_mut().map(|stream| std::mem::take(&mut stream.interim)).unwrap_or_default()
    }

    /// Tells the client that it may send the body, unless it has begun to.
    ///
    /// If the socket takes nothing at the moment the client is not told: it must not wait forever anyway (RFC 9110
    /// §10.1.1).
    fn invite(&mut self) {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        if std::mem::take(&mut self.owes_continue) && self.wire.input.is_empty() {
            self.broken |= self.wire.stream.try_write(CONTINUE).is_ok_and(|written| written < CONTINUE.len());
        }
    }
}

/// The body of a client's request was cut short, or is not delimited as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BrokenBody;

impl std::fmt::Display for BrokenBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client broke its request off, or delimited it wrongly")
    }
}

impl std::error::Error for BrokenBody {}

/// The body of a client's request.
#[derive(Debug)]
pub(crate) struct ClientBody {
    connection: Rc<Connection>,
    /// Of a body that somebody else wants, too.
    keeper: Option<Box<Keeper>>,
}

impl ClientBody {
    pub(crate) fn new(connection: &Rc<Connection>) -> Self {
        Self { connection: Rc::clone(connection), keeper: None }
    }

    /// The same body for a second reader, if it has at most so many bytes.
    pub(crate) fn keep(&mut self, most: usize) -> KeptBody {
        let (keeper, kept) = Keeper::new(most);
        self.keeper = Some(Box::new(keeper));
        kept
    }

    /// Whether it is text that stands for bytes, as gRPC-Web may have it.
    pub(crate) fn is_text(&self) -> bool {
        self.connection.dialect.get().web().is_some_and(|form| form.text_in)
    }

    /// Whether so many bytes may be all of it.
    pub(crate) fn may_fit(&self, most: usize) -> bool {
        self.connection.incoming.borrow().body.left().is_none_or(|left| left <= most as u64)
    }

    /// Whether the rest of it is not known to have a length.
    pub(crate) fn is_chunked(&self) -> bool {
        self.connection.incoming.borrow().body.left().is_none()
    }

    #[cold]
    fn keep_piece(&mut self, polled: Option<&Frame<Bytes>>) {
        let Some(mut keeper) = self.keeper.take() else { return };
        let data = polled.and_then(Frame::data_ref);
        match data.map(|data| keeper.passes(data)) {
            Some(false) => {}
            Some(true) if !self.is_end_stream() => self.keeper = Some(keeper),
            Some(true) | None => keeper.ends(),
        }
    }

    /// The same where it comes by HTTP/2.
    #[cold]
    fn poll_stream(
        &self,
        cx: &mut Context<'_>,
        incoming: &mut Incoming,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        if incoming.broken {
            return Poll::Ready(Some(Err(BrokenBody)));
        }
        if incoming.body.is_done() {
            return Poll::Ready(None);
        }
        let Poll::Ready(mut came) = incoming.poll_stream(cx, self.connection.timeouts()) else {
            if std::mem::take(&mut incoming.owes_continue) {
                incoming.says_first(StatusCode::CONTINUE, Fields::new());
            }
            return Poll::Pending;
        };
        incoming.broken |= matches!(came, Some(Err(_)));
        if let Some(trailers) = came.as_mut().and_then(|came| came.as_mut().ok()?.trailers_mut()) {
            self.connection.take_out_reserved(trailers);
        }
        if self.connection.timed.get() && incoming.body.is_done() {
            self.connection.body_ended.set(clock::now());
        }
        Poll::Ready(came)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let mut incoming = self.connection.incoming.borrow_mut();
        let incoming = &mut *incoming;
        if incoming.stream.is_some() {
            return self.poll_stream(cx, incoming);
        }
        loop {
            if incoming.broken {
                return Poll::Ready(Some(Err(BrokenBody)));
            }
            match incoming.body.decode(&mut incoming.wire.input) {
                Ok(Decoded::Data(data)) if !incoming.admits(data.len() as u64) => incoming.broken = true,
                Ok(Decoded::Data(data)) => {
                    if self.connection.timed.get() && incoming.body.is_done() {
                        self.connection.body_ended.set(clock::now());
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Decoded::Trailers(mut trailers)) => {
                    self.connection.take_out_reserved(&mut trailers);
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::End) => {
                    if self.connection.timed.get() {
                        self.connection.body_ended.set(clock::now());
                    }
                    incoming.wire.settle(&self.connection.worker().spare);
                    return Poll::Ready(None);
                }
                Ok(Decoded::Missing) => {
                    incoming.invite();
                    let connection = &self.connection;
                    let more = incoming.poll_more(cx, &connection.worker().spare, connection.timeouts());
                    incoming.broken |= !ready!(more);
                }
                Err(_) => incoming.broken = true,
            }
            if incoming.broken {
                self.connection.end_after_answer();
            }
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let polled = self.poll(cx);
        if self.keeper.is_some()
            && let Poll::Ready(polled) = &polled
        {
            match polled {
                Some(Ok(frame)) => self.get_mut().keep_piece(Some(frame)),
                Some(Err(BrokenBody)) => self.get_mut().keeper = None,
                None => self.get_mut().keep_piece(None),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.connection.incoming.borrow().body.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        self.connection.incoming.borrow().body.left().map(SizeHint::with_exact).unwrap_or_default()
    }
}
