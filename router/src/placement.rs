//! The placement stage: which cell a tenant lives in.

pub mod ring;

use xxhash_rust::xxh3::xxh3_64;

/// Slots of a grid.
pub const BUCKETS: usize = 16_384;

/// The hash of a tenant's id that placement goes by.
pub fn hash_of(tenant: &[u8]) -> u64 {
    xxh3_64(tenant)
}

/// The bucket of a tenant.
pub fn bucket_of(tenant: &[u8]) -> u16 {
    bucket_of_hash(hash_of(tenant))
}

/// The bucket of a tenant whose [`hash_of`] is known.
pub fn bucket_of_hash(hash: u64) -> u16 {
    (hash % BUCKETS as u64) as u16
}

/// Which cell each bucket belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    cells: Box<[u16]>,
}

impl Assignment {
    /// The cell of a bucket, as an index into the cells that were given; none when no cell can take it.
    pub fn cell_of(&self, bucket: u16) -> Option<u16> {
        self.cells.get(usize::from(bucket)).copied().filter(|&cell| cell != u16::MAX)
    }
}
