//! A token bucket.

use super::Quota;

/// A token bucket's parameters, prepared.
#[derive(Debug)]
pub struct TokenBucket {
    quota: Quota,
}

impl TokenBucket {
    /// Prepares a token bucket.
    pub fn new(quota: Quota) -> Self {
        Self { quota }
    }

    /// What was asked for.
    pub fn quota(&self) -> Quota {
        self.quota
    }
}
