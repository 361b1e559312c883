//! What a limit counts apart, as a hash.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// What makes the keys of one process differ from those of all others.
#[derive(Debug)]
pub struct KeySeed {
    bytes: u64,
    numbers: SharedSeed,
}

/// A random one.
impl Default for KeySeed {
    fn default() -> Self {
        Self::new(RandomState::new().hash_one(0))
    }
}

impl KeySeed {
    /// That of a random number.
    pub fn new(random: u64) -> Self {
        Self { bytes: random, numbers: SharedSeed::from_u64(random) }
    }

    /// What a key has of these bytes.
    #[inline]
    pub fn part(&self, bytes: &[u8]) -> KeyPart {
        match as_number(bytes) {
            Some(number) => self.twice(number, (Number::Bytes as u64).wrapping_add(bytes.len() as u64)),
            None => self.part_of_others(bytes),
        }
    }

    /// What a key has of bytes that are no number.
    #[inline(never)]
    fn part_of_others(&self, bytes: &[u8]) -> KeyPart {
        let hash = xxh3_128_with_seed(bytes, self.bytes);
        // Each half of a key depends on all of the hash: whose first halves are the same are told apart.
        KeyPart(self.follow(self.nothing(), KeyPart([hash as u64, (hash >> 64) as u64])).0)
    }

    /// What a key has of a number.
    #[inline]
    pub fn number(&self, kind: Number, number: u64) -> KeyPart {
        self.twice([number, kind as u64], kind as u64)
    }

    /// A number of a kind. Hashed once, sums of two such would be the same too often.
    #[inline]
    fn twice(&self, number: [u64; 2], kind: u64) -> KeyPart {
        let once = self.follow(self.nothing(), KeyPart(number));
        KeyPart(self.follow(once, KeyPart([kind, kind])).0)
    }

    /// What keys have of a client's address: all of it, or the /64 of IPv6, which is what one customer has.
    #[inline]
    pub fn network(&self, client: IpAddr) -> KeyPart {
        match client {
            IpAddr::V4(ip) => self.number(Number::Ipv4, ip.to_bits().into()),
            IpAddr::V6(ip) => self.number(Number::Ipv6, (ip.to_bits() >> 64) as u64),
        }
    }

    fn nothing(&self) -> KeyHash {
        KeyHash([self.bytes, self.bytes.rotate_left(32)])
    }

    /// The key of a limit that counts all that it meets as one, to which parts are added. The id must be the same for a
    /// limit as long as its counts are to be found, and must not be used for another meanwhile.
    pub fn limit(&self, id: u32) -> KeyHash {
        KeyHash(self.number(Number::Limit, id.into()).0)
    }

    /// Adds one of several parts of one kind, which are told apart by their order.
    #[inline]
    pub fn follow(&self, KeyHash([one, other]): KeyHash, KeyPart([low, high]): KeyPart) -> KeyHash {
        let with_two = |so_far, low: u64, high: u64| {
            let mut hasher = FoldHasher::with_seed(so_far, &self.numbers);
            hasher.write_u128(u128::from(high) << 64 | u128::from(low));
            hasher.finish()
        };
        // One of the two the other way round, as they share half of what they multiply by.
        KeyHash([with_two(one, low, high), with_two(other, high, low)])
    }
}

/// Bytes as a number, of those that have one of their own among all that are as long: 8 to 16, as names of tenants mostly are.
#[inline]
fn as_number(bytes: &[u8]) -> Option<[u64; 2]> {
    if bytes.len() > 16 {
        return None;
    }
    Some([u64::from_le_bytes(*bytes.first_chunk()?), u64::from_le_bytes(*bytes.last_chunk()?)])
}

/// What a number in a key says. Each kind has a hash function of its own: two numbers that are exchanged are another key.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub enum Number {
    /// A limit, by its stable number.
    Limit = 0x9e37_79b9_7f4a_7c15,
    /// A route, by its stable number.
    Route = 0x3c6e_f372_fe94_f82b,
    /// No route.
    NoRoute = 0xdaa6_6d2c_7ddf_743f,
    /// An IPv4 address.
    Ipv4 = 0x78dd_e6e5_fd29_f054,
    /// The first half of an IPv6 address.
    Ipv6 = 0x1715_609f_7c74_6c69,
    /// Bytes that are a number; their number is added to this.
    Bytes = 0xb54c_da58_fbee_877e,
}

/// What a key has of one of the things that it is made of: a hash of 128 bits, which serves all limits that count by the
/// same thing.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyPart([u64; 2]);

/// The hash of a limit and of what it counts apart: 128 bits, seeded at random in each process, so that nobody outside
/// can aim at another's key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct KeyHash(
    // Two halves: a `u128` would align all that has a key in it to 16 bytes, for which memory is slower to get.
    [u64; 2],
);

impl KeyHash {
    /// Adds a part of which a key has one at the most of its kind, in any order: hashes of different functions are summed up, as in
    /// tabulation hashing (Pătraşcu and Thorup, The Power of Simple Tabulation Hashing, 2012).
    #[inline]
    #[must_use]
    pub fn plus(self, KeyPart([low, high]): KeyPart) -> Self {
        Self([self.0[0].wrapping_add(low), self.0[1].wrapping_add(high)])
    }

