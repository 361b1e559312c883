use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A socket that clients connect to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// The listener's name.
    pub name: String,
    /// Address and port to listen on, such as `0.0.0.0:8080` (every IPv4 address), `[::]:8080` (every address) or
    /// `127.0.0.1:0` (a free port).
    pub address: String,
    /// Networks whose `X-Forwarded-*` and `X-Request-Id` headers are believed, such as `10.0.0.0/8`. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// Which clients may come. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Clients>,
    /// What becomes of a request's headers whose names have an underscore. Default `drop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underscore_headers: Option<UnderscoreHeaders>,
    /// How long a client may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<ListenerTimeouts>,
    /// Names of limits that every request must pass, whether a route matches or not. Their keys have only parts that the
    /// request itself says: `clientIp`, `header`, `cookie`, `query` and `constant`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
}

/// How long a client may take.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTimeouts {
    /// From the first byte of a request to the end of its head. Default `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// How long a connection may stay open without a request. Default `75s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
    /// Longest pause while a request body is received. Default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_read: Option<String>,
    /// Longest pause while a client takes a response. Default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_write: Option<String>,
    /// How fast a client must be, at the least, that keeps the router waiting for longer than `bodyRead` or `bodyWrite` in
    /// all: bytes that it sends of a request's body, or takes of a response, for each second that it is waited for. Default
    /// `64B/s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_rate: Option<String>,
}

/// Which clients may come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Clients {
    /// Networks that clients may come from, such as `10.0.0.0/8`. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Networks that no client may come from, also where `allow` has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
    /// How many connections one address may have at the same time, an IPv6 network of 64 bits counting as one address.
    /// Trusted proxies may have any number. 1 to 1,000,000. Default: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

/// What becomes of a request's headers whose names have an underscore: behind CGI and its kin, `X_Own` and `X-Own` are the
/// same variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnderscoreHeaders {
    /// They are removed, as if they had not been sent.
    Drop,
    /// The request is refused with 400.
    Reject,
    /// They are passed on, those excepted that would pass for a header that the router answers for.
    Pass,
}
