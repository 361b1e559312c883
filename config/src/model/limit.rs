use http::HeaderName;

use crate::ids::Name;
use crate::units::Rate;

/// A named rate policy with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The limit's name, to which what was counted belongs.
    pub name: Name,
    /// What is counted apart, at least one part, without duplicates.
    pub key: Vec<LimitKeyPart>,
    /// How requests are admitted.
    pub algorithm: Algorithm,
    /// When clients are told of the limit.
    pub headers: HeadersWhen,
}

/// How requests are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// At a steady rate, with bursts.
    TokenBucket(TokenBucket),
}

/// At a steady rate, with bursts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Requests admitted over time.
    pub rate: Rate,
    /// The most requests admitted at once, at least 1.
    pub burst: u32,
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
