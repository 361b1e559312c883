//! Warming up: a rate that begins low, rises while it is used, and falls again while it is not. What is behind the
//! limit may fill its caches and its pools of connections before all of the load comes.
//!
//! There are two forms of it, [`sentinel`]'s and [`guava`]'s. Both let a cold key have the rate through the cold factor,
//! and a key under full load the whole rate after about the period. A third file, [`spaced`], is Sentinel's form at rates
//! that its steps of a second cannot count.
//!
//! An edit keeps how cold a key is and what has passed: it hands out nothing.

mod guava;
mod leap_array;
mod sentinel;
mod spaced;

use gridrouter_config::model;
use gridrouter_config::model::WarmUpForm;

use self::guava::Permits;
use self::sentinel::Steps;
use self::spaced::Spaced;
use super::{Outcome, Policy, Unit, Verdict};

/// The longest wait, in nanoseconds; none: nobody waits.
type Queueing = Option<u64>;

/// Below so many requests a second a part of one matters: from here on it is less than a twentieth of the rate.
const LOW_RATE: f64 = 20.0;

/// A warm-up's values, prepared.
#[derive(Debug)]
pub struct WarmUp {
    curve: Curve,
    queueing: Queueing,
    policy: Policy,
}

#[derive(Debug, Clone, Copy)]
enum Curve {
    Steps(sentinel::Curve),
    Spaced(spaced::Curve),
    Permits(guava::Curve),
}

