//! Sending a request on that was decided on, and bringing its answer back.

use std::rc::Rc;
use std::sync::Arc;

use gridrouter_config::model;
use http::{StatusCode, Version, header};
use http_body::Body;

use super::flight::Flight;
use super::told::Told;
use super::upgrade::{self, Switch};
use super::waiting::Waiting;
use super::{Going, NO_ENDPOINT, Picked, mirror, own, pick, tell_of_certificate};
use crate::clock::{self, Millis, Nanos};
use crate::grpc::outcome::Outcome;
use crate::grpc::{deadline, web};
use crate::http::answer::Answer;
use crate::http::client_body::ClientBody;
use crate::http::connection::Connection;
use crate::http::fields::{Fields, Known};
use crate::http::headers::Direction;
use crate::http::reject::Reject;
use crate::http::{forwarded, headers};
use crate::http1::request::Head;
use crate::snapshot::{ActionPlan, EndpointGroup, ForwardPlan, RoutePlan, Snapshot};
use crate::telemetry::Record;
use crate::upstream::journey::{Journey, Outgoing};
use crate::upstream::response_body::{ResponseBody, Switched};

/// The status under which a request is counted whose client left before there was an answer.
pub(super) const CLIENT_LEFT: u16 = 499;

/// A request ready to be sent.
pub(super) struct Departure<'c> {
    connection: &'c Rc<Connection>,
    /// The route, by its position in the snapshot.
    route: u32,
    journey: Journey,
    /// What the client is told of limits.
    told: Told,
    record: Option<Record>,
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

/// Sends a request on when its turn has come.
pub(super) async fn forward_later(
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

/// Makes of a client's request the one that is sent on.
pub(super) fn depart<'c>(
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
pub(super) async fn forward(connection: &Rc<Connection>, snapshot: &Snapshot, departure: &mut Departure<'_>) -> Answer {
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
pub(super) fn is_event_stream(fields: &Fields) -> bool {
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

pub(super) fn forward_plan(route: &RoutePlan) -> Option<(&RoutePlan, &ForwardPlan, &model::Forward)> {
    match (&route.action, &route.document.action) {
        (ActionPlan::Forward(plan), model::Action::Forward(document)) => Some((route, plan, document)),
        (ActionPlan::Forward(_) | ActionPlan::Redirect | ActionPlan::Respond { .. }, _) => None,
    }
}
