//! What would happen to a request, and why, without sending anything.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Uri, Version};
use serde::Serialize;

use super::admission::{Admission, Limiter, Notice};
use super::decide::{self, Destination, Facts};
use super::track::{OnTrack, Why};
use crate::clock;
use crate::http::fields::Fields;
use crate::http::target;
use crate::limit::key::KeyHash;
use crate::limit::table::LimitTable;
use crate::limit::{Left, NEVER, Outcome, Prepared};
use crate::listener::worker::Worker;
use crate::placement;
use crate::snapshot::{ActionPlan, EndpointGroup, RoutePlan, Snapshot};

/// A request to explain.
#[derive(Debug)]
pub struct Question {
    /// The listener, by stable number.
    pub listener: u32,
    /// The client.
    pub client: IpAddr,
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The headers, `Host` among them.
    pub headers: Fields,
}

/// The answer.
#[derive(Debug, Default, Serialize)]
pub struct Explanation {
    /// The generation that decided.
    pub generation: u64,
    /// `forward`, `redirect`, `respond` or `reject`.
    pub outcome: &'static str,
    /// The path as it is routed on and forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The host as it is routed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The route that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The grid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<String>,
    /// The tenant's bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<u16>,
    /// The cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// What placed the tenant there: `pin` or `assignment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'static str>,
    /// The limits, and what they would say now. Nothing is counted.
    pub limits: Vec<LimitExplanation>,
    /// The service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The track.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track: Option<&'static str>,
    /// The shift that chose the track, while one is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift: Option<ShiftExplanation>,
    /// The endpoint that the thread asked would pick next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Every endpoint, and whether it can be picked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointExplanation>,
    /// The reject's code and status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject: Option<RejectExplanation>,
    /// Why, in words, stage by stage.
    pub why: Vec<String>,
}

/// What one limit would say.
#[derive(Debug, Serialize)]
pub struct LimitExplanation {
    /// The limit.
    pub limit: String,
    /// `live`, or `candidate` for values that are tried beside those in force.
    pub values: &'static str,
    /// Whether a refusal would refuse the request.
    pub enforced: bool,
    /// Whether the request would pass, be it later.
    pub admitted: bool,
    /// Seconds that it would wait.
    pub wait_seconds: f64,
    /// Requests that could follow at once.
    pub remaining: u64,
    /// Seconds until a refused request could pass; none if no time helps.
    pub retry_after_seconds: Option<f64>,
}

/// Why a request is on its track.
#[derive(Debug, Serialize)]
pub struct ShiftExplanation {
    /// The shift.
    pub shift: String,
    /// The track that the traffic moves to.
    pub to: &'static str,
    /// How much of it is there, such as `10%`.
    pub share: String,
    /// What chose the track: `tester`, `tenant` or `request`.
    pub by: &'static str,
    /// The tenant's place among all, in percent: it is on the new track when the share is above that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<f64>,
}

/// One endpoint of the group.
#[derive(Debug, Serialize)]
pub struct EndpointExplanation {
    /// The address.
    pub address: String,
    /// Whether it can be picked.
    pub available: bool,
    /// Failures counted against it.
    pub fails: u32,
    /// The weight it has at the moment.
    pub effective_weight: i64,
}

/// Why a request would be refused.
#[derive(Debug, Serialize)]
pub struct RejectExplanation {
    /// The status.
    pub status: u16,
    /// The stable code.
    pub code: &'static str,
}

/// Explains a request on this thread.
pub(crate) fn explain(worker: &Worker, question: &Question) -> Explanation {
    let snapshot = worker.snapshot();
    let mut out = Explanation { generation: snapshot.generation, ..Explanation::default() };
    let is_secure = snapshot.listener(question.listener).is_some_and(|plan| plan.document.tls.is_some());
    let checked = target::check(&question.method, &question.uri, Version::HTTP_11, &question.headers, is_secure);
    let target = match checked {
        Ok(target) => target,
        Err((reject, why)) => {
            refused(&mut out, reject, why);
            return out;
        }
    };
    out.path = Some(target.path.to_string());
    out.host = Some(target.host.to_string());
    let trusted: Vec<ipnet::IpNet> =
        snapshot.listener(question.listener).map(|l| l.document.trusted_proxies.clone()).unwrap_or_default();
    let facts = Facts {
        listener: question.listener,
        peer: question.client,
        peer_network: snapshot.keys.network(question.client.to_canonical()),
        trusted_proxies: &trusted,
        method: &question.method,
        headers: &question.headers,
        target: &target,
        certificate: None,
    };
    decided(worker, &snapshot, &facts, &mut out);
    out
}

fn decided(worker: &Worker, snapshot: &Snapshot, facts: &Facts<'_>, out: &mut Explanation) {
    let now = clock::now();
    let view = Peek(&worker.shared.limits);
    let mut admission = Admission::default();
    let dice = || worker.random();
    match decide::decide(snapshot, facts, &view, dice, now, &mut admission) {
        Err(refusal) => {
            if let Some(route) = refusal.route {
                describe_route(route, out);
            }
            limits(&admission, out);
            refused(out, refusal.reject, refusal.why);
        }
        Ok(decision) => {
            describe_route(decision.route, out);
            if let Some(placed) = &decision.placed {
                out.why.push(format!("the tenant is {}", placed.tenant));
                out.tenant = Some(placed.tenant.to_string());
                if let Some(place) = placed.cell {
                    describe_place(snapshot, place, out);
                }
            }
            limits(&admission, out);
            match &decision.destination {
                Destination::Own { .. } => {
                    out.outcome = match decision.route.action {
                        ActionPlan::Respond { .. } => "respond",
                        ActionPlan::Redirect | ActionPlan::Forward(_) => "redirect",
                    };
                }
                Destination::Endpoint { group, on, .. } => {
                    let fallback = on.as_ref().and_then(|on| describe_track(worker, on, now.seconds(), out));
                    describe_group(worker, fallback.unwrap_or(group), now.seconds(), out);
                }
            }
        }
    }
}

