//! Many real changes of the configuration under load.
//!
//! Each change alters a header that the route adds to answers, so that it is seen in the traffic when it is in force,
//! and the next one follows at once. Stretches with and without reloads alternate, so that whatever else the machine
//! does falls on both.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::checks::{Checks, tally};
use super::{Common, Stage, holds_within};
use crate::error::Result;
use crate::histogram::Histogram;
use crate::process;
use crate::site::{Limits, Site};
use crate::traffic::{Client, Event, Outcome, Traffic};

/// What this drill takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// How many reloads.
    #[arg(long, default_value_t = 1_000)]
    reloads: usize,
    /// Requests a second.
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
}

const TENANTS: u32 = 20;
/// How many stretches without reloads, and as many with.
const STRETCHES: usize = 20;
/// How long a change may take to be in force.
const IN_FORCE: Duration = Duration::from_secs(5);

pub(super) async fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let reloads = if common.short { arguments.reloads.min(40) } else { arguments.reloads };
    let stretches = if common.short { 4 } else { STRETCHES };
    let mut checks = Checks::new("reload");
    let mut site = Site::new(3, &["checkout"], 2)?;
    site.stamp = Some(0);
    site.limit(Limits::One);
    let mut stage = Stage::set(common.proxy, site).await?;
    let clients: Vec<Client> = (0..TENANTS)
        .map(|number| Client {
            tenant: format!("tenant-{number}"),
            host: "checkout.example.com".to_owned(),
            path: "/api/reload".to_owned(),
        })
        .collect();
    let traffic = Traffic::start(stage.site.listen, &clients, Duration::from_secs(1) * TENANTS / arguments.rate.max(1));
    sleep(Duration::from_millis(500)).await;

    // What is allocated once, at the first reloads, is no growth.
    let warm_up = (reloads / 10).max(5);
    let mut late = 0;
    for _ in 0..warm_up {
        late += usize::from(!reload(&mut stage, &traffic).await?);
    }
    let memory_before = resident(&stage);
    let (mut quiet, mut reloading) = (Vec::new(), Vec::new());
    let mut slowest = Duration::ZERO;
    for stretch in 0..stretches {
        let begin = Instant::now();
        sleep(if common.short { Duration::from_millis(300) } else { Duration::from_secs(1) }).await;
        let middle = Instant::now();
        let share = reloads * (stretch + 1) / stretches - reloads * stretch / stretches;
        for _ in 0..share {
            let changed = Instant::now();
            late += usize::from(!reload(&mut stage, &traffic).await?);
            slowest = slowest.max(changed.elapsed());
        }
        quiet.extend(traffic.between(begin, middle));
        reloading.extend(traffic.between(middle, Instant::now()));
        stage.proxy.still_runs()?;
    }
    let memory_after = resident(&stage);

    checks.check(
        "every reload is in force within 5 s",
        late == 0,
        format_args!("{late} of {} were not", reloads + warm_up),
    );
    checks.note("slowest reload, ms", slowest.as_millis() as u64);
    let all = traffic.all();
    let bad = tally(all.iter().filter(|event| !event.outcome.is_good()).map(|event| event.outcome.brief()));
    checks.check("no request fails", bad == "nothing", format_args!("{bad} of {} requests", all.len()));
    let growth = memory_after.saturating_sub(memory_before);
    let allowed = (memory_before / 10).max(4 << 20);
    checks.check(
        "memory does not grow",
        growth <= allowed,
        format_args!("{} KiB before, {} KiB after {reloads} reloads", memory_before >> 10, memory_after >> 10),
    );
    latency(&mut checks, &quiet, &reloading, common.short);
    checks.finish(common)
}

fn latency(checks: &mut Checks, quiet: &[Event], reloading: &[Event], short: bool) {
    let (quiet, reloading) = (crate::traffic::latencies(quiet), crate::traffic::latencies(reloading));
    let micros = |histogram: &Histogram| histogram.percentile(99.0).as_micros() as u64;
    checks.note("p99 without reloads, us", micros(&quiet));
    checks.note("p99 with reloads, us", micros(&reloading));
    if !short {
        let ratio = micros(&reloading) as f64 / micros(&quiet).max(1) as f64;
        checks.check(
            "p99 with reloads is within 1.5 times the p99 without",
            ratio <= 1.5,
            format_args!("{ratio:.2} times"),
        );
    }
}

/// Makes one change and waits until an answer shows it. False when none does in time.
async fn reload(stage: &mut Stage, traffic: &Traffic) -> Result<bool> {
    let stamp = stage.site.stamp.unwrap_or(0) + 1;
    stage.site.stamp = Some(stamp);
    let changed = Instant::now();
    stage.write_routes()?;
    let shows = |event: &Event| matches!(event.outcome, Outcome::Answered { stamp: Some(seen), .. } if seen == stamp);
    Ok(holds_within(IN_FORCE, async || traffic.any_since(changed, shows)).await)
}

fn resident(stage: &Stage) -> u64 {
    process::memory(&process::tree(stage.proxy.id())).resident
}
