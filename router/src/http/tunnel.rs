//! What becomes of a client's connection when an endpoint has agreed to speak another protocol on it: bytes both ways, as they
//! come, until one of the two or the router ends it. Each side is a connection of HTTP/1.1 that has changed its protocol, or a
//! stream of HTTP/2 (RFC 8441).
//!
//! Nothing is left of the request but its record and what it owes its limits, and nothing of the buffers it came in. Where the
//! protocol is WebSocket, and the router is who ends it, the client is told between two frames, so that it can say goodbye.

pub(crate) mod end;
mod frames;
pub(crate) mod relay;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version};

use self::end::End;
use self::frames::{Frames, Goodbye};
use self::relay::{Broken, Patience, Way};
use super::answer::Answer;
use super::connection::Connection;
use crate::clock::{self, Millis};
use crate::http1::encode::{self, Framing, Future, Start};
use crate::telemetry::tunnels::Closed;
use crate::upstream::journey::Choice;
use crate::upstream::response_body::{ResponseBody, Switched};

/// How long a client that was told of the end has to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long a tunnel may go on when a fence is up that keeps its tenant's requests away.
const FENCED: Duration = Duration::from_secs(1);

/// A client's connection and an endpoint's that have become one.
#[derive(Debug)]
pub(crate) struct Tunnel {
    connection: Rc<Connection>,
    client: End,
    endpoint: End,
    /// Written when the tunnel ends.
    body: ResponseBody,
    to_endpoint: Way,
    to_client: Way,
    idle: Duration,
    /// When something passed last.
    last: Millis,
    /// When it is told that the process ends, if that does.
    drains: Option<Millis>,
    /// When it ends because of a fence, if there is one.
    fenced: Option<Millis>,
    /// Why the router ends it, and until when it waits for the client to do so.
    ending: Option<(Closed, Millis)>,
    /// Why it ended, in the end.
    closed: Closed,
    /// The endpoint is in use until the tunnel ends.
    _choice: Choice,
}

impl Tunnel {
    /// Of an answer that changes the protocol; nothing, if it does not.
    pub(super) fn new(connection: &Rc<Connection>, answer: Answer) -> Option<Box<Self>> {
        let Answer { fields, body, .. } = answer;
        let mut head = Vec::new();
        let start = Start {
            version: Version::HTTP_11,
            status: StatusCode::SWITCHING_PROTOCOLS,
            framing: Framing::None,
            future: Future::Lasts,
        };
        connection.worker().with_date(|date| encode::response_head(&mut head, start, &fields, date));
        Self::between(connection, End::Wire(connection.hand_over()), head.into(), body)
    }

    /// The same with a client that is somewhere, and is sent these bytes first.
    pub(crate) fn between(
        connection: &Rc<Connection>,
        client: End,
        first: Bytes,
        mut body: ResponseBody,
    ) -> Option<Box<Self>> {
        let Switched { lease, is_websocket, idle, stall } = *body.take_switched()?;
        let (choice, endpoint) = lease.into_end();
        let timeouts = connection.timeouts();
        let of_client = Patience { pause: timeouts.body_write, min_rate: timeouts.min_rate };
        let of_endpoint = Patience { pause: stall, min_rate: 0 };
        connection.worker().counters.shared.tunnels.opened.add(1);
        connection.is_tunnel.set(true);
        Some(Box::new(Self {
            connection: Rc::clone(connection),
            client,
            endpoint,
            body,
            to_endpoint: Way::new(Bytes::new(), of_endpoint, None),
            to_client: Way::new(first, of_client, is_websocket.then(Frames::default)),
            idle,
            last: clock::now_millis(),
            drains: None,
            fenced: None,
            ending: None,
            closed: Closed::Broken,
            _choice: choice,
        }))
    }

