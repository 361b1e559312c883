//! How long waits were: exact while there are few different ones, then to three digits.

use std::collections::BTreeMap;

/// Different values that are kept apart.
const MOST: usize = 1 << 16;
/// Binary digits that are kept when there are more.
const DIGITS: u32 = 11;

/// Values and how often each was seen, in bounded memory.
#[derive(Debug, Default)]
pub struct Tally {
    seen: BTreeMap<u64, u64>,
    count: u64,
    total: u128,
    longest: u64,
    /// Whether values are rounded, down and by less than a thousandth.
    rounded: bool,
}

impl Tally {
    /// Adds one value.
    pub fn add(&mut self, value: u64) {
        self.count += 1;
        self.total += u128::from(value);
        self.longest = self.longest.max(value);
        *self.seen.entry(if self.rounded { round(value) } else { value }).or_default() += 1;
        if self.seen.len() > MOST && !self.rounded {
            self.rounded = true;
            for (value, count) in std::mem::take(&mut self.seen) {
                *self.seen.entry(round(value)).or_default() += count;
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean, rounded down; 0 of none.
    pub fn mean(&self) -> u64 {
        u64::try_from(self.total / u128::from(self.count.max(1))).unwrap_or(u64::MAX)
    }

    /// The longest.
    pub fn longest(&self) -> u64 {
        self.longest
    }

    /// The smallest value that so many of a hundred do not exceed; 0 of none.
    pub fn percentile(&self, percent: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100).max(1);
        let mut below = 0_u128;
        for (value, count) in &self.seen {
            below += u128::from(*count);
            if below >= rank {
                return *value;
            }
        }
        0
    }
}

fn round(value: u64) -> u64 {
    let drop = (u64::BITS - value.leading_zeros()).saturating_sub(DIGITS);
    value >> drop << drop
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_exact() {
        let mut tally = Tally::default();
        assert_eq!((tally.mean(), tally.percentile(50), tally.longest()), (0, 0, 0));
        (1..=200).for_each(|value| tally.add(value));
        assert_eq!((tally.count(), tally.mean(), tally.longest()), (200, 100, 200));
        assert_eq!((tally.percentile(50), tally.percentile(99), tally.percentile(100)), (100, 198, 200));
    }

    #[test]
    fn many_values_take_little_room_and_are_nearly_right() {
        let mut tally = Tally::default();
        (1..=300_000_u64).for_each(|value| tally.add(value * 1_000_003));
        tally.add(u64::MAX);
        assert!(tally.seen.len() <= MOST, "{}", tally.seen.len());
        let half = 150_000 * 1_000_003;
        assert!(tally.percentile(50).abs_diff(half) < half / 1_000, "{}", tally.percentile(50));
        assert_eq!(tally.longest(), u64::MAX);
    }
}
