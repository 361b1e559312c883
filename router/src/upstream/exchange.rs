//! A connection to an endpoint, with the request and the answer that are on their way on it.
//!
//! It is driven by whoever waits for the answer, inside that request's own task. The request may still be on its way
//! while its answer comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame};

use crate::clock::{self, Millis};
use crate::http::client_body::ClientBody;
use crate::http1::body::{Decoded, Decoder};
use crate::http1::out::Out;
use crate::http1::response::{self, Head};
use crate::http1::wire::{Spare, Stalled, Wire};
use crate::http1::{Scan, encode};

/// How many interim responses (1xx) may come before the answer.
pub(super) const MAX_INTERIM: u32 = 32;
/// How many of them are passed on, at the most.
pub(super) const MAX_HINTS: u32 = 8;

/// The status of early hints (RFC 8297).
pub(super) const EARLY_HINTS: u16 = 103;

/// How the sending of a request gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has no body.
    NoBody,
    /// The client's last piece came at this time; the endpoint has not asked for more.
    Held(Millis),
    /// The client has not sent more since this time.
    Starved(Millis),
    /// The last of it came from the client at this time.
    Done(Millis),
}

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The endpoint took nothing of the request: it can be sent elsewhere.
    Unsent,
    /// The connection ended before any byte of an answer.
    Silent,
    /// The connection ended within the answer's head.
    CutShort,
    /// The answer is not HTTP, or ambiguous, or one that nobody asked for.
    Protocol,
    /// The client did not send its body as it should.
    Client,
}

/// A request that is to be sent, as far as that was not done: what waits to be written, and the body behind it.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) out: Out,
    /// `None` when all of it is in `out`.
    pub(super) body: Option<ClientBody>,
    pub(super) chunked: bool,
}

/// What of an answer is wanted besides itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wants {
    /// Early hints (RFC 8297).
    pub(super) hints: bool,
    /// The change to another protocol, which the request asked for.
    pub(super) switch: bool,
}

/// A connection to an endpoint, with the request and the answer that are on their way on it.
///
/// It is large and handed from stage to stage: it lives in a box, which goes to the pool and comes back with it.
#[derive(Debug)]
pub(crate) struct Exchange {
    wire: Wire,
    sending: Sending,
    progress: Progress,
    /// How much of the request the socket took.
    sent: u64,
    /// Whether the endpoint takes nothing of it at the moment.
    stalled: Option<Stalled>,
    /// The socket takes nothing more: the endpoint may have answered all the same.
    send_failed: bool,
    to_head: bool,
    /// Which interim responses are for whoever waits for the answer.
    wants: Wants,
    scan: Scan,
    interim: u32,
    answer: Decoder,
    keep_alive: bool,
}

impl Exchange {
    /// One on a new connection.
    pub(super) fn on(wire: Wire) -> Box<Self> {
        Box::new(Self {
            wire,
            sending: Sending { out: Out::default(), body: None, chunked: false },
            progress: Progress::NoBody,
            sent: 0,
            stalled: None,
            send_failed: false,
            to_head: false,
            wants: Wants::default(),
            scan: Scan::default(),
            interim: 0,
            answer: Decoder::Done,
            keep_alive: false,
        })
    }

    /// Begins with a request; `to_head` says that it is a HEAD request.
    pub(super) fn begin(&mut self, sending: Sending, to_head: bool, now: Millis) {
        self.progress = if sending.body.is_some() { Progress::Held(now) } else { Progress::NoBody };
        // The rest is as the last exchange left it, without which the connection would not have been reusable.
        self.sending = sending;
        self.sent = 0;
        self.to_head = to_head;
        self.wants = Wants::default();
        self.interim = 0;
    }

    /// What of the answer is wanted besides itself; nothing, unless this is called after [`Self::begin`].
    pub(super) fn wants(&mut self, wants: Wants) {
        self.wants = wants;
    }

    /// The bare connection, after the endpoint has changed to another protocol.
    pub(super) fn into_wire(self: Box<Self>) -> Wire {
        self.wire
    }

    /// Whether the connection could serve a request now. What the endpoint sends without having been asked, or its
    /// closing the connection, means that it could not.
    pub(super) fn is_open(&mut self) -> bool {
        self.wire.stream.is_quiet()
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    /// The request again, after [`Failed::Unsent`].
    pub(super) fn into_sending(self: Box<Self>) -> Sending {
        self.sending
    }

    /// Sends what there is of the request. The error is the client's.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Result<(), Failed> {
        self.stalled = None;
        while !self.send_failed {
            let waits = self.gather(cx)?;
            if self.sending.out.is_empty() && !self.wire.stream.owes() {
                break;
            }
            match self.sending.out.poll_write(cx, &mut self.wire.stream, &mut self.sent) {
                Poll::Ready(Ok(())) if waits => break,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.send_failed = true,
                Poll::Pending => {
                    self.stalled = Some(Stalled::new(spare));
                    break;
                }
            }
        }
        if self.sending.body.is_none() && self.sending.out.is_empty() {
            spare.keep_output(std::mem::take(&mut self.sending.out).into_buffer());
        }
        Ok(())
    }

