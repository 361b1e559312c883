//! Calls of gRPC, as a client and a server of gRPC see them.

mod deadlines;
mod health;
mod refusals;
mod telemetry;
mod web;

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};

use super::support::http2::{Call, Http2Upstream};
use super::support::{Builder, Site};

/// The service `all` over HTTP/2 in clear.
fn to(address: SocketAddr) -> Builder {
    Site::builder()
        .document(&format!("kind: Service\nname: all\nendpoints: {{blue: [{{address: {address}}}]}}\nprotocol: h2"))
}

/// One that ends each call with what its path says: `/ok`, `/trailers/<status>`, `/head/<status>`, `/none` without a status, `/open` never,
/// `/html/<status of HTTP>`.
fn server() -> Http2Upstream {
    Http2Upstream::scripted(|mut call: Call| async move {
        let (path, timeout) = (call.path(), call.request.headers().get("grpc-timeout").cloned());
        call.log(format!("{path} {timeout:?}"));
        let (_, kind, status) = {
            let mut parts = path.split('/');
            (parts.next(), parts.next().unwrap().to_owned(), parts.next().unwrap_or("0").to_owned())
        };
        let grpc = Response::builder().header("content-type", "application/grpc");
        match kind.as_str() {
            "head" => {
                let head = grpc.header("grpc-status", status).header("grpc-message", "no%25").body(()).unwrap();
                call.respond.send_response(head, true).unwrap();
            }
            "html" => {
                let html =
                    Response::builder().status(status.parse::<u16>().unwrap()).header("content-type", "text/html");
                let mut body = call.respond.send_response(html.body(()).unwrap(), false).unwrap();
                body.send_data(Bytes::from_static(b"<h1>"), true).unwrap();
            }
            "open" => {
                let mut body = call.respond.send_response(grpc.body(()).unwrap(), false).unwrap();
                let _reset = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
            }
            _ => {
                let (message, _) = call.body().await.unwrap();
                let mut body = call.respond.send_response(grpc.body(()).unwrap(), false).unwrap();
                body.send_data(message.into(), kind == "none").unwrap();
                if kind != "none" {
                    let trailers = [("grpc-status", status), ("x-more", "1".to_owned())];
                    let line = |(name, value): (&'static str, String)| {
                        (http::HeaderName::from_static(name), value.parse().unwrap())
                    };
                    body.send_trailers(trailers.into_iter().map(line).collect()).unwrap();
                }
            }
        }
    })
}

/// A call's head.
fn call(path: &str, more: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::post(format!("http://a.test{path}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// Begins with a call.
async fn begin(client: &SendRequest<Bytes>, request: Request<()>) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
    client.clone().ready().await.unwrap().send_request(request, false).unwrap()
}

/// What a client is told.
#[derive(Debug)]
struct Told {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Told {
    async fn of(answer: Response<RecvStream>) -> Self {
        let (parts, mut stream) = answer.into_parts();
        let mut body = Vec::new();
        while let Some(data) = stream.data().await {
            let data = data.unwrap();
            stream.flow_control().release_capacity(data.len()).unwrap();
            body.extend_from_slice(&data);
        }
        let trailers = stream.trailers().await.unwrap();
        Self { status: parts.status, headers: parts.headers, body, trailers }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn trailer(&self, name: &str) -> &str {
        self.trailers.as_ref().and_then(|all| all.get(name)).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that it is all trailers, with this status and refusal.
    #[track_caller]
    fn assert_refused(&self, status: u8, code: &str) {
        assert_eq!((self.status, &*self.body, &self.trailers), (StatusCode::OK, &b""[..], &None), "{self:?}");
        assert_eq!(
            (self.header("grpc-status"), self.header("x-gridrouter-reject")),
            (&*status.to_string(), code),
            "{self:?}"
        );
        assert_eq!(self.header("content-type"), "application/grpc");
        assert!(!self.header("grpc-message").is_empty() && !self.headers.contains_key("content-length"), "{self:?}");
    }
}

/// A call with one message.
async fn unary(client: &SendRequest<Bytes>, request: Request<()>) -> Told {
    let (answer, mut send) = begin(client, request).await;
    // Who is refused may have been told before.
    let _refused: Result<(), h2::Error> = send.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), true);
    Told::of(answer.await.unwrap()).await
}
