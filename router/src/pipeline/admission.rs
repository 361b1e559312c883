//! Which limits a request meets, what each counts it under, and what they say together. Pure, as all of deciding.
//!
//! A request meets the limits of its listener, of its route and the service behind it, and of its tenant's plan and the
//! tenant itself; one that is named twice is asked once. It takes from all of them or from none. A request that gets no
//! further than the listener, because no route matches or it names no tenant, meets the listener's only.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use gridrouter_config::model::{HeadersWhen, LimitKeyPart, LimitMode};
use smallvec::SmallVec;

use super::decide::{Facts, Place, Tenant};
use crate::clock::Nanos;
use crate::http::forwarded;
use crate::limit::key::{KeyHash, KeyPart, KeySeed};
use crate::limit::table::{Ask, Asking, LimitTable};
use crate::limit::{NEVER, Outcome, Verdict};
use crate::snapshot::{ActionPlan, LimitPlan, LimitPlans, QuotaPlan, RoutePlan, Snapshot};
use crate::tenant;

/// What stands for a value that is there several times and not the same: all such requests count as one, so that nobody
/// gets another count by adding a second value.
const AMBIGUOUS: &[u8] = b"\xff";

/// Where limits are counted; what explains a request counts nothing.
pub trait Limiter {
    /// What keys are made with.
    fn seed(&self) -> &KeySeed;
    /// Asks about one request: see [`LimitTable::check`].
    fn check(&self, asks: &mut [Notice<'_>], now: u64) -> bool;
}

impl Limiter for LimitTable {
    fn seed(&self) -> &KeySeed {
        LimitTable::seed(self)
    }

    fn check(&self, asks: &mut [Notice<'_>], now: u64) -> bool {
        LimitTable::check(self, asks, now)
    }
}

/// What one limit said of a request.
#[derive(Debug)]
pub struct Notice<'a> {
    /// The limit.
    pub limit: &'a Arc<LimitPlan>,
    /// What it admits: its own values, those of the tenant's plan, the tenant's, or a candidate's.
    pub quota: &'a Arc<QuotaPlan>,
    /// Whether these are values that are tried beside those in force.
    pub is_candidate: bool,
    /// What it was asked, and said.
    pub ask: Ask<'a>,
}

impl<'a> Asking<'a> for Notice<'a> {
    fn ask(&mut self) -> &mut Ask<'a> {
        &mut self.ask
    }
}

impl Notice<'_> {
    /// What it said.
    pub fn verdict(&self) -> &Verdict {
        &self.ask.verdict
    }

    /// Whether it refuses the request.
    pub(super) fn refuses(&self) -> bool {
        self.ask.enforced && !self.ask.verdict.admits()
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
    pub(super) fn is_told(&self) -> bool {
        self.ask.enforced
            && match self.limit.headers {
                HeadersWhen::Always => true,
                HeadersWhen::Refused => !self.ask.verdict.admits(),
                HeadersWhen::Never => false,
            }
    }
}

/// A limit of bandwidth that an answer meets.
#[derive(Debug)]
pub struct Paced<'a> {
    /// What it admits.
    pub quota: &'a Arc<QuotaPlan>,
    /// What the answer is counted under.
    pub key: KeyHash,
    /// The stable number that it is counted under.
    pub limit: u32,
    /// Whether it slows the answer down.
    pub enforced: bool,
}

