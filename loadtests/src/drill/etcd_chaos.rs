//! A cluster of three etcd members to which everything happens that may happen, while routers that follow it serve, and
//! somebody publishes all the time.
//!
//! Asserted: nothing of it is seen by clients, no router ever goes back, and in the end every router has what was
//! committed, all of it.

mod editor;
mod faults;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use self::editor::{Ledger, Pace};
use self::faults::{CATCHING_UP, Fault, Times};
use self::witness::Witness;
use super::Common;
use super::checks::{Checks, tally};
use crate::dice::Dice;
use crate::error::{Context, Error, Result};
use crate::etcd::publisher::Publisher;
use crate::etcd::{Cluster, ELECTION, documents};
use crate::fleet::{Fleet, Ready, Router};
use crate::site::{Pin, Site};
use crate::traffic::{Client, Event, Outcome, Traffic};
use crate::upstream::Endpoint;

/// What this drill takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Decides what happens in which order, and to whom; another one every time when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// How many times everything happens.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// How many routers.
    #[arg(long, default_value_t = 4)]
    routers: usize,
}

/// Tenants that nobody moves: half of them are pinned, half placed by the grid.
const STEADY: usize = 8;
/// Tenants whose pins change.
const MOVING: usize = 40;
/// How many of those send requests.
const MOVING_CLIENTS: usize = 4;
/// Between two requests of a client.
const INTERVAL: Duration = Duration::from_millis(60);
/// Between two changes, when there is no storm.
const USUAL: Pace = Pace::Every(Duration::from_millis(20), 1);

/// How long the editor waits for an answer: little enough to give up a change while a majority is paused.
const PATIENCE: &str = "500ms";

/// Everything that plays.
struct Play {
    cluster: Cluster,
    fleet: Fleet,
    dice: Dice,
    pace: watch::Sender<Pace>,
    progress: Arc<AtomicU64>,
    /// Changes that were committed.
    changed: Arc<AtomicU64>,
    clients: Vec<Client>,
    traffic: Vec<Option<Traffic>>,
    /// What was seen by traffic that has ended: of one router from a start to a stop each.
    past: Vec<Vec<Event>>,
    witness: Witness,
    _endpoints: Vec<Endpoint>,
}

pub(super) async fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let mut checks = Checks::new("etcd-chaos");
    let seed = arguments.seed.unwrap_or_else(Dice::fresh_seed);
    checks.note("seed", seed);
    let mut dice = Dice::new(seed);
    let (site, moving) = site()?;
    let routers = if common.short { 2 } else { arguments.routers };
    let (mut play, publisher, generation) = Play::set(&site, routers, dice.other()).await?;

    let ledger = Ledger::new(site.clone(), &moving, generation);
    let (paced, progress) = (play.pace.subscribe(), Arc::clone(&play.progress));
    let hasty = Publisher::start(play.cluster.urls(), PATIENCE, 2)?;
    let changed = Arc::clone(&play.changed);
    let editing = tokio::spawn(editor::edit(hasty, ledger, dice.other(), paced, progress, changed));
    let began = Instant::now();
    let times = if common.short { SHORT } else { FULL };
    sleep(times.quiet).await;
    for _ in 0..if common.short { 1 } else { arguments.rounds } {
        let mut faults = Fault::ALL;
        dice.shuffle(&mut faults);
        for fault in faults {
            play.strike(fault, times, &mut checks).await?;
        }
    }
    checks.note("it lasted, s", began.elapsed().as_secs());
    let ledger = play.settled(editing, &mut checks).await?;
    play.judge_routers(&ledger, &mut checks).await?;
    judge_store(&publisher, &ledger, &mut checks).await?;
    play.judge_requests(&ledger, &mut checks).await?;
    play.judge_traffic(&site, &mut checks);
    checks.finish(common)
}