    /// Takes from the client what there is of the body. Returns whether more of it has to be waited for.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, Failed> {
        let Sending { out, body, chunked } = &mut self.sending;
        while let Some(source) = body
            && !out.is_full()
        {
            let end = match Pin::new(&mut *source).poll_frame(cx) {
                Poll::Pending => {
                    if !matches!(self.progress, Progress::Starved(_)) {
                        self.progress = Progress::Starved(clock::now_millis());
                    }
                    return Ok(true);
                }
                Poll::Ready(Some(Err(_))) => return Err(Failed::Client),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        if *chunked {
                            encode::chunk_size(out.end(), data.len());
                        }
                        out.push(data);
                        if *chunked {
                            out.end().extend_from_slice(b"\r\n");
                        }
                        source.is_end_stream().then_some(None)
                    }
                    Err(frame) => Some(frame.into_trailers().ok()),
                },
                Poll::Ready(None) => Some(None),
            };
            let now = clock::now_millis();
            self.progress = Progress::Held(now);
            if let Some(trailers) = end {
                if *chunked {
                    encode::last_chunk(out.end(), trailers.as_ref());
                }
                *body = None;
                self.progress = Progress::Done(now);
            }
        }
        Ok(false)
    }

    /// Waits for the answer's head, sending the request meanwhile. Where they are [wanted](Self::wants), early hints and 101
    /// are heads, too.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Poll<Result<Head, Failed>> {
        if let Err(failed) = self.drive(cx, spare) {
            return Poll::Ready(Err(failed));
        }
        loop {
            match response::parse(&mut self.wire.input, &mut self.scan, self.to_head) {
                Ok(None) => {}
                Err(_) => return Poll::Ready(Err(Failed::Protocol)),
                Ok(Some(head)) => match head.status {
                    StatusCode::SWITCHING_PROTOCOLS => {
                        // Nobody may answer so before it has the whole request.
                        let had_all = self.sending.out.is_empty() && !self.wire.stream.owes();
                        self.keep_alive = false;
                        let fine = self.wants.switch && had_all;
                        return Poll::Ready(if fine { Ok(head) } else { Err(Failed::Protocol) });
                    }
                    status if status.is_informational() => {
                        self.interim += 1;
                        if self.interim > MAX_INTERIM {
                            return Poll::Ready(Err(Failed::Protocol));
                        }
                        if self.wants.hints && self.interim <= MAX_HINTS && status.as_u16() == EARLY_HINTS {
                            return Poll::Ready(Ok(head));
                        }
                        continue;
                    }
                    _ => {
                        // Whoever was asked to change the protocol may believe that it has.
                        (self.answer, self.keep_alive) = (head.body, head.keep_alive && !self.wants.switch);
                        return Poll::Ready(Ok(head));
                    }
                },
            }
            if let Ok(1..) = ready!(self.wire.poll_fill(cx, spare)) {
                continue;
            }
            return Poll::Ready(Err(match () {
                () if self.send_failed && self.sent == 0 => Failed::Unsent,
                () if self.scan.is_new() && self.interim == 0 => Failed::Silent,
                () => Failed::CutShort,
            }));
        }
    }

    /// What is left of the answer's body, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.answer.left()
    }

    /// Whether all of the answer's body was received.
    pub(super) fn has_come(&self) -> bool {
        self.answer.left().is_some_and(|left| left <= self.wire.input.len() as u64)
    }

    /// The next piece of the answer's body. The error: it broke off.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        // A request that breaks off does not keep its answer from being read to the end.
        if self.sending.body.is_some() || !self.sending.out.is_empty() || self.wire.stream.owes() {
            let broken = self.drive(cx, spare).is_err();
            self.send_failed |= broken;
        }
        loop {
            match self.answer.decode(&mut self.wire.input) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Decoded::End) => return Poll::Ready(None),
                Err(_) => return Poll::Ready(Some(Err(()))),
                Ok(Decoded::Missing) => {}
            }
            match ready!(self.wire.poll_fill(cx, spare)) {
                Ok(0) if self.answer == Decoder::UntilEnd => self.answer = Decoder::Done,
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(()))),
                Ok(_) => {}
            }
        }
    }

    /// Whether the connection may serve another request: both messages were sent to their ends, and nothing was sent
    /// behind the answer.
    pub(super) fn is_reusable(&mut self, spare: &Spare) -> bool {
        let over = self.answer.is_done() && self.sending.body.is_none() && self.sending.out.is_empty();
        let over = over && !self.wire.stream.owes();
        let reusable = over && self.keep_alive && !self.send_failed && self.wire.input.is_empty();
        self.wire.settle(spare);
        reusable
    }
}
