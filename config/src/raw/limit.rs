use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AdaptiveConcurrency, Bandwidth, Concurrency, FixedWindow, LeakyBucketMeter, LeakyBucketQueue, LimitOverride,
    SlidingWindow, TokenBucket, WarmUp,
};

/// A named rate or concurrency policy with a key, and exactly one algorithm. Requests with equal keys share one
/// allowance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// The limit's name; what was counted belongs to it, so a renamed limit starts afresh.
    pub name: String,
    /// What is counted apart: any combination of the parts. Default: `[tenant]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<LimitKeyPart>,
    /// Admit at a steady rate, with bursts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_bucket: Option<TokenBucket>,
    /// Admit at a steady rate and evenly spaced: who comes too early waits for its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaky_bucket_queue: Option<LeakyBucketQueue>,
    /// Admit at a steady rate, with bursts part of which may be slowed down to the rate, as nginx's `limit_req` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaky_bucket_meter: Option<LeakyBucketMeter>,
    /// Admit so many in any period of a given length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<SlidingWindow>,
    /// Admit so many in each period of a given length, of which one begins where another ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_window: Option<FixedWindow>,
    /// Admit at a rate that begins low and rises while it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUp>,
    /// Admit so many at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Admit as many at the same time as can be served without their becoming slower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive_concurrency: Option<AdaptiveConcurrency>,
    /// Send so many bytes of response bodies over time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// Values to try out: they are counted beside those in force, and refuse nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<LimitOverride>,
    /// What follows from a refusal. Default `enforce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<LimitMode>,
    /// How much one request counts: a number, or a number and a header of the response. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// The status of a refusal, 400 to 599. Default 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// When to send `RateLimit` and `RateLimit-Policy`. Default `always`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<HeadersWhen>,
    /// Send `X-RateLimit-Limit`, `-Remaining` and `-Reset` as well. Default `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_headers: Option<bool>,
}

/// Something that a limit counts apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LimitKeyPart {
    /// The tenant.
    Tenant,
    /// The route.
    Route,
    /// The service.
    Service,
    /// The cell.
    Cell,
    /// The client's address (IPv6: its /64), as the trust rule of the listener finds it.
    ClientIp,
    /// The value of this request header.
    Header(String),
    /// The value of this cookie; case matters.
    Cookie(String),
    /// The value of this query parameter; case matters.
    Query(String),
    /// A text of 1 to 128 bytes that is the same for all requests: a key of nothing else is one allowance for all.
    Constant(String),
}

/// What follows from a limit's refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LimitMode {
    /// The request is refused.
    Enforce,
    /// It is counted and logged, and the request passes.
    Shadow,
}

/// How much one request counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Cost {
    /// So much, 1 to 1,000,000.
    Constant(u32),
    /// So much when it comes, and what a header of the response says afterwards.
    Parts(CostParts),
}

/// How much one request counts, in parts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CostParts {
    /// What it takes when it comes, 1 to 1,000,000. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constant: Option<u32>,
    /// A header of the upstream's response that says what the request cost. What that is above `constant` is charged
    /// afterwards, what it is below is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header: Option<String>,
}

/// When clients are told of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeadersWhen {
    /// With every response.
    Always,
    /// With refusals.
    Refused,
    /// Never.
    Never,
}