    /// Two halves that are as good as independent.
    #[inline]
    pub(super) fn halves(self) -> [u64; 2] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn key(seed: u64, limit: u32, parts: &[&[u8]]) -> KeyHash {
        let seed = KeySeed::new(seed);
        parts.iter().fold(seed.limit(limit), |key, part| seed.follow(key, seed.part(part)))
    }

    #[test]
    fn everything_counts() {
        let same = key(1, 7, &[b"ab", b"c"]);
        assert_eq!(same, key(1, 7, &[b"ab", b"c"]));
        for other in [
            key(2, 7, &[b"ab", b"c"]),
            key(1, 8, &[b"ab", b"c"]),
            key(1, 7, &[b"c", b"ab"]),
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

    /// Short names are hashed as numbers: those that are much alike, in sums of two as well, and of any length.
    #[test]
    fn short_names_are_told_apart() {
        let (seed, mut known) = (KeySeed::new(11), [HashSet::new(), HashSet::new()]);
        let mut add =
            |key: KeyHash| assert!(known.iter_mut().zip(key.halves()).all(|(known, half)| known.insert(half)));
        for length in 8..=17 {
            let name = |number: u64| seed.part(format!("{number:0length$}").as_bytes());
            (0..40_000).for_each(|number| add(seed.limit(1).plus(name(number))));
            for first in 0..100 {
                (0..100)
                    .for_each(|second| add(seed.limit(2).plus(name(first)).plus(seed.number(Number::Route, second))));
            }
        }
        // Eight bytes, and the same with what overlaps of them.
        add(seed.limit(3).plus(seed.part(b"aaaaaaaa")));
        add(seed.limit(3).plus(seed.part(b"aaaaaaaaa")));
        add(seed.limit(3).plus(seed.part(&[b'a'; 16])));
    }

    /// Numbers of all kinds are small and follow each other: whichever are exchanged, both halves are others.
    #[test]
    fn numbers_are_told_apart_by_their_kind() {
        const KINDS: [Number; 4] = [Number::Route, Number::NoRoute, Number::Ipv4, Number::Ipv6];
        let (seed, mut known) = (KeySeed::new(9), [HashSet::new(), HashSet::new()]);
        let mut add = |key: KeyHash| {
            let halves = key.halves();
            assert!(known.iter_mut().zip(halves).all(|(known, half)| known.insert(half)), "{key:?}");
        };
        for limit in 0..40_u32 {
            add(seed.limit(limit));
            for first in 0..40 {
                for (at, kind) in KINDS.into_iter().enumerate() {
                    let one = seed.limit(limit).plus(seed.number(kind, first));
                    add(one);
                    for kind in &KINDS[at + 1..] {
                        (0..40).for_each(|second| add(one.plus(seed.number(*kind, second))));
                    }
                }
            }
        }
    }

    /// Whichever bits a place is found by, as many keys have them as others, also where what is counted is numbered.
    #[test]
    fn keys_are_spread_evenly() {
        for seed in (0..8).map(KeySeed::new) {
            let tenant = |tenant: u64| seed.part(format!("tenant-{tenant}").as_bytes());
            let kinds: [&dyn Fn(u64) -> KeyHash; 4] = [
                &|n| seed.limit((n % 8) as u32).plus(tenant(n / 8)),
                &|n| seed.limit(5).plus(seed.number(Number::Ipv4, 0x0a00_0000 + n)),
                &|n| seed.limit((n % 8) as u32).plus(seed.number(Number::Route, n / 8)),
                &|n| seed.limit(5).plus(tenant(n % 256)).plus(seed.number(Number::Route, n / 256)),
            ];
            for (number, kind) in kinds.iter().enumerate() {
                for (half, shift) in [(0, 0), (0, 20), (1, 0), (1, 32)] {
                    let mut counts = [0_u32; 4_096];
                    (0..65_536).for_each(|n| counts[(kind(n).halves()[half] >> shift) as usize % 4_096] += 1);
                    // 16 each are expected. The chi-square statistic has the mean 4,095 and the deviation 90.
                    let chi: f64 = counts.iter().map(|count| (f64::from(*count) - 16.0).powi(2) / 16.0).sum();
                    assert!((3_500.0..4_700.0).contains(&chi), "{number} {half} {shift}: {chi}");
                }
            }
        }
    }

    /// Who knows a key of one limit must not know one of another that has half of it: only one half tells entries apart.
    #[test]
    fn no_part_makes_up_for_another_limit_in_every_process() {
        let half = |seed: u64, limit: u32, number: u64| {
            let seed = KeySeed::new(seed);
            seed.limit(limit).plus(seed.number(Number::Ipv6, number)).halves()[0]
        };
        for seed in 0..1_000 {
            let apart = 2_u64.wrapping_mul(Number::Limit as u64) ^ 9_u64.wrapping_mul(Number::Limit as u64);
            for difference in [0, 2 ^ 9, apart, Number::Limit as u64 ^ Number::Ipv6 as u64] {
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
