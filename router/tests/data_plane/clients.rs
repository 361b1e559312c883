//! Old clients, hasty clients, and clients that say when they are done.

use std::fmt::Write as _;

use super::support::{Ending, QUIET, Site, Upstream};

#[test]
fn an_http_1_0_client_gets_a_body_that_ends_with_the_connection() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let site = Site::of(&upstream);
    for lines in ["", "Connection: keep-alive\r\n"] {
        let mut client = site.client();
        let answer = client.send(format!("GET / HTTP/1.0\r\nHost: a\r\n{lines}\r\n")).head();
        assert_eq!((answer.status(), answer.header("transfer-encoding")), (200, None), "{answer:?}");
        assert_eq!(client.ending(), Ending::Closed(b"abc".to_vec()), "{lines:?}");
    }
    assert!(upstream.received().first.ends_with(" HTTP/1.1"));
}

#[test]
fn an_http_1_0_client_may_keep_its_connection() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..3 {
        let answer = client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").answer();
        answer.assert_ok("ok");
        assert!(answer.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("keep-alive")), "{answer:?}");
    }
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").answer().assert_ok("ok");
    client.assert_closed();
}

/// Its request is sent on as HTTP/1.1, which is not complete without a Host.
#[test]
fn an_http_1_0_client_without_a_host_is_served_by_a_route_for_any() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    site.exchange("GET /x HTTP/1.0\r\n\r\n").assert_ok("ok");
    let request = upstream.received();
    assert_eq!((request.first.as_str(), request.headers("host").len()), ("GET /x HTTP/1.1", 1), "{request:?}");
}

#[test]
fn an_http_1_0_client_may_send_a_body() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    site.exchange("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").assert_ok("ok");
    assert_eq!(upstream.received().raw_body, b"hello");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            peer.ok(&request.first);
        }
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    let mut bytes = String::new();
    for n in 0..20 {
        let body = "b".repeat(n);
        write!(bytes, "POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: {n}\r\n\r\n{body}").unwrap();
        write!(bytes, "GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    client.send(bytes);
    for n in 0..20 {
        client.answer().assert_ok(&format!("POST /{n} HTTP/1.1"));
        client.answer().assert_ok(&format!("GET /{n} HTTP/1.1"));
    }
    for n in 0..20 {
        assert_eq!(upstream.received().body.len(), n);
        upstream.received();
    }
    client.get("/last").assert_ok("GET /last HTTP/1.1");
}

#[test]
fn pipelined_requests_of_all_kinds_are_answered_in_order() {
    let upstream = Upstream::ok("up");
    let site = Site::to(&upstream)
        .route("paths: [{prefix: /up}]")
        .document("kind: Route\nname: own\npaths: [{prefix: /own}]\nrespond: {status: 200, body: own}")
        .start();
    let mut client = site.client();
    client.send(
        "GET /up HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody\
         POST /own HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
         HEAD /up HTTP/1.1\r\nHost: a\r\n\r\nGET /up HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n\
         GET /never HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    client.answer().assert_ok("up");
    client.answer().assert_reject(404, "no_route");
    client.answer().assert_reject(404, "no_route");
    client.answer().assert_ok("own");
    assert_eq!(client.head().header("content-length"), Some("2"));
    client.answer().assert_ok("up");
    assert!(!matches!(client.ending_within(super::support::PATIENCE), Ending::Open(_)));
}

#[test]
fn connection_close_is_honoured() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    for path in ["/", "/a%2fb"] {
        let mut client = site.client();
        let answer = client.get_with(path, "Connection: close\r\n");
        assert_eq!(answer.header("connection"), Some("close"));
        client.assert_closed();
    }
    let first = upstream.received();
    assert_eq!(first.header("connection"), None, "the endpoint's connection is another one");
    site.get("/").assert_ok("ok");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_connection_serves_many_requests_and_empty_lines_between_them() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..50 {
        client.get("/").assert_ok("ok");
        client.send("\r\n\r\n");
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(client.ending_within(QUIET), Ending::Open(Vec::new()));
}

#[test]
fn a_request_in_single_bytes_is_served() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let mut client = site.client();
    let request = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n";
    for byte in request.bytes() {
        client.send([byte]);
    }
    client.answer().assert_ok("ok");
    assert_eq!(upstream.received().text(), "hello");
}

#[test]
fn a_client_that_closes_its_half_after_the_request_is_answered_or_let_go() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.get("/").assert_ok("ok");
    client.finish_sending().assert_closed();
}
