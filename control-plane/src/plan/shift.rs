//! What happens to a shift next. Pure: from its state, what is known of its tracks, and the time.
//!
//! Time moves a shift by [`tick`], people do by [`obey`]. Both give a whole new state, to be written as one generation;
//! whoever loses against somebody else's write reads again and asks again. So it does not matter who asks, how often, or
//! who died in between: a state says everything that is needed to go on from it.

pub mod write;

use std::collections::BTreeMap;
use std::time::Duration;

use gridrouter_config::ids::Name;
use gridrouter_config::model::{Shift, ShiftState, ShiftStep};
use gridrouter_config::raw::{OnFailure, RollbackPace, ShiftPhase};
use gridrouter_config::track::Track;
use gridrouter_config::units::Percent;

/// The longest that a stepwise rollback stays at one weight.
const LONGEST_STEP_BACK: Duration = Duration::from_secs(10);
/// How long a shift that was rolled back stays `RollingBack` after the last share is gone: every router has heard of it
/// by then, and the closing report has the last requests that suffered.
const SETTLING: Duration = Duration::from_secs(2);
/// How long a step waits for the analysis to become sure when its own time is over: a router that restarts, or is gone and
/// still listed, does not stop a shift at night.
const GRACE: Duration = Duration::from_secs(15);

/// What the analysis says of the new track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is good enough, or nobody asked.
    Good,
    /// Nothing can be said yet; why.
    Unclear(String),
    /// It is not good enough; why.
    Bad(String),
}

/// What a shift becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// Its state.
    pub state: ShiftState,
    /// The track that is in use from now on, where that changes: in all cells of the shift.
    pub active: Option<Track>,
    /// What happens, in a few words for the history.
    pub what: String,
}

/// What somebody wants of a shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Stay as it is.
    Pause,
    /// Go on from where it was paused.
    Resume,
    /// Go to the next step now.
    Promote,
    /// Move everything now, whatever is left.
    PromoteFully,
    /// End it, with everything on the old track at once.
    Abort,
    /// Go back to the old track.
    RollBack(RollbackPace),
}

/// What time and analysis make of a shift; nothing where it stays as it is. `now` is in milliseconds since 1970.
pub fn tick(shift: &Shift, verdict: &Verdict, now: u64) -> Option<Next> {
    let state = &shift.state;
    match state.phase {
        ShiftPhase::Pending => Some(begin(shift, now)),
        ShiftPhase::Running => match verdict {
            Verdict::Bad(why) => Some(fail(shift, why, now)),
            Verdict::Good | Verdict::Unclear(_) => hold_is_over(shift, verdict, now),
        },
        // Whoever paused it did not mean that more should suffer.
        ShiftPhase::Paused => match (verdict, &shift.analysis) {
            (Verdict::Bad(why), Some(analysis)) if analysis.on_failure == OnFailure::Rollback => {
                Some(fail(shift, why, now))
            }
            (Verdict::Bad(_) | Verdict::Good | Verdict::Unclear(_), _) => None,
        },
        ShiftPhase::RollingBack => step_back(shift, now),
        ShiftPhase::RolledBack | ShiftPhase::Succeeded | ShiftPhase::Failed | ShiftPhase::Aborted => None,
    }
}

/// A shift that cannot be carried out any more, such as one whose service is gone.
pub fn give_up(shift: &Shift, why: &str, now: u64) -> Next {
    end(shift, ShiftPhase::Failed, why, format!("cannot be carried out: {why}"), now)
}

