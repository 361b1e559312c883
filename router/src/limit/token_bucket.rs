//! A token bucket, as GCRA: the decision is the `governor` crate's, the state is ours.
//!
//! GCRA keeps one number per key, the time at which the bucket is full again (the theoretical arrival time, `tat`). A
//! request is admitted iff `now >= tat - period * (burst - 1)`, and then `tat = max(tat, now) + period`.
//!
//! governor ties that number to the start of one limiter with one quota for all keys and for ever, in a map that only
//! grows. So the limiter gets none of that to keep. The rule above speaks of differences only, therefore it decides
//! *relative to now*: its clock stands still at 0, and its "key" is the state itself, `tat - now`, which we load before
//! and store after. Limiters come and go with snapshots, and the states stay in
//! [`LimitTable`](super::table::LimitTable).
//!
//! A state carries the quota that it was counted under. When the quota was edited, the next check rescales it once:
//! `tat' = now + min((tat - now) * period' / period, period' * burst')`. The requests used stay used, up to the new
//! burst: an edit hands out no fresh burst, and makes nobody wait for what the new quota would not have refused. What
//! was used above the new burst is set aside, so that an edit which is undone hands out none either: it is used again
//! under the next quota, less what time without requests has given back by then.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota as GovernorQuota, RateLimiter};

use gridrouter_config::model;

use super::{Before, Left, NEVER, Outcome, Policy, Unit, Verdict};

/// Longest time in which a bucket may fill, 2^62 ns or 146 years. governor adds and multiplies without checks; below
/// this bound nothing overflows.
const LONGEST_FILL_NANOS: u64 = 1 << 62;
/// Longest time in which one request is earned, 2^48 - 1 ns or 78 hours: a state has no room for more. The slowest rate
/// there is earns one in an hour.
const LONGEST_PERIOD_NANOS: u64 = (1 << 48) - 1;

/// A token bucket's values, prepared.
#[derive(Debug)]
pub struct TokenBucket {
    /// Time in which one request is earned, at least 1.
    period_nanos: u64,
    /// The most requests admitted at once, at least 1.
    burst: u32,
    limiter: RateLimiter<Backlog, InTheKey, StandingStill, StateInformationMiddleware>,
}

impl TokenBucket {
    pub(super) fn new(values: model::TokenBucket) -> Self {
        Self::of(u64::try_from(values.rate.period().as_nanos()).unwrap_or(u64::MAX), values.burst)
    }

    /// A period or burst of 0 counts as 1, and what is longer than the longest period or fill is cut.
    fn of(period_nanos: u64, burst: u32) -> Self {
        let period_nanos = period_nanos.clamp(1, LONGEST_PERIOD_NANOS);
        let longest = u32::try_from(LONGEST_FILL_NANOS / period_nanos).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(burst.min(longest)).unwrap_or(NonZeroU32::MIN);
        let rate = GovernorQuota::with_period(Duration::from_nanos(period_nanos))
            .unwrap_or(GovernorQuota::per_second(NonZeroU32::MAX));
        let limiter = RateLimiter::new(rate.allow_burst(burst), InTheKey, StandingStill);
        Self { period_nanos, burst: burst.get(), limiter }
    }

    /// Time in which the whole burst comes back.
    fn fill_nanos(&self) -> u64 {
        self.period_nanos * u64::from(self.burst)
    }

    pub(super) fn policy(&self) -> Policy {
        Policy { quota: u64::from(self.burst), window_nanos: Some(self.fill_nanos()), unit: Unit::Requests }
    }

    pub(super) fn fresh(&self, _now: u64) -> State {
        State::new(0, self.period_nanos, self.burst, 0)
    }

    #[inline]
    pub(super) fn ask(&self, state: &mut State, now: u64, cost: u32) -> Verdict {
        self.adopt(state, now);
        // A clock that went far back leaves a longer one, which admits nothing either.
        let backlog = Backlog(Cell::new(state.tat.saturating_sub(now).min(LONGEST_FILL_NANOS * 2)));
        let cost = NonZeroU32::new(cost).unwrap_or(NonZeroU32::MIN);
        if cost.get() > self.burst {
            let (left, reset_nanos) = (self.left(backlog.0.get()), backlog.0.get());
            return Verdict { outcome: Outcome::Refuse, remaining: left, retry_after_nanos: NEVER, reset_nanos };
        }
        let (outcome, remaining, retry_after_nanos) = match self.limiter.check_key_n(&backlog, cost) {
            Ok(Ok(after)) => (Outcome::Pass, u64::from(after.remaining_burst_capacity()), 0),
            Ok(Err(until)) => {
                let wait = until.wait_time_from(StandingStill.now());
                (Outcome::Refuse, self.left(backlog.0.get()), u64::try_from(wait.as_nanos()).unwrap_or(NEVER))
            }
            Err(_larger_than_the_burst) => (Outcome::Refuse, 0, NEVER),
        };
        Verdict { outcome, remaining, retry_after_nanos, reset_nanos: backlog.0.get() }
    }

    /// Takes a request that passes, and says what is left and what undoes it. To ask and to take later costs half as much again.
    #[inline]
    pub(super) fn pass(&self, state: &mut State, now: u64, cost: u32) -> Option<(Left, Before)> {
        let cost = NonZeroU32::new(cost).filter(|cost| cost.get() <= self.burst)?;
        self.adopt(state, now);
        let backlog = Backlog(Cell::new(state.tat.saturating_sub(now).min(LONGEST_FILL_NANOS * 2)));
        let after = self.limiter.check_key_n(&backlog, cost).ok()?.ok()?;
        let before = state.before();
        self.take(state, now, cost.get());
        let remaining = u64::from(after.remaining_burst_capacity());
        Some((Left { remaining, reset_nanos: backlog.0.get() }, before))
    }

