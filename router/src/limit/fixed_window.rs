//! A fixed window: so many requests in each period, of which one begins where another ends. Small and plain, and its
//! known weakness with it: around the border of two periods twice the limit may pass in less than one period.
//!
//! Periods begin at multiples of their length on the clock handed in. An edited limit is compared with what was counted
//! already. An edited length counts what was counted in the old period in the new one, if the old one is not over: the
//! edit itself hands out nothing, but the new period may be over sooner than the old one would have been.

use gridrouter_config::model;

use super::{Before, NEVER, Outcome, Policy, Unit, Verdict};

/// A fixed window's values, prepared.
#[derive(Debug)]
pub struct FixedWindow {
    limit: u32,
    window_nanos: u64,
}

impl FixedWindow {
    pub(super) fn new(values: model::FixedWindow) -> Self {
        let window_nanos = u64::try_from(values.window.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { limit: values.limit, window_nanos }
    }

    pub(super) fn policy(&self) -> Policy {
        Policy { quota: u64::from(self.limit), window_nanos: Some(self.window_nanos), unit: Unit::Requests }
    }

    pub(super) fn fresh(&self, now: u64) -> State {
        State { begins: now - now % self.window_nanos, window_nanos: self.window_nanos, count: 0 }
    }

    /// Begins a new period when the old one is over. A clock that went back stays in the period that it was in.
    fn turn_over(&self, state: &mut State, now: u64) {
        if state.window_nanos != self.window_nanos {
            let count = if state.is_over(now) { 0 } else { state.count };
            *state = State { count, ..self.fresh(now) };
        } else if state.is_over(now) {
            *state = self.fresh(now);
        }
    }

    #[inline]
    pub(super) fn ask(&self, state: &mut State, now: u64, cost: u32) -> Verdict {
        self.turn_over(state, now);
        let left = self.limit.saturating_sub(state.count);
        let reset_nanos = state.ends().saturating_sub(now);
        if cost <= left {
            let remaining = u64::from(left - cost);
            return Verdict { outcome: Outcome::Pass, remaining, retry_after_nanos: 0, reset_nanos };
        }
        let retry_after_nanos = if cost > self.limit { NEVER } else { reset_nanos };
        Verdict { outcome: Outcome::Refuse, remaining: u64::from(left), retry_after_nanos, reset_nanos }
    }

    #[allow(clippy::unused_self, reason = "every algorithm has it")]
    pub(super) fn take(&self, state: &mut State, _now: u64, cost: u32) {
        state.count = state.count.saturating_add(cost);
    }

    #[allow(clippy::unused_self, reason = "every algorithm has it")]
    pub(super) fn charge(&self, state: &mut State, now: u64, cost: i64) {
        // In the period that the state is of: whoever is charged may have come before an edit.
        if state.is_over(now) {
            state.begins = now - now % state.window_nanos.max(1);
            state.count = 0;
        }
        state.count = u32::try_from(i64::from(state.count).saturating_add(cost).max(0)).unwrap_or(u32::MAX);
    }
}

/// What was counted for one key. Packed, because an entry of the table has 20 bytes for it.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed(4))]
pub(super) struct State {
    begins: u64,
    window_nanos: u64,
    count: u32,
}

impl State {
    fn ends(&self) -> u64 {
        self.begins.saturating_add(self.window_nanos)
    }

    fn is_over(&self, now: u64) -> bool {
        now >= self.ends()
    }

    /// What is taken changes no more than this.
    #[inline]
    pub(super) fn before(&self) -> Before {
        Before([self.count.into(), 0])
    }

    pub(super) fn restore(&mut self, Before([count, _]): Before) {
        self.count = count as u32;
    }

    pub(super) fn used(&self, now: u64) -> u64 {
        if self.is_over(now) { 0 } else { u64::from(self.count) }
    }

    #[allow(clippy::unused_self, reason = "every algorithm's state has it")]
    pub(super) fn heap_bytes(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests;