/// What somebody's word makes of a shift. `in_use` says whether the new track is the one in use in all its cells, which
/// is of a shift that has succeeded. The error says why it cannot be.
pub fn obey(shift: &Shift, command: Command, why: &str, in_use: bool, now: u64) -> Result<Next, String> {
    let (state, phase) = (&shift.state, shift.state.phase);
    let refuse = |what: &str| Err(format!("shift \"{}\" is {}; {what}", shift.name, phase.as_str()));
    match (command, phase) {
        (Command::Pause, ShiftPhase::Running) => {
            let reason = if why.is_empty() { "paused by hand" } else { why };
            Ok(stay(state, ShiftPhase::Paused, reason, "paused".to_owned(), now))
        }
        (Command::Pause, ShiftPhase::Paused) => refuse("there is nothing to pause"),
        (Command::Pause, _) => refuse("only one that is Running can be paused"),
        (Command::Resume, ShiftPhase::Paused) => Ok(resume(shift, now)),
        (Command::Resume, _) => refuse("only one that is Paused can be resumed"),
        (Command::Promote, ShiftPhase::Running | ShiftPhase::Paused) => Ok(advance(shift, "promoted by hand", now)),
        (Command::PromoteFully, ShiftPhase::Running | ShiftPhase::Paused) => {
            Ok(succeed(shift, "promoted fully by hand", now))
        }
        (Command::Promote | Command::PromoteFully, _) => refuse("only one that is Running or Paused can be promoted"),
        (Command::Abort, ShiftPhase::Pending | ShiftPhase::Running | ShiftPhase::Paused | ShiftPhase::RollingBack) => {
            let reason = if why.is_empty() { "aborted by hand" } else { why };
            Ok(end(shift, ShiftPhase::Aborted, reason, "aborted".to_owned(), now))
        }
        (Command::Abort, ShiftPhase::Succeeded) => refuse("say `gridctl shift rollback` to go back"),
        (Command::Abort, ShiftPhase::RolledBack | ShiftPhase::Failed | ShiftPhase::Aborted) => {
            refuse("it has ended already")
        }
        (Command::RollBack(_), ShiftPhase::RollingBack) if state.shares.is_empty() => {
            refuse("everything is on the old track already")
        }
        (Command::RollBack(pace), ShiftPhase::Running | ShiftPhase::Paused | ShiftPhase::RollingBack) => {
            let reason = if why.is_empty() { "rolled back by hand" } else { why };
            Ok(roll_back(shift, state.shares.clone(), pace, reason, now))
        }
        (Command::RollBack(pace), ShiftPhase::Succeeded) => {
            if !in_use {
                return refuse("its track is not the one in use any more: a later change moved on");
            }
            let reason = if why.is_empty() { "rolled back by hand after it had succeeded" } else { why };
            let all = shift.cells().map(|cell| (cell.clone(), Percent::ALL)).collect();
            let next = roll_back(shift, all, pace, reason, now);
            Ok(Next { active: Some(shift.to.other()), ..next })
        }
        (Command::RollBack(_), ShiftPhase::Pending) => refuse("say `gridctl shift abort`: nothing has moved yet"),
        (Command::RollBack(_), ShiftPhase::RolledBack | ShiftPhase::Failed | ShiftPhase::Aborted) => {
            refuse("everything is on the old track already")
        }
    }
}

