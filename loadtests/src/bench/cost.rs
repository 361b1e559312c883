//! What limits cost a proxy.
//!
//! A few per cent are less than a machine's speed changes by within seconds, and less than one start of a program differs
//! from the next by where its memory lies. So the proxy is asked by routes without limits and with some in turns of a few
//! hundredths of a second, over the same connections, and is started several times. Each slice is compared with that without
//! limits of the same turn. The median of a start's comparisons is what it says, and the median of all starts what counts.

use std::time::Duration;

use super::report::Spread;
use super::scenario::{Scenario, TENANTS};
use super::{Arguments, Contestant, measured_plan};
use crate::error::{Error, Result};
use crate::load::{self, Turns};
use crate::output;
use crate::process;
use crate::proxies::Kind;

/// Requests in a slice, some hundredths of a second: a third of all tenants', so that in a turn each is asked for once.
const REQUESTS: usize = TENANTS / 3;
/// Slices with each number of limits, in a second of a flat-out window.
const SLICES: f64 = 40.0;

/// What one proxy loses in one scenario of limits.
#[derive(Debug, Clone)]
pub struct Cost {
    /// The proxy.
    pub proxy: Kind,
    /// The scenario.
    pub scenario: Scenario,
    /// By how many per cent fewer requests there were in a CPU-second than without: the median of each start.
    losses: Vec<f64>,
    /// Slices of each start.
    pub slices: usize,
}

impl Cost {
    /// What was lost, over all starts.
    pub fn loss(&self) -> Spread {
        Spread::of(self.losses.iter().copied())
    }
}

/// Measures what the chosen numbers of limits cost the proxy, against none.
pub(super) async fn measure(of: &Contestant, arguments: &Arguments, core: usize) -> Result<Vec<Cost>> {
    let limited = |one: &Scenario| one.is_of_limits() && *one != Scenario::NoLimit && one.has(of.kind);
    let scenarios: Vec<Scenario> = arguments.scenarios.iter().copied().filter(limited).collect();
    if scenarios.is_empty() {
        return Ok(Vec::new());
    }
    let how = Turns { turns: (arguments.seconds * SLICES).ceil() as usize, requests: REQUESTS };
    let none = |scenario: &Scenario| Cost { proxy: of.kind, scenario: *scenario, losses: vec![], slices: how.turns };
    let mut costs: Vec<Cost> = scenarios.iter().map(none).collect();
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
        let turns = turns.map_err(|error| Error::new(format!("{}: {error}", of.kind.as_str())))?;
        for (number, cost) in costs.iter_mut().enumerate() {
            cost.losses.push(median_loss(&turns, number + 1)?);
        }
    }
    Ok(costs)
}

/// By how many per cent fewer requests a load has in a CPU-second than the first, in the median of all turns.
fn median_loss(turns: &[Vec<Duration>], load: usize) -> Result<f64> {
    let of_turn = |turn: &Vec<Duration>| {
        let [without, with] = [turn.first(), turn.get(load)].map(|took| took.map(Duration::as_secs_f64));
        // As many requests in another time: where it takes twice as long, half of them get through in a second.
        Some(100.0 * (1.0 - without.filter(|took| *took > 0.0)? / with.filter(|took| *took > 0.0)?))
    };
    let losses: Option<Vec<f64>> = turns.iter().map(of_turn).collect();
    let losses = losses.ok_or_else(|| Error::new("the kernel does not tell CPU time exactly enough"))?;
    Ok(Spread::of(losses.into_iter()).median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_of_requests_in_a_second_of_cpu_time() {
        let turn = |all: [u64; 3]| all.map(Duration::from_millis).to_vec();
        let turns = [turn([30, 30, 60]), turn([20, 25, 80]), turn([30, 40, 40])];
        assert_eq!([1, 2].map(|load| format!("{:.1}", median_loss(&turns, load).unwrap())), ["20.0", "50.0"]);
        for none in [turn([0, 1, 1]), turn([1, 0, 1]), vec![]] {
            let error = median_loss(&[turn([1, 1, 1]), none], 1).unwrap_err();
            assert_eq!(error.to_string(), "the kernel does not tell CPU time exactly enough");
        }
    }
}
