//! Sending one request to an endpoint, or to one after another, until one answers.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gridrouter_config::address::Address;
use gridrouter_config::model::{RouteTimeouts, UpstreamProtocol};
use http::{Method, StatusCode, Uri};
use http_body::Frame;

use super::carrier::Carrier;
use super::connect::{connect, within};
use super::exchange::{EARLY_HINTS, Exchange, Failed, Progress, Sending, Wants};
use super::http2::hub::{self, Place, Purpose};
use super::http2::stream;
use super::owner::Owner;
use super::payload::Payload;
use crate::balance::smooth_weighted_round_robin::{Outcome, Tried};
use crate::clock::Millis;
use crate::http::answer;
use crate::http::client_body::ClientBody;
use crate::http::connection::Connection;
use crate::http::fields::{Fields, Known};
use crate::http::reject::Reject;
use crate::http::tunnel::end::End;
use crate::http1::encode;
use crate::http1::out::Out;
use crate::http1::response::Head;
use crate::listener::balancers::Group;
use crate::listener::worker::Worker;
use crate::pipeline::flight::Flight;
use crate::pipeline::upgrade::Switch;
use crate::snapshot::EndpointPlan;

/// An endpoint chosen for a request, which its balancer is told about when the request is over.
#[derive(Debug)]
pub(crate) struct Choice {
    worker: Rc<Worker>,
    group: Group,
    index: usize,
    outcome: Outcome,
}

impl Choice {
    pub(crate) fn new(worker: Rc<Worker>, group: Group, index: usize) -> Self {
        Self { worker, group, index, outcome: Outcome::Ok }
    }

    /// The endpoint's address as a `Host`.
    pub(crate) fn authority(&self) -> Option<String> {
        self.plan().map(|endpoint| match (&endpoint.address, &endpoint.name) {
            (Address::Ip(address), Some(name)) => format!("{name}:{}", address.port()),
            (Address::Ip(address), None) => address.to_string(),
            // A path would be no host.
            (Address::Unix(_), _) => "localhost".to_owned(),
        })
    }

    fn plan(&self) -> Option<&EndpointPlan> {
        self.group.endpoints.get(self.index)
    }

    /// Another endpoint of the group, one that this request has not tried.
    fn next(self, tried: &mut Tried) -> Option<Self> {
        let (worker, group) = (Rc::clone(&self.worker), Rc::clone(&self.group));
        // Its balancer learns of the failure before it picks again.
        drop(self);
        let (group, index) = worker.balancers.pick(&group, worker.now().seconds(), tried)?;
        Some(Self::new(worker, group, index))
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
    carrier: Carrier,
    endpoint: u32,
    owner: Option<Box<Owner>>,
    idle: Duration,
}

impl Lease {
    /// What is left of the answer's body, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.carrier.left()
    }

    /// Whether the answer was read to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.carrier.is_over()
    }

    /// Whether all of the answer's body was received.
    pub(crate) fn has_come(&self) -> bool {
        self.carrier.has_come()
    }

    /// The next piece of the answer's body. The error: it broke off.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        self.carrier.poll_frame(cx, &self.choice.worker.spare)
    }

    /// The endpoint has changed to another protocol: what is left is where that is spoken, and whom to tell when that ends.
    pub(crate) fn into_end(self) -> (Choice, End) {
        (self.choice, self.carrier.into_end())
    }

    /// Sends what there is of the request, where that is still on its way.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        // Whoever reads the answer learns of an error.
        let _broken = self.carrier.drive(cx, &self.choice.worker.spare);
    }

    /// The answer was read to its end: the connection may serve another request.
    pub(crate) fn release(self, now: Millis) {
        let Lease { choice, carrier, endpoint, owner, idle } = self;
        if let Some(exchange) = carrier.into_reusable(&choice.worker.spare) {
            match owner {
                None => choice.worker.pool.put(endpoint, exchange, now.after(idle)),
                Some(owner) => choice.worker.pool.put_owned(endpoint, owner, exchange, now.after(idle)),
            }
        }
    }
}

/// How often a request is sent to the same endpoint again because a connection that others share took nothing of it.
const MOST_AGAIN: u8 = 2;

/// How a request is sent.
enum Way {
    /// On a connection of its own.
    Own(Box<Exchange>),
    /// On one that others use, too.
    Shared(Place),
}

/// What is to be done when an attempt failed.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// Nothing was sent: another attempt is safe whatever the request.
    Elsewhere(Reject),
    /// The same, but the endpoint is only full.
    Beside(Reject),
    /// The connection had been used before and ended before any answer: the endpoint closed it while the request was
    /// on its way. Another attempt is safe for idempotent requests without a body.
    Afresh,
    /// A connection that others share took nothing of it, because it ends or has too much to do: another attempt is safe,
    /// and the endpoint as good as before.
    Again,
    /// It is over.
    Over(Reject),
}

