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
}
