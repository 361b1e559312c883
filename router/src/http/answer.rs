//! Writing an answer to the client.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use http_body::{Body, Frame};

use super::connection::Connection;
use super::fields::Fields;
use super::tempo::Tempo;
use crate::clock;
use crate::http1::encode::{self, Framing, Future, Start};
use crate::http1::out::Out;
use crate::http1::request::Head;
use crate::http1::response::has_no_body;
use crate::http1::wire::Stalled;
use crate::upstream::response_body::ResponseBody;

/// An answer to a client.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
    pub(crate) body: ResponseBody,
}

/// What of a request matters for how it is answered.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub(super) struct Asker {
    is_old: bool,
    is_head: bool,
    keep_alive: bool,
    takes_trailers: bool,
}

impl Asker {
    pub(super) fn new(head: &Head) -> Self {
        Self {
            is_old: head.version == Version::HTTP_10,
            is_head: head.method == Method::HEAD,
            keep_alive: head.keep_alive,
            takes_trailers: head.takes_trailers,
        }
    }

    fn framing(self, status: StatusCode, body: &ResponseBody) -> Framing {
        match body.length() {
            // What it would have been, where the router itself knows it.
            _ if self.is_head => body.own_length().map_or(Framing::None, Framing::Length),
            _ if has_no_body(status) => Framing::None,
            Some(length) => Framing::Length(length),
            None if self.is_old => Framing::ToEnd,
            None => Framing::Chunked,
        }
    }
}

/// How sending an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of it was sent, and another request may follow.
    Whole,
    /// All of it was sent, and the connection ends.
    Last,
    /// The client must not take what it got for whole.
    Broken,
}

/// Sends an answer.
pub(super) async fn send(connection: &Rc<Connection>, answer: Answer, asker: Asker) -> Sent {
    let Answer { status, fields, body } = answer;
    let framing = asker.framing(status, &body);
    // Where the endpoint has said all it will, nobody reads the rest of the request any more.
    let cut_short = body.has_come() && !connection.discard_body();
    let ends = cut_short || connection.ends() || !asker.keep_alive || framing == Framing::ToEnd;
    let future = match (ends, asker.is_old) {
        (true, _) => Future::Ends,
        (false, true) => Future::LastsForOld,
        (false, false) => Future::Lasts,
    };
    let version = if asker.is_old { Version::HTTP_10 } else { Version::HTTP_11 };
    let worker = connection.worker();
    let mut out = Out::new(worker.spare.output());
    let start = Start { version, status, framing, future };
    worker.with_date(|date| encode::response_head(out.end(), start, &fields, date));
    drop(fields);
    let bodiless = asker.is_head || has_no_body(status);
    let mut sending = Sending {
        connection,
        out,
        body,
        chunked: framing == Framing::Chunked,
        takes_trailers: asker.takes_trailers,
        rest: if bodiless { Rest::Nothing } else { Rest::Body },
        tempo: Tempo::default(),
        stalled: None,
    };
    let whole = poll_fn(|cx| {
        connection.register(cx);
        sending.poll(cx)
    })
    .await;
    worker.spare.keep_output(sending.out.into_buffer());
    match whole {
        false => Sent::Broken,
        true if ends || connection.ends() || !connection.discard_body() => Sent::Last,
        true => Sent::Whole,
    }
}

/// The most bytes of early hints that are passed on at once.
const MAX_HINTS: usize = 8 * 1024;
/// The status of early hints (RFC 8297).
const EARLY_HINTS: StatusCode = StatusCode::EARLY_HINTS;

