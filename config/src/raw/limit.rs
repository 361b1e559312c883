use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named rate policy with a key. Requests with equal keys share one allowance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// When to send `RateLimit` and `RateLimit-Policy`. Default `always`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<HeadersWhen>,
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
}

/// Admit at a steady rate, with bursts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenBucket {
    /// Requests admitted over time, such as `100/s`, `30/m` or `1000/h`.
    pub rate: String,
    /// The most requests admitted at once. Default: what the rate gives in one second, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
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
