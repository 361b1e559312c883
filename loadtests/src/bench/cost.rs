//! What limits cost a proxy.
//!
//! A few per cent are less than a machine's speed changes by within seconds, and less than one start of a program differs
//! from the next by where its memory lies. So the proxy is asked by routes without limits and with some in turns of a few
//! hundredths of a second, over the same connections, and is started several times. Each slice is compared with that without
//! limits right beside it; the median of these many comparisons is what counts.

use super::report::Spread;
use super::scenario::Scenario;
use super::{Arguments, Contestant, measured_plan};
use crate::error::{Error, Result};
use crate::load::{self, Turns};
use crate::output;
use crate::process;
use crate::proxies::Kind;

/// Requests in a slice: some hundredths of a second.
const REQUESTS: usize = 1_500;
/// Slices with each number of limits, in a second of a flat-out window.
const SLICES: f64 = 40.0;

/// What one proxy loses in one scenario of limits.
#[derive(Debug, Clone)]
pub struct Cost {
    /// The proxy.
    pub proxy: Kind,
    /// The scenario.
    pub scenario: Scenario,
    /// By how many per cent fewer requests there were in a CPU-second than without, slice by slice, in ascending order.
    losses: Vec<f64>,
}

impl Cost {
    /// The median, and between what it lies in 95 of 100 cases, by the order of the slices alone: nothing is said of how
    /// they are spread.
    pub fn loss(&self) -> Spread {
        let count = self.losses.len() as f64;
        let outside = ((count - 1.96 * count.sqrt()) / 2.0).floor().max(0.0) as usize;
        let at = |index: usize| self.losses.get(index).copied().unwrap_or_default();
        let median = Spread::of(self.losses.iter().copied()).median;
        Spread { median, least: at(outside), most: at(self.losses.len().saturating_sub(outside + 1)) }
    }

    /// How many slices there were.
    pub fn slices(&self) -> usize {
        self.losses.len()
    }
}

/// Measures what the chosen numbers of limits cost the proxy, against none.
pub(super) async fn measure(of: &Contestant, arguments: &Arguments, core: usize) -> Result<Vec<Cost>> {
    let limited = |one: &Scenario| one.is_of_limits() && *one != Scenario::NoLimit && one.has(of.kind);
    let scenarios: Vec<Scenario> = arguments.scenarios.iter().copied().filter(limited).collect();
    if scenarios.is_empty() {
        return Ok(Vec::new());
    }
    let mut costs: Vec<Cost> =
        scenarios.iter().map(|scenario| Cost { proxy: of.kind, scenario: *scenario, losses: Vec::new() }).collect();
    let how = Turns { turns: (arguments.seconds * SLICES).ceil() as usize, requests: REQUESTS };
    let (site, directory) = of.configured(Scenario::NoLimit)?;
    for start in 1..=arguments.rounds {
        let progress = format!("start {start}/{}, {} slices of each", arguments.rounds, how.turns);
        output::progress(format_args!("{}: what limits cost, {progress}", of.kind.as_str()));
        let mut process = of.kind.start(site, directory, Some(core)).await?;
        let mut plans = Vec::new();
        for scenario in std::iter::once(Scenario::NoLimit).chain(scenarios.iter().copied()) {
            plans.push(measured_plan(scenario, site, directory, arguments).await?);
        }
        let family = process::tree(process.id());
        let turns = load::in_turns(&plans, how, || process::cpu_time(&family)).await;
        process.still_runs()?;
        for turn in turns.map_err(|error| Error::new(format!("{}: {error}", of.kind.as_str())))? {
            let Some((without, with)) = turn.split_first() else { continue };
            for (cost, with) in costs.iter_mut().zip(with) {
                // As many requests in another time: where it takes twice as long, half of them get through in a second.
                cost.losses.push(100.0 * (1.0 - without.as_secs_f64() / with.as_secs_f64().max(1e-9)));
            }
        }
    }
    for cost in &mut costs {
        cost.losses.sort_by(f64::total_cmp);
    }
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_what_surely_holds_it() {
        let cost = |losses: Vec<f64>| Cost { proxy: Kind::Nginx, scenario: Scenario::OneLimit, losses }.loss();
        let hundred = cost((0..100).map(f64::from).collect());
        assert_eq!(hundred, Spread { median: 49.5, least: 40.0, most: 59.0 });
        assert_eq!(cost(vec![1.0]), Spread { median: 1.0, least: 1.0, most: 1.0 });
        assert_eq!(cost(vec![1.0, 2.0, 3.0]), Spread { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(cost(Vec::new()), Spread { median: 0.0, least: 0.0, most: 0.0 });
    }
}