/// How long the shift stays where it is, from `state.since` on, if nobody does anything; nothing where it waits for
/// somebody.
pub fn hold(shift: &Shift) -> Option<Duration> {
    let state = &shift.state;
    match (state.phase, shift.steps.get(state.step)) {
        (
            ShiftPhase::Running | ShiftPhase::Paused,
            Some(ShiftStep::Weight { hold, .. } | ShiftStep::Analysis { hold }),
        ) => Some(*hold),
        (ShiftPhase::Running | ShiftPhase::Paused, None) => {
            Some(shift.waves.get(state.wave).map_or(Duration::ZERO, |wave| wave.bake))
        }
        (ShiftPhase::RollingBack, step) => Some(match step {
            _ if state.shares.is_empty() => SETTLING,
            Some(ShiftStep::Weight { hold, .. }) => (*hold).min(LONGEST_STEP_BACK),
            Some(ShiftStep::Analysis { .. } | ShiftStep::Pause { .. }) | None => LONGEST_STEP_BACK,
        }),
        (ShiftPhase::Running | ShiftPhase::Paused, Some(ShiftStep::Pause { .. }))
        | (
            ShiftPhase::Pending
            | ShiftPhase::RolledBack
            | ShiftPhase::Succeeded
            | ShiftPhase::Failed
            | ShiftPhase::Aborted,
            _,
        ) => None,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether the time at this step is over. A clock that was set back only makes it longer.
fn is_over(shift: &Shift, now: u64) -> bool {
    hold(shift).is_some_and(|hold| now.saturating_sub(shift.state.since) >= millis(hold))
}

fn begin(shift: &Shift, now: u64) -> Next {
    let state = ShiftState { phase: ShiftPhase::Running, started: now, since: now, ..ShiftState::default() };
    let begun = Shift { state, ..shift.clone() };
    enter(&begun, 0, 0, "started", now)
}

/// Comes to a step and, where that takes no time, to those after it.
fn enter(shift: &Shift, mut wave: usize, mut step: usize, what: &str, now: u64) -> Next {
    let mut state = ShiftState {
        phase: ShiftPhase::Running,
        since: now,
        stopped: None,
        reason: String::new(),
        ..shift.state.clone()
    };
    loop {
        (state.wave, state.step) = (wave, step);
        let hold = match shift.steps.get(step) {
            Some(ShiftStep::Weight { weight, hold }) => {
                let cells = shift.waves.get(wave).map_or(&[][..], |wave| &wave.cells);
                state.shares.extend(cells.iter().map(|cell| (cell.clone(), *weight)));
                *hold
            }
            Some(ShiftStep::Pause { reason }) => {
                (state.phase, state.stopped, state.reason) = (ShiftPhase::Paused, Some(now), reason.clone());
                let what = format!("{what}, now {}: {reason}", place(shift, &state));
                return Next { state, active: None, what };
            }
            Some(ShiftStep::Analysis { hold }) => *hold,
            None => shift.waves.get(wave).map_or(Duration::ZERO, |wave| wave.bake),
        };
        if !hold.is_zero() {
            let what = format!("{what}, now {}", place(shift, &state));
            return Next { state, active: None, what };
        }
        let Some(place) = after(shift, wave, step) else { return succeed(shift, what, now) };
        (wave, step) = place;
    }
}

/// What comes after a step: the next step, the wave's bake, or the next wave.
fn after(shift: &Shift, wave: usize, step: usize) -> Option<(usize, usize)> {
    if step < shift.steps.len() {
        return Some((wave, step + 1));
    }
    (wave + 1 < shift.waves.len()).then_some((wave + 1, 0))
}

/// Where a shift is, for people.
pub fn place(shift: &Shift, state: &ShiftState) -> String {
    let wave = match shift.waves.len() {
        0 | 1 => String::new(),
        waves => format!(" of wave {} of {waves}", state.wave + 1),
    };
    let step = match shift.steps.get(state.step) {
        Some(ShiftStep::Weight { weight, .. }) => format!("at {weight}"),
        Some(ShiftStep::Analysis { .. }) => "under analysis".to_owned(),
        Some(ShiftStep::Pause { .. }) => "paused".to_owned(),
        None => return format!("baking wave {} of {}", state.wave + 1, shift.waves.len()),
    };
    format!("{step} (step {} of {}{wave})", state.step + 1, shift.steps.len())
}

fn advance(shift: &Shift, what: &str, now: u64) -> Next {
    match after(shift, shift.state.wave, shift.state.step) {
        Some((wave, step)) => enter(shift, wave, step, what, now),
        None => succeed(shift, what, now),
    }
}

/// Goes on when the time at a step is over and the analysis is sure.
fn hold_is_over(shift: &Shift, verdict: &Verdict, now: u64) -> Option<Next> {
    if !is_over(shift, now) {
        return None;
    }
    match verdict {
        Verdict::Unclear(_) if !is_over(shift, now.saturating_sub(millis(GRACE))) => None,
        Verdict::Unclear(why) => {
            let reason = format!("inconclusive: {why}");
            Some(stay(&shift.state, ShiftPhase::Paused, &reason, format!("paused, {reason}"), now))
        }
        Verdict::Good | Verdict::Bad(_) => Some(advance(shift, "goes on", now)),
    }
}

fn fail(shift: &Shift, why: &str, now: u64) -> Next {
    let analysis = shift.analysis.as_ref();
    match analysis.map_or(OnFailure::Rollback, |analysis| analysis.on_failure) {
        OnFailure::Pause => stay(&shift.state, ShiftPhase::Paused, why, format!("paused: {why}"), now),
        OnFailure::Rollback => {
            let pace = analysis.map_or(RollbackPace::AtOnce, |analysis| analysis.rollback);
            roll_back(shift, shift.state.shares.clone(), pace, why, now)
        }
    }
}

/// Another phase at the same place.
fn stay(state: &ShiftState, phase: ShiftPhase, reason: &str, what: String, now: u64) -> Next {
    let state = ShiftState { phase, stopped: Some(now), reason: reason.to_owned(), ..state.clone() };
    Next { state, active: None, what }
}

fn resume(shift: &Shift, now: u64) -> Next {
    let state = &shift.state;
    if matches!(shift.steps.get(state.step), Some(ShiftStep::Pause { .. })) {
        return advance(shift, "resumed", now);
    }
    // What was left of the time is left still. Where none was, somebody has looked and wants it looked at once more.
    let stopped = state.stopped.unwrap_or(now);
    let held = stopped.saturating_sub(state.since);
    let all = hold(shift).is_none_or(|hold| held >= millis(hold));
    let since = if all { now } else { now.saturating_sub(held) };
    let state = ShiftState { phase: ShiftPhase::Running, since, stopped: None, reason: String::new(), ..state.clone() };
    let what = format!("resumed {}", place(shift, &state));
    Next { state, active: None, what }
}

fn succeed(shift: &Shift, what: &str, now: u64) -> Next {
    let all = shift.cells().map(|cell| (cell.clone(), Percent::ALL)).collect();
    let state = ShiftState {
        phase: ShiftPhase::Succeeded,
        wave: shift.waves.len().saturating_sub(1),
        step: shift.steps.len(),
        shares: all,
        stopped: Some(now),
        reason: String::new(),
        ..shift.state.clone()
    };
    Next { state, active: Some(shift.to), what: format!("{what}, now succeeded: {} is in use", shift.to.as_str()) }
}

fn end(shift: &Shift, phase: ShiftPhase, reason: &str, what: String, now: u64) -> Next {
    let state = ShiftState {
        phase,
        shares: BTreeMap::new(),
        stopped: Some(now),
        reason: reason.to_owned(),
        ..shift.state.clone()
    };
    Next { state, active: None, what }
}

/// Begins to go back from these shares.
fn roll_back(shift: &Shift, shares: BTreeMap<Name, Percent>, pace: RollbackPace, reason: &str, now: u64) -> Next {
    let state = ShiftState {
        phase: ShiftPhase::RollingBack,
        shares,
        since: now,
        stopped: None,
        reason: reason.to_owned(),
        ..shift.state.clone()
    };
    let what = format!("rolls back: {reason}");
    match pace {
        RollbackPace::AtOnce => Next { state: ShiftState { shares: BTreeMap::new(), ..state }, active: None, what },
        RollbackPace::Stepwise => {
            let state = lower(shift, state);
            Next { active: None, what: format!("{what}, now {}", back_at(&state)), state }
        }
    }
}

/// The next lower weight for all cells that have more.
fn lower(shift: &Shift, mut state: ShiftState) -> ShiftState {
    let now = state.shares.values().max().copied().unwrap_or_default();
    let weights = shift.steps.iter().enumerate().filter_map(|(n, step)| match step {
        ShiftStep::Weight { weight, .. } => Some((*weight, n)),
        ShiftStep::Pause { .. } | ShiftStep::Analysis { .. } => None,
    });
    let next = weights.filter(|(weight, _)| *weight < now && *weight > Percent::NONE).max();
    match next {
        Some((weight, step)) => {
            state.step = step;
            state.shares.values_mut().for_each(|share| *share = weight.min(*share));
        }
        None => state.shares.clear(),
    }
    state
}

fn back_at(state: &ShiftState) -> String {
    format!("at {}", state.shares.values().max().copied().unwrap_or_default())
}

fn step_back(shift: &Shift, now: u64) -> Option<Next> {
    if !is_over(shift, now) {
        return None;
    }
    let state = ShiftState { since: now, ..shift.state.clone() };
    if state.shares.is_empty() {
        let state = ShiftState { phase: ShiftPhase::RolledBack, stopped: Some(now), ..state };
        return Some(Next { state, active: None, what: "rolled back".to_owned() });
    }
    let state = lower(shift, state);
    Some(Next { what: format!("rolls back, now {}", back_at(&state)), state, active: None })
}

#[cfg(test)]
mod tests;
