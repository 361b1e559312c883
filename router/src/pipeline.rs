//! The life of a request, in order.
//!
//! [`decide::decide`] is pure: no await, no I/O, the time as an argument. `handle` calls it, forwards the request and
//! sees to it that exactly one record is written when the answer is over.

pub mod admission;
pub(crate) mod aftermath;
pub mod decide;
mod departure;
pub mod explain;
pub(crate) mod fencing;
pub(crate) mod flight;
mod hold;
pub(crate) mod mirror;
pub(crate) mod own;
pub mod told;
pub mod track;
pub(crate) mod upgrade;
mod waiting;

use std::rc::Rc;
use std::sync::Arc;

use gridrouter_config::model::UnderscoreHeaders;
use http::{HeaderValue, Uri};

use self::admission::Admission;
use self::aftermath::Aftermath;
use self::decide::{Decision, Destination, Facts, Refusal};
use self::departure::{Departure, depart, forward, forward_later, forward_plan};
use self::fencing::Place;
use self::flight::Flight;
use self::told::Told;
use self::waiting::Waiting;
use crate::balance::smooth_weighted_round_robin::Tried;
use crate::clock::Nanos;
use crate::grpc::outcome::Outcome;
use crate::grpc::{deadline, web};
use crate::http::answer::Answer;
use crate::http::client_body::ClientBody;
use crate::http::connection::Connection;
use crate::http::fields::{Fields, Known};
use crate::http::reject::Reject;
use crate::http::target;
use crate::http1::request::Head;
use crate::listener::worker::Worker;
use crate::snapshot::fences::is_write;
use crate::snapshot::{EndpointGroup, RoutePlan, Snapshot};
use crate::telemetry::{self, Record};
use crate::tls::client;
use crate::upstream::journey::Choice;

/// Answers one request.
///
/// All that needs no waiting is done before there is a future, so that the future holds only what waiting needs.
pub(crate) fn handle(connection: &Rc<Connection>, mut head: Head, body: ClientBody) -> impl Future<Output = Answer> {
    let worker = connection.worker();
    let (now, snapshot) = (worker.read_clock(), worker.snapshot());
    match snapshot.listener(connection.origin.listener) {
        Some(listener) if !listener.gone => connection.obey(&listener.document),
        Some(_) | None => connection.end_after_answer(),
    }
    if head.fields.has_underscores() && connection.underscores() == UnderscoreHeaders::Drop {
        head.fields.drop_underscores();
    }
    tell_of_certificate(connection, &snapshot, &mut head.fields);
    let expects = head.expects_continue;
    let begun = match begin(connection, &snapshot, &head, now) {
        Ok(Begun::Going(going, picked)) => Answering::Forward(depart(connection, &snapshot, going, picked, head, body)),
        Ok(Begun::Waiting(waiting)) => Answering::Wait(Box::new((*waiting, head, body))),
        Ok(Begun::Own(own)) => Answering::Own(Box::new((own, body))),
        Err(refused) => match hold::place(worker, &refused) {
            Some(place) => Answering::Hold(Box::new((place, refused, head, body))),
            None => Answering::Refuse(refused, body),
        },
    };
    async move {
        match begun {
            Answering::Forward(mut departure) => forward(connection, &snapshot, &mut departure).await,
            // Boxed, so that they do not make every request's future as large as theirs.
            Answering::Wait(waiting) => {
                let (ToWait { turn, group, going }, head, body) = *waiting;
                Box::pin(forward_later(connection, &snapshot, turn, &group, going, head, body)).await
            }
            Answering::Hold(waiting) => {
                let (place, refused, head, body) = *waiting;
                Box::pin(hold::hold(connection, place, *refused, head, body)).await
            }
            Answering::Own(own) => Box::pin(own::answer(connection, own.0, own.1, expects)).await,
            Answering::Refuse(refused, body) => Box::pin(own::refuse(connection, *refused, body, expects)).await,
        }
    }
}

/// Sets the headers that tell of the client's certificate, and removes what the client says by their names; before anything
/// looks at headers. Most have none of this.
fn tell_of_certificate(connection: &Connection, snapshot: &Snapshot, fields: &mut Fields) {
    let Some(reserved) = &snapshot.reserved_headers else { return };
    let plan = snapshot.listener(connection.origin.listener);
    let tls = plan.and_then(|plan| plan.document.tls.as_ref()?.client_certificates.as_ref());
    client::set(fields, reserved, tls.map(|clients| &clients.forward), connection.client_certificate());
}

