//! Many routers lose etcd at once and get it back: they must not all return in the same second.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::Common;
use super::checks::Checks;
use crate::error::{Error, Result};
use crate::etcd::publisher::Publisher;
use crate::etcd::{Cluster, ELECTION, documents};
use crate::fleet::Fleet;
use crate::network::{Link, Weather};
use crate::output;
use crate::ports;
use crate::site::Site;

/// What this drill takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// How many routers.
    #[arg(long, default_value_t = 50)]
    routers: usize,
    /// For how many seconds etcd is away.
    #[arg(long, default_value_t = 25)]
    outage: u64,
}

/// The short form, which asserts nothing of when they come. After so short an outage the delays are still short.
const SHORT: Arguments = Arguments { routers: 8, outage: 1 };
/// No delay between two tries is longer than this; a moment more to connect, list and be looked at.
const LONGEST: Duration = Duration::from_secs(30 + 5);
/// How long the short form waits, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_mins(2);
/// The largest part of all that may come within one second.
const MOST: f64 = 0.4;
/// Between two looks at all routers.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) async fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let arguments = if common.short { &SHORT } else { arguments };
    let mut checks = Checks::new("etcd-return");
    let mut site = Site::new(1, &["checkout"], 1)?;
    site.stamp = Some(0);
    let mut cluster = Cluster::single(&[]).await?;
    let publisher = Publisher::start(cluster.urls(), "20s", 1)?;
    publisher.publish(documents::all_but_pins(&site)?).await?;
    let address = ports::free(1)?.pop().ok_or_else(|| Error::new("no port"))?;
    let link = Link::open(address, cluster.member(0)?.address())?;
    let began = Instant::now();
    let mut fleet = Fleet::new(arguments.routers, &[format!("http://{address}")])?;
    fleet.start().await?;
    checks.note("routers", arguments.routers);
    checks.note("connections to start with", link.arrivals_since(began).len());

    link.set(Weather::Refused);
    cluster.member(0)?.kill()?;
    let outage = Duration::from_secs(arguments.outage);
    let lost = Instant::now();
    // Whatever they do, they notice it: a router that noticed nothing would not come back either.
    let noticed = followed(&fleet, lost, PATIENCE, false).await;
    checks.check("every router notices that etcd is gone", noticed.iter().all(Option::is_some), spread(&noticed));
    sleep(outage.saturating_sub(lost.elapsed())).await;
    cluster.member(0)?.start()?;
    cluster.until_healthy(ELECTION).await?;
    link.set(Weather::Fair);
    let back = Instant::now();
    checks.note("etcd was away, s", (back - lost).as_secs_f64().round());

    let limit = if common.short { PATIENCE } else { LONGEST };
    let followed = followed(&fleet, back, limit, true).await;
    let came = followed.iter().flatten().count();
    checks.check(
        format_args!("every router follows etcd again within {limit:?}"),
        came == fleet.routers.len(),
        format_args!("{came} of {}, {}", fleet.routers.len(), spread(&followed)),
    );
    let arrivals: Vec<Duration> = link.arrivals_since(back).iter().map(|arrival| *arrival - back).collect();
    show(&arrivals);
    let most = most_within(&arrivals, Duration::from_secs(1));
    let seen = format!("{most} of {} connections", arrivals.len());
    if common.short || outage < Duration::from_secs(20) {
        checks.note("most arrivals within one second", seen);
    } else {
        let allowed = arrivals.len() as f64 * MOST;
        checks.check("no more than 40 % come within one second", most as f64 <= allowed, seen);
    }
    a_change_reaches_all(&publisher, &fleet, &mut site, &mut checks).await?;
    fleet.still_run()?;
    checks.finish(common)
}

/// When each router followed etcd, or did no more, since a moment.
async fn followed(fleet: &Fleet, since: Instant, limit: Duration, wanted: bool) -> Vec<Option<Duration>> {
    let mut seen = vec![None; fleet.routers.len()];
    while seen.iter().any(Option::is_none) && since.elapsed() < limit {
        for (router, seen) in fleet.routers.iter().zip(&mut seen) {
            if seen.is_none() && router.ready().await.is_ok_and(|ready| ready.trouble.is_none() == wanted) {
                *seen = Some(since.elapsed());
            }
        }
        sleep(LOOK_AGAIN).await;
    }
    seen
}

/// A connection that was taken is not yet a store that is followed: a change proves it.
async fn a_change_reaches_all(
    publisher: &Publisher,
    fleet: &Fleet,
    site: &mut Site,
    checks: &mut Checks,
) -> Result<()> {
    site.stamp = Some(1);
    let generation = publisher.publish(vec![documents::route(site)?]).await?.0.generation;
    let began = Instant::now();
    let all_have = loop {
        let all = fleet.ready().await.is_ok_and(|all| all.iter().all(|ready| ready.generation == generation));
        if all || began.elapsed() > PATIENCE {
            break all;
        }
        sleep(LOOK_AGAIN).await;
    };
    let seen = format!("generation {} after {} ms", generation, began.elapsed().as_millis());
    checks.check("a change after that reaches every router", all_have, seen);
    Ok(())
}

/// The most moments that lie within one stretch of time, wherever it begins.
fn most_within(moments: &[Duration], stretch: Duration) -> usize {
    let within =
        |from: &Duration| moments.iter().filter(|moment| *moment >= from && **moment < *from + stretch).count();
    moments.iter().map(within).max().unwrap_or(0)
}

fn spread(times: &[Option<Duration>]) -> String {
    let seconds = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64);
    let (first, last) = (times.iter().flatten().min(), times.iter().flatten().max());
    format!("the first after {:.1} s, the last after {:.1} s", seconds(first), seconds(last))
}

/// A bar for each second in which somebody came, with the tenths of that second.
fn show(arrivals: &[Duration]) {
    output::line("      connections that came in each second after etcd was back, and in each tenth of it:");
    let last = arrivals.iter().map(Duration::as_secs).max().unwrap_or(0);
    for second in 0..=last {
        let in_second: Vec<&Duration> = arrivals.iter().filter(|arrival| arrival.as_secs() == second).collect();
        if in_second.is_empty() {
            continue;
        }
        let mut tenths = [0; 10];
        for arrival in &in_second {
            if let Some(tenth) = tenths.get_mut(arrival.subsec_millis() as usize / 100) {
                *tenth += 1;
            }
        }
        let bar = "#".repeat(in_second.len());
        let tenths = tenths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        output::line(format_args!("      {second:>4} s {:>4}  {tenths:<20}  {bar}", in_second.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_second_begins_anywhere() {
        let moments: Vec<Duration> = [100, 900, 950, 1_050, 1_850, 2_000].map(Duration::from_millis).to_vec();
        assert_eq!(most_within(&moments, Duration::from_secs(1)), 4);
        assert_eq!(most_within(&[], Duration::from_secs(1)), 0);
    }
}
