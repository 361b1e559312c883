//! What a client is told of limits: the policy, and what is left, of the one that it should mind, which is the nearest to
//! refusing. A refused request is told of those that refuse it.
//!
//! Telling of all of them would make an answer longer with every limit that its request meets, and to send bytes costs more
//! than to check limits.

use smallvec::SmallVec;

use super::admission::{Admission, Notice, Passed};
use crate::http::fields::Fields;
use crate::limit::headers;
use crate::snapshot::{LimitPlans, TenantPlan};

/// What is told, until there is an answer to tell it with.
#[derive(Debug, Default)]
pub enum Told {
    /// Nothing.
    #[default]
    Nothing,
    /// One of the route's limits, with the route's values.
    OfRoute(Nearest),
    /// These lines.
    Lines(Box<Fields>),
}

/// What a limit of a route's said of a request.
#[derive(Debug, Clone, Copy)]
pub struct Nearest {
    /// The limit, by its position.
    pub number: usize,
    /// Requests of cost 1 that could follow.
    pub remaining: u64,
    /// Nanoseconds until all of it is there again.
    pub reset_nanos: u64,
}

impl Told {
    /// Adds what is told to an answer. `of_route` are the limits of the request's route.
    pub(super) fn write(&self, of_route: Option<&LimitPlans>, to: &mut Fields) {
        match self {
            Self::Nothing => {}
            Self::Lines(lines) => to.extend(lines),
            Self::OfRoute(Nearest { number, remaining, reset_nanos }) => {
                let limit = of_route.and_then(|limits| limits.plans.get(*number));
                let Some(lines) = limit.and_then(|limit| limit.told.as_ref()) else { return };
                to.append_two(lines, headers::LONGEST, |to| headers::what_is_left(*remaining, *reset_nanos, to));
            }
        }
    }
}

impl Admission<'_> {
    /// What the client is told.
    pub fn told(&self) -> Told {
        if let Some(passed) = &self.passed {
            return passed.told();
        }
        if self.all_of_route.is_some() && !self.refused {
            let nearest = self.notices.iter().enumerate().min_by_key(|(_, notice)| notice.verdict().remaining);
            return nearest.map_or(Told::Nothing, |(number, notice)| {
                let verdict = notice.verdict();
                Told::OfRoute(Nearest { number, remaining: verdict.remaining, reset_nanos: verdict.reset_nanos })
            });
        }
        if self.all_of_route.is_none() && !self.tells { Told::Nothing } else { Told::Lines(Box::new(self.lines())) }
    }

    /// What the client is told, as the lines of an answer that may be none of the route's.
    #[cold]
    pub(super) fn lines(&self) -> Fields {
        if let Some(passed) = &self.passed {
            let mut fields = Fields::new();
            self.told().write(Some(passed.limits), &mut fields);
            return fields;
        }
        let told = || self.notices.iter().filter(|notice| notice.is_told());
        let rank = |notice: &&Notice<'_>| (notice.verdict().admits(), notice.verdict().remaining);
        let minded: SmallVec<[&Notice<'_>; 4]> = if self.refused {
            told().filter(|notice| notice.refuses()).collect()
        } else {
            told().min_by_key(rank).into_iter().collect()
        };
        if minded.is_empty() {
            return Fields::new();
        }
        let mut fields = Fields::with_room(2, NAMES + minded.len() * LONGEST_ITEMS);
        fields.append_written(headers::RATE_LIMIT_POLICY, |to| {
            let policies = minded.iter().filter_map(|notice| notice.quota.policy.as_ref());
            join(to, policies, |policy, to| to.extend_from_slice(policy.as_bytes()));
        });
        fields.append_written(headers::RATE_LIMIT, |to| join(to, minded.iter().copied(), item));
        // The old fields have room for one limit.
        let legacy = told().filter(|notice| notice.limit.legacy_headers && (!self.refused || notice.refuses()));
        if let Some(notice) = legacy.min_by_key(rank) {
            for (name, value) in headers::legacy(notice.ask.limit.policy().quota, notice.verdict()) {
                fields.append(name, value);
            }
        }
        fields
    }
}

impl Passed<'_> {
    /// What the client is told.
    fn told(&self) -> Told {
        let Some(nearest) = self.nearest else { return Told::Nothing };
        match self.of_tenant {
            None => Told::OfRoute(nearest),
            Some(tenant) => self.told_to(tenant, nearest),
        }
    }

    /// What a client is told whose tenant may have other values than the route's.
    #[cold]
    fn told_to(&self, tenant: TenantPlan<'_>, nearest: Nearest) -> Told {
        let limit = self.limits.plans.get(nearest.number);
        let own = limit.and_then(|limit| Some((limit.label.as_ref()?, tenant.quota(limit.id)?.policy.as_ref()?)));
        let Some((label, policy)) = own else { return Told::OfRoute(nearest) };
        let mut fields = Fields::with_room(2, NAMES + LONGEST_ITEMS);
        fields.append_written(headers::RATE_LIMIT_POLICY, |to| to.extend_from_slice(policy.as_bytes()));
        fields.append_written(headers::RATE_LIMIT, |to| {
            headers::remaining(label, nearest.remaining, nearest.reset_nanos, to);
        });
        Told::Lines(Box::new(fields))
    }
}

/// Bytes of a limit's items of both fields, where its name is not longer than most.
const LONGEST_ITEMS: usize = 160;

/// Bytes of the two fields beside their values.
const NAMES: usize = headers::RATE_LIMIT_POLICY.len() + headers::RATE_LIMIT.len() + 8;

/// Writes what is left of a limit.
fn item(notice: &Notice<'_>, to: &mut Vec<u8>) {
    if let Some(label) = &notice.limit.label {
        let verdict = notice.verdict();
        headers::remaining(label, verdict.remaining, headers::window_nanos(verdict), to);
    }
}

/// Writes the items of a list field.
fn join<T>(to: &mut Vec<u8>, items: impl Iterator<Item = T>, write: impl Fn(T, &mut Vec<u8>)) {
    let begin = to.len();
    for item in items {
        if to.len() > begin {
            to.extend_from_slice(headers::SEPARATOR);
        }
        write(item, to);
    }
}
