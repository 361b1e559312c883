//! TLS for the benchmark: one certificate for every proxy, and a client that offers one way only, so that all do the same
//! work: TLS 1.3, X25519, ECDSA with P-256, AES-128-GCM.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::{Context, Result};

/// The file of the certificate.
pub const CHAIN: &str = "chain.pem";
/// The file of its key.
pub const KEY: &str = "key.pem";
/// Both in one file.
pub const BOTH: &str = "both.pem";

/// What a listener with TLS is to do, and what its clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// Every handshake is a full one.
    Full,
    /// Every handshake but a connection's first resumes a session.
    Resumed,
}

impl Sessions {
    fn resumption(self) -> Resumption {
        match self {
            Sessions::Full => Resumption::disabled(),
            Sessions::Resumed => Resumption::in_memory_sessions(64),
        }
    }
}

/// A client of one host.
#[derive(Clone)]
pub struct Client {
    connector: TlsConnector,
    host: ServerName<'static>,
    /// What its handshakes are.
    pub sessions: Sessions,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("host", &self.host).field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that trusts the certificate in a directory.
    pub fn new(directory: &Path, host: &str, sessions: Sessions) -> Result<Self> {
        let mut provider = default_provider();
        provider.kx_groups = vec![kx_group::X25519];
        provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        let certificate =
            CertificateDer::from_pem_file(directory.join(CHAIN)).context("cannot read the certificate")?;
        roots.add(certificate).context("cannot trust the certificate")?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = verifier.build().context("cannot trust the certificate")?;
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]);
        let config = config.context("no TLS 1.3")?.with_webpki_verifier(verifier);
        let mut config = config.with_no_client_auth();
        config.resumption = sessions.resumption();
        let host = ServerName::try_from(host.to_owned()).context("the host is no name")?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), host, sessions })
    }

    /// The same client, with a memory of its own.
    #[must_use]
    pub fn apart(self) -> Self {
        let mut config = (**self.connector.config()).clone();
        config.resumption = self.sessions.resumption();
        Self { connector: TlsConnector::from(Arc::new(config)), ..self }
    }

    /// The same client, offering these protocols (ALPN).
    #[must_use]
    pub fn offering(self, protocols: &[&[u8]]) -> Self {
        let mut config = (**self.connector.config()).clone();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self { connector: TlsConnector::from(Arc::new(config)), ..self }
    }

    /// The first bytes that the client says.
    pub(crate) fn hello(&self) -> io::Result<Vec<u8>> {
        let config = Arc::clone(self.connector.config());
        let mut tls = rustls::ClientConnection::new(config, self.host.clone()).map_err(io::Error::other)?;
        let mut bytes = Vec::new();
        tls.write_tls(&mut bytes)?;
        Ok(bytes)
    }

    /// Does the handshake.
    pub(crate) async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.host.clone(), stream).await
    }
}

/// Makes a certificate for a host, and writes it and its key.
pub fn write(directory: &Path, host: &str) -> Result<()> {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).context("cannot make a certificate")?;
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    for (name, text) in [(CHAIN, &chain), (KEY, &key), (BOTH, &format!("{chain}{key}"))] {
        std::fs::write(directory.join(name), text).context(format_args!("cannot write {name}"))?;
    }
    Ok(())
}
