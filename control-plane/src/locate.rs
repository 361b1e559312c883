//! Where a tenant lives, computed from the documents by the very code that the router asks.

use gridrouter::placement::{Assignment, bucket_of, ring};
use gridrouter_config::ids::Name;
use gridrouter_config::model::{CellState, Grid, Model, Placement};
use serde::Serialize;

/// Answers for one grid.
pub struct Locator<'a> {
    model: &'a Model,
    grid: &'a Grid,
    candidates: Vec<ring::Candidate<'a>>,
    assignment: Assignment,
}

/// Where one tenant lives. Its JSON form is part of the command's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Location<'a> {
    /// The tenant's id.
    pub tenant: &'a str,
    /// Its bucket.
    pub bucket: u16,
    /// Its cell; none when the grid has no active cell, which the check of documents refuses.
    pub cell: Option<&'a str>,
    /// What decided.
    pub by: By,
    /// The cell's state, when it is not `active`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
}

/// What decided on a tenant's cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The assignment of its bucket.
    Assignment,
    /// A pin in its document.
    Pin,
}

impl By {
    /// The word that people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            By::Assignment => "assignment",
            By::Pin => "pin",
        }
    }
}

impl<'a> Locator<'a> {
    /// Computes the grid's assignment over its active cells.
    pub fn new(model: &'a Model, grid: &'a Grid) -> Self {
        let cells = grid.cells.iter().filter_map(|name| model.cells.get(name));
        let active = cells.filter(|cell| cell.state == CellState::Active);
        let candidates: Vec<_> =
            active.map(|cell| ring::Candidate { name: cell.name.as_str(), weight: cell.weight }).collect();
        let assignment = match grid.placement {
            Placement::Ring(ring) => ring::assign(&candidates, ring.virtual_nodes, ring.bounded_load),
        };
        Self { model, grid, candidates, assignment }
    }

    /// Where this tenant lives.
    pub fn locate<'b>(&'b self, tenant: &'b Name) -> Location<'b> {
        let bucket = bucket_of(tenant.as_str().as_bytes());
        let pin = self.model.tenants.get(tenant.as_str()).and_then(|tenant| tenant.pin());
        let tenant = tenant.as_str();
        if let Some(pin) = pin.filter(|pin| pin.grid == self.grid.name) {
            let state = self.model.cells.get(&pin.cell).map(|cell| cell.state);
            let state = state.filter(|state| *state != CellState::Active).map(CellState::as_str);
            return Location { tenant, bucket, cell: Some(pin.cell.as_str()), by: By::Pin, state };
        }
        let cell = self.assignment.cell_of(bucket).and_then(|index| self.candidates.get(usize::from(index)));
        Location { tenant, bucket, cell: cell.map(|cell| cell.name), by: By::Assignment, state: None }
    }
}
