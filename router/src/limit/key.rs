//! What a limit counts apart, as a hash.

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Bytes kept before they are hashed. Most keys are shorter, and xxh3 is at its best up to here.
const BUFFER: usize = 128;
/// Bytes of a hash.
const HASH: usize = 16;

/// The hash of a limit and of what it counts apart: 128 bits, seeded at random in each process, so that nobody outside
/// can aim at another's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u64; 2]);

impl KeyHash {
    /// In two halves: a `u128` would align all that has a key in it to 16 bytes, for which memory is slower to get.
    fn new(hash: u128) -> Self {
        Self([hash as u64, (hash >> 64) as u64])
    }

    /// Two halves that are as good as independent.
    pub(super) fn halves(self) -> [u64; 2] {
        self.0
    }
}

/// Builds a [`KeyHash`] without allocating. Parts keep their borders: `ab`, `c` is not `a`, `bc`.
#[derive(Debug, Clone)]
pub struct KeyHasher {
    /// That of the process, and of the limit.
    seed: u64,
    len: usize,
    buffer: [u8; BUFFER],
}

impl KeyHasher {
    /// Begins the key of a limit. The id must be the same for a limit as long as its counts are to be found, and must
    /// not be used for another meanwhile.
    #[inline]
    pub fn new(seed: u64, limit_id: u32) -> Self {
        Self { seed: seed_of(seed, limit_id), len: 0, buffer: [0; BUFFER] }
    }

    /// The key of a limit that has one part, in one step. It is not what [`part`](Self::part) and
    /// [`finish`](Self::finish) give: a limit must use one or the other.
    #[inline]
    pub fn only(seed: u64, limit_id: u32, bytes: &[u8]) -> KeyHash {
        KeyHash::new(xxh3_128_with_seed(bytes, seed_of(seed, limit_id)))
    }

    /// Adds a part.
    #[inline]
    #[must_use]
    pub fn part(mut self, bytes: &[u8]) -> Self {
        self.add(bytes);
        self
    }

    /// Adds a part in place.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        self.push(&(bytes.len() as u64).to_le_bytes());
        if bytes.len() > BUFFER - HASH {
            // The length above says that these are not the bytes themselves.
            self.push(&xxh3_128_with_seed(bytes, self.seed).to_le_bytes());
        } else {
            self.push(bytes);
        }
    }

    /// The hash.
    #[inline]
    pub fn finish(&self) -> KeyHash {
        KeyHash::new(self.hash())
    }

    /// At most `BUFFER - HASH` bytes, so that they fit after the buffer was folded into its hash.
    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        if self.len + bytes.len() > BUFFER {
            let folded = self.hash().to_le_bytes();
            self.buffer[..HASH].copy_from_slice(&folded);
            self.len = HASH;
        }
        self.buffer[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    #[inline]
    fn hash(&self) -> u128 {
        xxh3_128_with_seed(&self.buffer[..self.len], self.seed)
    }
}

/// A seed for each limit: the golden ratio spreads the ids over all bits (Knuth, 6.4).
#[inline]
fn seed_of(seed: u64, limit_id: u32) -> u64 {
    seed ^ u64::from(limit_id).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(seed: u64, limit: u32, parts: &[&[u8]]) -> KeyHash {
        parts.iter().fold(KeyHasher::new(seed, limit), |hasher, part| hasher.part(part)).finish()
    }

    #[test]
    fn everything_counts() {
        let same = key(1, 7, &[b"ab", b"c"]);
        assert_eq!(same, key(1, 7, &[b"ab", b"c"]));
        for other in [
            key(2, 7, &[b"ab", b"c"]),
            key(1, 8, &[b"ab", b"c"]),
            key(1, 7, &[b"a", b"bc"]),
            key(1, 7, &[b"abc"]),
            key(1, 7, &[b"abc", b""]),
            key(1, 7, &[b"", b"abc"]),
            key(1, 7, &[]),
        ] {
            assert_ne!(same, other);
        }
    }

    #[test]
    fn everything_counts_in_keys_of_one_part() {
        let same = KeyHasher::only(1, 7, b"abc");
        assert_eq!(same, KeyHasher::only(1, 7, b"abc"));
        for other in [
            KeyHasher::only(2, 7, b"abc"),
            KeyHasher::only(1, 8, b"abc"),
            KeyHasher::only(1, 7, b"ab"),
            KeyHasher::only(1, 7, b""),
            KeyHasher::only(1, 7, &[b'a'; 1_000]),
        ] {
            assert_ne!(same, other);
        }
    }

    #[test]
    fn parts_of_any_length_are_told_apart() {
        let mut seen = HashMap::new();
        for length in 0..1_000 {
            let long = vec![b'x'; length];
            for parts in [vec![long.as_slice()], vec![&long, b"y"], vec![b"y", &long], vec![&long, &long]] {
                let previous = seen.insert(key(3, 1, &parts), length);
                assert_eq!(previous.filter(|_| length > 0), None, "length {length}");
            }
        }
    }

    proptest! {
        #[test]
        fn equal_keys_come_from_equal_parts(
            a in prop::collection::vec(prop::collection::vec(0_u8..3, 0..300), 0..4),
            b in prop::collection::vec(prop::collection::vec(0_u8..3, 0..3), 0..4),
        ) {
            let hash = |parts: &[Vec<u8>]| key(5, 1, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(hash(&a) == hash(&b), a == b);
        }
    }
}
