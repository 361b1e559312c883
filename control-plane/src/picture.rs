//! What people and tools are shown of a shift: its state, what its tracks do, and whether that is well. Pure.

pub mod pace;
pub mod render;

use gridrouter_config::ids::Name;
use gridrouter_config::model::{Shift, ShiftStep};
use gridrouter_config::raw::{ShiftPhase, ShiftReport};
use gridrouter_config::tracks::TrackCounts;
use gridrouter_config::tracks::mirror::MirrorCounts;
use serde::Serialize;

use self::pace::{Pace, Recent};
use crate::ledger::{Ledger, Reading};
use crate::plan::analysis::{error_ratio, p99};
use crate::plan::shift::{Verdict, hold, place};

/// A shift at one moment. Its JSON form is part of the interface of `gridctl shift status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Picture {
    /// The shift's name.
    pub shift: String,
    /// The service.
    pub service: String,
    /// The track that the traffic moves to.
    pub to: &'static str,
    /// The phase.
    pub phase: &'static str,
    /// Where it is, in words.
    pub place: String,
    /// Why it is in this phase; may be empty.
    pub reason: String,
    /// Whether it goes on, or went, as it should.
    pub healthy: bool,
    /// What the analysis says: `good`, `unclear` or `bad`; nothing where there is none.
    pub verdict: Option<&'static str>,
    /// Why.
    pub verdict_reason: String,
    /// When it was started, in milliseconds since 1970; 0 before.
    pub started: u64,
    /// When it came to this step, in milliseconds since 1970; 0 before it was started.
    pub since: u64,
    /// When it was paused or ended.
    pub stopped: Option<u64>,
    /// Milliseconds until something happens by itself; nothing where nothing does.
    pub left_millis: Option<u64>,
    /// The steps, in words, and how far each is.
    pub steps: Vec<Step>,
    /// The cells, in the order of the waves.
    pub cells: Vec<Cell>,
    /// What the tracks did since the shift was started.
    pub report: ShiftReport,
    /// What became of the copies that the new track got; nothing where there are none.
    pub mirror: Option<Mirror>,
    /// Routers that could not be asked, or do not follow the shift, and why.
    pub missing: Vec<String>,
    /// Who acts on the store, where that is known.
    pub controller: Option<String>,
}

/// A step of a shift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What it is, such as `10%`, `pause` or `analysis`.
    pub what: String,
    /// Whether the shift is at it.
    pub now: bool,
    /// Whether it is behind.
    pub done: bool,
}

/// A cell of a shift.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// The cell.
    pub cell: String,
    /// The wave, from 1.
    pub wave: usize,
    /// The share of the new track, in hundredths of a percent.
    pub share_hundredths: u16,
    /// The new track.
    pub new: Side,
    /// The old one.
    pub old: Side,
}

/// What a track does in a cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// Requests since the shift was started.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Requests that went to the other track because this one had no endpoint.
    pub fallbacks: u64,
    /// Requests whose answer is not over.
    pub in_flight: u64,
    /// Those of them that are closed when their time to drain is over.
    pub leaving: u64,
    /// Requests a second, since the last look; nothing at the first, while no router can be asked, and once the shift
    /// has ended.
    pub per_second: Option<f64>,
    /// The share that failed, since the last look or else since the shift was started.
    pub error_ratio: f64,
    /// The time within which 99 of 100 were answered, in microseconds, of the same requests.
    pub p99_micros: Option<u64>,
}

/// What became of the copies that the new track got, since the shift was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// Copies that were sent.
    pub copies: u64,
    /// Copies that were not, for want of room.
    pub dropped: u64,
    /// Copies that got no answer.
    pub failed: u64,
    /// Copies whose answer was compared.
    pub compared: u64,
    /// Those with another status.
    pub status_differs: u64,
    /// Those of which the bodies were compared.
    pub bodies_compared: u64,
    /// Those with another body.
    pub bodies_differ: u64,
    /// Those that took more than twice as long.
    pub slower: u64,
    /// The time within which 99 of 100 of them were answered by the old track, in microseconds.
    pub old_p99_micros: Option<u64>,
    /// The same of the new one.
    pub new_p99_micros: Option<u64>,
}

impl Mirror {
    fn of(ledger: &Ledger) -> Option<Self> {
        let mut sum: Option<MirrorCounts> = None;
        for (_, _, counts) in ledger.mirrors() {
            // A router with other bounds counts all the same; only its times are left out.
            sum.get_or_insert_default().add(counts);
        }
        let sum = sum?;
        Some(Self {
            copies: sum.copies,
            dropped: sum.dropped,
            failed: sum.failed,
            compared: sum.compared,
            status_differs: sum.status_differs,
            bodies_compared: sum.bodies_compared,
            bodies_differ: sum.bodies_differ,
            slower: sum.slower,
            old_p99_micros: sum.old_latency_micros.quantile(0.99),
            new_p99_micros: sum.new_latency_micros.quantile(0.99),
        })
    }
}

/// What somebody knows of a shift who looks at it, once or again and again.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    /// All that was counted since the shift was started.
    pub ledger: Ledger,
    /// What came since the last look.
    pub pace: Pace,
}

impl Sight {
    /// Takes what routers say, who were asked at `at`, in milliseconds of a clock that never goes back.
    pub fn take(&mut self, shift: &Shift, readings: &[Reading], at: u64) {
        self.ledger.take(shift, readings);
        self.pace.take(shift, readings, at);
    }
}

