//! Which limits a request meets, what each counts it under, and what they say together. Pure, as all of deciding.
//!
//! A request meets the limits of its listener, of its route and the service behind it, and of its tenant's plan and the
//! tenant itself; one that is named twice is asked once. It takes from all of them or from none. A request that gets no
//! further than the listener, because no route matches or it names no tenant, meets the listener's only.

use std::net::IpAddr;
use std::sync::Arc;

use gridrouter_config::model::{HeadersWhen, LimitKeyPart, LimitMode};
use smallvec::SmallVec;

use super::decide::{Facts, Place, Tenant};
use crate::clock::Nanos;
use crate::http::fields::Fields;
use crate::http::forwarded;
use crate::limit::key::{KeyHash, KeyHasher};
use crate::limit::table::{Ask, LimitTable, Verdicts};
use crate::limit::{NEVER, Outcome, Verdict, headers};
use crate::snapshot::{ActionPlan, LimitPlan, QuotaPlan, RoutePlan, Snapshot};
use crate::tenant;

/// What stands for a value that is there several times and not the same: all such requests count as one, so that nobody
/// gets another count by adding a second value.
const AMBIGUOUS: &[u8] = b"\xff";

/// Where limits are counted; what explains a request counts nothing.
pub trait Limiter {
    /// Begins the key of a limit.
    fn key(&self, limit: u32) -> KeyHasher;
    /// Asks about one request: see [`LimitTable::check`].
    fn check(&self, asks: &[Ask<'_>], now: u64, verdicts: &mut Verdicts) -> bool;
}

impl Limiter for LimitTable {
    fn key(&self, limit: u32) -> KeyHasher {
        LimitTable::key(self, limit)
    }

    fn check(&self, asks: &[Ask<'_>], now: u64, verdicts: &mut Verdicts) -> bool {
        LimitTable::check(self, asks, now, verdicts)
    }
}

/// What one limit said of a request.
#[derive(Debug)]
pub struct Notice<'a> {
    /// The limit.
    pub limit: &'a Arc<LimitPlan>,
    /// What it admits: its own values, those of the tenant's plan, the tenant's, or a candidate's.
    pub quota: &'a Arc<QuotaPlan>,
    /// What the request was counted under.
    pub key: KeyHash,
    /// Whether these are values that are tried beside those in force.
    pub is_candidate: bool,
    /// What it said.
    pub verdict: Verdict,
}

impl Notice<'_> {
    /// Whether a refusal refuses the request.
    pub fn is_enforced(&self) -> bool {
        !self.is_candidate && self.limit.mode == LimitMode::Enforce
    }

    /// The stable number that it is counted under.
    pub fn id(&self) -> u32 {
        if self.is_candidate {
            self.limit.candidate.as_ref().map_or(self.limit.id, |own| own.id)
        } else {
            self.limit.id
        }
    }

    /// Whether the client is told.
    fn is_told(&self) -> bool {
        self.is_enforced()
            && match self.limit.headers {
                HeadersWhen::Always => true,
                HeadersWhen::Refused => !self.verdict.admits(),
                HeadersWhen::Never => false,
            }
    }
}

/// What all limits said of a request.
#[derive(Debug, Default)]
pub struct Admission<'a> {
    /// What each said.
    pub notices: SmallVec<[Notice<'a>; 2]>,
    /// Limits of bandwidth, which look at the answer, and what they count it under.
    pub paced: SmallVec<[(&'a Arc<QuotaPlan>, KeyHash); 1]>,
    /// Whether the request is refused: nothing was taken of any limit then.
    pub refused: bool,
    /// How long it has to wait until it may be sent on, in nanoseconds.
    pub wait_nanos: u64,
}

impl Admission<'_> {
    /// How long a refused request should wait: the longest of what those that refuse it say. None if no time helps.
    pub fn retry_after_nanos(&self) -> u64 {
        let refusing = self.notices.iter().filter(|notice| notice.is_enforced() && !notice.verdict.admits());
        refusing.map(|notice| notice.verdict.retry_after_nanos).max().unwrap_or(NEVER)
    }

    /// The limit that refuses a request.
    pub fn refusing(&self) -> Option<&LimitPlan> {
        let mut refusing = self.notices.iter().filter(|notice| notice.is_enforced() && !notice.verdict.admits());
        refusing.next().map(|notice| &**notice.limit)
    }

    /// What was taken of a request that was not refused.
    pub fn taken(&self) -> impl Iterator<Item = &Notice<'_>> {
        self.notices.iter().filter(|notice| !self.refused && notice.verdict.admits())
    }

    /// Tells the client.
    pub fn tell(&self, to: &mut Fields) {
        let told = || self.notices.iter().filter(|notice| notice.is_told());
        if told().next().is_none() {
            return;
        }
        let mut list = List::new();
        told().filter_map(|notice| notice.quota.policy.as_ref()).for_each(|policy| list.push(policy.as_bytes()));
        to.append(headers::RATE_LIMIT_POLICY, &list.0);
        list.0.clear();
        for notice in told() {
            if let Some(label) = &notice.limit.label {
                list.push(headers::remaining(label, &notice.verdict).as_ref());
            }
        }
        to.append(headers::RATE_LIMIT, &list.0);
        // The old fields have room for one limit: the one that is nearest to refusing.
        let nearest =
            told().filter(|n| n.limit.legacy_headers).min_by_key(|n| (n.verdict.admits(), n.verdict.remaining));
        if let Some(notice) = nearest {
            for (name, value) in headers::legacy(notice.quota.prepared.policy().quota, &notice.verdict) {
                to.append(name, value);
            }
        }
    }
}

/// The items of a list field (RFC 9651 §3.1), joined.
struct List(SmallVec<[u8; 256]>);

impl List {
    fn new() -> Self {
        Self(SmallVec::new())
    }

