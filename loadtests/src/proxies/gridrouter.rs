//! GridRouter: a directory of documents.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::save;
use crate::error::{Context, Result};
use crate::http::Connection;
use crate::site::{GRID, Limits, Pin, Route, STAMP_HEADER, Service, Site, Speaks, TENANT_HEADER};
use crate::tls;

/// The file of all pins: many documents in one.
pub const TENANTS: &str = "documents/tenants.yaml";
/// The file of the routes that are used.
pub const ROUTES: &str = "documents/routes.yaml";
/// The directory that the router follows. Its state is kept beside it, not where it keeps that of routers in earnest.
const DOCUMENTS: &str = "documents";

pub(super) fn write(site: &Site, directory: &Path) -> Result<()> {
    let folder = directory.join(DOCUMENTS);
    std::fs::create_dir_all(&folder).context(format_args!("cannot create {}", folder.display()))?;
    save(&folder, "grid.yaml", &(grid(site) + &certificate(site, directory)))?;
    save(&folder, "services.yaml", &documents(site.services.iter().map(|one| service(one, site))))?;
    save(directory, ROUTES, &routes(site))?;
    save(&folder, "limits.yaml", &documents(limits(site.limits()).iter().map(limit)))?;
    save(directory, TENANTS, &tenants(&site.pins))?;
    if site.idle_routes > 0 {
        let idle = (0..site.idle_routes).map(|number| idle_route(number, site));
        save(&folder, "routes-idle.yaml", &documents(idle))?;
    }
    Ok(())
}

pub(super) fn arguments(site: &Site, directory: &Path) -> Vec<OsString> {
    let admin = site.admin.to_string();
    let [state, documents] = ["state", DOCUMENTS].map(|name| directory.join(name).into_os_string());
    let arguments = ["--threads", "1", "--admin", &admin, "--state"].into_iter().map(OsString::from);
    arguments.chain([state, "--config".into(), documents]).collect()
}

/// What `/ready` of the admin says: status and body.
pub async fn ready(admin: SocketAddr) -> Result<(u16, String)> {
    ask(admin, "/ready").await
}

/// What the admin says at this path: status and body.
pub async fn ask(admin: SocketAddr, path: &str) -> Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    let asked = async {
        let mut connection = Connection::open(admin).await?;
        let answer = connection.exchange(request.as_bytes()).await?;
        Ok::<_, crate::http::Failed>((answer.status, String::from_utf8_lossy(answer.body).into_owned()))
    };
    timeout(Duration::from_secs(2), asked).await.context(path)?.context(path)
}

/// The documents of a site in one text, but for its pins.
pub fn documents_but_pins(site: &Site) -> String {
    let services = site.services.iter().map(|one| service(one, site));
    let idle = (0..site.idle_routes).map(|number| idle_route(number, site));
    documents(
        [grid(site)]
            .into_iter()
            .chain(limits(site.limits()).iter().map(limit))
            .chain(services)
            .chain(site.routes.iter().map(|used| route(used, site)))
            .chain(idle),
    )
}

/// The document of a route that is used.
pub fn used_route(site: &Site) -> Option<String> {
    site.routes.first().map(|first| route(first, site))
}

/// The text of [`TENANTS`].
pub fn tenants(pins: &[Pin]) -> String {
    documents(
        pins.iter().map(|Pin { tenant, cell }| format!("kind: Tenant\nname: {tenant}\ngrid: {GRID}\ncell: {cell}\n")),
    )
}

/// The text of [`ROUTES`].
pub fn routes(site: &Site) -> String {
    documents(site.routes.iter().map(|used| route(used, site)))
}

