//! Concurrency: so many requests at the same time. A request holds as many permits as it costs from when it is admitted
//! until its answer is over, the last byte of the body included.

use gridrouter_config::model;

use super::{Before, NEVER, Outcome, Policy, Unit, Verdict};

/// What a client is told to wait for when every permit is taken: nobody knows when one will be free.
const RETRY_NANOS: u64 = 1_000_000_000;

/// A concurrency limit's values, prepared.
#[derive(Debug)]
pub struct Concurrency {
    limit: u32,
}

impl Concurrency {
    pub(super) fn new(values: model::Concurrency) -> Self {
        Self { limit: values.limit }
    }

    pub(super) fn policy(&self) -> Policy {
        Policy { quota: u64::from(self.limit), window_nanos: None, unit: Unit::ConcurrentRequests }
    }

    #[allow(clippy::unused_self, reason = "every algorithm has it")]
    pub(super) fn fresh(&self, _now: u64) -> State {
        State { held: 0 }
    }

    #[inline]
    pub(super) fn ask(&self, state: &mut State, _now: u64, cost: u32) -> Verdict {
        verdict(state.held, self.limit, cost)
    }

    #[allow(clippy::unused_self, reason = "every algorithm has it")]
    pub(super) fn take(&self, state: &mut State, _now: u64, cost: u32) {
        state.held = state.held.saturating_add(cost);
    }

    /// Permits come back when the request is over, and not otherwise.
    #[allow(clippy::unused_self, reason = "every algorithm has it")]
    pub(super) fn charge(&self, _state: &mut State, _now: u64, _cost: i64) {}
}

/// What a limit of permits says while `held` are taken.
pub(super) fn verdict(held: u32, limit: u32, cost: u32) -> Verdict {
    let left = limit.saturating_sub(held);
    if cost <= left {
        let remaining = u64::from(left - cost);
        return Verdict { outcome: Outcome::Pass, remaining, retry_after_nanos: 0, reset_nanos: 0 };
    }
    let retry_after_nanos = if cost > limit { NEVER } else { RETRY_NANOS };
    Verdict { outcome: Outcome::Refuse, remaining: u64::from(left), retry_after_nanos, reset_nanos: RETRY_NANOS }
}

/// What was counted for one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) held: u32,
}

impl State {
    /// What is taken changes no more than this.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "every algorithm's state has it")]
    #[inline]
    pub(super) fn before(&self) -> Before {
        Before([self.held.into(), 0])
    }

    pub(super) fn restore(&mut self, Before([held, _]): Before) {
        self.held = held as u32;
    }

    /// Permits that are out are the last thing to be forgotten: they would be handed out twice, and for as long as
    /// their requests last.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "every algorithm's state has it")]
    pub(super) fn used(&self, _now: u64) -> u64 {
        if self.held == 0 { 0 } else { (1 << 32) + u64::from(self.held) }
    }

    #[allow(clippy::unused_self, clippy::trivially_copy_pass_by_ref, reason = "every algorithm's state has it")]
    pub(super) fn heap_bytes(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests;
