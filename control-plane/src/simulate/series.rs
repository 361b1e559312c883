//! What happened over time: counts a period, in bounded memory whatever the times are.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Decision, Says};

/// Periods that are kept apart while nobody has said how long they are.
const MOST: usize = 16_384;
/// Periods that are kept when somebody has.
const MOST_WISHED: u64 = 1_000_000;

const SECOND: u128 = 1_000_000_000;
const MINUTE: u128 = 60 * SECOND;
const HOUR: u128 = 60 * MINUTE;
/// Lengths that people read easily, from ten seconds on.
const LONG: [u128; 16] = [
    10 * SECOND,
    20 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    20 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    4 * HOUR,
    6 * HOUR,
    12 * HOUR,
    24 * HOUR,
    48 * HOUR,
];

/// What happened in one period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that passed at once.
    pub passed: u64,
    /// Those that had to wait.
    pub waited: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Those that went on in this period, also if they came before it.
    pub admitted: u64,
    /// The waits of those that waited, together.
    pub wait: u128,
}

impl Counts {
    /// Those that came.
    pub fn arrivals(&self) -> u64 {
        self.passed + self.waited + self.refused
    }

    fn add(&mut self, other: &Counts) {
        self.passed += other.passed;
        self.waited += other.waited;
        self.refused += other.refused;
        self.admitted += other.admitted;
        self.wait += other.wait;
    }
}

/// One period and what happened in it. Ends are not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// When it begins.
    pub from: u128,
    /// When it ends.
    pub to: u128,
    /// What happened.
    pub counts: Counts,
}

/// What happened over time.
#[derive(Debug)]
pub struct Series {
    /// By the number of the period.
    periods: BTreeMap<u64, Counts>,
    /// The length of a period: a power of ten, or what was wished.
    width: u64,
    wished: bool,
}

impl Series {
    /// Periods of this length, or of one that fits.
    pub fn new(wish: Option<u64>) -> Self {
        Self { periods: BTreeMap::new(), width: wish.unwrap_or(1).max(1), wished: wish.is_some() }
    }

    /// Counts an arrival.
    pub fn add(&mut self, decision: &Decision) {
        let counts = self.period(decision.at_ns);
        match decision.verdict {
            Says::Pass => counts.passed += 1,
            Says::Wait => {
                counts.waited += 1;
                counts.wait += u128::from(decision.wait_ns);
            }
            Says::Refuse => counts.refused += 1,
        }
        if let Some(at) = decision.admitted_at() {
            self.period(at).admitted += 1;
        }
        while self.periods.len() > MOST && !self.wished {
            self.coarsen();
        }
    }

    fn period(&mut self, at: u64) -> &mut Counts {
        self.periods.entry(at / self.width).or_default()
    }

    fn coarsen(&mut self) {
        // 10^19 is the last power of ten, and leaves two periods.
        self.width = self.width.saturating_mul(10);
        for (number, counts) in std::mem::take(&mut self.periods) {
            self.periods.entry(number / 10).or_default().add(&counts);
        }
    }

    /// Whether there are more periods than can be shown, of the length that was wished.
    pub fn is_too_long(&self) -> bool {
        self.wished && self.span().is_some_and(|(first, last)| last - first >= MOST_WISHED)
    }

    /// Numbers of the first and the last period.
    fn span(&self) -> Option<(u64, u64)> {
        Some((*self.periods.first_key_value()?.0, *self.periods.last_key_value()?.0))
    }

    /// All periods from the first to the last, also those in which nothing happened: of the length that was wished, or so
    /// long that there are at most this many.
    pub fn rows(&self, most: usize) -> Vec<Row> {
        let Some((first, last)) = self.span() else { return Vec::new() };
        let fine = u128::from(self.width);
        let (first, last) = (u128::from(first) * fine, u128::from(last) * fine);
        let most = u128::try_from(most.max(1)).unwrap_or(u128::MAX);
        // A single moment has no length of its own.
        let smallest = if first == last { 1_000_000 } else { 1 };
        let fits =
            |width: &u128| *width >= smallest && width.is_multiple_of(fine) && last / width - first / width < most;
        let width = if self.wished { fine } else { lengths().find(fits).unwrap_or(u128::MAX) };
        let begin = first / width;
        let count = usize::try_from((last / width).saturating_sub(begin)).unwrap_or(usize::MAX).saturating_add(1);
        let mut rows: Vec<Row> = (begin..)
            .take(count.min(MOST_WISHED as usize))
            .map(|number| Row { from: number * width, to: (number + 1) * width, counts: Counts::default() })
            .collect();
        for (number, counts) in &self.periods {
            let at = usize::try_from(u128::from(*number) * fine / width - begin).unwrap_or(usize::MAX);
            if let Some(row) = rows.get_mut(at) {
                row.counts.add(counts);
            }
        }
        rows
    }
}

