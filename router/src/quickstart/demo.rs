//! Demo endpoints: for every address in the documents, a server that says who it is.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use gridrouter_config::model::{Endpoint, Model};
use gridrouter_config::store::Store;
use gridrouter_config::store::directory::DirectoryStore;
use gridrouter_config::{codec, generation};
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

/// Who an endpoint is.
#[derive(Debug, Clone)]
struct Identity {
    service: String,
    cell: String,
}

/// Starts an endpoint for every address in the documents of `directory`. Returns how many.
pub(super) fn start(directory: &Path) -> Result<usize, String> {
    let listing = DirectoryStore::new(directory).list().map_err(|error| error.explain())?;
    let parsed: Vec<_> = listing.entries.iter().map(|entry| codec::parse(&entry.path, &entry.bytes)).collect();
    let identities = identities(generation::advance(None, &parsed, &listing.tenants).in_force.model());
    let count = identities.len();
    let mut sockets = Vec::new();
    for (address, identity) in identities {
        let cannot = |error: std::io::Error| {
            format!("the demo endpoint {address} cannot listen: {error}; is another quickstart running?")
        };
        let socket = TcpListener::bind(address).map_err(cannot)?;
        socket.set_nonblocking(true).map_err(cannot)?;
        sockets.push((socket, address, identity));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the demo endpoints cannot start: {error}"))?;
    let serve = move || {
        runtime.block_on(async {
            for (socket, address, identity) in sockets {
                tokio::spawn(endpoint(socket, address, identity));
            }
            std::future::pending::<()>().await;
        });
    };
    std::thread::Builder::new()
        .name("demo".to_owned())
        .spawn(serve)
        .map_err(|error| format!("the demo endpoints cannot start: {error}"))?;
    Ok(count)
}

/// Who is at each address. An ingress serves every service that has no endpoints of its own in its cell.
fn identities(model: &Model) -> BTreeMap<SocketAddr, Identity> {
    let mut identities = BTreeMap::new();
    let mut add = |endpoints: &[Endpoint], service: &str, cell: &str| {
        for endpoint in endpoints {
            let Some(address) = endpoint.address.socket() else { continue };
            let identity = Identity { service: service.to_owned(), cell: cell.to_owned() };
            identities.insert(address, identity);
        }
    };
    for service in model.services.values() {
        add(&service.endpoints.blue, service.name.as_str(), "none");
        for (cell, tracks) in &service.cells {
            add(&tracks.blue, service.name.as_str(), cell.as_str());
            add(&tracks.green, service.name.as_str(), cell.as_str());
        }
    }
    for cell in model.cells.values() {
        add(&cell.ingress, "", cell.name.as_str());
    }
    identities
}

async fn endpoint(socket: TcpListener, address: SocketAddr, identity: Identity) {
    let Ok(socket) = tokio::net::TcpListener::from_std(socket) else { return };
    let identity = Arc::new(identity);
    loop {
        let Ok((stream, _)) = socket.accept().await else { continue };
        let identity = Arc::clone(&identity);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, address, &identity);
                async move { Ok::<_, Infallible>(response) }
            });
            // An error here is the router's going away.
            let _ended: hyper::Result<()> =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(request: &Request<Incoming>, address: SocketAddr, identity: &Identity) -> Response<Full<Bytes>> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // At an ingress the Host says which service is meant: `catalog.internal` is the catalog.
    let host = header("host").unwrap_or_default();
    let service = match identity.service.as_str() {
        "" => host.split('.').next().unwrap_or_default().to_owned(),
        service => service.to_owned(),
    };
    let body = serde_json::json!({
        "service": service,
        "cell": identity.cell,
        "endpoint": address,
        "tenant": header("x-tenant-id"),
        "path": request.uri().to_string(),
        "requestId": header("x-request-id"),
    });
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(value) = HeaderValue::try_from(format!("{}/{service}/{address}", identity.cell)) {
        head.insert("x-served-by", value);
    }
    response
}
