//! The life of a request, in order.
//!
//! [`decide::decide`] is pure: no await, no I/O, the time as an argument. `handle` calls it, forwards the request and
//! sees to it that exactly one record is written when the answer is over.

pub mod decide;
pub mod explain;
pub(crate) mod own;

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use gridrouter_config::model;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header};
use hyper::body::{Body, Incoming};

use self::decide::{Decision, Destination, Facts, Lines, Refusal};
use crate::balance::smooth_weighted_round_robin::Tried;
use crate::clock::Nanos;
use crate::http::connection::Connection;
use crate::http::headers::Direction;
use crate::http::reject::Reject;
use crate::http::{forwarded, headers, target};
use crate::snapshot::{ActionPlan, ForwardPlan, RoutePlan, Snapshot};
use crate::telemetry::Record;
use crate::upstream::exchange::{Choice, Journey};
use crate::upstream::request_body::RequestBody;
use crate::upstream::response_body::ResponseBody;

/// Answers one request.
///
/// All that needs no waiting is done before there is a future, so that the future holds only what waiting needs: hyper
/// copies it into place for every request.
pub(crate) fn handle(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> {
    let now = connection.worker().read_clock();
    let snapshot = connection.worker().snapshot();
    let (parts, body) = request.into_parts();
    let expects = parts.headers.contains_key(header::EXPECT);
    let begun = match begin(&connection, &snapshot, &parts, now) {
        Ok(Begun::Going(going)) => Answering::Forward(depart(&connection, &snapshot, going, parts, body)),
        Ok(Begun::Own(own)) => Answering::Own(Box::new((own, body))),
        Err(refusal) => Answering::Refuse(Box::new((own::Refused::new(&connection, &refusal), body))),
    };
    async move {
        let mut answer = match begun {
            Answering::Forward(mut departure) => forward(&connection, &snapshot, &mut departure).await,
            // Boxed, so that they do not make every request's future as large as theirs.
            Answering::Own(own) => Box::pin(own::answer(&connection, own.0, own.1, expects)).await,
            Answering::Refuse(refused) => {
                Box::pin(own::refuse(&connection, refused.0, refused.1, expects, Record::new(now))).await
            }
        };
        let gone = snapshot.listener(connection.origin.listener).is_none_or(|listener| listener.gone);
        if gone || connection.worker().is_draining() || connection.must_close() {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(answer)
    }
}

/// What is done with a request that was decided on.
#[allow(clippy::large_enum_variant, reason = "the large variant is the one on the hot path: boxing it would allocate")]
enum Answering {
    Forward(Departure),
    Own(Box<(own::Own, Incoming)>),
    Refuse(Box<(own::Refused, Incoming)>),
}

/// A request that was decided on.
enum Begun {
    /// The router answers by itself.
    Own(own::Own),
    /// It is sent on.
    Going(Going),
}

/// A request that is sent on.
struct Going {
    /// The route, by its position in the snapshot.
    route: u32,
    choice: Choice,
    tried: Tried,
    host: Option<HeaderValue>,
    /// The new target, where the path was not in normal form or is rewritten.
    target: Option<Uri>,
    lines: Vec<Lines>,
    record: Record,
}

/// A request ready to be sent.
struct Departure {
    /// The route, by its position in the snapshot.
    route: u32,
    journey: Journey,
    lines: Vec<Lines>,
    record: Option<Record>,
}

/// Checks a request and decides on it.
fn begin<'a>(
    connection: &Rc<Connection>,
    snapshot: &'a Snapshot,
    parts: &Parts,
    now: Nanos,
) -> Result<Begun, Refusal<'a>> {
    if let Some(violation) = connection.request_begins() {
        return Err(Refusal::of(own::reject_for(violation), own::violation_text(violation)));
    }
    let target = target::check(&parts.method, &parts.uri, parts.version, &parts.headers)
        .map_err(|(reject, why)| Refusal::of(reject, why))?;
    let worker = connection.worker();
    let facts = Facts {
        listener: connection.origin.listener,
        peer: connection.origin.peer.ip(),
        trusted_proxies: &connection.origin.trusted_proxies,
        method: &parts.method,
        headers: &parts.headers,
        target: &target,
    };
    let mut counted = |limit, admitted: bool| {
        worker.counters.limit(limit, |c| if admitted { c.admitted.add(1) } else { c.refused.add(1) });
    };
    let Decision { route, index, destination, notices, .. } =
        decide::decide(snapshot, &facts, &worker.shared.limits, now, &mut counted)?;
    let lines = own::lines(&notices);
    let mut record = Record::new(now);
    record.route = Some(route.id);
    let target = decide::outgoing_target(route, &target, &parts.uri, destination.prefix_len()).map_err(|_| {
        Refusal { route: Some(route), ..Refusal::of(Reject::BadPath, "the rewritten path is no target") }
    })?;
    match destination {
        Destination::Own { .. } => {
            let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let location = own::location(route, parts, host, target.as_ref(), connection.trusted);
            Ok(Begun::Own(own::Own { route: Arc::clone(route), location, lines, record }))
        }
        Destination::Endpoint { group, host, .. } => {
            record.group = Some(group.id);
            let mut tried = Tried::default();
            let Some(endpoint) = worker.balancers.pick(group, now.seconds(), &mut tried) else {
                let mut refusal = Refusal::of(Reject::NoEndpoint, "every endpoint is down, full or marked as failed");
                refusal.route = Some(route);
                return Err(refusal);
            };
            let choice = Choice::new(Rc::clone(worker), Arc::clone(group), endpoint);
            let host = host.cloned();
            Ok(Begun::Going(Going { route: index, choice, tried, host, target, lines, record }))
        }
    }
}