/// What is done with a request that was decided on.
#[allow(clippy::large_enum_variant, reason = "the large variant is the one on the hot path: boxing it would allocate")]
enum Answering<'c> {
    Forward(Departure<'c>),
    Wait(Box<(ToWait, Head, ClientBody)>),
    Hold(Box<(Place, Box<own::Refused>, Head, ClientBody)>),
    Own(Box<(own::Own, ClientBody)>),
    Refuse(Box<own::Refused>, ClientBody),
}

/// A request that was decided on.
enum Begun {
    /// The router answers by itself.
    Own(own::Own),
    /// It is sent on.
    Going(Going, Picked),
    /// It is sent on when its turn comes.
    Waiting(Box<ToWait>),
}

/// A request that is sent on.
struct Going {
    /// The route, by its position in the snapshot.
    route: u32,
    host: Option<HeaderValue>,
    /// The new target, where the path was not in normal form or is rewritten.
    target: Option<Uri>,
    /// What the client is told of limits.
    told: Told,
    record: Record,
}

/// The endpoint that a request is sent to first.
struct Picked {
    choice: Choice,
    tried: Tried,
}

/// A request that is sent on when its turn comes. Its endpoint is picked then.
struct ToWait {
    turn: Waiting,
    group: Arc<EndpointGroup>,
    going: Going,
}

