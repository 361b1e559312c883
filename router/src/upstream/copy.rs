//! Sending a copy of a request to an endpoint, on behalf of nobody: no client waits for it, and no balancer is told.
//!
//! Copies have connections of their own, so that none takes one that a client's request would have had.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use gridrouter_config::model::{RouteTimeouts, UpstreamProtocol};
use http::Method;
use tokio::time::timeout;

use super::carrier::Carrier;
use super::connect::{open, reject_for};
use super::exchange::{Exchange, Failed, Sending};
use super::http2::{hub, stream};
use super::journey::Outgoing;
use super::payload::Payload;
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
    carrier: Carrier,
    endpoint: u32,
    idle: Duration,
}

impl Received {
    /// The next piece of the answer's body. The error: it broke off.
    pub(crate) async fn next(&mut self, worker: &Worker) -> Option<Result<Bytes, ()>> {
        loop {
            match poll_fn(|cx| self.carrier.poll_frame(cx, &worker.spare)).await? {
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
    pub(crate) fn release(self, worker: &Worker) {
        if let Some(exchange) = self.carrier.into_reusable(&worker.spare) {
            worker.mirrors.pool.put(self.endpoint, exchange, clock::now_millis().after(self.idle));
        }
    }
}

/// Sends a copy with its body, if it has one, and waits for the head of its answer. It is sent once; only where the endpoint
/// closed an unused connection meanwhile, or took nothing of it over a shared one, it is sent on another one.
pub(crate) async fn send(
    worker: &Rc<Worker>,
    endpoint: &EndpointPlan,
    request: &Outgoing,
    body: &Bytes,
    timeouts: &RouteTimeouts,
) -> Result<Received, Reject> {
    let received = |(head, carrier)| Received { head, carrier, endpoint: endpoint.id, idle: timeouts.upstream_idle };
    // Whether an endpoint that closes the connection has done what it was asked to is not known.
    let may_repeat = request.method.is_idempotent();
    let pooled = may_repeat.then(|| worker.mirrors.pool.take(endpoint.id, clock::now_millis()));
    if let Some(exchange) = pooled.flatten() {
        match attempt(worker, begin(worker, exchange, request, body), timeouts.response_head).await {
            Ok(Err(Failed::Unsent | Failed::Silent)) => {}
            outcome => return verdict(outcome).map(received),
        }
    }
    let is_shared = match endpoint.protocol {
        UpstreamProtocol::Http1 => false,
        UpstreamProtocol::H2 | UpstreamProtocol::Auto => true,
    };
    if is_shared {
        return Box::pin(send_shared(worker, endpoint, request, body, timeouts)).await.map(received);
    }
    let wire = match timeout(timeouts.connect, Box::pin(open(worker, endpoint, None))).await {
        Ok(Ok(wire)) => wire,
        Ok(Err(error)) => return Err(reject_for(&endpoint.address, &error)),
        Err(_) => return Err(Reject::UpstreamConnectTimeout),
    };
    let carrier = begin(worker, Exchange::on(wire), request, body);
    verdict(attempt(worker, carrier, timeouts.response_head).await).map(received)
}

/// Sends a copy over a connection that is shared with other copies.
async fn send_shared(
    worker: &Rc<Worker>,
    endpoint: &EndpointPlan,
    request: &Outgoing,
    body: &Bytes,
    timeouts: &RouteTimeouts,
) -> Result<(Head, Carrier), Reject> {
    let hub = worker.mirrors.pool.hub(endpoint.id);
    for _ in 0..MOST_TIMES {
        let way = timeout(timeouts.connect, hub.way(worker, endpoint, timeouts, hub::Purpose::Request)).await;
        let carrier = match way.unwrap_or(Err(Reject::UpstreamConnectTimeout))? {
            hub::Way::Own(wire) => begin(worker, Exchange::on(wire), request, body),
            hub::Way::Shared(place) => {
                match stream::Exchange::begin(place, request, None, Payload::of_bytes(body), clock::now_millis()) {
                    Ok(exchange) => Carrier::Http2(exchange),
                    Err((Failed::Unsent, _)) => continue,
                    Err(_) => return Err(Reject::BadHost),
                }
            }
        };
        match attempt(worker, carrier, timeouts.response_head).await {
            Ok(Err(Failed::Unsent)) => {}
            outcome => return verdict(outcome),
        }
    }
    Err(Reject::UpstreamClosed)
}

/// How often a copy is sent where a shared connection takes nothing of it.
const MOST_TIMES: usize = 3;

/// The answer over one connection; the outer error says that it did not come in time.
type Attempt = Result<Result<(Head, Carrier), Failed>, tokio::time::error::Elapsed>;

fn begin(worker: &Worker, mut exchange: Box<Exchange>, request: &Outgoing, body: &Bytes) -> Carrier {
    let mut out = Out::new(worker.spare.output());
    encode::request_head(out.end(), &request.method, &request.target, &request.fields);
    out.push(body.clone());
    let sending = Sending { out, body: None, chunked: false };
    exchange.begin(sending, request.method == Method::HEAD, clock::now_millis());
    Carrier::Http1(exchange)
}

async fn attempt(worker: &Worker, mut carrier: Carrier, time: Duration) -> Attempt {
    let head = timeout(time, poll_fn(|cx| carrier.poll_head(cx, &worker.spare))).await?;
    Ok(head.map(|head| (head, carrier)))
}

fn verdict(outcome: Attempt) -> Result<(Head, Carrier), Reject> {
    match outcome {
        Ok(Ok(received)) => Ok(received),
        Ok(Err(Failed::Unsent | Failed::Silent | Failed::CutShort)) => Err(Reject::UpstreamClosed),
        // All of its body is there, so that no client could fail to send it.
        Ok(Err(Failed::Protocol | Failed::Client)) => Err(Reject::UpstreamProtocolError),
        Err(_) => Err(Reject::UpstreamResponseTimeout),
    }
}