const FULL: Times = Times {
    quiet: Duration::from_secs(1),
    away: Duration::from_secs(4),
    silent: Duration::from_secs(14),
    no_quorum: Duration::from_secs(10),
    storm: Duration::from_secs(5),
    catch_up: true,
};
/// Outages this short are over before the routers' delays have grown.
const SHORT: Times = Times {
    quiet: Duration::from_millis(100),
    away: Duration::from_millis(300),
    silent: Duration::from_millis(800),
    no_quorum: Duration::from_millis(600),
    storm: Duration::from_secs(1),
    catch_up: false,
};

/// The site, and the tenants whose pins change.
fn site() -> Result<(Site, Vec<String>)> {
    let mut site = Site::new(3, &["checkout"], 2)?;
    site.stamp = Some(0);
    let moving: Vec<String> = (0..MOVING).map(|number| format!("moving-{number}")).collect();
    let pinned = (0..STEADY / 2).map(steady).chain(moving.iter().cloned());
    site.pins =
        pinned.zip(site.cells.iter().cycle()).map(|(tenant, cell)| Pin { tenant, cell: cell.clone() }).collect();
    Ok((site, moving))
}

fn steady(number: usize) -> String {
    format!("steady-{number}")
}

impl Play {
    /// Starts etcd, publishes the site, and starts the routers and their traffic.
    async fn set(site: &Site, routers: usize, dice: Dice) -> Result<(Self, Publisher, u64)> {
        let endpoints = site.endpoints().map(Endpoint::start).collect::<Result<Vec<_>>>()?;
        let cluster = Cluster::start(3).await?;
        let publisher = Publisher::start(cluster.urls(), "20s", 1)?;
        let all = [documents::all_but_pins(site)?, documents::pins(&site.pins)?].concat();
        let generation = publisher.publish(all).await?.0.generation;
        let mut fleet = Fleet::new(routers, &cluster.urls())?;
        fleet.start().await?;
        let names = (0..STEADY).map(steady).chain((0..MOVING_CLIENTS).map(|number| format!("moving-{number}")));
        let client = |tenant| Client { tenant, host: "checkout.example.com".to_owned(), path: "/api/chaos".to_owned() };
        let admins: Vec<_> = fleet.routers.iter().map(|router| router.admin).collect();
        let mut play = Self {
            cluster,
            fleet,
            dice,
            pace: watch::Sender::new(USUAL),
            progress: Arc::new(AtomicU64::new(generation)),
            changed: Arc::default(),
            clients: names.map(client).collect(),
            traffic: (0..routers).map(|_| None).collect(),
            past: Vec::new(),
            witness: Witness::start(&admins),
            _endpoints: endpoints,
        };
        for number in 0..routers {
            play.begin_traffic(number)?;
        }
        Ok((play, publisher, generation))
    }

    fn router(&mut self, number: usize) -> Result<&mut Router> {
        self.fleet.routers.get_mut(number).ok_or_else(|| Error::new(format!("there is no router {number}")))
    }

    /// Sends requests to a router.
    fn begin_traffic(&mut self, number: usize) -> Result<()> {
        let listen = self.router(number)?.listen;
        let traffic = Traffic::start(listen, &self.clients, INTERVAL);
        if let Some(slot) = self.traffic.get_mut(number) {
            *slot = Some(traffic);
        }
        Ok(())
    }

    /// Sends no more requests to a router.
    fn end_traffic(&mut self, number: usize) {
        if let Some(traffic) = self.traffic.get_mut(number).and_then(Option::take) {
            self.past.push(traffic.all());
        }
    }

    fn pace(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }

    /// The last generation that is known to be committed.
    fn committed(&self) -> u64 {
        self.progress.load(Relaxed)
    }

    /// Waits until every router has what is committed now.
    async fn caught_up(&self, limit: Duration) -> Option<Duration> {
        let (began, wanted) = (Instant::now(), self.committed());
        while began.elapsed() < limit {
            let all = self.fleet.ready().await;
            if all.is_ok_and(|all| all.iter().all(|ready| ready.generation >= wanted)) {
                return Some(began.elapsed());
            }
            sleep(Duration::from_millis(20)).await;
        }
        None
    }

