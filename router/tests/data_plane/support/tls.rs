//! Clients that speak TLS, and the certificates for it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::PATIENCE;

/// An authority that makes certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    der: CertificateDer<'static>,
}

/// A certificate with its key, in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Self { pem: made.pem(), der: made.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for these hosts.
    pub(crate) fn certify(&self, hosts: &[&str]) -> Pair {
        self.certify_with(hosts, |_| {})
    }

    pub(crate) fn certify_with(&self, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Pair { chain: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// PEM as it stands in a document.
pub(crate) fn indented(pem: &str, by: usize) -> String {
    pem.lines().flat_map(|line| [" ".repeat(by), line.to_owned(), "\n".to_owned()]).collect()
}

impl Pair {
    /// The document that has it inline.
    pub(crate) fn document(&self, name: &str) -> String {
        let (chain, key) = (indented(&self.chain, 4), indented(&self.key, 4));
        format!("kind: Certificate\nname: {name}\ninline:\n  chain: |\n{chain}  key: |\n{key}")
    }

    /// Its serial number, which tells it from others.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        use rustls::pki_types::pem::PemObject;
        CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap()
    }
}

/// A client that trusts one authority and remembers its sessions.
#[derive(Clone)]
pub(crate) struct Trusting(Arc<ClientConfig>);

/// A connection of one.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
}

pub(crate) static TLS12: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
pub(crate) static TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
pub(crate) static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

impl Trusting {
    /// One that offers these protocols.
    pub(crate) fn offering(
        authority: &Authority,
        versions: &'static [&'static SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> Self {
        let mut config = (*Self::new(authority, versions, None).0).clone();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self(Arc::new(config))
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }

    pub(crate) fn new(
        authority: &Authority,
        versions: &'static [&'static SupportedProtocolVersion],
        own: Option<&Pair>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                use rustls::pki_types::pem::PemObject;
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![pair.der()], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }

    /// Shakes hands.
    pub(crate) fn try_connect(&self, address: SocketAddr, host: &str) -> std::io::Result<Secured> {
        self.try_connect_behind(b"", address, host)
    }

    /// Sends something and shakes hands then.
    pub(crate) fn try_connect_behind(&self, first: &[u8], address: SocketAddr, host: &str) -> std::io::Result<Secured> {
        let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        socket.write_all(first)?;
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut tls = ClientConnection::new(Arc::clone(&self.0), name).map_err(std::io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        Ok(Secured { stream: StreamOwned::new(tls, socket) })
    }

    #[track_caller]
    pub(crate) fn connect(&self, address: SocketAddr, host: &str) -> Secured {
        self.try_connect(address, host).unwrap()
    }
}

impl Secured {
    pub(crate) fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub(crate) fn shows(&self, pair: &Pair) -> bool {
        self.stream.conn.peer_certificates().unwrap()[0] == pair.der()
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self.stream.flush().unwrap();
        self
    }

    /// Reads one answer that says its length: the head and the body.
    pub(crate) fn try_answer(&mut self) -> std::io::Result<(String, Vec<u8>)> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((head, body))
    }

    pub(crate) fn try_get(&mut self, path: &str, lines: &str) -> std::io::Result<(String, Vec<u8>)> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n").as_bytes())?;
        self.try_answer()
    }

    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> (String, Vec<u8>) {
        self.try_get(path, "").unwrap()
    }
}

/// What an endpoint that speaks TLS saw of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) name: Option<String>,
    pub(crate) is_resumed: bool,
    pub(crate) shows_certificate: bool,
}

/// An endpoint that speaks TLS: answers every request with `hi`, and those for `/large` with a million bytes.
pub(crate) struct SecureUpstream {
    pub(crate) address: SocketAddr,
    seen: Arc<std::sync::Mutex<Vec<Seen>>>,
}

impl SecureUpstream {
    /// `partners` vouches for certificates of clients, which are required then. With `keeps` a connection is used for more than
    /// one request.
    pub(crate) fn start(pair: &Pair, partners: Option<&Authority>, keeps: bool) -> Self {
        use rustls::pki_types::pem::PemObject;
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(&BOTH).unwrap();
        let builder = match partners {
            None => builder.with_no_client_auth(),
            Some(partners) => {
                let mut roots = RootCertStore::empty();
                roots.add(partners.der.clone()).unwrap();
                let provider = Arc::new(aws_lc_rs::default_provider());
                let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(vec![pair.der()], key).unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (config, socket) = (Arc::new(config), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let address = socket.local_addr().unwrap();
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            while let Ok((socket, _)) = socket.accept() {
                let (config, log) = (Arc::clone(&config), Arc::clone(&log));
                // However it ends.
                std::thread::spawn(move || drop(serve(config, socket, &log, keeps)));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(
    config: Arc<rustls::ServerConfig>,
    mut socket: TcpStream,
    log: &std::sync::Mutex<Vec<Seen>>,
    keeps: bool,
) -> std::io::Result<()> {
    let mut tls = rustls::ServerConnection::new(config).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)?;
    }
    log.lock().unwrap().push(Seen {
        name: tls.server_name().map(str::to_owned),
        is_resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        shows_certificate: tls.peer_certificates().is_some(),
    });
    let mut stream = StreamOwned::new(tls, socket);
    loop {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |text| text.parse().unwrap())];
        stream.read_exact(&mut body)?;
        let mut is_over = !head.contains("\r\ntransfer-encoding: chunked\r\n");
        while !is_over {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                stream.read_exact(&mut byte)?;
                line.push(byte[0]);
            }
            let mut chunk = vec![0; usize::from_str_radix(str::from_utf8(&line).unwrap().trim_end(), 16).unwrap()];
            stream.read_exact(&mut chunk)?;
            stream.read_exact(&mut [0; 2])?;
            is_over = chunk.is_empty();
            body.append(&mut chunk);
        }
        let answer = if head.starts_with("GET /large") { vec![7; 1_000_000] } else { b"hi".to_vec() };
        let answer = if body.is_empty() { answer } else { body };
        let connection = if keeps { "" } else { "connection: close\r\n" };
        write!(stream, "HTTP/1.1 200 OK\r\n{connection}content-length: {}\r\n\r\n", answer.len())?;
        stream.write_all(&answer)?;
        if !keeps {
            stream.conn.send_close_notify();
            return stream.flush();
        }
    }
}
