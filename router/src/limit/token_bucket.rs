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
//! burst: an edit hands out no fresh burst, and makes nobody wait for what the new quota would not have refused.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota as GovernorQuota, RateLimiter};

use super::{Quota, Verdict};

/// Longest time in which a bucket may fill, 2^62 ns or 146 years. governor adds and multiplies without checks; below
/// this bound nothing overflows.
const LONGEST_FILL_NANOS: u64 = 1 << 62;

/// A token bucket's parameters, prepared.
#[derive(Debug)]
pub struct TokenBucket {
    quota: Quota,
    limiter: RateLimiter<Backlog, InTheKey, StandingStill, StateInformationMiddleware>,
}

impl TokenBucket {
    /// Prepares a token bucket. A period or burst of 0 counts as 1, and a burst that would take more than 146 years to
    /// fill is cut.
    pub fn new(quota: Quota) -> Self {
        let period_nanos = quota.period_nanos.clamp(1, LONGEST_FILL_NANOS);
        let longest = u32::try_from(LONGEST_FILL_NANOS / period_nanos).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(quota.burst.min(longest)).unwrap_or(NonZeroU32::MIN);
        let rate = GovernorQuota::with_period(Duration::from_nanos(period_nanos))
            .unwrap_or(GovernorQuota::per_second(NonZeroU32::MAX));
        Self {
            quota: Quota { period_nanos, burst: burst.get() },
            limiter: RateLimiter::new(rate.allow_burst(burst), InTheKey, StandingStill),
        }
    }

    /// The quota in force.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    pub(super) fn fresh(&self) -> State {
        State { tat: 0, period_nanos: self.quota.period_nanos, burst: self.quota.burst }
    }

    pub(super) fn check(&self, state: &mut State, now_nanos: u64) -> Verdict {
        self.adopt(state, now_nanos);
        let backlog = Backlog(Cell::new(state.tat.saturating_sub(now_nanos)));
        let (admitted, remaining, retry_after) = match self.limiter.check_key(&backlog) {
            Ok(after) => (true, after.remaining_burst_capacity(), Duration::ZERO),
            Err(until) => (false, 0, until.wait_time_from(StandingStill.now())),
        };
        state.tat = now_nanos.saturating_add(backlog.0.get());
        Verdict { admitted, remaining, retry_after, reset: Duration::from_nanos(backlog.0.get()) }
    }

    pub(super) fn refund(&self, state: &mut State, now_nanos: u64) {
        self.adopt(state, now_nanos);
        state.tat = state.tat.saturating_sub(self.quota.period_nanos);
    }

    /// Rescales a state that was counted under another quota.
    fn adopt(&self, state: &mut State, now_nanos: u64) {
        let Quota { period_nanos, burst } = self.quota;
        if state.period_nanos == period_nanos && state.burst == burst {
            return;
        }
        let backlog = u128::from(state.tat.saturating_sub(now_nanos));
        let rescaled = backlog * u128::from(period_nanos) / u128::from(state.period_nanos.max(1));
        let empty = period_nanos.saturating_mul(u64::from(burst));
        let rescaled = u64::try_from(rescaled).unwrap_or(u64::MAX).min(empty);
        *state = State { tat: now_nanos.saturating_add(rescaled), period_nanos, burst };
    }
}

/// What was counted for one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// When the bucket is full again; in the past it is full.
    tat: u64,
    period_nanos: u64,
    burst: u32,
}

impl State {
    pub(super) fn used(&self, now_nanos: u64) -> u64 {
        self.tat.saturating_sub(now_nanos).div_ceil(self.period_nanos.max(1))
    }
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
