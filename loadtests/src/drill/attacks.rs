//! Hostile clients, one kind after the other, on a router with its default settings: what they cost in memory, and what good
//! clients notice.
//!
//! Each attack has a router of its own, so that memory which an allocator keeps from one does not hide what the next one takes.
//! Stretches with the attack and without alternate, so that whatever else the machine does falls on both. The router has a core
//! for itself. Good clients and attackers share the other one, and attackers come last there: the load that is measured must not
//! wait for the load that is made.

mod apart;
mod floods;
mod frames;
mod good;
mod ground;
mod hoards;
mod http1;
mod prey;
mod secure;
mod siege;
mod table;

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use self::apart::{Apart, Manners};
use self::ground::{Ground, Tally};
use self::siege::{Places, Siege};
use self::table::{ATTACKS, Attack};
use super::Common;
use super::checks::{Checks, tally};
use crate::error::{Context, Error, Result};
use crate::histogram::Histogram;
use crate::{output, process};

/// What this drill takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Only attacks whose name contains one of these.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// How long each stretch is, in seconds. The first one of an attack that the router ends after a time is longer.
    #[arg(long, default_value_t = 3.0, value_parser = parse_seconds)]
    seconds: f64,
    /// How many stretches with the attack, and as many without.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

fn parse_seconds(text: &str) -> std::result::Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=600.0).contains(seconds));
    seconds.ok_or_else(|| "must be from 0.1 to 600".to_owned())
}

/// What an attack may cost in memory, beyond what the router has at rest.
const MOST: u64 = 64 << 20;
/// How many times as long good clients may wait, at the 99th percentile.
const SLOWER: f64 = 2.0;
/// Below this many more, the machine's own unrest decides: a timer's tick, and a turn of the scheduler.
const SLACK: Duration = Duration::from_millis(2);
/// How long the last request may take that was due in an attack.
const LATE: Duration = Duration::from_secs(5);
/// How long connections may be there when their clients have gone.
const GONE: Duration = Duration::from_secs(5);
/// What is wrong with an attack that did not come about. The short form gives it more time.
const NOT_CONNECTED: &str = "did not connect";
const NOT_STOPPED: &str = "not stopped";
/// How many times as long the next try is, and how long the last one at the least.
const LONGER: u32 = 4;
const LONGEST: Duration = Duration::from_secs(8);
/// Files that the sockets of an attack take, on both sides.
const FILES: u64 = 19_000;

/// How an attack is made.
#[derive(Debug, Clone, Copy)]
struct Course {
    rounds: u32,
    warm_up: Duration,
    quiet: Duration,
    attack: Duration,
    is_short: bool,
}

impl Course {
    fn of(arguments: &Arguments, common: &Common) -> Self {
        let stretch = Duration::from_secs_f64(arguments.seconds);
        let millis = Duration::from_millis;
        let short = Self { rounds: 1, warm_up: millis(100), quiet: millis(200), attack: millis(500), is_short: true };
        let long =
            Self { rounds: arguments.rounds, warm_up: millis(1_000), quiet: stretch, attack: stretch, is_short: false };
        if common.short { short } else { long }
    }

    /// How long the attack of this round lasts.
    fn length(&self, attack: &Attack, round: u32) -> Duration {
        let whole = Duration::from_secs(attack.lasts);
        if round == 0 && !self.is_short { self.attack.max(whole) } else { self.attack }
    }
}

/// What was seen of an attack.
#[derive(Debug)]
struct Seen {
    tally: Tally,
    /// Resident memory at rest, in bytes.
    idle: u64,
    /// The most while attacked.
    peak: u64,
    /// What is left of it afterwards.
    after: u64,
    /// Connections that were there at the end of a stretch.
    held: u64,
    /// How long they took to go.
    gone: Option<Duration>,
    /// The share of a core that the router took while attacked.
    busy: f64,
    quiet: Latencies,
    attacked: Latencies,
    /// Those with a connection of their own.
    new_quiet: Latencies,
    new_attacked: Latencies,
    /// What went wrong for good clients, and how often.
    failed: String,
}

impl Seen {
    fn grown(&self) -> u64 {
        self.peak.saturating_sub(self.idle)
    }

    fn allowed(&self) -> Duration {
        let quiet = self.quiet.p99;
        quiet.mul_f64(SLOWER).max(quiet + SLACK)
    }