/// Makes of a client's request the one that is sent on.
fn depart(
    connection: &Rc<Connection>,
    snapshot: &Snapshot,
    going: Going,
    mut parts: Parts,
    body: Incoming,
) -> Departure {
    let Going { route, choice, tried, host, target, lines, record } = going;
    let now = connection.worker().now_millis();
    if let Some((_, plan, document)) = plan_of(snapshot, route) {
        if let Some(total) = document.timeouts.request {
            let deadline = now.after(total);
            connection.request_deadline.set(deadline);
            connection.arm(deadline);
        }
        let mut host = plan.host.clone().or(host);
        if parts.version < Version::HTTP_11 && host.is_none() && !parts.headers.contains_key(header::HOST) {
            // It is sent on as HTTP/1.1, which is not complete without.
            host = choice.authority();
        }
        outgoing_headers(connection, &mut parts.headers, !body.is_end_stream(), host, document);
    }
    if let Some(target) = target {
        parts.uri = target;
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let request = Request::from_parts(parts, RequestBody::new(body, now));
    Departure { route, journey: Journey::new(choice, tried, request), lines, record: Some(record) }
}

/// Sends a request on and brings the answer back.
async fn forward(
    connection: &Rc<Connection>,
    snapshot: &Snapshot,
    departure: &mut Departure,
) -> Response<ResponseBody> {
    let plan = plan_of(snapshot, departure.route);
    let answer = match plan {
        Some((_, _, document)) => departure.journey.send(connection, &document.timeouts).await,
        None => Err(Reject::NoRoute),
    };
    let lines = std::mem::take(&mut departure.lines);
    let mut record = departure.record.take().unwrap_or_else(|| Record::new(connection.worker().now()));
    match (answer, plan) {
        (Ok((response, lease)), Some((route, _, document))) => {
            let (mut head, body) = response.into_parts();
            headers::strip_hop_by_hop(&mut head.headers, Direction::Response, true);
            for lines in lines {
                lines.tell(&mut head.headers);
            }
            headers::apply(&route.document.response_headers, &mut head.headers);
            record.status = head.status.as_u16();
            let stall = document.timeouts.response_body;
            let mut answer = Response::new(ResponseBody::upstream(body, lease, stall, Rc::clone(connection), record));
            *answer.status_mut() = head.status;
            *answer.headers_mut() = head.headers;
            answer
        }
        (answer, plan) => {
            let reject = answer.err().unwrap_or(Reject::NoRoute);
            tracing::debug!(
                route = plan.map(|(route, ..)| route.document.name.as_str()),
                client = %connection.origin.peer,
                code = reject.code(),
                "request failed upstream"
            );
            let mut answer = own::reject(connection, reject, record, lines);
            if connection.body_unread() {
                // Nobody reads the rest of the body any more.
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    }
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

/// Makes a client's headers those of the request sent on.
fn outgoing_headers(
    connection: &Rc<Connection>,
    headers: &mut HeaderMap,
    has_body: bool,
    host: Option<HeaderValue>,
    document: &model::Forward,
) {
    headers::strip_hop_by_hop(headers, Direction::Request, has_body);
    forwarded::set(headers, connection.trusted, connection.address(), || own::request_id(connection.worker()));
    if let Some(host) = host {
        headers.insert(header::HOST, host);
    }
    headers::apply(&document.request_headers, headers);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output_size<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// hyper moves a request's future into place: every byte of it is copied twice for each request.
    #[test]
    fn the_future_of_a_request_stays_small() {
        let size = output_size(handle);
        assert!(size <= 2100, "{size} bytes");
    }
}
