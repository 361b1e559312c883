//! The most that a limit admitted within any second.

use std::collections::{BTreeMap, VecDeque};

const SECOND: u64 = 1_000_000_000;
/// Different times that are kept. At most one second of the past, what is still to come of waits, and as much again for
/// clocks that step back.
const MOST: usize = 1 << 17;

/// Times at which requests were admitted, as far as they can still matter.
#[derive(Debug)]
pub struct Busiest {
    /// Times that are not counted yet: something earlier may come.
    open: BTreeMap<u64, u64>,
    /// Times that are counted, of one second.
    window: VecDeque<(u64, u64)>,
    in_window: u64,
    most: u64,
    /// Times are rounded down to multiples of this. A divisor of a second; 1 unless there are very many.
    grain: u64,
    /// Everything before this is counted.
    counted_to: u64,
    newest: u64,
}

impl Default for Busiest {
    fn default() -> Self {
        let (open, window) = (BTreeMap::new(), VecDeque::new());
        Self { open, window, in_window: 0, most: 0, grain: 1, counted_to: 0, newest: 0 }
    }
}

impl Busiest {
    /// Something came at `now` and is admitted at `at`, which may be later.
    pub fn add(&mut self, now: u64, at: u64) {
        if at / self.grain * self.grain < self.counted_to {
            // A clock that steps back by more than a second begins another trace.
            self.count_to(u64::MAX);
            self.window.clear();
            self.in_window = 0;
            self.counted_to = 0;
            self.newest = 0;
        }
        *self.open.entry(at / self.grain * self.grain).or_default() += 1;
        // Clocks may step back by a second without harm.
        self.newest = self.newest.max(now);
        self.count_to(self.newest.saturating_sub(SECOND));
        if self.open.len() + self.window.len() > MOST && self.grain < SECOND {
            self.coarsen();
        }
    }

    /// The most that was admitted within one second, and whether there was no need to round.
    pub fn finish(mut self) -> (u64, bool) {
        self.count_to(u64::MAX);
        (self.most, self.grain == 1)
    }

    /// Counts all times up to this one.
    fn count_to(&mut self, end: u64) {
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() <= end) {
            let (at, count) = entry.remove_entry();
            self.in_window += count;
            self.window.push_back((at, count));
            while let Some((_, gone)) = self.window.pop_front_if(|(first, _)| at - *first >= SECOND) {
                self.in_window -= gone;
            }
            self.most = self.most.max(self.in_window);
            self.counted_to = at;
        }
    }

    fn coarsen(&mut self) {
        self.grain *= 10;
        let round = |at: u64| at / self.grain * self.grain;
        let mut open = BTreeMap::new();
        for (at, count) in std::mem::take(&mut self.open) {
            *open.entry(round(at)).or_default() += count;
        }
        let mut window: VecDeque<(u64, u64)> = VecDeque::new();
        for (at, count) in std::mem::take(&mut self.window) {
            match window.back_mut() {
                Some((last, sum)) if *last == round(at) => *sum += count,
                Some(_) | None => window.push_back((round(at), count)),
            }
        }
        self.counted_to = round(self.counted_to);
        (self.open, self.window) = (open, window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn most(times: impl IntoIterator<Item = (u64, u64)>) -> (u64, bool) {
        let mut busiest = Busiest::default();
        times.into_iter().for_each(|(now, at)| busiest.add(now, at));
        busiest.finish()
    }

    #[test]
    fn a_second_is_open_at_its_end() {
        assert_eq!(most([]), (0, true));
        assert_eq!(most([(0, 0), (SECOND, SECOND)]), (1, true));
        assert_eq!(most([(0, 0), (SECOND - 1, SECOND - 1)]), (2, true));
        // Around the border of two periods.
        assert_eq!(most((0..200).map(|n| (n * 10 * MS, n * 10 * MS))), (100, true));
    }

    #[test]
    fn who_waits_counts_when_the_wait_is_over() {
        assert_eq!(most((0..50).map(|n| (0, n * 100 * MS))), (10, true));
        assert_eq!(most((0..50).rev().map(|n| (0, n * 100 * MS))), (10, true));
    }

    #[test]
    fn clocks_that_step_back_are_borne() {
        let small = [(SECOND, SECOND), (SECOND / 2, SECOND / 2), (SECOND, SECOND)];
        assert_eq!(most(small), (3, true));
        let hour = 3_600 * SECOND;
        let large = [(hour, hour), (2 * hour, 2 * hour), (0, 0), (1, 1), (0, 0)];
        assert_eq!(most(large), (3, true));
        assert_eq!(most([(u64::MAX, u64::MAX), (0, 0), (u64::MAX, u64::MAX)]), (2, true));
    }

    #[test]
    fn very_many_take_little_room() {
        let mut busiest = Busiest::default();
        for n in 0..1_000_000 {
            busiest.add(n * 1_001, n * 1_001);
        }
        assert!(busiest.open.len() + busiest.window.len() <= MOST);
        let (most, exact) = busiest.finish();
        assert!(!exact && most.abs_diff(999_001) < 1_000, "{most}");
    }
}