    /// Lets pass what comes until it ends.
    pub(crate) fn run(mut self: Box<Self>) -> impl std::future::Future<Output = Closed> {
        // No `async fn`, which would keep the tunnel twice: as it was given, and as it is used.
        poll_fn(move |cx| {
            let closed = self.poll(cx);
            if let Poll::Ready(why) = closed {
                self.closed = why;
            }
            closed
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        self.connection.register(cx);
        match self.pass(cx) {
            Ok(true) => {}
            Ok(false) => return Poll::Ready(self.ending.map_or(Closed::Ended, |(why, _)| why)),
            Err(broken) => {
                let closed = match broken {
                    // What had to be said was: many do not say goodbye to the socket any more.
                    Broken::Gone if self.to_client.has_closed() => Closed::Ended,
                    Broken::Gone => Closed::Broken,
                    Broken::Stalled => Closed::Stalled,
                };
                return Poll::Ready(self.ending.map_or(closed, |(why, _)| why));
            }
        }
        self.look_around();
        loop {
            let (at, why) = self.due();
            if self.connection.worker().now_millis() < at {
                self.connection.arm(at);
                return Poll::Pending;
            }
            let is_told = match why {
                Closed::Stalled | Closed::Ended | Closed::Broken => false,
                Closed::Idle | Closed::Left | Closed::Fenced | Closed::Drained => self.ending.is_none(),
            };
            if !is_told || !self.ends(why) {
                return Poll::Ready(why);
            }
            // The goodbye may be sent at once.
            cx.waker().wake_by_ref();
        }
    }

    /// Lets pass both ways what there is. Whether it goes on.
    fn pass(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let worker = self.connection.worker();
        let (client, endpoint) = (&mut self.client, &mut self.endpoint);
        let down = self.to_client.poll(cx, (endpoint, client), self.body.pace(), &worker.spare)?;
        let up = self.to_endpoint.poll(cx, (client, endpoint), None, &worker.spare)?;
        if down + up > 0 {
            self.last = clock::now_millis();
            self.body.passed_through(down);
            let counters = &worker.counters.shared.tunnels;
            counters.to_clients.add(down);
            counters.to_endpoints.add(up);
        }
        if self.to_client.is_over() && self.to_endpoint.is_over() {
            return Ok(false);
        }
        // A side that has said all of its own is not read any more: that it has gone shows nowhere else.
        if self.client.has_gone(cx) || self.endpoint.has_gone(cx) { Err(Broken::Gone) } else { Ok(true) }
    }

    /// Takes note of what the router ends it for.
    fn look_around(&mut self) {
        let worker = self.connection.worker();
        self.body.look_around(worker.now_millis());
        if worker.is_draining() && self.drains.is_none() && self.to_client.may_end() {
            self.drains = Some(worker.within_drain());
        }
        if self.connection.is_fenced.get() && self.fenced.is_none() {
            self.fenced = Some(clock::now_millis().after(FENCED));
        }
    }

    /// When it ends because nothing passes.
    fn runs_dry(&self) -> (Millis, Closed) {
        let is_half = self.to_client.is_over() || self.to_endpoint.is_over();
        if is_half && self.to_client.has_frames() {
            // Nobody can make use of half a WebSocket.
            return (self.last.after(GOODBYE), Closed::Ended);
        }
        (self.last.after(self.idle), Closed::Idle)
    }

    /// When it ends, unless something passes, and why.
    fn due(&self) -> (Millis, Closed) {
        let never = Millis::NEVER;
        let stalled = (self.to_client.gives_up().min(self.to_endpoint.gives_up()), Closed::Stalled);
        if let Some((why, until)) = self.ending {
            return if stalled.0 < until { stalled } else { (until, why) };
        }
        let all = [
            stalled,
            self.runs_dry(),
            (self.connection.request_deadline.get(), Closed::Left),
            (self.fenced.unwrap_or(never), Closed::Fenced),
            (self.drains.unwrap_or(never), Closed::Drained),
        ];
        all.into_iter().min_by_key(|(at, _)| *at).unwrap_or((never, Closed::Ended))
    }

    /// Tells the client of the end, if there are words for that. Whether there are.
    fn ends(&mut self, why: Closed) -> bool {
        if !self.to_client.may_end() {
            return false;
        }
        let goodbye = match why {
            Closed::Left | Closed::Fenced => Goodbye::ServiceRestart,
            Closed::Ended | Closed::Broken | Closed::Stalled | Closed::Idle | Closed::Drained => Goodbye::GoingAway,
        };
        self.to_client.end_with(goodbye.frame());
        self.ending = Some((why, clock::now_millis().after(GOODBYE)));
        true
    }
}

/// However it ends: the task's own end, or that of the thread.
impl Drop for Tunnel {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.is_tunnel.set(false);
        connection.worker().counters.shared.tunnels.closed(self.closed);
        tracing::debug!(client = %connection.origin.peer, why = self.closed.as_str(), "a tunnel was closed");
        for (end, way) in [(&mut self.client, &self.to_client), (&mut self.endpoint, &self.to_endpoint)] {
            if way.is_held() {
                end.reset();
            } else if self.closed == Closed::Ended || self.ending.is_some() {
                end.say_goodbye();
            } else {
                // Neither side is to take for whole what broke off.
                end.omit_goodbye();
            }
        }
    }
}
