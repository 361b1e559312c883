//! One request over HTTP/2, with its answer.
//!
//! It is driven by whoever waits for the answer, like one over HTTP/1.1; that frames come and go is the connection's task. Nothing is
//! taken from the client for which the endpoint has no room but one piece, and the endpoint gets room for more of its answer only
//! when somebody asks for what comes behind.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, StatusCode};
use http_body::Frame;

use super::hub::Place;
use super::message;
use crate::clock::{self, Millis};
use crate::http::tunnel::end::StreamEnd;
use crate::http1::body::Decoder;
use crate::http1::response::Head;
use crate::http1::wire::{Spare, Stalled};
use crate::http2::headers;
use crate::upstream::exchange::{Failed, MAX_HINTS, MAX_INTERIM, Progress};
use crate::upstream::journey::Outgoing;
use crate::upstream::payload::{Payload, Piece};

/// How much of a request's body is kept until its answer comes: what an endpoint did not look at is sent to another one.
const MAX_KEPT: usize = 64 * 1024;
/// What HTTP/2 has no use for (RFC 9113 §8.6).
const SWITCHING: StatusCode = StatusCode::SWITCHING_PROTOCOLS;

/// One request over HTTP/2, with its answer.
#[derive(Debug)]
pub(in crate::upstream) struct Exchange {
    /// First, so that its stream has ended before its place is given to another.
    receiving: Receiving,
    /// `None` when all of the request was sent, or its rest is of no use any more.
    send: Option<SendStream<Bytes>>,
    /// The stream's other half, where it may become a tunnel.
    tunnel: Option<SendStream<Bytes>>,
    payload: Payload,
    /// What was taken of it and not sent, and whether it is the last.
    piece: Bytes,
    is_last: bool,
    /// Whether the endpoint has no room for it.
    stalled: Option<Stalled>,
    kept: Kept,
    progress: Progress,
    to_head: bool,
    /// Whether early hints are wanted.
    hints: bool,
    interim: u32,
    answer: Decoder,
    /// A piece of the answer that came together with its head.
    first: Option<Bytes>,
    /// What was passed on, and not told to the endpoint.
    owed: usize,
    place: Place,
}

#[derive(Debug)]
enum Receiving {
    Head(ResponseFuture),
    Body(RecvStream),
    Over,
}

/// What was taken of a request's body.
#[derive(Debug, Default)]
struct Kept {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    size: usize,
    /// It was too much.
    is_lost: bool,
}

impl Kept {
    fn keep(&mut self, piece: &Bytes) {
        self.size += piece.len();
        if self.size > MAX_KEPT {
            (self.is_lost, self.pieces) = (true, VecDeque::new());
        } else if !piece.is_empty() {
            self.pieces.push_back(piece.clone());
        }
    }
}

impl Exchange {
    /// Begins with a request. If the connection has ended meanwhile, its body comes back. With a protocol it asks for a tunnel.
    pub(in crate::upstream) fn begin(
        place: Place,
        request: &Outgoing,
        protocol: Option<&str>,
        payload: Payload,
        now: Millis,
    ) -> Result<Box<Self>, (Failed, Box<Payload>)> {
        let Some(head) = message::request(request, protocol, place.is_secure()) else {
            return Err((Failed::Client, Box::new(payload)));
        };
        let has_body = !payload.is_over();
        let is_all = !has_body && protocol.is_none();
        let Ok((answer, send)) = place.send(head, is_all) else { return Err((Failed::Unsent, Box::new(payload))) };
        let (send, tunnel) = if protocol.is_some() { (None, Some(send)) } else { (has_body.then_some(send), None) };
        Ok(Box::new(Self {
            receiving: Receiving::Head(answer),
            send,
            tunnel,
            payload,
            piece: Bytes::new(),
            is_last: false,
            stalled: None,
            kept: Kept::default(),
            progress: if has_body { Progress::Held(now) } else { Progress::NoBody },
            to_head: request.method == Method::HEAD,
            hints: false,
            interim: 0,
            answer: Decoder::Done,
            first: None,
            owed: 0,
            place,
        }))
    }

