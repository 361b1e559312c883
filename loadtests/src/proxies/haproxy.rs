//! HAProxy: one thread, connections to the upstream always reused, nothing logged.
//!
//! Buffers are 20 KiB instead of 16: a POST of 16 KiB then fits one together with its head, which nearly doubles what
//! HAProxy does with it, and nothing else becomes slower. With 32 KiB, 64 KiB answers are slower.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use super::save;
use crate::error::Result;
use crate::site::{Limits, Site, Speaks, TENANT_HEADER};
use crate::tls;

pub(super) fn write(site: &Site, directory: &Path) -> Result<()> {
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
    text.push_str(&limits(site));
    for route in &site.routes {
        let _ = writeln!(
            text,
            "  use_backend {} if {{ req.hdr(host) -i {} }} {{ path_beg {} }}",
            route.service, route.host, route.prefix
        );
    }
    // With a single service no choice is needed, so none is paid for.
    if let [only] = site.routes.as_slice() {
        let rule = text.find("  use_backend").unwrap_or(text.len());
        text.truncate(rule);
        let _ = writeln!(text, "  default_backend {}", only.service);
    }
    for service in &site.services {
        let _ = writeln!(text, "backend {}\n  balance roundrobin", service.name);
        for (number, label) in service.endpoints.iter().enumerate() {
            let _ = writeln!(text, "  server s{number} {}{behind}", label.address);
        }
    }
    for (name, _) in tables(site) {
        let kind = if *name == "address" { "ip" } else { "string len 64" };
        let _ = writeln!(text, "backend {name}\n  stick-table type {kind} size 200k expire 1m store http_req_rate(1s)");
    }
    text
}

/// What is counted, each in a table of its own, and by what: the last is for tenants at the one route that there is. There
/// is room for three such counts in a request.
fn tables(site: &Site) -> &'static [(&'static str, &'static str)] {
    const ALL: [(&str, &str); 3] = [("tenant", "tenant"), ("address", "address"), ("both", "tenant")];
    let [one, ..] = &ALL;
    match site.limits {
        Limits::None => &[],
        Limits::One => std::slice::from_ref(one),
        Limits::Four => &ALL,
    }
}

/// The frontend's rules: count and refuse. What is there at the same time, the backend counts anyhow.
fn limits(site: &Site) -> String {
    let mut text = String::new();
    for (number, (table, by)) in tables(site).iter().enumerate() {
        let key = if *by == "address" { "src".to_owned() } else { format!("req.hdr({TENANT_HEADER})") };
        let _ = writeln!(
            text,
            "  http-request track-sc{number} {key} table {table}\n  \
             http-request deny deny_status 429 if {{ sc_http_req_rate({number}) gt 1000000 }}"
        );
    }
    if let (Limits::Four, Some(service)) = (site.limits, site.services.first()) {
        let _ = writeln!(text, "  http-request deny deny_status 429 if {{ be_conn({}) gt 100000 }}", service.name);
    }
    text
}
