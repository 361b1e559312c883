//! A million pins in etcd, and one router: what it needs to keep them, and what a change of one costs.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::checks::{Checks, tally};
use super::{Common, holds_within};
use crate::dice::Dice;
use crate::error::{Error, Result};
use crate::etcd::publisher::Publisher;
use crate::etcd::{Cluster, documents};
use crate::fleet::{Fleet, Router};
use crate::process;
use crate::site::{Pin, Site};
use crate::traffic::{Client, Event, Traffic, latencies};
use crate::upstream::Endpoint;

/// What this drill takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// How many pins.
    #[arg(long, default_value_t = 1_000_000)]
    pins: usize,
    /// How many changes of a pin, each published alone.
    #[arg(long, default_value_t = 100)]
    changes: usize,
    /// Requests a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
}

/// What a router with all of them may have resident, at rest.
const MEMORY: u64 = 250 << 20;
/// CPU time that a change of one pin may cost it.
const COST: Duration = Duration::from_millis(5);
/// How much longer the slowest hundredth of all answers may take while pins change.
const BUMP: f64 = 1.5;
/// Documents in one publication while all are published.
const BATCH: usize = 20_000;
/// Tenants that send requests, spread over all.
const CLIENTS: usize = 20;
/// How long a change may take to be in force.
const IN_FORCE: Duration = Duration::from_mins(1);
/// Between two looks at the router's generation. It costs the router a little, with changes and without.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Stretches with changes, and as many without.
const STRETCHES: usize = 20;
/// Between two changes while requests are sent.
const BETWEEN: Duration = Duration::from_millis(200);

/// Everything that plays.
struct Play {
    site: Site,
    cluster: Cluster,
    publisher: Publisher,
    fleet: Fleet,
    generation: u64,
    dice: Dice,
    short: bool,
    _endpoints: Vec<Endpoint>,
}

pub(super) async fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let mut arguments = arguments.clone();
    if common.short {
        (arguments.pins, arguments.changes, arguments.rate) = (arguments.pins.min(2_000), 5, 200);
    }
    let mut checks = Checks::new("etcd-million-pins");
    let mut play = Play::set(&arguments, common.short, &mut checks).await?;
    play.boots(&mut checks).await?;
    play.changes_cost(arguments.changes, &mut checks).await?;
    play.traffic_notices_nothing(arguments.rate, &mut checks).await?;
    play.serves_the_pins("after the changes", &mut checks).await?;
    play.restarts_without_etcd(&mut checks).await?;
    play.serves_the_pins("after a restart without etcd", &mut checks).await?;
    checks.finish(common)
}

impl Play {
    /// Publishes everything.
    async fn set(arguments: &Arguments, short: bool, checks: &mut Checks) -> Result<Self> {
        let mut site = Site::new(3, &["checkout"], 1)?;
        site.pins = (0..arguments.pins)
            .zip(site.cells.iter().cycle())
            .map(|(number, cell)| Pin { tenant: format!("tenant-{number:07}"), cell: cell.clone() })
            .collect();
        let endpoints = site.endpoints().map(Endpoint::start).collect::<Result<Vec<_>>>()?;
        let cluster = Cluster::single(&[]).await?;
        let publisher = Publisher::start(cluster.urls(), "60s", 1)?;
        let began = Instant::now();
        publisher.publish(documents::all_but_pins(&site)?).await?;
        let generation = publisher.publish_all(documents::pins(&site.pins)?, BATCH).await?;
        checks.note("pins", arguments.pins);
        checks.note("published within, ms", began.elapsed().as_millis() as u64);
        cluster.compact().await?;
        let fleet = Fleet::new(1, &cluster.urls())?;
        Ok(Self { site, cluster, publisher, fleet, generation, dice: Dice::new(1), short, _endpoints: endpoints })
    }

    fn router(&mut self) -> Result<&mut Router> {
        self.fleet.routers.first_mut().ok_or_else(|| Error::new("there is no router"))
    }