    /// Makes early hints heads, too, for whoever waits for the answer.
    pub(in crate::upstream) fn wants_hints(&mut self) {
        self.hints = true;
    }

    /// Whether an answer of this status makes the stream a tunnel: any of success does (RFC 8441 §5, RFC 9110 §9.3.6).
    pub(in crate::upstream) fn agrees(&self, status: StatusCode) -> bool {
        self.tunnel.is_some() && status.is_success()
    }

    /// The stream, which has become a tunnel; nothing, if it has not.
    pub(in crate::upstream) fn into_end(self: Box<Self>) -> Option<StreamEnd> {
        let Self { receiving, tunnel, first, place, .. } = *self;
        let receive = match receiving {
            Receiving::Body(body) => Some(body),
            Receiving::Head(_) | Receiving::Over => None,
        };
        Some(StreamEnd::of_endpoint(receive, tunnel?, first, place))
    }

    pub(in crate::upstream) fn progress(&self) -> Progress {
        self.progress
    }

    /// The request's body again, after [`Failed::Unsent`].
    pub(in crate::upstream) fn into_payload(mut self: Box<Self>) -> Payload {
        let Kept { pieces, trailers, .. } = std::mem::take(&mut self.kept);
        self.payload.put_back(pieces, trailers);
        std::mem::take(&mut self.payload)
    }

