//! A sliding window: so many requests in any period of a given length. There are two ways to count them.
//!
//! * [`log`]: by when they came. No period of that length ever has more.
//! * [`counter`]: by two numbers, the requests of this period and of the one before, which is taken to have been even.

mod counter;
mod log;

use gridrouter_config::model;
use gridrouter_config::model::SlidingWindowMethod;

use self::counter::Counter;
use self::log::Log;
use super::{Before, Left, Outcome, Policy, Unit, Verdict};

/// A sliding window's values, prepared.
#[derive(Debug)]
pub struct SlidingWindow {
    window: Window,
    method: SlidingWindowMethod,
}

/// So many in such a time.
#[derive(Debug, Clone, Copy)]
struct Window {
    limit: u32,
    /// At least 1.
    nanos: u64,
}

impl SlidingWindow {
    pub(super) fn new(values: model::SlidingWindow) -> Self {
        let nanos = u64::try_from(values.window.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { window: Window { limit: values.limit, nanos }, method: values.method }
    }

    pub(super) fn policy(&self) -> Policy {
        let Window { limit, nanos } = self.window;
        Policy { quota: u64::from(limit), window_nanos: Some(nanos), unit: Unit::Requests }
    }

    pub(super) fn fresh(&self, now: u64) -> State {
        match self.method {
            SlidingWindowMethod::Log => State::Log(None),
            SlidingWindowMethod::Counter => State::Counter(Counter::new(self.window, now)),
        }
    }

    #[inline]
    pub(super) fn ask(&self, state: &mut State, now: u64, cost: u32) -> Verdict {
        self.adopt(state, now);
        match state {
            State::Log(None) => log::of_nothing(self.window, cost),
            State::Log(Some(log)) => log.ask(self.window, now, cost),
            State::Counter(counter) => counter.ask(self.window, now, cost),
        }
    }

    pub(super) fn take(&self, state: &mut State, now: u64, cost: u32) {
        match state {
            State::Log(log) => log.get_or_insert_default().add(self.window, now, u64::from(cost)),
            State::Counter(counter) => counter.add(u64::from(cost)),
        }
    }

    /// Takes a request that passes, and says what is left and what undoes it. Nothing is taken where it does not pass, where
    /// the state was not counted in this way yet, would take more memory, or cannot say what undoes it.
    #[inline]
    pub(super) fn pass(&self, state: &mut State, now: u64, cost: u32) -> Option<(Left, Before)> {
        match (self.method, state) {
            (SlidingWindowMethod::Log, State::Log(Some(log))) => log.pass(self.window, now, cost),
            (SlidingWindowMethod::Counter, State::Counter(counter)) => {
                counter.turn_over(self.window, now);
                let Verdict { outcome: Outcome::Pass, remaining, reset_nanos, .. } =
                    counter.ask(self.window, now, cost)
                else {
                    return None;
                };
                let before = counter.before();
                counter.add(u64::from(cost));
                Some((Left { remaining, reset_nanos }, before))
            }
            (SlidingWindowMethod::Log | SlidingWindowMethod::Counter, State::Log(_) | State::Counter(_)) => None,
        }
    }

    pub(super) fn charge(&self, state: &mut State, now: u64, cost: i64) {
        let (more, number) = (cost > 0, cost.unsigned_abs());
        // Whoever is charged may have come before an edit: its window is not the one that is counted in.
        match state {
            State::Log(log) if more => log.get_or_insert_default().add(self.window, now, number),
            State::Log(None) => {}
            State::Log(Some(log)) => log.give_back(number),
            State::Counter(counter) if more => counter.add(number),
            State::Counter(counter) => counter.give_back(number),
        }
    }

    /// Brings a state up to date, also one that was counted in the other way: as if all of it had come now.
    fn adopt(&self, state: &mut State, now: u64) {
        match (self.method, &mut *state) {
            (SlidingWindowMethod::Log, State::Log(None)) => {}
            (SlidingWindowMethod::Log, State::Log(Some(log))) => log.expire(self.window, now),
            (SlidingWindowMethod::Counter, State::Counter(counter)) => counter.turn_over(self.window, now),
            (SlidingWindowMethod::Log, State::Counter(_)) | (SlidingWindowMethod::Counter, State::Log(_)) => {
                let used = state.used(now);
                *state = self.fresh(now);
                self.charge(state, now, i64::try_from(used).unwrap_or(i64::MAX));
            }
        }
    }
}

/// What was counted for one key.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// None: nothing came yet.
    Log(Option<Box<Log>>),
    Counter(Counter),
}

impl State {
    /// Undoes that so much was taken since.
    pub(super) fn restore(&mut self, before: Before, cost: u32) {
        match self {
            Self::Log(Some(log)) => log.restore(before, cost),
            Self::Counter(counter) => counter.restore(before),
            Self::Log(None) => {}
        }
    }

    pub(super) fn used(&self, now: u64) -> u64 {
        match self {
            Self::Log(log) => log.as_ref().map_or(0, |log| log.used(now)),
            Self::Counter(counter) => counter.used(now),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Log(log) => log.as_ref().map_or(0, |log| log.bytes()),
            Self::Counter(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests;
