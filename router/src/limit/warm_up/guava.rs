//! Guava's warming up (`SmoothRateLimiter.SmoothWarmingUp`).
//!
//! A key stores permits while nobody comes, up to `max`. Those above `threshold` take longer to be given out than others,
//! up to the cold factor as long. Whoever comes passes at once if the time until which permits are given out already is
//! over, and what it costs is added to that time: so the cost of one is waited for by the next. Guava counts in
//! microseconds and rounds each part down, which above some 100,000 a second is too fast; here it is nanoseconds.
//!
//! An edit scales the permits stored. Time that is given out already stays given out.

use super::super::Verdict;
use super::{Queueing, wait_for_turn};

const NANOS_IN_SECOND: f64 = 1e9;

/// How long permits take, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Curve {
    pub(super) stable: f64,
    pub(super) threshold: f64,
    pub(super) max: f64,
    pub(super) slope: f64,
    /// The time in which a permit is stored.
    cool: f64,
}

impl Curve {
    pub(super) fn new(rate: f64, period_seconds: f64, cold_factor: f64) -> Self {
        let stable = NANOS_IN_SECOND / rate;
        // Not nothing, so that nothing is divided by it.
        let period = period_seconds.max(1e-6) * NANOS_IN_SECOND;
        let threshold = 0.5 * period / stable;
        let max = threshold + 2.0 * period / (stable + cold_factor * stable);
        Self { stable, threshold, max, slope: (cold_factor - 1.0) * stable / (max - threshold), cool: period / max }
    }

    /// Guava's other form, `SmoothBursty`, stores what a time of full rate gives, and hands it out in no time.
    #[cfg(test)]
    pub(super) fn bursty(rate: f64, seconds: f64) -> Self {
        let stable = NANOS_IN_SECOND / rate;
        Self { stable, threshold: f64::NAN, max: rate * seconds, slope: 0.0, cool: stable }
    }

    /// How long it takes to give out `permits` of those stored.
    fn time_of(&self, stored: f64, permits: f64) -> f64 {
        if self.threshold.is_nan() {
            return 0.0;
        }
        let above = (stored - self.threshold).max(0.0);
        let slow = above.min(permits);
        let at = |above: f64| self.stable + above * self.slope;
        (slow * (at(above) + at(above - slow)) / 2.0).floor() + self.stable * (permits - slow)
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Permits {
    pub(super) curve: Curve,
    pub(super) stored: f64,
    /// Until when permits are given out already.
    pub(super) next: u64,
}

impl Permits {
    pub(super) fn cold(curve: Curve) -> Self {
        Self { curve, stored: curve.max, next: 0 }
    }

    fn stored_at(&self, now: u64) -> f64 {
        let idle = now.saturating_sub(self.next) as f64;
        (self.stored + idle / self.curve.cool).min(self.curve.max)
    }

    fn resync(&mut self, now: u64) {
        if now > self.next {
            self.stored = self.stored_at(now);
            self.next = now;
        }
    }

    /// Time from a request of such a cost until the next.
    fn time_of(&self, cost: u64) -> u64 {
        let permits = self.stored.min(cost as f64);
        let fresh = (cost as f64 - permits) * self.curve.stable;
        (self.curve.time_of(self.stored, permits) as u64).saturating_add(fresh as u64)
    }

    /// Gives out permits, and returns from when on.
    pub(super) fn acquire(&mut self, now: u64, cost: u64) -> u64 {
        self.resync(now);
        let at = self.next;
        self.next = at.saturating_add(self.time_of(cost));
        self.stored -= self.stored.min(cost as f64);
        at
    }

    pub(super) fn ask(&mut self, queueing: Queueing, now: u64, cost: u32) -> Verdict {
        self.resync(now);
        let mut verdict = wait_for_turn(self.next, self.time_of(1).max(1), queueing.unwrap_or(0), now);
        if verdict.admits() {
            // The next one waits for what this one costs.
            let mut after = *self;
            after.acquire(now, u64::from(cost));
            let next = wait_for_turn(after.next, after.time_of(1).max(1), queueing.unwrap_or(0), now);
            verdict.remaining = if next.admits() { next.remaining.saturating_add(1) } else { 0 };
            verdict.reset_nanos = after.next.saturating_sub(now);
        }
        verdict
    }

    /// What is charged moves the time from which on others pass, by no more than the longest wait and `most` requests.
    pub(super) fn charge(&mut self, queueing: Queueing, now: u64, cost: i64, most: u64) {
        self.resync(now);
        let count = cost.unsigned_abs().min(most);
        if cost > 0 {
            let longest = now.saturating_add(queueing.unwrap_or(0)).saturating_add(self.time_of(most));
            let before = self.next;
            self.acquire(now, count);
            self.next = self.next.min(longest.max(before));
        } else if queueing.is_none() {
            // Nobody waits for a later time.
            let time = (count as f64 * self.curve.stable) as u64;
            self.next = self.next.saturating_sub(time).max(now);
        }
    }

    pub(super) fn adopt(&mut self, curve: Curve, now: u64) {
        self.resync(now);
        self.stored = self.stored / self.curve.max * curve.max;
        self.curve = curve;
    }

    pub(super) fn used(&self, now: u64) -> u64 {
        let booked = self.next.saturating_sub(now) as f64 / self.curve.stable;
        (booked.ceil() as u64).max(u64::from(self.stored_at(now) < self.curve.max))
    }
}
