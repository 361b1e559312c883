//! Sending a copy of a request to an endpoint, on behalf of nobody: no client waits for it, and no balancer is told.
//!
//! Copies have connections of their own, so that none takes one that a client's request would have had.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use gridrouter_config::model::RouteTimeouts;
use http::Method;
use tokio::time::timeout;

use super::connect::{open, reject_for};
use super::exchange::{Exchange, Failed, Sending};
use super::journey::Outgoing;
use crate::clock;
use crate::http::reject::Reject;
use crate::http1::encode;
use crate::http1::out::Out;
use crate::http1::response::Head;
use crate::listener::worker::Worker;
use crate::snapshot::EndpointPlan;

/// The answer to a copy.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) head: Head,
    exchange: Box<Exchange>,
    endpoint: u32,
    idle: Duration,
}

impl Received {
    /// The next piece of the answer's body. The error: it broke off.
    pub(crate) async fn next(&mut self, worker: &Worker) -> Option<Result<Bytes, ()>> {
        loop {
            match poll_fn(|cx| self.exchange.poll_frame(cx, &worker.spare)).await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(()) => return Some(Err(())),
            }
        }
    }

    /// The answer was read to its end: the connection may serve another copy.
    pub(crate) fn release(mut self, worker: &Worker) {
        if self.exchange.is_reusable(&worker.spare) {
            worker.mirrors.pool.put(self.endpoint, self.exchange, clock::now_millis().after(self.idle));
        }
    }
}

/// Sends a copy with its body, if it has one, and waits for the head of its answer. It is sent once; only where the endpoint
/// closed an unused connection meanwhile, it is sent on a fresh one.
pub(crate) async fn send(
    worker: &Worker,
    endpoint: &EndpointPlan,
    request: &Outgoing,
    body: &Bytes,
    timeouts: &RouteTimeouts,
) -> Result<Received, Reject> {
    let received = |(head, exchange)| Received { head, exchange, endpoint: endpoint.id, idle: timeouts.upstream_idle };
    // Whether an endpoint that closes the connection has done what it was asked to is not known.
    let pooled = request.method.is_idempotent().then(|| worker.mirrors.pool.take(endpoint.id, clock::now_millis()));
    if let Some(exchange) = pooled.flatten() {
        match attempt(worker, exchange, request, body, timeouts.response_head).await {
            Ok(Err(Failed::Unsent | Failed::Silent)) => {}
            outcome => return verdict(outcome).map(received),
        }
    }
    let wire = match timeout(timeouts.connect, Box::pin(open(worker, endpoint, None))).await {
        Ok(Ok(wire)) => wire,
        Ok(Err(error)) => return Err(reject_for(&endpoint.address, &error)),
        Err(_) => return Err(Reject::UpstreamConnectTimeout),
    };
    verdict(attempt(worker, Exchange::on(wire), request, body, timeouts.response_head).await).map(received)
}

/// The answer over one connection; the outer error says that it did not come in time.
type Attempt = Result<Result<(Head, Box<Exchange>), Failed>, tokio::time::error::Elapsed>;

async fn attempt(
    worker: &Worker,
    mut exchange: Box<Exchange>,
    request: &Outgoing,
    body: &Bytes,
    time: Duration,
) -> Attempt {
    let mut out = Out::new(worker.spare.output());
    encode::request_head(out.end(), &request.method, &request.target, &request.fields);
    out.push(body.clone());
    let sending = Sending { out, body: None, chunked: false };
    exchange.begin(sending, request.method == Method::HEAD, clock::now_millis());
    let head = timeout(time, poll_fn(|cx| exchange.poll_head(cx, &worker.spare))).await?;
    Ok(head.map(|head| (head, exchange)))
}

fn verdict(outcome: Attempt) -> Result<(Head, Box<Exchange>), Reject> {
    match outcome {
        Ok(Ok(received)) => Ok(received),
        Ok(Err(Failed::Unsent | Failed::Silent | Failed::CutShort)) => Err(Reject::UpstreamClosed),
        // All of its body is there, so that no client could fail to send it.
        Ok(Err(Failed::Protocol | Failed::Client)) => Err(Reject::UpstreamProtocolError),
        Err(_) => Err(Reject::UpstreamResponseTimeout),
    }
}
