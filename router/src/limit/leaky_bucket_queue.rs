//! A leaky bucket as a queue: requests leave at a steady rate and evenly spaced, and who comes too early waits for its
//! turn. As Sentinel's uniform queueing (`ThrottlingController`), but always in nanoseconds: there, rates above 1,000 a
//! second were rounded to whole milliseconds for long (alibaba/Sentinel#1615).
//!
//! A key has one number, the time of the last turn given. A request's turn is `cost` after it, or now if that is later:
//! time without requests earns no burst, and the first request's own cost is not charged to the next. A turn that lies
//! further ahead than `max_queueing` is refused; exactly as far is not.
//!
//! Whoever gives a turn back, because its client has gone, leaves a gap. The last turn given is taken back with all gaps
//! before it, and any other gap is the turn of the next request.
//!
//! An edited rate moves no turn that was given. The next one follows the last one at the new distance, so that no two
//! turns are ever closer than the faster of the two rates has them.

use std::time::Duration;

use gridrouter_config::model;

use super::{NEVER, Outcome, Policy, Unit, Verdict};

/// Gaps of one key that are kept for others. More leave their turns unused.
const MAX_GAPS: usize = 64;

/// A queue's values, prepared.
#[derive(Debug)]
pub struct LeakyBucketQueue {
    /// Time between the turns of requests of cost 1, times how many `per` has: so that no rounding adds up.
    per_nanos: u128,
    count: u128,
    max_queueing_nanos: u64,
}

impl LeakyBucketQueue {
    pub(super) fn new(values: model::LeakyBucketQueue) -> Self {
        Self {
            per_nanos: values.rate.per.as_nanos(),
            count: u128::from(values.rate.count.max(1)),
            max_queueing_nanos: nanos(values.max_queueing),
        }
    }

    /// Time from the turn before to that of a request, rounded to the nearest nanosecond as Sentinel rounds.
    #[inline]
    fn distance(&self, cost: u32) -> u64 {
        let twice = 2 * self.per_nanos * u128::from(cost.max(1));
        u64::try_from((twice + self.count) / (2 * self.count)).unwrap_or(u64::MAX)
    }

    pub(super) fn policy(&self) -> Policy {
        // The one that passes at once, and those that wait.
        let quota = 1 + self.max_queueing_nanos / self.distance(1).max(1);
        let window = self.distance(1).saturating_mul(quota);
        Policy { quota, window_nanos: Some(window), unit: Unit::Requests }
    }

    #[allow(clippy::unused_self, reason = "every algorithm has it")]
    pub(super) fn fresh(&self, _now: u64) -> State {
        State { last_turn: NO_TURN, distance_micros: self.distance_micros(), gaps: None }
    }

    fn distance_micros(&self) -> u32 {
        u32::try_from(self.distance(1).div_ceil(1_000)).unwrap_or(u32::MAX)
    }

    /// When the next request's turn is.
    fn turn(&self, state: &State, now: u64, cost: u32) -> u64 {
        let gap = state.gaps.as_ref().filter(|_| cost == 1).and_then(|gaps| gaps.iter().find(|gap| **gap >= now));
        match (gap, state.last()) {
            (Some(gap), _) => *gap,
            (None, Some(last)) => last.saturating_add(self.distance(cost)).max(now),
            (None, None) => now,
        }
    }

    #[inline]
    pub(super) fn ask(&self, state: &mut State, now: u64, cost: u32) -> Verdict {
        let wait = self.turn(state, now, cost) - now;
        let one = self.distance(1).max(1);
        let ahead = state.last().unwrap_or(now).saturating_sub(now);
        let free = self.max_queueing_nanos.saturating_sub(ahead) / one;
        let reset_nanos = state.last().map_or(0, |last| last.saturating_add(one).saturating_sub(now));
        if wait > self.max_queueing_nanos {
            // A cost whose distance alone is longer can only pass when there was nothing before it for that long.
            let retry_after_nanos = (wait - self.max_queueing_nanos).min(NEVER - 1);
            return Verdict { outcome: Outcome::Refuse, remaining: free, retry_after_nanos, reset_nanos };
        }
        let outcome = if wait == 0 { Outcome::Pass } else { Outcome::Wait(wait) };
        let after = self.turn(state, now, cost).saturating_sub(now);
        let remaining = self.max_queueing_nanos.saturating_sub(after) / one;
        Verdict { outcome, remaining, retry_after_nanos: 0, reset_nanos: after.saturating_add(one) }
    }

    pub(super) fn take(&self, state: &mut State, now: u64, cost: u32) {
        let turn = self.turn(state, now, cost);
        if let Some(gaps) = &mut state.gaps {
            gaps.retain(|gap| *gap >= now && *gap != turn);
            if gaps.is_empty() {
                state.gaps = None;
            }
        }
        state.last_turn = state.last().unwrap_or(turn).max(turn);
        state.distance_micros = self.distance_micros();
    }

    /// What is charged afterwards moves the turns of those that have none yet, by no more than the longest wait.
    pub(super) fn charge(&self, state: &mut State, now: u64, cost: i64) {
        let Some(last) = state.last() else { return };
        let count = u32::try_from(cost.unsigned_abs()).unwrap_or(u32::MAX);
        let time = if count == 0 { 0 } else { self.distance(count) };
        state.last_turn = if cost < 0 {
            // Not before the turns that others have.
            last.saturating_sub(time).max(now.min(last))
        } else {
            let longest = now.saturating_add(self.max_queueing_nanos).saturating_add(self.distance(1));
            last.max(now).saturating_add(time).min(longest.max(last))
        };
    }

    /// Takes a turn back that has not come.
    pub(super) fn leave(&self, state: &mut State, now: u64, turn: u64, cost: u32) {
        if turn < now {
            return;
        }
        if state.last() != Some(turn) {
            if cost == 1 {
                let gaps = state.gaps.get_or_insert_default();
                if let Err(at) = gaps.binary_search(&turn)
                    && gaps.len() < MAX_GAPS
                {
                    gaps.insert(at, turn);
                }
            }
            return;
        }
        let mut last = turn.saturating_sub(self.distance(cost));
        if let Some(gaps) = &mut state.gaps {
            while gaps.last().is_some_and(|gap| *gap >= last) {
                gaps.pop();
                last = last.saturating_sub(self.distance(1));
            }
        }
        state.last_turn = last;
    }
}

/// In the place of a turn: none was given yet.
const NO_TURN: u64 = u64::MAX;

/// What was counted for one key.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The last turn given.
    last_turn: u64,
    /// Turns before it that were given back, in order.
    #[expect(clippy::box_collection, reason = "one pointer, and not three words, for what is seldom there")]
    gaps: Option<Box<Vec<u64>>>,
    /// From one turn to the next: only to know when the state says no more than a fresh one.
    distance_micros: u32,
}

impl State {
    fn last(&self) -> Option<u64> {
        (self.last_turn != NO_TURN).then_some(self.last_turn)
    }

    pub(super) fn used(&self, now: u64) -> u64 {
        let distance = u64::from(self.distance_micros).max(1) * 1_000;
        let busy_until = self.last().map_or(0, |last| last.saturating_add(distance));
        busy_until.saturating_sub(now).div_ceil(distance)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.gaps.as_ref().map_or(0, |gaps| size_of::<Vec<u64>>() + gaps.capacity() * size_of::<u64>())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
