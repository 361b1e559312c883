//! A connection over HTTP/2, shared by the requests of one thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;
use tokio::sync::Notify;

use super::hub::Purpose;
use super::line::{Heard, Line};
use crate::clock::Millis;
use crate::http1::wire::Wire;
use crate::listener::worker::Worker;

/// What an endpoint may send of one answer before its client has taken any of it. A client that takes nothing holds this much
/// memory; over a way of 10 ms an answer comes with 25 MB/s.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Requests at a time on one connection, even if the endpoint allows more.
const MAX_STREAMS: usize = 128;
/// What all answers of a connection may have open together: the windows of all of them, so that clients that take nothing
/// cannot hold up the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;
/// What h2 keeps of one request's body until the socket takes it.
const SEND_BUFFER: usize = 64 * 1024;
/// The largest head of an answer, as over HTTP/1.1.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// How long the end of an unused connection may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// A connection over HTTP/2.
#[derive(Debug)]
pub(super) struct Session {
    send: RefCell<SendRequest<Bytes>>,
    line: Rc<Line>,
    /// Requests under way, and how many of them are tunnels.
    streams: Cell<usize>,
    tunnels: Cell<usize>,
    /// Whether there has ever been one.
    used: Cell<bool>,
    /// Since when there has been one without a pause.
    busy: Cell<Millis>,
    /// When it is closed, if there is none until then.
    expires: Cell<Millis>,
    pings: RefCell<(PingPong, Pings)>,
    end: Rc<End>,
    is_secure: bool,
}

/// How its driver learns that it is to end.
#[derive(Debug, Default)]
struct End {
    told: Notify,
    /// At once.
    cut: Cell<bool>,
}

/// What keeps a connection going, in a task of its own.
pub(super) struct Driver {
    connection: Connection<Heard, Bytes>,
    end: Rc<End>,
}

