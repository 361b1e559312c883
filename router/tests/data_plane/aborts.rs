//! What happens to the other side when one side goes away.

use super::support::{Client, Ending, Message, PATIENCE, Site, Upstream};

/// One that reads a request, answers nothing, and tells how the router ended the connection.
fn silent() -> Upstream {
    Upstream::scripted(|peer| {
        let request = peer.head();
        peer.log(&request);
        let ended = !matches!(peer.ending_within(PATIENCE), Ending::Open(_));
        peer.log(&Message { first: format!("ended: {ended}"), ..Message::default() });
    })
}

fn cancels(request: &str, leave: impl FnOnce(Client)) {
    let upstream = silent();
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send(request);
    upstream.received();
    leave(client);
    assert_eq!(upstream.received().first, "ended: true");
}

#[test]
fn a_client_that_resets_cancels_the_request() {
    cancels("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Client::abort);
}

#[test]
fn a_client_that_closes_cancels_the_request() {
    cancels("GET / HTTP/1.1\r\nHost: a\r\n\r\n", drop);
}

/// The request behind the one on its way does not hide that the client is gone.
#[test]
fn a_client_that_closes_after_pipelining_cancels_the_request() {
    cancels("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", drop);
}

#[test]
fn a_cancelled_request_is_counted() {
    let upstream = silent();
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    upstream.received();
    drop(client);
    let series = "gridrouter_route_requests_total{route=\"all\",status=\"4xx\"}";
    super::support::eventually("the request is counted", || site.metric(series) > 0.5);
}

#[test]
fn a_client_that_resets_within_its_body_cancels_the_request() {
    cancels("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", Client::abort);
}

#[test]
fn a_client_that_closes_within_its_body_cancels_the_request() {
    cancels("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", drop);
}

#[test]
fn a_client_that_goes_away_within_the_answer_ends_the_endpoint_s_connection() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        while peer.try_send([b'x'; 4096]) {}
        peer.log(&Message { first: "ended".to_owned(), ..Message::default() });
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head();
    client.bytes(10_000);
    upstream.received();
    client.abort();
    assert_eq!(upstream.received().first, "ended");
}

/// The client must see a reset: a clean end would pass for a whole answer.
fn breaks(request: &str, answer: &'static str, by_reset: bool) {
    let upstream = Upstream::scripted(move |peer| {
        peer.request();
        peer.send(answer);
        if by_reset {
            // What the kernel has not sent yet would be lost with the reset.
            peer.ending_within(super::support::QUIET);
            socket2::SockRef::from(&peer.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send(request);
    let ending = client.ending();
    assert!(matches!(ending, Ending::Reset(_)), "{request:?} {answer:?}: {ending:?}");
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OLD_GET: &str = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";
const LENGTH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
const HALF_CHUNK: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc";
const NO_LAST_LINE: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n";
const BAD_CHUNK: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n";
const TO_END: &str = "HTTP/1.1 200 OK\r\n\r\nabc";

#[test]
fn an_answer_cut_short_resets_the_client() {
    for answer in [LENGTH, CHUNKED, HALF_CHUNK, NO_LAST_LINE, BAD_CHUNK] {
        breaks(GET, answer, false);
    }
}

#[test]
fn an_answer_cut_short_resets_an_http_1_0_client() {
    for answer in [LENGTH, CHUNKED, HALF_CHUNK, NO_LAST_LINE, BAD_CHUNK] {
        breaks(OLD_GET, answer, false);
    }
}

#[test]
fn an_endpoint_that_resets_resets_the_client() {
    for answer in [LENGTH, CHUNKED, TO_END] {
        breaks(GET, answer, true);
        breaks(OLD_GET, answer, true);
    }
}

#[test]
fn an_answer_that_lasts_to_the_end_ends_cleanly() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send(TO_END);
    });
    let site = Site::of(&upstream);
    site.exchange(GET).assert_ok("abc");
    let mut old = site.client();
    old.send(OLD_GET).head();
    assert_eq!(old.ending(), Ending::Closed(b"abc".to_vec()));
}

#[test]
fn an_answer_that_is_not_http_is_an_error() {
    for answer in [
        "hello\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
    ] {
        let upstream = Upstream::answering(answer);
        let site = Site::of(&upstream);
        let got = site.exchange(GET);
        assert_eq!((got.status(), got.reject()), (502, Some("upstream_protocol_error")), "{answer:?}: {got:?}");
    }
}

#[test]
fn an_answer_with_two_framings_does_not_reach_the_client_with_both() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        peer.ending();
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..2 {
        let answer = client.get("/");
        assert!(answer.status() == 502 || answer.text() == "abc", "{answer:?}");
    }
}

/// Bytes behind an answer are no answer to the next request.
#[test]
fn bytes_behind_an_answer_are_not_read_as_the_next_one() {
    let upstream = Upstream::scripted(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
        }
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..5 {
        let answer = client.get("/");
        assert_ne!(answer.text(), "evil");
    }
}

#[test]
fn an_endpoint_that_closes_without_an_answer_is_an_error() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
    });
    let site = Site::of(&upstream);
    site.get("/").assert_reject(502, "upstream_closed");
}

#[test]
fn an_endpoint_that_closes_within_its_head_is_an_error() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-le");
    });
    let site = Site::of(&upstream);
    let answer = site.get("/");
    assert_eq!(answer.status(), 502, "{answer:?}");
    assert!(answer.reject().is_some());
}
