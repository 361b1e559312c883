//! Bandwidth: so many bytes of response bodies over time. A token bucket of bytes which refuses nothing: a response asks
//! before each piece of its body, and waits until there is room for it. All responses of a key share what there is.
//!
//! The state is the time at which the bucket is full again, as in GCRA.

use gridrouter_config::model;

use super::{Outcome, Policy, Unit, Verdict};

const NANOS_IN_SECOND: u128 = 1_000_000_000;

/// A bandwidth's values, prepared.
#[derive(Debug)]
pub struct Bandwidth {
    per_second: u64,
    burst: u64,
    /// Time in which the whole burst comes back.
    fill_nanos: u64,
}

impl Bandwidth {
    pub(super) fn new(values: model::Bandwidth) -> Self {
        let (per_second, burst) = (values.rate.per_second.max(1), values.burst.max(1));
        Self { per_second, burst, fill_nanos: nanos(burst, per_second).max(1) }
    }

    /// The most bytes to ask for at once.
    pub fn piece(&self) -> u64 {
        self.burst
    }

    pub(super) fn policy(&self) -> Policy {
        Policy { quota: self.burst, window_nanos: Some(self.fill_nanos), unit: Unit::ContentBytes }
    }

    pub(super) fn fresh(&self, _now: u64) -> State {
        State { full_at: 0, per_second: self.per_second }
    }

    /// `cost` is in bytes. More than the burst pass when the whole burst is there.
    #[inline]
    pub(super) fn ask(&self, state: &mut State, now: u64, cost: u32) -> Verdict {
        self.adopt(state, now);
        let backlog = state.full_at.saturating_sub(now);
        let after = backlog.saturating_add(nanos(u64::from(cost).min(self.burst), self.per_second));
        let room = self.fill_nanos.saturating_sub(after);
        let remaining = u64::try_from(u128::from(room) * u128::from(self.per_second) / NANOS_IN_SECOND);
        Verdict {
            outcome: match after.saturating_sub(self.fill_nanos) {
                0 => Outcome::Pass,
                wait => Outcome::Wait(wait),
            },
            remaining: remaining.unwrap_or(u64::MAX),
            retry_after_nanos: 0,
            reset_nanos: after,
        }
    }

    pub(super) fn take(&self, state: &mut State, now: u64, cost: u32) {
        state.full_at = state.full_at.max(now).saturating_add(nanos(u64::from(cost), self.per_second));
    }

    pub(super) fn charge(&self, state: &mut State, now: u64, cost: i64) {
        self.adopt(state, now);
        let time = nanos(cost.unsigned_abs(), self.per_second);
        state.full_at =
            if cost < 0 { state.full_at.saturating_sub(time) } else { state.full_at.max(now).saturating_add(time) };
    }

    /// Rescales a state that was counted at another rate: bytes that were sent stay sent.
    fn adopt(&self, state: &mut State, now: u64) {
        if state.per_second == self.per_second {
            return;
        }
        let backlog = u128::from(state.full_at.saturating_sub(now));
        let rescaled = (backlog * u128::from(state.per_second)).div_ceil(u128::from(self.per_second));
        let full_at = now.saturating_add(u64::try_from(rescaled).unwrap_or(u64::MAX));
        *state = State { full_at, per_second: self.per_second };
    }
}

/// Time in which so many bytes come back, rounded up.
fn nanos(bytes: u64, per_second: u64) -> u64 {
    u64::try_from((u128::from(bytes) * NANOS_IN_SECOND).div_ceil(u128::from(per_second))).unwrap_or(u64::MAX)
}

/// What was counted for one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// When the bucket is full again; in the past it is full.
    full_at: u64,
    per_second: u64,
}

impl State {
    /// In requests, of which bytes know nothing: whether there is something to forget.
    pub(super) fn used(&self, now: u64) -> u64 {
        u64::from(self.full_at > now)
    }

    #[allow(clippy::unused_self, reason = "every algorithm's state has it")]
    pub(super) fn heap_bytes(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests;
