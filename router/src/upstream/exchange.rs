//! Sending one request to an endpoint and waiting for the head of its answer.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use gridrouter_config::model::RouteTimeouts;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::kept::Kept;
use super::pool::Upstream;
use super::request_body::{Progress, RequestBody};
use crate::balance::smooth_weighted_round_robin::{Outcome, Tried};
use crate::clock::{self, Millis};
use crate::http::connection::Connection;
use crate::http::reject::Reject;
use crate::listener::worker::Worker;
use crate::snapshot::EndpointGroup;

/// An endpoint chosen for a request, which its balancer is told about when the request is over.
#[derive(Debug)]
pub(crate) struct Choice {
    worker: Rc<Worker>,
    group: Arc<EndpointGroup>,
    index: usize,
    outcome: Outcome,
}

impl Choice {
    pub(crate) fn new(worker: Rc<Worker>, group: Arc<EndpointGroup>, index: usize) -> Self {
        Self { worker, group, index, outcome: Outcome::Ok }
    }

    /// The endpoint's address as a `Host`.
    pub(crate) fn authority(&self) -> Option<HeaderValue> {
        let (_, address) = endpoint_of(self)?;
        HeaderValue::try_from(address.to_string()).ok()
    }
}

impl Drop for Choice {
    fn drop(&mut self) {
        self.worker.balancers.done(&self.group, self.index, self.outcome, self.worker.now().seconds());
    }
}

/// A connection in use, with the endpoint it leads to.
#[derive(Debug)]
pub(crate) struct Lease {
    choice: Choice,
    upstream: Upstream,
    endpoint: u32,
    idle: Duration,
}

impl Lease {
    /// Lets the connection get on.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        self.upstream.drive(cx);
    }

    /// The response was read to its end: the connection may serve another request.
    pub(crate) fn release(self, now: Millis) {
        let Lease { choice, upstream, endpoint, idle } = self;
        choice.worker.pool.put(endpoint, upstream, now.after(idle));
    }
}

/// A request on its way to an endpoint.
type Outgoing = Request<RequestBody>;

/// Why an attempt failed.
enum Failed {
    /// Nothing was sent: another attempt is safe whatever the request.
    Unsent(Box<Outgoing>, Reject),
    /// The connection had been used before and ended before any answer: the endpoint closed it while the request was
    /// on its way. Another attempt is safe for idempotent requests without a body, which are kept for it.
    Stale(Box<Outgoing>),
    /// It is over.
    Final(Reject),
}

/// Sends a request to one endpoint of the group after another until one answers, as far as that is safe.
pub(crate) async fn send(
    connection: &Connection,
    first: Choice,
    tried: &mut Tried,
    timeouts: &RouteTimeouts,
    mut outgoing: Outgoing,
) -> Result<(Response<Incoming>, Lease), Reject> {
    let mut choice = first;
    let mut fresh = false;
    loop {
        let Some((endpoint, address)) = endpoint_of(&choice) else { return Err(Reject::NoEndpoint) };
        let pooled = if fresh { None } else { choice.worker.pool.take(endpoint, connection.worker().now_millis()) };
        let reused = pooled.is_some();
        let upstream = match pooled {
            Some(upstream) => Ok(upstream),
            None => connect(connection, address, timeouts).await,
        };
        let failed = match upstream {
            Ok(upstream) => match attempt(connection, &mut choice, timeouts, outgoing, upstream, reused).await {
                Ok((response, upstream)) => {
                    return Ok((response, Lease { choice, upstream, endpoint, idle: timeouts.upstream_idle }));
                }
                Err(failed) => failed,
            },
            Err(reject) => {
                choice.outcome = Outcome::Failed;
                if reject == Reject::RequestTimeout {
                    return Err(reject);
                }
                Failed::Unsent(Box::new(outgoing), reject)
            }
        };
        match failed {
            Failed::Final(reject) => return Err(reject),
            Failed::Stale(again) => {
                outgoing = *again;
                fresh = true;
            }
            // A pooled connection that was closed before anything was written: the endpoint is as good as before.
            Failed::Unsent(again, Reject::UpstreamClosed) if reused => outgoing = *again,
            Failed::Unsent(again, reject) => {
                outgoing = *again;
                fresh = false;
                choice.outcome = Outcome::Failed;
                choice = next(choice, tried).ok_or(reject)?;
            }
        }
    }
}

/// Another endpoint of the group, one that this request has not tried.
fn next(failed: Choice, tried: &mut Tried) -> Option<Choice> {
    let (worker, group) = (Rc::clone(&failed.worker), Arc::clone(&failed.group));
    // Its balancer learns of the failure before it picks again.
    drop(failed);
    let index = worker.balancers.pick(&group, worker.now().seconds(), tried)?;
    Some(Choice::new(worker, group, index))
}

fn endpoint_of(choice: &Choice) -> Option<(u32, SocketAddr)> {
    choice.group.endpoints.get(choice.index).map(|endpoint| (endpoint.id, endpoint.address))
}

