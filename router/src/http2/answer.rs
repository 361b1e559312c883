//! Sending an answer by HTTP/2, no faster than the client takes it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::{Body, Frame};

use super::guard::Guard;
use super::headers;
use crate::clock;
use crate::grpc::{Dialect, Ending, outcome};
use crate::http::answer::Answer;
use crate::http::connection::Connection;
use crate::http::tempo::Tempo;
use crate::http1::response::has_no_body;
use crate::http1::wire::Stalled;
use crate::upstream::response_body::{BrokenOff, ResponseBody};

/// What the client has to have room for before more of the answer is asked for: any at all. What is reserved is taken from all
/// streams of the connection, and an answer may be quiet for long.
const ROOM: usize = 1;

/// Who makes room for less than this, where there is more to be sent, makes frames that cost much more than they carry.
const LITTLE: usize = 256;

/// Sends an answer. Returns whether it was sent whole.
pub(super) async fn send(
    connection: &Rc<Connection>,
    guard: &RefCell<Guard>,
    answer: Answer,
    mut respond: SendResponse<Bytes>,
    is_head: bool,
) -> bool {
    let Answer { status, fields, body } = answer;
    let bodiless = is_head || has_no_body(status);
    let is_whole = bodiless || body.is_end_stream();
    let mut map = headers::map(fields, 2);
    complete(connection, &mut map, &body, is_head, bodiless);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = map;
    // It fails when the client has gone.
    let Ok(stream) = respond.send_response(response, is_whole) else { return false };
    if is_whole {
        return true;
    }
    let mut sending = Sending {
        connection,
        guard,
        stream,
        body,
        piece: Bytes::new(),
        is_last: false,
        tempo: Tempo::default(),
        stalled: None,
    };
    sending.stream.reserve_capacity(ROOM);
    poll_fn(|cx| {
        connection.register(cx);
        sending.poll(cx)
    })
    .await
}

/// Says how long the body is, where that is known, and when the answer was made.
fn complete(connection: &Connection, map: &mut HeaderMap, body: &ResponseBody, is_head: bool, bodiless: bool) {
    // Without a body: what it would have been, where the router itself knows it.
    let length = if bodiless { body.own_length().filter(|_| is_head) } else { body.length() };
    match length {
        // An answer that is all trailers has no body, not one without bytes. And one that breaks off ends with a status, which it
        // could not have where a length was promised.
        Some(_) if connection.dialect.get() == Dialect::Grpc => drop(map.remove(header::CONTENT_LENGTH)),
        Some(length) if !map.contains_key(header::CONTENT_LENGTH) => {
            map.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        None if !bodiless => drop(map.remove(header::CONTENT_LENGTH)),
        Some(_) | None => {}
    }
    if !map.contains_key(header::DATE) {
        let date = connection.worker().with_date(HeaderValue::from_bytes);
        map.extend(date.ok().map(|date| (header::DATE, date)));
    }
}

/// An answer on its way.
struct Sending<'a> {
    connection: &'a Rc<Connection>,
    guard: &'a RefCell<Guard>,
    stream: SendStream<Bytes>,
    body: ResponseBody,
    /// What was taken from the body and waits for room.
    piece: Bytes,
    /// Nothing comes behind it.
    is_last: bool,
    /// How the client gets on with taking what is to be sent.
    tempo: Tempo,
    /// Whether it takes nothing.
    stalled: Option<Stalled>,
}

impl Sending<'_> {
    /// Gathers and sends. Returns whether the answer was sent whole.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            if !self.has_room() {
                match self.stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) if self.has_room() => {}
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(false),
                    Poll::Pending if self.is_given_up(cx) => return self.give_up(),
                    Poll::Pending => {
                        self.stalled.get_or_insert_with(|| Stalled::new(&self.connection.worker().spare));
                        return Poll::Pending;
                    }
                }
            }
            self.stalled = None;
            if !self.piece.is_empty() {
                match self.send() {
                    Ok(true) => return Poll::Ready(true),
                    Ok(false) => continue,
                    Err(reason) => return self.cut(reason),
                }
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(trailers) = self.take(frame) {
                        return Poll::Ready(self.stream.send_trailers(headers::trailers(trailers)).is_ok());
                    }
                }
                Poll::Ready(None) => return Poll::Ready(self.stream.send_data(Bytes::new(), true).is_ok()),
                Poll::Ready(Some(Err(why))) => return self.break_off(why, Reason::INTERNAL_ERROR),
                Poll::Pending if self.stream.poll_reset(cx).is_ready() => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether the client takes something now. Room is reserved for all that is here, and for no more.
    fn has_room(&mut self) -> bool {
        let has = self.stream.capacity();
        if has < self.piece.len() || has == 0 {
            self.stream.reserve_capacity(self.piece.len().max(ROOM));
        }
        self.stream.capacity() > 0
    }

    /// Takes a piece of the body. Returns trailers, which are its end.
    fn take(&mut self, frame: Frame<Bytes>) -> Option<HeaderMap> {
        match frame.into_data() {
            Ok(data) => {
                self.piece = data;
                self.is_last = self.body.is_end_stream();
                None
            }
            Err(frame) => frame.into_trailers().ok(),
        }
    }

    /// Sends as much as there is room for. Returns whether that was all.
    fn send(&mut self) -> Result<bool, Reason> {
        let length = self.piece.len().min(self.stream.capacity());
        let piece = self.piece.split_to(length);
        let ends = self.is_last && self.piece.is_empty();
        self.stream.send_data(piece, ends).map_err(|_| Reason::INTERNAL_ERROR)?;
        if length < LITTLE && !self.piece.is_empty() {
            self.guard.borrow_mut().squeezed();
        } else {
            self.guard.borrow_mut().sent(length);
        }
        let timeouts = self.connection.timeouts();
        if self.tempo.gets_on(length as u64, timeouts.body_write, timeouts.min_rate, clock::now_millis) {
            Ok(ends)
        } else {
            Err(Reason::CANCEL)
        }
    }

    /// Ends it such that the client does not take what it got for whole.
    fn cut(&mut self, reason: Reason) -> Poll<bool> {
        self.stream.send_reset(reason);
        Poll::Ready(false)
    }

    /// The answer has broken off. A call's client is told in trailers what it can make something of.
    fn break_off(&mut self, why: BrokenOff, reason: Reason) -> Poll<bool> {
        match outcome::ending_of(why).filter(|_| self.connection.dialect.get() == Dialect::Grpc) {
            Some(ending) => self.end(ending),
            None => self.cut(reason),
        }
    }

    fn end(&mut self, ending: Ending) -> Poll<bool> {
        Poll::Ready(self.stream.send_trailers(ending.trailers()).is_ok())
    }

    /// The client does not take what there is, and its time is over.
    fn give_up(&mut self) -> Poll<bool> {
        let is_call = self.connection.dialect.get() == Dialect::Grpc;
        match is_call.then(|| self.body.run_out()).flatten() {
            Some(why) => self.break_off(why, Reason::CANCEL),
            None => self.cut(Reason::CANCEL),
        }
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