/// The limits, each with its key and algorithm: the highest that there are, so that none refuses.
fn limits(limits: Limits) -> &'static [(&'static str, &'static str)] {
    const ALL: [(&str, &str); 4] = [
        ("per-tenant", "key: [tenant]\ntokenBucket: {rate: 1000000/s, burst: 1000000}"),
        ("per-address", "key: [clientIp]\nslidingWindow: {limit: 1000000, window: 1s}"),
        ("per-route", "key: [route]\nconcurrency: {limit: 1000000}"),
        ("per-tenant-and-route", "key: [tenant, route]\nfixedWindow: {limit: 1000000, window: 1s}"),
    ];
    let [one, ..] = &ALL;
    match limits {
        Limits::None => &[],
        Limits::One => std::slice::from_ref(one),
        Limits::Four => &ALL,
    }
}

fn limit((name, what): &(&str, &str)) -> String {
    format!("kind: Limit\nname: {name}\n{what}\n")
}

fn documents(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("---\n")
}

fn grid(site: &Site) -> String {
    let mut text = format!("kind: Listener\nname: web\naddress: {}\n", site.listen);
    if site.tls {
        text.push_str("tls: {default: bench, minimumVersion: tls1.3}\n");
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "---\nkind: Grid\nname: {GRID}\ncells: [{}]\n", site.cells.join(", "));
    for cell in &site.cells {
        let _ = write!(text, "---\nkind: Cell\nname: {cell}\n");
    }
    text
}

/// The document of the certificate, where there is one.
fn certificate(site: &Site, directory: &Path) -> String {
    let [chain, key] = [tls::CHAIN, tls::KEY].map(|name| directory.join(name).display().to_string());
    let text = format!("---\nkind: Certificate\nname: bench\nfiles: {{chain: '{chain}', key: '{key}'}}\n");
    if site.tls { text } else { String::new() }
}

fn service(service: &Service, site: &Site) -> String {
    let mut text = format!("kind: Service\nname: {}\n", service.name);
    if site.speaks == Speaks::Http2Through {
        text.push_str("protocol: h2\n");
    }
    text.push_str(if service.ejects { "balance: {failTimeout: 1s}\n" } else { "balance: {maxFails: 0}\n" });
    text.push_str("cells:\n");
    let mut cell = "";
    for label in &service.endpoints {
        if label.cell != cell {
            cell = &label.cell;
            let _ = write!(text, "  {cell}:\n    blue:\n");
        }
        let _ = writeln!(text, "      - address: {}", label.address);
    }
    text
}

fn route(route: &Route, site: &Site) -> String {
    let Route { name, host, prefix, service, timeouts, .. } = route;
    let tenant = match site.speaks {
        Speaks::Http1 => format!("header: {TENANT_HEADER}"),
        Speaks::Http2 | Speaks::Http2Through => "pathSegment: 1".to_owned(),
    };
    let mut text = format!(
        "kind: Route\nname: {name}\nhosts: [{host}]\npaths: [{{prefix: {prefix}}}]\n\
         tenant: {{from: [{{{tenant}}}]}}\ngrid: {GRID}\nservice: {service}\n"
    );
    let names: Vec<&str> = limits(route.limits).iter().map(|(name, _)| *name).collect();
    if !names.is_empty() {
        let _ = writeln!(text, "limits: [{}]", names.join(", "));
    }
    if let Some(stamp) = site.stamp {
        let _ = writeln!(text, "responseHeaders: {{set: {{{STAMP_HEADER}: \"{stamp}\"}}}}");
    }
    if let Some(times) = timeouts {
        let _ = writeln!(
            text,
            "timeouts: {{connect: {}ms, responseHead: {}ms, responseBody: {}ms, request: {}ms}}",
            times.connect, times.response_head, times.response_body, times.request
        );
    }
    text
}

/// Half of these share a host with another path; all are of the form that a real route has.
fn idle_route(number: usize, site: &Site) -> String {
    let idle = Route {
        name: format!("idle-{number}"),
        host: format!("host-{}.example.com", number / 2),
        prefix: format!("/idle/{number}"),
        service: site.services.first().map(|service| service.name.clone()).unwrap_or_default(),
        timeouts: None,
        limits: site.limits(),
    };
    route(&idle, site)
}
