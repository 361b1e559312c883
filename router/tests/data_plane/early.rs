//! Answers given before the request's body was read.

use super::support::{Ending, Site, Upstream};

const LIMIT: &str = "kind: Limit\nname: one\nkey: [route]\ntokenBucket: {rate: 1/h, burst: 1}";

fn site(upstream: &Upstream) -> Site {
    let site = Site::to(upstream).route("paths: [{prefix: /limited}]\nlimits: [one]").document(LIMIT).start();
    site.get("/limited").assert_ok("ok");
    upstream.received();
    site
}

#[test]
fn a_small_body_is_read_and_the_connection_goes_on() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream);
    let mut client = site.client();
    for (path, status) in [("/none", 404), ("/limited", 429), ("/a%2fb", 400)] {
        for (framing, body) in [
            ("Content-Length: 1000", "x".repeat(1000)),
            ("Transfer-Encoding: chunked", format!("3e8\r\n{}\r\n0\r\n\r\n", "x".repeat(1000))),
        ] {
            client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
            let answer = client.send(body).answer();
            assert_eq!((answer.status(), answer.header("connection")), (status, None));
        }
    }
    client.get("/none").assert_reject(404, "no_route");
    upstream.assert_untouched();
}

/// The client sends all of it before it reads: were the connection simply closed, the reset would overtake the answer.
#[test]
fn a_large_body_does_not_keep_the_client_from_reading_the_answer() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream);
    for (path, status) in [("/none", 404), ("/limited", 429)] {
        for size in [70_000, 500_000, 900_000] {
            let mut client = site.client();
            client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
            client.send(vec![b'x'; size]);
            let answer = client.answer();
            assert_eq!((answer.status(), answer.header("connection")), (status, Some("close")), "{size}");
            assert_eq!(client.ending(), Ending::Closed(Vec::new()), "{path} {size}");
        }
    }
    upstream.assert_untouched();
}

#[test]
fn a_large_body_is_not_waited_for() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream);
    let mut client = site.client();
    client.send("POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000000\r\n\r\nx");
    client.answer().assert_reject(404, "no_route");
    client.finish_sending().assert_closed();
}

/// Small by its length, but it does not come.
#[test]
fn a_small_body_that_does_not_come_is_not_waited_for() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream);
    let mut client = site.client();
    client.send("POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx");
    client.answer().assert_reject(404, "no_route");
    // What comes now must not be read as a request.
    client.try_send("GET /limited HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(client.finish_sending().ending(), Ending::Closed(rest) if rest.is_empty()));
    upstream.assert_untouched();
}

#[test]
fn a_body_in_chunks_without_end_is_not_waited_for() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream);
    let mut client = site.client();
    client.send("POST /none HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("2710\r\n{}\r\n", "x".repeat(10_000));
    for _ in 0..20 {
        client.send(&chunk);
    }
    client.answer().assert_reject(404, "no_route");
    assert_eq!(client.finish_sending().ending(), Ending::Closed(Vec::new()));
}

#[test]
fn a_route_s_own_answer_treats_bodies_alike() {
    let site = Site::builder()
        .document("kind: Route\nname: own\npaths: [{prefix: /own}]\nrespond: {status: 200, body: own}")
        .document("kind: Route\nname: moved\npaths: [{prefix: /old}]\nredirect: {prefix: /own}")
        .start();
    let mut client = site.client();
    client.send("POST /own HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").answer().assert_ok("own");
    let answer = client.send("POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").answer();
    assert_eq!(answer.status(), 302);
    client.send(format!("POST /own HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n{}", "x".repeat(300_000)));
    client.answer().assert_ok("own");
    client.assert_closed();
}

/// The same where it is the endpoint that answers without reading the body.
#[test]
fn an_endpoint_s_early_answer_can_be_read_while_a_large_body_is_sent() {
    for size in [70_000, 500_000, 900_000, 10_000_000] {
        let upstream = Upstream::scripted(|peer| {
            peer.head();
            peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig");
            peer.ending();
        });
        let site = Site::of(&upstream);
        let mut client = site.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
        client.send(vec![b'x'; size]);
        let answer = client.answer();
        assert_eq!((answer.status(), answer.text().as_str()), (413, "big"));
        let ending = client.finish_sending().ending();
        assert_eq!(ending, Ending::Closed(Vec::new()), "{size}");
    }
}
