//! How long to wait before trying again.

use std::time::Duration;

/// The bound of the first delay. Routers that lost etcd in the same moment come back spread over at least this.
const FIRST: Duration = Duration::from_secs(1);
/// The bound of every delay.
const LONGEST: Duration = Duration::from_secs(30);

/// Full jitter: a random time between nothing and a bound that doubles with every failure. It spreads the arrivals of
/// many evenly, where a fixed delay with a little noise has them all come back at once.
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    bound: Duration,
    random: Random,
}

impl Backoff {
    pub(super) fn new(random: Random) -> Self {
        Self { first: FIRST, longest: LONGEST, bound: FIRST, random }
    }

    /// Waits a tenth as long, for tests that would otherwise only wait.
    pub(super) fn hurried(mut self, factor: u32) -> Self {
        self.first = FIRST / factor.max(1);
        self.bound = self.first;
        self
    }

    /// Never waits longer than this.
    pub(super) fn at_most(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self.first = self.first.min(longest);
        self.bound = self.first;
        self
    }

    /// The next delay.
    pub(super) fn next(&mut self) -> Duration {
        let delay = self.bound.mul_f64(self.random.fraction());
        self.bound = (self.bound * 2).min(self.longest.max(self.first));
        delay
    }

    /// The next delay where there are others to ask: it grows only when all of them have failed in turn.
    pub(super) fn next_of(&mut self, failures: usize, members: usize) -> Duration {
        let (bound, delay) = (self.bound, self.next());
        if !failures.is_multiple_of(members.max(1)) {
            self.bound = bound;
        }
        delay
    }

    /// It worked: the next delay is short again.
    pub(super) fn reset(&mut self) {
        self.bound = self.first;
    }
}

/// Random numbers, good enough to spread and not to keep a secret (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Other numbers in every process, and every time.
    pub fn new() -> Self {
        use std::hash::{BuildHasher, Hasher};
        // The standard library takes the keys of its hash maps from the system's random numbers.
        Self(std::collections::hash_map::RandomState::new().build_hasher().finish())
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0 and less than 1.
    fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_are_short_again_after_success() {
        let mut backoff = Backoff::new(Random::seeded(7));
        for bound in [1, 2, 4, 8, 16, 30, 30, 30] {
            assert!(backoff.next() <= Duration::from_secs(bound));
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
        let mut bounded = Backoff::new(Random::seeded(7)).at_most(Duration::from_secs(3));
        assert!((0..50).all(|_| bounded.next() <= Duration::from_secs(3)));
    }

    #[test]
    fn one_member_of_three_that_fails_does_not_keep_from_the_others() {
        let mut backoff = Backoff::new(Random::seeded(7));
        for (failures, bound) in (1..).zip([1, 1, 1, 2, 2, 2, 4]) {
            assert!(backoff.next_of(failures, 3) <= Duration::from_secs(bound));
        }
        assert_eq!(backoff.bound, Duration::from_secs(4));
    }

    /// Fifty routers lose etcd together; it is back after ten seconds. No second sees more than a third of them.
    #[test]
    fn those_who_left_together_come_back_spread() {
        for seed in 0..20 {
            let mut arrivals: Vec<Duration> = Vec::new();
            for router in 0..50 {
                let mut backoff = Backoff::new(Random::seeded(seed * 1000 + router));
                let mut now = Duration::ZERO;
                while now < Duration::from_secs(10) {
                    now += backoff.next();
                }
                arrivals.push(now);
            }
            arrivals.sort();
            let busiest = arrivals.iter().map(|first| {
                arrivals.iter().filter(|a| **a >= *first && **a < *first + Duration::from_secs(1)).count()
            });
            let busiest = busiest.max().unwrap();
            assert!(busiest <= 17, "seed {seed}: {busiest} of 50 within a second: {arrivals:?}");
        }
    }
}
