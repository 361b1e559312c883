//! A leaky bucket as a meter: nginx's `limit_req`, in its own arithmetic. Requests are counted in thousandths and time
//! in whole milliseconds, and what is rounded away is lost as it is there, so that a limit moved here from nginx decides
//! the same (`ngx_http_limit_req_module.c`).
//!
//! `excess` is what came above the rate. A request makes it one more, and time makes it less. Above `burst` a request is
//! refused and nothing is stored; above `delay` it waits until the rate has caught up with it. The first request of a
//! key is not counted: `burst` more follow at once. nginx knows no cost: here the first unit of a cost is what the
//! request is there, and time without requests earns no more than that one unit.
//!
//! An edited rate or burst leaves the excess as it is, as nginx does when it is reloaded; but what has leaked until the
//! first request after it has leaked at the old rate.

use gridrouter_config::model;

use super::{Before, NEVER, Outcome, Policy, Unit, Verdict};

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

    /// Milliseconds in which an excess goes away, rounded down.
    fn millis(&self, excess: i64) -> u64 {
        u64::try_from(excess.saturating_mul(1_000) / self.rate).unwrap_or_default()
    }

    /// Nanoseconds until so much of an excess has gone that was counted at `last`.
    fn nanos_until(&self, last: i64, excess: i64, now: u64) -> u64 {
        let millis = u64::try_from(excess.saturating_mul(1_000)).unwrap_or_default().div_ceil(self.rate.unsigned_abs());
        let at = u64::try_from(last).unwrap_or_default().saturating_add(millis);
        at.saturating_mul(NANOS_IN_MILLI).saturating_sub(now)
    }

    pub(super) fn policy(&self) -> Policy {
        let quota = u64::try_from(self.burst / 1_000).unwrap_or_default() + 1;
        let window = self.millis(self.burst + REQUEST).saturating_mul(NANOS_IN_MILLI);
        Policy { quota, window_nanos: Some(window), unit: Unit::Requests }
    }

    pub(super) fn fresh(&self, _now: u64) -> State {
        State::new(-REQUEST, NEVER_YET, self.rate)
    }

    /// Brings a state up to date that was counted at another rate.
    #[inline]
    fn adopt(&self, state: &mut State, now: u64) {
        let rate = stored(self.rate);
        if state.rate != rate {
            let (excess, last) = excess_at(i64::from(state.rate), state, now);
            *state = if state.last == NEVER_YET { self.fresh(now) } else { State { excess, last, rate } };
        }
    }

    fn excess(&self, state: &State, now: u64) -> (i64, i64) {
        excess_at(self.rate, state, now)
    }

    #[inline]
    pub(super) fn ask(&self, state: &mut State, now: u64, cost: u32) -> Verdict {
        self.adopt(state, now);
        let cost = REQUEST * i64::from(cost.max(1));
        let (before, at) = self.excess(state, now);
        let excess = before.saturating_add(cost).max(0);
        if excess > self.burst {
            // Reckoned from where nginx reckons: it stores nothing of a request that it refuses.
            let needed = state.excess.saturating_add(cost) - self.burst;
            let impossible = cost - REQUEST > self.burst;
            let remaining = u64::try_from((self.burst - before) / REQUEST).unwrap_or_default();
            return Verdict {
                outcome: Outcome::Refuse,
                remaining,
                retry_after_nanos: if impossible { NEVER } else { self.nanos_until(state.last, needed, now).max(1) },
                reset_nanos: self.nanos_until(state.last, state.excess + REQUEST, now),
            };
        }
        let wait = if excess <= self.delay { 0 } else { self.millis(excess - self.delay) };
        let outcome = if wait == 0 { Outcome::Pass } else { Outcome::Wait(wait.saturating_mul(NANOS_IN_MILLI)) };
        let remaining = u64::try_from((self.burst - excess) / REQUEST).unwrap_or_default();
        let reset_nanos = self.nanos_until(at, excess + REQUEST, now);
        Verdict { outcome, remaining, retry_after_nanos: 0, reset_nanos }
    }

    #[inline]
    pub(super) fn take(&self, state: &mut State, now: u64, cost: u32) {
        let (before, at) = self.excess(state, now);
        let excess = before.saturating_add(REQUEST * i64::from(cost.max(1))).max(0);
        *state = State::new(excess, at, self.rate);
    }

    /// What is charged beyond the burst makes a debt, of one burst at the most.
    pub(super) fn charge(&self, state: &mut State, now: u64, cost: i64) {
        self.adopt(state, now);
        let (before, at) = self.excess(state, now);
        let most = (self.burst + REQUEST).saturating_mul(2).max(before);
        let excess = before.saturating_add(cost.saturating_mul(REQUEST)).clamp(-REQUEST, most);
        *state = State::new(excess, at, self.rate);
    }
}

/// The time of a key that nothing came for yet.
const NEVER_YET: i64 = i64::MIN;
/// One request, in thousandths.
const REQUEST: i64 = 1_000;

/// The excess before a request, and the time that it is of. At -1 request nothing is used.
#[inline]
fn excess_at(rate: i64, state: &State, now: u64) -> (i64, i64) {
    let (millis, last) = (millis(now), state.last);
    if last == NEVER_YET {
        return (-REQUEST, millis);
    }
    let passed = match millis.saturating_sub(last) {
        back if back < -BACKWARDS_MILLIS => 1,
        passed => passed.max(0),
    };
    let excess = state.excess.saturating_sub(rate.saturating_mul(passed) / 1_000);
    (excess.max(-REQUEST), if passed == 0 { last } else { millis })
}

/// A rate as a state has it.
fn stored(rate: i64) -> u32 {
    u32::try_from(rate).unwrap_or(u32::MAX)
}

fn millis(now: u64) -> i64 {
    i64::try_from(now / NANOS_IN_MILLI).unwrap_or(i64::MAX)
}

/// What was counted for one key. Packed, because an entry of the table has 20 bytes for it.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed(4))]
pub(super) struct State {
    /// Thousandths of a request above the rate, at least -1,000.
    excess: i64,
    /// When that was, in milliseconds.
    last: i64,
    /// The rate then: only to know when the state says no more than a fresh one.
    rate: u32,
}

impl State {
    fn new(excess: i64, last: i64, rate: i64) -> Self {
        Self { excess, last, rate: stored(rate) }
    }

    /// What is taken, at the rate that the state is of, changes no more than this.
    #[inline]
    pub(super) fn before(&self) -> Before {
        Before([self.excess.cast_unsigned(), self.last.cast_unsigned()])
    }

    pub(super) fn restore(&mut self, Before([excess, last]): Before) {
        (self.excess, self.last) = (excess.cast_signed(), last.cast_signed());
    }

    pub(super) fn used(&self, now: u64) -> u64 {
        let passed = millis(now).saturating_sub(self.last).max(0);
        // The last request, which is in the excess only if there were others, counts until the rate has caught up.
        let gone = i64::from(self.rate).saturating_mul(passed) / 1_000;
        u64::try_from((self.excess + REQUEST).saturating_sub(gone)).unwrap_or_default().div_ceil(1_000)
    }

    #[allow(clippy::unused_self, reason = "every algorithm's state has it")]
    pub(super) fn heap_bytes(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests;
