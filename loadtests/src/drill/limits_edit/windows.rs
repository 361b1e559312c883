//! How many arrivals there are in periods of any length, and how many there may be.

use std::time::Duration;

use tokio::time::Instant;

/// When a request came to the endpoint.
pub(super) type Arrival = Instant;

/// The lengths that are shown. [`worst`] looks at all others as well.
pub(super) const LENGTHS: [Duration; 9] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// How many may come in a period of some length.
#[derive(Debug, Clone, Copy)]
pub(super) enum Allowed {
    /// `burst`, and `rate` a second.
    Rate { burst: u32, rate: u32 },
    /// `limit` in any period of the length `window`.
    Windows { limit: u32, window: Duration },
}

impl Allowed {
    /// The most in a period of this length.
    pub(super) fn within(self, length: Duration) -> usize {
        match self {
            // Who comes at either end of the period counts.
            Allowed::Rate { burst, rate } => burst as usize + (f64::from(rate) * length.as_secs_f64()).floor() as usize,
            Allowed::Windows { limit, window } => {
                let whole = length.as_nanos() / window.as_nanos().max(1) + 1;
                limit as usize * usize::try_from(whole).unwrap_or(usize::MAX)
            }
        }
    }
}

/// The most arrivals in any period of this length, of arrivals in order.
pub(super) fn most(arrivals: &[Arrival], length: Duration) -> usize {
    let (mut from, mut most) = (0, 0);
    for (number, at) in arrivals.iter().enumerate() {
        while arrivals.get(from).is_some_and(|first| *at - *first > length) {
            from += 1;
        }
        most = most.max(number + 1 - from);
    }
    most
}

/// In the period that comes nearest to what is allowed, or exceeds it most, how many arrivals there are, and by how much
/// they exceed it. Periods of every length are looked at that can make a difference.
pub(super) fn worst(arrivals: &[Arrival], allowed: Allowed, slack: Duration) -> Option<(usize, f64)> {
    match allowed {
        Allowed::Rate { burst, rate } => worst_of_rate(arrivals, f64::from(burst), f64::from(rate), slack),
        Allowed::Windows { limit, window } => (1..=5)
            .map(|count| {
                // As long as so many windows can be without a moment that belongs to one more.
                let length = (window * count).saturating_sub(slack + Duration::from_nanos(1));
                let most = most(arrivals, length);
                (most, most as f64 - f64::from(limit * count))
            })
            .max_by(|a, b| a.1.total_cmp(&b.1)),
    }
}

/// The periods from any arrival to any other.
fn worst_of_rate(arrivals: &[Arrival], burst: f64, rate: f64, slack: Duration) -> Option<(usize, f64)> {
    // A period's excess is how many come in it, less its length times the rate: the largest is found as the largest sum
    // of neighbours is, keeping the best beginning so far.
    let (mut best, mut begin) = (None, None::<(usize, Instant)>);
    for (number, at) in arrivals.iter().enumerate() {
        let so_far = |(first, from): (usize, Instant)| (number - first) as f64 - rate * (*at - from).as_secs_f64();
        let from = begin.filter(|from| so_far(*from) > 0.0).unwrap_or((number, *at));
        begin = Some(from);
        let excess = so_far(from) + 1.0 - burst - rate * slack.as_secs_f64();
        if best.is_none_or(|(_, most)| excess > most) {
            best = Some((number + 1 - from.0, excess));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: &[u64]) -> Vec<Instant> {
        let begin = Instant::now();
        millis.iter().map(|millis| begin + Duration::from_millis(*millis)).collect()
    }

    #[test]
    fn a_period_counts_both_its_ends() {
        let arrivals = at(&[0, 10, 11, 20, 50]);
        let most = |length| most(&arrivals, Duration::from_millis(length));
        assert_eq!([most(0), most(1), most(10), most(20), most(100)], [1, 2, 3, 4, 5]);
    }

    #[test]
    fn the_worst_period_is_found() {
        let allowed = Allowed::Rate { burst: 2, rate: 10 };
        let worst = |millis: &[u64]| worst(&at(millis), allowed, Duration::ZERO).unwrap();
        // Two at once and then one each 100 ms is exactly what is allowed.
        let (most, by) = worst(&[0, 0, 100, 200, 300]);
        assert!(most >= 2 && by.abs() < 1e-9, "{most} {by}");
        // One more in the middle, seen only over 300 ms.
        let (most, by) = worst(&[0, 0, 100, 200, 200, 300]);
        assert!(most == 5 && (by - 1.0).abs() < 1e-9, "{most} {by}");
    }

    #[test]
    fn the_worst_number_of_windows_is_found() {
        let allowed = Allowed::Windows { limit: 2, window: Duration::from_millis(100) };
        let worst = |millis: &[u64]| worst(&at(millis), allowed, Duration::from_millis(10)).unwrap();
        let (most, by) = worst(&[0, 0, 100, 100]);
        assert!(most >= 2 && by.abs() < 1e-9, "{most} {by}");
        let (most, by) = worst(&[0, 0, 89, 200]);
        assert!(most == 3 && (by - 1.0).abs() < 1e-9, "{most} {by}");
    }

    #[test]
    fn what_is_allowed() {
        let second = Duration::from_secs(1);
        assert_eq!(Allowed::Rate { burst: 5, rate: 1_000 }.within(Duration::from_millis(20)), 25);
        let windows = Allowed::Windows { limit: 7, window: second };
        assert_eq!([windows.within(second / 2), windows.within(second), windows.within(second * 5)], [7, 14, 42]);
    }
}
