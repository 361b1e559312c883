//! Random choices that can be made again: the same seed gives the same ones.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};

/// A source of random choices.
#[derive(Debug, Clone)]
pub struct Dice {
    seed: u64,
    rolled: u64,
}

impl Dice {
    /// The choices of this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, rolled: 0 }
    }

    /// A seed that is another one every time, and short enough to be typed.
    pub fn fresh_seed() -> u64 {
        RandomState::new().build_hasher().finish() % 1_000_000
    }

    /// Other choices that depend on the same seed.
    #[must_use]
    pub fn other(&mut self) -> Self {
        Self::new(self.roll())
    }

    /// A number below `sides`.
    pub fn below(&mut self, sides: usize) -> usize {
        (self.roll() % sides.max(1) as u64) as usize
    }

    /// One of several things.
    pub fn choose<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        things.get(self.below(things.len()))
    }

    /// Puts things into a random order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }

    fn roll(&mut self) -> u64 {
        self.rolled += 1;
        let mut hasher = DefaultHasher::new();
        (self.seed, self.rolled).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_choices_and_another_one_others() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            (0..20).map(|_| dice.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(1), rolls(1));
        assert_ne!(rolls(1), rolls(2));
        let mut things = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        Dice::new(3).shuffle(&mut things);
        assert_ne!(things, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        things.sort_unstable();
        assert_eq!(things, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
}
