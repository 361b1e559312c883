//! What limits cost a proxy.
//!
//! A few per cent are less than a machine's speed changes by within seconds. So the proxy runs once with each
//! configuration, all at the same time and on the same core, and the load goes from one to the next in slices of a
//! fraction of a second. Each slice is compared with that without limits right beside it; the median of these many
//! comparisons is what counts.

use std::time::Duration;

use super::report::Spread;
use super::scenario::Scenario;
use super::{Arguments, Contestant, measured_plan};
use crate::error::{Error, Result};
use crate::load::{self, Measured, Pace, Plan};
use crate::output;
use crate::process::{self, Process};
use crate::proxies::Kind;

/// Slices in the time of one flat-out window.
const SLICES: u32 = 10;

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

/// One of a proxy's configurations, running.
struct Running {
    scenario: Scenario,
    process: Process,
    plan: Plan,
    per_cpu_second: Vec<f64>,
}

/// Measures what each scenario of limits costs the proxy. Nothing if there is none, or none to compare with.
pub(super) async fn measure(of: &Contestant, arguments: &Arguments, core: usize) -> Result<Vec<Cost>> {
    let scenarios: Vec<Scenario> =
        arguments.scenarios.iter().copied().filter(|one| one.is_of_limits() && one.has(of.kind)).collect();
    if !scenarios.contains(&Scenario::NoLimit) || scenarios.len() < 2 {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for scenario in scenarios {
        let (site, directory) = of.configured(scenario)?;
        let process = of.kind.start(site, directory, Some(core)).await?;
        let plan = measured_plan(scenario, site, directory, arguments).await?;
        all.push(Running { scenario, process, plan, per_cpu_second: Vec::new() });
    }
    let slices = arguments.rounds as u32 * SLICES;
    output::progress(format_args!("{}: what limits cost, {slices} slices of each", of.kind.as_str()));
    let window = Duration::from_secs_f64(arguments.seconds) / SLICES;
    for slice in 0..slices {
        // Forwards and backwards in turns.
        if slice > 0 {
            all.reverse();
        }
        for running in &mut all {
            let family = process::tree(running.process.id());
            let cpu = || process::cpu_time(&family);
            let measured = load::run(&running.plan, Pace::FlatOut, window / 4, window, cpu).await?;
            running.process.still_runs()?;
            running.per_cpu_second.push(per_cpu_second(of.kind, running.scenario, &measured)?);
        }
    }
    let Some(without) = all.iter().find(|one| one.scenario == Scenario::NoLimit) else { return Ok(Vec::new()) };
    let limited = all.iter().filter(|one| one.scenario != Scenario::NoLimit);
    let cost = |one: &Running| {
        let pairs = one.per_cpu_second.iter().zip(&without.per_cpu_second);
        let mut losses: Vec<f64> = pairs.map(|(with, without)| 100.0 * (1.0 - with / without)).collect();
        losses.sort_by(f64::total_cmp);
        Cost { proxy: of.kind, scenario: one.scenario, losses }
    };
    Ok(limited.map(cost).collect())
}

fn per_cpu_second(proxy: Kind, scenario: Scenario, measured: &Measured) -> Result<f64> {
    let wrong = measured.bad + measured.failed;
    if wrong > 0 || measured.good == 0 || measured.cpu.is_zero() {
        let complaint = measured.complaint.clone().unwrap_or_else(|| "nothing was answered".to_owned());
        let what = format!("{}, {}", proxy.as_str(), scenario.as_str());
        return Err(Error::new(format!("{what}: {wrong} requests went wrong, first: {complaint}")));
    }
    Ok(measured.good as f64 / measured.cpu.as_secs_f64())
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
