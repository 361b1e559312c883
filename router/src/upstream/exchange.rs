//! Sending one request to an endpoint and waiting for the head of its answer.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use gridrouter_config::model::RouteTimeouts;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;

use super::pool::{self, Sender};
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
}

impl Drop for Choice {
    fn drop(&mut self) {
        self.worker.balancers.done(&self.group, self.index, self.outcome, self.worker.now().seconds());
    }
}

/// A connection in use, with the endpoint it leads to.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) choice: Choice,
    sender: Sender,
    endpoint: u32,
    idle: std::time::Duration,
}

impl Lease {
    /// The response was read to its end: the connection may serve another request.
    pub(crate) fn release(self, now: Millis) {
        let Lease { choice, sender, endpoint, idle } = self;
        choice.worker.pool.put(endpoint, sender, now.after(idle));
    }
}

/// A request on its way to an endpoint.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RequestBody,
}

impl Outgoing {
    fn into_request(self) -> Request<RequestBody> {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        *request.version_mut() = Version::HTTP_11;
        request
    }

    fn from_request(request: Request<RequestBody>) -> Self {
        let (parts, body) = request.into_parts();
        Self { method: parts.method, uri: parts.uri, headers: parts.headers, body }
    }
}

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
        match attempt(connection, &mut choice, timeouts, outgoing, fresh).await {
            Ok((response, sender)) => {
                let endpoint = endpoint_of(&choice).ok_or(Reject::NoEndpoint)?.0;
                return Ok((response, Lease { choice, sender, endpoint, idle: timeouts.upstream_idle }));
            }
            Err(Failed::Final(reject)) => return Err(reject),
            Err(Failed::Stale(again)) => {
                outgoing = *again;
                fresh = true;
            }
            Err(Failed::Unsent(again, reject)) => {
                outgoing = *again;
                if reject == Reject::UpstreamClosed {
                    continue; // a pooled connection that was closed before anything was written
                }
                fresh = false;
                let group = Arc::clone(&choice.group);
                let worker = Rc::clone(&choice.worker);
                let now = clock::now().seconds();
                drop(choice);
                match worker.balancers.pick(&group, now, tried) {
                    Some(index) => choice = Choice::new(worker, group, index),
                    None => return Err(reject),
                }
            }
        }
    }
}

fn endpoint_of(choice: &Choice) -> Option<(u32, std::net::SocketAddr)> {
    choice.group.endpoints.get(choice.index).map(|endpoint| (endpoint.id, endpoint.address))
}

/// One attempt at one endpoint.
async fn attempt(
    connection: &Connection,
    choice: &mut Choice,
    timeouts: &RouteTimeouts,
    outgoing: Outgoing,
    fresh: bool,
) -> Result<(Response<Incoming>, Sender), Failed> {
    let Some((endpoint, address)) = endpoint_of(choice) else { return Err(Failed::Final(Reject::NoEndpoint)) };
    let now = choice.worker.now().millis();
    let pooled = if fresh { None } else { choice.worker.pool.take(endpoint, now) };
    let reused = pooled.is_some();
    let mut sender = match pooled {
        Some(sender) => sender,
        None => match connect(connection, address, timeouts).await {
            Ok(sender) => sender,
            Err(reject) => {
                choice.outcome = Outcome::Failed;
                return Err(if reject == Reject::RequestTimeout {
                    Failed::Final(reject)
                } else {
                    Failed::Unsent(Box::new(outgoing), reject)
                });
            }
        },
    };
    let progress = outgoing.body.progress();
    // What a stale connection swallowed can be sent again only if it was kept.
    let kept = (reused && progress.is_none() && outgoing.method.is_idempotent())
        .then(|| (outgoing.method.clone(), outgoing.uri.clone(), outgoing.headers.clone()));
    let sending = sender.try_send_request(outgoing.into_request());
    match answer(connection, sending, progress.as_deref(), timeouts).await {
        Ok(Ok(response)) if response.status() == http::StatusCode::SWITCHING_PROTOCOLS => {
            // Nobody asked for another protocol.
            choice.outcome = Outcome::Failed;
            Err(Failed::Final(Reject::UpstreamProtocolError))
        }
        Ok(Ok(response)) => Ok((response, sender)),
        Ok(Err(mut error)) => {
            if let Some(request) = error.take_message() {
                return Err(Failed::Unsent(Box::new(Outgoing::from_request(request)), Reject::UpstreamClosed));
            }
            if progress.is_some_and(|progress| progress.get() == Progress::Broken) {
                return Err(Failed::Final(Reject::MalformedRequest));
            }
            let reject = classify(error.error());
            if let (Reject::UpstreamClosed, Some((method, uri, headers))) = (reject, kept) {
                let body = RequestBody::empty();
                return Err(Failed::Stale(Box::new(Outgoing { method, uri, headers, body })));
            }
            choice.outcome = Outcome::Failed;
            Err(Failed::Final(reject))
        }
        Err(reject) => {
            if reject != Reject::BodyTimeout {
                choice.outcome = Outcome::Failed;
            }
            Err(Failed::Final(reject))
        }
    }
}

/// Whose fault a failed exchange is.
fn classify(error: &hyper::Error) -> Reject {
    if error.is_parse() || error.is_parse_status() || error.is_parse_too_large() {
        Reject::UpstreamProtocolError
    } else {
        Reject::UpstreamClosed
    }
}

async fn connect(
    connection: &Connection,
    address: std::net::SocketAddr,
    timeouts: &RouteTimeouts,
) -> Result<Sender, Reject> {
    let give_up = clock::now_millis().after(timeouts.connect);
    let due = |now: Millis| match () {
        () if now >= connection.request_deadline.get() => Err(Reject::RequestTimeout),
        () if now >= give_up => Err(Reject::UpstreamConnectTimeout),
        () => Ok(give_up.min(connection.request_deadline.get())),
    };
    // Boxed: connecting is rare, and its state would make every request's future larger.
    let connecting = Box::pin(pool::connect(address));
    match bounded(connection, connecting, due).await? {
        Ok(sender) => Ok(sender),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(Reject::UpstreamConnectTimeout),
        Err(_) => Err(Reject::UpstreamConnectFailed),
    }
}

/// Waits for the head of the response. Its time runs from when the request was sent whole; while the body is on its
/// way, whoever holds it up is held to account instead.
async fn answer<F: Future>(
    connection: &Connection,
    sending: F,
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
    bounded(connection, sending, due).await
}

/// Runs `future` until it is ready or `due` says that time is up. `due` is asked only when there is nothing else to do,
/// with the time the thread last saw: no clock is read for it.
async fn bounded<F: Future>(
    connection: &Connection,
    future: F,
    due: impl Fn(Millis) -> Result<Millis, Reject>,
) -> Result<F::Output, Reject> {
    let mut future = pin!(future);
    poll_fn(|cx| {
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
