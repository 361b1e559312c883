//! What a change must leave alone because tenants are on their way: moves are written by `gridctl tenant move`,
//! `gridctl move` and the controller, who know what routers have said, and what a move rests on is its own until it has
//! ended. Pure.

use std::sync::Arc;

use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::codec::{Parsed, SourceDocument};
use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::model::Move;
use gridrouter_config::raw::{CellState, Document};

use super::super::{Edit, Plan, Version};
use crate::site::Site;

/// What a change may do with moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Moves {
    /// Delete those that have ended, and nothing else.
    #[default]
    AreNotWritten,
    /// Have those that have ended as they are in an export: they are a record of what was.
    AreRecords,
    /// Have those under way in an export as well: the store is restored, and its fences with it.
    AreRestored,
}

/// Leaves out moves that have ended and that the store does not have any more: files that were exported once are applied
/// again, and what was is no matter of theirs. How many there are.
pub fn leave_out_ended(files: &mut [Parsed], site: &Site) -> usize {
    let is_over = |one: &Arc<SourceDocument>| {
        matches!(&one.raw, Document::Move(one) if one.state.phase.is_last()) && !site.documents.contains_key(&one.id)
    };
    let mut count = 0;
    for file in files {
        let before = file.documents.len();
        file.documents.retain(|one| !is_over(one));
        count += before - file.documents.len();
    }
    count
}

/// Whether a change leaves alone what it has to. The error says what it does not.
pub fn left_alone(site: &Site, plan: &Plan, moves: Moves) -> Result<(), String> {
    for (id, edit) in plan.edits.iter().filter(|(id, _)| id.kind == Kind::Move) {
        written(id, edit, moves)?;
    }
    let edit = |kind: Kind, name: &Name| plan.edits.get(&DocumentId { kind, name: name.clone() });
    for one in site.documents.values().filter_map(under_way) {
        if let Some(edit) = edit(Kind::Tenant, &one.tenant) {
            pin(&one, edit)?;
        }
        if one.place() == Some(&one.to) || one.is_before_the_flip() {
            if let Some(edit) = edit(Kind::Cell, &one.to) {
                cell(&one, edit)?;
            }
            if let Some(edit) = edit(Kind::Grid, &one.grid) {
                grid(&one, edit)?;
            }
        }
    }
    Ok(())
}

fn under_way(source: &Arc<SourceDocument>) -> Option<Arc<Move>> {
    if source.id.kind != Kind::Move {
        return None;
    }
    let Ok(ModelDocument::Move(one)) = convert(source) else { return None };
    (!one.has_ended()).then_some(one)
}

/// What was there, as far as it was in force and can be read.
fn was(edit: &Edit) -> Option<&Document> {
    match &edit.before {
        Some(Version::Document(document) | Version::Odd(document)) => Some(&document.raw),
        Some(Version::Bytes(_) | Version::Foreign) | None => None,
    }
}

fn written(id: &DocumentId, edit: &Edit, moves: Moves) -> Result<(), String> {
    let is_over = |document: &Document| matches!(document, Document::Move(one) if one.state.phase.is_last());
    let name = &id.name;
    if was(edit).is_some_and(|before| !is_over(before)) {
        return Err(format!(
            "move \"{name}\" is under way, and only gridctl and the controller carry it on: its fence is there for a reason; say \
             `gridctl move rollback {name}`, or wait for its end (`gridctl move list`)"
        ));
    }
    let Some(after) = &edit.after else { return Ok(()) };
    match moves {
        Moves::AreRestored => Ok(()),
        Moves::AreRecords if is_over(&after.raw) => Ok(()),
        Moves::AreRecords => Err(format!(
            "move \"{name}\" was under way when this was exported, and is not in the store; take it out of the files, or say \
             --adopt if the store is to be restored to what it was then"
        )),
        Moves::AreNotWritten => Err(format!(
            "move \"{name}\" is not as the store has it, and moves are begun with `gridctl tenant move`, and carried on or taken \
             back with `gridctl move resume` and `rollback`; take it out of the files"
        )),
    }
}

fn pin(one: &Move, edit: &Edit) -> Result<(), String> {
    let pin = |document: &Document| {
        let Document::Tenant(tenant) = document else { return None };
        Some((tenant.grid.clone()?, tenant.cell.clone()?))
    };
    let before = was(edit).and_then(pin);
    let after = edit.after.as_ref().and_then(|after| pin(&after.raw));
    let place = one.place().map(|cell| (one.grid.to_string(), cell.to_string()));
    if after == before || after == place {
        return Ok(());
    }
    Err(format!("the pin of tenant \"{}\" cannot be changed: {}", one.tenant, because(one)))
}

fn cell(one: &Move, edit: &Edit) -> Result<(), String> {
    let state = |document: &Document| {
        let said = if let Document::Cell(cell) = document { cell.state } else { None };
        said.unwrap_or(CellState::Active)
    };
    let after = edit.after.as_ref().map(|after| state(&after.raw));
    if after == Some(CellState::Active) || after.is_some() && after == was(edit).map(state) {
        return Ok(());
    }
    let what = if after.is_none() { "deleted" } else { "anything but active" };
    Err(format!("cell \"{}\" cannot be {what}: {}", one.to, because(one)))
}

fn grid(one: &Move, edit: &Edit) -> Result<(), String> {
    let has = |document: &Document| matches!(document, Document::Grid(grid) if grid.cells.iter().any(|cell| cell == one.to.as_str()));
    if edit.after.as_ref().is_some_and(|after| has(&after.raw)) {
        return Ok(());
    }
    Err(format!("grid \"{}\" cannot go without cell \"{}\": {}", one.grid, one.to, because(one)))
}

fn because(one: &Move) -> String {
    format!(
        "move \"{}\" has tenant \"{}\" on its way from {} to {}; wait for its end (`gridctl move list`), or say \
         `gridctl move rollback {}`",
        one.name, one.tenant, one.from, one.to, one.name
    )
}

#[cfg(test)]
mod tests;