impl WarmUp {
    pub(super) fn new(values: model::WarmUp) -> Self {
        // Above nothing and not above what a clock can count, so that every number below is one.
        let per = values.rate.per.as_secs_f64();
        let rate = (f64::from(values.rate.count) / per).clamp(1e-9, 1e9);
        let period = values.period.as_secs_f64();
        let curve = match values.form {
            WarmUpForm::Guava => Curve::Permits(guava::Curve::new(rate, period, f64::from(values.cold_factor.max(2)))),
            WarmUpForm::Sentinel
                if rate < f64::from(values.cold_factor.max(2)) || (rate < LOW_RATE && rate.fract() > 0.0) =>
            {
                Curve::Spaced(spaced::Curve::new(rate, period, values.cold_factor))
            }
            WarmUpForm::Sentinel => Curve::Steps(sentinel::Curve::new(rate, period, values.cold_factor)),
        };
        let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let (quota, window_nanos) = (u64::from(values.rate.count), Some(nanos(values.rate.per)));
        let policy = Policy { quota, window_nanos, unit: Unit::Requests };
        Self { curve, queueing: values.max_queueing.map(nanos), policy }
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    /// Cold, whatever the clock says.
    pub(super) fn fresh(&self, now: u64) -> State {
        let of = match self.curve {
            Curve::Steps(curve) => Of::Steps(Steps::cold(curve, now)),
            Curve::Spaced(curve) => Of::Spaced(Spaced::cold(curve)),
            Curve::Permits(curve) => Of::Permits(Permits::cold(curve)),
        };
        State(Box::new(Counted { of, queueing: self.queueing.is_some() }))
    }

    pub(super) fn ask(&self, state: &mut State, now: u64, cost: u32) -> Verdict {
        self.adopt(state, now);
        match &mut state.0.of {
            Of::Steps(steps) => steps.ask(self.queueing, now, cost.max(1)),
            Of::Spaced(spaced) => spaced.ask(self.queueing, now, cost.max(1)),
            Of::Permits(permits) => permits.ask(self.queueing, now, cost.max(1)),
        }
    }

    pub(super) fn take(&self, state: &mut State, now: u64, cost: u32) {
        match &mut state.0.of {
            Of::Steps(steps) => steps.take(self.queueing, now, cost.max(1)),
            Of::Spaced(spaced) => spaced.take(now, cost.max(1)),
            Of::Permits(permits) => {
                permits.acquire(now, u64::from(cost.max(1)));
            }
        }
    }

    pub(super) fn charge(&self, state: &mut State, now: u64, cost: i64) {
        self.adopt(state, now);
        match &mut state.0.of {
            Of::Steps(steps) => steps.charge(self.queueing, now, cost),
            Of::Spaced(spaced) => spaced.charge(self.queueing, now, cost),
            Of::Permits(permits) => permits.charge(self.queueing, now, cost, self.policy.quota),
        }
    }

    /// Brings a state up to date that was counted under other values.
    fn adopt(&self, state: &mut State, now: u64) {
        state.0.queueing = self.queueing.is_some();
        match (self.curve, &mut state.0.of) {
            (Curve::Steps(curve), Of::Steps(steps)) if curve == steps.curve => {}
            (Curve::Steps(curve), Of::Steps(steps)) => steps.adopt(curve, now),
            (Curve::Spaced(curve), Of::Spaced(spaced)) if curve == spaced.curve => {}
            (Curve::Spaced(curve), Of::Spaced(spaced)) => spaced.adopt(curve, now),
            (Curve::Permits(curve), Of::Permits(permits)) if curve == permits.curve => {}
            (Curve::Permits(curve), Of::Permits(permits)) => permits.adopt(curve, now),
            (Curve::Steps(_) | Curve::Spaced(_) | Curve::Permits(_), _) => self.instead(state, now),
        }
    }

    /// In another form: as cold, and with what was used charged.
    #[cold]
    fn instead(&self, state: &mut State, now: u64) {
        let used = i64::try_from(state.used(now).min(self.policy.quota)).unwrap_or(i64::MAX);
        let coldness = match &state.0.of {
            Of::Steps(steps) => steps.coldness(),
            Of::Spaced(spaced) => spaced.coldness(),
            Of::Permits(permits) => permits.stored / permits.curve.max,
        };
        *state = self.fresh(now);
        match &mut state.0.of {
            Of::Steps(steps) => steps.stored = (coldness * steps.curve.max as f64) as i64,
            Of::Spaced(spaced) => spaced.set_coldness(coldness),
            Of::Permits(permits) => permits.stored = permits.curve.max * coldness.clamp(0.0, 1.0),
        }
        self.charge(state, now, used);
    }
}

/// What is said of a request whose turn is at a time, if those after it are `one` apart.
fn wait_for_turn(turn: u64, one: u64, longest: u64, now: u64) -> Verdict {
    let wait = turn.saturating_sub(now);
    let reset_nanos = wait.saturating_add(one);
    if wait > longest {
        let retry_after_nanos = wait - longest;
        return Verdict { outcome: Outcome::Refuse, remaining: 0, retry_after_nanos, reset_nanos };
    }
    let outcome = if wait == 0 { Outcome::Pass } else { Outcome::Wait(wait) };
    Verdict { outcome, remaining: (longest - wait) / one, retry_after_nanos: 0, reset_nanos }
}

/// What was counted for one key. Elsewhere, because it is more than an entry of the table has room for.
#[derive(Debug, Clone)]
pub(super) struct State(Box<Counted>);

#[derive(Debug, Clone)]
struct Counted {
    of: Of,
    queueing: bool,
}

#[derive(Debug, Clone)]
enum Of {
    Steps(Steps),
    Spaced(Spaced),
    Permits(Permits),
}

impl State {
    pub(super) fn used(&self, now: u64) -> u64 {
        match &self.0.of {
            Of::Steps(steps) => steps.used(self.0.queueing, now),
            Of::Spaced(spaced) => spaced.used(now),
            Of::Permits(permits) => permits.used(now),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let more = match &self.0.of {
            Of::Steps(steps) => steps.heap_bytes(),
            Of::Spaced(_) | Of::Permits(_) => 0,
        };
        size_of::<Counted>() + more
    }
}

#[cfg(test)]
mod tests;
