//! What happens to a tenant's move next. Pure: from its document, the tenant's pin, what routers say, and the time.
//!
//! The fence comes first, and goes last. No router sends what it keeps away, to whichever cell, from the moment at which
//! the last router has put it up; only then is the tenant put on the new cell; and only when the last router has done that
//! as well, the fence goes. So a change of the tenant's data reaches the old cell before, or the new cell after, and
//! whoever reads from the old cell does so before any change reaches the new one. The way back is the same way.
//!
//! As of a shift, a state says everything that is needed to go on from it, and it does not matter who asks.

pub mod routers;
pub mod write;

use std::time::Duration;

use gridrouter_config::model::{Move, MoveState};
use gridrouter_config::raw::{self, MoveDriver, MovePhase};

/// How long a rollback waits for routers that do not say that they have the tenant on the old cell again. Nothing that the
/// fence keeps away was ever taken by the new cell, so that one which hears of it later does no harm but to its own readers.
const LET_GO: Duration = Duration::from_mins(1);

/// What a move becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Its state.
    pub state: MoveState,
    /// What happens, in a few words for the history.
    pub what: String,
}

/// What somebody wants of a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The data is copied: put the tenant on the new cell. `waits` says what routers are still waited for.
    Flip {
        /// Why it cannot be done now, where that is so.
        waits: Option<String>,
    },
    /// Put the tenant back on the old cell.
    RollBack {
        /// Why.
        why: String,
    },
    /// Carry it on in the place of whoever did.
    TakeUp {
        /// Who does from now on.
        driver: MoveDriver,
        /// The new deadline, in milliseconds since 1970.
        deadline: u64,
        /// Whether the data is copied already, or will be by a command.
        data: bool,
    },
}

/// Where the tenant is pinned, compared with its move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pinned {
    /// Where the phase wants it.
    Right,
    /// On the other cell of the move, or nowhere.
    Half,
    /// Elsewhere: somebody else did that.
    Elsewhere,
}

/// What time and routers make of a move; nothing where it stays as it is. `waits` says what routers are waited for, and
/// `now` is in milliseconds since 1970.
pub fn tick(one: &Move, tenant: Option<&raw::Tenant>, waits: Option<&str>, now: u64) -> Option<Next> {
    if one.has_ended() {
        return None;
    }
    match pinned(one, tenant) {
        Pinned::Elsewhere => {
            let cell = tenant.and_then(|tenant| tenant.cell.as_deref()).unwrap_or_default();
            let why = format!("somebody else pinned the tenant to cell \"{cell}\" meanwhile");
            return Some(next(one, MovePhase::Failed, &why, format!("failed: {why}"), now));
        }
        // Nothing but the pin is written again.
        Pinned::Half => return Some(Next { state: one.state.clone(), what: "pins the tenant again".to_owned() }),
        Pinned::Right => {}
    }
    let late = now >= one.state.deadline;
    let overdue = || "it did not end in time".to_owned();
    match (one.state.phase, waits) {
        (MovePhase::Fencing, None) if !late => {
            Some(next(one, MovePhase::Fenced, "", "the fence is up in every router".to_owned(), now))
        }
        (MovePhase::Flipping, None) => {
            let what = format!("{} is on {}", one.tenant, one.to);
            Some(next(one, MovePhase::Succeeded, "", what, now))
        }
        (MovePhase::Fencing | MovePhase::Fenced | MovePhase::Flipping, waits) if late => {
            let why = waits.map_or_else(overdue, |waits| format!("{}; {waits}", overdue()));
            Some(back(one, &why, now))
        }
        (MovePhase::RollingBack, None) => {
            let what = format!("rolled back: {}", one.state.reason);
            Some(next(one, MovePhase::RolledBack, &one.state.reason, what, now))
        }
        (MovePhase::RollingBack, Some(waits)) if now.saturating_sub(one.state.since) >= millis(LET_GO) => {
            let why = format!("{}; {waits}", one.state.reason);
            Some(next(one, MovePhase::RolledBack, &why, format!("rolled back: {why}"), now))
        }
        (
            MovePhase::Fencing
            | MovePhase::Fenced
            | MovePhase::Flipping
            | MovePhase::RollingBack
            | MovePhase::Succeeded
            | MovePhase::RolledBack
            | MovePhase::Failed,
            _,
        ) => None,
    }
}

/// Who has taken a move over from a driver; nothing where it carries the move on still, or nobody does. `by` is its id, and
/// none where whoever asks has never carried the move on.
pub fn taken_over<'a>(one: &'a Move, by: Option<&str>) -> Option<&'a MoveDriver> {
    one.state.driver.as_ref().filter(|driver| Some(driver.id.as_str()) != by)
}

