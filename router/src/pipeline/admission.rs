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
use crate::http::forwarded;
use crate::limit::key::{KeyHash, KeyPart, Number};
use crate::limit::table::{Ask, Asking, LimitTable};
use crate::limit::{NEVER, Outcome, Verdict};
use crate::snapshot::{
    ActionPlan, CandidatePlan, KeyPlan, LimitPlan, LimitPlans, QuotaPlan, RoutePlan, Snapshot, TenantPlan,
};
use crate::tenant;

/// What stands for a value that is there several times and not the same: all such requests count as one, so that nobody
/// gets another count by adding a second value.
const AMBIGUOUS: &[u8] = b"\xff";

/// Where limits are counted; what explains a request counts nothing.
pub trait Limiter {
    /// Says that a key is asked about soon: see [`LimitTable::expect`].
    fn expect(&self, key: KeyHash);
    /// Asks about one request: see [`LimitTable::check`].
    fn check(&self, asks: &mut [Notice<'_>], now: u64) -> bool;
}

impl Limiter for LimitTable {
    fn expect(&self, key: KeyHash) {
        LimitTable::expect(self, key);
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
        self.limit.number(self.is_candidate)
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
    /// The limit.
    pub limit: &'a Arc<LimitPlan>,
    /// What it admits: its own values, those of the tenant's plan, the tenant's, or a candidate's.
    pub quota: &'a Arc<QuotaPlan>,
    /// Whether these are values that are tried beside those in force.
    pub is_candidate: bool,
    /// What the answer is counted under.
    pub key: KeyHash,
    /// Whether it slows the answer down.
    pub enforced: bool,
}

impl Paced<'_> {
    /// The stable number that it is counted under.
    pub fn id(&self) -> u32 {
        self.limit.number(self.is_candidate)
    }
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
    /// What keys have of the tenant, once one was made.
    tenant: Option<KeyPart>,
    /// Keys that the cell is part of.
    by_cell: u32,
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
            || self.paced.iter().any(|paced| paced.limit.id == limit.id)
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
}

/// What is known of a request that has a route and, if the route wants one, a tenant.
pub(super) struct OnRoute<'a, 'f, 'r> {
    pub(super) route: &'a Arc<RoutePlan>,
    pub(super) tenant: Option<&'f Tenant<'a, 'r>>,
    pub(super) place: Option<Place>,
}

/// Adds the limits of a request's route to those that are asked, as soon as its tenant is known: what was counted of it is
/// mostly in no cache, and comes while the request is placed. `admission` is a new one.
#[inline]
pub(super) fn expect<'a>(who: &Who<'a, '_, '_>, table: &impl Limiter, admission: &mut Admission<'a>) {
    if let Some(on) = &who.on {
        who.gather(&on.route.limits.plans, table, admission);
    }
}

