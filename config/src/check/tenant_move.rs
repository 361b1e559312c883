//! Moves of tenants by themselves.

use std::time::Duration;

use super::Check;
use crate::ids::Name;
use crate::model::{Move, MoveState};
use crate::path::Path;
use crate::problem::quoted;
use crate::raw;
use crate::units::parse_duration_or_zero;

/// The longest time that a request is held: clients, and what is before this router, give up after a minute.
const LONGEST_HOLD: Duration = Duration::from_mins(1);
/// What a client is told to wait when nothing else is said, and the bounds.
const RETRY_AFTER: Duration = Duration::from_secs(5);
const RETRY_AFTER_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Move) -> Option<Move> {
    let root = Path::Root;
    let tenant = check.take(&root.key("tenant"), Name::tenant(&raw.tenant));
    let grid = check.reference(&root.key("grid"), &raw.grid);
    let from = check.reference(&root.key("from"), &raw.from);
    let to = check.reference(&root.key("to"), &raw.to);
    if raw.from == raw.to && check.are_written(&[&root.key("from"), &root.key("to")]) {
        let message = format!("{} is where the tenant is already", quoted(&raw.to));
        check.wrong_but(&root.key("to"), message, "name another cell");
    }
    let hold = hold(check, raw.hold.as_ref());
    let retry_after = retry_after(check, raw.retry_after.as_ref());
    let state = &raw.state;
    Some(Move {
        name: check.source.id.name.clone(),
        tenant: tenant?,
        grid: grid?,
        from: from?,
        to: to?,
        was_pinned: raw.was_pinned,
        fence: raw.fence.unwrap_or_default(),
        hold: hold?,
        retry_after: retry_after?,
        hook: raw.hook,
        state: MoveState {
            phase: state.phase,
            started: state.started,
            since: state.since,
            deadline: state.deadline,
            reason: state.reason.clone(),
            driver: state.driver.clone(),
        },
    })
}

fn hold(check: &mut Check<'_>, text: Option<&String>) -> Option<Duration> {
    let Some(text) = text else { return Some(Duration::ZERO) };
    let path = Path::Root.key("hold");
    let hold = check.take(&path, parse_duration_or_zero(text))?;
    if hold > LONGEST_HOLD {
        check.wrong_but(&path, format!("{} is longer than 60s", quoted(text)), "write 60s or less");
    }
    Some(hold)
}

fn retry_after(check: &mut Check<'_>, text: Option<&String>) -> Option<Duration> {
    let path = Path::Root.key("retryAfter");
    let wait = check.duration(&path, text, RETRY_AFTER)?;
    if wait < RETRY_AFTER_BOUNDS.0 || wait > RETRY_AFTER_BOUNDS.1 {
        check.wrong_but(&path, "it is not between 1s and 1h", "write 1s to 1h; 5s is the default");
    }
    Some(wait)
}
