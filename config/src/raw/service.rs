use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Authorities, TlsVersion};
use crate::track::Track;

/// A named backend that every cell has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// The service's name.
    pub name: String,
    /// The `Host` sent to a cell's ingress. Required where a cell is reached through its ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How requests are spread over the endpoints of one cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// The endpoints in each cell; a cell that is not listed is reached through its ingress.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cells: BTreeMap<String, Tracks>,
    /// The endpoints for routes without a grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Tracks>,
    /// Names of limits that requests to it must pass, whatever the route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// Speak TLS with its endpoints, and with the ingress of cells. Default: HTTP in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServiceTls>,
    /// Say with the PROXY protocol, ahead of everything else on a connection, whose requests it carries: the address that the
    /// client's connection to the router comes from. Such connections carry the requests of one connection only. Default: nothing
    /// is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyVersion>,
    /// The version of HTTP that is spoken with its endpoints, and with the ingress of cells. Default `http1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<UpstreamProtocol>,
}

/// The version of HTTP that is spoken with endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: with `tls` the endpoint has to agree to it (ALPN), and in clear it has to know (prior knowledge).
    H2,
    /// With `tls`, HTTP/2 where the endpoint agrees to it, else HTTP/1.1. In clear it is HTTP/1.1.
    Auto,
}

/// TLS with endpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceTls {
    /// The name that is asked for (SNI), and that the endpoint's certificate has to be for. Default: the service's `host`, and
    /// without one the endpoint's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Who vouches for the endpoints' certificates. Default: whom the router's system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<Authorities>,
    /// Whether certificates are checked at all. Without, whoever sits between may read and change everything. Default `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// Name of the certificate that is shown to endpoints that ask for one. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// The oldest version that is spoken. Default `tls1.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_version: Option<TlsVersion>,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How requests are spread over the endpoints of one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Balance {
    /// The algorithm. Default `smooth-weighted-round-robin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<BalanceAlgorithm>,
    /// Failures within `failTimeout` after which an endpoint is left out; 0 means never. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fails: Option<u32>,
    /// How long a failed endpoint is left out, in whole seconds. Default `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_timeout: Option<String>,
}

/// The two versions of a service in one place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tracks {
    /// Endpoints of the blue version. An empty list means that they register themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue: Option<Vec<Endpoint>>,
    /// Endpoints of the green version. An empty list means that they register themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub green: Option<Vec<Endpoint>>,
    /// Which of the two is in use. The other one gets no traffic without a shift, which changes this field when it has
    /// succeeded. Default `blue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Track>,
}

/// An address that serves one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// IP address and port, such as `10.0.0.7:8080` or `[fd00::7]:8080`; a name in DNS and a port, such as
    /// `orders.eu-1.example.com:8080`, all of whose addresses are used and share the weight; or `unix:` and the absolute path
    /// of a socket on the router's own machine.
    pub address: String,
    /// Share of the requests relative to its neighbours (1 to 10,000). Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Used only when no other endpoint can be. Default `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
    /// Taken out of use without being removed. Default `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<bool>,
    /// Most requests at a time from one router thread; 0 means no bound. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

/// How requests are spread over the endpoints of one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BalanceAlgorithm {
    /// In turn, by weight, evenly interleaved.
    SmoothWeightedRoundRobin,
}