/// What all limits said of a request.
#[derive(Debug, Default)]
pub struct Admission<'a> {
    /// What each said.
    pub notices: SmallVec<[Notice<'a>; 4]>,
    /// Limits of bandwidth, which look at the answer.
    pub paced: SmallVec<[Paced<'a>; 1]>,
    /// Whether the request is refused: nothing was taken of any limit then.
    pub refused: bool,
    /// How long it has to wait until it may be sent on, in nanoseconds.
    pub wait_nanos: u64,
    /// Whether something of it has to be seen to after it was admitted: a permit given back, a cost charged.
    pub owes: bool,
    /// Whether the client is told of a limit.
    pub(super) tells: bool,
    /// The route's limits, where they are all that was asked, with the route's values, and clients are always told of each.
    pub(super) all_of_route: Option<&'a LimitPlans>,
}

impl Admission<'_> {
    /// How long a refused request should wait: the longest of what those that refuse it say. None if no time helps.
    pub fn retry_after_nanos(&self) -> u64 {
        let refusing = self.notices.iter().filter(|notice| notice.refuses());
        refusing.map(|notice| notice.ask.verdict.retry_after_nanos).max().unwrap_or(NEVER)
    }

    /// Whether a limit is among those that are asked.
    fn knows(&self, limit: &LimitPlan) -> bool {
        self.notices.iter().any(|notice| notice.limit.id == limit.id)
            || self.paced.iter().any(|paced| paced.limit == limit.id)
    }

    /// The limit that refuses a request.
    pub fn refusing(&self) -> Option<&LimitPlan> {
        self.notices.iter().find(|notice| notice.refuses()).map(|notice| &**notice.limit)
    }

    /// What was taken of a request that was not refused.
    pub fn taken(&self) -> impl Iterator<Item = &Notice<'_>> {
        self.notices.iter().filter(|notice| !self.refused && notice.ask.verdict.admits())
    }
}

/// Whose request it is, as limits see it: `'a` is the snapshot's life, `'r` the request's.
pub(super) struct Who<'a, 'f, 'r> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) facts: &'f Facts<'r>,
    /// What is known of a request that has a route.
    pub(super) on: Option<OnRoute<'a, 'f, 'r>>,
    /// What keys have of the tenant, once one was made.
    pub(super) tenant: Cell<Option<KeyPart>>,
}

/// What is known of a request that has a route and, if the route wants one, a tenant.
pub(super) struct OnRoute<'a, 'f, 'r> {
    pub(super) route: &'a Arc<RoutePlan>,
    pub(super) tenant: Option<&'f Tenant<'a, 'r>>,
    pub(super) place: Option<Place>,
}

/// Asks every limit. `admission` is a new one.
#[inline]
pub(super) fn admit<'a>(who: &Who<'a, '_, '_>, table: &impl Limiter, now: Nanos, admission: &mut Admission<'a>) {
    let listener = who.snapshot.listener(who.facts.listener).map_or(&[][..], |listener| &listener.limits.plans);
    for limit in listener {
        who.gather(limit, table, admission);
    }
    if let Some(on) = &who.on {
        for limit in &*on.route.limits.plans {
            // None of them is there twice.
            if listener.is_empty() || !admission.knows(limit) {
                who.gather(limit, table, admission);
            }
        }
        let tenant = on.tenant.and_then(|tenant| tenant.plan);
        for limit in tenant.map_or(&[][..], |plan| plan.extra()) {
            if !admission.knows(limit) {
                who.gather(limit, table, admission);
            }
        }
        // A tenant of its own may have other values, and what others say comes to those of the route.
        if tenant.is_none_or(|tenant| !tenant.has_limits()) && listener.is_empty() {
            admission.all_of_route = Some(&*on.route.limits).filter(|limits| limits.always_told);
        }
    }
    if admission.notices.is_empty() {
        return;
    }
    admission.refused = !table.check(&mut admission.notices, now.0);
    for notice in &admission.notices {
        admission.tells |= admission.all_of_route.is_none() && notice.is_told();
        if let Outcome::Wait(nanos) = notice.ask.verdict.outcome
            && notice.ask.enforced
        {
            admission.wait_nanos = admission.wait_nanos.max(nanos);
        }
    }
}

impl<'a> Who<'a, '_, '_> {
    /// Adds a limit to those that are asked.
    #[inline]
    fn gather(&self, limit: &'a Arc<LimitPlan>, table: &impl Limiter, to: &mut Admission<'a>) {
        let tenant = self.on.as_ref().and_then(|on| on.tenant).and_then(|tenant| tenant.plan);
        let own = tenant.and_then(|tenant| tenant.quota(limit.id));
        let quota = own.unwrap_or(&limit.quota);
        let key = self.key(limit, limit.id, table);
        if limit.is_bandwidth {
            return self.gather_paced(limit, own, table, to);
        }
        to.owes |= limit.owes;
        let ask = Ask::new(key, &quota.prepared, limit.cost, limit.mode == LimitMode::Enforce);
        to.notices.push(Notice { limit, quota, is_candidate: false, ask });
        // A tenant with values of its own would keep them, whatever becomes of the candidate.
        if let (Some(candidate), None) = (&limit.candidate, own) {
            let (quota, key) = (&candidate.quota, self.key(limit, candidate.id, table));
            let ask = Ask::new(key, &quota.prepared, limit.cost, false);
            to.notices.push(Notice { limit, quota, is_candidate: true, ask });
        }
    }

