//! Where two stages of a connection's life overlap.

use std::time::{Duration, Instant};

use super::support::{Ending, PATIENCE, Site, Upstream, assert_fired};

const SHORT: Duration = Duration::from_millis(300);

/// The half head came in the same read as the request before it.
#[test]
fn half_a_head_behind_a_whole_request_runs_out_of_time() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).listener("timeouts: {head: 300ms}").route("").start();
    for first in ["GET /1 HTTP/1.1\r\nHost: a\r\n\r\n", "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"] {
        let mut client = site.client();
        let began = Instant::now();
        client.send(format!("{first}GET /2 HTTP/1.1\r\nHo"));
        client.answer().assert_ok("ok");
        client.answer().assert_reject(408, "head_timeout");
        assert_fired(began, SHORT);
    }
}

#[test]
fn half_a_head_behind_a_whole_request_may_be_completed() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHo");
    client.answer().assert_ok("ok");
    client.send("st: a\r\n\r\n").answer().assert_ok("ok");
}

/// Answers without having read the body, and keeps the connection.
fn hasty() -> Upstream {
    Upstream::scripted(|peer| {
        while let Some(request) = peer.try_head() {
            peer.log(&request);
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly");
            if request.first.starts_with("POST") {
                let Ending::Closed(_) = peer.ending() else { return };
            }
        }
    })
}

#[test]
fn a_body_that_stops_coming_after_the_answer_does_not_hold_the_connection() {
    let upstream = hasty();
    let site = Site::to(&upstream).listener("timeouts: {bodyRead: 300ms}").route("").start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    client.answer().assert_ok("early");
    let ending = client.ending_within(PATIENCE);
    assert!(!matches!(ending, Ending::Open(_)), "{ending:?}");
}

/// RFC 9112 §9.6: the client must not take the connection for usable.
#[test]
fn an_answer_before_the_whole_body_says_that_the_connection_ends() {
    let upstream = hasty();
    let site = Site::of(&upstream);
    let mut client = site.client();
    let answer = client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").answer();
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("early", Some("close")));
}

#[test]
fn the_rest_of_a_body_after_the_answer_is_not_read_as_a_request() {
    let upstream = hasty();
    let site = Site::of(&upstream);
    let mut client = site.client();
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", hidden.len() + 1));
    client.answer().assert_ok("early");
    assert_eq!(upstream.received().first, "POST / HTTP/1.1");
    client.try_send(hidden);
    client.try_send("x");
    client.try_send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    // Either the connection goes on behind the body, or it is closed; nothing in between.
    if let Some(mut answer) = client.try_head() {
        client.try_body(&mut answer, true);
        assert_eq!(upstream.received().first, "GET /next HTTP/1.1");
    }
    upstream.assert_untouched();
}

#[test]
fn an_answer_with_a_length_beside_its_coding_is_refused() {
    for length in [2, 5, 9] {
        let upstream = Upstream::scripted(move |peer| {
            peer.request();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n");
            peer.send(format!("{head}5\r\nabcde\r\n0\r\n\r\n"));
        });
        let answer = Site::of(&upstream).get("/");
        assert_eq!((answer.status(), answer.reject()), (502, Some("upstream_protocol_error")), "{length}");
    }
}

#[test]
fn only_the_router_says_that_it_refused() {
    let upstream = Upstream::scripted(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nx-gridrouter-reject: no_route\r\ncontent-length: 2\r\n\r\nok");
    });
    let answer = Site::of(&upstream).get("/");
    assert_eq!((answer.status(), answer.reject()), (200, None));
}

#[test]
fn a_coding_that_is_not_plain_chunked_is_not_passed_on_as_if_it_were() {
    for coding in ["gzip, chunked", "gzip", "chunked, chunked"] {
        let upstream = Upstream::scripted(move |peer| {
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
        });
        let answer = Site::of(&upstream).get("/");
        assert_eq!((answer.status(), answer.reject()), (502, Some("upstream_protocol_error")), "{coding}");
    }
}

#[test]
fn an_answer_with_too_large_a_head_is_an_error() {
    for lines in ["x: y\r\n".repeat(50_000), format!("x: {}\r\n", "y".repeat(300_000))] {
        let upstream = Upstream::scripted(move |peer| {
            peer.request();
            peer.try_send(format!("HTTP/1.1 200 OK\r\n{lines}content-length: 0\r\n\r\n"));
            peer.ending();
        });
        let answer = Site::of(&upstream).get("/");
        assert_eq!((answer.status(), answer.reject()), (502, Some("upstream_protocol_error")));
    }
}

#[test]
fn an_http_1_0_endpoint_is_understood() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send("HTTP/1.0 200 OK\r\nX-Own: 1\r\n\r\nabc");
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..2 {
        let answer = client.get("/");
        answer.assert_ok("abc");
        assert_eq!(answer.first, "HTTP/1.1 200 OK");
    }
}

/// 204 and 304 have no body, whatever an endpoint sends behind them: it must not be read as the next answer.
#[test]
fn a_body_where_none_belongs_is_not_the_next_answer() {
    let upstream = Upstream::scripted(|peer| {
        while peer.request().is_some() {
            peer.send(
                "HTTP/1.1 204 No Content\r\ncontent-length: 40\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n\r\n",
            );
        }
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..4 {
        let answer = client.get("/");
        assert!(matches!(answer.status(), 204 | 502), "{answer:?}");
    }
}

/// The endpoint is not to blame while the client does not take the answer.
#[test]
fn a_client_that_pauses_is_no_stall_of_the_endpoint() {
    const BODY: usize = 64 << 20;
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n"));
        let block = vec![b'x'; 1 << 20];
        for _ in 0..BODY >> 20 {
            peer.send(&block);
        }
    });
    let site = Site::to(&upstream).route("timeouts: {responseBody: 300ms}").start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head();
    for _ in 0..3 {
        client.bytes(BODY / 4);
        // The socket's own buffers are full meanwhile.
        let (_keep, pause) = std::sync::mpsc::channel::<()>();
        assert!(pause.recv_timeout(Duration::from_millis(900)).is_err());
    }
    client.bytes(BODY / 4);
}

#[test]
fn a_slow_endpoint_is_waited_for_while_the_client_pipelines() {
    let upstream = Upstream::scripted(|peer| {
        while peer.request().is_some() {
            assert_eq!(peer.ending_within(Duration::from_millis(1300)), Ending::Open(Vec::new()));
            peer.ok("slow");
        }
    });
    let site = Site::to(&upstream).listener("timeouts: {head: 300ms, idle: 300ms}").route("").start();
    let mut client = site.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    client.answer().assert_ok("slow");
    client.answer().assert_ok("slow");
}
