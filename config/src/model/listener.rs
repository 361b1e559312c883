use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::address::Address;
use crate::ids::Name;
pub use crate::raw::{CipherPolicy, ClientCertificateMode, TlsVersion};

/// A socket that clients connect to.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// The listener's name.
    pub name: Name,
    /// Where to listen.
    pub address: Address,
    /// Whom a socket in the file system lets connect: its permissions.
    pub socket_mode: u32,
    /// Networks whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who says by the PROXY protocol whose connections they pass on; nobody without.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Which clients may come.
    pub clients: Clients,
    /// What becomes of a request's headers whose names have an underscore.
    pub underscore_headers: UnderscoreHeaders,
    /// How long a client may take.
    pub timeouts: ListenerTimeouts,
    /// Limits that every request must pass, whether a route matches or not. Their keys have only parts that the request
    /// itself says.
    pub limits: Vec<Name>,
    /// HTTP/2 beside HTTP/1.1.
    pub http2: ListenerHttp2,
    /// Speaks TLS, as this says; HTTP in clear without.
    pub tls: Option<ListenerTls>,
}

/// HTTP/2 on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerHttp2 {
    /// Whether it is spoken at all.
    pub enabled: bool,
    /// How many requests one connection may have at the same time.
    pub max_streams: u32,
}

impl Default for ListenerHttp2 {
    fn default() -> Self {
        Self { enabled: true, max_streams: 128 }
    }
}

/// Who says by the PROXY protocol whose connections they pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Networks that every connection must begin with a header from.
    pub from: Vec<IpNet>,
}

/// Which clients may come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clients {
    /// Networks that clients may come from; empty means any.
    pub allow: Vec<IpNet>,
    /// Networks that no client may come from, also where `allow` has them.
    pub deny: Vec<IpNet>,
    /// How many connections one address, or IPv6 network of 64 bits, may have at the same time.
    pub max_connections: Option<u32>,
}

impl Clients {
    /// Whether a client with this address, in canonical form, may come.
    #[must_use]
    pub fn admit(&self, client: IpAddr) -> bool {
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&client));
        (self.allow.is_empty() || is_in(&self.allow)) && !is_in(&self.deny)
    }

    /// Whether a client with any address may come.
    #[must_use]
    pub fn admit_all(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

/// What becomes of a request's headers whose names have an underscore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnderscoreHeaders {
    /// They are removed, as if they had not been sent.
    #[default]
    Drop,
    /// The request is refused.
    Reject,
    /// They are passed on, those excepted that would pass for a header that the router answers for.
    Pass,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// From the first byte of a request to the end of its head, and for a PROXY header.
    pub head: Duration,
    /// How long a connection may stay open without a request.
    pub idle: Duration,
    /// Longest pause while a request body is received.
    pub body_read: Duration,
    /// Longest pause while a client takes a response.
    pub body_write: Duration,
    /// Bytes of a body for each second that a client is waited for, where that is longer than a pause may be.
    pub min_rate: u64,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_read: Duration::from_secs(30),
            body_write: Duration::from_secs(30),
            min_rate: 64,
        }
    }
}

/// TLS on a listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerTls {
    /// The certificates to choose from; empty: all.
    pub certificates: Vec<Name>,
    /// The certificate for clients that name no host, or one that no certificate is for.
    pub default: Option<Name>,
    /// The oldest version that is spoken.
    pub minimum_version: TlsVersion,
    /// Which cipher suites and key exchanges are offered.
    pub ciphers: CipherPolicy,
    /// Certificates of clients, if any are asked for.
    pub client_certificates: Option<ClientCertificates>,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

/// Certificates of clients.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientCertificates {
    /// Whether clients without one are served.
    pub mode: ClientCertificateMode,
    /// Who vouches for them.
    pub authorities: Authorities,
    /// Headers that tell endpoints of them.
    pub forward: ForwardedCertificate,
}

/// Certificates of authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorities {
    /// In a PEM file of each router.
    File(PathBuf),
    /// In PEM. They have been read once.
    Inline(String),
}

/// Headers that tell of a client's certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForwardedCertificate {
    /// Gets the subject.
    pub subject: Option<HeaderName>,
    /// Gets the subject's other names.
    pub san: Option<HeaderName>,
    /// Gets the SHA-256 of the certificate.
    pub fingerprint: Option<HeaderName>,
    /// Gets the certificate itself.
    pub certificate: Option<HeaderName>,
}

impl ForwardedCertificate {
    /// The names of all of them.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        [&self.subject, &self.san, &self.fingerprint, &self.certificate].into_iter().flatten()
    }
}
