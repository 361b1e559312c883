//! Which limits a request meets, what each counts it under, and what they say together. Pure, as all of deciding.
//!
//! A request meets the limits of its listener, of its route and the service behind it, and of its tenant's plan and the
//! tenant itself; one that is named twice is asked once. It takes from all of them or from none. A request that gets no
//! further than the listener, because no route matches or it names no tenant, meets the listener's only.

use std::sync::Arc;

use gridrouter_config::model::{HeadersWhen, LimitKeyPart, LimitMode};
use smallvec::SmallVec;

use super::decide::{Facts, Place, Tenant};
use super::told::Nearest;
use crate::clock::Nanos;
use crate::http::forwarded;
use crate::limit::key::{KeyHash, KeyPart, Number};
use crate::limit::table::{Ask, Asking, FEW, LimitTable};
use crate::limit::{Left, NEVER, Outcome, Prepared, Verdict};
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
    /// Lets a request pass all of some limits at once, or none: see [`LimitTable::pass`].
    fn pass<'a>(
        &self,
        asks: &(impl Iterator<Item = (KeyHash, &'a Prepared, u32)> + Clone),
        now: u64,
        said: impl FnMut(usize, Left),
    ) -> bool;
    /// Asks about one request: see [`LimitTable::check`].
    fn check(&self, asks: &mut [Notice<'_>], now: u64) -> bool;
}

impl Limiter for LimitTable {
    fn expect(&self, key: KeyHash) {
        LimitTable::expect(self, key);
    }

    fn pass<'a>(
        &self,
        asks: &(impl Iterator<Item = (KeyHash, &'a Prepared, u32)> + Clone),
        now: u64,
        said: impl FnMut(usize, Left),
    ) -> bool {
        LimitTable::pass(self, asks, now, said)
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
    /// The route's limits, where all that the request meets are these, and all let it pass at once.
    pub(crate) passed: Option<Passed<'a>>,
    /// What each said, if not all let it pass in that way.
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
    /// What the request is counted under by each of the route's limits, but for those whose keys have the cell in them.
    keys: Keys,
}

/// The first few of a number of keys.
#[derive(Debug, Default)]
struct Keys {
    keys: [KeyHash; FEW],
    known: usize,
}

impl Keys {
    #[inline]
    fn push(&mut self, key: KeyHash) {
        if let Some(slot) = self.keys.get_mut(self.known) {
            *slot = key;
            self.known += 1;
        }
    }

    fn as_slice(&self) -> &[KeyHash] {
        self.keys.get(..self.known).unwrap_or_default()
    }
}

/// Limits that all let a request pass at once.
#[derive(Debug)]
pub(crate) struct Passed<'a> {
    /// The limits.
    pub(crate) limits: &'a LimitPlans,
    /// The tenant, if it has values of its own for some of them.
    pub(super) of_tenant: Option<TenantPlan<'a>>,
    /// What the one said that is the nearest to refusing of those that clients are told of.
    pub(super) nearest: Option<Nearest>,
}

impl<'a> Admission<'a> {
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

    /// Puts the values that a tenant has of its own in place of the limits'.
    fn adopt(&mut self, tenant: TenantPlan<'a>) {
        // With values of its own it would keep them, whatever becomes of a candidate.
        self.notices.retain(|notice| {
            let Some(own) = tenant.quota(notice.limit.id) else { return true };
            (notice.quota, notice.ask.limit) = (own, &own.prepared);
            !notice.is_candidate
        });
        self.paced.retain(|paced| {
            let Some(own) = tenant.quota(paced.limit.id) else { return true };
            paced.quota = own;
            !paced.is_candidate
        });
    }

    /// What a request that [passed](Self::passed) gives back when it is over: how much, and what it was counted under.
    #[inline]
    pub(super) fn permit(&self, passed: &Passed<'_>) -> Option<(u32, KeyHash)> {
        let number = passed.limits.permit?;
        Some((passed.limits.plans.get(number)?.cost, *self.keys.as_slice().get(number)?))
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

/// What keys of limits are mostly made of.
struct Parts {
    tenant: KeyPart,
    route: KeyPart,
    network: KeyPart,
}

/// What is known of a request that has a route and, if the route wants one, a tenant.
pub(super) struct OnRoute<'a, 'f, 'r> {
    pub(super) route: &'a Arc<RoutePlan>,
    pub(super) tenant: Option<&'f Tenant<'a, 'r>>,
    pub(super) place: Option<Place>,
}

/// Finds what the limits of a request's route count it under, as soon as its tenant is known: what was counted is mostly in
/// no cache, and comes while the request is placed. `admission` is a new one.
#[inline]
pub(super) fn expect(who: &Who<'_, '_, '_>, table: &impl Limiter, admission: &mut Admission<'_>) {
    let Some(on) = &who.on else { return };
    let parts = who.parts(on.route.limits.key);
    for limit in &on.route.limits.plans {
        // The cell is not known yet, and such a key is made again.
        let key = if limit.key.cell { limit.begin } else { who.key(limit, limit.begin, &parts) };
        table.expect(key);
        admission.keys.push(key);
    }
}

/// Asks every limit, after what was [expected](expect).
#[inline]
pub(super) fn admit<'a>(who: &Who<'a, '_, '_>, table: &impl Limiter, now: Nanos, admission: &mut Admission<'a>) {
    let of_tenant = who.on.as_ref().and_then(|on| on.tenant?.plan).filter(TenantPlan::has_limits);
    let of_listener = who.snapshot.listener(who.facts.listener).map(|listener| &*listener.limits);
    let of_route = who.on.as_ref().map(|on| &*on.route.limits);
    if let Some(limits) = of_route
        && of_listener.is_none_or(|limits| limits.plans.is_empty())
        && of_tenant.is_none_or(|tenant| tenant.extra().is_empty())
    {
        if limits.plans.is_empty() || (limits.may_pass && pass(limits, of_tenant, table, now, admission)) {
            return;
        }
        admission.all_of_route = Some(limits).filter(|limits| limits.always_told && of_tenant.is_none());
    }
    ask(who, (of_listener, of_route, of_tenant), table, now, admission);
}

/// Lets a request pass all limits of its route at once, if they all do.
#[inline]
fn pass<'a>(
    limits: &'a LimitPlans,
    of_tenant: Option<TenantPlan<'a>>,
    table: &impl Limiter,
    now: Nanos,
    admission: &mut Admission<'a>,
) -> bool {
    let (plans, keys) = (&limits.plans, admission.keys.as_slice());
    if keys.len() != plans.len() {
        return false;
    }
    let quota = |limit: &'a LimitPlan| match of_tenant {
        Some(tenant) => tenant.quota(limit.id).unwrap_or(&limit.quota),
        None => &limit.quota,
    };
    let asks = plans.iter().zip(keys).map(|(limit, key)| (*key, &quota(limit).prepared, limit.cost));
    // Farther than any.
    let mut nearest = Nearest { number: usize::MAX, remaining: u64::MAX, reset_nanos: 0 };
    let passes = table.pass(&asks, now.0, |number, Left { remaining, reset_nanos }| {
        if remaining < nearest.remaining && plans.get(number).is_some_and(|limit| limit.told.is_some()) {
            nearest = Nearest { number, remaining, reset_nanos };
        }
    });
    if passes {
        let nearest = (nearest.remaining < u64::MAX).then_some(nearest);
        admission.passed = Some(Passed { limits, of_tenant, nearest });
    }
    passes
}

/// Asks every limit of a listener, a route and a tenant.
#[inline(never)]
fn ask<'a>(
    who: &Who<'a, '_, '_>,
    (of_listener, of_route, of_tenant): (Option<&'a LimitPlans>, Option<&'a LimitPlans>, Option<TenantPlan<'a>>),
    table: &impl Limiter,
    now: Nanos,
    admission: &mut Admission<'a>,
) {
    let keys = std::mem::take(&mut admission.keys);
    let wanted =
        [of_listener, of_route].into_iter().flatten().fold(KeyPlan::default(), |sum, limits| sum.or(limits.key));
    let extra = of_tenant.map_or(&[][..], |tenant| tenant.extra());
    let parts = who.parts(extra.iter().fold(wanted, |sum, limit| sum.or(limit.key)));
    if let Some(limits) = of_listener {
        who.gather(&limits.plans, &[], &parts, table, admission);
    }
    if let Some(limits) = of_route {
        who.gather(&limits.plans, keys.as_slice(), &parts, table, admission);
    }
    who.gather(extra, &[], &parts, table, admission);
    if let Some(tenant) = of_tenant {
        admission.adopt(tenant);
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
    /// `keys` are those of them that were made already, and then expected.
    fn gather(
        &self,
        limits: &'a [Arc<LimitPlan>],
        keys: &[KeyHash],
        parts: &Parts,
        table: &impl Limiter,
        to: &mut Admission<'a>,
    ) {
        let are_first = to.notices.is_empty() && to.paced.is_empty();
        for (number, limit) in limits.iter().enumerate() {
            if !are_first && to.knows(limit) {
                continue;
            }
            let key = keys.get(number).filter(|_| !limit.key.cell).copied().unwrap_or_else(|| {
                let key = self.key(limit, limit.begin, parts);
                table.expect(key);
                key
            });
            if limit.is_bandwidth {
                self.gather_paced(limit, key, parts, to);
                continue;
            }
            to.owes |= limit.owes;
            let ask = Ask::new(key, &limit.quota.prepared, limit.cost, limit.mode == LimitMode::Enforce);
            to.notices.push(Notice { limit, quota: &limit.quota, is_candidate: false, ask });
            if let Some(CandidatePlan { begin, quota, .. }) = limit.candidate.as_deref() {
                let ask = Ask::new(self.key(limit, *begin, parts), &quota.prepared, limit.cost, false);
                to.notices.push(Notice { limit, quota, is_candidate: true, ask });
            }
        }
    }

    /// Adds a limit of bandwidth to those that look at the answer.
    #[cold]
    fn gather_paced(&self, limit: &'a Arc<LimitPlan>, key: KeyHash, parts: &Parts, to: &mut Admission<'a>) {
        let enforced = limit.mode == LimitMode::Enforce;
        to.paced.push(Paced { limit, quota: &limit.quota, is_candidate: false, key, enforced });
        if let Some(candidate) = &limit.candidate {
            let key = self.key(limit, candidate.begin, parts);
            to.paced.push(Paced { limit, quota: &candidate.quota, is_candidate: true, key, enforced: false });
        }
    }

    /// What a request has of the parts that are most in use, as far as they are wanted.
    #[inline]
    fn parts(&self, wanted: KeyPlan) -> Parts {
        Parts {
            tenant: if wanted.tenant { self.tenant() } else { KeyPart::default() },
            route: if wanted.route { self.route() } else { KeyPart::default() },
            network: if wanted.client_ip { self.client_network() } else { KeyPart::default() },
        }
    }

    /// What a request is counted under.
    #[inline]
    fn key(&self, limit: &LimitPlan, begin: KeyHash, parts: &Parts) -> KeyHash {
        let mut key = begin;
        if limit.key.tenant {
            key = key.plus(parts.tenant);
        }
        if limit.key.route {
            key = key.plus(parts.route);
        }
        if limit.key.client_ip {
            key = key.plus(parts.network);
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

    /// The network of the client's address. Mostly that is the other end of the connection.
    #[inline]
    fn client_network(&self) -> KeyPart {
        if self.facts.trusted_proxies.is_empty() { self.facts.peer_network } else { self.network_behind_proxies() }
    }

    /// The same where proxies are trusted, which say on whose behalf they come.
    #[inline(never)]
    fn network_behind_proxies(&self) -> KeyPart {
        let Facts { headers, peer, trusted_proxies, .. } = *self.facts;
        self.snapshot.keys.network(forwarded::client_address(headers, peer, trusted_proxies))
    }
}

fn bytes_of<'v>(value: Option<&'v tenant::Value<'_>>) -> &'v [u8] {
    match value {
        Some(Ok(value)) => value.as_bytes(),
        Some(Err(tenant::Refused)) => AMBIGUOUS,
        None => b"",
    }
}
