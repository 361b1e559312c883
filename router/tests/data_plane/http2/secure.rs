//! HTTP/2 over TLS.

use std::sync::Arc;

use http::Request;
use rustls::pki_types::ServerName;

use crate::support::tls::{Authority, BOTH, Trusting};
use crate::support::{Site, Upstream};

/// What is agreed on with a client that offers these.
fn agreed(site: &Site, authority: &Authority, offers: &[&[u8]]) -> Option<Vec<u8>> {
    let client = Trusting::offering(authority, &BOTH, offers);
    let connected = client.try_connect(site.address(), "a.test").ok()?;
    connected.stream.conn.alpn_protocol().map(<[u8]>::to_vec)
}

#[test]
fn it_is_agreed_on_where_both_speak_it() {
    let authority = Authority::new("one");
    let upstream = Upstream::ok("fine");
    let certificate = authority.certify(&["a.test"]).document("a");
    let site = |lines: &str| {
        Site::to(&upstream).listener(&format!("tls: {{}}\n{lines}")).route("").document(&certificate).start()
    };
    let with = site("");
    assert_eq!(agreed(&with, &authority, &[b"http/1.1", b"h2"]).as_deref(), Some(&b"h2"[..]), "the router's choice");
    assert_eq!(agreed(&with, &authority, &[b"http/1.1"]).as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(agreed(&with, &authority, &[]), None);
    let without = site("http2: {enabled: false}");
    assert_eq!(agreed(&without, &authority, &[b"h2", b"http/1.1"]).as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(agreed(&without, &authority, &[b"h2"]), None, "no protocol in common: no connection");
}

#[test]
fn requests_are_answered_and_endpoints_told_that_it_was_tls() {
    let authority = Authority::new("one");
    let upstream = Upstream::ok("fine");
    let certificate = authority.certify(&["a.test"]).document("a");
    let site = Site::to(&upstream).listener("tls: {}").route("").document(&certificate).start();
    let config = Trusting::offering(&authority, &BOTH, &[b"h2"]).config();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(site.address()).await.unwrap();
        let name = ServerName::try_from("a.test").unwrap();
        let tls = tokio_rustls::TlsConnector::from(Arc::clone(&config)).connect(name, socket).await.unwrap();
        let (mut client, connection) = h2::client::handshake(tls).await.unwrap();
        let moving = tokio::spawn(connection);
        for _ in 0..3 {
            client = client.ready().await.unwrap();
            let asked = Request::get("https://a.test/x").body(()).unwrap();
            let mut answer = client.send_request(asked, true).unwrap().0.await.unwrap();
            assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), "fine");
        }
        moving.abort();
    });
    assert_eq!(upstream.received().header("x-forwarded-proto"), Some("https"));
}

#[test]
fn what_is_in_clear_on_a_port_for_tls_is_told_so() {
    let authority = Authority::new("one");
    let upstream = Upstream::ok("fine");
    let certificate = authority.certify(&["a.test"]).document("a");
    let site = Site::to(&upstream).listener("tls: {}").route("").document(&certificate).start();
    assert_eq!(site.exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").status(), 400);
}
