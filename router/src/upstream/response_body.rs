//! The body of an answer on its way to the client, and the end of the request's life.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::journey::Lease;
use super::pace::Pace;
use crate::clock::{self, Millis};
use crate::grpc::outcome;
use crate::grpc::web::Encoder;
use crate::http::connection::{Connection, Leaving};
use crate::telemetry::Record;

/// Why a response broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BrokenOff {
    /// The endpoint closed the connection, or sent what is not HTTP.
    Upstream,
    /// The endpoint stopped sending.
    Stalled,
    /// The whole request took too long.
    Deadline,
    /// Its requests are on another track by now.
    Left,
}

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BrokenOff::Upstream => "the endpoint broke its answer off",
            BrokenOff::Stalled => "the endpoint stopped sending its answer",
            BrokenOff::Deadline => "the request took too long",
            BrokenOff::Left => "its track was left",
        })
    }
}

impl std::error::Error for BrokenOff {}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    source: Source,
    /// What slows it down, if anything does.
    pace: Option<Box<Pace>>,
    /// What makes it gRPC-Web, if anything does.
    web: Option<Box<Encoder>>,
    /// Written when the body is over, however it ends.
    record: Record,
    connection: Rc<Connection>,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "the large variant is the one on the hot path: boxing it would allocate")]
enum Source {
    /// Made by the router.
    Own(Bytes),
    /// An endpoint's answer.
    Upstream {
        lease: Lease,
        stall: std::time::Duration,
        /// Since when nothing has come.
        waiting: Option<Millis>,
    },
    /// An endpoint's connection that has become a tunnel.
    Switched(Box<Switched>),
    /// It is over.
    Over,
}

/// An endpoint's connection that speaks another protocol now.
#[derive(Debug)]
pub(crate) struct Switched {
    pub(crate) lease: Lease,
    pub(crate) is_websocket: bool,
    /// The longest time in which nothing passes.
    pub(crate) idle: std::time::Duration,
    /// The longest time in which the endpoint takes nothing.
    pub(crate) stall: std::time::Duration,
}

impl ResponseBody {
    pub(crate) fn own(bytes: Bytes, connection: Rc<Connection>, mut record: Record) -> Self {
        let pace = record.aftermath.as_mut().and_then(|aftermath| Pace::new(aftermath));
        Self { source: Source::Own(bytes), pace, web: None, record, connection }
    }

    pub(crate) fn upstream(
        lease: Lease,
        stall: std::time::Duration,
        connection: Rc<Connection>,
        mut record: Record,
    ) -> Self {
        let pace = record.aftermath.as_mut().and_then(|aftermath| Pace::new(aftermath));
        let source = Source::Upstream { lease, stall, waiting: None };
        let mut body = Self { source, pace, web: None, record, connection };
        body.release_if_over();
        body
    }

    /// No body: the connection is a tunnel from now on.
    pub(crate) fn switched(switched: Switched, connection: Rc<Connection>, mut record: Record) -> Self {
        let pace = record.aftermath.as_mut().and_then(|aftermath| Pace::new(aftermath));
        Self { source: Source::Switched(Box::new(switched)), pace, web: None, record, connection }
    }

    /// The same as gRPC-Web, if it is to be that.
    pub(crate) fn with_web(mut self, web: Option<Box<Encoder>>) -> Self {
        self.web = web;
        self
    }

    /// Takes the tunnel, if this is one. The rest is what is recorded when it ends.
    pub(crate) fn take_switched(&mut self) -> Option<Box<Switched>> {
        match std::mem::replace(&mut self.source, Source::Over) {
            Source::Switched(switched) => Some(switched),
            Source::Own(_) | Source::Upstream { .. } | Source::Over => None,
        }
    }

    /// What slows down what passes through the tunnel.
    pub(crate) fn pace(&mut self) -> Option<&mut Pace> {
        self.pace.as_deref_mut()
    }

    /// Bytes have passed through the tunnel to the client.
    pub(crate) fn passed_through(&mut self, bytes: u64) {
        self.record.passed_through(bytes);
    }

    /// Notices whether the endpoint's group was left, while there is something to notice.
    pub(crate) fn look_around(&self, now: Millis) {
        if self.connection.worker().flights.left.is_looked_for(now) {
            self.look();
        }
    }

    /// How long it is, where that is known before it is read.
    pub(crate) fn length(&self) -> Option<u64> {
        if self.web.is_some() {
            return None;
        }
        match &self.source {
            Source::Own(bytes) => Some(bytes.len() as u64),
            Source::Upstream { lease, .. } => lease.left(),
            Source::Switched(_) | Source::Over => Some(0),
        }
    }

    /// How long it is, where the router made it.
    pub(crate) fn own_length(&self) -> Option<u64> {
        match &self.source {
            Source::Own(bytes) => Some(bytes.len() as u64),
            Source::Upstream { .. } | Source::Switched(_) | Source::Over => None,
        }
    }

    /// Whether all of it is here already, so that nothing more of the request will be passed on.
    pub(crate) fn has_come(&self) -> bool {
        match &self.source {
            Source::Upstream { lease, .. } => lease.has_come(),
            Source::Own(_) | Source::Switched(_) | Source::Over => true,
        }
    }

