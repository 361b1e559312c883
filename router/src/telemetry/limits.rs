//! What is counted of limits: what each said of how many requests, and which tenants were refused most.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use crate::clock::Nanos;
use crate::limit::Outcome;
use crate::listener::worker::Worker;
use crate::pipeline::admission::{Admission, Notice};

/// Tenants that each thread keeps counts of. The refusals of one more are counted on in the place of the fewest.
const KEPT: usize = 64;

/// Counts what limits said of a request.
#[inline]
pub(crate) fn count(worker: &Rc<Worker>, admission: &Admission<'_>, tenant: Option<&str>) {
    match &admission.passed {
        Some(passed) => worker.counters.limits_allow(passed.limits.plans.iter().map(|limit| limit.id)),
        None if !admission.notices.is_empty() => count_each(worker, admission, tenant),
        None => {}
    }
}

#[inline(never)]
fn count_each(worker: &Rc<Worker>, admission: &Admission<'_>, tenant: Option<&str>) {
    for notice in &admission.notices {
        match notice.ask.verdict.outcome {
            Outcome::Refuse => refused(worker, notice, tenant),
            // Another limit refused it: nothing was taken of this one.
            Outcome::Pass | Outcome::Wait(_) if admission.refused => {}
            Outcome::Pass => worker.counters.limit(notice.id(), |counters| counters.allowed.add(1)),
            Outcome::Wait(nanos) => worker.counters.limit(notice.id(), |counters| {
                counters.delayed.add(1);
                counters.wait.observe(Nanos(nanos));
            }),
        }
    }
}

#[cold]
fn refused(worker: &Rc<Worker>, notice: &Notice<'_>, tenant: Option<&str>) {
    if notice.ask.enforced {
        worker.counters.limit(notice.id(), |counters| counters.refused.add(1));
        if let Some(tenant) = tenant {
            worker.counters.shared.refusals.note(notice.id(), tenant);
        }
        return;
    }
    worker.counters.limit(notice.id(), |counters| counters.shadow_refused.add(1));
    let limit = notice.limit.document.name.as_str();
    tracing::debug!(limit, candidate = notice.is_candidate, tenant, "request would be refused");
}

/// The tenants that one thread refused most, in bounded memory: as the Space-Saving sketch has it (Metwally, Agrawal and
/// El Abbadi, 2005). A count is never too low; it may be too high by what the one that made room for it had.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<HashMap<(u32, Box<str>), u64>>);

impl Refusals {
    /// Counts one refusal by a limit.
    fn note(&self, limit: u32, tenant: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (limit, Box::from(tenant));
        if let Some(count) = counts.get_mut(&key) {
            *count += 1;
            return;
        }
        let mut from = 0;
        if counts.len() >= KEPT
            && let Some(fewest) = counts.iter().min_by_key(|(_, count)| **count).map(|(key, _)| key.clone())
        {
            from = counts.remove(&fewest).unwrap_or_default();
        }
        counts.insert(key, from + 1);
    }

    /// Adds the counts to a sum over all threads.
    pub(crate) fn add_to(&self, sum: &mut HashMap<(u32, Box<str>), u64>) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (key, count) in counts {
            *sum.entry(key).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_refused_most_are_known_in_bounded_memory() {
        let refusals = Refusals::default();
        for round in 0..10_000_u32 {
            refusals.note(1, "often");
            if round % 10 == 0 {
                refusals.note(2, "sometimes");
            }
            refusals.note(1, &format!("once-{round}"));
        }
        let mut sum = HashMap::new();
        refusals.add_to(&mut sum);
        assert_eq!(sum.len(), KEPT);
        let of = |limit, tenant: &str| sum.get(&(limit, Box::from(tenant))).copied().unwrap_or_default();
        assert_eq!(of(1, "often"), 10_000);
        assert!((1_000..1_400).contains(&of(2, "sometimes")), "{}", of(2, "sometimes"));
    }
}
