use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A customer: its pin to a cell, its plan and its own limit values. Tenants need no document unless they have one of
/// these.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tenant {
    /// The tenant's id, 1 to 128 bytes.
    pub name: String,
    /// The grid that `cell` belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<String>,
    /// The cell that serves this tenant, whatever the placement says: a pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// The plan whose limit values it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Values of its own for named limits, before those of the plan.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, LimitOverride>,
    /// Names of limits that all its requests must pass, beside those of listener, route, service and plan. A part of
    /// their key that a request lacks counts as empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_limits: Vec<String>,
}

/// Values of one's own for one limit: those that its algorithm has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitOverride {
    /// Requests admitted over time, such as `100/s`; bytes sent over time, such as `10MiB/s`, where the limit is one of
    /// bandwidth. Default: the limit's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// The most requests admitted at once, 1 to 1,000,000. Default: the limit's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Requests admitted in a window, or at the same time, 1 to 1,000,000; the `max` of `adaptiveConcurrency`. Default:
    /// the limit's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The longest time that a request waits for its turn, `0s` to `60s`. Default: the limit's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queueing: Option<String>,
}
