//! A service's traffic goes to its other track and back, again and again, under k6 with a thousand tenants, by `gridctl`
//! alone: no request fails, every tenant is on one track at each step, and each step has its share of them.

mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use gridrouter_config::raw::ShiftPhase;
use gridrouter_config::track::Track;
use tokio::time::{Instant, sleep};

use self::steps::{Account, Step, account, steps};
use super::Common;
use super::checks::Checks;
use super::tracks::timeline::{Change, Moment};
use super::tracks::{PATIENCE, ROUTERS, TENANTS, Tracks, Visit};
use crate::error::{Error, Result};
use crate::k6::Summary;
use crate::k6::crowd::Size;
use crate::output;
use crate::process;
use crate::proxies::Kind;

/// About 1,250 requests a second: everybody is heard at every step, twice or three times.
const SIZE: Size = Size { tenants: TENANTS, users: 50, pace: 40 };
const WEIGHTS: [u16; 4] = [100, 1_000, 5_000, 10_000];
/// There and back, so many times.
const ROUNDS: usize = 20;
const ROUNDS_SHORT: usize = 1;
const STEPS: &str = "1%:2s,10%:2s,50%:2s,100%:2s";
/// For the shift that somebody has to take back.
const STAYS: &str = "50%:10m,100%";
/// The weight at which the controller that acts is killed.
const KILLED_AT: u16 = 1_000;
/// How far the share of the tenants may be from the weight.
const PRECISION: f64 = 0.01;
/// How many tenants have to be heard at a step, so that its share is known.
const HEARD: usize = TENANTS - TENANTS / 100;
/// A controller that is killed leads for at most ten seconds more; then there is what is left of the step.
const TAKEOVER: Duration = Duration::from_secs(14);
/// Without a controller, a rollback is one write.
const TAKEN_BACK: Duration = Duration::from_secs(2);

pub(super) async fn run(common: &Common) -> Result<()> {
    if common.proxy != Kind::Gridrouter {
        return Err(Error::new("shifts are gridrouter's own: nothing else can stand in for it here"));
    }
    process::allow_files(4_096)?;
    let rounds = if common.short { ROUNDS_SHORT } else { ROUNDS };
    let mut checks = Checks::new("shift");
    let mut tracks = Tracks::start(2).await?;
    let mut crowd = tracks.send(SIZE).await?;
    let first = Moment::now();
    output::progress(format_args!("{TENANTS} tenants ask through {ROUTERS} routers"));
    let mut succeeded = 0;
    for round in 0..rounds {
        for to in [Track::Green, Track::Blue] {
            let is_killed = round == rounds / 2 && to == Track::Green;
            succeeded += usize::from(there(&mut tracks, to, is_killed.then_some(&mut checks), common.short).await?);
            crowd.still_asks()?;
            tracks.still_run()?;
        }
        output::progress(format_args!("{} of {rounds} times there and back, {} requests", round + 1, tracks.count()));
    }
    checks.check(
        "every shift succeeds, and gridctl says so",
        succeeded == 2 * rounds,
        format_args!("{succeeded} of {}", 2 * rounds),
    );
    without_controller(&mut tracks, common, &mut checks).await?;
    tracks.still_run()?;
    let last = Instant::now();
    let closed = tracks.closed().await?;
    let summary = crowd.stop().await?;

    let visits = tracks.visits()?;
    let changes = tracks.timeline.changes();
    let steps = steps(first, &changes, |generation| tracks.timeline.everywhere(generation), last);
    let account = account(&steps, &visits, TENANTS);
    requests(&summary, closed, &visits, &mut checks);
    tenants(&steps, &account, &visits, &mut checks);
    shares(&steps, &account, rounds, common, &mut checks);
    moments(&steps, &account, &mut checks);
    checks.finish(common)
}

/// One shift to its end. Returns whether it succeeds.
async fn there(tracks: &mut Tracks, to: Track, kill: Option<&mut Checks>, short: bool) -> Result<bool> {
    let name = format!("to-{}", to.as_str());
    let begun = tracks.begin(&name, STEPS, &["--no-analysis"]).await?;
    if let Some(checks) = kill {
        let at = |change: &Change| change.share == KILLED_AT;
        let change = tracks.timeline.until(&begun, PATIENCE, at).await?;
        let killed = tracks.kill_leader().await?;
        let since = Instant::now();
        let next = |later: &Change| later.generation > change.generation;
        let next = tracks.timeline.until(&begun, PATIENCE, next).await?;
        let took = next.at.instant.saturating_duration_since(since);
        checks.check(
            format_args!(
                "{killed} is killed at {} %, and another one goes on{}",
                KILLED_AT / 100,
                within(short, TAKEOVER)
            ),
            next.share > change.share && (short || took < TAKEOVER),
            format_args!("with {} % after {:.1} s", next.share / 100, took.as_secs_f64()),
        );
        tracks.start_controller()?;
    }
    let ended = tracks.timeline.until(&begun, PATIENCE, |change| has_ended(change.phase)).await?;
    tracks.timeline.until_everywhere(ended.generation, PATIENCE).await?;
    let (code, status) = tracks.status(&name).await?;
    let phase = status.get("phase").and_then(serde_json::Value::as_str);
    Ok(ended.phase == ShiftPhase::Succeeded && code == 0 && phase == Some("Succeeded"))
}

