//! HAProxy: one thread, connections to the upstream always reused, nothing logged.
//!
//! Buffers are 20 KiB instead of 16: a POST of 16 KiB then fits one together with its head, which nearly doubles what
//! HAProxy does with it, and nothing else becomes slower. With 32 KiB, 64 KiB answers are slower.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use super::save;
use crate::error::Result;
use crate::site::Site;

pub(super) fn write(site: &Site, directory: &Path) -> Result<()> {
    save(directory, "haproxy.cfg", &configuration(site))
}

pub(super) fn arguments(directory: &Path) -> Vec<OsString> {
    // In the foreground. Without a master process: HAProxy is then one process, which is its cheapest form.
    vec!["-db".into(), "-f".into(), directory.join("haproxy.cfg").into_os_string()]
}

fn configuration(site: &Site) -> String {
    let mut text = format!(
        "global\n  nbthread 1\n  maxconn 9500\n  tune.bufsize 20480\n\
         defaults\n  mode http\n  maxconn 9500\n  http-reuse always\n  timeout client 75s\n  timeout server 60s\n\
         \x20 timeout connect 5s\n  timeout http-keep-alive 75s\n\
         frontend web\n  bind {} backlog 4096\n",
        site.listen
    );
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
            let _ = writeln!(text, "  server s{number} {}", label.address);
        }
    }
    text
}