    /// The first start, from etcd.
    async fn boots(&mut self, checks: &mut Checks) -> Result<()> {
        let generation = self.generation;
        let router = self.router()?;
        let began = Instant::now();
        router.start().await?;
        checks.note("started from etcd within, ms", began.elapsed().as_millis() as u64);
        let ready = router.ready().await?;
        let seen = format!("generation {}, {} documents refused", ready.generation, ready.quarantined);
        checks.check("the router has everything", ready.generation == generation && ready.quarantined == 0, seen);
        self.memory("after a start from etcd", checks).await
    }

    /// What is resident, when all is quiet.
    async fn memory(&mut self, when: &str, checks: &mut Checks) -> Result<()> {
        sleep(if self.short { Duration::from_millis(200) } else { Duration::from_secs(10) }).await;
        let short = self.short;
        let id = self.router()?.id();
        let (now, peak) = (process::memory(&[id]).resident, process::peak(id));
        let seen = format!("{} MiB, {} MiB at most so far", now >> 20, peak >> 20);
        if short {
            checks.note(&format!("resident memory {when}"), seen);
        } else {
            checks.check(format_args!("resident memory {when} is below {} MiB", MEMORY >> 20), now < MEMORY, seen);
        }
        Ok(())
    }

    /// Moves a pin, and waits until the router has it. Returns how long that took from the commit on.
    async fn move_a_pin(&mut self) -> Result<Duration> {
        let place = self.dice.below(self.site.pins.len());
        let Some(pin) = self.site.pins.get_mut(place) else { return Ok(Duration::ZERO) };
        let others: Vec<&String> = self.site.cells.iter().filter(|cell| **cell != pin.cell).collect();
        pin.cell = self.dice.choose(&others).map(|cell| (*cell).clone()).unwrap_or_default();
        let change = documents::pin(&pin.tenant, &pin.cell)?;
        let (outcome, committed) = self.publisher.publish(vec![change]).await?;
        self.generation = outcome.generation;
        let generation = self.generation;
        let router = self.router()?;
        while router.ready().await?.generation < generation {
            if committed.elapsed() > IN_FORCE {
                return Err(Error::new(format!("generation {generation} is not in force within {IN_FORCE:?}")));
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(committed.elapsed())
    }

    /// The CPU time of changes, one after the other, without requests; less what the router uses while nothing happens
    /// but the same questions.
    async fn changes_cost(&mut self, changes: usize, checks: &mut Checks) -> Result<()> {
        let id = self.router()?.id();
        let used = || process::cpu_time(&[id]);
        // What is done once is no change's fault.
        let first = self.move_a_pin().await?;
        sleep(first.max(Duration::from_secs(u64::from(!self.short)))).await;
        let (before, began) = (used(), Instant::now());
        let idle = if self.short { Duration::from_millis(300) } else { Duration::from_secs(10) };
        while began.elapsed() < idle {
            self.router()?.ready().await?;
            sleep(LOOK_AGAIN).await;
        }
        let idle_share = used().saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64();

        let (before, began, mut slowest) = (used(), Instant::now(), Duration::ZERO);
        for _ in 0..changes {
            slowest = slowest.max(self.move_a_pin().await?);
        }
        // What a change leaves to do, such as to keep it on disk, is part of it.
        let least = if self.short { Duration::from_millis(300) } else { Duration::from_secs(5) };
        sleep(least.max(slowest)).await;
        let total = used().saturating_sub(before).as_secs_f64() - idle_share * began.elapsed().as_secs_f64();
        let cost = Duration::from_secs_f64((total / changes.max(1) as f64).max(0.0));
        checks.note("slowest change of a pin, ms from commit to in force", slowest.as_millis() as u64);
        checks.note("CPU while nothing changes, in percent of a core", (idle_share * 1e3).round() / 10.0);
        let seen = format!("{:.2} ms ({changes} changes)", cost.as_secs_f64() * 1e3);
        if self.short {
            checks.note("CPU time for a change of a pin", seen);
        } else {
            checks.check(format_args!("a change of a pin costs less than {COST:?} of CPU time"), cost < COST, seen);
        }
        self.memory("after the changes", checks).await
    }

    /// Requests, in stretches with changes and without.
    async fn traffic_notices_nothing(&mut self, rate: u32, checks: &mut Checks) -> Result<()> {
        let clients: Vec<Client> = self.sample().into_iter().map(|(client, _)| client).collect();
        let traffic = Traffic::start(
            self.router()?.listen,
            &clients,
            Duration::from_secs(1) * clients.len() as u32 / rate.max(1),
        );
        let stretch = if self.short { Duration::from_millis(300) } else { Duration::from_secs(3) };
        let (mut quiet, mut changing): (Vec<Event>, Vec<Event>) = (Vec::new(), Vec::new());
        sleep(stretch).await;
        for _ in 0..if self.short { 2 } else { STRETCHES } {
            let begin = Instant::now();
            sleep(stretch).await;
            let middle = Instant::now();
            let mut slowest = Duration::ZERO;
            while middle.elapsed() < stretch {
                let next = Instant::now() + BETWEEN;
                slowest = slowest.max(self.move_a_pin().await?);
                tokio::time::sleep_until(next).await;
            }
            quiet.extend(traffic.between(begin, middle));
            changing.extend(traffic.between(middle, Instant::now()));
            // What a change leaves to do belongs to neither, and takes about as long as the change itself.
            sleep(slowest.max(stretch / 3)).await;
        }
        self.router()?.still_runs()?;
        let all = traffic.all();
        let bad = tally(all.iter().filter(|event| !event.outcome.is_good()).map(|event| event.outcome.brief()));
        checks.check("no request fails", bad == "nothing", format_args!("{bad} of {} requests", all.len()));
        let micros = |events: &[Event]| latencies(events).percentile(99.0).as_micros() as u64;
        let (quiet, changing) = (micros(&quiet), micros(&changing));
        checks.note("p99 without changes, us", quiet);
        checks.note("p99 with changes, us", changing);
        if !self.short {
            let ratio = changing as f64 / quiet.max(1) as f64;
            let what = format!("p99 with changes is within {BUMP} times the p99 without");
            checks.check(what, ratio <= BUMP, format_args!("{ratio:.2} times"));
        }
        Ok(())
    }

    /// Some tenants, and the cell that each is pinned to.
    fn sample(&self) -> Vec<(Client, String)> {
        let step = (self.site.pins.len() / CLIENTS).max(1);
        let client = |pin: &Pin| Client {
            tenant: pin.tenant.clone(),
            host: "checkout.example.com".to_owned(),
            path: "/api/pins".to_owned(),
        };
        self.site.pins.iter().step_by(step).map(|pin| (client(pin), pin.cell.clone())).collect()
    }

    /// Every tenant of the sample is served where it is pinned now.
    async fn serves_the_pins(&mut self, when: &str, checks: &mut Checks) -> Result<()> {
        let sample = self.sample();
        let clients: Vec<Client> = sample.iter().map(|(client, _)| client.clone()).collect();
        let traffic = Traffic::start(self.router()?.listen, &clients, Duration::from_millis(200));
        let answered = async || {
            let seen: BTreeSet<usize> = traffic.all().iter().map(|event| event.client).collect();
            seen.len() == clients.len()
        };
        let all = holds_within(Duration::from_secs(20), answered).await;
        let astray = |event: &Event| {
            let wanted = sample.get(event.client).map(|(_, cell)| cell.as_str());
            event.outcome.cell() != wanted
        };
        let wrong: Vec<String> = traffic
            .all()
            .iter()
            .filter(|event| astray(event))
            .map(|event| format!("client {} by {:?}", event.client, event.outcome.cell()))
            .collect();
        let seen = format!("{} tenants: {}", clients.len(), tally(wrong.clone()));
        checks.check(format_args!("{when}, tenants are served where they are pinned"), all && wrong.is_empty(), seen);
        Ok(())
    }

    /// From what is on disk.
    async fn restarts_without_etcd(&mut self, checks: &mut Checks) -> Result<()> {
        self.cluster.member(0)?.kill()?;
        let generation = self.generation;
        let router = self.router()?;
        router.stop().await?;
        let began = Instant::now();
        router.start().await?;
        checks.note("started without etcd within, ms", began.elapsed().as_millis() as u64);
        let ready = router.ready().await?;
        checks.check(
            "a router that starts without etcd has the last good generation",
            ready.generation == generation && ready.origin == "last-known-good",
            format_args!("generation {} from {}", ready.generation, ready.origin),
        );
        self.memory("after a start without etcd", checks).await
    }
}
