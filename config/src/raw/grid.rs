use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A set of cells and the placement policy over them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grid {
    /// The grid's name.
    pub name: String,
    /// Names of the cells, in any order. A cell belongs to one grid at most.
    pub cells: Vec<String>,
    /// How tenants without a pin are spread over the cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
}

/// How tenants without a pin are spread over the cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// The algorithm. Default `ring`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<PlacementAlgorithm>,
    /// Points on the ring for a cell of weight 100 (1 to 10,000). Default 160.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_nodes: Option<u32>,
    /// The most buckets a cell takes, as a multiple of its fair share (at least 1.0). Default 1.25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounded_load: Option<f64>,
}

/// How tenants without a pin are spread over the cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementAlgorithm {
    /// A weighted hash ring with virtual nodes and bounded load.
    Ring,
}
