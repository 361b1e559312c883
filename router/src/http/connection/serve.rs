//! A client's connection of HTTP/1.1 from its first byte to its last: requests are read one after another, handed to the pipeline,
//! and answered.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;

use super::super::answer::{self, Answer, Asker};
use super::super::client_body::ClientBody;
use super::super::reject::Reject;
use super::super::tunnel::Tunnel;
use super::Connection;
use crate::clock::{self, Millis};
use crate::http1::Scan;
use crate::http1::out::Out;
use crate::http1::request::{self, Head};
use crate::http2;
use crate::pipeline::{self, own};
use crate::telemetry::Record;
use crate::telemetry::connections::Ended;

/// How long a connection is idle before it is parked.
const PARK_AFTER: Duration = Duration::from_secs(1);
/// For how long what a client still sends is read and thrown away, so that it can read the answer: in all, and while
/// nothing comes.
const LINGER_TIME: Duration = Duration::from_secs(30);
const LINGER_PAUSE: Duration = Duration::from_secs(2);
/// What a client begins with that speaks HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What comes next on a connection.
enum Next {
    Request(Head),
    /// Bytes that are no request, or half a request and no more.
    Refusal(Reject, &'static str),
    /// HTTP/2.
    Http2,
    /// Nothing for a while.
    Idle,
    /// The connection is over.
    Over(Ended),
}

/// How serving a connection ended.
#[derive(Debug)]
enum Served {
    /// It is idle.
    Idle,
    /// It goes on with HTTP/2.
    Http2,
    /// It is over.
    Over(Ended),
    /// It speaks another protocol from now on.
    Switched(Box<Tunnel>),
}

impl Connection {
    /// Whether what the client begins with is the preface of HTTP/2 (RFC 9113 §3.4), and that is spoken here. Where it was agreed
    /// on by TLS, nobody comes here.
    #[cold]
    fn begins_http2(&self, input: &[u8]) -> bool {
        let begins = input.starts_with(PREFACE) || PREFACE.starts_with(input);
        begins && !self.is_secure() && !self.has_spoken.get() && self.listener.borrow().http2.enabled
    }

