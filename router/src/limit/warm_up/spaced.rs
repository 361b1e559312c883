//! Sentinel's warming up at rates that steps of a second cannot count.
//!
//! Where the cold rate is below one request a second, Sentinel lets nothing pass at all, because "how many passed in the
//! last second, and one more" is always above it; and as nothing passes, it never gets warmer. And at a low rate that is
//! not a whole number a second, up to half of it would be rounded away.
//!
//! Here the same curve says how far apart requests are, rather than how many come in a second. Tokens are taken by each
//! request as it passes, and come back at the rate in the time that nobody used. So under full load it is warm after the
//! period, and without it is cold after about as long.

use super::super::Verdict;
use super::{Queueing, wait_for_turn};

const NANOS_IN_SECOND: f64 = 1e9;

/// How far apart requests are at how many tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Curve {
    /// Requests a second when warm.
    rate: f64,
    warning: f64,
    max: f64,
    slope: f64,
}

impl Curve {
    pub(super) fn new(rate: f64, period_seconds: f64, cold_factor: u32) -> Self {
        let factor = f64::from(cold_factor.max(2));
        // Not nothing, so that nothing is divided by it.
        let period = period_seconds.max(1e-6);
        let warning = period * rate / (factor - 1.0);
        let max = warning + 2.0 * period * rate / (1.0 + factor);
        Self { rate, warning, max, slope: (factor - 1.0) / rate / (max - warning) }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Spaced {
    pub(super) curve: Curve,
    stored: f64,
    /// The last time that one passed, or its turn, in nanoseconds.
    last: Option<u64>,
}

impl Spaced {
    pub(super) fn cold(curve: Curve) -> Self {
        Self { curve, stored: curve.max, last: None }
    }

    /// From one request to the next.
    fn distance(&self, cost: u64) -> u64 {
        let above = (self.stored - self.curve.warning).max(0.0);
        let seconds = above * self.curve.slope + 1.0 / self.curve.rate;
        ((cost as f64 * seconds * NANOS_IN_SECOND).round() as u64).max(1)
    }

    fn turn(&self, now: u64, cost: u32) -> u64 {
        self.last.map_or(now, |last| last.saturating_add(self.distance(u64::from(cost))).max(now))
    }

    pub(super) fn ask(&mut self, queueing: Queueing, now: u64, cost: u32) -> Verdict {
        wait_for_turn(self.turn(now, cost), self.distance(1), queueing.unwrap_or(0), now)
    }

    pub(super) fn take(&mut self, now: u64, cost: u32) {
        let turn = self.turn(now, cost);
        self.pass(turn, u64::from(cost));
    }

    fn pass(&mut self, turn: u64, cost: u64) {
        self.stored = (self.stored_at(turn) - cost as f64).max(0.0);
        self.last = Some(turn);
    }

    /// Tokens, with those that came back in the time that nobody used.
    fn stored_at(&self, at: u64) -> f64 {
        let due = self.last.map_or(0, |last| last.saturating_add(self.distance(1)));
        let unused = at.saturating_sub(due) as f64 / NANOS_IN_SECOND;
        (self.stored + unused * self.curve.rate).min(self.curve.max)
    }

    pub(super) fn charge(&mut self, queueing: Queueing, now: u64, cost: i64) {
        if cost > 0 {
            let count = cost.unsigned_abs();
            let latest = now.saturating_add(queueing.unwrap_or(0)).saturating_add(self.distance(1));
            let turn = self.turn(now, 1).saturating_add(if count > 1 { self.distance(count - 1) } else { 0 });
            self.pass(turn.min(latest).max(self.last.unwrap_or_default()), count);
        } else if let (Some(last), None, true) = (self.last, queueing, cost < 0) {
            // Nobody waits for a later turn.
            self.last = Some(last.saturating_sub(self.distance(cost.unsigned_abs())));
        }
    }

    pub(super) fn adopt(&mut self, curve: Curve, now: u64) {
        let due = self.last.map(|last| last.saturating_add(self.distance(1)));
        self.stored = self.stored_at(now);
        self.stored *= curve.max / self.curve.max;
        self.curve = curve;
        if due.is_some_and(|due| due < now) {
            // The next one is due now, and the time until now is not counted again.
            self.last = Some(now.saturating_sub(self.distance(1)));
        }
    }

    pub(super) fn coldness(&self) -> f64 {
        self.stored / self.curve.max
    }

    pub(super) fn set_coldness(&mut self, coldness: f64) {
        self.stored = self.curve.max * coldness.clamp(0.0, 1.0);
    }

    pub(super) fn used(&self, now: u64) -> u64 {
        let Some(last) = self.last else { return u64::from(self.stored < self.curve.max) };
        let one = self.distance(1);
        let waiting = last.saturating_add(one).saturating_sub(now).div_ceil(one);
        waiting.max(u64::from(self.stored_at(now) < self.curve.max))
    }
}
