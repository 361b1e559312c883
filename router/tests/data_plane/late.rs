//! Answers that nobody has asked for, or that come when nobody waits for them any more.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::support::{Ending, Message, PATIENCE, QUIET, Site, Upstream};

const EVIL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";

/// Says more than it was asked, on a connection that the router keeps for later.
#[test]
fn what_an_endpoint_sends_on_an_unused_connection_answers_nobody() {
    let (now, told) = channel::<()>();
    let told = Arc::new(Mutex::new(told));
    for unasked in [EVIL, "H", "\r\n", "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"] {
        let told = Arc::clone(&told);
        let upstream = Upstream::scripted(move |peer| {
            while peer.request().is_some() {
                peer.ok("ok");
                if peer.number == 0 && peer.requests() == 1 {
                    told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                    peer.send(unasked);
                    peer.log(&Message { first: "sent".to_owned(), ..Default::default() });
                }
            }
        });
        let site = Site::of(&upstream);
        let mut client = site.client();
        client.get("/1").assert_ok("ok");
        assert_eq!(upstream.received().first, "GET /1 HTTP/1.1");
        now.send(()).unwrap();
        assert_eq!(upstream.received().first, "sent");
        client.get("/2").assert_ok("ok");
        assert_eq!(upstream.received().first, "GET /2 HTTP/1.1");
        client.get("/3").assert_ok("ok");
        assert_eq!(upstream.connections(), 2, "{unasked:?}");
    }
}

/// The router has given up by then, and told the client so.
#[test]
fn an_answer_that_comes_too_late_answers_nobody() {
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            if request.first.starts_with("GET /slow") {
                let ending = peer.ending_within(PATIENCE);
                assert!(!matches!(ending, Ending::Open(_)), "the router keeps a connection that owes an answer");
                peer.try_send(EVIL);
                return;
            }
            peer.ok("ok");
        }
    });
    let site = Site::to(&upstream).route("timeouts: {responseHead: 300ms}").start();
    let mut client = site.client();
    client.get("/1").assert_ok("ok");
    client.get("/slow").assert_reject(504, "upstream_response_timeout");
    for _ in 0..3 {
        client.get("/2").assert_ok("ok");
    }
}

/// Its client has gone: what the endpoint sends is nobody else's answer.
#[test]
fn an_answer_whose_client_has_gone_answers_nobody() {
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            if request.first.starts_with("GET /left") {
                peer.ending_within(PATIENCE);
                peer.try_send(EVIL);
                return;
            }
            peer.ok("ok");
        }
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.get("/1").assert_ok("ok");
    upstream.received();
    let mut leaving = site.client();
    leaving.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(upstream.received().first, "GET /left HTTP/1.1");
    drop(leaving);
    for _ in 0..5 {
        client.get("/2").assert_ok("ok");
    }
}

/// An endpoint that never stops sending interim answers, or header lines, is given up; what it costs is bounded.
#[test]
fn an_endpoint_that_floods_instead_of_answering_is_given_up() {
    for flood in ["HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n", "HTTP/1.1 200 OK\r\nx: y\r\n", "HTTP/1.1 200 "] {
        let more = flood.split_inclusive("\r\n").nth(1).unwrap_or("a").to_owned();
        let more = if flood.contains("103") { flood.to_owned() } else { more };
        let upstream = Upstream::scripted(move |peer| {
            peer.request();
            peer.try_send(flood);
            let piece = more.repeat(1000);
            while peer.try_send(&piece) {}
            peer.log(&Message { first: "given up".to_owned(), ..Default::default() });
        });
        let site = Site::of(&upstream);
        let mut client = site.client();
        let mut answer = client.get("/");
        // A few early hints are passed on.
        while answer.status() == 103 {
            answer = client.answer();
        }
        answer.assert_reject(502, "upstream_protocol_error");
        upstream.received();
        assert_eq!(upstream.received().first, "given up", "{flood:?}");
        assert_eq!(client.ending_within(QUIET), Ending::Open(Vec::new()));
    }
}

/// Interim answers that trickle in do not extend the time that the answer has.
#[test]
fn interim_answers_do_not_extend_the_time_for_the_answer() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        for _ in 0..30 {
            peer.try_send("HTTP/1.1 102 Processing\r\n\r\n");
            if !matches!(peer.ending_within(Duration::from_millis(100)), Ending::Open(_)) {
                break;
            }
        }
    });
    let site = Site::to(&upstream).route("timeouts: {responseHead: 500ms}").start();
    site.get("/").assert_reject(504, "upstream_response_timeout");
}
