use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Endpoint;

/// One isolated copy of the services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cell {
    /// The cell's name.
    pub name: String,
    /// Size relative to the grid's other cells (1 to 10,000). Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Who may be placed here. Default `active`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<CellState>,
    /// Free labels for people and tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How to reach services that list no endpoints of their own in this cell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Endpoint>,
}

/// Who may be placed on a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CellState {
    /// Everybody.
    Active,
    /// Only tenants pinned to it.
    Draining,
    /// Nobody.
    Offline,
}
