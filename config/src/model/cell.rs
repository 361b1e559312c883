use std::collections::BTreeMap;

use super::Endpoint;
use crate::ids::Name;

/// One isolated copy of the services.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The cell's name.
    pub name: Name,
    /// Size relative to the grid's other cells, 1 to 10,000.
    pub weight: u32,
    /// Who may be placed here.
    pub state: CellState,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// How to reach services that list no endpoints of their own here.
    pub ingress: Vec<Endpoint>,
}

/// Who may be placed on a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellState {
    /// Everybody: it takes part in placement.
    Active,
    /// Only tenants pinned to it.
    Draining,
    /// Nobody: requests of tenants pinned to it are refused.
    Offline,
}

impl CellState {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            CellState::Active => "active",
            CellState::Draining => "draining",
            CellState::Offline => "offline",
        }
    }
}
