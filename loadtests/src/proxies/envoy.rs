//! Envoy: one worker, nothing logged, no statistics kept, request ids off, circuit breakers out of the way.

use std::ffi::OsString;
use std::path::Path;

use serde_json::{Value, json};

use super::save;
use crate::error::Result;
use crate::site::{Site, Speaks};
use crate::tls;

pub(super) fn write(site: &Site, directory: &Path) -> Result<()> {
    save(directory, "envoy.json", &format!("{:#}", configuration(site, directory)))
}

pub(super) fn arguments(directory: &Path) -> Vec<OsString> {
    let fixed = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "--config-path"];
    fixed.into_iter().map(OsString::from).chain([directory.join("envoy.json").into_os_string()]).collect()
}

fn address(of: std::net::SocketAddr) -> Value {
    json!({"socket_address": {"address": of.ip().to_string(), "port_value": of.port()}})
}

fn configuration(site: &Site, directory: &Path) -> Value {
    let hosts: Vec<Value> = site
        .routes
        .iter()
        .map(|route| {
            json!({
                "name": route.name, "domains": [route.host],
                "routes": [{"match": {"prefix": route.prefix}, "route": {"cluster": route.service, "timeout": "60s"}}],
            })
        })
        .collect();
    let clusters: Vec<Value> = site
        .services
        .iter()
        .map(|service| {
            let endpoints: Vec<Value> = service
                .endpoints
                .iter()
                .map(|label| json!({"endpoint": {"address": address(label.address)}}))
                .collect();
            let most = 1_000_000;
            let mut cluster = json!({
                "name": service.name, "type": "STATIC", "connect_timeout": "5s", "lb_policy": "ROUND_ROBIN",
                "circuit_breakers": {"thresholds": [{
                    "max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": most,
                }]},
                "load_assignment": {"cluster_name": service.name, "endpoints": [{"lb_endpoints": endpoints}]},
            });
            if let (Speaks::Http2Through, Some(fields)) = (site.speaks, cluster.as_object_mut()) {
                fields.insert("typed_extension_protocol_options".to_owned(), behind());
            }
            cluster
        })
        .collect();
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "web", "codec_type": if site.speaks == Speaks::Http1 { "HTTP1" } else { "AUTO" }, "generate_request_id": false,
        "route_config": {"name": "web", "virtual_hosts": hosts},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "dynamic_stats": false, "suppress_envoy_headers": true,
        }}],
    });
    let filters = json!([{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]);
    let chain = if site.tls {
        json!({"filters": filters, "transport_socket": transport(site, directory)})
    } else {
        json!({"filters": filters})
    };
    json!({
        "stats_config": {"stats_matcher": {"reject_all": true}},
        "static_resources": {
            "listeners": [{
                "name": "web", "address": address(site.listen), "tcp_backlog_size": 4096,
                "filter_chains": [chain],
            }],
            "clusters": clusters,
        },
    })
}

/// HTTP/2 with endpoints.
fn behind() -> Value {
    json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }})
}

/// TLS with clients.
fn transport(site: &Site, directory: &Path) -> Value {
    let protocols = if site.speaks == Speaks::Http1 { json!([]) } else { json!(["h2", "http/1.1"]) };
    let [chain, key] =
        [tls::CHAIN, tls::KEY].map(|name| json!({"filename": directory.join(name).display().to_string()}));
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": protocols,
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
                "tls_certificates": [{"certificate_chain": chain, "private_key": key}],
            },
        },
    })
}
