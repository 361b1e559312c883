use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::ids::Name;
pub use crate::raw::{CipherPolicy, ClientCertificateMode, TlsVersion};

/// A socket that clients connect to.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// The listener's name.
    pub name: Name,
    /// Address and port to listen on.
    pub address: SocketAddr,
    /// Networks whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a client may take.
    pub timeouts: ListenerTimeouts,
    /// Limits that every request must pass, whether a route matches or not. Their keys have only parts that the request
    /// itself says.
    pub limits: Vec<Name>,
    /// Speaks TLS, as this says; HTTP in clear without.
    pub tls: Option<ListenerTls>,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// How long a connection may stay open without a request.
    pub idle: Duration,
    /// Longest pause while a request body is received.
    pub body_read: Duration,
    /// Longest pause while a client takes a response.
    pub body_write: Duration,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_read: Duration::from_secs(30),
            body_write: Duration::from_secs(30),
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