    /// Lets the request get on, where it is still on its way while its answer comes.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Source::Upstream { lease, .. } = &mut self.source {
            lease.drive(cx);
        }
    }

    /// Gives the endpoint's connection back as soon as the answer was read to its end: before the client has taken it.
    fn release_if_over(&mut self) {
        if let Source::Upstream { lease, .. } = &self.source
            && lease.is_over()
        {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Source::Upstream { lease, .. } = std::mem::replace(&mut self.source, Source::Over) {
            lease.release(self.connection.worker().now_millis());
            self.record.answer_ends(None);
            if let Some(flight) = &self.record.flight {
                flight.body_ends();
            }
        }
    }

    /// Whether the endpoint's group was left since the request went there. One on a track is told.
    #[cold]
    fn look(&self) {
        let (Some(group), None) = (self.record.group, &self.record.flight) else { return };
        let connection = &self.connection;
        let closes = connection.worker().flights.left.closes(group);
        connection.leave(closes.map_or(Millis::NEVER, |(at, _)| at), connection.own_deadline());
        connection.leaves_track(closes.map(|(_, track)| track));
    }

    /// Ends it, if its time is over, before all of it was taken. Returns why.
    pub(crate) fn run_out(&mut self) -> Option<BrokenOff> {
        let why = match self.connection.leaving() {
            _ if clock::now_millis() < self.connection.request_deadline.get() => return None,
            Leaving::Not => BrokenOff::Deadline,
            Leaving::Cut | Leaving::Cleanly => BrokenOff::Left,
        };
        self.source = Source::Over;
        self.record.broken_off(why);
        Some(why)
    }

    /// The request's time is over.
    fn ends_late(&mut self) -> Poll<Next> {
        match self.connection.leaving() {
            Leaving::Not => self.break_off(BrokenOff::Deadline),
            Leaving::Cut => self.break_off(BrokenOff::Left),
            Leaving::Cleanly => {
                self.source = Source::Over;
                self.connection.end_after_answer();
                Poll::Ready(None)
            }
        }
    }

    fn break_off(&mut self, why: BrokenOff) -> Poll<Next> {
        self.source = Source::Over;
        self.record.broken_off(why);
        Poll::Ready(Some(Err(why)))
    }
}

/// The next of a body.
type Next = Option<Result<Frame<Bytes>, BrokenOff>>;

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        if self.pace.is_some() { self.poll_paced(cx) } else { self.poll_source(cx) }
    }

    fn is_end_stream(&self) -> bool {
        let is_over = match &self.source {
            Source::Own(bytes) => bytes.is_empty(),
            Source::Upstream { .. } => false,
            Source::Switched(_) | Source::Over => true,
        };
        is_over
            && self.pace.as_ref().is_none_or(|pace| pace.is_empty())
            && self.web.as_ref().is_none_or(|web| web.is_over())
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map(SizeHint::with_exact).unwrap_or_default()
    }
}

impl ResponseBody {
    /// Passes the body on no faster than its limits allow. Nothing more is read from the endpoint while a piece waits.
    fn poll_paced(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            let Some(pace) = self.pace.as_mut().filter(|pace| !pace.is_empty()) else {
                match ready!(self.poll_source(cx)) {
                    Some(Ok(frame)) => match (frame.into_data(), &mut self.pace) {
                        (Ok(data), Some(pace)) => pace.put(data),
                        (Ok(data), None) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        (Err(frame), _) => return Poll::Ready(Some(Ok(frame))),
                    },
                    end => return Poll::Ready(end),
                }
                continue;
            };
            if let Poll::Ready(piece) = pace.poll_piece(cx) {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let total = self.connection.request_deadline.get();
            if clock::now_millis() >= total {
                return self.ends_late();
            }
            self.connection.arm(total);
            return Poll::Pending;
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if self.web.is_some() { self.poll_web(cx) } else { self.poll_whole(cx) }
    }

    /// Passes the body on as gRPC-Web, which ends with a message of trailers whatever it ends with.
    #[cold]
    fn poll_web(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            let polled = ready!(self.poll_whole(cx));
            let Some(web) = &mut self.web else { return Poll::Ready(polled) };
            let data = match polled {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => Some(web.data(data)),
                    Err(_) if web.is_within_message() => return Poll::Ready(Some(Err(BrokenOff::Upstream))),
                    Err(frame) => web.end(frame.trailers_ref()),
                },
                Some(Err(why)) if web.is_within_message() => return Poll::Ready(Some(Err(why))),
                None if web.is_within_message() && !web.is_over() => {
                    return Poll::Ready(Some(Err(BrokenOff::Upstream)));
                }
                None => web.end(None),
                Some(Err(why)) => match outcome::ending_of(why) {
                    Some(ending) => web.end(Some(&ending.trailers())),
                    None => return Poll::Ready(Some(Err(why))),
                },
            };
            return Poll::Ready(data.map(|data| Ok(Frame::data(data))));
        }
    }

    fn poll_whole(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let this = self;
        let (lease, stall, waiting) = match &mut this.source {
            Source::Upstream { lease, stall, waiting } => (lease, *stall, waiting),
            Source::Own(bytes) => {
                let bytes = std::mem::take(bytes);
                this.source = Source::Over;
                this.record.sent(bytes.len());
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            }
            Source::Switched(_) | Source::Over => return Poll::Ready(None),
        };
        match lease.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                *waiting = None;
                match frame.data_ref() {
                    Some(data) => this.record.passed(data),
                    None => this.record.answer_ends(frame.trailers_ref()),
                }
                this.release_if_over();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.release();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(()))) => this.break_off(BrokenOff::Upstream),
            Poll::Pending => {
                let since = *waiting.get_or_insert_with(clock::now_millis);
                let now = this.connection.worker().now_millis();
                if this.connection.worker().flights.left.is_looked_for(now) {
                    this.look();
                }
                let (at, total) = (since.after(stall), this.connection.request_deadline.get());
                if now >= at.min(total) {
                    return if now >= total { this.ends_late() } else { this.break_off(BrokenOff::Stalled) };
                }
                this.connection.arm(at.min(total));
                Poll::Pending
            }
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let now = clock::now();
        self.record.write(self.connection.worker(), now);
        self.connection.request_ends(now.millis());
    }
}