/// A limit table that counts nothing.
pub(crate) struct Peek<'a>(&'a LimitTable);

impl Limiter for Peek<'_> {
    fn expect(&self, _key: KeyHash) {}

    fn pass<'a>(
        &self,
        _asks: &(impl Iterator<Item = (KeyHash, &'a Prepared, u32)> + Clone),
        _now: u64,
        _said: impl FnMut(usize, Left),
    ) -> bool {
        false
    }

    fn check(&self, asks: &mut [Notice<'_>], now: u64) -> bool {
        self.0.peek(asks, now)
    }
}

fn refused(out: &mut Explanation, reject: crate::http::reject::Reject, why: &str) {
    out.outcome = "reject";
    out.reject = Some(RejectExplanation { status: reject.status().as_u16(), code: reject.code() });
    out.why.push(why.to_owned());
}

fn describe_route(route: &RoutePlan, out: &mut Explanation) {
    out.why.push(format!("the most specific route that matches is {}", route.document.name));
    out.route = Some(route.document.name.to_string());
    if let gridrouter_config::model::Action::Forward(forward) = &route.document.action {
        out.service = Some(forward.service.to_string());
        out.grid = forward.grid.as_ref().map(ToString::to_string);
        if forward.grid.is_none() {
            out.why.push("the route has no grid: it goes direct to the service's endpoints".to_owned());
        }
    }
}

fn describe_place(snapshot: &Snapshot, place: decide::Place, out: &mut Explanation) {
    let cell = snapshot.cell(place.cell).map(|cell| cell.name.to_string()).unwrap_or_default();
    out.why.push(if place.pinned {
        format!("a pin places the tenant in cell {cell}")
    } else {
        format!("bucket {} of {} is assigned to cell {cell}", place.bucket, placement::BUCKETS)
    });
    out.bucket = Some(place.bucket);
    out.by = Some(if place.pinned { "pin" } else { "assignment" });
    out.cell = Some(cell);
}

fn limits(admission: &Admission<'_>, out: &mut Explanation) {
    for notice in &admission.notices {
        let verdict = notice.verdict();
        out.limits.push(LimitExplanation {
            limit: notice.limit.document.name.to_string(),
            values: if notice.is_candidate { "candidate" } else { "live" },
            enforced: notice.ask.enforced,
            admitted: verdict.admits(),
            wait_seconds: match verdict.outcome {
                Outcome::Wait(nanos) => seconds(nanos),
                Outcome::Pass | Outcome::Refuse => 0.0,
            },
            remaining: verdict.remaining,
            retry_after_seconds: (verdict.retry_after_nanos != NEVER).then(|| seconds(verdict.retry_after_nanos)),
        });
    }
    if admission.wait_nanos > 0 {
        out.why.push(format!("limits make it wait for {:?}", Duration::from_nanos(admission.wait_nanos)));
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

/// Returns the endpoints of the other track, where the request would go there for want of any on its own.
fn describe_track<'a>(
    worker: &Worker,
    on: &OnTrack<'a>,
    now_secs: u64,
    out: &mut Explanation,
) -> Option<&'a Arc<EndpointGroup>> {
    let split = on.split;
    let (shift, share, track) = (&split.document.name, split.share, on.track.as_str());
    let to = split.to.track.as_str();
    let percent = |rank: u64| (rank as f64 / 2_f64.powi(64) * 1e6).floor() / 1e4;
    let (by, rank, why) = match on.why() {
        Why::Tester => ("tester", None, format!("shift {shift} moves testers to {track} first")),
        Why::Tenant(rank) => {
            let rank = percent(rank);
            let why = format!("shift {shift} has {share} of the tenants on {to}; this one's rank is {rank}%: {track}");
            ("tenant", Some(rank), why)
        }
        Why::Request => (
            "request",
            None,
            format!("shift {shift} sends {share} of the requests to {to}, by chance; this one to {track}"),
        ),
    };
    out.why.push(why);
    out.shift = Some(ShiftExplanation { shift: shift.to_string(), to, share: share.to_string(), by, rank });
    if !split.falls_back() || worker.balancers.peek(on.group(), now_secs).is_some() {
        return None;
    }
    let other = &split.side(on.track.other()).group;
    worker.balancers.peek(other, now_secs)?;
    out.why.push(format!("no endpoint of {} can be picked: it falls back to the other track", on.group().label));
    Some(other)
}

fn describe_group(worker: &Worker, group: &Arc<EndpointGroup>, now_secs: u64, out: &mut Explanation) {
    out.outcome = "forward";
    out.track = Some(group.track.as_str());
    let next = worker.balancers.peek(group, now_secs);
    for (index, endpoint) in group.endpoints.iter().enumerate() {
        let Some(view) = worker.balancers.view(group, index, now_secs) else { continue };
        out.endpoints.push(EndpointExplanation {
            address: endpoint.address.to_string(),
            available: view.available,
            fails: view.fails,
            effective_weight: view.effective_weight,
        });
    }
    let next = next.and_then(|index| group.endpoints.get(index));
    out.endpoint = next.map(|endpoint| endpoint.address.to_string());
    out.why.push(match next {
        Some(endpoint) => {
            format!(
                "smooth weighted round robin over {} is at {} on thread {}",
                group.label, endpoint.address, worker.index
            )
        }
        None => format!("no endpoint of {} can be picked", group.label),
    });
}
