//! As much of HTTP/2 and gRPC as is needed to look at one answer in full, with its trailers. Load comes from
//! [`mod@crate::h2load`].

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use tokio::net::TcpStream;

use crate::error::{Context, Error, Result};
use crate::tls::Client;

/// The content type of gRPC.
pub const GRPC: &str = "application/grpc";
/// How a call of gRPC ended: a number in the trailers, or in the head of an answer that has nothing else.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What stands before each message of gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A message as gRPC sends it.
pub fn message(bytes: &[u8]) -> Bytes {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), bytes].concat().into()
}

/// The message, where there is exactly one, which is whole and not compressed.
pub fn only_message(bytes: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = bytes.split_first_chunk::<PREFIX>()?;
    let [0, length @ ..] = *prefix else { return None };
    (u32::from_be_bytes(length) as usize == rest.len()).then_some(rest)
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The fields before the body.
    pub fields: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The fields behind the body, if there are any.
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// The value of a field before the body; empty when there is none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Sees that this is the answer to a successful call of gRPC: one message, and its status behind it. Returns the message.
    pub fn of_grpc(&self) -> Result<&[u8]> {
        if !self.field("content-type").starts_with(GRPC) {
            return Err(Error::new(format!("its content type is \"{}\"", self.field("content-type"))));
        }
        let trailers = self.trailers.as_ref().ok_or_else(|| Error::new("it has no trailers"))?;
        if trailers.get(GRPC_STATUS).is_none_or(|status| status != "0") || self.fields.contains_key(GRPC_STATUS) {
            return Err(Error::new(format!("it ends with {trailers:?}, and begins with {:?}", self.fields)));
        }
        only_message(&self.body).ok_or_else(|| Error::new("its body is not one message"))
    }
}

/// Sends one request on a connection of its own, by TLS if there is a client of it, and reads the whole answer.
pub async fn exchange(address: SocketAddr, tls: Option<&Client>, request: Request<Bytes>) -> Result<Answer> {
    let stream = TcpStream::connect(address).await.context("cannot connect")?;
    stream.set_nodelay(true).context("cannot connect")?;
    match tls {
        None => exchange_on(stream, request).await,
        Some(client) => {
            let stream = client.clone().offering(&[b"h2"]).handshake(stream).await.context("no handshake")?;
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Err(Error::new("HTTP/2 was not agreed to"));
            }
            exchange_on(stream, request).await
        }
    }
}

async fn exchange_on<S>(stream: S, request: Request<Bytes>) -> Result<Answer>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = h2::client::handshake(stream).await.context("no connection of HTTP/2")?;
    // It ends with the last handle of it, which is here.
    tokio::spawn(connection);
    let (head, body) = request.into_parts();
    let (response, mut sending) =
        sender.send_request(Request::from_parts(head, ()), body.is_empty()).context("cannot send")?;
    if !body.is_empty() {
        sending.send_data(body, true).context("cannot send")?;
    }
    let (head, mut receiving) = response.await.context("no answer")?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = receiving.data().await {
        let data = data.context("the body was cut short")?;
        receiving.flow_control().release_capacity(data.len()).context("no flow control")?;
        body.extend_from_slice(&data);
    }
    let trailers = receiving.trailers().await.context("no end of the answer")?;
    Ok(Answer { status: head.status, fields: head.headers, body, trailers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_written() {
        let sent = message(b"hello");
        assert_eq!(&*sent, b"\0\0\0\0\x05hello");
        assert_eq!(only_message(&sent), Some(b"hello".as_slice()));
        assert_eq!(only_message(b"\0\0\0\0\0"), Some(b"".as_slice()));
        for wrong in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x05hell", b"\0\0\0\0\x05hello!", b"\x01\0\0\0\x05hello"] {
            assert_eq!(only_message(wrong), None, "{wrong:?}");
        }
    }
}
