//! Shifts under analysis: a new track that fails or is slow is left again at once, one that is well gets everything, and
//! one that nobody asks for is never promoted.

use std::time::Duration;

use gridrouter_config::raw::ShiftPhase;
use gridrouter_config::track::Track;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Common;
use super::checks::Checks;
use super::tracks::timeline::{Change, Moment};
use super::tracks::{PATIENCE, TENANTS, Tracks, Visit};
use crate::error::{Error, Result};
use crate::k6::Summary;
use crate::k6::crowd::Size;
use crate::output;
use crate::process;
use crate::proxies::Kind;
use crate::upstream::Behaviour;

/// About 1,500 requests a second, so 15 at 1 %: the 100 that an analysis wants by default are there after seven seconds.
const SIZE: Size = Size { tenants: TENANTS, users: 200, pace: 133 };
/// What a bad track may have, from the first request that it gets to the last.
const PROMISED: Duration = Duration::from_secs(15);
/// A step of 1 % that is held for long.
const LONG_STEPS: &str = "1%:60s,10%:60s,50%:60s,100%:60s";
/// The one that goes to its end. The first step is long enough for the requests that the analysis wants.
const WHOLE_STEPS: &str = "1%:20s,10%:5s,50%:5s,100%:5s";
const WHOLE_STEPS_SHORT: &str = "1%:10s,50%:2s,100%:2s";
const NO_DATA_STEPS: &str = "1%:2s,10%:2s,100%:2s";
/// How long a shift without data is looked at when it is paused.
const LOOKED_AT: Duration = Duration::from_secs(10);
/// The usual time of an answer: so long that what a busy machine adds does not hide that the other is three times that.
const USUAL: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_millis(300);
const ONE_IN: u32 = 20;
/// What the short form looks at instead of what is looked at by default: on a busy machine, blue may be slow, too.
const SHORT_ANALYSIS: [&str; 4] = ["--max-error-increase", "1%", "--max-p99", "250ms"];
/// And where all is well.
const SHORT_ANALYSIS_WELL: [&str; 2] = ["--max-error-increase", "1%"];

/// A bad track.
struct Bad {
    name: &'static str,
    what: &'static str,
    blue: Behaviour,
    green: Behaviour,
    /// What the reason begins with.
    reason: &'static str,
}

const BAD: [Bad; 3] = [
    Bad {
        name: "fails",
        what: "green that fails one in 20",
        blue: Behaviour::Answer,
        green: Behaviour::FailOneIn(ONE_IN),
        reason: "errors on the new track",
    },
    Bad {
        name: "slow",
        what: "green that takes 300 ms where blue takes 100 ms",
        blue: Behaviour::Slow(USUAL),
        green: Behaviour::Slow(SLOW),
        reason: "p99 of the new track",
    },
    Bad {
        name: "refuses",
        what: "green that refuses connections",
        blue: Behaviour::Answer,
        green: Behaviour::Refuse,
        reason: "errors on the new track",
    },
];

impl Bad {
    /// Whether its endpoints see the requests that it gets.
    fn sees(&self) -> bool {
        self.green != Behaviour::Refuse
    }
}

pub(super) async fn run(common: &Common) -> Result<()> {
    if common.proxy != Kind::Gridrouter {
        return Err(Error::new("shifts are gridrouter's own: nothing else can stand in for it here"));
    }
    process::allow_files(4_096)?;
    let mut checks = Checks::new("shift-rollback");
    let mut rows = Vec::new();
    for bad in &BAD {
        rows.push(is_rolled_back(bad, common, &mut checks).await?);
    }
    rows.push(succeeds(common, &mut checks).await?);
    no_data(common, &mut checks).await?;
    let heading =
        ["the new track", "ends", "first to last, s", "requests, report", "counted", "failed, report", "counted"];
    output::table(&heading, &rows);
    checks.finish(common)
}

