//! The life of a request, in order.
//!
//! [`decide::decide`] is pure: no await, no I/O, the time as an argument. `handle` calls it, forwards the request and
//! sees to it that exactly one record is written when the answer is over.

pub mod admission;
pub(crate) mod aftermath;
pub mod decide;
pub mod explain;
pub(crate) mod fencing;
pub(crate) mod flight;
pub(crate) mod mirror;
pub(crate) mod own;
pub mod told;
pub mod track;
pub(crate) mod upgrade;
mod waiting;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gridrouter_config::model::{self, UnderscoreHeaders};
use http::{HeaderValue, StatusCode, Uri, Version, header};
use http_body::Body;

use self::admission::Admission;
use self::aftermath::Aftermath;
use self::decide::{Decision, Destination, Facts, Refusal};
use self::fencing::{Fencing, Place};
use self::flight::Flight;
use self::told::Told;
use self::upgrade::Switch;
use self::waiting::{Counted, Waiting};
use crate::balance::smooth_weighted_round_robin::Tried;
use crate::clock::{self, Millis, Nanos};
use crate::grpc::outcome::Outcome;
use crate::grpc::{deadline, web};
use crate::http::answer::Answer;
use crate::http::client_body::ClientBody;
use crate::http::connection::Connection;
use crate::http::fields::{Fields, Known};
use crate::http::headers::Direction;
use crate::http::reject::Reject;
use crate::http::{forwarded, headers, target};
use crate::http1::request::Head;
use crate::listener::worker::Worker;
use crate::snapshot::fences::is_write;
use crate::snapshot::{ActionPlan, EndpointGroup, ForwardPlan, RoutePlan, Snapshot};
use crate::telemetry::{self, Record};
use crate::tls::client;
use crate::upstream::journey::{Choice, Journey, Outgoing};
use crate::upstream::response_body::{ResponseBody, Switched};

/// The status under which a request is counted whose client left before there was an answer.
const CLIENT_LEFT: u16 = 499;

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
        Err(refused) => match place(worker, &refused) {
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
                Box::pin(hold(connection, place, *refused, head, body)).await
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

/// A request ready to be sent.
struct Departure<'c> {
    connection: &'c Rc<Connection>,
    /// The route, by its position in the snapshot.
    route: u32,
    journey: Journey,
    /// What the client is told of limits.
    told: Told,
    record: Option<Record>,
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

/// A place to wait in for the end of a fence, where the fence grants a time and there is one.
fn place(worker: &Rc<Worker>, refused: &own::Refused) -> Option<Place> {
    let fence = refused.fence.as_ref()?;
    if fence.document.hold.is_zero() { None } else { Fencing::hold(worker) }
}

/// Waits until no fence keeps a request away, and decides on it anew: by then the tenant may be on another cell.
async fn hold(
    connection: &Rc<Connection>,
    place: Place,
    mut refused: own::Refused,
    head: Head,
    body: ClientBody,
) -> Answer {
    let worker = connection.worker();
    let hold = refused.fence.as_ref().map_or(Duration::ZERO, |fence| fence.document.hold);
    // What has a deadline of its own waits no longer than that.
    let own = connection.request_deadline.get();
    let left = Duration::from_millis(own.0.saturating_sub(worker.now_millis().0));
    let until = tokio::time::Instant::now() + hold.min(left);
    let counted = Counted::new(worker, Record::new(worker.now()));
    connection.waits.set(true);
    let (snapshot, begun) = loop {
        let news = worker.fencing.news();
        let snapshot = worker.snapshot();
        // A look at the fence alone first: a thousand may wait while another one goes.
        let is_up = refused.fence.as_ref().is_some_and(|fence| {
            let is_write = is_write(&head.method) || head.upgrades;
            let fences = snapshot.fences.as_ref();
            fences.and_then(|all| all.find(fence.hash, fence.document.tenant.as_str(), fence.grid, is_write)).is_some()
        });
        if !is_up {
            match begin(connection, &snapshot, &head, worker.read_clock()) {
                Err(again) if again.fence.is_some() => refused = *again,
                begun => break (snapshot, begun),
            }
        }
        if tokio::time::timeout_at(until, news).await.is_err() {
            let is_late = worker.read_clock().millis() >= own;
            break (snapshot, Err(Box::new(if is_late { refused.late() } else { refused })));
        }
    };
    connection.waits.set(false);
    counted.done();
    drop(place);
    let expects = head.expects_continue;
    match begun {
        Ok(Begun::Going(going, picked)) => {
            let mut departure = depart(connection, &snapshot, going, picked, head, body);
            forward(connection, &snapshot, &mut departure).await
        }
        Ok(Begun::Waiting(waiting)) => {
            let ToWait { turn, group, going } = *waiting;
            forward_later(connection, &snapshot, turn, &group, going, head, body).await
        }
        Ok(Begun::Own(own)) => own::answer(connection, own, body, expects).await,
        Err(refused) => own::refuse(connection, *refused, body, expects).await,
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

/// Sends a request on when its turn has come.
async fn forward_later(
    connection: &Rc<Connection>,
    snapshot: &Snapshot,
    turn: Waiting,
    group: &Arc<EndpointGroup>,
    going: Going,
    head: Head,
    body: ClientBody,
) -> Answer {
    let mut record = turn.turn(connection, going.record).await;
    let worker = connection.worker();
    if let Some(aftermath) = &mut record.aftermath {
        aftermath.begins(worker.now());
    }
    if let Some(flight) = &record.flight {
        flight.begins(worker.now());
    }
    let picked = pick(worker, group, record.flight.as_ref(), worker.now());
    let going = Going { record, ..going };
    let Some(picked) = picked else {
        tracing::debug!(client = %connection.origin.peer, "request refused: {NO_ENDPOINT}");
        let mut told = Fields::new();
        going.told.write(plan_of(snapshot, going.route).map(|(route, ..)| &*route.limits), &mut told);
        let refused = own::Refused::after_waiting(Reject::NoEndpoint, told, going.record);
        return own::refuse(connection, refused, body, head.expects_continue).await;
    };
    let mut departure = depart(connection, snapshot, going, picked, head, body);
    forward(connection, snapshot, &mut departure).await
}

/// Counts a request whose client left before there was an answer, as nginx does.
impl Drop for Departure<'_> {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.status = CLIENT_LEFT;
            record.write(self.connection.worker(), clock::now());
        }
    }
}

