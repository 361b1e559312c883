//! What becomes of documents when a move changes. Pure.

use gridrouter_config::ids::Name;
use gridrouter_config::model::{Move, MoveState};
use gridrouter_config::raw::{self, Document, MovePhase};

use super::Next;

/// The documents that say what a move becomes, in the order in which they are written where nothing is written at once: the
/// fence is up before the tenant is put elsewhere, and goes when it is where it is to stay.
pub fn documents(written: &raw::Move, one: &Move, tenant: Option<&raw::Tenant>, next: &Next) -> Vec<Document> {
    let after = Move { state: next.state.clone(), ..one.clone() };
    let document = raw::Move { state: state(&next.state), ..written.clone() };
    let changed = (document != *written).then(|| Document::Move(Box::new(document)));
    let tenant = placed(&after, tenant).map(Document::Tenant);
    if after.has_ended() {
        tenant.into_iter().chain(changed).collect()
    } else {
        changed.into_iter().chain(tenant).collect()
    }
}

/// The documents of a move that begins.
pub fn begin(document: raw::Move, one: &Move, tenant: Option<&raw::Tenant>) -> Vec<Document> {
    let tenant = placed(one, tenant).map(Document::Tenant);
    [Document::Move(Box::new(document))].into_iter().chain(tenant).collect()
}

/// The tenant where the move has it; nothing where its document says so already.
fn placed(one: &Move, tenant: Option<&raw::Tenant>) -> Option<raw::Tenant> {
    let before =
        tenant.cloned().unwrap_or_else(|| raw::Tenant { name: one.tenant.to_string(), ..raw::Tenant::default() });
    let to =
        |cell: &Name| raw::Tenant { grid: Some(one.grid.to_string()), cell: Some(cell.to_string()), ..before.clone() };
    let after = match (one.place(), one.state.phase) {
        (Some(cell), _) => to(cell),
        (None, MovePhase::RolledBack) if one.was_pinned => to(&one.from),
        (None, MovePhase::RolledBack) => raw::Tenant { grid: None, cell: None, ..before.clone() },
        // Whoever put it elsewhere knows why.
        (None, _) => return None,
    };
    (tenant != Some(&after)).then_some(after)
}

/// A state as it is written.
pub fn state(state: &MoveState) -> raw::MoveState {
    raw::MoveState {
        phase: state.phase,
        started: state.started,
        since: state.since,
        deadline: state.deadline,
        reason: state.reason.clone(),
        driver: state.driver.clone(),
    }
}
