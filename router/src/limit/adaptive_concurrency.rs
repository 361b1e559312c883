//! Adaptive concurrency: as many requests at the same time as can be served without their becoming slower. What a key
//! holds is counted as in [`concurrency`](super::concurrency); how many it may hold is learned from how its requests end.
//!
//! * Gradient2 (Netflix's concurrency-limits): answers that are slower than they are in the long run, by more than the
//!   tolerance, lower the limit, and others raise it by a few. Only how long answers took counts: one that was not
//!   served says nothing about that, and many a failure is fast.
//! * AIMD: an answer that came in time raises the limit by one, and one that was late or not served lowers it to a
//!   share.
//!
//! A limit that is not used says nothing about a larger one: it is raised only while at least half of it is held.

use gridrouter_config::model;
use gridrouter_config::model::Adaptation;

use super::concurrency::verdict;
use super::{Answered, Policy, Unit, Verdict};

/// Requests that Gradient2 lets queue behind the limit: what the limit grows by, smoothed.
const QUEUE: f64 = 4.0;
/// How much of a new limit is taken over at a time.
const SMOOTHING: f64 = 0.2;
/// Answers in which the long run forgets.
const LONG_WINDOW: f64 = 600.0;
/// The first answers, of which the long run is the mean.
const FIRST_ANSWERS: u16 = 10;
/// When the long run is so many times an answer, it is taken to be out of date,
const OUTDATED: f64 = 2.0;
/// and comes down by this.
const DECAY: f64 = 0.95;
/// The least that a limit is multiplied with, before smoothing.
const STEEPEST: f64 = 0.5;

/// An adaptive limit's values, prepared.
#[derive(Debug)]
pub struct AdaptiveConcurrency {
    initial: f64,
    min: f64,
    max: f64,
    by: By,
}

#[derive(Debug)]
enum By {
    Gradient2 { tolerance: f64 },
    Aimd { backoff: f64, latency_nanos: u64 },
}

impl AdaptiveConcurrency {
    pub(super) fn new(values: model::AdaptiveConcurrency) -> Self {
        let max = values.max.max(1);
        let min = values.min.clamp(1, max);
        let by = match values.by {
            Adaptation::Gradient2 { tolerance_thousandths } => {
                By::Gradient2 { tolerance: f64::from(tolerance_thousandths.max(1_000)) / 1_000.0 }
            }
            Adaptation::Aimd { backoff_thousandths, latency } => By::Aimd {
                backoff: f64::from(backoff_thousandths.min(1_000)) / 1_000.0,
                latency_nanos: u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX),
            },
        };
        Self { initial: f64::from(values.initial.clamp(min, max)), min: f64::from(min), max: f64::from(max), by }
    }

    /// The most that it can become: what it is, nobody knows beforehand.
    pub(super) fn policy(&self) -> Policy {
        Policy { quota: self.max as u64, window_nanos: None, unit: Unit::ConcurrentRequests }
    }

    pub(super) fn fresh(&self, _now: u64) -> State {
        State(Box::new(Learned { held: 0, limit: self.initial, long: 0.0, answers: 0, initial: self.initial }))
    }

    /// The limit, within the values of now: they may have been edited.
    fn limit(&self, learned: &Learned) -> f64 {
        learned.limit.clamp(self.min, self.max)
    }

    #[inline]
    pub(super) fn ask(&self, state: &mut State, _now: u64, cost: u32) -> Verdict {
        verdict(state.0.held, self.limit(&state.0) as u32, cost)
    }

    #[allow(clippy::unused_self, reason = "every algorithm has it")]
    pub(super) fn take(&self, state: &mut State, _now: u64, cost: u32) {
        state.0.held = state.0.held.saturating_add(cost);
    }

    /// Permits come back when the request is over, and not otherwise.
    #[allow(clippy::unused_self, reason = "every algorithm has it")]
    pub(super) fn charge(&self, _state: &mut State, _now: u64, _cost: i64) {}

    /// Gives back what a request held, and learns from how it ended: nothing, if the client gave it up.
    pub(super) fn release(&self, state: &mut State, _now: u64, cost: u32, answered: Answered) {
        let learned = &mut *state.0;
        let held = learned.held;
        learned.held = held.saturating_sub(cost);
        // What nobody held says nothing: the key was forgotten meanwhile, or the limit had another algorithm.
        if held == 0 || !answered.counts {
            return;
        }
        let limit = self.limit(learned);
        let next = match (&self.by, answered.took_nanos) {
            (By::Gradient2 { tolerance }, Some(took)) if answered.served => {
                learned.gradient2(limit, held, (took as f64).max(1.0), *tolerance)
            }
            (By::Aimd { backoff, .. }, _) if !answered.served => limit * backoff,
            (By::Gradient2 { .. }, _) | (By::Aimd { .. }, None) => return,
            (By::Aimd { backoff, latency_nanos }, Some(took)) if took > *latency_nanos => limit * backoff,
            (By::Aimd { .. }, Some(_)) if f64::from(held) * 2.0 >= limit.floor() => limit + 1.0,
            (By::Aimd { .. }, Some(_)) => limit,
        };
        // Whole permits, as they are given out; a share of few is still one fewer.
        let next = if matches!(self.by, By::Aimd { .. }) { next.floor() } else { next };
        learned.limit = next.clamp(self.min, self.max);
        learned.initial = self.initial;
    }
}

#[derive(Debug, Clone)]
struct Learned {
    held: u32,
    /// As it was learned, with its fractions.
    limit: f64,
    /// How long answers take in the long run, in nanoseconds.
    long: f64,
    /// Answers that it was learned from, up to [`FIRST_ANSWERS`].
    answers: u16,
    /// Where a fresh one begins.
    initial: f64,
}

impl Learned {
    /// The limit after an answer that took `short` nanoseconds while `held` were held.
    fn gradient2(&mut self, limit: f64, held: u32, short: f64, tolerance: f64) -> f64 {
        if self.answers < FIRST_ANSWERS {
            let before = f64::from(self.answers);
            self.answers += 1;
            self.long = (self.long * before + short) / f64::from(self.answers);
        } else {
            self.long += (short - self.long) * (2.0 / (LONG_WINDOW + 1.0));
        }
        let long = self.long;
        if long / short > OUTDATED {
            self.long *= DECAY;
        }
        if f64::from(held) < limit / 2.0 {
            return limit;
        }
        let gradient = (tolerance * long / short).clamp(STEEPEST, 1.0);
        limit * (1.0 - SMOOTHING) + (limit * gradient + QUEUE) * SMOOTHING
    }
}

/// What was counted for one key, and learned from it. Elsewhere, because it is more than an entry of the table has room
/// for.
#[derive(Debug, Clone)]
pub(super) struct State(Box<Learned>);

impl State {
    pub(super) fn held(&mut self) -> &mut u32 {
        &mut self.0.held
    }

    /// Permits that are out are the last thing to be forgotten, as in [`concurrency`](super::concurrency); what was
    /// learned counts as one request.
    #[allow(clippy::float_cmp, reason = "nothing was reckoned if it is the same")]
    pub(super) fn used(&self, _now: u64) -> u64 {
        let learned = self.0.answers > 0 || self.0.limit != self.0.initial;
        if self.0.held == 0 { u64::from(learned) } else { (1 << 32) + u64::from(self.0.held) }
    }

    #[allow(clippy::unused_self, reason = "every algorithm's state has it")]
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Learned>()
    }
}

#[cfg(test)]
mod tests;
