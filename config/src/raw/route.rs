use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A match on the request, and what happens to it: exactly one of `service`, `redirect` and `respond`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// The route's name.
    pub name: String,
    /// Names of the listeners it is served on. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
    /// Host names, exact or `*.example.com` (one or more labels). Default: any host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Paths in normal form, any of which matches. Default: every path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathMatch>,
    /// Methods, any of which matches. Default: every method.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Header conditions, all of which must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// Query parameter conditions, all of which must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<QueryMatch>,
    /// Where the tenant's id is found. Required with a grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantRule>,
    /// The grid whose cells serve this route. Without one the request goes direct to the service's `endpoints`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<String>,
    /// The service that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Names of the limits that apply, all of which must admit the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// How large a request's body may be, such as `10MiB`. Default: any size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<String>,
    /// How long the upstream may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<RouteTimeouts>,
    /// Protocols that a client may change to, on its connection by HTTP/1.1's `Upgrade` or on a stream by HTTP/2's CONNECT (RFC
    /// 8441). Default: `[websocket]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrades: Option<Vec<String>>,
    /// Translate gRPC-Web, which browsers speak, to gRPC and back. The service has to be `protocol: h2` or `auto`. Default: no; it
    /// is passed on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_web: Option<bool>,
    /// What to change in the request's path and host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// Changes to the request's headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<HeaderEdits>,
    /// Changes to the response's headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<HeaderEdits>,
    /// Answer with a redirect instead of forwarding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Answer with a fixed response instead of forwarding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<FixedResponse>,
}

/// One way for a path to match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The path itself or anything below it: `/a` matches `/a`, `/a/` and `/a/b`, not `/ab`.
    Prefix(String),
    /// A regular expression that must match the whole path.
    Regex(String),
}

/// A condition on a header. With neither `exact` nor `regex`, the header must be present.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderMatch {
    /// The header's name, in any case.
    pub name: String,
    /// The exact value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// A regular expression that must match the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
}

/// A condition on a query parameter. With neither `exact` nor `regex`, the parameter must be present.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueryMatch {
    /// The parameter's name, after percent-decoding.
    pub name: String,
    /// The exact value, after percent-decoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// A regular expression that must match the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
}

/// Where the tenant's id is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantRule {
    /// Places to look, in order; the first that holds an id wins.
    pub from: Vec<TenantSource>,
    /// What to do when none holds one. Default `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Otherwise>,
}

/// A place where a tenant's id may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TenantSource {
    /// The value of this header.
    Header(String),
    /// A label of the host, counted from the left, starting at 0: 0 of `acme.shop.example.com` is `acme`.
    HostLabel(u8),
    /// A segment of the path, starting at 0: 1 of `/t/acme/orders` is `acme`.
    PathSegment(u8),
    /// The value of this query parameter.
    Query(String),
    /// The value of this cookie.
    Cookie(String),
    /// What the client's certificate says, on a listener that asks for it. Whoever has a good one is believed.
    ClientCertificate(CertificateField),
}

/// A part of a certificate that names its owner. Several names of one kind are ambiguous, and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateField {
    /// The DNS name.
    SanDns,
    /// The URI, such as `spiffe://example/acme`.
    SanUri,
    /// The mail address.
    SanEmail,
    /// The common name of the subject.
    CommonName,
}

/// What to do with a request that names no tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Otherwise {
    /// Refuse it with 400.
    Reject,
    /// Treat it as this tenant's.
    Tenant(String),
}

/// How long the upstream may take.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteTimeouts {
    /// To establish a connection. Default `2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<String>,
    /// From the request sent to the head of the response. Default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_head: Option<String>,
    /// The whole request, from its head received to the last byte of the response. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Longest pause while the upstream sends a response body. Default `60s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_body: Option<String>,
    /// How long a connection that was upgraded (a WebSocket) may stay open while nothing passes either way. Default `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_idle: Option<String>,
    /// How long an unused connection to the upstream is kept. Default `4s` (below the 5 s of common servers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_idle: Option<String>,
}

/// What to change in the request's path and host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rewrite {
    /// Replaces the prefix that matched. Needs `paths` that are all prefixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The `Host` sent upstream. Default: the client's, or the service's `host` at a cell's ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// Changes to headers, in the order remove, set, add.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderEdits {
    /// Replace the header, or add it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Add one more line of the header.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
    /// Remove every line of the header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// Answer with a redirect. What is not given is taken from the request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308. Default 302.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The scheme of the new location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The host of the new location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port of the new location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The whole new path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Replaces the prefix that matched; not together with `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// Answer with a fixed response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FixedResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body. Default: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body's `Content-Type`. Default `text/plain; charset=utf-8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// The scheme of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}
