//! What is spoken: agreed on in the handshake, or known before.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    Http2Upstream::new(Manner { tls: Some(config(pair, protocols)), ..Manner::default() }, script)
}

/// How it shakes hands.
pub(crate) fn config(pair: &Pair, protocols: &[&str]) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![pair.der()], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(crate) fn to(address: SocketAddr, root: &Authority, protocol: &str) -> Builder {
    to_all(&[address], root, protocol)
}

fn to_all(addresses: &[SocketAddr], root: &Authority, protocol: &str) -> Builder {
    service(addresses, root, protocol).route("")
}

/// The service without a route to it.
pub(crate) fn service(addresses: &[SocketAddr], root: &Authority, protocol: &str) -> Builder {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("{{address: \"{address}\"}}")).collect();
    let endpoints = endpoints.join(", ");
    let tls = format!("tls:\n  serverName: shop.internal\n  authorities:\n    inline: |\n{}", indented(&root.pem, 6));
    Site::builder()
        .document(&format!("kind: Service\nname: all\nendpoints: {{blue: [{endpoints}]}}\nprotocol: {protocol}\n{tls}"))
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

/// Passes connections on: the first ones to one endpoint, and then to the other, and those only when so many have come.
fn changing(first: SocketAddr, then: SocketAddr, changed: &Arc<AtomicUsize>, together: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let changed = Arc::clone(changed);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((client, _)) = listener.accept() {
            if changed.load(Ordering::SeqCst) == 0 {
                pass(client, first);
                continue;
            }
            held.push(client);
            if held.len() >= together {
                held.drain(..).for_each(|client| pass(client, then));
            }
        }
    });
    address
}

fn pass(client: TcpStream, to: SocketAddr) {
    let server = TcpStream::connect(to).unwrap();
    for (mut from, mut into) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
        std::thread::spawn(move || {
            let _ended: std::io::Result<_> = std::io::copy(&mut from, &mut into);
            let _gone: std::io::Result<_> = into.shutdown(std::net::Shutdown::Both);
        });
    }
}

/// As many as ask at that moment open a connection each, because it was one of HTTP/1.1 until then. One is enough.
#[test]
fn an_endpoint_that_changes_to_http2_under_load_has_no_more_connections_than_it_needs() {
    const ASKING: usize = 40;
    let root = Authority::new("root");
    let pair = root.certify(&["shop.internal"]);
    let old = SecureUpstream::start(&pair, None, false);
    let new = secure_with(&pair, &["h2", "http/1.1"], |mut call: Call| async move {
        call.wait().await;
        call.ok("new").await;
    });
    let changed = Arc::new(AtomicUsize::new(0));
    let front = changing(old.address, new.address(), &changed, ASKING);
    let site = service(&[front], &root, "auto").threads(1).route("timeouts: {upstreamIdle: 60s}").start();
    for _ in 0..2 {
        site.get("/").assert_ok("hi");
    }
    changed.store(1, Ordering::SeqCst);
    let mut clients: Vec<_> = (0..ASKING).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    // All but one are closed, although there is as much to do as before.
    for _ in 1..ASKING {
        assert!(new.logged().ends_with("ended"));
    }
    new.go.add_permits(ASKING);
    for client in &mut clients {
        client.answer().assert_ok("new");
    }
    assert_eq!(new.connections(), ASKING);
    assert!(new.drain().is_empty());
    eventually("one is left", || (site.metric("gridrouter_upstream_connections_idle") - 1.0).abs() < 0.1);
}
