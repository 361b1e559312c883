//! How long a change takes from its commit until all of several routers have it in force.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::Common;
use super::acknowledged::Acknowledgements;
use super::checks::Checks;
use crate::error::Result;
use crate::etcd::publisher::Publisher;
use crate::etcd::{Cluster, documents};
use crate::fleet::Fleet;
use crate::histogram::Histogram;
use crate::site::{Pin, Site};

/// What this drill takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// How many routers.
    #[arg(long, default_value_t = 8)]
    routers: usize,
    /// How many routes are there.
    #[arg(long, default_value_t = 10_000)]
    routes: usize,
    /// How many pins are there.
    #[arg(long, default_value_t = 100_000)]
    pins: usize,
    /// How many changes of a pin, and as many of a route.
    #[arg(long, default_value_t = 200)]
    changes: usize,
}

/// The short form, where nothing is asserted of time.
const SHORT: Arguments = Arguments { routers: 2, routes: 200, pins: 1_000, changes: 5 };
/// Half of all changes have to be in force everywhere within this time.
const MEDIAN: Duration = Duration::from_millis(100);
/// And nearly all within this.
const NEARLY_ALL: Duration = Duration::from_millis(300);
/// A change that takes longer ends the drill.
const LIMIT: Duration = Duration::from_mins(1);
/// Documents in one publication while the site is published.
const BATCH: usize = 20_000;
/// Between two changes, so that each one meets routers that are done with the one before.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let arguments = if common.short { &SHORT } else { arguments };
    let mut checks = Checks::new("etcd-fan-out");
    let mut site = Site::new(3, &["checkout"], 1)?;
    (site.idle_routes, site.stamp) = (arguments.routes, Some(0));
    site.pins = (0..arguments.pins)
        .zip(site.cells.iter().cycle())
        .map(|(number, cell)| Pin { tenant: format!("tenant-{number:06}"), cell: cell.clone() })
        .collect();
    let cluster = Cluster::single(&[]).await?;
    let publisher = Publisher::start(cluster.urls(), "20s", 1)?;
    let all = [documents::all_but_pins(&site)?, documents::pins(&site.pins)?].concat();
    let (count, began) = (all.len(), Instant::now());
    let mut generation = publisher.publish_all(all, BATCH).await?;
    checks.note("documents", count);
    checks.note("published within, ms", began.elapsed().as_millis() as u64);
    cluster.compact().await?;

    let began = Instant::now();
    let mut fleet = Fleet::new(arguments.routers, &cluster.urls())?;
    fleet.start().await?;
    checks.note("routers", arguments.routers);
    checks.note("all of them serve after, ms", began.elapsed().as_millis() as u64);
    let url = cluster.urls().pop().unwrap_or_default();
    let mut acknowledgements = Acknowledgements::find(&url, &fleet).await?;
    acknowledgements.of(generation, LIMIT).await?;

    let (mut pins, mut routes) = (Histogram::default(), Histogram::default());
    let mut skipped = 0;
    for number in 0..arguments.changes * 2 {
        sleep(PAUSE).await;
        let changes_pin = number % 2 == 0;
        let change = if changes_pin { move_pin(&mut site, number)? } else { stamp(&mut site)? };
        let (outcome, at) = tokio::join!(publisher.publish(vec![change]), acknowledgements.of(generation + 1, LIMIT));
        let ((change, committed), at) = (outcome?, at?);
        skipped += usize::from(change.generation != generation + 1);
        generation = change.generation;
        // A router may be faster than the answer to who committed.
        let slowest = at.into_iter().map(|at| at.saturating_duration_since(committed)).max().unwrap_or_default();
        if changes_pin { &mut pins } else { &mut routes }.record(slowest);
    }
    checks.check("every change is one generation", skipped == 0, format_args!("{skipped} were not"));
    judge(&mut checks, "a pin", &pins, common.short);
    judge(&mut checks, "a route", &routes, common.short);
    let ready = fleet.ready().await?;
    let same = ready
        .iter()
        .all(|one| one.generation == generation && one.digest == ready.first().map_or("", |first| &first.digest));
    checks.check("in the end all routers have the same", same, format_args!("generation {generation}"));
    fleet.still_run()?;
    checks.finish(common)
}

fn judge(checks: &mut Checks, what: &str, times: &Histogram, short: bool) {
    let (median, nearly_all) = (times.percentile(50.0), times.percentile(99.0));
    let seen = format!("{:.1} ms and {:.1} ms", median.as_secs_f64() * 1e3, nearly_all.as_secs_f64() * 1e3);
    if short {
        checks.note(&format!("{what} is in force everywhere after (median and p99)"), seen);
        return;
    }
    checks.check(
        format_args!("{what} is in force everywhere within {MEDIAN:?} (median) and {NEARLY_ALL:?} (p99)"),
        median < MEDIAN && nearly_all < NEARLY_ALL,
        format_args!("{seen}, {} changes", times.len()),
    );
}

/// Moves one of the pins to another cell.
fn move_pin(site: &mut Site, number: usize) -> Result<gridrouter_config::store::etcd::writer::Change> {
    // A large prime goes through all of them.
    let place = number * 7_919 % site.pins.len().max(1);
    let Some(pin) = site.pins.get_mut(place) else { return stamp(site) };
    let others = site.cells.iter().filter(|cell| **cell != pin.cell);
    pin.cell = others.clone().nth(number % others.count().max(1)).cloned().unwrap_or_default();
    documents::pin(&pin.tenant, &pin.cell)
}

/// Changes a header that the used route adds.
fn stamp(site: &mut Site) -> Result<gridrouter_config::store::etcd::writer::Change> {
    site.stamp = Some(site.stamp.unwrap_or(0) + 1);
    documents::route(site)
}