    /// Requests that could pass now.
    fn left(&self, backlog: u64) -> u64 {
        self.fill_nanos().saturating_sub(backlog) / self.period_nanos
    }

    #[inline]
    pub(super) fn take(&self, state: &mut State, now: u64, cost: u32) {
        state.forgive(now);
        state.tat = state.tat.max(now).saturating_add(self.period_nanos.saturating_mul(u64::from(cost.max(1))));
    }

    /// What is charged beyond what there is makes a debt, of one burst at the most.
    pub(super) fn charge(&self, state: &mut State, now: u64, cost: i64) {
        self.adopt(state, now);
        let time = self.period_nanos.saturating_mul(cost.unsigned_abs());
        if cost < 0 {
            state.tat = state.tat.saturating_sub(time);
        } else {
            state.forgive(now);
            let deepest = now.saturating_add(self.fill_nanos().saturating_mul(2));
            state.tat = state.tat.max(now).saturating_add(time).min(deepest.max(state.tat));
        }
    }

    /// Rescales a state that was counted under other values.
    #[inline]
    fn adopt(&self, state: &mut State, now: u64) {
        if state.period_nanos() != self.period_nanos || state.burst != self.burst {
            self.rescale(state, now);
        }
    }

    #[cold]
    fn rescale(&self, state: &mut State, now: u64) {
        let used = u128::from(state.uncut().saturating_sub(now));
        let rescaled = used * u128::from(self.period_nanos) / u128::from(state.period_nanos().max(1));
        let rescaled = u64::try_from(rescaled).unwrap_or(u64::MAX);
        let kept = rescaled.min(self.fill_nanos());
        let aside = (rescaled - kept).div_ceil(self.period_nanos);
        *state = State::new(now.saturating_add(kept), self.period_nanos, self.burst, aside);
    }
}

/// What was counted for one key. Packed, because an entry of the table has 20 bytes for it.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed(4))]
pub(super) struct State {
    /// When the bucket is full again; in the past it is full.
    tat: u64,
    period_low: u32,
    period_high: u16,
    /// Requests used above the burst when it was edited, as [`rounded_up`] has them.
    aside: u16,
    burst: u32,
}

impl State {
    fn new(tat: u64, period_nanos: u64, burst: u32, aside: u64) -> Self {
        Self {
            tat,
            period_low: period_nanos as u32,
            period_high: (period_nanos >> 32) as u16,
            aside: rounded_up(aside),
            burst,
        }
    }

    #[inline]
    fn period_nanos(&self) -> u64 {
        u64::from(self.period_high) << 32 | u64::from(self.period_low)
    }

    /// When the bucket would be full again if nothing had been set aside.
    fn uncut(&self) -> u64 {
        self.tat.saturating_add(requests(self.aside).saturating_mul(self.period_nanos()))
    }

    /// What is taken changes no more than this.
    #[inline]
    pub(super) fn before(&self) -> Before {
        Before([self.tat, self.aside.into()])
    }

    pub(super) fn restore(&mut self, Before([tat, aside]): Before) {
        (self.tat, self.aside) = (tat, aside as u16);
    }

    /// Gives back of what was set aside what time without requests would have given back.
    #[inline]
    fn forgive(&mut self, now: u64) {
        if self.aside > 0 && self.tat < now {
            let earned = (now - self.tat) / self.period_nanos().max(1);
            self.aside = rounded_up(requests(self.aside).saturating_sub(earned));
        }
    }

    pub(super) fn used(&self, now: u64) -> u64 {
        self.uncut().saturating_sub(now).div_ceil(self.period_nanos().max(1))
    }

    #[allow(clippy::unused_self, reason = "every algorithm's state has it")]
    pub(super) fn heap_bytes(&self) -> usize {
        0
    }
}

/// A number of requests in 16 bits: 11 bits of it, rounded up, and how far they are shifted.
fn rounded_up(requests: u64) -> u16 {
    let requests = requests.min(1 << 41);
    let shift = (u64::BITS - requests.leading_zeros()).saturating_sub(11);
    let digits = requests.div_ceil(1 << shift);
    // Rounded up, they may need a bit more: half of them, shifted once more.
    let (digits, shift) = if digits > 0x7ff { (digits.div_ceil(2), shift + 1) } else { (digits, shift) };
    (digits as u16) | (shift as u16) << 11
}

fn requests(rounded: u16) -> u64 {
    u64::from(rounded & 0x7ff) << (rounded >> 11)
}

/// governor's key: how far `tat` lies ahead of now, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Backlog(Cell<u64>);

impl Hash for Backlog {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.get().hash(hasher);
    }
}

/// governor's store: the state is the key handed in. The shard's lock is held meanwhile.
#[derive(Debug)]
struct InTheKey;

impl StateStore for InTheKey {
    type Key = Backlog;

    fn measure_and_replace<T, F, E>(&self, key: &Backlog, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, after) = decide(Some(Nanos::from(key.0.get())))?;
        key.0.set(after.as_u64());
        Ok(outcome)
    }
}

/// governor's clock: it is always now.
#[derive(Debug)]
struct StandingStill;

impl Clock for StandingStill {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(0)
    }
}

#[cfg(test)]
mod tests;