    /// Waits for the end of all changes.
    async fn settled(&self, editing: JoinHandle<Result<Ledger>>, checks: &mut Checks) -> Result<Ledger> {
        self.pace(Pace::Stop);
        let ended = timeout(ELECTION, editing).await.context("the last change is not committed in time")?;
        let ledger = ended.context("the editor ended")??;
        checks.note("changes committed", ledger.committed);
        checks.note("tries in doubt, found out later", ledger.unknown);
        for (why, times) in &ledger.failures {
            checks.note(&format!("tries that failed: {why}"), *times);
        }
        checks.check(
            "what failed changed nothing, and what was committed is one generation each",
            ledger.contradictions.is_empty(),
            tally(ledger.contradictions.iter().cloned()),
        );
        Ok(ledger)
    }

    /// What every router says in the end, and one that begins now.
    async fn judge_routers(&mut self, ledger: &Ledger, checks: &mut Checks) -> Result<()> {
        let began = Instant::now();
        let in_order = loop {
            let fine = |ready: &Ready| ready.generation == ledger.generation && ready.trouble.is_none();
            let fine = self.fleet.ready().await.is_ok_and(|all| all.iter().all(fine));
            if fine || began.elapsed() > CATCHING_UP {
                break fine;
            }
            sleep(Duration::from_millis(50)).await;
        };
        let took = began.elapsed().as_secs_f64();
        let fresh = self.fleet.add()?;
        fresh.start().await?;
        let began = Instant::now();
        let has_it = |ready: Result<Ready>| ready.is_ok_and(|ready| ready.generation == ledger.generation);
        while !has_it(fresh.ready().await) && began.elapsed() < CATCHING_UP {
            sleep(Duration::from_millis(50)).await;
        }
        let all = self.fleet.ready().await?;
        let said = |(number, ready): (usize, &Ready)| {
            let trouble = ready.trouble.as_ref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
            format!("router {number} {} {}{trouble}", ready.generation, ready.digest)
        };
        let seen = all.iter().enumerate().map(said).collect::<Vec<_>>().join(", ");
        checks.check(
            format_args!("in the end every router has generation {} and follows etcd", ledger.generation),
            in_order,
            format_args!("{seen}, after {took:.1} s"),
        );
        let digests: BTreeSet<&String> = all.iter().map(|ready| &ready.digest).collect();
        checks.check("all have one digest, and so has a router that starts now", digests.len() == 1, seen);
        let quarantined: usize = all.iter().map(|ready| ready.quarantined).sum();
        checks.check("no document is refused", quarantined == 0, quarantined);
        let seen = self.witness.seen();
        let looks = format!("of {} looks: {}", seen.looks, tally(seen.backwards.iter().cloned()));
        checks.check("no router's generation ever goes backwards", seen.backwards.is_empty(), looks);
        checks.check(
            "a generation has the same digest in every router",
            seen.contradictions.is_empty(),
            tally(seen.contradictions.iter().cloned()),
        );
        Ok(())
    }

    /// Asks every router for every tenant whose pin was changed.
    async fn judge_requests(&mut self, ledger: &Ledger, checks: &mut Checks) -> Result<()> {
        let mut wrong = Vec::new();
        let pinned = ledger.pins.iter().filter_map(|(tenant, cell)| Some((tenant, cell.as_ref()?)));
        let pinned: Vec<(&String, &String)> = pinned.collect();
        let Some(model) = self.clients.first() else { return Ok(()) };
        let of = |(tenant, _): &(&String, &String)| Client { tenant: (*tenant).clone(), ..model.clone() };
        let clients: Vec<Client> = pinned.iter().map(of).collect();
        for router in &self.fleet.routers {
            let traffic = Traffic::start(router.listen, &clients, Duration::from_secs(1));
            let answered = async || {
                let seen: BTreeSet<usize> = traffic.all().iter().map(|event| event.client).collect();
                seen.len() == clients.len()
            };
            if !super::holds_within(Duration::from_secs(20), answered).await {
                wrong.push(format!("{} does not answer everybody", router.name));
            }
            for event in traffic.all() {
                let Some((tenant, cell)) = pinned.get(event.client) else { continue };
                let stamp = matches!(event.outcome, Outcome::Answered { stamp, .. } if stamp == ledger.site.stamp);
                if !stamp || event.outcome.cell() != Some(cell.as_str()) {
                    wrong.push(format!("{}: {tenant} in {:?}, not {cell}", router.name, event.outcome.cell()));
                }
            }
        }
        let asked =
            format!("{} tenants, {} routers: {}", clients.len(), self.fleet.routers.len(), tally(wrong.clone()));
        checks.check("every router serves by the last committed pins and route", wrong.is_empty(), asked);
        Ok(())
    }

