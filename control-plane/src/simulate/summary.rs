//! What a limit did with all arrivals together.

use serde::Serialize;

use super::busiest::Busiest;
use super::tally::Tally;
use super::{Decision, Says};

/// What happened so far.
#[derive(Debug, Default)]
pub struct Totals {
    passed: u64,
    refused: u64,
    never: u64,
    waits: Tally,
    busiest: Busiest,
    /// The earliest arrival, and the latest arrival or end of a wait.
    span: Option<(u64, u64)>,
}

/// What happened in all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Those that came.
    pub arrivals: u64,
    /// Those that passed at once.
    pub passed: u64,
    /// Those that had to wait.
    pub waited: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Those of them that no time helps: they cost more than the limit ever gives.
    pub refused_for_ever: u64,
    /// Those that passed or waited.
    pub admitted: u64,
    /// Keys that something was admitted for.
    pub keys: u64,
    /// The mean of the waits, of those that waited; 0 if none did.
    pub mean_wait_ns: u64,
    /// Half of those that waited waited no longer.
    pub p50_wait_ns: u64,
    /// 99 of 100 that waited waited no longer.
    pub p99_wait_ns: u64,
    /// The longest wait.
    pub longest_wait_ns: u64,
    /// When the first one came.
    pub from_ns: u64,
    /// When the last one came or went on, or the end of the trace if that is known.
    pub to_ns: u64,
    /// What was admitted a second, over that time; none if it is no time.
    pub admitted_per_second: Option<f64>,
    /// The most that went on within any second.
    pub most_admitted_in_1s: u64,
    /// Whether that is exact. Among very many it is a lower bound, by less than a thousandth.
    pub most_is_exact: bool,
}

impl Totals {
    /// Counts an arrival.
    pub fn add(&mut self, decision: &Decision) {
        let at = decision.at_ns;
        let end = decision.admitted_at().unwrap_or(at);
        let (first, last) = self.span.unwrap_or((at, end));
        self.span = Some((first.min(at), last.max(end)));
        match decision.verdict {
            Says::Pass => self.passed += 1,
            Says::Wait => self.waits.add(decision.wait_ns),
            Says::Refuse => {
                self.refused += 1;
                self.never += u64::from(decision.retry_after_ns.is_none());
            }
        }
        if let Some(on) = decision.admitted_at() {
            self.busiest.add(at, on);
        }
    }

    /// Sums up, over so many keys. `lasts` is how long the trace is, from 0 on, where that is known.
    pub fn finish(self, keys: u64, lasts: Option<u64>) -> Summary {
        let (from_ns, to_ns) = self.span.unwrap_or_default();
        let to_ns = to_ns.max(lasts.unwrap_or_default());
        let admitted = self.passed + self.waits.count();
        let (most_admitted_in_1s, most_is_exact) = self.busiest.finish();
        Summary {
            arrivals: admitted + self.refused,
            passed: self.passed,
            waited: self.waits.count(),
            refused: self.refused,
            refused_for_ever: self.never,
            admitted,
            keys,
            mean_wait_ns: self.waits.mean(),
            p50_wait_ns: self.waits.percentile(50),
            p99_wait_ns: self.waits.percentile(99),
            longest_wait_ns: self.waits.longest(),
            from_ns,
            to_ns,
            admitted_per_second: per_second(admitted, to_ns - from_ns),
            most_admitted_in_1s,
            most_is_exact,
        }
    }
}

/// In thousandths.
fn per_second(count: u64, nanos: u64) -> Option<f64> {
    (nanos > 0).then(|| (count as f64 * 1e12 / nanos as f64).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn decision(at_ns: u64, verdict: Says, wait_ns: u64, retry_after_ns: Option<u64>) -> Decision {
        Decision { at_ns, verdict, wait_ns, retry_after_ns }
    }

    #[test]
    fn everything_is_summed_up() {
        let mut totals = Totals::default();
        for one in [
            decision(SECOND, Says::Pass, 0, Some(0)),
            decision(SECOND, Says::Wait, SECOND / 2, Some(0)),
            decision(SECOND, Says::Wait, SECOND, Some(0)),
            decision(SECOND / 2, Says::Refuse, 0, Some(5)),
            decision(SECOND, Says::Refuse, 0, None),
        ] {
            totals.add(&one);
        }
        let wanted = Summary {
            arrivals: 5,
            passed: 1,
            waited: 2,
            refused: 2,
            refused_for_ever: 1,
            admitted: 3,
            keys: 2,
            mean_wait_ns: SECOND / 4 * 3,
            p50_wait_ns: SECOND / 2,
            p99_wait_ns: SECOND,
            longest_wait_ns: SECOND,
            from_ns: SECOND / 2,
            to_ns: 2 * SECOND,
            admitted_per_second: Some(2.0),
            most_admitted_in_1s: 2,
            most_is_exact: true,
        };
        assert_eq!(totals.finish(2, None), wanted);
    }

    #[test]
    fn nothing_and_a_moment_have_no_rate() {
        assert_eq!(Totals::default().finish(1, None).admitted_per_second, None);
        let mut totals = Totals::default();
        totals.add(&decision(7, Says::Pass, 0, Some(0)));
        assert_eq!(totals.finish(1, None).admitted_per_second, None);
        assert_eq!(Totals::default().finish(0, Some(SECOND)).admitted_per_second, Some(0.0));
    }
}
