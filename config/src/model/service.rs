use std::collections::BTreeMap;

use http::HeaderValue;

use super::{Authorities, TlsVersion};
use crate::address::EndpointAddress;
use crate::ids::Name;
pub use crate::raw::{ProxyVersion, UpstreamProtocol};
use crate::track::Track;

/// A named backend that every cell has.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// The service's name.
    pub name: Name,
    /// The `Host` sent to a cell's ingress.
    pub host: Option<HeaderValue>,
    /// How requests are spread over the endpoints of one cell.
    pub balance: Balance,
    /// The endpoints of its own in each cell; only cells that exist. Where the list of a track is empty, its endpoints register
    /// themselves.
    pub cells: BTreeMap<Name, Tracks>,
    /// The endpoints for routes without a grid.
    pub endpoints: Tracks,
    /// Limits that requests to it must pass, whatever the route.
    pub limits: Vec<Name>,
    /// Speaks TLS, as this says; HTTP in clear without.
    pub tls: Option<ServiceTls>,
    /// The version of the PROXY protocol by which endpoints are told of the client; nothing is said without.
    pub proxy_protocol: Option<ProxyVersion>,
    /// The version of HTTP that is spoken.
    pub protocol: UpstreamProtocol,
}

/// TLS with endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceTls {
    /// The name that is asked for, and that the endpoint's certificate has to be for; without, the endpoint's address.
    pub server_name: Option<String>,
    /// Who vouches for the endpoints' certificates; without, whom the system trusts.
    pub authorities: Option<Authorities>,
    /// Whether certificates are checked.
    pub verify: bool,
    /// The certificate that is shown to endpoints that ask for one.
    pub client_certificate: Option<Name>,
    /// The oldest version that is spoken.
    pub minimum_version: TlsVersion,
}

/// Smooth weighted round robin's handling of failures, as nginx has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Failures within `fail_timeout_secs` after which an endpoint is left out; 0 means never.
    pub max_fails: u32,
    /// How long a failed endpoint is left out, in whole seconds, at least 1.
    pub fail_timeout_secs: u32,
}

impl Default for Balance {
    fn default() -> Self {
        Self { max_fails: 1, fail_timeout_secs: 10 }
    }
}

/// The two versions of a service in one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracks {
    /// Endpoints of the blue version.
    pub blue: Vec<Endpoint>,
    /// Endpoints of the green version.
    pub green: Vec<Endpoint>,
    /// Which of the two is in use.
    pub active: Track,
}

impl Tracks {
    /// The endpoints that are listed on a track.
    pub fn of(&self, track: Track) -> &[Endpoint] {
        match track {
            Track::Blue => &self.blue,
            Track::Green => &self.green,
        }
    }
}

/// An address that serves one service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where it is; unique within its list.
    pub address: EndpointAddress,
    /// Share of the requests, 1 to 10,000.
    pub weight: u32,
    /// Used only when no other can be.
    pub backup: bool,
    /// Taken out of use.
    pub down: bool,
    /// Most requests at a time from one router thread; 0 means no bound.
    pub max_connections: u32,
}
