//! HAProxy: one thread, connections to the upstream always reused, nothing logged.
//!
//! Buffers are 20 KiB instead of 16: a POST of 16 KiB then fits one together with its head, which nearly doubles what
//! HAProxy does with it, and nothing else becomes slower. With 32 KiB, 64 KiB answers are slower.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use super::save;
use crate::error::Result;
use crate::site::{Limits, Route, Service, Site, Speaks, TENANT_HEADER};
use crate::tls;

/// The file that maps hosts to backends.
const HOSTS: &str = "hosts.map";

pub(super) fn write(site: &Site, directory: &Path) -> Result<()> {
    let hosts = site.routes.iter().map(|route| format!("{} {}\n", route.host, backend(site, route)));
    save(directory, HOSTS, &hosts.collect::<String>())?;
    save(directory, "haproxy.cfg", &configuration(site, directory))
}

pub(super) fn arguments(directory: &Path) -> Vec<OsString> {
    // In the foreground. Without a master process: HAProxy is then one process, which is its cheapest form.
    vec!["-db".into(), "-f".into(), directory.join("haproxy.cfg").into_os_string()]
}

fn configuration(site: &Site, directory: &Path) -> String {
    let certificate = directory.join(tls::BOTH);
    let mut tls =
        if site.tls { format!(" ssl crt {} ssl-min-ver TLSv1.3", certificate.display()) } else { String::new() };
    let mut behind = "";
    match site.speaks {
        Speaks::Http1 => {}
        Speaks::Http2 => tls.push_str(" alpn h2,http/1.1"),
        Speaks::Http2Through => {
            tls.push_str(" alpn h2,http/1.1");
            behind = " proto h2";
        }
    }
    let mut text = format!(
        "global\n  nbthread 1\n  maxconn 9500\n  tune.bufsize 20480\n\
         defaults\n  mode http\n  maxconn 9500\n  http-reuse always\n  timeout client 75s\n  timeout server 60s\n\
         \x20 timeout connect 5s\n  timeout http-keep-alive 75s\n\
         frontend web\n  bind {} backlog 4096{tls}\n",
        site.listen
    );
    text.push_str(&choice(site, directory));
    for (name, service, limits) in backends(site) {
        let _ = writeln!(text, "backend {name}\n  balance roundrobin");
        text.push_str(&rules(limits));
        for (number, label) in service.endpoints.iter().enumerate() {
            let _ = writeln!(text, "  server s{number} {}{behind}", label.address);
        }
    }
    for (name, _) in tables(site.limits()) {
        let kind = if *name == "address" { "ip" } else { "string len 64" };
        let _ = writeln!(text, "backend {name}\n  stick-table type {kind} size 200k expire 1m store http_req_rate(1s)");
    }
    text
}

/// What leads to the backends.
fn choice(site: &Site, directory: &Path) -> String {
    if let [only] = site.routes.as_slice() {
        // No choice is needed, so none is paid for.
        return format!("  default_backend {}\n", backend(site, only));
    }
    if site.limits() != Limits::None {
        // What routes cost is compared, so each has to be found in the same time.
        return format!("  use_backend %[req.hdr(host),map_str({})]\n", directory.join(HOSTS).display());
    }
    let rule = |route: &Route| {
        format!(
            "  use_backend {} if {{ req.hdr(host) -i {} }} {{ path_beg {} }}\n",
            backend(site, route),
            route.host,
            route.prefix
        )
    };
    site.routes.iter().map(rule).collect()
}

/// The name of a route's backend: limits are of a backend, so that where some are each route has its own.
fn backend<'a>(site: &Site, route: &'a Route) -> &'a str {
    if site.limits() == Limits::None { &route.service } else { &route.name }
}

/// Each backend's name, what is behind it, and what it checks.
fn backends(site: &Site) -> Vec<(&str, &Service, Limits)> {
    if site.limits() == Limits::None {
        return site.services.iter().map(|service| (service.name.as_str(), service, Limits::None)).collect();
    }
    let of = |route: &Route| site.services.iter().find(|service| service.name == route.service);
    let pairs = site.routes.iter().filter_map(|route| Some((route.name.as_str(), of(route)?, route.limits)));
    pairs.collect()
}

/// What is counted, each in a table of its own, and by what: the last is for tenants at the one route that has all of them.
/// There is room for three such counts in a request.
fn tables(limits: Limits) -> &'static [(&'static str, &'static str)] {
    const ALL: [(&str, &str); 3] = [("tenant", "tenant"), ("address", "address"), ("both", "tenant")];
    let [one, ..] = &ALL;
    match limits {
        Limits::None => &[],
        Limits::One => std::slice::from_ref(one),
        Limits::Four => &ALL,
    }
}

/// A backend's rules: count and refuse. What is there at the same time, the backend counts anyhow.
fn rules(limits: Limits) -> String {
    let mut text = String::new();
    for (number, (table, by)) in tables(limits).iter().enumerate() {
        let key = if *by == "address" { "src".to_owned() } else { format!("req.hdr({TENANT_HEADER})") };
        let _ = writeln!(
            text,
            "  http-request track-sc{number} {key} table {table}\n  \
             http-request deny deny_status 429 if {{ sc_http_req_rate({number}) gt 1000000 }}"
        );
    }
    if limits == Limits::Four {
        text.push_str("  http-request deny deny_status 429 if { be_conn gt 100000 }\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_checks_its_own_limits() {
        let mut site = Site::new(2, &["bench"], 1).unwrap();
        let with = |number: usize, limits| Route { name: format!("r{number}"), limits, ..site.routes[0].clone() };
        site.routes = [Limits::None, Limits::One, Limits::Four]
            .into_iter()
            .enumerate()
            .map(|(n, limits)| with(n, limits))
            .collect();
        let text = configuration(&site, Path::new("/"));
        let denied: Vec<usize> = text.split("\nbackend ").map(|one| one.matches("http-request deny").count()).collect();
        // What comes first is the frontend, and last come the tables.
        assert_eq!(denied, [0, 0, 1, 4, 0, 0, 0]);
        assert!(text.contains("use_backend %[req.hdr(host),map_str(/hosts.map)]"), "{text}");
    }
}