    /// What the clients saw.
    fn judge_traffic(&mut self, site: &Site, checks: &mut Checks) {
        let mut homes: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        (0..self.traffic.len()).for_each(|number| self.end_traffic(number));
        let back: usize = self.past.iter().map(|events| stamps_back(events)).sum();
        let (mut count, mut bad) = (0, Vec::new());
        for event in self.past.iter().flatten() {
            count += 1;
            if !event.outcome.is_good() {
                bad.push(event.outcome.brief());
            }
            if event.client < STEADY
                && let Some(cell) = event.outcome.cell()
            {
                homes.entry(event.client).or_default().insert(cell.to_owned());
            }
        }
        checks.check("no request fails", bad.is_empty(), format_args!("{} of {count} requests", tally(bad.clone())));
        let at_home = (0..STEADY).all(|client| {
            let Some(cells) = homes.get(&client) else { return false };
            let pinned = site.pinned(&steady(client));
            cells.len() == 1 && pinned.is_none_or(|cell| cells.contains(cell))
        });
        let cells = homes.values().map(|cells| cells.iter().cloned().collect::<Vec<_>>().join("+"));
        checks.check("tenants that nobody moves stay in one cell, in every router", at_home, tally(cells));
        checks.check("no client sees a route go back", back == 0, format_args!("{back} answers"));
    }
}

/// How many answers of one router showed an older route than the one before them to the same client.
fn stamps_back(events: &[Event]) -> usize {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    let mut back = 0;
    for event in events {
        if let Outcome::Answered { stamp: Some(stamp), .. } = event.outcome {
            let before = last.insert(event.client, stamp).unwrap_or(0);
            back += usize::from(stamp < before);
        }
    }
    back
}

/// What the store holds in the end.
async fn judge_store(publisher: &Publisher, ledger: &Ledger, checks: &mut Checks) -> Result<()> {
    let view = publisher.with(|writer| writer.read().map_err(|error| error.to_string())).await?;
    let listing = view.map_err(Error::new)?.listing;
    let mut found = BTreeMap::new();
    for tenant in listing.tenants.iter() {
        found.insert(tenant.name().to_owned(), tenant.pin().map(|pin| pin.cell.to_string()));
    }
    for entry in &*listing.entries {
        let json: serde_json::Value = serde_json::from_slice(&entry.bytes).context(&entry.path)?;
        let text = |name: &str| json.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        if text("kind").as_deref() == Some("Tenant") {
            found.insert(text("name").unwrap_or_default(), text("cell"));
        }
    }
    let wrong: Vec<String> = ledger
        .pins
        .iter()
        .filter(|(tenant, cell)| found.get(*tenant).cloned().flatten() != **cell)
        .map(|(tenant, cell)| format!("{tenant}: {:?}, not {cell:?}", found.get(tenant)))
        .collect();
    checks.check(
        "the store holds what was committed",
        wrong.is_empty() && listing.faults.is_empty() && listing.generation == Some(ledger.generation),
        format_args!(
            "{} documents, generation {:?}; wrong: {}",
            listing.entries.len() + listing.tenants.len(),
            listing.generation,
            tally(wrong)
        ),
    );
    Ok(())
}
