//! Every timeout fires in its time and with its code.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::support::{Ending, Message, PATIENCE, Peer, Site, Upstream, assert_fired};

const SHORT: Duration = Duration::from_millis(300);

/// Reads a request, logs it, and waits for the router to end the connection.
fn hang(peer: &mut Peer) {
    let request = peer.head();
    peer.log(&request);
    wait_for_end(peer);
}

fn wait_for_end(peer: &mut Peer) {
    let ended = !matches!(peer.ending_within(PATIENCE), Ending::Open(_));
    peer.log(&Message { first: format!("ended: {ended}"), ..Message::default() });
}

#[test]
fn half_a_head_then_silence() {
    let upstream = Upstream::ok("");
    let site = Site::to(&upstream).listener("timeouts: {head: 300ms}").route("").start();
    for before in ["", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = site.client();
        client.send(before);
        if !before.is_empty() {
            client.answer().assert_ok("");
        }
        let began = Instant::now();
        client.send("GET / HTTP/1.1\r\nHo");
        client.answer().assert_reject(408, "head_timeout");
        assert_fired(began, SHORT);
        client.finish_sending().assert_closed();
    }
    assert!((site.metric("gridrouter_rejects_total{code=\"head_timeout\"}") - 2.0).abs() < 0.1);
}

/// Each byte comes in time, the head does not.
#[test]
fn a_head_that_trickles() {
    let upstream = Upstream::ok("");
    let site = Site::to(&upstream).listener("timeouts: {head: 300ms}").route("").start();
    let mut client = site.client();
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let mut ended = None;
    while ended.is_none() && began.elapsed() < PATIENCE {
        client.try_send("x");
        ended = match client.ending_within(Duration::from_millis(20)) {
            Ending::Open(bytes) if bytes.is_empty() => None,
            Ending::Open(bytes) | Ending::Closed(bytes) | Ending::Reset(bytes) => Some(bytes),
        };
    }
    assert_fired(began, SHORT);
    assert!(String::from_utf8_lossy(&ended.unwrap()).starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_body_that_stops_coming() {
    let upstream = Upstream::scripted(hang);
    let site = Site::to(&upstream).listener("timeouts: {bodyRead: 300ms}").route("").start();
    for (framing, part) in
        [("Content-Length: 10", ""), ("Content-Length: 10", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n")]
    {
        let mut client = site.client();
        let began = Instant::now();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{part}"));
        client.answer().assert_reject(408, "body_timeout");
        assert_fired(began, SHORT);
        upstream.received();
        assert_eq!(upstream.received().first, "ended: true");
    }
}

/// Each byte comes in time, the body does not.
#[test]
fn a_body_that_trickles() {
    let upstream = Upstream::scripted(hang);
    let site = Site::to(&upstream).listener("timeouts: {bodyRead: 300ms, minRate: 10kB/s}").route("").start();
    for (framing, piece) in [("Content-Length: 1000000", "x"), ("Transfer-Encoding: chunked", "1;a=b\r\nx\r\n")] {
        let mut client = site.client();
        let began = Instant::now();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
        let mut ended = None;
        while ended.is_none() && began.elapsed() < PATIENCE {
            client.try_send(piece);
            ended = match client.ending_within(Duration::from_millis(20)) {
                Ending::Open(bytes) if bytes.is_empty() => None,
                Ending::Open(bytes) | Ending::Closed(bytes) | Ending::Reset(bytes) => Some(bytes),
            };
        }
        assert_fired(began, SHORT);
        let told = String::from_utf8(ended.unwrap()).unwrap();
        assert!(told.starts_with("HTTP/1.1 408 ") && told.contains("body_timeout"), "{told}");
        upstream.received();
        assert_eq!(upstream.received().first, "ended: true");
    }
}

/// A client that takes the answer, but far too slowly.
#[test]
fn an_answer_that_is_taken_in_drops() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n");
        while peer.try_send([b'x'; 1 << 14]) {}
        peer.log(&Message { first: "ended".to_owned(), ..Message::default() });
    });
    let site = Site::to(&upstream).listener("timeouts: {bodyWrite: 400ms, minRate: 1GB/s}").route("").start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head();
    let began = Instant::now();
    upstream.received();
    // It takes a piece long before each pause is too long, until the router has had enough.
    let mut buffer = vec![0; 1 << 18];
    client.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let is_over = |read: std::io::Result<usize>| match read {
        Ok(n) => n == 0,
        Err(e) => !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    };
    while !is_over(std::io::Read::read(&mut client.stream, &mut buffer)) {
        assert!(began.elapsed() < PATIENCE, "it goes on and on");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(upstream.received().first, "ended");
}

/// A body that takes longer than `bodyRead` in all, but never stops for that long.
#[test]
fn a_slow_body_is_taken() {
    let upstream = Upstream::ok("taken");
    let site = Site::to(&upstream)
        .listener("timeouts: {bodyRead: 1s, minRate: 1B/s}")
        .route("timeouts: {responseHead: 1s}")
        .start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n");
    for _ in 0..29 {
        client.send("x");
        assert_eq!(client.ending_within(Duration::from_millis(50)), Ending::Open(Vec::new()));
    }
    client.send("x").answer().assert_ok("taken");
}

/// Connecting hangs where the accept queue of an endpoint is full: the kernel drops what would not fit.
#[test]
fn an_endpoint_that_cannot_be_reached_in_time() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    let full = (0..64).any(|_| match TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        Ok(stream) => {
            filling.push(stream);
            false
        }
        Err(_) => true,
    });
    assert!(full, "the accept queue never was full");
    let site = Site::builder().service("all", &[address]).route("timeouts: {connect: 300ms}").start();
    let began = Instant::now();
    site.get("/").assert_reject(504, "upstream_connect_timeout");
    assert_fired(began, SHORT);
}

