//! The limit stage: whether a request is admitted.

pub mod headers;
pub mod key;
pub mod table;
pub mod token_bucket;

use std::time::Duration;

use self::token_bucket::TokenBucket;

/// What a token bucket limit admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Time in which one request is earned, in nanoseconds, at least 1.
    pub period_nanos: u64,
    /// The most requests admitted at once, at least 1.
    pub burst: u32,
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
}

/// What a limit says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request may pass.
    pub admitted: bool,
    /// Requests that could follow at once.
    pub remaining: u32,
    /// When a refused request could be admitted; zero when admitted.
    pub retry_after: Duration,
    /// When the whole burst is there again.
    pub reset: Duration,
}
