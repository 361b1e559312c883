//! nginx: a master and one worker, connections to the upstream kept, nothing logged, bodies kept in memory.
//!
//! With pins it maps tenants to cells as well, and so stands in for GridRouter where a drill itself is tried.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use super::save;
use crate::error::Result;
use crate::site::{Limits, Pin, Route, STAMP_HEADER, Service, Site, Speaks, TENANT_HEADER};
use crate::tls;
use crate::upstream::Label;

/// The file that maps tenants to cells.
pub const PINS: &str = "pins.conf";

pub(super) fn write(site: &Site, directory: &Path) -> Result<()> {
    for temporary in ["body", "proxy", "other"] {
        let path = directory.join(temporary);
        crate::error::Context::context(std::fs::create_dir_all(&path), "cannot make nginx's directories")?;
    }
    save(directory, PINS, &pins(&site.pins))?;
    save(directory, "nginx.conf", &configuration(site, directory))
}

pub(super) fn arguments(directory: &Path) -> Vec<OsString> {
    let path = |name: &str| directory.join(name).into_os_string();
    vec!["-c".into(), path("nginx.conf"), "-p".into(), path(""), "-e".into(), "stderr".into()]
}

/// The text of [`PINS`].
pub fn pins(pins: &[Pin]) -> String {
    pins.iter().fold(String::new(), |text, pin| text + &format!("\"{}\" {};\n", pin.tenant, pin.cell))
}

/// The text of `nginx.conf`.
pub fn configuration(site: &Site, directory: &Path) -> String {
    let directory = directory.display();
    let mut text = format!(
        "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 20000;\npid {directory}/nginx.pid;\n\
         error_log stderr crit;\nevents {{ worker_connections 19000; multi_accept on; }}\n\
         http {{\n\
         access_log off;\nserver_tokens off;\nkeepalive_timeout 75s;\nkeepalive_requests 1000000000;\ntcp_nodelay on;\n\
         client_body_temp_path {directory}/body;\nproxy_temp_path {directory}/proxy;\n\
         fastcgi_temp_path {directory}/other;\nuwsgi_temp_path {directory}/other;\nscgi_temp_path {directory}/other;\n\
         client_body_buffer_size 1m;\nclient_max_body_size 0;\n\
         proxy_buffer_size 16k;\nproxy_buffers 8 16k;\nproxy_max_temp_file_size 0;\n\
         proxy_http_version 1.1;\nproxy_set_header Connection \"\";\nproxy_set_header Host $http_host;\n"
    );
    let tenant = format!("$http_{}", TENANT_HEADER.replace('-', "_"));
    if site.limits() != Limits::None {
        let _ = writeln!(text, "limit_req_zone {tenant} zone=tenant:32m rate=1000000r/s;");
    }
    if site.limits() == Limits::Four {
        let _ = writeln!(
            text,
            "limit_req_zone $binary_remote_addr zone=address:1m rate=1000000r/s;\n\
             limit_conn_zone $server_name zone=route:1m;\n\
             limit_req_zone {tenant}$server_name zone=both:32m rate=1000000r/s;"
        );
    }
    let by_cell = !site.pins.is_empty();
    if site.tls {
        let _ = writeln!(
            text,
            "ssl_certificate {directory}/{};\nssl_certificate_key {directory}/{};\nssl_protocols TLSv1.3;\nssl_buffer_size 16k;",
            tls::CHAIN,
            tls::KEY
        );
    }
    if by_cell {
        text.push_str("map_hash_max_size 262144;\nmap_hash_bucket_size 128;\n");
        let _ = writeln!(text, "split_clients $http_{} $placed {{", TENANT_HEADER.replace('-', "_"));
        let share = 100 / site.cells.len().max(1);
        for (number, cell) in site.cells.iter().enumerate() {
            let _ = if number + 1 == site.cells.len() {
                writeln!(text, "* {cell};")
            } else {
                writeln!(text, "{share}% {cell};")
            };
        }
        let variable = TENANT_HEADER.replace('-', "_");
        let _ = writeln!(text, "}}\nmap $http_{variable} $cell {{\ndefault $placed;\ninclude {directory}/{PINS};\n}}");
    }
    for service in &site.services {
        let cells = if by_cell { site.cells.iter().map(Some).collect() } else { vec![None] };
        for cell in cells {
            text.push_str(&upstream(service, cell.map(String::as_str)));
        }
    }
    for route in &site.routes {
        text.push_str(&server(site, route, by_cell));
    }
    text.push_str("}\n");
    text
}

fn upstream(service: &Service, cell: Option<&str>) -> String {
    let mut text = match cell {
        Some(cell) => format!("upstream {}-{cell} {{\n", service.name),
        None => format!("upstream {} {{\n", service.name),
    };
    let inside = |label: &&Label| cell.is_none_or(|cell| label.cell == cell);
    for label in service.endpoints.iter().filter(inside) {
        let fails = if service.ejects { " fail_timeout=1s" } else { " max_fails=0" };
        let _ = writeln!(text, "server {}{fails};", label.address);
    }
    text + "keepalive 1024;\nkeepalive_requests 1000000000;\nkeepalive_timeout 60s;\n}\n"
}

fn server(site: &Site, route: &Route, by_cell: bool) -> String {
    let Route { host, prefix, service, timeouts, .. } = route;
    let (http2, pass) = match site.speaks {
        Speaks::Http1 => ("", "proxy_pass http"),
        Speaks::Http2 => (" http2", "proxy_pass http"),
        Speaks::Http2Through => (" http2", "grpc_pass grpc"),
    };
    let ssl = if site.tls { " ssl" } else { "" };
    let mut text = format!(
        "server {{\nlisten {}{ssl}{http2} backlog=4096;\nserver_name {host};\nlocation {prefix} {{\n",
        site.listen
    );
    if site.routes.first().is_none_or(|first| first.host != *host) {
        // Options of a listener may stand only once.
        text = text.replace(" backlog=4096", "");
    }
    if let Some(times) = timeouts {
        let _ =
            writeln!(text, "proxy_connect_timeout {}ms;\nproxy_read_timeout {}ms;", times.connect, times.response_head);
    }
    if let Some(stamp) = site.stamp {
        let _ = writeln!(text, "add_header {STAMP_HEADER} {stamp};");
    }
    if route.limits != Limits::None {
        text.push_str("limit_req zone=tenant burst=1000000 nodelay;\n");
    }
    if route.limits == Limits::Four {
        text.push_str("limit_req zone=address burst=1000000 nodelay;\nlimit_req zone=both burst=1000000 nodelay;\n");
        text.push_str("limit_conn route 65535;\n");
    }
    let cell = if by_cell { "-$cell" } else { "" };
    let _ = writeln!(text, "{pass}://{service}{cell};\n}}\n}}");
    text
}