fn within(short: bool, limit: Duration) -> String {
    if short { String::new() } else { format!(" within {limit:?}") }
}

const fn has_ended(phase: ShiftPhase) -> bool {
    match phase {
        ShiftPhase::Pending | ShiftPhase::Running | ShiftPhase::Paused | ShiftPhase::RollingBack => false,
        ShiftPhase::RolledBack | ShiftPhase::Succeeded | ShiftPhase::Failed | ShiftPhase::Aborted => true,
    }
}

/// A shift is taken back while no controller runs.
async fn without_controller(tracks: &mut Tracks, common: &Common, checks: &mut Checks) -> Result<()> {
    let name = "stays";
    let begun = tracks.begin(name, STAYS, &["--no-analysis"]).await?;
    let half = tracks.timeline.until(&begun, PATIENCE, |change| change.share > 0).await?;
    tracks.timeline.until_everywhere(half.generation, PATIENCE).await?;
    sleep(Duration::from_secs(2)).await;
    tracks.kill_controllers()?;
    let said_at = Instant::now();
    let said = tracks.gridctl.run(&["shift", "rollback", name, "--yes", "--wait", "-m", "drill"]).await?;
    let took = said_at.elapsed();
    let back = tracks.timeline.until(&begun, PATIENCE, |change| change.phase == ShiftPhase::RollingBack).await?;
    let everywhere = tracks.timeline.until_everywhere(back.generation, PATIENCE).await?;
    sleep(Duration::from_secs(3)).await;
    let green = |visit: &&Visit| visit.track == Track::Green && visit.came > said_at;
    let visits = tracks.visits()?;
    let after = visits.iter().filter(green).filter(|visit| visit.sent > everywhere.wall).count();
    let last = tracks.last(Track::Green).unwrap_or(said_at).saturating_duration_since(said_at);
    checks.check(
        format_args!("without a controller, `gridctl shift rollback` takes everything back{}", within(common.short, TAKEN_BACK)),
        said.code == 0 && after == 0 && (common.short || last < TAKEN_BACK),
        format_args!(
            "exit code {} after {} ms; the last request of half of the tenants came to green after {} ms, {after} later",
            said.code,
            took.as_millis(),
            last.as_millis()
        ),
    );
    tracks.start_controller()?;
    let ended = tracks.timeline.until(&begun, PATIENCE, |change| has_ended(change.phase)).await?;
    let (code, _) = tracks.status(name).await?;
    checks.check(
        "and the next controller closes it, with exit code 1 of its status",
        ended.phase == ShiftPhase::RolledBack && code == 1,
        format_args!("{}, \"{}\", exit code {code}", ended.phase.as_str(), ended.reason),
    );
    Ok(())
}

/// What k6 has counted.
fn requests(summary: &Summary, (by_routers, by_clients): (f64, f64), visits: &[Visit], checks: &mut Checks) {
    let (all, failed, wrong) = (summary.count("http_reqs"), summary.failed(), summary.count("wrong"));
    checks.check(
        "no request fails",
        all > 0 && failed == 0 && wrong == 0,
        format_args!("k6 counts {failed} failed and {wrong} not answered with 200 of {all}"),
    );
    let at_endpoints = visits.len() as u64;
    checks.check(
        "endpoints have seen what k6 has sent, but for what was under way at its end",
        at_endpoints >= all && at_endpoints - all <= SIZE.users as u64,
        format_args!("{at_endpoints} and {all}"),
    );
    let connections = summary.count("connections");
    checks.check(
        "connections are kept: no router closes one, and each user opens one to each router but for those that it closed itself",
        by_routers == 0.0 && connections as f64 <= (SIZE.users * ROUTERS) as f64 + by_clients,
        format_args!("{connections} for {} users; routers closed {by_routers}, users {by_clients}", SIZE.users),
    );
    for (name, which) in [("p99", "p(99)"), ("slowest", "max")] {
        checks.note(&format!("{name}, ms"), super::checks::rounded(summary.millis("http_req_duration", which)));
    }
}

