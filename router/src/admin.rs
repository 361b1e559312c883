//! The admin endpoints: what the router is, does and would do. Everything here only reads.

mod answers;

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tower::ServiceBuilder;

use crate::lifecycle::View;

/// Requests answered at a time: rendering the metrics of a large router takes memory.
const AT_ONCE: usize = 8;

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
    let answer = tower::service_fn(move |request| {
        let view = view.clone();
        async move { Ok::<_, Infallible>(answer(&view, &request).await) }
    });
    let service = ServiceBuilder::new().concurrency_limit(AT_ONCE).service(answer);
    loop {
        let Ok((stream, _)) = socket.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new());
            // An error here is the client's going away.
            let _ended: hyper::Result<()> = builder.serve_connection(TokioIo::new(stream), service).await;
        });
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
