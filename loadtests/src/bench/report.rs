//! The figures, for people and for programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::cost::Cost;
use super::{Arguments, Sample};
use crate::bench::scenario::Scenario;
use crate::output;
use crate::proxies::Kind;
use crate::tools::Cores;

/// Median, least and most of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the two middle ones.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// The spread of the figures; zeros when there are none.
    pub fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.wrapping_sub(1)), at(middle)) };
        Self { median, least: at(0), most: at(sorted.len().wrapping_sub(1)) }
    }

    fn json(self) -> Value {
        json!({"median": self.median, "least": self.least, "most": self.most})
    }

    fn text(self, write: impl Fn(f64) -> String) -> String {
        format!("{} ({}..{})", write(self.median), write(self.least), write(self.most))
    }
}

/// One proxy in one scenario, over all rounds.
struct Row {
    proxy: Kind,
    per_cpu_second: Spread,
    per_second: Spread,
    busy: Spread,
    p50: Spread,
    p99: Spread,
    resident: Spread,
    proportional: Spread,
    wrong: u64,
}

fn per_cpu_second(sample: &Sample) -> f64 {
    sample.busy.good as f64 / sample.busy.cpu.as_secs_f64().max(0.01)
}

fn per_second(sample: &Sample) -> f64 {
    sample.busy.good as f64 / sample.busy.elapsed.as_secs_f64().max(0.001)
}

fn busy(sample: &Sample) -> f64 {
    100.0 * sample.busy.cpu.as_secs_f64() / sample.busy.elapsed.as_secs_f64().max(0.001)
}

fn rows(scenario: Scenario, proxies: &[Kind], samples: &[Sample]) -> Vec<Row> {
    let row = |proxy: &Kind| {
        let own: Vec<&Sample> =
            samples.iter().filter(|sample| sample.proxy == *proxy && sample.scenario == scenario).collect();
        let spread = |figure: &dyn Fn(&Sample) -> f64| Spread::of(own.iter().map(|sample| figure(sample)));
        let micros = |percent: f64| move |sample: &Sample| sample.paced.latency.percentile(percent).as_secs_f64() * 1e6;
        Row {
            proxy: *proxy,
            per_cpu_second: spread(&per_cpu_second),
            per_second: spread(&per_second),
            busy: spread(&busy),
            p50: spread(&micros(50.0)),
            p99: spread(&micros(99.0)),
            resident: spread(&|sample| sample.memory.resident as f64),
            proportional: spread(&|sample| sample.memory.proportional as f64),
            wrong: own.iter().map(|sample| sample.wrong()).sum(),
        }
    };
    proxies.iter().filter(|proxy| scenario.has(**proxy)).map(row).collect()
}