    fn push(&mut self, item: &[u8]) {
        if !self.0.is_empty() {
            self.0.extend_from_slice(b", ");
        }
        self.0.extend_from_slice(item);
    }
}

/// Whose request it is, as limits see it: `'a` is the snapshot's life, `'r` the request's.
pub(super) struct Who<'a, 'f, 'r> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) facts: &'f Facts<'r>,
    /// What is known of a request that has a route.
    pub(super) on: Option<OnRoute<'a, 'f, 'r>>,
}

/// What is known of a request that has a route and, if the route wants one, a tenant.
pub(super) struct OnRoute<'a, 'f, 'r> {
    pub(super) route: &'a Arc<RoutePlan>,
    pub(super) tenant: Option<&'f Tenant<'a, 'r>>,
    pub(super) place: Option<Place>,
}

type Asks<'a> = SmallVec<[Ask<'a>; 2]>;

/// Asks every limit.
#[inline]
pub(super) fn admit<'a>(who: &Who<'a, '_, '_>, table: &impl Limiter, now: Nanos) -> Admission<'a> {
    let mut admission = Admission::default();
    let mut asks = Asks::new();
    let listener = who.snapshot.listener(who.facts.listener).map_or(&[][..], |listener| &listener.limits);
    for limit in listener {
        who.gather(limit, table, &mut admission, &mut asks);
    }
    if let Some(on) = &who.on {
        for limit in
            on.route.limits.iter().chain(on.tenant.and_then(|tenant| tenant.plan).map_or(&[][..], |p| p.extra()))
        {
            // Those of the route itself are each there once.
            who.gather(limit, table, &mut admission, &mut asks);
        }
    }
    if asks.is_empty() {
        return admission;
    }
    let mut verdicts = Verdicts::new();
    admission.refused = !table.check(&asks, now.0, &mut verdicts);
    for (notice, verdict) in admission.notices.iter_mut().zip(verdicts) {
        notice.verdict = verdict;
        if let Outcome::Wait(nanos) = verdict.outcome
            && notice.is_enforced()
        {
            admission.wait_nanos = admission.wait_nanos.max(nanos);
        }
    }
    admission
}

/// What stands in a notice until the limit was asked.
const UNASKED: Verdict = Verdict { outcome: Outcome::Pass, remaining: 0, retry_after_nanos: 0, reset_nanos: 0 };

