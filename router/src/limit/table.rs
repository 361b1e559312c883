//! What limits have counted, by key.

use std::time::Duration;

use super::key::{KeyHash, KeyHasher};
use super::{PreparedQuota, Verdict};

/// What limits have counted, by key; shared by all threads.
#[derive(Debug)]
pub struct LimitTable {
    seed: u64,
}

impl LimitTable {
    /// A table that keeps at most about this many keys.
    pub fn new(capacity_keys: usize) -> Self {
        Self { seed: capacity_keys as u64 }
    }

    /// Begins the key of a limit. The id must be the limit's for as long as the table lives.
    pub fn key(&self, limit_id: u32) -> KeyHasher {
        KeyHasher::new(self.seed, limit_id)
    }

    /// Decides on one request and counts it if admitted. `now_nanos` is time since an epoch of the process.
    pub fn check(&self, key: KeyHash, quota: &PreparedQuota, now_nanos: u64) -> Verdict {
        self.peek(key, quota, now_nanos)
    }

    /// What [`check`](Self::check) would say; counts nothing.
    pub fn peek(&self, key: KeyHash, quota: &PreparedQuota, now_nanos: u64) -> Verdict {
        let _ = (self, key, quota, now_nanos);
        Verdict { admitted: true, remaining: 0, retry_after: Duration::ZERO, reset: Duration::ZERO }
    }

    /// Gives back one request that was admitted here but refused elsewhere.
    pub fn refund(&self, key: KeyHash, quota: &PreparedQuota, now_nanos: u64) {
        let _ = (self, key, quota, now_nanos);
    }

    /// Keys in the table.
    pub fn live_keys(&self) -> usize {
        0
    }

    /// Keys evicted since the table was made.
    pub fn evictions(&self) -> u64 {
        0
    }
}
