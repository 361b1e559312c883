use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A socket that clients connect to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// The listener's name.
    pub name: String,
    /// Address and port to listen on, such as `0.0.0.0:8080` (every IPv4 address), `[::]:8080` (every address) or
    /// `127.0.0.1:0` (a free port); or `unix:` and the absolute path of a socket in the file system. Whoever comes by such a
    /// one has no address; where networks are listed, `unix` stands for it.
    pub address: String,
    /// Permissions of a socket in the file system, in octal digits: whoever may write to it may connect. Default `0660`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_mode: Option<String>,
    /// Networks whose `X-Forwarded-*` and `X-Request-Id` headers are believed, such as `10.0.0.0/8`. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// Read the PROXY protocol's header, version 1 or 2, ahead of TLS and HTTP. Default: nobody's is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Which clients may come. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Clients>,
    /// What becomes of a request's headers whose names have an underscore. Default `drop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underscore_headers: Option<UnderscoreHeaders>,
    /// How long a client may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<ListenerTimeouts>,
    /// Names of limits that every request must pass, whether a route matches or not. Their keys have only parts that the
    /// request itself says: `clientIp`, `header`, `cookie`, `query` and `constant`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// HTTP/2 beside HTTP/1.1. Default: it is spoken with clients that want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2: Option<ListenerHttp2>,
    /// Speak TLS. Default: HTTP in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
}

/// HTTP/2 on a listener: agreed on with TLS (ALPN), and in clear with clients that begin with it (prior knowledge).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerHttp2 {
    /// Whether it is spoken at all. Default `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How many requests one connection may have at the same time (1 to 1,000). Default 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_streams: Option<u32>,
}

/// Who says by the PROXY protocol whose connections they pass on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Networks of the proxies, such as `10.0.0.0/8`. Every connection from there must begin with a header, or it is
    /// closed; the address in it is the client's, for all purposes, `trustedProxies` among them. What comes from elsewhere
    /// is never read as a header.
    pub from: Vec<String>,
}

/// How long a client may take.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTimeouts {
    /// From the first byte of a request to the end of its head; also how long a PROXY header may take. Default `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// How long a connection may stay open without a request. Default `75s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
    /// Longest pause while a request body is received. Default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_read: Option<String>,
    /// Longest pause while a client takes a response. Default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_write: Option<String>,
    /// How fast a client must be, at the least, that keeps the router waiting for longer than `bodyRead` or `bodyWrite` in
    /// all: bytes that it sends of a request's body, or takes of a response, for each second that it is waited for. Default
    /// `64B/s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_rate: Option<String>,
}

/// Which clients may come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Clients {
    /// Networks that clients may come from, such as `10.0.0.0/8`. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Networks that no client may come from, also where `allow` has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
    /// How many connections one address may have at the same time, an IPv6 network of 64 bits counting as one address.
    /// Trusted proxies may have any number. 1 to 1,000,000. Default: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

/// What becomes of a request's headers whose names have an underscore: behind CGI and its kin, `X_Own` and `X-Own` are the
/// same variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnderscoreHeaders {
    /// They are removed, as if they had not been sent.
    Drop,
    /// The request is refused with 400.
    Reject,
    /// They are passed on, those excepted that would pass for a header that the router answers for.
    Pass,
}

/// TLS on a listener.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// Names of the certificates to choose from by the host that a client names. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// The certificate for clients that name no host, or one that no certificate is for. Default: none; their handshakes
    /// are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The oldest version that is spoken. Default `tls1.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_version: Option<TlsVersion>,
    /// Which cipher suites and key exchanges are offered. Default `compatible`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ciphers: Option<CipherPolicy>,
    /// Certificates of clients. Default: none are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificates: Option<ClientCertificates>,
    /// How long a handshake may take, from the accepted connection on, or from the end of its PROXY header.
    /// Default `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_timeout: Option<String>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "tls1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "tls1.3")]
    Tls13,
}

/// Cipher suites and key exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CipherPolicy {
    /// AES-256-GCM and ChaCha20-Poly1305 with X25519MLKEM768, X25519 or P-384: a security level of 128 bits and more against all
    /// that is known, quantum computers among it where the client can.
    Modern,
    /// All that is safe today, AES-128-GCM and P-256 among it; in TLS 1.2 with ECDHE only.
    Compatible,
}

/// Certificates of clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificates {
    /// Whether clients without one are served. Default `required`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ClientCertificateMode>,
    /// Who vouches for clients' certificates.
    pub authorities: Authorities,
    /// Headers that tell endpoints of the client's certificate. What clients send by these names is removed, on every
    /// listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<ForwardedCertificate>,
}

/// Whether clients without a certificate are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificateMode {
    /// They are not: the handshake fails.
    Required,
    /// They are, and a bad certificate is refused all the same.
    Optional,
}

/// Certificates of authorities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Authorities {
    /// A PEM file with them, on each router, read again when it changes. An absolute path.
    File(String),
    /// They themselves in PEM.
    Inline(String),
}

/// Headers that tell of a client's certificate; one that is not named is not sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForwardedCertificate {
    /// Gets the subject, such as `CN=acme,O=Acme Inc` (RFC 4514).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Gets the subject's other names, such as `DNS:a.example.com, URI:spiffe://example/a`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub san: Option<String>,
    /// Gets the SHA-256 of the certificate, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Gets the certificate itself, as RFC 9440 says for `Client-Cert`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}