/// What the endpoints of green have seen.
struct Served {
    requests: usize,
    failed: usize,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Served {
    fn of(visits: &[Visit]) -> Self {
        let green = || visits.iter().filter(|visit| visit.track == Track::Green);
        Self {
            requests: green().count(),
            failed: green().filter(|visit| visit.failed).count(),
            first: green().next().map(|visit| visit.came),
            last: green().next_back().map(|visit| visit.came),
        }
    }

    fn lasted(&self) -> Duration {
        let pair = self.first.zip(self.last);
        pair.map_or(Duration::ZERO, |(first, last)| last.saturating_duration_since(first))
    }
}

/// What the closing report of a shift says of the new track: requests, and those that failed.
fn report(status: &Value) -> (u64, u64) {
    let number = |name: &str| status.get("report").and_then(|report| report.get(name)?.as_u64()).unwrap_or(u64::MAX);
    (number("requests"), number("failed"))
}

/// What was counted and what the report says: requests, and those that failed.
fn row(what: &str, ended: &Change, took: String, counted: (u64, u64), report: (u64, u64)) -> Vec<String> {
    let numbers = [report.0, counted.0, report.1, counted.1].map(|number| number.to_string());
    [vec![what.to_owned(), ended.phase.as_str().to_owned(), took], numbers.to_vec()].concat()
}

/// How a shift to a bad track went.
struct Left {
    /// When it had its first share.
    began: Change,
    /// When it was found to be bad.
    back: Change,
    /// When the last router had heard of that.
    everywhere: Moment,
    ended: Change,
    /// What `gridctl shift status` says at the end, and its exit code.
    status: Value,
    code: i32,
    /// What the shift's document says.
    written: Value,
    summary: Summary,
    visits: Vec<Visit>,
}

impl Left {
    async fn see(bad: &Bad, common: &Common) -> Result<Self> {
        let mut tracks = Tracks::start(1).await?;
        tracks.behave(Track::Blue, bad.blue);
        tracks.behave(Track::Green, bad.green);
        let mut crowd = tracks.send(SIZE).await?;
        let first = tracks.begin(bad.name, LONG_STEPS, if common.short { &SHORT_ANALYSIS } else { &[] }).await?;
        let began = tracks.timeline.until(&first, PATIENCE, |change| change.share > 0).await?;
        let back =
            tracks.timeline.until(&first, 2 * PATIENCE, |change| change.phase == ShiftPhase::RollingBack).await?;
        let everywhere = tracks.timeline.until_everywhere(back.generation, PATIENCE).await?;
        let ended = tracks.timeline.until(&first, PATIENCE, |change| change.phase == ShiftPhase::RolledBack).await?;
        // Whoever comes late would be seen.
        sleep(Duration::from_secs(2)).await;
        let (code, status) = tracks.status(bad.name).await?;
        let written = tracks.state(bad.name).await?;
        tracks.still_run()?;
        let summary = crowd.stop().await?;
        let visits = tracks.visits()?;
        Ok(Self { began, back, everywhere, ended, status, code, written, summary, visits })
    }