/// One attempt over one connection.
async fn attempt(
    connection: &Connection,
    choice: &mut Choice,
    timeouts: &RouteTimeouts,
    outgoing: Outgoing,
    mut upstream: Upstream,
    reused: bool,
) -> Result<(Response<Incoming>, Upstream), Failed> {
    let progress = outgoing.body().progress();
    let buffers = &connection.worker().buffers;
    // What a stale connection swallowed can be sent again only if it was kept.
    let kept =
        (reused && progress.is_none() && outgoing.method().is_idempotent()).then(|| Kept::new(&outgoing, buffers));
    let sending = upstream.sender.try_send_request(outgoing);
    let outcome = answer(connection, sending, &mut upstream, progress.as_deref(), timeouts).await;
    let failed = match outcome {
        // Nobody asked for another protocol.
        Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Failed::Final(Reject::UpstreamProtocolError)
        }
        Ok(Ok(response)) => {
            if let Some(kept) = kept {
                kept.forget(buffers);
            }
            return Ok((response, upstream));
        }
        Ok(Err(mut error)) => match (error.take_message(), classify(error.error()), kept) {
            (Some(request), _, _) => return Err(Failed::Unsent(Box::new(request), Reject::UpstreamClosed)),
            _ if progress.is_some_and(|progress| progress.get() == Progress::Broken) => {
                return Err(Failed::Final(Reject::MalformedRequest));
            }
            (None, Reject::UpstreamClosed, Some(kept)) => return Err(Failed::Stale(Box::new(kept.request()))),
            (None, reject, _) => Failed::Final(reject),
        },
        // The client's own fault.
        Err(reject @ (Reject::BodyTimeout | Reject::MalformedRequest)) => return Err(Failed::Final(reject)),
        Err(reject) => Failed::Final(reject),
    };
    choice.outcome = Outcome::Failed;
    Err(failed)
}

/// Whose fault a failed exchange is.
fn classify(error: &hyper::Error) -> Reject {
    if error.is_parse() || error.is_parse_status() || error.is_parse_too_large() {
        Reject::UpstreamProtocolError
    } else {
        Reject::UpstreamClosed
    }
}

async fn connect(connection: &Connection, address: SocketAddr, timeouts: &RouteTimeouts) -> Result<Upstream, Reject> {
    let give_up = clock::now_millis().after(timeouts.connect);
    let due = |now: Millis| match () {
        () if now >= connection.request_deadline.get() => Err(Reject::RequestTimeout),
        () if now >= give_up => Err(Reject::UpstreamConnectTimeout),
        () => Ok(give_up.min(connection.request_deadline.get())),
    };
    // Boxed: connecting is rare, and its state would make every request's future larger.
    let connecting = Box::pin(Upstream::connect(address));
    match bounded(connection, connecting, |_| {}, due).await? {
        Ok(upstream) => Ok(upstream),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(Reject::UpstreamConnectTimeout),
        Err(_) => Err(Reject::UpstreamConnectFailed),
    }
}

/// Waits for the head of the response. Its time runs from when the request was sent whole; while the body is on its
/// way, whoever holds it up is held to account instead.
async fn answer<F: Future>(
    connection: &Connection,
    sending: F,
    upstream: &mut Upstream,
    progress: Option<&Cell<Progress>>,
    timeouts: &RouteTimeouts,
) -> Result<F::Output, Reject> {
    let sent = connection.worker().now().millis();
    let due = |now: Millis| {
        let (at, reject) = match progress.map(Cell::get) {
            None => (sent.after(timeouts.response_head), Reject::UpstreamResponseTimeout),
            Some(Progress::Starved(since)) => (since.after(connection.origin.timeouts.body_read), Reject::BodyTimeout),
            Some(Progress::Held(since) | Progress::Done(since)) => {
                (since.after(timeouts.response_head), Reject::UpstreamResponseTimeout)
            }
            Some(Progress::Broken) => return Err(Reject::MalformedRequest),
        };
        let total = connection.request_deadline.get();
        match () {
            () if now >= at => Err(reject),
            () if now >= total => Err(Reject::RequestTimeout),
            () => Ok(at.min(total)),
        }
    };
    bounded(connection, sending, |cx| upstream.drive(cx), due).await
}

/// Drives what `future` depends on, and runs it until it is ready or `due` says that time is up. `due` is asked only when there is nothing else to do,
/// with the time the thread last saw: no clock is read for it.
async fn bounded<F: Future>(
    connection: &Connection,
    future: F,
    mut drive: impl FnMut(&mut Context<'_>),
    due: impl Fn(Millis) -> Result<Millis, Reject>,
) -> Result<F::Output, Reject> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        drive(cx);
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        match due(connection.worker().now().millis()) {
            Err(reject) => Poll::Ready(Err(reject)),
            Ok(at) => {
                connection.arm(at);
                Poll::Pending
            }
        }
    })
    .await
}
