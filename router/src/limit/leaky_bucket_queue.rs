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
//! turns are ever closer than the faster of the two rates has them. Gaps of the old rate end with the first turn given
//! at the new one.

use std::time::Duration;

use gridrouter_config::model;

use super::{NEVER, Outcome, Policy, Unit, Verdict};

/// Gaps of one key that are kept for others. More leave their turns unused.
const MAX_GAPS: usize = 64;

/// A queue's values, prepared.
#[derive(Debug)]
pub struct LeakyBucketQueue {
    /// The time in which `count` turns are given: kept apart, so that no rounding adds up over a cost.
    per_nanos: u128,
    /// At 0 there are no turns.
    count: u128,
    max_queueing_nanos: u64,
}

impl LeakyBucketQueue {
    pub(super) fn new(values: model::LeakyBucketQueue) -> Self {
        Self::of(values.rate.per, values.rate.count, values.max_queueing)
    }

    fn of(per: Duration, count: u32, max_queueing: Duration) -> Self {
        let per_nanos = u128::from(nanos(per));
        Self { per_nanos, count: u128::from(count), max_queueing_nanos: nanos(max_queueing) }
    }

    /// Time from the turn before to that of a request, rounded to the nearest nanosecond as Sentinel rounds.
    #[inline]
    fn distance(&self, cost: u32) -> u64 {
        let twice = 2 * self.per_nanos * u128::from(cost);
        u64::try_from((twice + self.count) / (2 * self.count).max(1)).unwrap_or(u64::MAX)
    }

    fn one(&self) -> u64 {
        self.distance(1).max(1)
    }

    pub(super) fn policy(&self) -> Policy {
        // The one that passes at once, and those that wait.
        let quota = (self.max_queueing_nanos / self.one()).saturating_add(1);
        let window = self.one().saturating_mul(quota);
        Policy { quota, window_nanos: Some(window), unit: Unit::Requests }
    }

    pub(super) fn fresh(&self, _now: u64) -> State {
        State::Plain(Turns { last: NO_TURN, distance: Distance::of(self.one()) })
    }

    /// When the turn at the end of the queue is.
    #[inline]
    fn at_the_end(&self, last: Option<u64>, now: u64, cost: u32) -> u64 {
        last.map_or(now, |last| last.saturating_add(self.distance(cost)).max(now))
    }

    /// When the next request's turn is.
    #[inline]
    fn turn(&self, state: &State, now: u64, cost: u32) -> u64 {
        let gap = if cost <= 1 { state.gaps().iter().find(|gap| **gap >= now) } else { None };
        gap.copied().unwrap_or_else(|| self.at_the_end(state.last(), now, cost))
    }

    /// Requests of cost 1 that would be given turns.
    fn room(&self, last: Option<u64>, now: u64) -> u64 {
        let wait = self.at_the_end(last, now, 1) - now;
        self.max_queueing_nanos.checked_sub(wait).map_or(0, |left| (left / self.one()).saturating_add(1))
    }

    #[inline]
    pub(super) fn ask(&self, state: &mut State, now: u64, cost: u32) -> Verdict {
        let cost = cost.max(1);
        let reset_nanos =
            |last: Option<u64>| last.map_or(0, |last| last.saturating_add(self.one()).saturating_sub(now));
        if self.count == 0 {
            let (outcome, retry_after_nanos) = (Outcome::Refuse, NEVER);
            return Verdict { outcome, remaining: 0, retry_after_nanos, reset_nanos: NEVER };
        }
        let last = state.last();
        let turn = self.turn(state, now, cost);
        let gaps = state.gaps().iter().filter(|gap| **gap >= now && **gap != turn).count() as u64;
        let wait = turn - now;
        if wait > self.max_queueing_nanos {
            let retry_after_nanos = wait - self.max_queueing_nanos;
            let remaining = self.room(last, now).saturating_add(gaps);
            return Verdict { outcome: Outcome::Refuse, remaining, retry_after_nanos, reset_nanos: reset_nanos(last) };
        }
        let outcome = if wait == 0 { Outcome::Pass } else { Outcome::Wait(wait) };
        let last = Some(last.unwrap_or(turn).max(turn));
        let remaining = self.room(last, now).saturating_add(gaps);
        Verdict { outcome, remaining, retry_after_nanos: 0, reset_nanos: reset_nanos(last) }
    }

    #[inline]
    pub(super) fn take(&self, state: &mut State, now: u64, cost: u32) {
        let turn = self.turn(state, now, cost.max(1));
        let turns = Turns { last: state.last().unwrap_or(turn).max(turn), distance: Distance::of(self.one()) };
        match state {
            State::Gapped(gapped) if gapped.turns.distance == turns.distance => {
                gapped.turns = turns;
                gapped.gaps.retain(|gap| *gap >= now && *gap != turn);
                if gapped.gaps.is_empty() {
                    *state = State::Plain(turns);
                }
            }
            State::Plain(_) | State::Gapped(_) => *state = State::Plain(turns),
        }
    }