/// Asks every limit, after what was [expected](expect).
#[inline]
pub(super) fn admit<'a>(who: &Who<'a, '_, '_>, table: &impl Limiter, now: Nanos, admission: &mut Admission<'a>) {
    let tenant = who.on.as_ref().and_then(|on| on.tenant?.plan).filter(TenantPlan::has_limits);
    let listener = who.snapshot.listener(who.facts.listener).map_or(&[][..], |listener| &listener.limits.plans);
    if let (Some(on), None, []) = (&who.on, tenant, listener) {
        admission.all_of_route = Some(&*on.route.limits).filter(|limits| limits.always_told);
    } else {
        who.gather_others(listener, tenant, table, admission);
    }
    if admission.by_cell > 0 {
        who.place(admission);
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
    /// Adds those limits that are not among those that are asked yet, with their own values. None of them is there twice.
    fn gather(&self, limits: &'a [Arc<LimitPlan>], table: &impl Limiter, to: &mut Admission<'a>) {
        let are_first = to.notices.is_empty() && to.paced.is_empty();
        for limit in limits {
            if !are_first && to.knows(limit) {
                continue;
            }
            let key = self.key(limit, limit.begin, &mut to.tenant);
            to.by_cell += u32::from(limit.key.cell);
            if limit.is_bandwidth {
                self.gather_paced(limit, key, to);
                continue;
            }
            table.expect(key);
            to.owes |= limit.owes;
            let ask = Ask::new(key, &limit.quota.prepared, limit.cost, limit.mode == LimitMode::Enforce);
            to.notices.push(Notice { limit, quota: &limit.quota, is_candidate: false, ask });
            if let Some(candidate) = &limit.candidate {
                self.gather_candidate(limit, candidate, table, to);
            }
        }
    }

    /// Adds the values that are tried beside those of a limit.
    #[cold]
    fn gather_candidate(
        &self,
        limit: &'a Arc<LimitPlan>,
        CandidatePlan { begin, quota, .. }: &'a CandidatePlan,
        table: &impl Limiter,
        to: &mut Admission<'a>,
    ) {
        let ask = Ask::new(self.key(limit, *begin, &mut to.tenant), &quota.prepared, limit.cost, false);
        table.expect(ask.key);
        to.notices.push(Notice { limit, quota, is_candidate: true, ask });
    }

    /// Adds a limit of bandwidth to those that look at the answer.
    #[cold]
    fn gather_paced(&self, limit: &'a Arc<LimitPlan>, key: KeyHash, to: &mut Admission<'a>) {
        let enforced = limit.mode == LimitMode::Enforce;
        to.paced.push(Paced { limit, quota: &limit.quota, is_candidate: false, key, enforced });
        if let Some(candidate) = &limit.candidate {
            let key = self.key(limit, candidate.begin, &mut to.tenant);
            to.paced.push(Paced { limit, quota: &candidate.quota, is_candidate: true, key, enforced: false });
        }
    }

    /// Adds the limits that are not the route's, and what a tenant has for values of its own.
    #[inline(never)]
    fn gather_others(
        &self,
        listener: &'a [Arc<LimitPlan>],
        tenant: Option<TenantPlan<'a>>,
        table: &impl Limiter,
        to: &mut Admission<'a>,
    ) {
        let of_route = (to.notices.len(), to.paced.len());
        self.gather(listener, table, to);
        // The listener's come first.
        to.notices.rotate_left(of_route.0);
        to.paced.rotate_left(of_route.1);
        let Some(tenant) = tenant else { return };
        self.gather(tenant.extra(), table, to);
        // With values of its own it would keep them, whatever becomes of a candidate.
        to.notices.retain(|notice| {
            let Some(own) = tenant.quota(notice.limit.id) else { return true };
            (notice.quota, notice.ask.limit) = (own, &own.prepared);
            !notice.is_candidate
        });
        to.paced.retain(|paced| {
            let Some(own) = tenant.quota(paced.limit.id) else { return true };
            paced.quota = own;
            !paced.is_candidate
        });
    }

    /// Makes the keys again that the cell is part of, which is known now.
    #[cold]
    fn place(&self, to: &mut Admission<'a>) {
        let Admission { notices, paced, tenant, .. } = to;
        for notice in notices.iter_mut().filter(|notice| notice.limit.key.cell) {
            notice.ask.key = self.key(notice.limit, notice.limit.begin(notice.is_candidate), tenant);
        }
        for paced in paced.iter_mut().filter(|paced| paced.limit.key.cell) {
            paced.key = self.key(paced.limit, paced.limit.begin(paced.is_candidate), tenant);
        }
    }

    /// What a request is counted under. `tenant` is what keys have of the tenant, once one was made.
    #[inline]
    fn key(&self, limit: &LimitPlan, begin: KeyHash, tenant: &mut Option<KeyPart>) -> KeyHash {
        let mut key = begin;
        if limit.key.tenant {
            key = key.plus(*tenant.get_or_insert_with(|| self.tenant()));
        }
        if limit.key.route {
            key = key.plus(self.route());
        }
        if limit.key.client_ip {
            key = key.plus(self.client_network());
        }
        if limit.key.others {
            key = self.with_others(key, limit);
        }
        key
    }

    #[inline(never)]
    fn with_others(&self, key: KeyHash, limit: &LimitPlan) -> KeyHash {
        let others = limit.document.key.iter().filter(|part| KeyPlan::is_other(part));
        others.fold(key, |key, part| self.snapshot.keys.follow(key, self.part(part)))
    }

    #[inline(never)]
    fn tenant(&self) -> KeyPart {
        let tenant = self.on.as_ref().and_then(|on| on.tenant);
        self.snapshot.keys.part(tenant.map_or(&b""[..], |tenant| tenant.id.as_bytes()))
    }

    #[inline]
    fn route(&self) -> KeyPart {
        let (kind, number) = self.on.as_ref().map_or((Number::NoRoute, 0), |on| (Number::Route, on.route.id.into()));
        self.snapshot.keys.number(kind, number)
    }

    /// What the request has of a part; that of no bytes for what it lacks.
    fn part(&self, part: &LimitKeyPart) -> KeyPart {
        let (on, seed) = (self.on.as_ref(), &self.snapshot.keys);
        match part {
            LimitKeyPart::Tenant => self.tenant(),
            LimitKeyPart::Route => self.route(),
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
    #[inline(never)]
    fn client_network(&self) -> KeyPart {
        let (facts, seed) = (self.facts, &self.snapshot.keys);
        match forwarded::client_address(facts.headers, facts.peer, facts.trusted_proxies) {
            IpAddr::V4(ip) => seed.number(Number::Ipv4, ip.to_bits().into()),
            IpAddr::V6(ip) => seed.number(Number::Ipv6, (ip.to_bits() >> 64) as u64),
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