/// Where tenants were.
fn tenants(steps: &[Step], account: &Account, visits: &[Visit], checks: &mut Checks) {
    let both: usize = account.steps.iter().map(steps::Seen::on_both).sum();
    let within: usize = account.steps.iter().map(|seen| seen.requests).sum();
    checks.check(
        "no tenant is seen on both tracks within a step",
        both == 0 && within > 0,
        format_args!("{both} in {} steps with {within} requests", steps.len()),
    );
    checks.check(
        "and while a weight changes, none on a track that is neither its last nor its next",
        account.astray == 0,
        format_args!("{} of {} requests", account.astray, account.between),
    );
    let pairs = steps.windows(2).zip(account.steps.windows(2));
    let lost: usize = pairs
        .map(|(steps, seen)| match (steps, seen) {
            ([one, next], [before, after]) if next.green > one.green => before.lost(after, Track::Green),
            ([_, _], [before, after]) => before.lost(after, Track::Blue),
            _ => 0,
        })
        .sum();
    checks.check(
        "a weight that rises only adds tenants",
        lost == 0,
        format_args!("{lost} went the other way in {} changes", steps.len().saturating_sub(1)),
    );
    let mut cells = BTreeMap::new();
    let strays = visits.iter().filter(|visit| *cells.entry(visit.tenant).or_insert(visit.cell) != visit.cell).count();
    checks.check(
        "and no tenant is seen in two cells",
        strays == 0 && cells.len() == TENANTS,
        format_args!("{strays} requests of {} tenants", cells.len()),
    );
}

/// How many tenants each weight has moved.
fn shares(steps: &[Step], account: &Account, rounds: usize, common: &Common, checks: &mut Checks) {
    let off = |(step, seen): (&Step, &steps::Seen)| (seen.share(step.to) - f64::from(step.weight()) / 1e4).abs();
    let heard: Vec<(&Step, &steps::Seen)> =
        steps.iter().zip(&account.steps).filter(|(_, seen)| seen.tenants() > 0).collect();
    let worst = heard.iter().copied().map(off).fold(0.0, f64::max);
    checks.check(
        "at every step, the share of the tenants is within 1 % of the weight",
        worst <= PRECISION,
        format_args!("at most {:.2} % off in {} steps", worst * 100.0, heard.len()),
    );
    let mut rows = Vec::new();
    let mut missing = Vec::new();
    for (to, weight) in [Track::Green, Track::Blue].into_iter().flat_map(|to| WEIGHTS.map(|weight| (to, weight))) {
        let of: Vec<_> = heard.iter().filter(|(step, _)| (step.to, step.weight()) == (to, weight)).collect();
        let on = of.iter().map(|(_, seen)| seen.on(to));
        let seen = of.iter().map(|(_, seen)| seen.tenants());
        let (least, most) = (on.clone().min().unwrap_or(0), on.max().unwrap_or(0));
        let fewest = seen.min().unwrap_or(0);
        if of.len() < rounds || (!common.short && fewest < HEARD) {
            missing.push(format!("{} % to {}", weight / 100, to.as_str()));
        }
        rows.push(vec![
            format!("{} % to {}", weight / 100, to.as_str()),
            of.len().to_string(),
            fewest.to_string(),
            if least == most { least.to_string() } else { format!("{least} to {most}") },
            of.iter().map(|(_, seen)| seen.requests).sum::<usize>().to_string(),
        ]);
    }
    let everybody = if common.short { "" } else { ", and nearly everybody is heard there" };
    checks.check(
        format_args!("every shift goes through every weight{everybody}"),
        missing.is_empty(),
        format_args!("{} weights are missing {}", missing.len(), missing.join(", ")),
    );
    output::table(&["weight", "times", "tenants heard, at least", "of them moved", "requests"], &rows);
}

/// How long the moments are in which weights change.
fn moments(steps: &[Step], account: &Account, checks: &mut Checks) {
    let gap = |pair: &[Step]| match pair {
        [one, next] => next.began.instant.saturating_duration_since(one.ended),
        _ => Duration::ZERO,
    };
    let mut gaps: Vec<Duration> = steps.windows(2).map(gap).collect();
    gaps.sort_unstable();
    let at = |share: usize| gaps.get(gaps.len().saturating_sub(1) * share / 100).copied().unwrap_or_default();
    for (what, share) in [("median", 50), ("p99", 99), ("longest", 100)] {
        let millis = super::checks::rounded(at(share).as_secs_f64() * 1e3);
        checks.note(&format!("from a decision to the last router that has it, {what}, ms"), millis);
    }
    checks.note("requests while weights changed", account.between);
}
