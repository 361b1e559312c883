//! Grids by themselves.

use super::Check;
use crate::model::{Grid, Placement, RingPlacement};
use crate::path::Path;
use crate::raw;

/// The most points on the ring for a cell of weight 100.
const MAX_VIRTUAL_NODES: u32 = 10_000;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Grid) -> Option<Grid> {
    let at = Path::Root.key("cells");
    if raw.cells.is_empty() {
        let message = format!("grid \"{}\" has no cells", check.source.id.name);
        check.wrong_but(&at, message, "name at least one, such as cells: [eu-1]");
    }
    let cells = check.references(&at, &raw.cells);
    let placement = placement(check, raw.placement.as_ref());
    let mut cells = cells?;
    cells.sort();
    Some(Grid { name: check.source.id.name.clone(), cells, placement: placement? })
}

fn placement(check: &mut Check<'_>, raw: Option<&raw::Placement>) -> Option<Placement> {
    let default = RingPlacement::default();
    let Some(raw) = raw else { return Some(Placement::Ring(default)) };
    let at = Path::Root.key("placement");
    let virtual_nodes = check.number(
        &at.key("virtualNodes"),
        "virtualNodes",
        raw.virtual_nodes,
        1..=MAX_VIRTUAL_NODES,
        default.virtual_nodes,
    );
    let bounded_load = raw.bounded_load.unwrap_or(default.bounded_load);
    if !(bounded_load.is_finite() && bounded_load >= 1.0) {
        let message = format!("boundedLoad is {bounded_load}, so that the cells together could not take every bucket");
        check.wrong_but(&at.key("boundedLoad"), message, "write 1.0 or more, such as 1.25");
        return None;
    }
    match raw.algorithm.unwrap_or(raw::PlacementAlgorithm::Ring) {
        raw::PlacementAlgorithm::Ring => {
            Some(Placement::Ring(RingPlacement { virtual_nodes: virtual_nodes?, bounded_load }))
        }
    }
}