/// Passes on what early hints say of links, and what bounds these, if the client's socket takes it: hints hold nothing up.
///
/// The rest is the answer's to say. Before it comes nobody makes use of it, and no route has had a chance to remove what is not for
/// clients.
#[cold]
pub(crate) fn hint(connection: &Connection, fields: &Fields) {
    let mut hints = Fields::new();
    for name in ["link", "content-security-policy"] {
        fields.get_all(name).for_each(|value| hints.append(name, value));
    }
    let mut head = b"HTTP/1.1 103 Early Hints\r\n".to_vec();
    hints.write(&mut head, |_| false);
    head.extend_from_slice(b"\r\n");
    if hints.iter().next().is_none() || head.len() > MAX_HINTS {
        return;
    }
    let mut incoming = connection.incoming.borrow_mut();
    if incoming.says_first(EARLY_HINTS, hints) {
        return;
    }
    let stream = &mut incoming.wire.stream;
    if stream.try_write(&head).is_ok_and(|written| written < head.len()) {
        // A half of it, and no way to take it back: the client has not read what it got before.
        stream.cut();
    }
}

/// What of the body is still to be gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// More of it.
    Body,
    /// Nothing: what was gathered is all.
    Nothing,
    /// Nothing: it broke off.
    BrokenOff,
}

/// An answer on its way.
struct Sending<'a> {
    connection: &'a Rc<Connection>,
    out: Out,
    body: ResponseBody,
    chunked: bool,
    takes_trailers: bool,
    rest: Rest,
    /// How the client gets on with taking what is to be written.
    tempo: Tempo,
    /// Whether it takes nothing.
    stalled: Option<Stalled>,
}

impl Sending<'_> {
    /// Gathers and writes. Returns whether the answer was sent whole.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            let waits = self.gather(cx);
            let mut written = 0;
            let mut incoming = self.connection.incoming.borrow_mut();
            let polled = self.out.poll_write(cx, &mut incoming.wire.stream, &mut written);
            drop(incoming);
            if written > 0 || polled.is_ready() {
                self.stalled = None;
            }
            if written > 0 && !self.gets_on(written) {
                return Poll::Ready(false);
            }
            match polled {
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Ready(Ok(())) => match self.rest {
                    Rest::Nothing => return Poll::Ready(true),
                    Rest::BrokenOff => return Poll::Ready(false),
                    Rest::Body if waits && self.connection.client_left(cx) => return Poll::Ready(false),
                    Rest::Body if waits => return Poll::Pending,
                    Rest::Body => {}
                },
                Poll::Pending if self.is_given_up(cx) => return Poll::Ready(false),
                Poll::Pending => {
                    self.stalled.get_or_insert_with(|| Stalled::new(&self.connection.worker().spare));
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes from the body what there is, as far as it should be written at once. Returns whether more of it has to be
    /// waited for.
    fn gather(&mut self, cx: &mut Context<'_>) -> bool {
        while self.rest == Rest::Body && !self.out.is_full() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => self.add(frame),
                Poll::Ready(None) => self.end(None),
                Poll::Ready(Some(Err(_))) => self.rest = Rest::BrokenOff,
                Poll::Pending => return true,
            }
        }
        false
    }

    fn add(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) if self.chunked => {
                encode::chunk_size(self.out.end(), data.len());
                self.out.push(data);
                self.out.end().extend_from_slice(b"\r\n");
            }
            Ok(data) => self.out.push(data),
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return self.end(Some(&trailers).filter(|_| self.takes_trailers));
            }
        }
        if self.body.is_end_stream() {
            self.end(None);
        }
    }

    fn end(&mut self, trailers: Option<&http::HeaderMap>) {
        self.rest = Rest::Nothing;
        if self.chunked {
            encode::last_chunk(self.out.end(), trailers);
        }
    }

    /// Whether the client takes what is written fast enough.
    fn gets_on(&mut self, written: u64) -> bool {
        let timeouts = self.connection.timeouts();
        self.tempo.gets_on(written, timeouts.body_write, timeouts.min_rate, clock::now_millis)
    }

    /// Whether the client has not taken anything for too long, or the request lasts too long; arms the alarm if not.
    fn is_given_up(&mut self, cx: &mut Context<'_>) -> bool {
        // The request may still be on its way while its answer comes.
        self.body.drive(cx);
        let since = self.tempo.waits(clock::now_millis);
        let at = since.after(self.connection.timeouts().body_write).min(self.connection.request_deadline.get());
        let late = self.connection.worker().now_millis() >= at;
        self.connection.arm(at);
        late
    }
}