    /// How many requests green got and how many of them failed, and from the first to the last of them: as its endpoints
    /// have seen, or else as k6 has, to whom all of them failed, and since the controller decided that it gets any.
    fn suffered(&self, bad: &Bad) -> (u64, u64, Duration) {
        if bad.sees() {
            let served = Served::of(&self.visits);
            return (served.requests as u64, served.failed as u64, served.lasted());
        }
        let (failed, began) = (self.summary.count("wrong"), self.began.at.back_to(self.began.since));
        (failed, failed, self.everywhere.instant.saturating_duration_since(began))
    }
}

async fn is_rolled_back(bad: &Bad, common: &Common, checks: &mut Checks) -> Result<Vec<String>> {
    let Bad { what, reason, .. } = *bad;
    output::progress(format_args!("a shift to {what}"));
    let left = Left::see(bad, common).await?;
    let Left { back, code, summary, .. } = &left;
    checks.check(
        format_args!("{what} is left"),
        (common.short || back.reason.starts_with(reason)) && back.share == 0 && *code == 1,
        format_args!("{}; exit code of its status {code}", back.reason),
    );
    let late = |visit: &&Visit| visit.track == Track::Green && visit.sent > left.everywhere.wall;
    let late = left.visits.iter().filter(late).count();
    let (requests, failed, took) = left.suffered(bad);
    let limit = if common.short { String::new() } else { format!(" within {PROMISED:?}") };
    checks.check(
        format_args!("from its first request to its last{limit}"),
        requests > 0 && late == 0 && (common.short || took < PROMISED),
        format_args!("{:.2} s, and {late} that were sent when all routers had left it", took.as_secs_f64()),
    );
    let (said, written) = (report(&left.status), report(&left.written));
    let who = if bad.sees() { "its endpoints" } else { "k6" };
    checks.check(
        format_args!("the closing report says how many requests it got, and how many failed, as {who} counted them"),
        said == (requests, failed) && written == said,
        format_args!("{} requests and {} failed; {who}: {requests} and {failed}", said.0, said.1),
    );
    checks.check(
        "nobody else suffers",
        summary.count("wrong") == failed && summary.failed() == failed,
        format_args!("k6 counts {} failed of {}", summary.failed(), summary.count("http_reqs")),
    );
    let took = format!("{:.2}", took.as_secs_f64());
    Ok(row(what, &left.ended, took, (requests, failed), said))
}

async fn succeeds(common: &Common, checks: &mut Checks) -> Result<Vec<String>> {
    let (name, what) = ("well", "green that is as good as blue");
    let mut tracks = Tracks::start(1).await?;
    tracks.behave(Track::Blue, Behaviour::Slow(USUAL));
    tracks.behave(Track::Green, Behaviour::Slow(USUAL));
    let mut crowd = tracks.send(SIZE).await?;
    output::progress(format_args!("a shift to {what}"));
    let (steps, analysis): (_, &[&str]) =
        if common.short { (WHOLE_STEPS_SHORT, &SHORT_ANALYSIS_WELL) } else { (WHOLE_STEPS, &[]) };
    let begun = tracks.begin(name, steps, analysis).await?;
    let over = |change: &Change| match change.phase {
        ShiftPhase::Pending | ShiftPhase::Running => false,
        ShiftPhase::Paused
        | ShiftPhase::RollingBack
        | ShiftPhase::RolledBack
        | ShiftPhase::Succeeded
        | ShiftPhase::Failed
        | ShiftPhase::Aborted => true,
    };
    let ended = tracks.timeline.until(&begun, 2 * PATIENCE, over).await?;
    let everywhere = tracks.timeline.until_everywhere(ended.generation, PATIENCE).await?;
    // What was under way then is over.
    sleep(Duration::from_secs(1)).await;
    let (code, status) = tracks.status(name).await?;
    tracks.still_run()?;
    let summary = crowd.stop().await?;
    let visits = tracks.visits()?;
    checks.check(
        format_args!("{what} gets everything"),
        ended.phase == ShiftPhase::Succeeded && code == 0,
        format_args!("{} {}; exit code of its status {code}", ended.phase.as_str(), ended.reason),
    );
    checks.check(
        "and nobody suffers",
        summary.failed() == 0 && summary.count("wrong") == 0,
        format_args!("k6 counts {} failed of {}", summary.failed(), summary.count("http_reqs")),
    );
    // Green goes on. The shift counts what routers have sent there before they heard that it is over: at least what came
    // before that was decided, at most what was sent before the last one had it.
    let decided = ended.at.back_to(ended.stopped.unwrap_or(ended.at.wall));
    let green = || visits.iter().filter(|visit| visit.track == Track::Green);
    let least = green().filter(|visit| visit.came <= decided).count() as u64;
    let most = green().filter(|visit| visit.sent <= everywhere.wall).count() as u64;
    let said = report(&status);
    checks.check(
        "the closing report has what green served while the shift went on",
        (least..=most).contains(&said.0) && said.1 == 0,
        format_args!("{} requests and {} failed; the endpoints: {least} to {most}, and 0", said.0, said.1),
    );
    Ok(row(what, &ended, "-".to_owned(), (most, 0), said))
}

/// A shift of a service that nobody asks for anything.
async fn no_data(common: &Common, checks: &mut Checks) -> Result<()> {
    let name = "silent";
    let mut tracks = Tracks::start(1).await?;
    output::progress("a shift of a service that nobody uses");
    let begun = tracks.begin(name, NO_DATA_STEPS, &[]).await?;
    let running = tracks.timeline.until(&begun, PATIENCE, |change| change.share > 0).await?;
    let paused = tracks.timeline.until(&begun, PATIENCE, |change| change.generation > running.generation).await?;
    sleep(if common.short { LOOKED_AT / 5 } else { LOOKED_AT }).await;
    tracks.still_run()?;
    let changes = tracks.timeline.changes();
    let most = changes.iter().map(|change| change.share).max().unwrap_or(0);
    let (code, _) = tracks.status(name).await?;
    checks.check(
        "without requests, a shift pauses at its first step and stays there",
        paused.phase == ShiftPhase::Paused
            && paused.reason.starts_with("inconclusive: 0 of 100 requests")
            && changes.last() == Some(&paused)
            && most == 100
            && code == 1,
        format_args!(
            "{} {:.1} s after it began, \"{}\", never above {} %; exit code of its status {code}",
            paused.phase.as_str(),
            paused.at.instant.saturating_duration_since(running.at.instant).as_secs_f64(),
            paused.reason,
            most / 100
        ),
    );
    let said = tracks.gridctl.run(&["shift", "abort", name, "--yes"]).await?;
    let aborted = tracks.timeline.until(&begun, PATIENCE, |change| change.phase == ShiftPhase::Aborted).await;
    checks.check(
        "and is ended by `gridctl shift abort`",
        said.code == 0 && aborted.is_ok_and(|aborted| aborted.share == 0),
        format_args!("exit code {}", said.code),
    );
    Ok(())
}