#[test]
fn an_endpoint_that_does_not_answer() {
    let upstream = Upstream::scripted(hang);
    let site = Site::to(&upstream)
        .route("timeouts: {responseHead: 300ms}")
        .document("kind: Route\nname: whole\npaths: [{prefix: /whole}]\nservice: all\ntimeouts: {request: 300ms}")
        .start();
    for (path, code) in [("/", "upstream_response_timeout"), ("/whole", "request_timeout")] {
        let mut client = site.client();
        let began = Instant::now();
        client.get(path).assert_reject(504, code);
        assert_fired(began, SHORT);
        upstream.received();
        assert_eq!(upstream.received().first, "ended: true", "the request is cancelled");
    }
}

#[test]
fn the_client_s_connection_survives_an_endpoint_that_does_not_answer() {
    let upstream = Upstream::scripted(hang);
    let site = Site::to(&upstream)
        .route("timeouts: {responseHead: 300ms}")
        .document("kind: Service\nname: unused\nhost: x")
        .document("kind: Route\nname: own\npaths: [{exact: /own}]\nrespond: {status: 200, body: own}")
        .start();
    let mut client = site.client();
    client.get("/").assert_reject(504, "upstream_response_timeout");
    client.get("/own").assert_ok("own");
}

#[test]
fn the_time_for_the_answer_begins_when_the_body_was_sent() {
    let upstream = Upstream::scripted(hang);
    let site = Site::to(&upstream).route("timeouts: {responseHead: 500ms}").start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n");
    for _ in 0..19 {
        client.send("x");
        assert_eq!(client.ending_within(Duration::from_millis(50)), Ending::Open(Vec::new()));
    }
    let began = Instant::now();
    client.send("x").answer().assert_reject(504, "upstream_response_timeout");
    assert_fired(began, Duration::from_millis(500));
}

fn stalls(route: &str) {
    for head in ["content-length: 10", "transfer-encoding: chunked"] {
        let upstream = Upstream::scripted(move |peer| {
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n3\r\n"));
            wait_for_end(peer);
        });
        let site = Site::to(&upstream).route(route).start();
        let mut client = site.client();
        let began = Instant::now();
        assert_eq!(client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head().status(), 200);
        let ending = client.ending();
        assert!(matches!(ending, Ending::Reset(_)), "{ending:?}");
        assert_fired(began, SHORT);
        upstream.received();
        assert_eq!(upstream.received().first, "ended: true");
    }
}

#[test]
fn an_answer_that_stops_coming() {
    stalls("timeouts: {responseBody: 300ms}");
}

#[test]
fn an_answer_that_takes_longer_than_the_request_may() {
    stalls("timeouts: {request: 300ms}");
}

#[test]
fn a_client_that_does_not_take_the_answer() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        while peer.try_send([b'x'; 4096]) {}
        peer.log(&Message { first: "ended".to_owned(), ..Message::default() });
    });
    let site = Site::to(&upstream).listener("timeouts: {bodyWrite: 400ms}").route("").start();
    let mut client = site.client();
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    upstream.received();
    assert_eq!(upstream.received().first, "ended");
    assert_fired(began, Duration::from_millis(400));
    assert!(matches!(client.ending(), Ending::Reset(_)), "a clean end would pass for a whole answer");
}

#[test]
fn a_client_that_asks_nothing() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).listener("timeouts: {idle: 1500ms}").route("").start();
    let mut fresh = site.client();
    let mut used = site.client();
    let began = Instant::now();
    used.get("/").assert_ok("ok");
    fresh.assert_closed();
    assert_fired(began, Duration::from_millis(1500));
    used.assert_closed();
    assert_fired(began, Duration::from_millis(1500));
}

/// Shorter than the time after which a connection is parked.
#[test]
fn a_client_that_asks_nothing_for_a_short_time() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).listener("timeouts: {idle: 300ms}").route("").start();
    let mut client = site.client();
    client.get("/").assert_ok("ok");
    let began = Instant::now();
    client.assert_closed();
    assert_fired(began, SHORT);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn an_unused_connection_to_an_endpoint_is_closed() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.ok("ok");
        wait_for_end(peer);
    });
    let site = Site::to(&upstream).route("timeouts: {upstreamIdle: 300ms}").start();
    let began = Instant::now();
    site.get("/").assert_ok("ok");
    upstream.received();
    assert_eq!(upstream.received().first, "ended: true");
    assert_fired(began, SHORT);
}
