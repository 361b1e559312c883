//! A leaky bucket as a meter: nginx's `limit_req`, in its own arithmetic. Requests are counted in thousandths and time
//! in whole milliseconds, and what is rounded away is lost as it is there, so that a limit moved here from nginx decides
//! the same (`ngx_http_limit_req_module.c`).
//!
//! `excess` is what came above the rate. A request makes it one more, and time makes it less. Above `burst` a request is
//! refused and nothing is stored; above `delay` it waits until the rate has caught up with it. The first request of a
//! key is not counted: `burst` more follow at once.

use gridrouter_config::model;

use super::{NEVER, Outcome, Policy, Unit, Verdict};

/// How far a clock may go back and still give no credit, as in nginx.
const BACKWARDS_MILLIS: i64 = 60_000;
const NANOS_IN_MILLI: u64 = 1_000_000;

/// A meter's values, prepared.
#[derive(Debug)]
pub struct LeakyBucketMeter {
    /// Thousandths of a request a second, at least 1.
    rate: i64,
    /// In thousandths of a request.
    burst: i64,
    /// In thousandths of a request.
    delay: i64,
}

impl LeakyBucketMeter {
    pub(super) fn new(values: model::LeakyBucketMeter) -> Self {
        let rate = i64::try_from(values.rate.thousandths_per_second()).unwrap_or(i64::MAX).max(1);
        Self {
            rate,
            burst: i64::from(values.burst) * 1_000,
            delay: values.delay.map_or(i64::MAX, |delay| i64::from(delay) * 1_000),
        }
    }

    /// Milliseconds in which an excess goes away.
    fn millis(&self, excess: i64) -> u64 {
        u64::try_from(excess.saturating_mul(1_000) / self.rate).unwrap_or_default()
    }

    fn state_rate(&self) -> u32 {
        u32::try_from(self.rate).unwrap_or(u32::MAX)
    }

    pub(super) fn policy(&self) -> Policy {
        let quota = u64::try_from(self.burst / 1_000).unwrap_or_default() + 1;
        let window = self.millis(self.burst + 1_000).saturating_mul(NANOS_IN_MILLI);
        Policy { quota, window_nanos: Some(window), unit: Unit::Requests }
    }

    #[allow(clippy::unused_self, reason = "every algorithm has it")]
    pub(super) fn fresh(&self, _now: u64) -> State {
        State { excess: 0, last: NEVER_YET, rate: self.state_rate() }
    }

    /// The excess with `cost` requests more, and the time it was counted at.
    fn excess(&self, state: &State, now: u64, cost: u32) -> (i64, i64) {
        let millis = i64::try_from(now / NANOS_IN_MILLI).unwrap_or(i64::MAX);
        let thousandths = i64::from(cost) * 1_000;
        let last = state.last;
        if last == NEVER_YET {
            return ((thousandths - 1_000).max(0), millis);
        }
        let passed = match millis.saturating_sub(last) {
            back if back < -BACKWARDS_MILLIS => 1,
            passed => passed.max(0),
        };
        let excess = state.excess.saturating_sub(self.rate.saturating_mul(passed) / 1_000) + thousandths;
        (excess.max(0), if passed == 0 { last } else { millis })
    }

    #[inline]
    pub(super) fn ask(&self, state: &mut State, now: u64, cost: u32) -> Verdict {
        let (excess, _) = self.excess(state, now, cost);
        if excess > self.burst {
            let before = excess - i64::from(cost) * 1_000;
            let retry_after_nanos = if i64::from(cost.saturating_sub(1)) * 1_000 > self.burst {
                NEVER
            } else {
                self.millis(excess - self.burst + self.rate / 1_000).saturating_mul(NANOS_IN_MILLI).max(NANOS_IN_MILLI)
            };
            let remaining = u64::try_from((self.burst - before) / 1_000).unwrap_or_default();
            let reset_nanos = self.millis(before).saturating_mul(NANOS_IN_MILLI);
            return Verdict { outcome: Outcome::Refuse, remaining, retry_after_nanos, reset_nanos };
        }
        let wait = if excess <= self.delay { 0 } else { self.millis(excess - self.delay) };
        let outcome = if wait == 0 { Outcome::Pass } else { Outcome::Wait(wait.saturating_mul(NANOS_IN_MILLI)) };
        let remaining = u64::try_from((self.burst - excess) / 1_000).unwrap_or_default();
        let reset_nanos = self.millis(excess + 1_000).saturating_mul(NANOS_IN_MILLI);
        Verdict { outcome, remaining, retry_after_nanos: 0, reset_nanos }
    }

    pub(super) fn take(&self, state: &mut State, now: u64, cost: u32) {
        let (excess, last) = self.excess(state, now, cost);
        *state = State { excess, last, rate: self.state_rate() };
    }

    /// What is charged beyond the burst makes a debt, of one burst at the most.
    pub(super) fn charge(&self, state: &mut State, now: u64, cost: i64) {
        let (excess, last) = self.excess(state, now, 0);
        let most = (self.burst + 1_000).saturating_mul(2).max(excess);
        let excess = excess.saturating_add(cost.saturating_mul(1_000)).clamp(0, most);
        *state = State { excess, last, rate: self.state_rate() };
    }
}

/// The time of a key that nothing came for yet.
const NEVER_YET: i64 = i64::MIN;

/// What was counted for one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// Thousandths of a request above the rate.
    excess: i64,
    /// When that was, in milliseconds.
    last: i64,
    /// The rate then: only to know when the state says no more than a fresh one.
    rate: u32,
}

impl State {
    pub(super) fn used(&self, now: u64) -> u64 {
        let passed = i64::try_from(now / NANOS_IN_MILLI).unwrap_or(i64::MAX).saturating_sub(self.last).max(0);
        // The last request, which is in the excess only if there were others, counts until the rate has caught up.
        let excess = (self.excess + 1_000).saturating_sub(i64::from(self.rate).saturating_mul(passed) / 1_000);
        if self.last == NEVER_YET { 0 } else { u64::try_from(excess).unwrap_or_default().div_ceil(1_000) }
    }

    #[allow(clippy::unused_self, reason = "every algorithm's state has it")]
    pub(super) fn heap_bytes(&self) -> usize {
        0
    }
}
