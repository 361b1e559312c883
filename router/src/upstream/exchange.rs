//! Sending one request to an endpoint and waiting for the head of its answer.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use gridrouter_config::model::RouteTimeouts;
use http::{HeaderValue, Request, Response, StatusCode, header};
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

/// Why an attempt failed.
#[derive(Debug, Clone, Copy)]
enum Failed {
    /// Nothing was sent: another attempt is safe whatever the request.
    Unsent(Reject),
    /// The connection had been used before and ended before any answer: the endpoint closed it while the request was
    /// on its way. Another attempt is safe for idempotent requests without a body, which are kept for it.
    Stale,
    /// It is over.
    Final(Reject),
}

/// A request on its way to an endpoint, or to one after another.
#[derive(Debug)]
pub(crate) struct Journey {
    /// The endpoint at the moment.
    choice: Option<Choice>,
    tried: Tried,
    /// The request, while it is here and not on a connection.
    request: Option<Request<RequestBody>>,
}

impl Journey {
    pub(crate) fn new(choice: Choice, tried: Tried, request: Request<RequestBody>) -> Self {
        Self { choice: Some(choice), tried, request: Some(request) }
    }

    /// Sends the request to one endpoint of the group after another until one answers, as far as that is safe.
    pub(crate) async fn send(
        &mut self,
        connection: &Connection,
        timeouts: &RouteTimeouts,
    ) -> Result<(Response<Incoming>, Lease), Reject> {
        let mut fresh = false;
        loop {
            let Some((endpoint, address)) = self.choice.as_ref().and_then(endpoint_of) else {
                return Err(Reject::NoEndpoint);
            };
            let worker = connection.worker();
            let pooled = if fresh { None } else { worker.pool.take(endpoint, worker.now_millis()) };
            let reused = pooled.is_some();
            let upstream = match pooled {
                Some(upstream) => Ok(upstream),
                None => connect(connection, address, timeouts).await,
            };
            let failed = match upstream {
                Err(reject @ (Reject::RequestTimeout | Reject::RouterOverloaded)) => Failed::Final(reject),
                Err(reject) => Failed::Unsent(reject),
                Ok(upstream) => match self.attempt(connection, timeouts, upstream, reused).await {
                    Ok((response, upstream)) => {
                        let choice = self.choice.take().ok_or(Reject::NoEndpoint)?;
                        return Ok((response, Lease { choice, upstream, endpoint, idle: timeouts.upstream_idle }));
                    }
                    Err(failed) => failed,
                },
            };
            match failed {
                Failed::Final(reject) => {
                    self.endpoint_failed(reject);
                    return Err(reject);
                }
                Failed::Stale => fresh = true,
                // A pooled connection that was closed before anything was written: the endpoint is as good as before.
                Failed::Unsent(Reject::UpstreamClosed) if reused => {}
                Failed::Unsent(reject) => {
                    fresh = false;
                    self.endpoint_failed(reject);
                    self.choice = self.choice.take().and_then(|failed| next(failed, &mut self.tried));
                    if self.choice.is_none() {
                        return Err(reject);
                    }
                }
            }
        }
    }

    /// Tells the balancer, unless the fault is the client's.
    fn endpoint_failed(&mut self, reject: Reject) {
        if let Some(choice) = &mut self.choice
            && !matches!(reject, Reject::BodyTimeout | Reject::MalformedRequest | Reject::RouterOverloaded)
        {
            choice.outcome = Outcome::Failed;
        }
    }

    /// One attempt over one connection. When it fails and another is safe, the request is here again.
    async fn attempt(
        &mut self,
        connection: &Connection,
        timeouts: &RouteTimeouts,
        mut upstream: Upstream,
        reused: bool,
    ) -> Result<(Response<Incoming>, Upstream), Failed> {
        let Some(request) = self.request.take() else { return Err(Failed::Final(Reject::UpstreamClosed)) };
        let progress = request.body().progress();
        let buffers = &connection.worker().buffers;
        // What a stale connection swallowed can be sent again only if it was kept.
        let kept =
            (reused && progress.is_none() && request.method().is_idempotent()).then(|| Kept::new(&request, buffers));
        // Pinned here, and lent from here on: each function that took it by value would keep room for it twice.
        let mut sending = pin!(upstream.sender.try_send_request(request));
        let outcome = answer(connection, sending.as_mut(), &mut upstream, progress.as_deref(), timeouts).await;
        match outcome {
            // Nobody asked for another protocol.
            Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Err(Failed::Final(Reject::UpstreamProtocolError))
            }
            // hyper takes the chunks away and leaves what else was done to the body unsaid.
            Ok(Ok(response)) if is_ambiguous(&response) => Err(Failed::Final(Reject::UpstreamProtocolError)),
            Ok(Ok(response)) => {
                if let Some(kept) = kept {
                    kept.forget(buffers);
                }
                Ok((response, upstream))
            }
            Ok(Err(mut error)) => {
                let broken = progress.is_some_and(|progress| progress.get() == Progress::Broken);
                Err(match (error.take_message(), classify(error.error()), kept) {
                    (Some(request), _, _) => {
                        self.request = Some(request);
                        Failed::Unsent(Reject::UpstreamClosed)
                    }
                    _ if broken => Failed::Final(Reject::MalformedRequest),
                    (None, Reject::UpstreamClosed, Some(kept)) => {
                        self.request = Some(kept.request());
                        Failed::Stale
                    }
                    (None, reject, _) => Failed::Final(reject),
                })
            }
            Err(reject) => Err(Failed::Final(reject)),
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

/// Whether a transfer coding other than one plain `chunked` was applied, or a length stands beside it (RFC 9112 §6.3):
/// another reader could take the answer for longer or shorter.
fn is_ambiguous(response: &Response<Incoming>) -> bool {
    let headers = response.headers();
    let mut lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    lines.next().is_some_and(|coding| {
        !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
            || lines.next().is_some()
            || headers.contains_key(header::CONTENT_LENGTH)
    })
}

/// Whether this process is short of something: no fault of the endpoint's.
fn is_own_shortage(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    error.raw_os_error().map(Errno::from_raw_os_error).is_some_and(|errno| {
        matches!(errno, Errno::MFILE | Errno::NFILE | Errno::ADDRNOTAVAIL | Errno::NOBUFS | Errno::NOMEM)
    })
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
    let mut connecting = Box::pin(Upstream::connect(address));
    match bounded(connection, connecting.as_mut(), |_| {}, due).await? {
        Ok(upstream) => Ok(upstream),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(Reject::UpstreamConnectTimeout),
        Err(error) if is_own_shortage(&error) => {
            tracing::warn!(%address, %error, "no connection could be opened");
            Err(Reject::RouterOverloaded)
        }
        Err(_) => Err(Reject::UpstreamConnectFailed),
    }
}

/// Waits for the head of the response. Its time runs from when the request was sent whole; while the body is on its
/// way, whoever holds it up is held to account instead.
async fn answer<F: Future>(
    connection: &Connection,
    sending: Pin<&mut F>,
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
    mut future: Pin<&mut F>,
    mut drive: impl FnMut(&mut Context<'_>),
    due: impl Fn(Millis) -> Result<Millis, Reject>,
) -> Result<F::Output, Reject> {
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
