//! The upstream over HTTP/2 in clear, for clients that begin with it (prior knowledge): the same answers as over HTTP/1.1,
//! and gRPC.
//!
//! A call of gRPC, by its content type, is answered with one message that holds the same JSON, and with `grpc-status` in
//! trailers: 0 for a request of exactly one whole message, else 3 and no message.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::net::TcpStream;

use super::{Answers, wanted};
use crate::http::head_length;
use crate::http2::{GRPC, GRPC_STATUS, message, only_message};

/// What a connection of HTTP/2 begins with, and no request of HTTP/1.1 does.
const BEGINNING: &[u8; 3] = b"PRI";
/// Requests of one connection at a time; proxies with one thread may have a connection for everything.
const STREAMS: u32 = 1_024;
/// How much may come before it is read, of a request and of a connection.
const WINDOWS: (u32, u32) = (1 << 20, 1 << 24);

/// Whether a new connection speaks HTTP/2: waits for what it begins with.
pub(super) async fn is_spoken(stream: &TcpStream) -> bool {
    let mut begun = [0; BEGINNING.len()];
    loop {
        match stream.peek(&mut begun).await {
            Ok(read) if read == begun.len() => return begun == *BEGINNING,
            Ok(read) if read > 0 && begun.get(..read) == BEGINNING.get(..read) => {
                // There is no event for more of what was looked at.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(_) | Err(_) => return false,
        }
    }
}

/// One connection, until the client ends it.
pub(super) async fn serve(stream: TcpStream, answers: Arc<Answers>) {
    let Ok(served_by) = HeaderValue::from_str(&answers.served_by) else { return };
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(STREAMS).initial_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        // These end with the connection, which is all that they wait for. What fails is the client's to notice.
        let (answers, served_by) = (Arc::clone(&answers), served_by.clone());
        tokio::spawn(async move { answer(request, respond, &answers, served_by).await.ok() });
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    answers: &Answers,
    served_by: HeaderValue,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let is_grpc = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(GRPC.as_bytes()));
    let (mut received, mut kept) = (0, Vec::new());
    while let Some(data) = body.data().await {
        let data = data?;
        received += data.len();
        if is_grpc {
            kept.extend_from_slice(&data);
        }
        body.flow_control().release_capacity(data.len())?;
    }
    let (size, delay) = wanted(head.uri.path().as_bytes()).unwrap_or_default();
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    let mut response = Response::new(());
    response.headers_mut().insert("x-served-by", served_by);
    let kind = if is_grpc { GRPC } else { "text/plain" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if is_grpc {
        let mut stream = respond.send_response(response, false)?;
        let asked = only_message(&kept);
        if let Some(asked) = asked {
            stream.send_data(message(answers.json(asked.len()).as_bytes()), false)?;
        }
        let status = HeaderValue::from_static(if asked.is_some() { "0" } else { "3" });
        return stream.send_trailers(HeaderMap::from_iter([(GRPC_STATUS, status)]));
    }
    let body: Bytes = match size {
        Some(size) => {
            let whole = answers.of_size(size);
            let head = head_length(&whole).unwrap_or_default();
            Bytes::copy_from_slice(whole.get(head..).unwrap_or_default())
        }
        None => answers.json(received).into(),
    };
    response.headers_mut().insert(http::header::CONTENT_LENGTH, body.len().into());
    if head.method == Method::HEAD {
        return respond.send_response(response, true).map(drop);
    }
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(body, true)
}