/// Checks a request and decides on it.
fn begin(
    connection: &Rc<Connection>,
    snapshot: &Snapshot,
    head: &Head,
    now: Nanos,
) -> Result<Begun, Box<own::Refused>> {
    let refuse = |refusal, admission: &Admission<'_>| Box::new(own::Refused::new(connection, &refusal, admission, now));
    let mut admission = Admission::default();
    if connection.dialect.get().is_call() {
        deadline::note(connection, &head.fields, now)
            .map_err(|(reject, why)| refuse(Refusal::of(reject, why), &admission))?;
    }
    let target = target::check(&head.method, &head.uri, head.version, &head.fields, connection.is_secure())
        .map_err(|(reject, why)| refuse(Refusal::of(reject, why), &admission))?;
    let (worker, listener) = (connection.worker(), connection.origin.listener);
    if head.fields.has_underscores() && connection.underscores() == UnderscoreHeaders::Reject {
        return Err(refuse(Refusal::of(Reject::BadHeaderName, "a header's name has an underscore"), &admission));
    }
    let facts = Facts {
        listener,
        peer: connection.origin.peer.ip(),
        peer_network: connection.origin.network,
        trusted_proxies: snapshot.listener(listener).map_or(&[], |plan| &plan.document.trusted_proxies),
        method: &head.method,
        headers: &head.fields,
        target: &target,
        certificate: connection.client_certificate().map(|client| &client.facts),
    };
    let dice = || worker.random();
    let decided = decide::decide(snapshot, &facts, &worker.shared.limits, dice, now, &mut admission);
    let Decision { route, index, destination, placed } = match decided {
        Ok(decision) => decision,
        Err(refusal) => {
            telemetry::limits::count(worker, &admission, refusal.tenant.as_deref());
            if let Some(route) = refusal.route {
                // It is refused, or kept by a fence, and then waits no longer.
                let _late: Result<(), _> = web::notice(connection, route, head, now);
            }
            return Err(refuse(refusal, &admission));
        }
    };
    telemetry::limits::count(worker, &admission, placed.as_ref().map(|placed| &*placed.tenant));
    let switches = upgrade::of(route, head).is_some();
    if let Some(placed) = placed.as_ref().filter(|placed| placed.cell.is_some()) {
        connection.under_way.begins(placed.hash, is_write(&head.method) || switches);
    }
    let unfit = |reject, why| refuse(Refusal { route: Some(route), ..Refusal::of(reject, why) }, &admission);
    web::notice(connection, route, head, now).map_err(|(reject, why)| unfit(reject, why))?;
    if connection.connects()
        && let Some(reject) = upgrade::is_unfit(route, head)
    {
        return Err(unfit(reject, "what it asks for by CONNECT the route does not let pass, or it is no handshake"));
    }
    let Ok(target) = decide::outgoing_target(route, &target, &head.uri, destination.prefix_len()) else {
        return Err(unfit(Reject::BadPath, "the rewritten path is no target"));
    };
    if !head.body.is_done()
        && let Some(most) = route.document.max_body
    {
        if head.body.left().is_some_and(|length| length > most) {
            return Err(unfit(Reject::BodyTooLarge, "the body is larger than the route allows"));
        }
        connection.incoming.borrow_mut().bound(most);
    }
    let mut record = Record::new(now);
    record.route = Some(route.id);
    record.call = connection.dialect.get().is_call().then_some(Outcome::Open);
    match destination {
        Destination::Own { .. } => {
            let host = head.fields.known(Known::Host).next().and_then(|host| str::from_utf8(host).ok());
            let location = own::location(route, head, host.unwrap_or_default(), target.as_ref(), connection);
            record.aftermath = Aftermath::of(worker, &admission, now);
            let turn = (admission.wait_nanos > 0).then(|| Box::new(Waiting::new(worker, &admission, now)));
            Ok(Begun::Own(own::Own { route: Arc::clone(route), location, told: admission.told(), record, turn }))
        }
        Destination::Endpoint { group, on, host, .. } => {
            record.group = Some(group.id);
            record.flight = on.as_ref().map(|on| Flight::new(connection, on, now));
            if let (Some(on), Some(flight)) = (&on, &record.flight)
                && !switches
                && connection.dialect.get().web().is_none()
                && let Some(chosen) = mirror::is_copied(on, head, connection.trusted.get(), || worker.random())
            {
                flight.is_copied(route, placed.as_ref().map(|placed| &*placed.tenant), chosen.bodies);
            }
            let going = |mut record: Record| {
                record.aftermath = Aftermath::of(worker, &admission, now);
                Going { route: index, host: host.cloned(), target, told: admission.told(), record }
            };
            if admission.wait_nanos > 0 {
                let (turn, group) = (Waiting::new(worker, &admission, now), Arc::clone(group));
                if let Some(flight) = &record.flight {
                    flight.waits();
                }
                if !fits(connection, route, admission.wait_nanos, now) {
                    // Its turn, which is given back here, would come when its time is over.
                    drop(turn);
                    return Err(unfit(Reject::RequestTimeout, "its turn would come after its request timeout"));
                }
                return Ok(Begun::Waiting(Box::new(ToWait { turn, group, going: going(record) })));
            }
            match pick(worker, group, record.flight.as_ref(), now) {
                Some(picked) => Ok(Begun::Going(going(record), picked)),
                None => Err(Box::new(unfit(Reject::NoEndpoint, NO_ENDPOINT).on_track(record.flight))),
            }
        }
    }
}

/// Whether a wait leaves time for the request.
fn fits(connection: &Connection, route: &RoutePlan, wait_nanos: u64, now: Nanos) -> bool {
    let turn = Nanos(now.0.saturating_add(wait_nanos)).millis();
    let total = forward_plan(route).and_then(|(_, _, document)| document.timeouts.request);
    turn < connection.request_deadline.get() && total.is_none_or(|total| u128::from(wait_nanos) < total.as_nanos())
}

const NO_ENDPOINT: &str = "every endpoint is down, full or marked as failed";

/// Picks the endpoint that a request is sent to first: one of its track. Only where that has none, and the shift allows it,
/// it is one of the other track.
fn pick(worker: &Rc<Worker>, group: &Arc<EndpointGroup>, flight: Option<&Flight>, now: Nanos) -> Option<Picked> {
    let picked = pick_of(worker, group, now);
    if picked.is_some() {
        return picked;
    }
    let flight = flight?;
    let picked = pick_of(worker, flight.fallback()?, now)?;
    flight.falls_back();
    Some(picked)
}

fn pick_of(worker: &Rc<Worker>, group: &Arc<EndpointGroup>, now: Nanos) -> Option<Picked> {
    let mut tried = Tried::default();
    let (group, endpoint) = worker.balancers.pick(group, now.seconds(), &mut tried)?;
    Some(Picked { choice: Choice::new(Rc::clone(worker), group, endpoint), tried })
}
