//! Sentinel's warming up (`WarmUpController`, and `WarmUpRateLimiterController` where requests wait for their turn).
//!
//! A key stores tokens, as many as it is cold. Above `warning` of them, the more there are the fewer requests pass a
//! second: from the rate down to the rate through the cold factor. Once a second, when a request comes, what passed in
//! the second before is taken from the tokens; and the rate is added to them, unless the key is being warmed up: that
//! is, unless there are more than `warning` and at least the cold rate passed.
//!
//! It is Sentinel's to the digit, but for three things. A fresh key is cold whatever the clock says. Where `max` is not
//! above `warning` there is no ramp, in the place of a division by zero. And a request that costs more than may pass in
//! a second passes when there was nothing before it for as long as it would take at the rate of the moment, instead of
//! never. Rates that steps of a second cannot count are [`spaced`](super::spaced).

use smallvec::SmallVec;

use super::super::{Outcome, Verdict};
use super::leap_array::LeapArray;
use super::{Queueing, wait_for_turn};

const NANOS_IN_MILLI: u64 = 1_000_000;
const NANOS_IN_SECOND: f64 = 1e9;
const SECOND_MILLIS: u64 = 1_000;
/// Ends of buckets that are looked ahead to for when a refused request passes.
const BUCKETS_AHEAD: usize = 64;
/// Seconds ahead for which is known how many requests have their turn in them.
const SECONDS_AHEAD: usize = 64;

/// How many pass a second at how many tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Curve {
    /// Requests a second when warm.
    pub(super) rate: f64,
    pub(super) warning: i64,
    pub(super) max: i64,
    pub(super) slope: f64,
    /// The cold rate in whole requests.
    cold: i64,
}

impl Curve {
    pub(super) fn new(rate: f64, period_seconds: f64, cold_factor: u32) -> Self {
        let factor = cold_factor.max(2);
        let warning = (period_seconds * rate) as i64 / i64::from(factor - 1);
        let max = warning.saturating_add((2.0 * period_seconds * rate / (1.0 + f64::from(factor))) as i64);
        let slope = if max > warning { f64::from(factor - 1) / rate / (max - warning) as f64 } else { 0.0 };
        Self { rate, warning, max, slope, cold: rate as i64 / i64::from(factor) }
    }

