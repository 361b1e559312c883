//! A client's handshake: bounded in time, and of harm to nobody else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::server::Acceptor;
use rustls::{Connection, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client::ClientCertificate;
use super::stream::{Received, TlsStream};
use super::table::{HTTP2, ListenerTls};
use crate::telemetry::handshakes::{Failed, Version};

/// How much is received at once.
const READ: usize = 4096;
/// For how long, and how much of what a client still sends is thrown away so that it can read why it is refused.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 64 * 1024;
/// The first byte of a client that speaks TLS: a record of a handshake.
const HANDSHAKE: u8 = 22;
/// A fatal alert: there is nobody here of the name that the client wants (RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// What is told to clients that speak HTTP in clear.
const IN_CLEAR: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 79\r\n\
connection: close\r\n\r\n{\"error\":{\"code\":\"plain_http\",\"message\":\"this port speaks TLS; use https://\"}}\n";

/// A client whose handshake is over.
pub(crate) struct Accepted {
    pub(crate) stream: TlsStream,
    pub(crate) secure: Secure,
}

/// What is known of a client that speaks TLS.
#[derive(Debug)]
pub(crate) struct Secure {
    pub(crate) version: Version,
    pub(crate) is_resumed: bool,
    /// Whether HTTP/2 was agreed on.
    pub(crate) is_http2: bool,
    /// Its certificate, if it has shown one.
    pub(crate) client: Option<ClientCertificate>,
}

/// Shakes hands with a client, within the listener's time.
pub(crate) async fn accept(mut socket: TcpStream, listener: &ListenerTls) -> Result<Accepted, Failed> {
    let shaking = shake(&mut socket, listener);
    let tls = tokio::time::timeout(listener.handshake_timeout, shaking).await.unwrap_or(Err(Failed::Timeout));
    let tls = match tls {
        Ok(tls) => tls,
        Err(failed) => {
            if failed != Failed::Gone && failed != Failed::Timeout {
                linger(&mut socket).await;
            }
            return Err(failed);
        }
    };
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
        Some(_) | None => Version::Tls13,
    };
    let client = match tls.peer_certificates().and_then(<[_]>::first) {
        Some(der) => Some(ClientCertificate::read(der).ok_or(Failed::ClientCertificate)?),
        None => None,
    };
    let is_resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
    let is_http2 = tls.alpn_protocol() == Some(HTTP2);
    let secure = Secure { version, is_resumed, is_http2, client };
    Ok(Accepted { stream: TlsStream::new(socket, Connection::Server(tls)), secure })
}

async fn shake(socket: &mut TcpStream, listener: &ListenerTls) -> Result<ServerConnection, Failed> {
    let mut received = BytesMut::new();
    receive(socket, &mut received).await?;
    match received.first() {
        Some(&HANDSHAKE) => {}
        Some(b'A'..=b'Z') => {
            say(socket, IN_CLEAR).await?;
            return Err(Failed::PlainHttp);
        }
        Some(_) | None => return Err(Failed::Protocol),
    }
    let mut tls = hello(socket, &mut received, listener).await?;
    loop {
        send(socket, &mut tls).await?;
        if !tls.is_handshaking() {
            return Ok(tls);
        }
        if received.is_empty() {
            receive(socket, &mut received).await?;
        }
        // What follows the handshake is too little to fill what it is decrypted into.
        while !received.is_empty() {
            if tls.read_tls(&mut Received(&mut received)).map_err(|_| Failed::Protocol)? == 0 {
                received.clear();
            }
            if let Err(error) = tls.process_new_packets() {
                let failed = reason(&error);
                // What is wrong is told as an alert.
                send(socket, &mut tls).await?;
                return Err(failed);
            }
        }
    }
}

/// Reads whom the client wants to speak to, and begins to answer.
async fn hello(
    socket: &mut TcpStream,
    received: &mut BytesMut,
    listener: &ListenerTls,
) -> Result<ServerConnection, Failed> {
    let mut acceptor = Acceptor::default();
    loop {
        if received.is_empty() {
            receive(socket, received).await?;
        }
        acceptor.read_tls(&mut Received(received)).map_err(|_| Failed::Protocol)?;
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                if !listener.index.has(accepted.client_hello().server_name()) {
                    say(socket, &UNRECOGNIZED_NAME).await?;
                    return Err(Failed::UnknownName);
                }
                let config: Arc<ServerConfig> = Arc::clone(&listener.config);
                match accepted.into_connection(config) {
                    Ok(tls) => return Ok(tls),
                    Err((error, mut alert)) => {
                        let mut bytes = Vec::new();
                        // Writing to memory does not fail.
                        let _written: io::Result<()> = alert.write_all(&mut bytes);
                        say(socket, &bytes).await?;
                        return Err(reason(&error));
                    }
                }
            }
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                let _written: io::Result<()> = alert.write_all(&mut bytes);
                say(socket, &bytes).await?;
                return Err(reason(&error));
            }
        }
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "another crate's list, which grows")]
fn reason(error: &rustls::Error) -> Failed {
    match error {
        rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_) => Failed::ClientCertificate,
        rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => Failed::Incompatible,
        rustls::Error::AlertReceived(_) => Failed::Refused,
        _ => Failed::Protocol,
    }
}

async fn receive(socket: &TcpStream, received: &mut BytesMut) -> Result<(), Failed> {
    loop {
        received.reserve(READ);
        socket.readable().await.map_err(|_| Failed::Gone)?;
        match socket.try_read_buf(received) {
            Ok(0) => return Err(Failed::Gone),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Failed::Gone),
        }
    }
}

async fn send(socket: &mut TcpStream, tls: &mut ServerConnection) -> Result<(), Failed> {
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).map_err(|_| Failed::Protocol)?;
    }
    if bytes.is_empty() { Ok(()) } else { say(socket, &bytes).await }
}

async fn say(socket: &mut TcpStream, bytes: &[u8]) -> Result<(), Failed> {
    socket.write_all(bytes).await.map_err(|_| Failed::Gone)
}

/// Lets the client read why it is refused: were the socket closed with something unread, the reset could overtake it.
async fn linger(socket: &mut TcpStream) {
    let throw_away = async {
        if socket.shutdown().await.is_err() {
            return;
        }
        let mut scratch = BytesMut::new();
        let mut thrown = 0;
        while thrown < LINGER_BYTES && receive(socket, &mut scratch).await.is_ok() {
            thrown += scratch.len();
            scratch.clear();
        }
    };
    // However it ends, the connection is closed.
    let _ended: Result<(), _> = tokio::time::timeout(LINGER, throw_away).await;
}
