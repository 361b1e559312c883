//! The limit stage: whether a request is admitted.
//!
//! A [`PreparedQuota`] is one limit's algorithm with its parameters, prepared when a snapshot is compiled. A
//! [`LimitTable`](table::LimitTable) outlives snapshots and holds what was counted, by [`KeyHash`](key::KeyHash).
//! Time is handed in, in nanoseconds since an epoch of the process; nothing here reads a clock.
//!
//! A new algorithm is a file beside `token_bucket.rs`, a variant in [`PreparedQuota`] and one in `State`.

pub mod headers;
pub mod key;
pub mod table;
pub mod token_bucket;

use std::time::Duration;

use self::token_bucket::TokenBucket;

/// What a token bucket admits: `burst` requests at once, and one more for every `period_nanos` that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Time in which one request is earned, in nanoseconds, at least 1.
    pub period_nanos: u64,
    /// The most requests admitted at once, at least 1.
    pub burst: u32,
}

/// What a limit says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request may pass.
    pub admitted: bool,
    /// Requests that could follow at once.
    pub remaining: u32,
    /// Time until a refused request could be admitted; zero when admitted.
    pub retry_after: Duration,
    /// Time until the whole burst is there again, if no further request comes.
    pub reset: Duration,
}

/// A limit's algorithm and its parameters, prepared once when a snapshot is compiled.
#[derive(Debug)]
pub enum PreparedQuota {
    /// At a steady rate, with bursts.
    TokenBucket(TokenBucket),
}

impl PreparedQuota {
    /// Prepares a token bucket.
    pub fn token_bucket(quota: Quota) -> Self {
        Self::TokenBucket(TokenBucket::new(quota))
    }

    fn fresh(&self) -> State {
        match self {
            Self::TokenBucket(bucket) => State::TokenBucket(bucket.fresh()),
        }
    }

    fn check(&self, state: &mut State, now_nanos: u64) -> Verdict {
        match (self, state) {
            (Self::TokenBucket(bucket), State::TokenBucket(state)) => bucket.check(state, now_nanos),
        }
    }

    fn refund(&self, state: &mut State, now_nanos: u64) {
        match (self, state) {
            (Self::TokenBucket(bucket), State::TokenBucket(state)) => bucket.refund(state, now_nanos),
        }
    }
}

/// What was counted for one key.
#[derive(Debug, Clone, Copy)]
enum State {
    TokenBucket(token_bucket::State),
}

impl State {
    /// Requests that would be handed out once more if this state were forgotten; 0 when it says no more than a fresh
    /// one.
    fn used(&self, now_nanos: u64) -> u64 {
        match self {
            Self::TokenBucket(state) => state.used(now_nanos),
        }
    }
}
