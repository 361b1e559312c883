//! `Expect: 100-continue`.

use super::support::{Ending, QUIET, Site, Upstream};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[test]
fn the_client_is_told_to_continue_once_the_endpoint_takes_the_body() {
    let upstream = Upstream::ok("done");
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..2 {
        let interim = client.send(HEAD).head();
        assert_eq!((interim.first.as_str(), interim.lines.len()), ("HTTP/1.1 100 Continue", 0));
        client.send("hello").answer().assert_ok("done");
        let request = upstream.received();
        assert_eq!((request.header("expect"), request.text().as_str()), (None, "hello"));
    }
}

#[test]
fn a_client_that_does_not_wait_is_served_too() {
    let upstream = Upstream::ok("done");
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send(format!("{HEAD}hello"));
    let mut answer = client.answer();
    if answer.status() == 100 {
        answer = client.answer();
    }
    answer.assert_ok("done");
    assert_eq!(upstream.received().text(), "hello");
}

#[test]
fn a_refused_request_is_never_told_to_continue() {
    let upstream = Upstream::ok("done");
    let limit = "kind: Limit\nname: one\nkey: [route]\ntokenBucket: {rate: 1/h, burst: 1}";
    let site = Site::to(&upstream).route("paths: [{prefix: /limited}]\nlimits: [one]").document(limit).start();
    site.get("/limited").assert_ok("done");
    assert_eq!(upstream.received().first, "GET /limited HTTP/1.1");
    for (path, status) in [("/", 404), ("/limited", 429), ("/a%2fb", 400)] {
        let mut client = site.client();
        let answer = client.send(HEAD.replacen('/', path, 1)).answer();
        assert_eq!(answer.status(), status, "{path}: {answer:?}");
    }
    upstream.assert_untouched();
}

/// The body that was not asked for may come all the same, or may not: only a new connection is unambiguous.
#[test]
fn the_connection_of_a_refused_expectation_is_not_used_again() {
    let site = Site::builder().start();
    let mut client = site.client();
    let answer = client.send(HEAD).answer();
    answer.assert_reject(404, "no_route");
    assert_eq!(answer.header("connection"), Some("close"));
    client.try_send("hello");
    client.try_send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    let Ending::Closed(rest) = client.ending() else { panic!("no clean end") };
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn the_endpoint_s_own_refusal_reaches_a_client_that_waits() {
    let upstream = Upstream::scripted(|peer| {
        let request = peer.head();
        peer.log(&request);
        peer.send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig");
        assert!(!matches!(peer.ending(), Ending::Open(_)), "the router keeps the connection");
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send(HEAD);
    let mut answer = client.answer();
    if answer.status() == 100 {
        answer = client.answer();
    }
    assert_eq!((answer.status(), answer.text().as_str()), (413, "big"));
}

#[test]
fn an_expectation_without_a_body_or_of_an_old_client_is_nothing_to_wait_for() {
    let upstream = Upstream::ok("done");
    let site = Site::of(&upstream);
    site.get_with("/", "Expect: 100-continue\r\n").assert_ok("done");
    assert_eq!(upstream.received().header("expect"), None);
    let mut client = site.client();
    client.send("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.ending_within(QUIET), Ending::Open(Vec::new()), "HTTP/1.0 knows no 100");
    client.send("hello").answer().assert_ok("done");
}