/// Makes of a client's request the one that is sent on.
fn depart<'c>(
    connection: &'c Rc<Connection>,
    snapshot: &Snapshot,
    going: Going,
    picked: Picked,
    head: Head,
    mut body: ClientBody,
) -> Departure<'c> {
    let Going { route, host, target, told, record } = going;
    let Picked { choice, tried } = picked;
    let plan = plan_of(snapshot, route);
    let protocol = plan.and_then(|(route, ..)| upgrade::of(route, &head));
    let mut switch = None;
    let Head { method, uri, version, mut fields, .. } = head;
    let has_body = !body.is_end_stream();
    connection.timed.set(has_body && record.aftermath.is_some());
    connection.body_ended.set(Nanos(0));
    if let Some((_, plan, document)) = plan {
        // From when the request came, whether it had to wait or not.
        let total = document.timeouts.request.map(|total| record.began.millis().after(total));
        let deadline = match total {
            _ if connection.dialect.get().is_call() => {
                deadline::pass_on(connection, &mut fields, total.unwrap_or(Millis::NEVER), connection.worker().now())
            }
            Some(total) => total,
            None => Millis::NEVER,
        };
        if deadline != Millis::NEVER {
            connection.request_deadline.set(deadline);
            connection.arm(deadline);
        }
        headers::strip_hop_by_hop(&mut fields, Direction::Request, has_body);
        connection.with_address(|peer| {
            let scheme = if connection.is_secure() { "https" } else { "http" };
            forwarded::set(&mut fields, connection.trusted.get(), peer, scheme, || {
                own::request_id(connection.worker())
            });
        });
        // Again: the client may have named these headers as belonging to the connection.
        tell_of_certificate(connection, snapshot, &mut fields);
        if let Some(host) = plan.host.as_ref().or(host.as_ref()) {
            fields.set(Known::Host, host.as_bytes());
        } else if version < Version::HTTP_11 && !fields.has(Known::Host) {
            // It is sent on as HTTP/1.1, which is not complete without.
            fields.append(Known::Host.as_str(), choice.authority().unwrap_or_default());
        }
        if let Some(form) = connection.dialect.get().web() {
            web::call(form, &mut fields);
        }
        headers::apply(&document.request_headers, &mut fields);
        if let Some(protocol) = protocol {
            switch = Switch::offer(protocol, &mut fields).map(Box::new);
            // If it comes to nothing, what the client sends behind may be meant for somebody who had agreed.
            connection.end_after_answer();
        }
    }
    let outgoing = Outgoing { method, target: target.unwrap_or(uri), fields };
    if let Some(copy) = record.flight.as_ref().and_then(Flight::copy)
        && let Some((.., document)) = plan
    {
        mirror::launch(copy, &outgoing, has_body.then_some(&mut body), &document.timeouts);
    }
    let mut journey = Journey::new(choice, tried, outgoing, has_body.then_some(body));
    journey.switch = switch;
    journey.takes_hints = version >= Version::HTTP_11;
    Departure { connection, route, journey, told, record: Some(record) }
}

