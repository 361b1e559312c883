use std::collections::BTreeMap;

use crate::ids::Name;
use crate::units::Rate;

/// A customer with a document of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// The tenant's id.
    pub name: Name,
    /// Its pin to a cell.
    pub pin: Option<Pin>,
    /// Its own values for named limits.
    pub limits: BTreeMap<Name, LimitOverride>,
}

/// An explicit tenant → cell entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The grid.
    pub grid: Name,
    /// A cell of that grid.
    pub cell: Name,
}

/// A tenant's own values for one limit; what is `None` is taken from the limit. Never both `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitOverride {
    /// Requests admitted over time.
    pub rate: Option<Rate>,
    /// The most requests admitted at once, at least 1.
    pub burst: Option<u32>,
}
