//! What is spoken: agreed on in the handshake, or known before.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::support::http2::{Call, Http2Upstream, Manner};
use crate::support::tls::{Authority, Pair, SecureUpstream, indented};
use crate::support::{Builder, Site, Upstream, eventually};

use super::{over_http2, pattern, post};

/// An endpoint that agrees to these protocols and then speaks HTTP/2, whatever was agreed on.
fn secure(pair: &Pair, protocols: &[&str]) -> Http2Upstream {
    secure_with(pair, protocols, |mut call: Call| async move {
        let scheme = call.request.uri().scheme_str().unwrap_or_default().to_owned();
        call.log(scheme);
        let (body, _) = call.body().await.unwrap();
        call.ok(body).await;
    })
}

fn secure_with<F: Future<Output = ()> + Send + 'static>(
    pair: &Pair,
    protocols: &[&str],
    script: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Http2Upstream {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![pair.der()], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Http2Upstream::new(Manner { tls: Some(Arc::new(config)), ..Manner::default() }, script)
}

fn to(address: SocketAddr, root: &Authority, protocol: &str) -> Builder {
    to_all(&[address], root, protocol)
}

fn to_all(addresses: &[SocketAddr], root: &Authority, protocol: &str) -> Builder {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("{{address: \"{address}\"}}")).collect();
    let endpoints = endpoints.join(", ");
    let tls = format!("tls:\n  serverName: shop.internal\n  authorities:\n    inline: |\n{}", indented(&root.pem, 6));
    Site::builder()
        .document(&format!("kind: Service\nname: all\nendpoints: {{blue: [{endpoints}]}}\nprotocol: {protocol}\n{tls}"))
        .route("")
}

#[test]
fn over_tls_it_is_agreed_on() {
    let root = Authority::new("root");
    let pair = root.certify(&["shop.internal"]);
    for protocol in ["h2", "auto"] {
        for offers in [&["h2"][..], &["h2", "http/1.1"]] {
            let upstream = secure(&pair, offers);
            let site = to(upstream.address(), &root, protocol).start();
            let body = pattern(1_000_000);
            for _ in 0..3 {
                assert!(site.exchange(post("/", &body)).body == body);
                assert_eq!(upstream.logged(), "https");
            }
            assert_eq!(upstream.connections(), 1);
        }
    }
}

#[test]
fn an_endpoint_that_does_not_agree_gets_no_request() {
    let root = Authority::new("root");
    let pair = root.certify(&["shop.internal"]);
    // It speaks HTTP/1.1 only and says so, or it says nothing.
    let upstream = SecureUpstream::start(&pair, None, true);
    to(upstream.address, &root, "h2").start().get("/").assert_reject(502, "upstream_no_http2");
    let upstream = secure(&pair, &[]);
    to(upstream.address(), &root, "h2").start().get("/").assert_reject(502, "upstream_no_http2");
    assert_eq!(upstream.drain(), Vec::<String>::new());
}

#[test]
fn where_it_may_be_either_one_that_does_not_agree_is_spoken_with_over_http1() {
    let root = Authority::new("root");
    let upstream = SecureUpstream::start(&root.certify(&["shop.internal"]), None, true);
    let site = to(upstream.address, &root, "auto").start();
    for _ in 0..5 {
        site.get("/").assert_ok("hi");
    }
    assert_eq!(upstream.seen().len(), 1, "the connection that found out is used, and kept");
    let mut clients: Vec<_> = (0..10).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().body.len(), 1_000_000);
    }
}

/// What one endpoint took nothing of over HTTP/2 goes to the next as it was, over HTTP/1.1.
#[test]
fn what_was_refused_over_http2_may_go_on_over_http1() {
    let root = Authority::new("root");
    let pair = root.certify(&["shop.internal"]);
    let refusing = secure_with(&pair, &["h2"], |mut call: Call| async move {
        call.log(call.path());
        call.respond.send_reset(h2::Reason::REFUSED_STREAM);
    });
    let other = SecureUpstream::start(&pair, None, true);
    let body = pattern(30_000);
    for is_chunked in [false, true] {
        let site = to_all(&[refusing.address(), other.address], &root, "auto").start();
        let request = if is_chunked {
            let mut request = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for piece in body.chunks(10_000) {
                request.extend_from_slice(b"2710\r\n");
                request.extend_from_slice(piece);
                request.extend_from_slice(b"\r\n");
            }
            request.extend_from_slice(b"0\r\n\r\n");
            request
        } else {
            post("/", &body)
        };
        for _ in 0..2 {
            let answer = site.exchange(&request);
            assert!(answer.status() == 200 && answer.body == body, "{}", answer.first);
        }
        assert_eq!(refusing.drain(), ["/", "/", "/"]);
    }
}

#[test]
fn in_clear_it_is_known_before() {
    let http1 = Upstream::scripted(|peer| {
        peer.raw_head();
        peer.try_send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        peer.ending();
    });
    over_http2(&[http1.address()]).route("").start().get("/").assert_reject(502, "upstream_no_http2");
    let upstream = Upstream::ok("ok");
    let auto = format!(
        "kind: Service\nname: all\nendpoints: {{blue: [{{address: \"{}\"}}]}}\nprotocol: auto",
        upstream.address()
    );
    Site::builder().document(&auto).route("").start().get("/").assert_ok("ok");
}

#[test]
fn other_terms_are_other_connections() {
    let upstream = Upstream::scripted(|peer| {
        let head = peer.raw_head();
        if head.starts_with(b"PRI") {
            return;
        }
        peer.ok("1");
        while peer.request().is_some() {
            peer.ok("1");
        }
    });
    let site = over_http2(&[upstream.address()]).route("").start();
    site.get("/").assert_reject(502, "upstream_closed");
    site.edit("protocol: h2", "protocol: http1");
    eventually("HTTP/1.1 is spoken", || site.get("/").status() == 200);
    site.edit("protocol: http1", "protocol: h2");
    eventually("HTTP/2 is", || site.get("/").status() != 200);
}