/// Sends a request on and brings the answer back.
async fn forward(connection: &Rc<Connection>, snapshot: &Snapshot, departure: &mut Departure<'_>) -> Answer {
    let plan = plan_of(snapshot, departure.route);
    let flight = departure.record.as_ref().and_then(|record| record.flight.as_ref());
    let answer = match plan {
        Some((_, _, document)) => departure.journey.send(connection, &document.timeouts, flight).await,
        None => Err(Reject::NoRoute),
    };
    // By HTTP/2 that would say that there is a tunnel.
    let answer = match answer {
        Ok((head, _)) if head.status.is_success() && connection.connects() => Err(Reject::UpstreamNoUpgrade),
        answer => answer,
    };
    let mut record = departure.record.take().unwrap_or_else(|| Record::new(connection.worker().now()));
    if let Some(flight) = &record.flight {
        record.group = Some(flight.group().id);
    }
    match (answer, plan) {
        (Ok((head, lease)), Some((route, _, document))) => {
            let (status, mut fields) = (head.status, head.fields);
            record.status = status.as_u16();
            record.call = record.call.map(|_| Outcome::of_head(status, &fields));
            if status == StatusCode::SWITCHING_PROTOCOLS {
                // Its time was until here.
                connection.request_deadline.set(Millis::NEVER);
            }
            if let Some(aftermath) = &mut record.aftermath {
                aftermath.answer_begins(status, &fields, connection.body_ended.get());
            }
            if lease.left().is_none() {
                connection.is_renewed.set(is_event_stream(&fields));
            }
            if let Some(flight) = &record.flight {
                flight.answer_begins(status);
            }
            headers::strip_hop_by_hop(&mut fields, Direction::Response, true);
            departure.told.write(Some(&route.limits), &mut fields);
            headers::apply(&route.document.response_headers, &mut fields);
            let stall = document.timeouts.response_body;
            if let Some(switch) = departure.journey.switch.take().filter(|_| status == StatusCode::SWITCHING_PROTOCOLS)
            {
                switch.write(&mut fields);
                let idle = document.timeouts.tunnel_idle;
                let switched = Switched { lease, is_websocket: switch.is_websocket(), idle, stall };
                let body = ResponseBody::switched(switched, Rc::clone(connection), record);
                return Answer { status, fields, body };
            }
            let form = connection.dialect.get().web();
            let encoder = form.and_then(|form| web::Encoder::of_answer(form, status, &mut fields));
            let body = ResponseBody::upstream(lease, stall, Rc::clone(connection), record).with_web(encoder);
            Answer { status, fields, body }
        }
        (answer, plan) => {
            let reject = answer.err().unwrap_or(Reject::NoRoute);
            if let Some(aftermath) = &mut record.aftermath {
                aftermath.fails(reject);
            }
            tracing::debug!(
                route = plan.map(|(route, ..)| route.document.name.as_str()),
                client = %connection.origin.peer,
                code = reject.code(),
                "request failed upstream"
            );
            if !connection.discard_body() {
                // Nobody reads the rest of the body any more.
                connection.end_after_answer();
            }
            let limits = plan.map(|(route, ..)| &*route.limits);
            own::reject(connection, reject, record, |fields| departure.told.write(limits, fields))
        }
    }
}

/// Clients of an event stream come back by themselves when it ends.
fn is_event_stream(fields: &Fields) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    let media_type = |value: &[u8]| {
        let (name, rest) = value.split_at_checked(EVENT_STREAM.len())?;
        Some(name.eq_ignore_ascii_case(EVENT_STREAM) && rest.first().is_none_or(|byte| b"; \t".contains(byte)))
    };
    fields.get(header::CONTENT_TYPE).and_then(media_type).unwrap_or_default()
}

/// What a route of this snapshot says of sending on.
fn plan_of(snapshot: &Snapshot, route: u32) -> Option<(&RoutePlan, &ForwardPlan, &model::Forward)> {
    forward_plan(snapshot.routes.get(route as usize)?)
}

fn forward_plan(route: &RoutePlan) -> Option<(&RoutePlan, &ForwardPlan, &model::Forward)> {
    match (&route.action, &route.document.action) {
        (ActionPlan::Forward(plan), model::Action::Forward(document)) => Some((route, plan, document)),
        (ActionPlan::Forward(_) | ActionPlan::Redirect | ActionPlan::Respond { .. }, _) => None,
    }
}