fn count(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn micros(figure: f64) -> String {
    if figure < 1_000.0 { format!("{figure:.0} us") } else { format!("{:.2} ms", figure / 1_000.0) }
}

fn mebibytes(figure: f64) -> String {
    format!("{:.1}", figure / 1_048_576.0)
}

/// One sample on one line, while the benchmark goes on.
pub fn brief(sample: &Sample) -> String {
    let latency = |percent| micros(Duration::as_secs_f64(&sample.paced.latency.percentile(percent)) * 1e6);
    let complaint = [&sample.busy, &sample.paced].iter().find_map(|measured| measured.complaint.clone());
    format!(
        "{:<27} {:<10} {:>8} requests per CPU-second, {:>7}/s, {:>3.0} % busy; p50 {}, p99 {}{}",
        sample.scenario.as_str(),
        sample.proxy.as_str(),
        count(per_cpu_second(sample)),
        count(per_second(sample)),
        busy(sample),
        latency(50.0),
        latency(99.0),
        complaint.map(|words| format!("; {} WRONG: {words}", sample.wrong())).unwrap_or_default()
    )
}

/// Prints the tables and the verdict.
pub fn print(arguments: &Arguments, samples: &[Sample], costs: &[Cost]) {
    let mut verdicts = Vec::new();
    for scenario in &arguments.scenarios {
        let rows = rows(*scenario, &arguments.proxies, samples);
        let own = rows.iter().find(|row| row.proxy == Kind::Gridrouter);
        let ratio = |row: &Row| own.map(|own| own.per_cpu_second.median / row.per_cpu_second.median.max(1.0));
        output::line(format_args!(
            "\n{} ({} connections; latency at {}/s; median and range of {} rounds)",
            scenario.as_str(),
            scenario.connections(arguments.connections),
            count(f64::from(scenario.rate())),
            arguments.rounds
        ));
        let heading = [
            "",
            "requests per CPU-second",
            "gridrouter",
            "requests per second",
            "busy %",
            "p50",
            "p99",
            "RSS MiB",
            "PSS MiB",
            "wrong",
        ];
        let table: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                vec![
                    row.proxy.as_str().to_owned(),
                    row.per_cpu_second.text(count),
                    ratio(row).map(|ratio| format!("{ratio:.2} x")).unwrap_or_default(),
                    row.per_second.text(count),
                    format!("{:.0}", row.busy.median),
                    row.p50.text(micros),
                    row.p99.text(micros),
                    mebibytes(row.resident.median),
                    mebibytes(row.proportional.median),
                    row.wrong.to_string(),
                ]
            })
            .collect();
        output::table(&heading, &table);
        if rows.iter().any(|row| row.busy.median < 70.0) && !arguments.short {
            output::line("(busy below 70 %: other programs used the cores, or the generator was the bottleneck)");
        }
        for row in rows.iter().filter(|row| row.proxy != Kind::Gridrouter) {
            if let Some(ratio) = ratio(row) {
                verdicts.push(format!("{}: gridrouter {ratio:.2} x {}", scenario.as_str(), row.proxy.as_str()));
            }
        }
    }
    verdicts.extend(costs.iter().map(|cost| {
        let Spread { median, least, most } = cost.loss();
        let (what, name) = (cost.scenario.as_str(), cost.proxy.as_str());
        let (starts, slices) = (arguments.rounds, cost.slices);
        format!(
            "{what}: {name} answers {median:.1} % ({least:.1}..{most:.1} %) fewer requests per CPU-second than without \
             (median and range of {starts} starts, of which each is the median of {slices} slices)"
        )
    }));
    output::line("");
    for verdict in verdicts {
        output::line(verdict);
    }
    if arguments.short {
        output::line("short form: only correctness counts, the figures mean nothing");
    }
}

/// Everything, for programs.
pub fn json(arguments: &Arguments, cores: Cores, samples: &[Sample], costs: &[Cost]) -> Value {
    let lost = |scenario: Scenario, proxy: Kind| {
        let cost = costs.iter().find(|cost| cost.proxy == proxy && cost.scenario == scenario)?;
        Some(cost.loss().json())
    };
    let scenarios: Vec<Value> = arguments
        .scenarios
        .iter()
        .map(|scenario| {
            let rows: Vec<Value> = rows(*scenario, &arguments.proxies, samples)
                .iter()
                .map(|row| {
                    json!({
                        "proxy": row.proxy.as_str(), "wrong": row.wrong,
                        "lostToLimitsPercent": lost(*scenario, row.proxy),
                        "requestsPerCpuSecond": row.per_cpu_second.json(), "requestsPerSecond": row.per_second.json(),
                        "busyPercent": row.busy.json(), "p50Micros": row.p50.json(), "p99Micros": row.p99.json(),
                        "residentBytes": row.resident.json(), "proportionalBytes": row.proportional.json(),
                    })
                })
                .collect();
            json!({
                "scenario": scenario.as_str(), "connections": scenario.connections(arguments.connections),
                "latencyRate": scenario.rate(), "proxies": rows,
            })
        })
        .collect();
    json!({
        "rounds": arguments.rounds, "seconds": arguments.seconds, "routes": arguments.routes, "pins": arguments.pins,
        "cores": {"available": cores.available, "proxy": cores.proxy, "load": cores.load, "upstream": cores.upstream},
        "scenarios": scenarios,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0].into_iter()), Spread { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0].into_iter()), Spread { median: 2.5, least: 1.0, most: 4.0 });
        assert_eq!(Spread::of(std::iter::empty()), Spread { median: 0.0, least: 0.0, most: 0.0 });
    }

    #[test]
    fn counts_have_separators() {
        assert_eq!([count(0.0), count(999.4), count(1_000.0), count(1_234_567.0)], ["0", "999", "1,000", "1,234,567"]);
    }
}
