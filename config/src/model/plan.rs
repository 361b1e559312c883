use std::collections::BTreeMap;

use super::LimitOverride;
use crate::ids::Name;

/// What customers buy: limit values that many tenants share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The plan's name.
    pub name: Name,
    /// Its own values for named limits.
    pub limits: BTreeMap<Name, LimitOverride>,
    /// Limits that all requests of its tenants meet, beside those of listener, route and service.
    pub extra_limits: Vec<Name>,
}
