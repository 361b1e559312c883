//! The limits of a generation, compiled: each once, for all that meet it.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridrouter_config::ids::Name;
use gridrouter_config::model::{self, Algorithm, HeadersWhen, LimitKeyPart, LimitMode, LimitOverride, Model};

use super::names::Names;
use super::tenants::Quotas;
use super::{CandidatePlan, KeyPlan, LimitPlan, LimitPlans, QuotaPlan};
use crate::http::fields::TwoLines;
use crate::limit::table::FEW;
use crate::limit::{Prepared, headers};

/// What the name of a limit's candidate ends with: what its counts and metrics are kept under. No name has a `/`.
pub const CANDIDATE: &str = "/candidate";

/// The limits by name, prepared.
pub(super) struct Limits(BTreeMap<Name, Arc<LimitPlan>>);

impl Limits {
    pub(super) fn prepare(model: &Model, names: &mut Names) -> Self {
        Self(model.limits.iter().map(|(name, limit)| (name.clone(), Arc::new(limit_plan(limit, names)))).collect())
    }

    /// Those of some names, which all resolve.
    pub(super) fn of(&self, names: &[Name]) -> Arc<LimitPlans> {
        let plans: Box<[_]> = names.iter().filter_map(|name| self.0.get(name).map(Arc::clone)).collect();
        let always_told = !plans.is_empty() && plans.iter().all(|limit| limit.told.is_some());
        let owe = |limit: &&Arc<LimitPlan>| limit.owes;
        let may_pass =
            plans.len() <= FEW && plans.iter().all(|limit| may_pass(limit)) && plans.iter().filter(owe).count() <= 1;
        let permit = plans.iter().position(|limit| limit.owes).filter(|_| may_pass);
        let key = plans.iter().fold(KeyPlan::default(), |sum, limit| sum.or(limit.key));
        Arc::new(LimitPlans { plans, always_told, may_pass, permit, key })
    }
}

/// Whether all that there is to know of a limit that lets a request pass is what it counts it under and what is left.
fn may_pass(limit: &LimitPlan) -> bool {
    let holds_at_most_a_permit = limit.document.cost.response_header.is_none();
    let tells_in_old_fields = limit.legacy_headers && limit.headers == HeadersWhen::Always;
    limit.quota.prepared.is_undoable()
        && limit.candidate.is_none()
        && !limit.key.cell
        && holds_at_most_a_permit
        && !tells_in_old_fields
}

fn limit_plan(limit: &Arc<model::Limit>, names: &mut Names) -> LimitPlan {
    let candidate = limit.candidate.as_ref().map(|own| {
        let id = names.limits.of(format!("{}{CANDIDATE}", limit.name).into());
        let quota = Arc::new(quota_plan(&limit.name, limit.algorithm.with(own)));
        Box::new(CandidatePlan { id, begin: names.keys.limit(id), quota })
    });
    let id = names.limits.of(limit.name.as_str().into());
    let (label, quota) = (headers::Label::new(limit.name.as_str()), Arc::new(quota_plan(&limit.name, limit.algorithm)));
    let always_told = limit.mode == LimitMode::Enforce
        && limit.headers == HeadersWhen::Always
        && !limit.algorithm.is_bandwidth()
        && !limit.legacy_headers
        && candidate.is_none();
    let told = || {
        let (policy, label) = (quota.policy.as_ref()?.as_bytes(), label.as_ref()?.as_bytes());
        TwoLines::new(headers::RATE_LIMIT_POLICY, policy, headers::RATE_LIMIT, label).map(Box::new)
    };
    LimitPlan {
        document: Arc::clone(limit),
        id,
        begin: names.keys.limit(id),
        mode: limit.mode,
        is_bandwidth: limit.algorithm.is_bandwidth(),
        key: KeyPlan::new(&limit.key),
        owes: limit.algorithm.is_concurrency() || limit.cost.response_header.is_some(),
        cost: limit.cost.constant,
        headers: limit.headers,
        legacy_headers: limit.legacy_headers,
        told: always_told.then(told).flatten(),
        label,
        quota,
        candidate,
    }
}

impl KeyPlan {
    fn new(key: &[LimitKeyPart]) -> Self {
        let has = |part: &LimitKeyPart| key.contains(part);
        Self {
            tenant: has(&LimitKeyPart::Tenant),
            route: has(&LimitKeyPart::Route),
            client_ip: has(&LimitKeyPart::ClientIp),
            cell: has(&LimitKeyPart::Cell),
            others: key.iter().any(Self::is_other),
        }
    }

    /// All parts of two keys.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            tenant: self.tenant || other.tenant,
            route: self.route || other.route,
            client_ip: self.client_ip || other.client_ip,
            others: self.others || other.others,
            cell: self.cell || other.cell,
        }
    }

    /// Whether a part is one of the others.
    pub(crate) fn is_other(part: &LimitKeyPart) -> bool {
        !matches!(part, LimitKeyPart::Tenant | LimitKeyPart::Route | LimitKeyPart::ClientIp)
    }
}

fn quota_plan(name: &Name, algorithm: Algorithm) -> QuotaPlan {
    let prepared = Prepared::new(&algorithm);
    let policy = headers::policy(name.as_str(), prepared.policy());
    QuotaPlan { prepared, policy }
}

/// Quotas of tenants, made once for all tenants that have the same: what is shared is in the processor's cache.
#[derive(Default)]
pub(super) struct QuotaCache {
    known: hashbrown::HashMap<(u32, Algorithm), Arc<QuotaPlan>>,
}

impl QuotaCache {
    fn of(&mut self, limit: &LimitPlan, algorithm: Algorithm) -> Arc<QuotaPlan> {
        let made = || Arc::new(quota_plan(&limit.document.name, algorithm));
        Arc::clone(self.known.entry((limit.id, algorithm)).or_insert_with(made))
    }
}

/// What a tenant says of limits, and what its plan does.
pub(super) fn quotas_of(
    own: &model::TenantLimits,
    plans: &BTreeMap<Name, Arc<model::Plan>>,
    limits: &Limits,
    quotas: &mut QuotaCache,
) -> Quotas {
    let plan = own.plan.as_ref().and_then(|plan| plans.get(plan));
    let mut values: BTreeMap<&Name, LimitOverride> = BTreeMap::new();
    for (name, value) in plan.iter().flat_map(|plan| &plan.limits).chain(&own.overrides) {
        // The tenant's come last, and what they leave open is the plan's.
        let before = values.get(name).copied().unwrap_or_default();
        values.insert(name, value.or(&before));
    }
    let quota = |(name, value): (&&Name, &LimitOverride)| {
        let limit = limits.0.get(*name)?;
        Some((limit.id, quotas.of(limit, limit.document.algorithm.with(value))))
    };
    let own_values = values.iter().filter_map(quota).collect();
    let mut extra: Vec<Arc<LimitPlan>> = Vec::new();
    for name in plan.iter().flat_map(|plan| &plan.extra_limits).chain(&own.extra) {
        let known = extra.iter().any(|limit| limit.document.name == *name);
        extra.extend(limits.0.get(name).filter(|_| !known).map(Arc::clone));
    }
    Quotas { own: own_values, extra }
}
