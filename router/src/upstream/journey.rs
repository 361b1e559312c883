//! Sending one request to an endpoint, or to one after another, until one answers.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gridrouter_config::address::Address;
use gridrouter_config::model::RouteTimeouts;
use http::{Method, StatusCode, Uri};
use http_body::Frame;

use super::connect::connect;
use super::exchange::{EARLY_HINTS, Exchange, Failed, Progress, Sending, Wants};
use super::owner::Owner;
use crate::balance::smooth_weighted_round_robin::{Outcome, Tried};
use crate::clock::Millis;
use crate::http::answer;
use crate::http::client_body::ClientBody;
use crate::http::connection::Connection;
use crate::http::fields::Fields;
use crate::http::reject::Reject;
use crate::http1::encode;
use crate::http1::out::Out;
use crate::http1::response::Head;
use crate::http1::wire::Wire;
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
    exchange: Box<Exchange>,
    endpoint: u32,
    owner: Option<Box<Owner>>,
    idle: Duration,
}

impl Lease {
    /// What is left of the answer's body, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.exchange.left()
    }

    /// Whether all of the answer's body was received.
    pub(crate) fn has_come(&self) -> bool {
        self.exchange.has_come()
    }

    /// The next piece of the answer's body. The error: it broke off.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        self.exchange.poll_frame(cx, &self.choice.worker.spare)
    }

    /// The endpoint has changed to another protocol: what is left is its connection, and whom to tell when that ends.
    pub(crate) fn into_wire(self) -> (Choice, Wire) {
        (self.choice, self.exchange.into_wire())
    }

    /// Sends what there is of the request, where that is still on its way.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        // Whoever reads the answer learns of an error.
        let _broken = self.exchange.drive(cx, &self.choice.worker.spare);
    }

    /// The answer was read to its end: the connection may serve another request.
    pub(crate) fn release(self, now: Millis) {
        let Lease { choice, mut exchange, endpoint, owner, idle } = self;
        if exchange.is_reusable(&choice.worker.spare) {
            match owner {
                None => choice.worker.pool.put(endpoint, exchange, now.after(idle)),
                Some(owner) => choice.worker.pool.put_owned(endpoint, owner, exchange, now.after(idle)),
            }
        }
    }
}

/// What is to be done when an attempt failed.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// Nothing was sent: another attempt is safe whatever the request.
    Elsewhere(Reject),
    /// The connection had been used before and ended before any answer: the endpoint closed it while the request was
    /// on its way. Another attempt is safe for idempotent requests without a body.
    Afresh,
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
        Self { choice: Some(choice), tried, request, body, unsent: None, has_body, switch: None, takes_hints: false }
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
            let pooled = match &owner {
                _ if fresh => None,
                None => worker.pool.take(endpoint, worker.now_millis()),
                Some(owner) => worker.pool.take_owned(endpoint, owner, worker.now_millis()),
            };
            let reused = pooled.is_some();
            let exchange = match pooled {
                Some(exchange) => Ok(exchange),
                None => connect(connection, plan, owner.as_deref(), timeouts.connect).await.map(Exchange::on),
            };
            let then = match exchange {
                Err(reject @ (Reject::RequestTimeout | Reject::RouterOverloaded)) => Then::Over(reject),
                Err(reject) => Then::Elsewhere(reject),
                Ok(exchange) => match self.attempt(connection, timeouts, exchange, reused).await {
                    Ok((head, exchange)) => {
                        let choice = self.choice.take().ok_or(Reject::NoEndpoint)?;
                        let lease = Lease { choice, exchange, endpoint, owner, idle: timeouts.upstream_idle };
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
                // A pooled connection that was closed before anything was written: the endpoint is as good as before.
                Then::Elsewhere(Reject::UpstreamClosed) if reused => {}
                Then::Elsewhere(reject) => {
                    fresh = false;
                    self.endpoint_failed(reject);
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

    /// What is to be sent: what the last endpoint did not take, or all of it.
    fn sending(&mut self, worker: &Worker) -> Sending {
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

    /// One attempt over one connection.
    async fn attempt(
        &mut self,
        connection: &Connection,
        timeouts: &RouteTimeouts,
        mut exchange: Box<Exchange>,
        reused: bool,
    ) -> Result<(Head, Box<Exchange>), Then> {
        let worker = connection.worker();
        let began = worker.now_millis();
        let to_head = self.request.method == Method::HEAD;
        exchange.begin(self.sending(worker), to_head, began);
        exchange.wants(Wants { hints: self.takes_hints, switch: self.switch.is_some() });
        let outcome = poll_fn(|cx| {
            while let Poll::Ready(outcome) = exchange.poll_head(cx, &worker.spare) {
                match outcome {
                    Ok(head) if head.status.as_u16() == EARLY_HINTS => answer::hint(connection, &head.fields),
                    outcome => return Poll::Ready(Ok(outcome)),
                }
            }
            // Asked only when there is nothing else to do, with the time the thread last saw: no clock is read for it.
            let (now, deadline) = (worker.now_millis(), connection.request_deadline.get());
            let (at, reject) = due(exchange.progress(), began, connection, timeouts);
            if now >= at.min(deadline) {
                return Poll::Ready(Err(if now >= at { reject } else { Reject::RequestTimeout }));
            }
            connection.arm(at.min(deadline));
            Poll::Pending
        })
        .await;
        Err(match outcome {
            Ok(Ok(head)) if self.is_as_asked(&head) => return Ok((head, exchange)),
            Ok(Err(Failed::Unsent)) => {
                self.unsent = Some(exchange.into_sending());
                Then::Elsewhere(Reject::UpstreamClosed)
            }
            Ok(Err(Failed::Silent)) if reused && !self.has_body && self.request.method.is_idempotent() => Then::Afresh,
            Ok(Err(Failed::Silent | Failed::CutShort)) => Then::Over(Reject::UpstreamClosed),
            Ok(Ok(_) | Err(Failed::Protocol)) => Then::Over(Reject::UpstreamProtocolError),
            Ok(Err(Failed::Client)) => Then::Over(connection.incoming.borrow().fault),
            Err(reject) => Then::Over(reject),
        })
    }
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