/// The head of a request as it is sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) target: Uri,
    pub(crate) fields: Fields,
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Journey {
    /// The endpoint at the moment.
    choice: Option<Choice>,
    tried: Tried,
    /// The request's head: kept until an answer comes, in case it has to be written again.
    request: Outgoing,
    /// The request's body, while it is here and not on a connection.
    body: Option<ClientBody>,
    /// What an endpoint took nothing of.
    unsent: Option<Sending>,
    /// The same, if it was over HTTP/2.
    returned: Option<Box<Payload>>,
    /// How often a shared connection took nothing of it.
    again: u8,
    has_body: bool,
    /// The change to another protocol that it asks for.
    pub(crate) switch: Option<Box<Switch>>,
    /// Whether its client takes early hints.
    pub(crate) takes_hints: bool,
}

impl Journey {
    /// `body` is `None` for a request without one.
    pub(crate) fn new(choice: Choice, tried: Tried, request: Outgoing, body: Option<ClientBody>) -> Self {
        let has_body = body.is_some();
        Self {
            choice: Some(choice),
            tried,
            request,
            body,
            unsent: None,
            returned: None,
            again: 0,
            has_body,
            switch: None,
            takes_hints: false,
        }
    }

    /// Sends the request to one endpoint of the group after another until one answers, as far as that is safe. If none of
    /// them took anything of it, it goes to the other track where `flight` may.
    pub(crate) async fn send(
        &mut self,
        connection: &Connection,
        timeouts: &RouteTimeouts,
        flight: Option<&Flight>,
    ) -> Result<(Head, Lease), Reject> {
        let mut fresh = false;
        loop {
            let Some(plan) = self.choice.as_ref().and_then(Choice::plan) else {
                return Err(Reject::NoEndpoint);
            };
            let endpoint = plan.id;
            let worker = connection.worker();
            let owner = Owner::of(connection, plan);
            let pooled = match (&owner, plan.protocol) {
                (_, UpstreamProtocol::H2) => None,
                _ if fresh => None,
                (None, UpstreamProtocol::Http1 | UpstreamProtocol::Auto) => {
                    worker.pool.take(endpoint, worker.now_millis())
                }
                (Some(owner), UpstreamProtocol::Http1 | UpstreamProtocol::Auto) => {
                    worker.pool.take_owned(endpoint, owner, worker.now_millis())
                }
            };
            let mut reused = pooled.is_some();
            let way = match (pooled, plan.protocol) {
                (Some(exchange), _) => Ok(Way::Own(exchange)),
                (None, UpstreamProtocol::Http1) => connect(connection, plan, owner.as_deref(), timeouts.connect)
                    .await
                    .map(|wire| Way::Own(Exchange::on(wire))),
                // Boxed: of no use to those who speak HTTP/1.1, whose futures it would make larger.
                (None, UpstreamProtocol::H2 | UpstreamProtocol::Auto) => {
                    Box::pin(share(connection, plan, timeouts, self.purpose())).await
                }
            };
            // What is spoken there has no trailers that a call could end with. That is not the endpoint's fault, which serves others.
            let is_unfit = matches!(&way, Ok(Way::Own(_))) && connection.dialect.get().web().is_some();
            let way = if is_unfit { Err(Reject::UpstreamNoHttp2) } else { way };
            let mut is_own = true;
            if let Ok(Way::Shared(place)) = &way {
                (is_own, reused) = (false, !fresh && place.is_reused());
            }
            let then = match way {
                Err(reject @ (Reject::RequestTimeout | Reject::RouterOverloaded)) => Then::Over(reject),
                Err(reject) if is_busy(worker, endpoint, reject) => Then::Beside(reject),
                Err(reject @ Reject::UpstreamNoUpgrade) => Then::Beside(reject),
                Err(reject) if is_unfit => Then::Beside(reject),
                Err(reject) => Then::Elsewhere(reject),
                Ok(way) => match self.attempt(connection, timeouts, way, reused).await {
                    Ok((head, carrier)) => {
                        let choice = self.choice.take().ok_or(Reject::NoEndpoint)?;
                        let lease = Lease { choice, carrier, endpoint, owner, idle: timeouts.upstream_idle };
                        return Ok((head, lease));
                    }
                    Err(then) => then,
                },
            };
            match then {
                Then::Over(reject) => {
                    self.endpoint_failed(reject);
                    return Err(reject);
                }
                Then::Afresh => fresh = true,
                Then::Again => {}
                // A pooled connection that was closed before anything was written: the endpoint is as good as before.
                Then::Elsewhere(Reject::UpstreamClosed) if reused && is_own => {}
                Then::Elsewhere(reject) | Then::Beside(reject) => {
                    (fresh, self.again) = (false, 0);
                    if matches!(then, Then::Elsewhere(_)) {
                        self.endpoint_failed(reject);
                    }
                    self.choice = self.choice.take().and_then(|failed| failed.next(&mut self.tried));
                    if self.choice.is_none() {
                        self.fall_back(worker, flight);
                    }
                    if self.choice.is_none() {
                        return Err(reject);
                    }
                }
            }
        }
    }