impl Session {
    /// Greets the endpoint, and waits for what it says of itself: by then it is known to speak HTTP/2.
    pub(super) async fn open(
        worker: &Rc<Worker>,
        wire: Wire,
        is_secure: bool,
        expires: Millis,
    ) -> Result<(Rc<Self>, Driver), h2::Error> {
        let line = Line::new(wire, worker);
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD_BYTES)
            .max_send_buffer_size(SEND_BUFFER)
            // None before it has said how many.
            .initial_max_send_streams(0);
        let (send, mut connection) = builder.handshake(Heard(Rc::clone(&line))).await?;
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(h2::Reason::NO_ERROR.into())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if send.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        let Some(pings) = connection.ping_pong() else { return Err(h2::Reason::INTERNAL_ERROR.into()) };
        let end = Rc::new(End::default());
        let session = Rc::new(Self {
            send: RefCell::new(send),
            line,
            streams: Cell::default(),
            tunnels: Cell::default(),
            used: Cell::default(),
            busy: Cell::new(Millis(0)),
            expires: Cell::new(expires),
            pings: RefCell::new((pings, Pings::default())),
            end: Rc::clone(&end),
            is_secure,
        });
        Ok((session, Driver { connection, end }))
    }

    pub(super) fn is_secure(&self) -> bool {
        self.is_secure
    }

    pub(super) fn is_used(&self) -> bool {
        self.used.get()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Whether requests may begin on it.
    pub(super) fn is_open(&self) -> bool {
        let ended = |polled| matches!(polled, Poll::Ready(Err(_)));
        let cx = &mut Context::from_waker(Waker::noop());
        !self.end.cut.get() && !ended(self.send.borrow_mut().poll_ready(cx))
    }

    /// Whether the endpoint lets requests become tunnels (RFC 8441 §3).
    pub(super) fn lets_connect(&self) -> bool {
        self.send.borrow().is_extended_connect_protocol_enabled()
    }

    /// Whether one more may.
    pub(super) fn has_room(&self, purpose: Purpose) -> bool {
        let most = self.send.borrow().current_max_send_streams().min(MAX_STREAMS);
        let fits = match purpose {
            Purpose::Request => true,
            // They stay for long: requests have to find a place, too.
            Purpose::Tunnel => self.lets_connect() && self.tunnels.get() < (most / 4 * 3).max(1),
            Purpose::OwnTunnel => false,
        };
        if !fits {
            return false;
        }
        // While there is a request on it, its driver hears of its end.
        self.streams.get() < most && self.is_open() && !(self.is_idle() && self.line.is_ended())
    }

    /// A request takes its place.
    pub(super) fn enter(&self, purpose: Purpose, now: Millis) {
        self.tunnels.set(self.tunnels.get() + usize::from(purpose == Purpose::Tunnel));
        if self.is_idle() {
            self.busy.set(now);
        }
        self.streams.set(self.streams.get() + 1);
    }

    /// A request leaves it. It is kept until `expires` at least.
    pub(super) fn leave(&self, purpose: Purpose, expires: Millis) {
        self.tunnels.set(self.tunnels.get().saturating_sub(usize::from(purpose == Purpose::Tunnel)));
        self.used.set(true);
        self.streams.set(self.streams.get().saturating_sub(1));
        self.expires.set(expires.max(self.expires.get()));
    }

    pub(super) fn send(
        &self,
        head: Request<()>,
        is_all: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        // Not the one that is kept: it would hold on to a stream that waits to be opened, and refuse the next one.
        let mut send = self.send.borrow().clone();
        send.send_request(head, is_all)
    }

    /// Whether it has been unused for too long.
    pub(super) fn is_expired(&self, now: Millis) -> bool {
        self.is_idle() && self.expires.get() <= now
    }

    /// Asks the endpoint whether it is still there, where requests wait and nothing has come for a while; ends the connection if
    /// it does not say so.
    pub(super) fn look(&self, now: Millis) {
        if self.is_idle() {
            return;
        }
        let (ping_pong, pings) = &mut *self.pings.borrow_mut();
        let answered = ping_pong.poll_pong(&mut Context::from_waker(Waker::noop())).is_ready();
        match pings.look(now, self.line.heard(), self.busy.get(), answered) {
            Look::Fine => {}
            Look::Ask => {
                // The connection may have ended just now, which its driver tells.
                let _sent: Result<(), h2::Error> = ping_pong.send_ping(Ping::opaque());
            }
            Look::Dead => {
                self.end.cut.set(true);
                self.end.told.notify_one();
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end.told.notify_one();
    }
}

impl Driver {
    /// Keeps the connection going until it ends. What was under way then learns of it.
    pub(super) async fn drive(mut self) {
        let told = {
            let mut told = std::pin::pin!(self.end.told.notified());
            poll_fn(|cx| {
                if Pin::new(&mut self.connection).poll(cx).is_ready() {
                    return Poll::Ready(false);
                }
                told.as_mut().poll(cx).map(|()| true)
            })
            .await
        };
        if told && !self.end.cut.get() {
            // Nobody uses it any more: h2 says goodbye by itself.
            let _ended: Result<_, tokio::time::error::Elapsed> = tokio::time::timeout(GOODBYE, self.connection).await;
        }
    }
}

/// When an endpoint is asked whether it is still there. Servers of gRPC end a connection on which they are asked three times
/// within five minutes without sending anything; so after the third time there is a longer pause.
#[derive(Debug, Default)]
struct Pings {
    /// When it was asked what it has not answered yet.
    asked: Option<Millis>,
    /// When it was asked last.
    last: Option<Millis>,
    /// How often since something else came.
    times: u32,
    /// When something came last, the answer to a ping among it.
    answered: Option<Millis>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Fine,
    Ask,
    Dead,
}

impl Pings {
    /// How long nothing came before it is asked for the first time, and how long it may take to answer.
    const PATIENCE: Duration = Duration::from_secs(15);

    fn pause(&self) -> Duration {
        match self.times {
            0 => Self::PATIENCE,
            1 => Duration::from_secs(30),
            2 => Duration::from_mins(1),
            _ => Duration::from_secs(310),
        }
    }

    /// `heard` says when something came last, `busy` since when there is something to wait for.
    fn look(&mut self, now: Millis, heard: Millis, busy: Millis, answered: bool) -> Look {
        if answered {
            self.asked = None;
            self.answered = Some(heard);
        } else if let Some(asked) = self.asked {
            let silent = heard <= asked && now >= asked.after(Self::PATIENCE);
            return if silent { Look::Dead } else { Look::Fine };
        }
        if self.answered.is_none_or(|answered| heard > answered) && self.last.is_none_or(|last| heard > last) {
            self.times = 0;
        }
        let since = heard.max(busy).max(self.last.unwrap_or(busy));
        if now < since.after(self.pause()) {
            return Look::Fine;
        }
        (self.asked, self.last) = (Some(now), Some(now));
        self.times += 1;
        Look::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Millis {
        Millis(seconds * 1000)
    }

    #[test]
    fn an_endpoint_is_asked_seldom_and_only_while_it_is_silent() {
        let mut pings = Pings::default();
        let (mut heard, mut asked) = (at(100), Vec::new());
        let mut answered = false;
        for second in 100..1200 {
            match pings.look(at(second), heard, at(90), answered) {
                Look::Fine => answered = false,
                Look::Ask => {
                    asked.push(second);
                    (heard, answered) = (at(second), true);
                }
                Look::Dead => panic!("it answers"),
            }
        }
        assert_eq!(asked, [115, 145, 205, 515, 825, 1135]);
        // Something else came: the pauses are short again.
        heard = at(1200);
        assert_eq!(pings.look(at(1214), heard, at(90), false), Look::Fine);
        assert_eq!(pings.look(at(1215), heard, at(90), false), Look::Ask);
    }

    #[test]
    fn one_that_does_not_answer_is_dead() {
        let mut pings = Pings::default();
        // The connection was unused for long.
        assert_eq!(pings.look(at(1000), at(100), at(999), false), Look::Fine);
        assert_eq!(pings.look(at(1014), at(100), at(999), false), Look::Ask);
        assert_eq!(pings.look(at(1028), at(100), at(999), false), Look::Fine);
        assert_eq!(pings.look(at(1029), at(1020), at(999), false), Look::Fine);
        assert_eq!(pings.look(at(1029), at(100), at(999), false), Look::Dead);
    }
}