    /// Requests a second that pass at so many tokens.
    pub(super) fn rate_at(&self, stored: i64) -> f64 {
        if stored >= self.warning && self.max > self.warning {
            (1.0 / ((stored - self.warning) as f64 * self.slope + 1.0 / self.rate)).next_up()
        } else {
            self.rate
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Steps {
    pub(super) curve: Curve,
    pub(super) stored: i64,
    /// The second that tokens were counted for last, in milliseconds.
    pub(super) filled: u64,
    passed: LeapArray,
    /// Seconds and how many passed in each: those of the last two, and with queueing those to come.
    seconds: SmallVec<[(u64, u64); 2]>,
    /// The last time that one passed, or its turn, in nanoseconds.
    last: Option<u64>,
    /// The latest time seen, in milliseconds.
    latest: u64,
}

impl Steps {
    /// As Sentinel begins: at no tokens, filled last at the beginning of time.
    pub(super) fn empty(curve: Curve) -> Self {
        let (passed, seconds) = (LeapArray::default(), SmallVec::new());
        Self { curve, stored: 0, filled: 0, passed, seconds, last: None, latest: 0 }
    }

    pub(super) fn cold(curve: Curve, now: u64) -> Self {
        let millis = now / NANOS_IN_MILLI;
        Self { stored: curve.max, filled: millis - millis % SECOND_MILLIS, ..Self::empty(curve) }
    }

    /// Brings the tokens up to date.
    pub(super) fn sync(&mut self, millis: u64) {
        let second = millis - millis % SECOND_MILLIS;
        if second > self.filled {
            self.stored = self.stored_in(second);
            self.filled = second;
            self.seconds.retain(|(at, _)| *at >= second);
        }
    }

    /// The tokens in a second that has not come yet, if nothing passes until then.
    fn stored_in(&self, second: u64) -> i64 {
        let before = self.passed_in(second.saturating_sub(SECOND_MILLIS));
        let mut stored = self.stored;
        let warming = self.stored > self.curve.warning && before >= self.curve.cold;
        if !warming {
            stored = (stored as f64 + (second - self.filled) as f64 * self.curve.rate / 1_000.0) as i64;
        }
        stored.min(self.curve.max).saturating_sub(before).max(0)
    }

    fn passed_in(&self, second: u64) -> i64 {
        let count = self.seconds.iter().find(|(at, _)| *at == second).map_or(0, |(_, count)| *count);
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// What passed in about the last second, and what may.
    pub(super) fn rates(&mut self, millis: u64) -> (u64, f64) {
        self.sync(millis);
        (self.passed.sum(millis), self.curve.rate_at(self.stored))
    }

    /// The same at a time to come, if nothing passes until then.
    fn rates_at(&self, millis: u64) -> (u64, f64) {
        let (mut passed, second) = (self.passed, millis - millis % SECOND_MILLIS);
        let stored = if second > self.filled { self.stored_in(second) } else { self.stored };
        (passed.sum(millis), self.curve.rate_at(stored))
    }

    /// Counts what passes at a time.
    pub(super) fn add(&mut self, millis: u64, count: u64) {
        self.passed.add(millis, count);
        self.add_to_second(millis, count);
    }

    /// Counts what passes at a time that may be to come.
    fn add_to_second(&mut self, millis: u64, count: u64) {
        let second = millis - millis % SECOND_MILLIS;
        let full = self.seconds.len() >= SECONDS_AHEAD;
        match self.seconds.last_mut() {
            Some((at, passed)) if *at >= second || full => *passed = passed.saturating_add(count),
            _ => self.seconds.push((second, count)),
        }
    }

    fn millis(&mut self, now: u64) -> u64 {
        self.latest = self.latest.max(now / NANOS_IN_MILLI);
        self.latest
    }

    pub(super) fn ask(&mut self, queueing: Queueing, now: u64, cost: u32) -> Verdict {
        let millis = self.millis(now);
        let (passed, rate) = self.rates(millis);
        if let Some(longest) = queueing {
            let one = nanos(1, rate);
            return wait_for_turn(self.turn(rate, now, cost), one, longest, now);
        }
        let left = (rate as u64).saturating_sub(passed);
        let reset = |array: &LeapArray| array.empty_at().saturating_mul(NANOS_IN_MILLI).saturating_sub(now);
        let refuse = |steps: &Self, retry_after_nanos: u64| Verdict {
            outcome: Outcome::Refuse,
            remaining: left,
            retry_after_nanos: retry_after_nanos.max(1),
            reset_nanos: reset(&steps.passed),
        };
        // A clock that went back stays where it was.
        let clock = now.max(millis.saturating_mul(NANOS_IN_MILLI));
        let next = self.passes_at(passed, rate, clock, cost);
        if next > clock {
            return refuse(self, self.retry_at(next, cost) - now);
        }
        let remaining = left.saturating_sub(u64::from(cost));
        let next = millis.saturating_add(SECOND_MILLIS).saturating_mul(NANOS_IN_MILLI).saturating_sub(now);
        Verdict { outcome: Outcome::Pass, remaining, retry_after_nanos: 0, reset_nanos: next }
    }

    /// When a request passes, from `now` on, as long as nothing changes; at the latest when a bucket ends.
    fn passes_at(&self, passed: u64, rate: f64, now: u64, cost: u32) -> u64 {
        let next = LeapArray::next_change(now / NANOS_IN_MILLI).saturating_mul(NANOS_IN_MILLI);
        if f64::from(cost) > rate {
            self.turn(rate, now, cost).min(next)
        } else if passed.saturating_add(u64::from(cost)) <= rate as u64 {
            now
        } else {
            next
        }
    }

    /// When a refused request passes, if no other comes; it is not before `at`. What passed counts less, and the rate
    /// changes, only where a bucket ends, so it goes from one end to the next. What costs so much that its time is beyond
    /// the last of them is told the time that a cold key takes, which may be too late, but never too early.
    #[cold]
    fn retry_at(&self, mut at: u64, cost: u32) -> u64 {
        for _ in 0..BUCKETS_AHEAD {
            let (passed, rate) = self.rates_at(at / NANOS_IN_MILLI);
            let next = self.passes_at(passed, rate, at, cost);
            if next <= at {
                return at;
            }
            at = next;
        }
        self.turn(self.curve.rate_at(self.curve.max), at, cost)
    }

    /// When as much time has passed since the last one as a request takes.
    fn turn(&self, rate: f64, now: u64, cost: u32) -> u64 {
        self.last.map_or(now, |last| last.saturating_add(nanos(u64::from(cost), rate)).max(now))
    }

    pub(super) fn take(&mut self, queueing: Queueing, now: u64, cost: u32) {
        let millis = self.millis(now);
        let at = if queueing.is_some() {
            let turn = self.turn(self.curve.rate_at(self.stored), now, cost);
            self.add_to_second(turn / NANOS_IN_MILLI, u64::from(cost));
            turn
        } else {
            self.add(millis, u64::from(cost));
            now
        };
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
    }

    pub(super) fn charge(&mut self, queueing: Queueing, now: u64, cost: i64) {
        let millis = self.millis(now);
        let (_, rate) = self.rates(millis);
        let count = cost.unsigned_abs();
        if cost < 0 {
            self.passed.take_back(count);
            if let Some((_, passed)) = self.seconds.last_mut() {
                *passed = passed.saturating_sub(count);
            }
        } else if cost > 0 {
            if let Some(longest) = queueing {
                self.add_to_second(millis, count);
                self.wait_behind(count, rate, longest, now);
            } else {
                self.add(millis, count);
            }
        }
    }

    /// Moves the turns of those that have none yet, by no more than the longest wait.
    fn wait_behind(&mut self, count: u64, rate: f64, longest: u64, now: u64) {
        let latest = now.saturating_add(longest).saturating_add(nanos(1, rate));
        let turn = self.turn(rate, now, 1).saturating_add(nanos(count - 1, rate));
        self.last = Some(turn.min(latest).max(self.last.unwrap_or_default()));
    }

    /// Goes on with turns where it was counted how many pass in a second, or the other way round. What passed counts.
    pub(super) fn change_queueing(&mut self, queueing: Queueing, now: u64) {
        let millis = self.millis(now);
        let (passed, rate) = self.rates(millis);
        if let Some(longest) = queueing {
            if passed > 0 {
                self.wait_behind(passed, rate, longest, now);
            }
        } else {
            let passed = self.seconds.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
            self.passed = LeapArray::default();
            self.passed.add(millis, passed);
        }
    }

    /// Tokens under another curve, as cold as it was. What passed is kept, and turns that were given stay.
    pub(super) fn adopt(&mut self, curve: Curve, now: u64) {
        let millis = self.millis(now);
        self.sync(millis);
        self.stored = (self.coldness() * curve.max as f64) as i64;
        self.curve = curve;
    }

    /// From 0 to 1. One that had no ramp was warm.
    pub(super) fn coldness(&self) -> f64 {
        if self.curve.max > 0 { self.stored as f64 / self.curve.max as f64 } else { 0.0 }
    }

    pub(super) fn used(&self, queueing: bool, now: u64) -> u64 {
        let mut copy = self.clone();
        let millis = copy.millis(now);
        let (passed, rate) = copy.rates(millis);
        let waiting = match copy.last {
            Some(last) if queueing => last.saturating_add(nanos(1, rate)).saturating_sub(now).div_ceil(nanos(1, rate)),
            _ => 0,
        };
        let warmer = copy.stored < copy.curve.max || copy.seconds.iter().any(|(_, count)| *count > 0);
        passed.max(waiting).max(u64::from(warmer))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        if self.seconds.spilled() { self.seconds.capacity() * size_of::<(u64, u64)>() } else { 0 }
    }
}

/// Time that so many take at a rate a second, at least 1.
pub(super) fn nanos(count: u64, rate: f64) -> u64 {
    ((count as f64 / rate * NANOS_IN_SECOND).round() as u64).max(1)
}
