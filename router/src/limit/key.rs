//! What a limit counts apart, as a hash.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// What makes the keys of one process differ from those of all others.
#[derive(Debug)]
pub struct KeySeed {
    bytes: u64,
    parts: SharedSeed,
}

impl KeySeed {
    /// That of a random number.
    pub fn new(random: u64) -> Self {
        Self { bytes: random, parts: SharedSeed::from_u64(random) }
    }

    /// What a key has of these bytes.
    #[inline]
    pub fn part(&self, bytes: &[u8]) -> KeyPart {
        KeyPart(xxh3_128_with_seed(bytes, self.bytes))
    }

    /// Begins the key of a limit. The id must be the same for a limit as long as its counts are to be found, and must
    /// not be used for another meanwhile.
    #[inline]
    pub fn key(&self, limit_id: u32) -> KeyHasher<'_> {
        // The limit is multiplied in as a part is: were it only added, the parts that make up for the difference between
        // two limits would be the same in every process.
        let begin = KeyHasher { so_far: [self.bytes, self.bytes.rotate_left(32)], seed: &self.parts };
        begin.with(KeyPart::of(u64::from(limit_id), GOLDEN))
    }
}

/// The golden ratio: a number like any other, but none that a seed is made of by hand.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a key has of one of the things that it is made of: these themselves where they are short and of one length, or
/// else a hash, which serves all limits that count by the same thing.
#[derive(Debug, Clone, Copy)]
pub struct KeyPart(u128);

impl KeyPart {
    /// Two numbers.
    #[inline]
    pub fn of(one: u64, other: u64) -> Self {
        Self(u128::from(one) << 64 | u128::from(other))
    }
}

/// The hash of a limit and of what it counts apart: 128 bits, seeded at random in each process, so that nobody outside
/// can aim at another's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(
    // Two halves: a `u128` would align all that has a key in it to 16 bytes, for which memory is slower to get.
    [u64; 2],
);

impl KeyHash {
    /// Two halves that are as good as independent.
    pub(super) fn halves(self) -> [u64; 2] {
        self.0
    }
}

/// Builds a [`KeyHash`] without allocating. Parts keep their borders: `ab`, `c` is not `a`, `bc`.
#[derive(Debug, Clone)]
pub struct KeyHasher<'s> {
    so_far: [u64; 2],
    seed: &'s SharedSeed,
}

impl KeyHasher<'_> {
    /// Adds a part.
    #[inline]
    #[must_use]
    pub fn with(mut self, KeyPart(part): KeyPart) -> Self {
        // One of the two the other way round, as they share half of what they multiply by.
        for (so_far, part) in self.so_far.iter_mut().zip([part, part.rotate_left(64)]) {
            let mut hasher = FoldHasher::with_seed(*so_far, self.seed);
            hasher.write_u128(part);
            *so_far = hasher.finish();
        }
        self
    }

    /// The hash.
    #[inline]
    pub fn finish(&self) -> KeyHash {
        KeyHash(self.so_far)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(seed: u64, limit: u32, parts: &[&[u8]]) -> KeyHash {
        let seed = KeySeed::new(seed);
        parts.iter().fold(seed.key(limit), |key, part| key.with(seed.part(part))).finish()
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

    /// Who knows a key of one limit must not know one of another that has half of it: only one half tells entries apart.
    #[test]
    fn no_part_makes_up_for_another_limit_in_every_process() {
        let half = |seed: u64, limit: u32, part: u64| {
            let hash = KeySeed::new(seed).key(limit).with(KeyPart::of(6, part)).finish();
            hash.halves()[0]
        };
        for seed in 0..1_000 {
            let apart = 2_u64.wrapping_mul(GOLDEN) ^ 9_u64.wrapping_mul(GOLDEN);
            for difference in [0, 2 ^ 9, apart] {
                assert_ne!(half(seed, 2, 0x77), half(seed, 9, 0x77 ^ difference), "{seed} {difference:x}");
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
