//! The admin endpoints: what the router is, does and would do. Everything here only reads.

mod answers;
mod health;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::{ServiceBuilder, ServiceExt as _};

use crate::lifecycle::View;

/// Requests answered at a time: rendering the metrics of a large router takes memory.
const AT_ONCE: usize = 8;
/// Of one connection that speaks HTTP/2, those under way.
const STREAMS: u32 = 32;
/// The largest list of header fields there.
const MAX_LIST_BYTES: u32 = 16 * 1024;
/// How often such a client is asked whether it is there, and how long it has to say so: who watches says nothing by itself.
const ASK_EVERY: Duration = Duration::from_secs(30);
const ANSWERS_IN: Duration = Duration::from_secs(20);
/// How long a client may take to say what it speaks, as with a head of HTTP/1.1, and how often what has come of that is looked at:
/// soon at first, ever more rarely then.
const GREETING: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);
const LOOK_AT_MOST: Duration = Duration::from_millis(250);
/// What a client begins with that speaks HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Starts the admin endpoints on a thread of their own. Returns the address they listen on.
pub(crate) fn start(address: SocketAddr, view: View) -> Result<SocketAddr, String> {
    let cannot = |error: std::io::Error| format!("the admin endpoints cannot listen on {address}: {error}");
    let socket = std::net::TcpListener::bind(address).map_err(cannot)?;
    socket.set_nonblocking(true).map_err(cannot)?;
    let bound = socket.local_addr().map_err(cannot)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let serve = move || {
        if let Err(error) = runtime.block_on(serve(socket, view)) {
            tracing::error!(%error, "the admin endpoints ended");
        }
    };
    std::thread::Builder::new().name("admin".to_owned()).spawn(serve).map_err(cannot)?;
    Ok(bound)
}

async fn serve(socket: std::net::TcpListener, view: View) -> std::io::Result<()> {
    let socket = tokio::net::TcpListener::from_std(socket)?;
    let asked = view.clone();
    let answer = tower::service_fn(move |request| {
        let view = asked.clone();
        async move { Ok::<_, Infallible>(answer(&view, &request).await) }
    });
    let bounded = ServiceBuilder::new().concurrency_limit(AT_ONCE).service(answer);
    loop {
        let Ok((stream, _)) = socket.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let (view, bounded) = (view.clone(), bounded.clone());
        let service = hyper::service::service_fn(move |request| {
            let (view, bounded) = (view.clone(), bounded.clone());
            async move {
                // Asked often and by whoever sends traffic here, it does not wait for others.
                if health::is_asked(&request) {
                    return Ok(health::answer(&view, request).await);
                }
                bounded.oneshot(request).await.map(|response| response.map(Full::boxed_unsync))
            }
        });
        tokio::spawn(async move {
            // An error here is the client's going away.
            let _ended: hyper::Result<()> = match tokio::time::timeout(GREETING, speaks_http2(&stream)).await {
                Ok(Ok(true)) => http2().serve_connection(TokioIo::new(stream), service).await,
                Ok(Ok(false)) => {
                    let mut builder = hyper::server::conn::http1::Builder::new();
                    builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await
                }
                Ok(Err(_)) | Err(_) => Ok(()),
            };
        });
    }
}

/// What a client of HTTP/2 may do.
fn http2() -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(MAX_LIST_BYTES)
        .keep_alive_interval(ASK_EVERY)
        .keep_alive_timeout(ANSWERS_IN);
    builder
}

/// Whether a client begins with the preface of HTTP/2. Nothing of it is taken.
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut begins = [0; PREFACE.len()];
    let mut pause = LOOK;
    loop {
        let length = stream.peek(&mut begins).await?;
        let came = begins.get(..length).unwrap_or_default();
        if length == 0 || !PREFACE.starts_with(came) {
            return Ok(false);
        }
        if length == PREFACE.len() {
            return Ok(true);
        }
        // What has come is there at once when it is looked at again. Who sends half a preface and no more is looked at ever more
        // rarely.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_AT_MOST);
    }
}

async fn answer(view: &View, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if *request.method() != Method::GET && *request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD; nothing can be changed here\n".to_owned());
    }
    match request.uri().path() {
        "/live" => text(StatusCode::OK, "live\n".to_owned()),
        "/ready" => answers::ready(view),
        "/metrics" => answers::metrics(view),
        "/snapshot" => answers::snapshot(view),
        "/names" => answers::names(view),
        "/tracks" => answers::tracks(view),
        "/explain" => answers::explain(view, request.uri().query().unwrap_or_default()).await,
        "/" => text(StatusCode::OK, "/live /ready /metrics /snapshot /names /tracks /explain\n".to_owned()),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /live /ready /metrics /snapshot /names /tracks /explain\n".to_owned(),
        ),
    }
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(value) {
        Ok(body) => typed(status, "application/json", body + "\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be shown: {error}\n")),
    }
}
