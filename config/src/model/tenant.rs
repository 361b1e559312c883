use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::Name;
use crate::units::{ByteRate, Rate};

/// A customer with a document of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// The tenant's id.
    pub name: Name,
    /// Its pin to a cell.
    pub pin: Option<Pin>,
    /// What it says of limits.
    pub limits: TenantLimits,
}

/// What a tenant says of limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// The plan whose values it has.
    pub plan: Option<Name>,
    /// Its own values for named limits, before those of the plan.
    pub overrides: BTreeMap<Name, LimitOverride>,
    /// Limits that all its requests meet, beside those of listener, route, service and plan.
    pub extra: Vec<Name>,
}

/// An explicit tenant → cell entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The grid.
    pub grid: Name,
    /// A cell of that grid.
    pub cell: Name,
}

/// Values of one's own for one limit; what is `None` is taken from the limit. Never all of them `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitOverride {
    /// Requests admitted over time.
    pub rate: Option<Rate>,
    /// Bytes sent over time, where the limit is one of bandwidth.
    pub byte_rate: Option<ByteRate>,
    /// The most requests admitted at once, at least 1.
    pub burst: Option<u32>,
    /// Requests admitted in a window, or at the same time, at least 1.
    pub limit: Option<u32>,
    /// The longest time that a request waits for its turn.
    pub max_queueing: Option<Duration>,
}

impl LimitOverride {
    /// These values, and what they do not say from others.
    #[must_use]
    pub fn or(self, other: &LimitOverride) -> LimitOverride {
        LimitOverride {
            rate: self.rate.or(other.rate),
            byte_rate: self.byte_rate.or(other.byte_rate),
            burst: self.burst.or(other.burst),
            limit: self.limit.or(other.limit),
            max_queueing: self.max_queueing.or(other.max_queueing),
        }
    }
}
