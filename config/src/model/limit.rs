use http::{HeaderName, StatusCode};

use super::{Algorithm, LimitOverride};
use crate::ids::Name;

/// A named rate or concurrency policy with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The limit's name, to which what was counted belongs.
    pub name: Name,
    /// What is counted apart, at least one part, without duplicates.
    pub key: Vec<LimitKeyPart>,
    /// How requests are admitted.
    pub algorithm: Algorithm,
    /// Values that are counted beside those in force, and refuse nobody.
    pub candidate: Option<LimitOverride>,
    /// What follows from a refusal.
    pub mode: LimitMode,
    /// How much one request counts.
    pub cost: Cost,
    /// The status of a refusal: 400 to 599.
    pub status: StatusCode,
    /// When clients are told of the limit.
    pub headers: HeadersWhen,
    /// Whether they are told in `X-RateLimit-Limit`, `-Remaining` and `-Reset` as well.
    pub legacy_headers: bool,
}

/// What follows from a limit's refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitMode {
    /// The request is refused.
    Enforce,
    /// It is counted and logged.
    Shadow,
}

/// How much one request counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// What it must find free, and takes, when it comes: at least 1.
    pub constant: u32,
    /// A header of the upstream's response that says what it cost. What that is above `constant` is charged
    /// afterwards, what it is below is given back.
    pub response_header: Option<HeaderName>,
}

impl Default for Cost {
    fn default() -> Self {
        Self { constant: 1, response_header: None }
    }
}

/// Something that a limit counts apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitKeyPart {
    /// The tenant.
    Tenant,
    /// The route.
    Route,
    /// The service.
    Service,
    /// The cell.
    Cell,
    /// The client's address (IPv6: its /64).
    ClientIp,
    /// The value of a request header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
    /// The value of a query parameter.
    Query(String),
    /// A text that is the same for all requests: it tells keys of one limit from those of no other, and one bucket for
    /// all requests is a key of nothing but a constant.
    Constant(String),
}

impl LimitKeyPart {
    /// Whether the request itself says it, so that it is known before a route is.
    pub fn is_of_the_request(&self) -> bool {
        match self {
            Self::ClientIp | Self::Header(_) | Self::Cookie(_) | Self::Query(_) | Self::Constant(_) => true,
            Self::Tenant | Self::Route | Self::Service | Self::Cell => false,
        }
    }
}

/// When clients are told of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadersWhen {
    /// With every response.
    Always,
    /// With refusals.
    Refused,
    /// Never.
    Never,
}
