//! What handshakes look into: for each listener its certificates by host, and what is negotiated.

use std::sync::Arc;
use std::time::Duration;

use gridrouter_config::model::{CipherPolicy, HostPattern, TlsVersion};
use hashbrown::HashMap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use super::tickets::Scoped;
use super::upstream::ServiceTls;

/// Tickets that a client gets after a full handshake of TLS 1.3.
const TICKETS: usize = 2;

/// The protocols that clients may choose from, the best first. HTTP/2 comes before them where it is spoken.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];
/// HTTP/2 (RFC 9113 §3.2).
pub(crate) const HTTP2: &[u8] = b"h2";

/// Everything that handshakes are decided on.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The listeners, by their stable number. `None` where there is none with TLS, or where it is not known whom it should
    /// believe.
    pub(crate) listeners: Vec<Option<Arc<ListenerTls>>>,
    /// What is agreed on with endpoints, by the service. None where it is not known whom to believe.
    pub(crate) services: HashMap<Arc<str>, Arc<ServiceTls>>,
    /// The certificates, for people.
    pub(crate) certificates: Vec<CertificateView>,
    /// What else is wrong: listeners without authorities.
    pub(crate) faults: Vec<String>,
}

/// TLS on one listener.
#[derive(Debug)]
pub(crate) struct ListenerTls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) index: Arc<Index>,
    pub(crate) handshake_timeout: Duration,
}

/// A certificate as people see it.
#[derive(Debug, Clone)]
pub(crate) struct CertificateView {
    pub(crate) name: Arc<str>,
    /// When the first of its chain expires, in seconds since 1970; `None` if there is none that can be served.
    pub(crate) expires: Option<u64>,
    pub(crate) fingerprint: Option<String>,
    /// The hosts that it is chosen for.
    pub(crate) hosts: Vec<String>,
    /// What is wrong with what is there now.
    pub(crate) fault: Option<String>,
}

impl Table {
    pub(crate) fn listener(&self, id: u32) -> Option<&Arc<ListenerTls>> {
        self.listeners.get(id as usize)?.as_ref()
    }
}

/// Certificates by host. Those for one host differ in their kind of key.
#[derive(Debug, Default)]
pub(crate) struct Index {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what is behind the first label.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Index {
    pub(crate) fn add(&mut self, host: &HostPattern, key: &Arc<CertifiedKey>) {
        let keys = match host {
            HostPattern::Exact(name) => self.exact.entry_ref(name.as_str()).or_default(),
            HostPattern::Wildcard(suffix) => self.wildcard.entry_ref(suffix.as_str()).or_default(),
        };
        keys.push(Arc::clone(key));
    }

    pub(crate) fn set_default(&mut self, key: Arc<CertifiedKey>) {
        self.default = Some(key);
    }

    /// The certificates for the host that a client names, in lower case: those for just that host, or else those with a
    /// wildcard in place of its first label, or else the default.
    fn find(&self, host: Option<&str>) -> &[Arc<CertifiedKey>] {
        let named = host.and_then(|host| {
            let wildcard = || self.wildcard.get(host.split_once('.')?.1);
            self.exact.get(host).or_else(wildcard)
        });
        named.map_or(self.default.as_slice(), Vec::as_slice)
    }

    /// Whether there is no certificate for anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty() && self.default.is_none()
    }

    /// Whether there is a certificate for the host that a client names.
    pub(crate) fn has(&self, host: Option<&str>) -> bool {
        !self.find(host).is_empty()
    }
}

/// Chooses a certificate that the client can check.
#[derive(Debug)]
struct Resolver(Arc<Index>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.0.find(hello.server_name());
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        keys.iter().find(fits).or(keys.first()).cloned()
    }
}

/// The cipher suites and key exchanges of a policy.
pub(crate) fn provider(policy: CipherPolicy) -> Arc<CryptoProvider> {
    use aws_lc_rs::cipher_suite as suite;
    use aws_lc_rs::kx_group as group;
    let all = aws_lc_rs::default_provider();
    Arc::new(match policy {
        CipherPolicy::Compatible => all,
        CipherPolicy::Modern => CryptoProvider {
            cipher_suites: vec![
                suite::TLS13_AES_256_GCM_SHA384,
                suite::TLS13_CHACHA20_POLY1305_SHA256,
                suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
                suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            ],
            kx_groups: vec![group::X25519MLKEM768, group::X25519, group::SECP384R1],
            ..all
        },
    })
}

/// The versions that are spoken, from this one on.
pub(crate) fn versions(minimum: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    static NEW: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match minimum {
        TlsVersion::Tls12 => &BOTH,
        TlsVersion::Tls13 => &NEW,
    }
}

/// What a listener negotiates.
pub(crate) fn config(
    provider: &Arc<CryptoProvider>,
    minimum: TlsVersion,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    index: &Arc<Index>,
    tickets: Scoped,
    is_http2: bool,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(versions(minimum))?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Resolver(Arc::clone(index))));
    let best = Some(HTTP2).filter(|_| is_http2);
    config.alpn_protocols = best.into_iter().chain(PROTOCOLS).map(<[u8]>::to_vec).collect();
    config.ticketer = Arc::new(tickets);
    // Tickets are all that sessions are resumed by: nothing is kept for clients that do not come back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    Ok(Arc::new(config))
}
