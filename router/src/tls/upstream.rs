//! TLS with endpoints: whom to believe, what to show, and the handshake.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use gridrouter_config::model::{ServiceTls as Document, UpstreamProtocol};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Connection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::stream::{Received, TlsStream};
use super::table::versions;
use crate::snapshot::EndpointPlan;

/// How much is received at once.
const READ: usize = 8192;
/// Sessions that are remembered for one service: one for each name that its endpoints are asked for.
const SESSIONS: usize = 256;

/// What is agreed on with the endpoints of a service.
#[derive(Debug)]
pub(crate) struct ServiceTls {
    config: Arc<ClientConfig>,
    /// The name that their certificates have to be for; without, it is their address.
    name: Option<ServerName<'static>>,
}

/// What an endpoint is offered to speak (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// All that the service says.
    All,
    /// HTTP/1.1 only.
    Http1,
}

impl ServiceTls {
    /// `roots` are those that the document says, or the system's.
    pub(crate) fn new(
        document: &Document,
        protocol: UpstreamProtocol,
        provider: &Arc<CryptoProvider>,
        roots: Arc<RootCertStore>,
        own: Option<Arc<CertifiedKey>>,
    ) -> Result<Self, String> {
        let name = document
            .server_name
            .as_ref()
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| format!("\"{name}\" is no name of a server")));
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider));
        let builder =
            builder.with_protocol_versions(versions(document.minimum_version)).map_err(|error| error.to_string())?;
        let verifier: Arc<dyn ServerCertVerifier> = if document.verify {
            let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider));
            builder.build().map_err(|error| error.to_string())?
        } else {
            Arc::new(Unverified(Arc::clone(provider)))
        };
        // Not by their names' looks: a verifier of one's own is what the builder calls dangerous.
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from((*own).clone()))),
            None => builder.with_no_client_auth(),
        };
        let names: &[&[u8]] = match protocol {
            UpstreamProtocol::Http1 => &[b"http/1.1"],
            UpstreamProtocol::H2 => &[b"h2"],
            UpstreamProtocol::Auto => &[b"h2", b"http/1.1"],
        };
        config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Self { config: Arc::new(config), name: name.transpose()? })
    }

    /// Shakes hands with an endpoint. An error of the kind `InvalidData` says what is wrong with what it sent.
    pub(crate) async fn connect(
        &self,
        mut socket: TcpStream,
        endpoint: &EndpointPlan,
        offer: Offer,
    ) -> io::Result<TlsStream> {
        let name = self.name.clone().or_else(|| name_of(endpoint));
        let name = name.ok_or_else(|| invalid("its certificate has to be for a name; write `tls: {serverName: …}`"))?;
        let config = Arc::clone(&self.config);
        let tls = match offer {
            Offer::All => ClientConnection::new(config, name),
            Offer::Http1 => ClientConnection::new_with_alpn(config, name, vec![b"http/1.1".to_vec()]),
        };
        let mut tls = tls.map_err(invalid)?;
        let mut received = BytesMut::new();
        loop {
            let mut bytes = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut bytes)?;
            }
            socket.write_all(&bytes).await?;
            if !tls.is_handshaking() {
                return Ok(TlsStream::new(socket, Connection::Client(tls)));
            }
            received.reserve(READ);
            socket.readable().await?;
            match socket.try_read_buf(&mut received) {
                Ok(0) => return Err(invalid("it closed the connection within the handshake")),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            while !received.is_empty() {
                if tls.read_tls(&mut Received(&mut received))? == 0 {
                    received.clear();
                }
                if let Err(error) = tls.process_new_packets() {
                    let mut alert = Vec::new();
                    // The endpoint is told as far as the socket takes it.
                    let _written: io::Result<usize> = tls.write_tls(&mut alert).and_then(|_| socket.try_write(&alert));
                    return Err(invalid(error));
                }
            }
        }
    }
}

/// What an endpoint's certificate has to be for, where the service has no name: the endpoint's own, or its address.
fn name_of(endpoint: &EndpointPlan) -> Option<ServerName<'static>> {
    match &endpoint.name {
        Some(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()).ok(),
        None => endpoint.address.socket().map(|address| ServerName::IpAddress(address.ip().to_canonical().into())),
    }
}

/// Whether a handshake failed because the endpoint speaks nothing of what it was offered.
pub(crate) fn has_no_common_protocol(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + Send + Sync + 'static)> = error.get_ref().map(|cause| cause as _);
    while let Some(error) = cause {
        if let Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) = error.downcast_ref() {
            return true;
        }
        cause = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).map(|cause| cause as _);
    }
    false
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Believes every certificate, as the document says; only that the endpoint has its key is checked.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
