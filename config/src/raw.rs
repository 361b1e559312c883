//! The documents exactly as written, one file a kind. Nothing here has been checked beyond its shape; the same types
//! generate the JSON Schema, so a field exists in one place only.

mod cell;
mod grid;
mod limit;
mod listener;
mod route;
mod service;
mod tenant;

pub use cell::Cell;
pub use grid::{Grid, Placement};
pub use limit::{Limit, LimitKeyPart, TokenBucket};
pub use listener::{Listener, ListenerTimeouts};
pub use route::{
    FixedResponse, HeaderEdits, HeaderMatch, Otherwise, PathMatch, QueryMatch, Redirect, Rewrite, Route, RouteTimeouts,
    TenantRule, TenantSource,
};
pub use service::{Balance, Endpoint, Service, Tracks};
pub use tenant::{LimitOverride, Tenant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One configuration document of any kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum Document {
    /// A socket that clients connect to.
    Listener(Listener),
    /// A set of cells and the placement policy over them.
    Grid(Grid),
    /// One isolated copy of the services.
    Cell(Cell),
    /// A named backend that every cell has.
    Service(Service),
    /// A match on the request, and what happens to it.
    Route(Route),
    /// A named rate policy with a key.
    Limit(Limit),
    /// A customer: its pin to a cell and its own limit values.
    Tenant(Tenant),
}
