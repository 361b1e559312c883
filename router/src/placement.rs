//! The placement stage: which cell a tenant lives in.
//!
//! A grid has 16,384 buckets. A tenant's bucket is fixed for ever; which cell a bucket belongs to is an
//! [`Assignment`], computed when a snapshot is compiled and asked in O(1).
//!
//! Hashes here are a wire format: every router and gridctl must come to the same answer, whatever their versions. The
//! tests pin them.

pub mod ring;
pub mod split;

use xxhash_rust::xxh3::xxh3_64;

/// Slots of a grid.
pub const BUCKETS: usize = 16_384;

/// No cell, in an [`Assignment`]'s table.
const UNASSIGNED: u16 = u16::MAX;

/// The hash of a tenant's id that placement goes by: XXH3, 64 bits, seed 0.
pub fn hash_of(tenant: &[u8]) -> u64 {
    xxh3_64(tenant)
}

/// The bucket of a tenant, 0 to 16,383: [`hash_of`] its id modulo 16,384.
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
    /// For each bucket the index of a cell, or [`UNASSIGNED`].
    cells: Box<[u16]>,
}

impl Assignment {
    /// The cell of a bucket, as an index into the cells that were given; none when there was no cell to take it.
    pub fn cell_of(&self, bucket: u16) -> Option<u16> {
        self.cells.get(usize::from(bucket)).copied().filter(|&cell| cell != UNASSIGNED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_keep_their_bucket_for_ever() {
        // The first is published with xxHash.
        for (tenant, hash, bucket) in [
            ("", 0x2d06_8005_38d3_94c2, 5_314),
            ("acme", 0x44ad_9865_5d88_58e1, 6_369),
            ("tenant-0", 0x134d_d083_be8d_a61b, 9_755),
            ("\u{e4}nne", 0xc377_3b05_da2e_6dd7, 11_735),
        ] {
            assert_eq!((hash_of(tenant.as_bytes()), bucket_of(tenant.as_bytes())), (hash, bucket), "{tenant}");
        }
    }
}
