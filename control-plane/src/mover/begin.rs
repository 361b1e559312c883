//! What a move begins with: whether it can, and its document. Pure.

use std::sync::Arc;

use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::codec::{Parsed, SourceDocument};
use gridrouter_config::generation::advance;
use gridrouter_config::ids::{Kind, Name};
use gridrouter_config::model::{self, Model};
use gridrouter_config::problem::did_you_mean;
use gridrouter_config::raw::{self, MoveDriver, MovePhase};
use gridrouter_config::tenants::TenantTable;

use super::{Order, id_of, millis};
use crate::controller::View;
use crate::controller::tenant_move::tenant;
use crate::locate::Locator;

/// The document of a move that begins now, and what it means. The error says why it cannot begin.
pub(super) fn begun(
    view: &View,
    order: &Order,
    driver: &MoveDriver,
    now: u64,
) -> Result<(raw::Move, model::Move), String> {
    let document = planned(view, order, driver, now)?;
    let one = checked(&document)?;
    Ok((document, one))
}

/// The document of a move that begins now.
fn planned(view: &View, order: &Order, driver: &MoveDriver, now: u64) -> Result<raw::Move, String> {
    if view.generation == 0 {
        return Err("nothing was published in the store yet".to_owned());
    }
    let places = |one: &&Arc<SourceDocument>| matches!(one.id.kind, Kind::Grid | Kind::Cell);
    let placement = view.documents.values().filter(places).cloned().collect();
    let advanced = advance(None, &[Parsed::from_documents("", placement)], &TenantTable::default());
    let model = advanced.in_force.model();
    let grid = grid(model, order.grid.as_ref())?;
    if let Some(other) = on_its_way(view, &order.tenant, &grid.name) {
        let name = &other.name;
        return Err(format!(
            "tenant \"{}\" is on its way already, by move \"{name}\"; go on with `gridctl move resume {name}`, or back with \
             `gridctl move rollback {name}`",
            order.tenant
        ));
    }
    let (from, was_pinned) = place(view, model, grid, &order.tenant)?;
    if grid.cells.binary_search(&order.to).is_err() {
        let names = || grid.cells.iter().map(Name::as_str);
        let help = did_you_mean(order.to.as_str(), names())
            .unwrap_or_else(|| format!("it has {}", names().collect::<Vec<_>>().join(", ")));
        return Err(format!("grid \"{}\" has no cell \"{}\"; {help}", grid.name, order.to));
    }
    if let Some(cell) = model.cells.get(&order.to).filter(|cell| cell.state != model::CellState::Active) {
        return Err(format!("cell \"{}\" is {}; make it active first", order.to, cell.state.as_str()));
    }
    if from == order.to {
        return Err(format!("tenant \"{}\" is on cell \"{from}\" already", order.tenant));
    }
    let name = match &order.name {
        Some(name) if view.documents.contains_key(&id_of(name)) => {
            return Err(format!("there is a move \"{name}\" already"));
        }
        Some(name) => name.to_string(),
        None => free_name(view, &order.tenant, now),
    };
    let deadline = now.saturating_add(millis(order.timeout));
    let (phase, driver) = (MovePhase::Fencing, Some(driver.clone()));
    let state = raw::MoveState { phase, started: now, since: now, deadline, reason: String::new(), driver };
    Ok(raw::Move {
        name,
        tenant: order.tenant.to_string(),
        grid: grid.name.to_string(),
        from: from.to_string(),
        to: order.to.to_string(),
        was_pinned,
        fence: Some(order.fence),
        hold: order.hold.clone(),
        retry_after: order.retry_after.clone(),
        hook: order.hook,
        state,
    })
}

fn grid<'a>(model: &'a Model, wanted: Option<&Name>) -> Result<&'a model::Grid, String> {
    let known: Vec<&str> = model.grids.keys().map(Name::as_str).collect();
    let named = match (wanted, known.as_slice()) {
        (Some(name), _) => model.grids.get(name),
        (None, [_]) => model.grids.values().next(),
        (None, []) => return Err("there are no grids".to_owned()),
        (None, _) => return Err(format!("there are several grids; say --grid with one of {}", known.join(", "))),
    };
    named.map(|grid| &**grid).ok_or_else(|| {
        let name = wanted.map(Name::as_str).unwrap_or_default();
        let help = did_you_mean(name, known.iter().copied());
        format!("no grid \"{name}\"; {}", help.unwrap_or_else(|| format!("there is {}", known.join(", "))))
    })
}

/// The cell that a tenant lives in, and whether it is pinned there.
fn place(view: &View, model: &Model, grid: &model::Grid, name: &Name) -> Result<(Name, bool), String> {
    let pin = tenant(view, name).and_then(|tenant| Some((tenant.grid.clone()?, tenant.cell.clone()?)));
    match pin {
        Some((of, cell)) if of == grid.name.as_str() => Ok((Name::parse(&cell)?, true)),
        Some((of, _)) => Err(format!(
            "tenant \"{name}\" is pinned in grid \"{of}\", and its document has room for one pin only; move it there, or take \
             that pin away"
        )),
        None => {
            let found = Locator::new(model, grid).locate(name).cell.map(Name::parse).transpose()?;
            let none = || format!("no cell of grid \"{}\" takes tenants", grid.name);
            found.map(|cell| (cell, false)).ok_or_else(none)
        }
    }
}

/// A name that says whose move it is, as far as that can be said, and when it was begun.
fn free_name(view: &View, tenant: &Name, now: u64) -> String {
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let text: String = tenant.as_str().to_lowercase().chars().map(plain).take(64).collect();
    let text = text.trim_matches('-');
    let text = if text.is_empty() { "tenant" } else { text };
    let taken = |name: &String| Name::parse(name).is_ok_and(|name| view.documents.contains_key(&id_of(&name)));
    // There are not as many moves that one of these would not be free.
    let mut tried = (0..=view.documents.len() as u64).map(|more| format!("{text}-{}", (now / 1000) + more));
    tried.find(|name| !taken(name)).unwrap_or_default()
}

/// The move that a tenant is on in a grid, if it is on one.
fn on_its_way<'a>(view: &'a View, tenant: &Name, grid: &Name) -> Option<&'a raw::Move> {
    view.documents.values().find_map(|source| {
        let raw::Document::Move(one) = &source.raw else { return None };
        let same = one.tenant == tenant.as_str() && one.grid == grid.as_str();
        (same && !one.state.phase.is_last()).then_some(&**one)
    })
}

fn checked(document: &raw::Move) -> Result<model::Move, String> {
    let source = SourceDocument::from_raw("move", 1, raw::Document::Move(Box::new(document.clone())));
    let source = source.map_err(|problem| problem.message)?;
    match convert(&source) {
        Ok(ModelDocument::Move(one)) => Ok((*one).clone()),
        Ok(_) => Err("it is no move".to_owned()),
        Err(problems) => {
            let text = |problem: &gridrouter_config::problem::Problem| {
                let help = problem.help.as_deref().map(|help| format!("; {help}"));
                format!("{}: {}{}", problem.path, problem.message, help.unwrap_or_default())
            };
            Err(problems.iter().map(text).collect::<Vec<_>>().join(", "))
        }
    }
}
