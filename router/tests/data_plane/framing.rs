//! How messages are delimited on both sides, byte by byte.

use super::support::{Ending, QUIET, Site, Upstream};

#[test]
fn a_plain_request_and_its_answer() {
    let upstream = Upstream::answering("HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-Own: 1\r\n\r\nok");
    let site = Site::of(&upstream);
    let answer = site.get_with("/a?b=c", "X-Own: 2\r\n");
    assert_eq!(answer.first, "HTTP/1.1 200 OK");
    assert_eq!(answer.sorted(), ["content-length: 2", "x-own: 1"]);
    assert_eq!(answer.text(), "ok");
    let request = upstream.received();
    assert_eq!(request.first, "GET /a?b=c HTTP/1.1");
    let wanted = [
        "host: a.test",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: a.test",
        "x-forwarded-proto: http",
        "x-own: 2",
    ];
    assert_eq!(request.sorted(), wanted);
    assert_eq!(request.header("x-request-id").unwrap().len(), 32);
}

#[test]
fn a_body_of_known_length_keeps_its_framing() {
    let upstream = Upstream::ok("");
    let site = Site::of(&upstream);
    let mut client = site.client();
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")).answer().assert_ok("");
        let request = upstream.received();
        assert_eq!((request.header("content-length"), request.header("transfer-encoding")), (Some("5"), None));
        assert_eq!(request.raw_body, b"hello", "{method}");
    }
    for method in ["POST", "GET"] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).answer().assert_ok("");
        let request = upstream.received();
        assert_eq!((request.header("content-length"), request.header("transfer-encoding")), (Some("0"), None));
    }
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").answer().assert_ok("");
    let request = upstream.received();
    assert_eq!((request.header("content-length"), request.header("transfer-encoding")), (None, None));
}

#[test]
fn a_body_in_chunks_stays_in_chunks() {
    let upstream = Upstream::ok("");
    let site = Site::of(&upstream);
    let mut client = site.client();
    for method in ["POST", "DELETE", "GET"] {
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;ext=\"v\"\r\nabc\r\n00A\r\n0123456789\r\n000\r\n\r\n"
        ));
        client.answer().assert_ok("");
        let request = upstream.received();
        assert_eq!((request.header("content-length"), request.header("transfer-encoding")), (None, Some("chunked")));
        assert_eq!(request.text(), "abc0123456789", "{method}");
        let raw = String::from_utf8(request.raw_body).unwrap();
        assert!(raw.starts_with("3\r\nabc\r\n") && raw.ends_with("\r\n0\r\n"), "{raw:?}");
        assert!(!raw.contains("ext"));
    }
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").answer().assert_ok("");
    assert_eq!(upstream.received().raw_body, b"0\r\n");
}

#[test]
fn trailers_reach_the_endpoint() {
    let upstream = Upstream::ok("");
    let site = Site::of(&upstream);
    site.exchange(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
    )
    .assert_ok("");
    let request = upstream.received();
    assert_eq!(request.header("trailer"), Some("x-sum"));
    assert_eq!(request.trailers, ["x-sum: 7"]);
}

#[test]
fn trailers_reach_the_client_that_takes_them() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let site = Site::of(&upstream);
    let mut client = site.client();
    let answer = client.get_with("/", "TE: trailers\r\n");
    assert_eq!((answer.text().as_str(), answer.trailers.as_slice()), ("abc", &["x-sum: 7".to_owned()][..]));
    // Who did not ask for trailers may throw them away, and so may the router; the body is whole all the same.
    client.get("/").assert_ok("abc");
    client.get("/").assert_ok("abc");
    assert_eq!(upstream.connections(), 1, "the connection is usable after trailers");
}

/// RFC 9110 §6.6.2: `Trailer` should announce them, and need not.
#[test]
fn trailers_that_were_not_announced_are_passed_on_both_ways() {
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n");
    let site = Site::of(&upstream);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = site.exchange(format!("{request}3\r\nabc\r\n0\r\nX-Own: 8\r\n\r\n"));
    assert_eq!((answer.text().as_str(), answer.trailers.as_slice()), ("abc", &["x-sum: 7".to_owned()][..]));
    assert_eq!(upstream.received().trailers, ["x-own: 8"]);
}

/// Whoever merges trailers into the headers would take them for checked.
#[test]
fn trailers_that_would_pass_for_checked_headers_are_dropped() {
    let upstream = Upstream::ok("");
    let site = Site::of(&upstream);
    site.exchange(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\nX-Forwarded-For: 6.6.6.6\r\n\
         Authorization: x\r\nContent-Length: 5\r\nX-Sum: 7\r\n\r\n",
    )
    .assert_ok("");
    assert_eq!(upstream.received().trailers, ["x-sum: 7"]);
}

#[test]
fn an_answer_in_chunks_or_without_length_is_sent_in_chunks() {
    let chunked =
        Upstream::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n");
    let answer = Site::of(&chunked).get("/");
    assert_eq!((answer.header("transfer-encoding"), answer.header("content-length")), (Some("chunked"), None));
    answer.assert_ok("abcd");
    let to_end = Upstream::scripted(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\nabcd");
    });
    let site = Site::of(&to_end);
    let mut client = site.client();
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!((answer.header("transfer-encoding"), answer.header("content-length")), (Some("chunked"), None));
        answer.assert_ok("abcd");
    }
}

#[test]
fn head_keeps_the_length_and_the_connection() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\netag: x\r\n\r\n");
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..3 {
        let answer = client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").head();
        assert_eq!((answer.status(), answer.header("content-length")), (200, Some("1234")));
    }
    assert_eq!(upstream.received().first, "HEAD / HTTP/1.1");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn head_of_an_answer_in_chunks_keeps_the_connection() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..3 {
        let answer = client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").head();
        assert_eq!((answer.status(), answer.header("content-length")), (200, None));
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn head_of_a_reject_has_no_body() {
    let site = Site::builder().start();
    let mut client = site.client();
    for _ in 0..2 {
        let answer = client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").head();
        assert_eq!((answer.status(), answer.reject()), (404, Some("no_route")));
    }
    client.get("/").assert_reject(404, "no_route");
}

#[test]
fn answers_without_a_body_keep_the_connection() {
    for answer in [
        "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\netag: z\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\netag: z\r\ncontent-length: 55\r\n\r\n",
    ] {
        let upstream = Upstream::answering(answer);
        let site = Site::of(&upstream);
        let mut client = site.client();
        for _ in 0..3 {
            let got = client.get("/");
            assert!(matches!(got.status(), 204 | 304), "{got:?}");
            assert_eq!(got.header("transfer-encoding"), None);
            if got.status() == 204 {
                assert_eq!(got.header("content-length"), None);
            }
        }
        assert_eq!(upstream.connections(), 1, "{answer:?}");
        assert_eq!(client.ending_within(QUIET), Ending::Open(Vec::new()));
    }
}

#[test]
fn another_protocol_that_nobody_asked_for_is_an_error() {
    let upstream = Upstream::answering("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n");
    let site = Site::of(&upstream);
    site.get("/").assert_reject(502, "upstream_protocol_error");
}

/// RUSTSEC-2026-0033: what follows a request that wants another protocol is not forwarded before the endpoint agrees.
#[test]
fn an_upgrade_is_not_passed_on_and_what_follows_is_the_next_request() {
    let upstream = Upstream::ok("plain");
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    client.answer().assert_ok("plain");
    let request = upstream.received();
    assert_eq!((request.header("upgrade"), request.header("connection")), (None, None));
    client.answer().assert_ok("plain");
    assert_eq!(upstream.received().first, "GET /2 HTTP/1.1");
}