    /// Chooses an endpoint of the other track, if the request may go there.
    fn fall_back(&mut self, worker: &Rc<Worker>, flight: Option<&Flight>) {
        let Some((flight, other)) = flight.and_then(|flight| Some((flight, flight.fallback()?))) else { return };
        self.tried = Tried::default();
        let picked = worker.balancers.pick(other, worker.now().seconds(), &mut self.tried);
        self.choice = picked.map(|(group, index)| Choice::new(Rc::clone(worker), group, index));
        if self.choice.is_some() {
            flight.falls_back();
        }
    }

    /// Tells the balancer, unless the fault is the client's.
    fn endpoint_failed(&mut self, reject: Reject) {
        if let Some(choice) = &mut self.choice
            && !reject.is_of_the_client()
        {
            choice.outcome = Outcome::Failed;
        }
    }

    /// What a connection is wanted for that others use, too.
    fn purpose(&self) -> Purpose {
        match &self.switch {
            None => Purpose::Request,
            // A CONNECT has no room for another method.
            Some(_) if self.request.method == Method::GET => Purpose::Tunnel,
            Some(_) => Purpose::OwnTunnel,
        }
    }

    /// What is to be sent: what the last endpoint did not take, or all of it.
    fn sending(&mut self, worker: &Worker) -> Sending {
        if let Some(returned) = self.returned.take() {
            return self.sending_again(worker, *returned);
        }
        self.unsent.take().unwrap_or_else(|| {
            let mut out = Out::new(worker.spare.output());
            encode::request_head(out.end(), &self.request.method, &self.request.target, &self.request.fields);
            let body = self.body.take();
            Sending { out, chunked: body.as_ref().is_some_and(ClientBody::is_chunked), body }
        })
    }

    /// Whether the endpoint has not changed the protocol, or as it was asked to.
    fn is_as_asked(&self, head: &Head) -> bool {
        head.status != StatusCode::SWITCHING_PROTOCOLS
            || self.switch.as_ref().is_some_and(|switch| switch.is_confirmed(&head.fields))
    }

    /// What an endpoint took nothing of over HTTP/2, to be sent over HTTP/1.1.
    #[cold]
    fn sending_again(&self, worker: &Worker, payload: Payload) -> Sending {
        let mut out = Out::new(worker.spare.output());
        encode::request_head(out.end(), &self.request.method, &self.request.target, &self.request.fields);
        let chunked = self.request.fields.has(Known::TransferEncoding);
        let (ahead, body, trailers) = payload.into_parts();
        for data in ahead {
            if chunked {
                encode::chunk_size(out.end(), data.len());
            }
            out.end().extend_from_slice(&data);
            if chunked {
                out.end().extend_from_slice(b"\r\n");
            }
        }
        if chunked && body.is_none() {
            encode::last_chunk(out.end(), trailers.as_ref());
        }
        Sending { out, body, chunked }
    }

    /// Begins with the request. What an endpoint took nothing of over HTTP/1.1 is written already, pieces of its body among it,
    /// and cannot be sent over HTTP/2: the next endpoint of a service that speaks either may be one that wants that.
    fn begin(&mut self, worker: &Worker, way: Way, now: Millis) -> Result<Carrier, Then> {
        match way {
            Way::Own(mut exchange) => {
                exchange.begin(self.sending(worker), self.request.method == Method::HEAD, now);
                exchange.wants(Wants { hints: self.takes_hints, switch: self.switch.is_some() });
                Ok(Carrier::Http1(exchange))
            }
            Way::Shared(place) => {
                let payload = match (self.returned.take(), self.unsent.take()) {
                    (Some(returned), _) => *returned,
                    (None, Some(_)) if self.has_body => return Err(Then::Over(Reject::UpstreamClosed)),
                    (None, _) => Payload::of_client(self.body.take()),
                };
                let protocol = self.switch.as_ref().map(|switch| switch.token());
                match stream::Exchange::begin(place, &self.request, protocol, payload, now) {
                    Ok(mut exchange) => {
                        if self.takes_hints {
                            exchange.wants_hints();
                        }
                        Ok(Carrier::Http2(exchange))
                    }
                    Err((Failed::Unsent, payload)) => Err(self.unsent_over_http2(payload)),
                    // Only a head that HTTP/2 has no form for.
                    Err(_) => Err(Then::Over(Reject::BadHost)),
                }
            }
        }
    }