    fn is_bad(&self, attack: &Attack, is_short: bool) -> Vec<String> {
        let mut bad = Vec::new();
        let mut check = |is_bad: bool, what: &str| bad.extend(is_bad.then(|| what.to_owned()));
        check(self.grown() >= MOST, "memory");
        check(self.failed != "nothing", "good requests failed");
        check(self.attacked.count == 0 || self.quiet.count == 0, "no good requests");
        check(self.attacked.most.max(self.new_attacked.most) > LATE, "late answers");
        check(self.gone.is_none(), "connections stay");
        check(self.tally.connections == 0, NOT_CONNECTED);
        if !is_short {
            let p99 = format!("p99 from {} to {} ms", millis(self.quiet.p99), millis(self.attacked.p99));
            check(self.attacked.p99 > self.allowed(), &p99);
        }
        let is_due = !is_short || attack.lasts == 0;
        let is_stopped =
            attack.stops.is_empty() || attack.stops.iter().any(|stop| self.tally.stops.contains_key(*stop));
        check(is_due && !is_stopped, NOT_STOPPED);
        bad
    }
}

pub(super) async fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    if common.proxy != crate::proxies::Kind::Gridrouter {
        return Err(Error::new("only gridrouter is attacked"));
    }
    process::allow_files(FILES)?;
    let is_chosen = |attack: &&Attack| {
        arguments.only.is_empty() || arguments.only.iter().any(|part| attack.name.contains(part.as_str()))
    };
    let chosen: Vec<&Attack> = ATTACKS.iter().filter(is_chosen).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
        return Err(Error::new(format!("no attack has such a name; there are: {}", names.join(", "))));
    }
    let (course, places) = (Course::of(arguments, common), Places::share_out()?);
    let (mut checks, mut rows, mut figures) = (Checks::new("attacks"), Vec::new(), Vec::new());
    for (number, attack) in chosen.into_iter().enumerate() {
        let source = Ipv4Addr::new(127, 0, 1, number as u8 + 1);
        let (seen, bad) = Box::pin(tried(attack, course, places, source)).await.context(attack.name)?;
        let (grown, stops) = (mib(seen.grown()), stops(&seen.tally));
        checks.check(
            attack.name,
            bad.is_empty(),
            format_args!(
                "{}{grown} MiB; {stops}; failed: {}",
                if bad.is_empty() { String::new() } else { bad.join(", ") + ": " },
                seen.failed
            ),
        );
        figures.push(figure(attack, &seen, &bad));
        rows.push(row(attack, &seen, &bad));
    }
    let heading = [
        "attack",
        "connections",
        "held",
        "MB sent",
        "frames",
        "peak MiB",
        "left MiB",
        "busy %",
        "p99 quiet",
        "p99 attack",
        "new quiet",
        "new attack",
        "max ms",
        "gone ms",
        "verdict",
    ];
    output::table(&heading, &rows);
    checks.keep("attacks", serde_json::Value::Array(figures));
    checks.finish(common)
}

/// Makes one attack. Attackers are meek and the stretches of the short form are short: where the machine has other things to do, an
/// attack may not come about in one, and is made again in a longer one. Nothing else that is wrong is tried again.
async fn tried(attack: &Attack, mut course: Course, places: Places, source: Ipv4Addr) -> Result<(Seen, Vec<String>)> {
    loop {
        let seen = Box::pin(attacked(attack, &course, places, source)).await?;
        let bad = seen.is_bad(attack, course.is_short);
        let came_about = !bad.iter().all(|what| what == NOT_CONNECTED || what == NOT_STOPPED) || bad.is_empty();
        if came_about || !course.is_short || course.attack >= LONGEST {
            return Ok((seen, bad));
        }
        course.attack *= LONGER;
    }
}

/// Makes one attack.
async fn attacked(attack: &Attack, course: &Course, places: Places, source: Ipv4Addr) -> Result<Seen> {
    let mut siege = Siege::begin(places).await?;
    sleep(course.warm_up).await;
    let mut before = 0;
    let (mut tally_of_all, mut idle, mut peak, mut held) = (Tally::default(), 0, 0, 0);
    let (mut gone, mut busy, mut length) = (Some(Duration::ZERO), Duration::ZERO, Duration::ZERO);
    let (mut quiet, mut attacks) = (Vec::new(), Vec::new());
    for round in 0..course.rounds {
        let begin = Instant::now();
        sleep(course.quiet).await;
        if round == 0 {
            idle = siege.resident();
            before = siege.connections().await?;
        }
        let (middle, cpu) = (Instant::now(), siege.cpu());
        let attackers = assail(*attack, &siege, places, source)?;
        peak = siege.peak_within(course.length(attack, round)).await?.max(peak);
        busy += siege.cpu().saturating_sub(cpu);
        // Asked while they are still there: what they cost must not be what it costs to go.
        held = siege.connections().await?.saturating_sub(before).max(held);
        let end = Instant::now();
        length += end - middle;
        tally_of_all.add(&attackers.end()?);
        // A few more may be there: good clients that come anew.
        let took = siege.until_gone(before + 3, GONE).await?;
        gone = gone.zip(took).map(|(so_far, took)| so_far.max(took));
        quiet.push((begin, middle));
        attacks.push((middle, end));
    }
    sleep(course.quiet).await;
    let after = siege.resident().saturating_sub(idle);
    // Whoever still waits is given the time to fail.
    let deadline = Instant::now() + good::PATIENCE;
    let due_until = Instant::now();
    while !siege.good.seen().iter().any(|request| request.due > due_until) && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
    siege.router.still_runs()?;
    let all = siege.good.seen();
    let within = |stretches: &[(Instant, Instant)], is_new: bool| {
        let stretches = stretches.iter().map(|(from, to)| {
            let chosen = all.iter().filter(|request| request.is_new == is_new && request.failed.is_none());
            let mut histogram = Histogram::default();
            let due = chosen.filter(|request| (*from..*to).contains(&request.due));
            due.for_each(|request| histogram.record(request.took));
            histogram
        });
        Latencies::of(&stretches.collect::<Vec<_>>())
    };
    let seen = Seen {
        tally: tally_of_all,
        idle,
        peak,
        after,
        held,
        gone,
        busy: busy.as_secs_f64() / length.as_secs_f64() * 100.0,
        quiet: within(&quiet, false),
        attacked: within(&attacks, false),
        new_quiet: within(&quiet, true),
        new_attacked: within(&attacks, true),
        failed: tally(all.iter().filter_map(|request| request.failed.clone())),
    };
    siege.good.end()?;
    Ok(seen)
}