    /// What is charged afterwards moves the turns of those that have none yet, by no more than the longest wait. Nothing
    /// is given back so: whoever had been given a later turn has it, and the time before it is gone.
    pub(super) fn charge(&self, state: &mut State, now: u64, cost: i64) {
        if cost <= 0 || self.count == 0 {
            return;
        }
        let more = u32::try_from(cost - 1).unwrap_or(u32::MAX);
        let last = self.at_the_end(state.last(), now, 1).saturating_add(self.distance(more));
        let latest = now.saturating_add(self.max_queueing_nanos).saturating_add(self.one());
        let last = last.min(latest.max(state.last().unwrap_or_default()));
        match state {
            State::Plain(turns) => turns.last = last,
            State::Gapped(gapped) => gapped.turns.last = last,
        }
    }

    /// Takes a turn back that has not come.
    pub(super) fn leave(&self, state: &mut State, now: u64, turn: u64, cost: u32) {
        let turns = state.turns();
        let Some(last) = state.last() else { return };
        if turn < now || turn > last {
            return;
        }
        // What the turn before it was is known only at the rate that it was given at.
        if turn != last || turns.distance != Distance::of(self.one()) {
            return state.keep_gap(now, turn);
        }
        let mut last = turn.saturating_sub(self.distance(cost.max(1)));
        if let State::Gapped(gapped) = state {
            while let Some(gap) = gapped.gaps.pop_if(|gap| *gap >= last) {
                last = gap.saturating_sub(self.one());
            }
            if !gapped.gaps.is_empty() {
                gapped.turns.last = last;
                return;
            }
        }
        *state = State::Plain(Turns { last, distance: turns.distance });
    }
}

/// In the place of a turn: none was given yet.
const NO_TURN: u64 = u64::MAX;

/// What was counted for one key. The gaps, which are seldom there, are elsewhere.
#[derive(Debug, Clone)]
pub(super) enum State {
    Plain(Turns),
    Gapped(Box<Gapped>),
}

/// Packed, because an entry of the table has 20 bytes for a state.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed(4))]
pub(super) struct Turns {
    /// The last turn given.
    last: u64,
    /// From one turn to the next when that was.
    distance: Distance,
}

#[derive(Debug, Clone)]
pub(super) struct Gapped {
    turns: Turns,
    /// Turns before the last that were given back, in order.
    gaps: Vec<u64>,
}

impl State {
    fn turns(&self) -> Turns {
        match self {
            Self::Plain(turns) => *turns,
            Self::Gapped(gapped) => gapped.turns,
        }
    }

    fn last(&self) -> Option<u64> {
        let last = self.turns().last;
        (last != NO_TURN).then_some(last)
    }

    fn gaps(&self) -> &[u64] {
        match self {
            Self::Plain(_) => &[],
            Self::Gapped(gapped) => &gapped.gaps,
        }
    }

    fn keep_gap(&mut self, now: u64, turn: u64) {
        match self {
            Self::Plain(turns) => *self = Self::Gapped(Box::new(Gapped { turns: *turns, gaps: vec![turn] })),
            Self::Gapped(gapped) => {
                gapped.gaps.retain(|gap| *gap >= now);
                if let (Err(at), true) = (gapped.gaps.binary_search(&turn), gapped.gaps.len() < MAX_GAPS) {
                    gapped.gaps.insert(at, turn);
                }
            }
        }
    }

    pub(super) fn used(&self, now: u64) -> u64 {
        let distance = self.turns().distance.nanos();
        let busy_until = self.last().map_or(0, |last| last.saturating_add(distance));
        busy_until.saturating_sub(now).div_ceil(distance)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Gapped(gapped) => size_of::<Gapped>() + gapped.gaps.capacity() * size_of::<u64>(),
        }
    }
}

/// A time in 32 bits: in nanoseconds up to two seconds, and above in milliseconds, rounded up. Any two rates have two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Distance(u32);

impl Distance {
    const IN_MILLIS: u32 = 1 << 31;

    #[inline]
    fn of(nanos: u64) -> Self {
        match u32::try_from(nanos) {
            Ok(nanos) if nanos < Self::IN_MILLIS => Self(nanos),
            _ => Self(Self::IN_MILLIS | nanos.div_ceil(1_000_000).min(u64::from(Self::IN_MILLIS - 1)) as u32),
        }
    }

    /// At least 1.
    fn nanos(self) -> u64 {
        let number = u64::from(self.0 & !Self::IN_MILLIS).max(1);
        if self.0 & Self::IN_MILLIS == 0 { number } else { number * 1_000_000 }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