/// Lengths of periods that people read easily, ever longer, from a microsecond on.
fn lengths() -> impl Iterator<Item = u128> {
    let decimal = |exponents: std::ops::Range<u32>| {
        exponents.flat_map(|exponent| [1, 2, 5].map(|digit| digit * 10_u128.pow(exponent)))
    };
    decimal(3..10).chain(LONG).chain(decimal(15..21))
}

/// Rows for a program that draws.
pub fn csv(rows: &[Row]) -> String {
    let mut out = "from_ns,to_ns,arrivals,passed,waited,refused,admitted,mean_wait_ns\n".to_owned();
    for Row { from, to, counts } in rows {
        let Counts { passed, waited, refused, admitted, wait } = counts;
        let (arrivals, mean) = (counts.arrivals(), wait / u128::from((*waited).max(1)));
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{from},{to},{arrivals},{passed},{waited},{refused},{admitted},{mean}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn pass(at_ns: u64) -> Decision {
        Decision { at_ns, verdict: Says::Pass, wait_ns: 0, retry_after_ns: Some(0) }
    }

    fn wait(at_ns: u64, wait_ns: u64) -> Decision {
        Decision { verdict: Says::Wait, wait_ns, ..pass(at_ns) }
    }

    fn refuse(at_ns: u64) -> Decision {
        Decision { verdict: Says::Refuse, ..pass(at_ns) }
    }

    fn series(wish: Option<u64>, decisions: impl IntoIterator<Item = Decision>) -> Series {
        let mut series = Series::new(wish);
        decisions.into_iter().for_each(|decision| series.add(&decision));
        series
    }

    #[test]
    fn nothing_is_no_row() {
        assert_eq!(series(None, []).rows(40), []);
        assert_eq!(csv(&[]).lines().count(), 1);
    }

    #[test]
    fn rows_are_as_fine_as_their_number_allows_and_of_a_length_that_reads_well() {
        assert_eq!(series(None, [pass(7); 3]).rows(40)[0].to, 1_000_000);
        let second = || (0..100).map(|n| pass(n * 10 * MS));
        let width = |rows: &[Row]| rows[0].to - rows[0].from;
        for (most, wanted) in [(1, 1_000), (2, 500), (9, 200), (40, 50), (100, 10)] {
            let rows = series(None, second()).rows(most);
            assert!(rows.len() <= most && width(&rows) == wanted * u128::from(MS), "{most}: {}", width(&rows));
            assert_eq!(rows.iter().map(|row| row.counts.passed).sum::<u64>(), 100);
        }
        let hours = series(None, (0..360_000).map(|n| pass(n * 100 * MS))).rows(40);
        assert_eq!((width(&hours), hours.len()), (20 * MINUTE, 30));
    }

    #[test]
    fn who_waits_comes_in_one_period_and_is_admitted_in_another() {
        let series = series(Some(100 * MS), [pass(0), wait(1, 250 * MS), wait(2, 350 * MS), refuse(3), pass(99 * MS)]);
        assert_eq!(
            csv(&series.rows(1)),
            "from_ns,to_ns,arrivals,passed,waited,refused,admitted,mean_wait_ns\n\
             0,100000000,5,2,2,1,2,300000000\n\
             100000000,200000000,0,0,0,0,0,0\n\
             200000000,300000000,0,0,0,0,1,0\n\
             300000000,400000000,0,0,0,0,1,0\n"
        );
    }

    #[test]
    fn any_times_fit() {
        let wide = series(None, [pass(0), pass(u64::MAX), wait(u64::MAX, u64::MAX)]);
        for most in [0, 1, 2, 40] {
            let rows = wide.rows(most);
            assert!(rows.len() <= most.max(1));
            assert_eq!(rows.iter().map(|row| row.counts.arrivals()).sum::<u64>(), 3);
        }
        let scattered = series(None, (0..100_000_u64).map(|n| pass(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
        assert!(scattered.periods.len() <= MOST);
        assert_eq!(scattered.rows(40).iter().map(|row| row.counts.admitted).sum::<u64>(), 100_000);
        assert!(series(Some(1), [pass(0), pass(u64::MAX)]).is_too_long() && !wide.is_too_long());
        assert!(!series(Some(MS), [pass(0), pass(1_000 * MS)]).is_too_long());
    }
}