/// Lets the attackers go.
fn assail(attack: Attack, siege: &Siege, places: Places, source: Ipv4Addr) -> Result<Apart<Tally>> {
    let target = siege.target.clone();
    Apart::start("attackers", places.load, Manners::Meek, move |stopped| async move {
        let (clear, secure, tls) = (target.clear, target.secure, target.tls);
        let ground = Rc::new(Ground { clear, secure, tls, source, tally: RefCell::default() });
        tokio::select! {
            () = (attack.run)(Rc::clone(&ground)) => {}
            _ = stopped => {}
        }
        ground.tally.borrow().clone()
    })
}

/// How long good clients have waited.
#[derive(Debug, Clone, Copy)]
struct Latencies {
    count: u64,
    /// The median of what each stretch has for its 99th percentile: in one of them the machine may have had a bad moment, which
    /// a stretch of some seconds shows as its percentile.
    p99: Duration,
    most: Duration,
}

impl Latencies {
    fn of(stretches: &[Histogram]) -> Self {
        let of_all = |percent: f64| stretches.iter().map(move |stretch| stretch.percentile(percent));
        let mut p99: Vec<Duration> = of_all(99.0).collect();
        p99.sort_unstable();
        let p99 = p99.get(p99.len() / 2).copied().unwrap_or_default();
        Self { count: stretches.iter().map(Histogram::len).sum(), p99, most: of_all(100.0).max().unwrap_or_default() }
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

fn millis(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

fn stops(tally: &Tally) -> String {
    let stops: Vec<String> = tally.stops.iter().map(|(stop, count)| format!("{stop} ({count})")).collect();
    if stops.is_empty() { "nobody was stopped".to_owned() } else { stops.join(", ") }
}

fn row(attack: &Attack, seen: &Seen, bad: &[String]) -> Vec<String> {
    let tally = &seen.tally;
    let gone = seen.gone.map_or_else(|| "never".to_owned(), |gone| gone.as_millis().to_string());
    let most = seen.attacked.most.max(seen.new_attacked.most);
    vec![
        attack.name.to_owned(),
        tally.connections.to_string(),
        seen.held.to_string(),
        format!("{:.1}", tally.bytes as f64 / 1e6),
        tally.frames.to_string(),
        mib(seen.grown()),
        mib(seen.after),
        format!("{:.0}", seen.busy),
        millis(seen.quiet.p99),
        millis(seen.attacked.p99),
        millis(seen.new_quiet.p99),
        millis(seen.new_attacked.p99),
        format!("{:.0}", most.as_secs_f64() * 1e3),
        gone,
        if bad.is_empty() { "ok".to_owned() } else { bad.join(", ") },
    ]
}

fn figure(attack: &Attack, seen: &Seen, bad: &[String]) -> serde_json::Value {
    let p99 = |latencies: &Latencies| latencies.p99.as_micros() as u64;
    let tally = &seen.tally;
    json!({
        "attack": attack.name, "bad": bad, "connections": tally.connections, "unopened": tally.unopened, "held": seen.held,
        "bytes": tally.bytes, "frames": tally.frames, "stops": tally.stops, "idle_bytes": seen.idle,
        "grown_bytes": seen.grown(), "left_bytes": seen.after, "busy_percent": seen.busy,
        "p99_quiet_us": p99(&seen.quiet), "p99_attacked_us": p99(&seen.attacked),
        "p99_new_quiet_us": p99(&seen.new_quiet), "p99_new_attacked_us": p99(&seen.new_attacked),
        "requests_quiet": seen.quiet.count, "requests_attacked": seen.attacked.count,
        "gone_ms": seen.gone.map(|gone| gone.as_millis() as u64), "failed": seen.failed,
    })
}
