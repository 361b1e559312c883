use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LimitOverride;

/// What customers buy: limit values that many tenants share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The plan's name, by which tenants refer to it.
    pub name: String,
    /// Values of its own for named limits, which count by tenant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, LimitOverride>,
    /// Names of limits that all requests of its tenants must pass, beside those of listener, route and service. A part
    /// of their key that a request lacks counts as empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_limits: Vec<String>,
}