impl Picture {
    /// How a shift is. `now` is in milliseconds since 1970.
    pub fn of(shift: &Shift, sight: &Sight, verdict: &Verdict, now: u64) -> Self {
        let ledger = &sight.ledger;
        let state = &shift.state;
        let (word, why) = match verdict {
            Verdict::Good => ("good", String::new()),
            Verdict::Unclear(why) => ("unclear", why.clone()),
            Verdict::Bad(why) => ("bad", why.clone()),
        };
        let judged = shift.analysis.is_some() && shift.is_under_way();
        // Routers count for a shift until it ends: then its numbers are those of all of it.
        let recent = |cell: &Name, track| if shift.has_ended() { None } else { sight.pace.of(cell, track) };
        let side = |cell: &Name, track| side(&ledger.all(cell, track), recent(cell, track));
        let cells = shift.waves.iter().enumerate().flat_map(|(n, wave)| wave.cells.iter().map(move |cell| (n, cell)));
        let cells: Vec<Cell> = cells
            .map(|(wave, cell)| Cell {
                cell: cell.to_string(),
                wave: wave + 1,
                share_hundredths: state.shares.get(cell).map_or(0, |share| share.hundredths()),
                new: side(cell, shift.to),
                old: side(cell, shift.to.other()),
            })
            .collect();
        let report = ledger.report(shift);
        // What is notable in one cell must not drown among the others.
        let falls_back = falls_back(report.requests, report.fallbacks)
            || cells.iter().any(|cell| falls_back(cell.new.requests, cell.new.fallbacks));
        Picture {
            shift: shift.name.to_string(),
            service: shift.service.to_string(),
            to: shift.to.as_str(),
            phase: state.phase.as_str(),
            place: where_it_is(shift),
            reason: state.reason.clone(),
            healthy: is_healthy(shift) && !falls_back && !(judged && matches!(verdict, Verdict::Bad(_))),
            verdict: judged.then_some(word),
            verdict_reason: if judged { why } else { String::new() },
            started: state.started,
            since: state.since,
            stopped: state.stopped,
            left_millis: left(shift, now),
            steps: steps(shift),
            cells,
            report,
            mirror: Mirror::of(ledger),
            missing: ledger.missing().to_vec(),
            controller: None,
        }
    }
}

/// Above this share of the requests that were meant for it, a new track that lets them fall back is not well: it has no
/// endpoint somewhere, or for some of the time.
const NOTABLE: f64 = 0.01;

/// Whether a notable share of the requests that were meant for a track went to the other one.
fn falls_back(requests: u64, fallbacks: u64) -> bool {
    fallbacks as f64 > NOTABLE * (requests as f64 + fallbacks as f64)
}

/// Whether a shift goes on as it should, as far as it says itself. One that waits for somebody where it was told to is well;
/// one that waits because something is wrong, or went back, is not, nor is one whose new track was not there for many.
pub fn is_healthy(shift: &Shift) -> bool {
    let report = shift.state.report.unwrap_or_default();
    if falls_back(report.requests, report.fallbacks) {
        return false;
    }
    match shift.state.phase {
        ShiftPhase::Pending | ShiftPhase::Running | ShiftPhase::Succeeded => true,
        ShiftPhase::Paused => matches!(shift.steps.get(shift.state.step), Some(ShiftStep::Pause { .. })),
        ShiftPhase::RollingBack | ShiftPhase::RolledBack | ShiftPhase::Failed | ShiftPhase::Aborted => false,
    }
}

fn where_it_is(shift: &Shift) -> String {
    match shift.state.phase {
        ShiftPhase::Pending => "not begun".to_owned(),
        ShiftPhase::Running | ShiftPhase::Paused => place(shift, &shift.state),
        ShiftPhase::RollingBack => match shift.state.shares.values().max() {
            Some(share) => format!("back at {share}"),
            None => "everything is back, waiting for the last answers".to_owned(),
        },
        ShiftPhase::Succeeded => format!("everything is on {}", shift.to.as_str()),
        ShiftPhase::RolledBack | ShiftPhase::Failed | ShiftPhase::Aborted => {
            format!("everything is on {}", shift.to.other().as_str())
        }
    }
}

fn left(shift: &Shift, now: u64) -> Option<u64> {
    let hold = hold(shift).filter(|_| shift.state.phase != ShiftPhase::Paused)?;
    let until = shift.state.since.saturating_add(u64::try_from(hold.as_millis()).unwrap_or(u64::MAX));
    Some(until.saturating_sub(now))
}

fn steps(shift: &Shift) -> Vec<Step> {
    let state = &shift.state;
    let (under_way, begun) = (shift.is_under_way(), state.phase != ShiftPhase::Pending);
    let step = |(n, step): (usize, &ShiftStep)| Step {
        what: match step {
            ShiftStep::Weight { weight, .. } => weight.to_string(),
            ShiftStep::Pause { .. } => "pause".to_owned(),
            ShiftStep::Analysis { .. } => "analysis".to_owned(),
        },
        now: under_way && n == state.step,
        done: begun && n < state.step,
    };
    shift.steps.iter().enumerate().map(step).collect()
}

fn side(all: &TrackCounts, recent: Option<Recent>) -> Side {
    let per_second = recent.as_ref().map(|recent| recent.per_second);
    // With nothing new, what there was says more than nothing.
    let recent = recent.map(|recent| recent.counts).filter(|recent| recent.requests > 0);
    let shown = recent.as_ref().unwrap_or(all);
    Side {
        requests: all.requests,
        failed: all.failed,
        fallbacks: all.fallbacks,
        in_flight: all.in_flight,
        leaving: all.leaving,
        per_second,
        error_ratio: error_ratio(shown),
        p99_micros: p99(shown),
    }
}

#[cfg(test)]
mod tests;
