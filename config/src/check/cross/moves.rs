//! Moves of tenants, the cells that they go between, and each other.

use std::collections::BTreeMap;

use super::{Cross, id, in_writing_order};
use crate::generation::Entry;
use crate::ids::{Kind, Name};
use crate::path::Path;
use crate::problem::{did_you_mean, quoted_list};

pub(super) fn check(cross: &mut Cross<'_>) {
    cells_are_inside(cross);
    one_move_a_tenant(cross);
}

/// Both cells belong to the grid. What has ended is a record of what was.
fn cells_are_inside(cross: &mut Cross<'_>) {
    for one in cross.moves.values().copied().filter(|one| !one.model.has_ended()).collect::<Vec<_>>() {
        let Some(grid) = cross.grids.get(&one.model.grid).copied() else { continue };
        for (field, cell) in [("from", &one.model.from), ("to", &one.model.to)] {
            if grid.model.cells.binary_search(cell).is_ok() || !cross.cells.contains_key(cell) {
                continue;
            }
            let names = || grid.model.cells.iter().map(Name::as_str);
            let message = format!("cell \"{cell}\" is not in grid \"{}\"", grid.model.name);
            let help = did_you_mean(cell.as_str(), names())
                .unwrap_or_else(|| format!("grid \"{}\" has {}", grid.model.name, quoted_list(names())));
            let involved = vec![id(Kind::Grid, &grid.model.name)];
            cross.conflict(one.entry, &Path::Root.key(field), message, help, involved);
        }
    }
}

/// Two moves of one tenant would each say where it is.
fn one_move_a_tenant(cross: &mut Cross<'_>) {
    let mut taken: BTreeMap<(&Name, &Name), &Entry> = BTreeMap::new();
    for one in cross.moves.values().copied().filter(|one| !one.model.has_ended()).collect::<Vec<_>>() {
        let key = (&one.model.grid, &one.model.tenant);
        let Some(other) = taken.insert(key, one.entry) else { continue };
        let (first, second) = in_writing_order(other, one.entry);
        taken.insert(key, first);
        let name = &first.source.id.name;
        let message = format!("move \"{name}\" moves tenant \"{}\" already", one.model.tenant);
        let help = format!("wait until it has ended, or end it with `gridctl move rollback {name}`");
        cross.conflict(second, &Path::Root.key("tenant"), message, help, vec![first.source.id.clone()]);
    }
}