    /// Waits for the next request's head.
    fn poll_next(&self, cx: &mut Context<'_>, scan: &mut Scan, began: &mut Option<Millis>) -> Poll<Next> {
        let mut incoming = self.incoming.borrow_mut();
        let wire = &mut incoming.wire;
        loop {
            match request::parse(&mut wire.input, scan) {
                Ok(Some(head)) => {
                    wire.settle(&self.worker.spare);
                    return Poll::Ready(Next::Request(head));
                }
                Ok(None) => {}
                Err(_) if self.begins_http2(&wire.input) => {
                    if wire.input.len() >= PREFACE.len() {
                        return Poll::Ready(Next::Http2);
                    }
                }
                Err(malformed) => {
                    return Poll::Ready(Next::Refusal(own::reject_for(malformed), malformed.as_str()));
                }
            }
            match wire.poll_fill(cx, &self.worker.spare) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Over(Ended::Client)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        let now = self.worker.now_millis();
        let timeouts = self.timeouts();
        let at = if wire.input.is_empty() {
            wire.settle(&self.worker.spare);
            // Something came just now, but nothing of a request: who sends empty lines forever is idle all the same.
            if now >= self.since.get().after(timeouts.idle) {
                return Poll::Ready(Next::Over(Ended::Idle));
            }
            let at = self.since.get().after(timeouts.idle.min(PARK_AFTER));
            if now >= at || self.worker.is_draining() {
                return Poll::Ready(Next::Idle);
            }
            at
        } else {
            wire.shrink(&self.worker.spare);
            let at = began.get_or_insert_with(clock::now_millis).after(timeouts.head);
            if now >= at {
                return Poll::Ready(Next::Refusal(Reject::HeadTimeout, "the head did not come in time"));
            }
            at
        };
        self.arm(at);
        Poll::Pending
    }

    /// Serves requests until the connection is idle or over.
    async fn serve(self: &Rc<Self>) -> Served {
        loop {
            let (mut scan, mut began) = (Scan::default(), None);
            let next = poll_fn(|cx| {
                self.register(cx);
                self.poll_next(cx, &mut scan, &mut began)
            });
            match next.await {
                Next::Request(head) => {
                    if let Some(served) = self.answer(head).await {
                        return served;
                    }
                }
                Next::Refusal(reject, why) => {
                    tracing::debug!(client = %self.origin.peer, code = reject.code(), "request refused: {why}");
                    Box::pin(self.refuse(reject)).await;
                    return Served::Over(Ended::Refused);
                }
                Next::Http2 => return Served::Http2,
                Next::Idle => return Served::Idle,
                Next::Over(why) => return Served::Over(why),
            }
        }
    }

    /// Answers one request. Nothing is returned if another one may follow.
    async fn answer(self: &Rc<Self>, head: Head) -> Option<Served> {
        let asker = Asker::new(&head);
        self.has_spoken.set(true);
        self.begins(head.body, head.expects_continue);
        self.ends.set(false);
        self.waits.set(false);
        let mut tunnel = None;
        let answer = {
            let mut handling = pin!(pipeline::handle(self, head, ClientBody::new(self)));
            poll_fn(|cx| self.poll_answer(cx, handling.as_mut(), &mut tunnel)).await
        };
        let Some(answer) = answer else { return Some(tunnel.map_or(Served::Over(Ended::Client), Served::Switched)) };
        let sent = answer::send(self, answer, asker).await;
        match sent {
            answer::Sent::Whole => None,
            answer::Sent::Last => {
                Box::pin(self.close()).await;
                let why = if self.worker.is_draining() { Ended::Drained } else { Ended::Answered };
                Some(Served::Over(why))
            }
            answer::Sent::Broken => {
                self.incoming.borrow_mut().wire.stream.reset_on_close();
                Some(Served::Over(Ended::BrokenOff))
            }
        }
    }

    /// Waits for the answer; `None` when the client has gone, or the connection has become a tunnel.
    fn poll_answer(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        handling: Pin<&mut impl Future<Output = Answer>>,
        tunnel: &mut Option<Box<Tunnel>>,
    ) -> Poll<Option<Answer>> {
        self.register(cx);
        match handling.poll(cx) {
            Poll::Ready(answer) if answer.status == StatusCode::SWITCHING_PROTOCOLS => {
                *tunnel = Tunnel::new(self, answer);
                Poll::Ready(None)
            }
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if self.client_left(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Answers what is no request.
    async fn refuse(&self, reject: Reject) {
        let now = self.worker.read_clock();
        let to_head = self.incoming.borrow().wire.input.starts_with(b"HEAD ");
        let answer = reject.raw_response(!to_head);
        let mut record = Record::new(now);
        record.status = reject.status().as_u16();
        record.reject = Some(reject);
        record.write(&self.worker, now);
        let mut out = Out::new(answer);
        let sent = poll_fn(|cx| out.poll_write(cx, &mut self.incoming.borrow_mut().wire.stream, &mut 0));
        if let Ok(Ok(())) = tokio::time::timeout(LINGER_PAUSE, sent).await {
            // Whatever follows is not looked at.
            self.incoming.borrow_mut().broken = true;
            self.close().await;
        }
    }

    /// Ends the connection such that the client can read the answer before it learns of it: while there is more from it
    /// that nobody wants, that is read and thrown away for a while. Were the socket closed at once, the reset could
    /// overtake the answer.
    async fn close(&self) {
        let shut = poll_fn(|cx| self.incoming.borrow_mut().wire.poll_shutdown(cx)).await;
        if shut.is_err() || !self.incoming.borrow().is_expecting() {
            return;
        }
        let draining = async {
            let more = || {
                poll_fn(|cx| {
                    let wire = &mut self.incoming.borrow_mut().wire;
                    wire.input.clear();
                    wire.poll_fill(cx, &self.worker.spare)
                })
            };
            while let Ok(Ok(1..)) = tokio::time::timeout(LINGER_PAUSE, more()).await {}
        };
        // However it ends, the connection is closed.
        let _ended: Result<(), _> = tokio::time::timeout(LINGER_TIME, draining).await;
    }

    /// Waits on the bare socket until there is something to read.
    async fn parked(&self) -> Result<(), Ended> {
        self.address.take();
        let closes = self.since.get().after(self.timeouts().idle);
        poll_fn(|cx| {
            self.register(cx);
            if let Poll::Ready(result) = self.incoming.borrow().wire.stream.poll_read_ready(cx) {
                return Poll::Ready(result.map_err(|_| Ended::Client));
            }
            if self.worker.is_draining() {
                return Poll::Ready(Err(Ended::Drained));
            }
            if self.worker.now_millis() >= closes {
                return Poll::Ready(Err(Ended::Idle));
            }
            self.arm(closes);
            Poll::Pending
        })
        .await
    }
}

/// Serves one client from its first byte to close.
pub(crate) async fn run(connection: Rc<Connection>) {
    let why = loop {
        if let Err(why) = connection.parked().await {
            break why;
        }
        // Boxed, so that a parked connection's task is small.
        match Box::pin(connection.serve()).await {
            Served::Idle => {}
            Served::Http2 => return Box::pin(http2::session::run(connection)).await,
            Served::Over(why) => break why,
            Served::Switched(tunnel) => {
                tunnel.run().await;
                return;
            }
        }
    };
    connection.worker.counters.shared.connections.ended(why);
}
