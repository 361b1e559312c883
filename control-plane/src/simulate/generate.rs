//! Arrivals that are made up: the same ones every time.

use std::collections::VecDeque;
use std::time::Duration;

use gridrouter::limit::Answered;
use gridrouter_config::units::Rate;

use super::{Decision, Event, Says, Simulation, What};

/// When requests come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Evenly, the first at once.
    Constant(Rate),
    /// Many at once, and perhaps again and again.
    Burst {
        /// How many.
        count: u32,
        /// The time from one burst to the next.
        every: Option<Duration>,
    },
    /// At a rate that changes evenly.
    Ramp(Ramp),
}

/// A rate that changes evenly, in requests a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    from: f64,
    to: f64,
}

impl Ramp {
    /// Reads `FROM..TO`, two rates of which one may be zero.
    pub fn parse(text: &str) -> Result<Ramp, String> {
        let wrong = || format!("\"{}\" is not a ramp; write two rates, such as 10/s..200/s", text.escape_debug());
        let (from, to) = text.split_once("..").ok_or_else(wrong)?;
        let rate = |text: &str| match text {
            "0" | "0/s" | "0/m" | "0/h" => Ok(0.0),
            _ => Rate::parse(text).map(|rate| f64::from(rate.count) / rate.per.as_secs_f64()),
        };
        let ramp = Ramp { from: rate(from)?, to: rate(to)? };
        if ramp.from == 0.0 && ramp.to == 0.0 {
            return Err(format!("ramp \"{text}\" is zero all the time; one of its rates may be"));
        }
        Ok(ramp)
    }

    /// When the n-th request comes, in seconds, if the whole takes `length` of them: where the area below the rate is n.
    /// In a form of the solution in which nothing cancels out.
    fn at(self, n: u64, length: f64) -> Option<f64> {
        if n == 0 {
            return Some(0.0);
        }
        let slope = (self.to - self.from) / length;
        let under_root = self.from * self.from + 2.0 * slope * n as f64;
        (under_root >= 0.0).then(|| 2.0 * n as f64 / (self.from + under_root.sqrt()))
    }
}

/// A made-up trace.
#[derive(Debug, Clone)]
pub struct Generated {
    /// When requests come.
    pub shape: Shape,
    /// For how long.
    pub length: Duration,
    /// Whose they are, in turn; at least one.
    pub keys: Vec<String>,
    /// What each costs; none: as much as the limit says.
    pub cost: Option<u32>,
    /// How long a request takes that holds a permit.
    pub hold: Duration,
}

impl Generated {
    /// When the n-th request comes, in nanoseconds.
    fn at(&self, n: u64) -> Option<u64> {
        let length = nanos(self.length);
        let at = match self.shape {
            Shape::Constant(rate) => {
                let at = u128::from(n) * rate.per.as_nanos() / u128::from(rate.count.max(1));
                u64::try_from(at).ok()?
            }
            Shape::Burst { count, every: Some(every) } => (n / u64::from(count.max(1))).checked_mul(nanos(every))?,
            Shape::Burst { count, every: None } => return (n < u64::from(count)).then_some(0),
            Shape::Ramp(ramp) => (ramp.at(n, self.length.as_secs_f64())? * 1e9).round() as u64,
        };
        (at < length).then_some(at)
    }

    /// How long it lasts, where that is known before.
    pub fn lasts(&self) -> Option<u64> {
        match self.shape {
            Shape::Burst { every: None, .. } => None,
            Shape::Constant(_) | Shape::Burst { every: Some(_), .. } | Shape::Ramp(_) => Some(nanos(self.length)),
        }
    }

    /// Plays it, and hands out the decisions until `told` has heard enough. A permit that is given back in the very
    /// nanosecond in which a request comes is there for it.
    pub fn play(&self, simulation: &mut Simulation, mut told: impl FnMut(&Decision) -> bool) {
        let hold = nanos(self.hold);
        let answered = Answered { took_nanos: Some(hold), served: true, counts: true };
        // Requests that hold a permit, in the order in which they give it back: all take the same time.
        let mut out: VecDeque<(u64, &str)> = VecDeque::new();
        let arrivals = (0..).map_while(|n| self.at(n));
        for (at, key) in arrivals.zip(self.keys.iter().cycle()) {
            while let Some((over, key)) = out.pop_front_if(|(over, _)| *over <= at) {
                simulation.play(&Event { at: over, key, cost: self.cost, what: What::Release(answered) });
            }
            let Some(decision) = simulation.play(&Event { at, key, cost: self.cost, what: What::Arrival }) else {
                break;
            };
            if simulation.holds_permits() && decision.verdict != Says::Refuse {
                out.push_back((at.saturating_add(hold), key));
            }
            if !told(&decision) {
                break;
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(shape: Shape, seconds: u64) -> Vec<u64> {
        let length = Duration::from_secs(seconds);
        let trace =
            Generated { shape, length, keys: vec![String::new()], cost: None, hold: Duration::from_millis(100) };
        (0..).map_while(|n| trace.at(n)).collect()
    }

    fn constant(text: &str) -> Shape {
        Shape::Constant(Rate::parse(text).unwrap())
    }

    fn ramp(text: &str) -> Shape {
        Shape::Ramp(Ramp::parse(text).unwrap())
    }

    #[test]
    fn a_constant_rate_is_even_and_its_end_is_open() {
        assert_eq!(times(constant("2/s"), 2), [0, 500_000_000, 1_000_000_000, 1_500_000_000]);
        assert_eq!(times(constant("3/s"), 1), [0, 333_333_333, 666_666_666]);
        assert_eq!(times(constant("1/h"), 10), [0]);
        assert_eq!(times(constant("150/s"), 10).len(), 1_500);
    }

    #[test]
    fn bursts_come_once_or_again_and_again() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(times(Shape::Burst { count: 3, every: None }, 10), [0, 0, 0]);
        assert_eq!(times(Shape::Burst { count: 2, every: second }, 2), [0, 0, 1_000_000_000, 1_000_000_000]);
    }

    #[test]
    fn a_ramp_comes_to_the_mean_of_its_rates() {
        for (text, wanted) in [("10/s..30/s", 200), ("30/s..10/s", 200), ("0..20/s", 100), ("20/s..0/s", 100)] {
            let times = times(ramp(text), 10);
            assert!(times.len().abs_diff(wanted) <= 1, "{text}: {}", times.len());
            assert!(times.is_sorted(), "{text}");
        }
        let up = times(ramp("10/s..30/s"), 10);
        let in_second = |n: u64| up.iter().filter(|at| **at / 1_000_000_000 == n).count();
        assert!(in_second(0).abs_diff(11) <= 1 && in_second(9).abs_diff(29) <= 1, "{} {}", in_second(0), in_second(9));
        let flat = times(ramp("100/s..100/s"), 10);
        assert!(flat.iter().zip(times(constant("100/s"), 10)).all(|(a, b)| a.abs_diff(b) <= 1));
    }

    #[test]
    fn what_is_no_ramp_is_refused() {
        for text in ["", "10/s", "..", "10/s..", "10/s...20/s", "0..0", "10..20", "2/s..-1/s"] {
            let why = Ramp::parse(text).unwrap_err();
            assert!(why.contains("; write") || why.contains("may be"), "{text}: {why}");
        }
    }
}
