//! Grids, their cells and the tenants pinned to them.

use hashbrown::HashMap;

use super::references::written_index;
use super::{Cross, id, in_writing_order};
use crate::generation::Entry;
use crate::ids::{Kind, Name};
use crate::model::CellState;
use crate::path::Path;
use crate::problem::{did_you_mean, quoted_list};

pub(super) fn check(cross: &mut Cross<'_>) {
    one_grid_a_cell(cross);
    somebody_serves(cross);
    pins_are_inside(cross);
}

/// A cell belongs to one grid at most: its weight and its state are meant for one placement, and two grids would each
/// believe to have all of it.
fn one_grid_a_cell(cross: &mut Cross<'_>) {
    let mut owners: HashMap<&Name, &Entry> = HashMap::new();
    for grid in cross.grids.values().copied().collect::<Vec<_>>() {
        for cell in &grid.model.cells {
            let Some(other) = owners.insert(cell, grid.entry) else { continue };
            let (first, second) = in_writing_order(other, grid.entry);
            owners.insert(cell, first);
            let message = format!("cell \"{cell}\" is already in grid \"{}\"", first.source.id.name);
            let help = format!("a cell belongs to one grid; remove it here or in {}", first.source.place());
            let path = Path::Root.key("cells");
            let path = path.index(written_index(second, cell));
            cross.conflict(second, &path, message, help, vec![first.source.id.clone()]);
        }
    }
}

/// A grid whose cells are all draining or offline has no place for any tenant without a pin.
fn somebody_serves(cross: &mut Cross<'_>) {
    for grid in cross.grids.values().copied().collect::<Vec<_>>() {
        let known: Vec<_> = grid.model.cells.iter().filter_map(|name| cross.cells.get(name)).collect();
        let active = known.iter().any(|cell| cell.model.state == CellState::Active);
        if active || known.len() < grid.model.cells.len() {
            continue;
        }
        let message = format!("every cell of grid \"{}\" is draining or offline", grid.model.name);
        let help = format!("make one of {} active", quoted_list(grid.model.cells.iter().map(Name::as_str)));
        let cells = grid.model.cells.iter().map(|name| id(Kind::Cell, name)).collect();
        cross.conflict(grid.entry, &Path::Root.key("cells"), message, help, cells);
    }
}

fn pins_are_inside(cross: &mut Cross<'_>) {
    for tenant in cross.tenants.values().copied().collect::<Vec<_>>() {
        let Some(pin) = &tenant.model.pin else { continue };
        let Some(grid) = cross.grids.get(&pin.grid).copied() else { continue };
        if grid.model.cells.binary_search(&pin.cell).is_ok() || !cross.cells.contains_key(&pin.cell) {
            continue;
        }
        let names = || grid.model.cells.iter().map(Name::as_str);
        let message = format!("cell \"{}\" is not in grid \"{}\"", pin.cell, pin.grid);
        let help = did_you_mean(pin.cell.as_str(), names())
            .unwrap_or_else(|| format!("grid \"{}\" has {}", pin.grid, quoted_list(names())));
        cross.conflict(tenant.entry, &Path::Root.key("cell"), message, help, vec![id(Kind::Grid, &pin.grid)]);
    }
}