    /// Adds a limit of bandwidth to those that look at the answer.
    #[cold]
    fn gather_paced(
        &self,
        limit: &'a LimitPlan,
        own: Option<&'a Arc<QuotaPlan>>,
        table: &impl Limiter,
        to: &mut Admission<'a>,
    ) {
        let enforced = limit.mode == LimitMode::Enforce;
        let paced = |quota, id, enforced| Paced { quota, key: self.key(limit, id, table), limit: id, enforced };
        to.paced.push(paced(own.unwrap_or(&limit.quota), limit.id, enforced));
        if let (Some(candidate), None) = (&limit.candidate, own) {
            to.paced.push(paced(&candidate.quota, candidate.id, false));
        }
    }

    #[inline]
    fn key(&self, limit: &LimitPlan, id: u32, table: &impl Limiter) -> KeyHash {
        let seed = table.seed();
        limit.document.key.iter().fold(seed.key(id), |key, part| key.with(self.part(part, seed))).finish()
    }

    #[inline]
    fn part(&self, part: &LimitKeyPart, seed: &KeySeed) -> KeyPart {
        match (part, self.tenant.get()) {
            (LimitKeyPart::Tenant, Some(known)) => known,
            (LimitKeyPart::Route, _) => KeyPart::of(0, self.on.as_ref().map_or(u64::MAX, |on| on.route.id.into())),
            (_, _) => self.make_part(part, seed),
        }
    }

    /// What the request has of a part; that of no bytes for what it lacks.
    fn make_part(&self, part: &LimitKeyPart, seed: &KeySeed) -> KeyPart {
        let on = self.on.as_ref();
        match part {
            LimitKeyPart::Tenant => {
                let id = on.and_then(|on| on.tenant).map_or(&b""[..], |tenant| tenant.id.as_bytes());
                let part = seed.part(id);
                self.tenant.set(Some(part));
                part
            }
            LimitKeyPart::Route => self.part(part, seed),
            LimitKeyPart::ClientIp => self.client_network(),
            LimitKeyPart::Service => match on.map(|on| &on.route.action) {
                Some(ActionPlan::Forward(plan)) => seed.part(plan.service.as_str().as_bytes()),
                Some(ActionPlan::Redirect | ActionPlan::Respond { .. }) | None => seed.part(b""),
            },
            LimitKeyPart::Cell => match on.and_then(|on| on.place).and_then(|place| self.snapshot.cell(place.cell)) {
                Some(cell) => seed.part(cell.name.as_str().as_bytes()),
                None => seed.part(b""),
            },
            LimitKeyPart::Header(name) => {
                let mut lines = self.facts.headers.get_all(name.as_str());
                let first = lines.next().unwrap_or_default();
                seed.part(if lines.all(|line| line == first) { first } else { AMBIGUOUS })
            }
            LimitKeyPart::Cookie(name) => seed.part(bytes_of(tenant::cookie(self.facts.headers, name).as_ref())),
            LimitKeyPart::Query(name) => {
                let value = self.facts.target.query.and_then(|query| tenant::parameter(query, name));
                seed.part(bytes_of(value.as_ref()))
            }
            LimitKeyPart::Constant(text) => seed.part(text.as_bytes()),
        }
    }

    /// The client's address; of an IPv6 address the /64, which is what one customer has.
    fn client_network(&self) -> KeyPart {
        let facts = self.facts;
        match forwarded::client_address(facts.headers, facts.peer, facts.trusted_proxies) {
            IpAddr::V4(ip) => KeyPart::of(4, u64::from(ip.to_bits())),
            IpAddr::V6(ip) => KeyPart::of(6, (ip.to_bits() >> 64) as u64),
        }
    }
}

fn bytes_of<'v>(value: Option<&'v tenant::Value<'_>>) -> &'v [u8] {
    match value {
        Some(Ok(value)) => value.as_bytes(),
        Some(Err(tenant::Refused)) => AMBIGUOUS,
        None => b"",
    }
}