    /// Sends what there is of the request, as far as the endpoint has room. The error is the client's.
    pub(in crate::upstream) fn drive(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Result<(), Failed> {
        self.stalled = None;
        while let Some(send) = &mut self.send {
            if self.piece.is_empty() {
                let Poll::Ready(piece) = self.payload.poll_piece(cx) else {
                    if !matches!(self.progress, Progress::Starved(_)) {
                        self.progress = Progress::Starved(clock::now_millis());
                    }
                    return Ok(());
                };
                let now = clock::now_millis();
                self.progress = Progress::Held(now);
                match piece? {
                    Piece::Data(data, false) if data.is_empty() => continue,
                    Piece::Data(data, is_last) => {
                        self.kept.keep(&data);
                        (self.piece, self.is_last) = (data, is_last);
                    }
                    Piece::End(trailers) => {
                        self.kept.trailers.clone_from(&trailers);
                        // If the stream has ended, whoever reads the answer learns of it.
                        let _sent = match trailers.map(headers::trailers).filter(|trailers| !trailers.is_empty()) {
                            Some(trailers) => send.send_trailers(trailers),
                            None => send.send_data(Bytes::new(), true),
                        };
                        (self.send, self.progress) = (None, Progress::Done(now));
                        return Ok(());
                    }
                }
            }
            send.reserve_capacity(self.piece.len());
            let room = match send.capacity() {
                0 if !self.piece.is_empty() => match send.poll_capacity(cx) {
                    Poll::Pending => {
                        self.stalled = Some(Stalled::new(spare));
                        return Ok(());
                    }
                    Poll::Ready(Some(Ok(room))) => room,
                    Poll::Ready(Some(Err(_)) | None) => {
                        self.send = None;
                        return Ok(());
                    }
                },
                room => room,
            };
            let part = self.piece.split_to(room.min(self.piece.len()));
            let is_end = self.is_last && self.piece.is_empty();
            let sent = send.send_data(part, is_end);
            if is_end {
                self.progress = Progress::Done(clock::now_millis());
            }
            if is_end || sent.is_err() {
                self.send = None;
            }
        }
        Ok(())
    }

    /// Waits for the answer's head, sending the request meanwhile. Where they are [wanted](Self::wants_hints), early hints are
    /// heads, too.
    pub(in crate::upstream) fn poll_head(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Poll<Result<Head, Failed>> {
        self.drive(cx, spare)?;
        let Receiving::Head(response) = &mut self.receiving else { return Poll::Ready(Err(Failed::CutShort)) };
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            self.interim += 1;
            let head = message::answer(&interim, false).ok().filter(|head| head.status != SWITCHING);
            let Some(head) = head.filter(|_| self.interim <= MAX_INTERIM) else {
                return Poll::Ready(Err(Failed::Protocol));
            };
            if self.hints && self.interim <= MAX_HINTS && head.status == StatusCode::EARLY_HINTS {
                return Poll::Ready(Ok(head));
            }
        }
        let (parts, body) = match ready!(Pin::new(response).poll(cx)) {
            Ok(answer) => answer.into_parts(),
            Err(error) => return Poll::Ready(Err(self.failed(&error))),
        };
        let answer = http::Response::from_parts(parts, ());
        let Ok(head) = message::answer(&answer, self.to_head) else { return Poll::Ready(Err(Failed::Protocol)) };
        self.answer = head.body;
        self.kept = Kept { is_lost: true, ..Kept::default() };
        self.receiving = Receiving::Body(body);
        if !head.status.is_success()
            && let Some(mut tunnel) = self.tunnel.take()
        {
            // There will be none. If the stream has ended already, nobody waits for the end of it.
            let _ended: Result<(), h2::Error> = tunnel.send_data(Bytes::new(), true);
        }
        self.look_ahead(cx);
        Poll::Ready(Ok(head))
    }

    /// Takes the first piece where it is here already, so that it is known whether that is all.
    fn look_ahead(&mut self, cx: &mut Context<'_>) {
        if let Receiving::Body(body) = &mut self.receiving {
            if !body.is_end_stream()
                && let Poll::Ready(Some(Ok(data))) = body.poll_data(cx)
            {
                self.first = Some(data);
            }
            if self.first.is_none() && body.is_end_stream() {
                self.receiving = Receiving::Over;
            }
        }
    }

    fn failed(&self, error: &h2::Error) -> Failed {
        let is_refused = error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
        // Of a connection that is going away, only the streams that were not looked at end with that.
        let is_unsent = is_refused || (error.is_go_away() && error.is_remote());
        match () {
            () if is_unsent && !self.kept.is_lost && self.interim == 0 => Failed::Unsent,
            () if is_unsent => Failed::CutShort,
            () if error.is_library() => Failed::Protocol,
            () if error.is_io() && self.interim == 0 => Failed::Silent,
            () => Failed::CutShort,
        }
    }

    /// What is left of the answer's body, where that is known.
    pub(in crate::upstream) fn left(&self) -> Option<u64> {
        self.answer.left()
    }

    /// Whether all of the answer was read, and its stream has ended.
    pub(in crate::upstream) fn is_over(&self) -> bool {
        matches!(self.receiving, Receiving::Over)
    }

    /// Whether all of the answer was received.
    pub(in crate::upstream) fn has_come(&self) -> bool {
        match &self.receiving {
            Receiving::Head(_) => false,
            Receiving::Body(body) => body.is_end_stream(),
            Receiving::Over => true,
        }
    }

    /// The next piece of the answer's body. The error: it broke off.
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        spare: &Spare,
    ) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        if self.drive(cx, spare).is_err() {
            // A request that breaks off does not keep its answer from being read to the end.
            self.send = None;
        }
        let Receiving::Body(body) = &mut self.receiving else { return Poll::Ready(None) };
        if self.owed > 0 {
            // What was passed on before is gone. A stream that has ended needs no room.
            let _released: Result<(), h2::Error> = body.flow_control().release_capacity(std::mem::take(&mut self.owed));
        }
        let polled = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(body.poll_data(cx)),
        };
        match polled {
            Some(Ok(data)) => {
                self.owed = data.len();
                if let Decoder::Length(left) = &mut self.answer {
                    *left = left.saturating_sub(data.len() as u64);
                } else if self.answer.is_done() && !data.is_empty() {
                    // It has none, whatever the endpoint thinks.
                    return Poll::Ready(Some(Err(())));
                }
                if body.is_end_stream() {
                    self.ends();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(_)) => Poll::Ready(Some(Err(()))),
            None => {
                let trailers = ready!(body.poll_trailers(cx));
                self.ends();
                match trailers {
                    Ok(None) => Poll::Ready(None),
                    Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                    Err(_) => Poll::Ready(Some(Err(()))),
                }
            }
        }
    }

    fn ends(&mut self) {
        self.receiving = Receiving::Over;
        self.answer = Decoder::Done;
    }
}