impl<'a> Who<'a, '_, '_> {
    /// Adds a limit to those that are asked, unless it is among them.
    #[inline]
    fn gather(&self, limit: &'a Arc<LimitPlan>, table: &impl Limiter, to: &mut Admission<'a>, asks: &mut Asks<'a>) {
        if to.notices.iter().any(|notice| notice.limit.id == limit.id) {
            return;
        }
        let tenant = self.on.as_ref().and_then(|on| on.tenant).and_then(|tenant| tenant.plan);
        let own = tenant.and_then(|tenant| tenant.quota(limit.id));
        let quota = own.unwrap_or(&limit.quota);
        let key = self.key(limit, limit.id, table);
        if limit.is_bandwidth {
            if limit.mode == LimitMode::Enforce && !to.paced.iter().any(|(_, known)| *known == key) {
                to.paced.push((quota, key));
            }
            return;
        }
        let enforced = limit.mode == LimitMode::Enforce;
        asks.push(Ask { key, limit: &quota.prepared, cost: limit.cost, enforced });
        to.notices.push(Notice { limit, quota, key, is_candidate: false, verdict: UNASKED });
        // A tenant with values of its own would keep them, whatever becomes of the candidate.
        if let (Some(candidate), None) = (&limit.candidate, own) {
            let (quota, key) = (&candidate.quota, self.key(limit, candidate.id, table));
            asks.push(Ask { key, limit: &quota.prepared, cost: limit.cost, enforced: false });
            to.notices.push(Notice { limit, quota, key, is_candidate: true, verdict: UNASKED });
        }
    }

    #[inline]
    fn key(&self, limit: &LimitPlan, id: u32, table: &impl Limiter) -> KeyHash {
        let mut key = table.key(id);
        for part in &limit.document.key {
            self.add_part(part, &mut key);
        }
        key.finish()
    }

    /// Adds what the request has of a part; nothing of what it lacks.
    #[inline]
    fn add_part(&self, part: &LimitKeyPart, key: &mut KeyHasher) {
        let on = self.on.as_ref();
        match part {
            LimitKeyPart::Tenant => key.add(on.and_then(|on| on.tenant).map_or(b"", |tenant| tenant.id.as_bytes())),
            LimitKeyPart::Route => key.add(&on.map_or(u32::MAX, |on| on.route.id).to_le_bytes()),
            LimitKeyPart::Service => match on.map(|on| &on.route.action) {
                Some(ActionPlan::Forward(plan)) => key.add(plan.service.as_str().as_bytes()),
                Some(ActionPlan::Redirect | ActionPlan::Respond { .. }) | None => key.add(b""),
            },
            LimitKeyPart::Cell => match on.and_then(|on| on.place).and_then(|place| self.snapshot.cell(place.cell)) {
                Some(cell) => key.add(cell.name.as_str().as_bytes()),
                None => key.add(b""),
            },
            LimitKeyPart::ClientIp => key.add(&self.client_network()),
            LimitKeyPart::Header(name) => {
                let mut lines = self.facts.headers.get_all(name.as_str());
                let first = lines.next().unwrap_or_default();
                key.add(if lines.all(|line| line == first) { first } else { AMBIGUOUS });
            }
            LimitKeyPart::Cookie(name) => add_value(key, tenant::cookie(self.facts.headers, name)),
            LimitKeyPart::Query(name) => {
                add_value(key, self.facts.target.query.and_then(|query| tenant::parameter(query, name)));
            }
            LimitKeyPart::Constant(text) => key.add(text.as_bytes()),
        }
    }

    /// The client's address; of an IPv6 address the /64, which is what one customer has.
    fn client_network(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        let facts = self.facts;
        match forwarded::client_address(facts.headers, facts.peer, facts.trusted_proxies) {
            IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => bytes.copy_from_slice(&ip.octets()[..8]),
        }
        bytes
    }
}

fn add_value(key: &mut KeyHasher, value: Option<tenant::Value<'_>>) {
    match value {
        Some(Ok(value)) => key.add(value.as_bytes()),
        Some(Err(tenant::Refused)) => key.add(AMBIGUOUS),
        None => key.add(b""),
    }
}
