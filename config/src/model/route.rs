use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use regex::Regex;

use crate::ids::Name;
pub use crate::raw::CertificateField;

/// A match on the request, and what happens to it.
#[derive(Debug, Clone)]
pub struct Route {
    /// The route's name.
    pub name: Name,
    /// The listeners it is served on; empty means all.
    pub listeners: Vec<Name>,
    /// Hosts, any of which matches; empty means any host.
    pub hosts: Vec<HostPattern>,
    /// Paths, any of which matches; never empty (`Prefix("/")` where the document has none).
    pub paths: Vec<PathMatch>,
    /// Methods, any of which matches; empty means all.
    pub methods: Vec<Method>,
    /// Conditions on headers, all of which must hold.
    pub headers: Vec<HeaderMatch>,
    /// Conditions on query parameters, all of which must hold.
    pub query: Vec<QueryMatch>,
    /// What happens to the request.
    pub action: Action,
    /// Changes to the response's headers.
    pub response_headers: HeaderEdits,
    /// Limits, all of which must admit the request. They apply to every action.
    pub limits: Vec<Name>,
    /// Where the tenant's id is found, if the route has tenants.
    pub tenant: Option<TenantRule>,
    /// How many bytes a request's body may have.
    pub max_body: Option<u64>,
}

/// A host that a route serves, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// Hosts with one or more labels before this suffix, which is kept without `*.`: `example.com` for `*.example.com`.
    Wildcard(String),
}

/// One way for a path to match.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The path or anything below it; kept without a trailing slash, except `/` itself.
    Prefix(String),
    /// A regular expression, anchored at both ends by the check.
    Regex(Regex),
}

/// A condition on a value.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// The value is there.
    Present,
    /// The whole value.
    Exact(String),
    /// A regular expression, anchored at both ends by the check.
    Regex(Regex),
}

/// A condition on a header.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    /// The header's name.
    pub name: HeaderName,
    /// What its value must be.
    pub value: ValueMatch,
}

/// A condition on a query parameter.
#[derive(Debug, Clone)]
pub struct QueryMatch {
    /// The parameter's name, percent-decoded.
    pub name: String,
    /// What its value must be, percent-decoded.
    pub value: ValueMatch,
}

/// What happens to a request that matched.
#[derive(Debug, Clone)]
pub enum Action {
    /// It is sent to a service.
    Forward(Box<Forward>),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// The client gets this answer.
    Respond(FixedResponse),
}

/// Where and how a request is sent on.
#[derive(Debug, Clone)]
pub struct Forward {
    /// The grid whose cells serve it; without one it goes direct to the service's `endpoints`.
    pub grid: Option<Name>,
    /// The service.
    pub service: Name,
    /// How long the upstream may take.
    pub timeouts: RouteTimeouts,
    /// Replaces the prefix that matched; all of the route's paths are prefixes then.
    pub prefix_rewrite: Option<String>,
    /// The `Host` sent upstream.
    pub host_rewrite: Option<HeaderValue>,
    /// Protocols that a client may change to.
    pub upgrades: Vec<Upgrade>,
    /// Whether gRPC-Web is translated to gRPC, and back.
    pub grpc_web: bool,
    /// Changes to the request's headers.
    pub request_headers: HeaderEdits,
}

/// A protocol that a client may change to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgrade {
    /// WebSocket (RFC 6455), whose opening handshake is checked.
    Websocket,
    /// Any other, in lower case, with its version if it has one.
    Other(String),
}

impl Upgrade {
    /// What stands in `Upgrade`.
    pub fn token(&self) -> &str {
        match self {
            Self::Websocket => "websocket",
            Self::Other(token) => token,
        }
    }
}

/// Where the tenant's id is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRule {
    /// Places to look, in order, at least one.
    pub from: Vec<TenantSource>,
    /// What to do when none holds an id.
    pub otherwise: Otherwise,
}

/// A place where a tenant's id may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantSource {
    /// The value of a header.
    Header(HeaderName),
    /// A label of the host, from the left, starting at 0.
    HostLabel(u8),
    /// A segment of the path, starting at 0.
    PathSegment(u8),
    /// The value of a query parameter.
    Query(String),
    /// The value of a cookie.
    Cookie(String),
    /// What the client's certificate says.
    ClientCertificate(CertificateField),
}

/// What to do with a request that names no tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Otherwise {
    /// Refuse it.
    Reject,
    /// Treat it as this tenant's.
    Tenant(Name),
}

/// How long the upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// To establish a connection.
    pub connect: Duration,
    /// From the request sent to the head of the response.
    pub response_head: Duration,
    /// The whole request, if bounded.
    pub request: Option<Duration>,
    /// Longest pause while the upstream sends a response body.
    pub response_body: Duration,
    /// Longest time in which nothing passes either way through an upgraded connection.
    pub tunnel_idle: Duration,
    /// How long an unused connection to the upstream is kept.
    pub upstream_idle: Duration,
}

impl Default for RouteTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            response_head: Duration::from_secs(30),
            request: None,
            response_body: Duration::from_mins(1),
            tunnel_idle: Duration::from_hours(1),
            upstream_idle: Duration::from_secs(4),
        }
    }
}

/// Changes to headers, in the order remove, set, add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Headers to remove.
    pub remove: Vec<HeaderName>,
    /// Headers to replace or add.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Header lines to add.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// The client is sent elsewhere. What is `None` is taken from the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The new host.
    pub host: Option<String>,
    /// The new port.
    pub port: Option<u16>,
    /// The new path.
    pub path: RedirectPath,
}

/// The path of a redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectPath {
    /// As in the request.
    Keep,
    /// This path.
    Replace(String),
    /// The prefix that matched is replaced.
    ReplacePrefix(String),
}

/// The client gets this answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedResponse {
    /// The status, 200 to 599.
    pub status: StatusCode,
    /// The body.
    pub body: String,
    /// The body's `Content-Type`.
    pub content_type: HeaderValue,
}