/// What somebody's word makes of a move. The error says why it cannot be. `by` is the driver whose word it is: one that was
/// taken over has no say any more, and who has never been one can put the tenant back, or become it, and nothing else.
pub fn obey(
    one: &Move,
    tenant: Option<&raw::Tenant>,
    by: Option<&str>,
    command: &Command,
    now: u64,
) -> Result<Next, String> {
    let has_a_say = match command {
        Command::TakeUp { .. } => true,
        Command::RollBack { .. } => by.is_none(),
        Command::Flip { .. } => false,
    };
    match taken_over(one, by).filter(|_| !has_a_say) {
        Some(other) => Err(format!("move \"{}\" is carried on by {}", one.name, other.host)),
        None => obeyed(one, tenant, command, now),
    }
}

fn obeyed(one: &Move, tenant: Option<&raw::Tenant>, command: &Command, now: u64) -> Result<Next, String> {
    let phase = one.state.phase;
    let refuse = |what: &str| Err(format!("move \"{}\" is {}; {what}", one.name, phase.as_str()));
    match (command, phase) {
        (Command::Flip { .. }, MovePhase::Fenced) if now >= one.state.deadline => refuse("its time is over"),
        (Command::Flip { waits: Some(waits) }, MovePhase::Fenced) => refuse(waits),
        (Command::Flip { waits: None }, MovePhase::Fenced) if pinned(one, tenant) != Pinned::Right => {
            refuse("the tenant is not where the move has left it")
        }
        (Command::Flip { waits: None }, MovePhase::Fenced) => {
            let what = format!("puts {} on {}", one.tenant, one.to);
            Ok(next(one, MovePhase::Flipping, "", what, now))
        }
        (Command::Flip { .. }, _) => refuse("only one that is Fenced can go on to the new cell"),
        (Command::RollBack { why }, MovePhase::Fencing | MovePhase::Fenced | MovePhase::Flipping) => {
            Ok(back(one, why, now))
        }
        (Command::RollBack { .. }, MovePhase::RollingBack) => refuse("it goes back already"),
        (Command::RollBack { .. }, MovePhase::Succeeded) => {
            let back = format!("gridctl tenant move {} --grid {} --to {}", one.tenant, one.grid, one.from);
            refuse(&format!(
                "the new cell has taken requests since; to move the tenant back with its data, say `{back}`"
            ))
        }
        (Command::RollBack { .. } | Command::TakeUp { .. }, MovePhase::RolledBack | MovePhase::Failed) => {
            refuse("it has ended")
        }
        (Command::TakeUp { .. }, MovePhase::Succeeded) => refuse("it has ended"),
        (Command::TakeUp { .. }, MovePhase::RollingBack) => refuse("it goes back, and cannot be taken up again"),
        (Command::TakeUp { data: false, .. }, MovePhase::Fencing | MovePhase::Fenced) if one.hook => refuse(
            "it was begun with a hook, and nobody says that the data is copied; give the command once more with --hook, or \
             say --copied if it is there for certain",
        ),
        (Command::TakeUp { driver, deadline, .. }, MovePhase::Fencing | MovePhase::Fenced | MovePhase::Flipping) => {
            let what = format!("taken up by {}", driver.host);
            let state = MoveState { deadline: *deadline, driver: Some(driver.clone()), ..one.state.clone() };
            Ok(Next { state, what })
        }
    }
}

/// Goes back. Until the flip no router has the tenant on the new cell, so that there is nothing to wait for. Nobody's word is
/// needed from here on, and whoever comes may go on.
fn back(one: &Move, why: &str, now: u64) -> Next {
    let one = &Move { state: MoveState { driver: None, ..one.state.clone() }, ..one.clone() };
    match one.state.phase {
        MovePhase::Flipping => next(one, MovePhase::RollingBack, why, format!("rolls back: {why}"), now),
        MovePhase::Fencing
        | MovePhase::Fenced
        | MovePhase::RollingBack
        | MovePhase::Succeeded
        | MovePhase::RolledBack
        | MovePhase::Failed => next(one, MovePhase::RolledBack, why, format!("rolled back: {why}"), now),
    }
}

fn next(one: &Move, phase: MovePhase, reason: &str, what: String, now: u64) -> Next {
    let state = MoveState { phase, since: now, reason: reason.to_owned(), ..one.state.clone() };
    Next { state, what }
}

fn pinned(one: &Move, tenant: Option<&raw::Tenant>) -> Pinned {
    let pin = tenant.and_then(|tenant| Some((tenant.grid.as_deref()?, tenant.cell.as_deref()?)));
    match (pin, one.place()) {
        (Some((grid, cell)), Some(place)) if grid == one.grid.as_str() && cell == place.as_str() => Pinned::Right,
        (Some((grid, cell)), _)
            if grid == one.grid.as_str() && [one.from.as_str(), one.to.as_str()].contains(&cell) =>
        {
            Pinned::Half
        }
        (Some(_), _) => Pinned::Elsewhere,
        (None, _) => Pinned::Half,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