    fn unsent_over_http2(&mut self, payload: Box<Payload>) -> Then {
        self.returned = Some(payload);
        self.again += 1;
        if self.again <= MOST_AGAIN { Then::Again } else { Then::Elsewhere(Reject::UpstreamClosed) }
    }

    /// One attempt over one connection.
    async fn attempt(
        &mut self,
        connection: &Connection,
        timeouts: &RouteTimeouts,
        way: Way,
        reused: bool,
    ) -> Result<(Head, Carrier), Then> {
        let worker = connection.worker();
        let began = worker.now_millis();
        let mut carrier = self.begin(worker, way, began)?;
        let mut outcome = poll_fn(|cx| {
            while let Poll::Ready(outcome) = carrier.poll_head(cx, &worker.spare) {
                match outcome {
                    Ok(head) if head.status.as_u16() == EARLY_HINTS => answer::hint(connection, &head.fields),
                    outcome => return Poll::Ready(Ok(outcome)),
                }
            }
            // Asked only when there is nothing else to do, with the time the thread last saw: no clock is read for it.
            let (now, deadline) = (worker.now_millis(), connection.request_deadline.get());
            let (at, reject) = due(carrier.progress(), began, connection, timeouts);
            if now >= at.min(deadline) {
                return Poll::Ready(Err(if now >= at { reject } else { Reject::RequestTimeout }));
            }
            connection.arm(at.min(deadline));
            Poll::Pending
        })
        .await;
        if let (Ok(Ok(head)), Some(switch)) = (&mut outcome, &self.switch)
            && carrier.agrees(head.status)
        {
            switch.agree(head);
        }
        Err(match outcome {
            Ok(Ok(head)) if self.is_as_asked(&head) => return Ok((head, carrier)),
            Ok(Err(Failed::Unsent)) => match carrier {
                Carrier::Http1(exchange) => {
                    self.unsent = Some(exchange.into_sending());
                    Then::Elsewhere(Reject::UpstreamClosed)
                }
                Carrier::Http2(exchange) => self.unsent_over_http2(Box::new(exchange.into_payload())),
            },
            Ok(Err(Failed::Silent)) if reused && !self.has_body && self.request.method.is_idempotent() => Then::Afresh,
            Ok(Err(Failed::Silent | Failed::CutShort)) => Then::Over(Reject::UpstreamClosed),
            Ok(Ok(_) | Err(Failed::Protocol)) => Then::Over(Reject::UpstreamProtocolError),
            Ok(Err(Failed::Client)) => Then::Over(connection.incoming.borrow().fault),
            Err(reject) => Then::Over(reject),
        })
    }
}

/// A place on a connection that others use, too, or a connection of its own where the endpoint does not speak HTTP/2.
async fn share(
    connection: &Connection,
    endpoint: &EndpointPlan,
    timeouts: &RouteTimeouts,
    purpose: Purpose,
) -> Result<Way, Reject> {
    let worker = connection.worker();
    let hub = worker.pool.hub(endpoint.id);
    let mut sharing = pin!(hub.way(worker, endpoint, timeouts, purpose));
    within(connection, timeouts.connect, |cx| sharing.as_mut().poll(cx)).await.map(|way| match way {
        hub::Way::Shared(place) => Way::Shared(place),
        hub::Way::Own(wire) => Way::Own(Exchange::on(wire)),
    })
}

/// Whether nothing is wrong with an endpoint but that all places on its connections are taken.
fn is_busy(worker: &Worker, endpoint: u32, reject: Reject) -> bool {
    reject == Reject::UpstreamConnectTimeout && worker.pool.is_shared(endpoint)
}

/// Until when the answer's head is waited for, and what it means when it has not come. Its time runs from when the
/// request was sent whole; while the body is on its way, whoever holds it up is held to account instead.
fn due(progress: Progress, began: Millis, connection: &Connection, timeouts: &RouteTimeouts) -> (Millis, Reject) {
    match progress {
        Progress::NoBody => (began.after(timeouts.response_head), Reject::UpstreamResponseTimeout),
        Progress::Starved(since) => (since.after(connection.timeouts().body_read), Reject::BodyTimeout),
        Progress::Held(since) | Progress::Done(since) => {
            (since.after(timeouts.response_head), Reject::UpstreamResponseTimeout)
        }
    }
}
