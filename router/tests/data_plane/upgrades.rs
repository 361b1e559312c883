//! Connections that change to another protocol.

mod endings;
mod http2;
mod moves;
mod websocket;

use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::support::{Client, Ending, PATIENCE, QUIET, Site, Upstream, eventually};

/// An opening handshake, with the key of RFC 6455 §1.3.
pub(super) const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// What agrees to it.
pub(super) const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// An endpoint that agrees to every handshake and sends everything back, until its client has no more to say.
pub(super) fn echo() -> Upstream {
    Upstream::scripted(|peer| {
        if peer.request().is_none() {
            return;
        }
        peer.send(AGREED);
        let mut buffer = [0; 16 * 1024];
        while let Ok(n @ 1..) = peer.stream.read(&mut buffer) {
            if peer.stream.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
    })
}

pub(super) fn ask(client: &mut Client, lines: &str) {
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{HANDSHAKE}{lines}\r\n"));
}

/// A client whose connection is a tunnel.
pub(super) fn tunnel(site: &Site, lines: &str) -> Client {
    let mut client = site.client();
    ask(&mut client, lines);
    let answer = client.head();
    assert_eq!(answer.status(), 101, "{answer:?}");
    client
}

#[track_caller]
pub(super) fn echoes(client: &mut Client, text: &str) {
    client.send(text);
    assert_eq!(client.bytes(text.len()), text.as_bytes());
}

pub(super) fn open(site: &Site) -> u64 {
    site.count("gridrouter_tunnels")
}

pub(super) fn closed(site: &Site, why: &str) -> u64 {
    site.count(&format!("gridrouter_tunnels_closed_total{{reason=\"{why}\"}}"))
}

#[test]
fn both_sides_are_told_in_the_routers_own_words_and_bytes_pass_both_ways() {
    let upstream = echo();
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send(format!(
        "GET /chat HTTP/1.1\r\nHost: a.test\r\n{}Keep-Alive: timeout=5\r\nX-Own: 1\r\nX-Kept: 2\r\n\r\n",
        HANDSHAKE
            .replace("Connection: Upgrade", "Connection: keep-alive, X-Own, UPGRADE")
            .replace("websocket", "WebSocket")
    ));
    let answer = client.head();
    assert_eq!((answer.status(), answer.header("connection")), (101, Some("upgrade")));
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!((answer.header("content-length"), answer.header("transfer-encoding")), (None, None));
    let request = upstream.received();
    assert_eq!((request.header("connection"), request.header("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!(
        (request.header("x-own"), request.header("x-kept"), request.header("keep-alive")),
        (None, Some("2"), None)
    );
    for text in ["one", "two", "three"] {
        echoes(&mut client, text);
    }
    eventually("it is open", || open(&site) == 1);
    client.finish_sending();
    client.assert_closed();
    eventually("its end", || closed(&site, "ended") == 1);
    assert_eq!(open(&site), 0);
    assert_eq!(site.count("gridrouter_tunnel_bytes_total{to=\"client\"}"), 11);
    assert_eq!(site.count("gridrouter_tunnel_bytes_total{to=\"endpoint\"}"), 11);
    eventually("the record", || site.count("gridrouter_route_requests_total{route=\"all\",status=\"1xx\"}") == 1);
}

/// RUSTSEC-2026-0033: bytes behind the request reach the endpoint after its 101, and not a moment before.
#[test]
fn what_is_sent_early_waits_for_the_endpoint_to_agree() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::scripted(move |peer| {
        peer.request();
        peer.stream.set_read_timeout(Some(QUIET)).unwrap();
        assert!(peer.stream.read(&mut [0]).is_err(), "something came before the 101");
        peer.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        // With the first bytes of the other protocol right behind.
        peer.send([AGREED, "early"].concat());
        let mut all = Vec::new();
        peer.stream.read_to_end(&mut all).unwrap();
        peer.send(format!("{}", all.len()));
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    // More than the router reads ahead: the rest waits in the sockets.
    let early = vec![b'x'; 200 * 1024];
    client.send([format!("GET / HTTP/1.1\r\nHost: a\r\n{HANDSHAKE}\r\n").as_bytes(), &early].concat());
    upstream.received();
    assert_eq!(client.ending_within(2 * QUIET), Ending::Open(Vec::new()));
    go.send(()).unwrap();
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.bytes(5), b"early");
    client.finish_sending();
    assert_eq!(client.ending(), Ending::Closed(early.len().to_string().into_bytes()));
}

/// Whatever was sent in the belief that there is a tunnel is no request.
#[test]
fn an_endpoint_that_declines_gives_an_ordinary_answer_and_the_connection_ends() {
    for behind in ["", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let upstream = Upstream::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-Own: 1\r\n\r\nno");
        let site = Site::of(&upstream);
        let mut client = site.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{HANDSHAKE}\r\n{behind}"));
        let answer = client.answer();
        assert_eq!((answer.status(), answer.text().as_str(), answer.header("x-own")), (403, "no", Some("1")));
        assert_eq!((answer.header("connection"), answer.header("upgrade")), (Some("close"), None));
        client.try_send("GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.ending(), Ending::Closed(Vec::new()));
        upstream.received();
        upstream.assert_untouched();
        // Nor is the endpoint's connection used again: it may believe in a tunnel.
        assert_eq!(site.get("/").status(), 403);
        assert_eq!(upstream.connections(), 2);
        assert_eq!(site.count("gridrouter_tunnels_opened_total"), 0);
    }
}

#[test]
fn only_what_was_asked_for_makes_a_tunnel() {
    for (wrong, why) in [
        (AGREED.replace("Upgrade: websocket", "Upgrade: h2c"), "another protocol"),
        (AGREED.replace("Upgrade: websocket\r\n", ""), "no protocol"),
        (AGREED.replace("Upgrade: websocket", "Upgrade: websocket, h2c"), "several"),
        (AGREED.replace("Connection: Upgrade\r\n", ""), "no connection"),
        (AGREED.replace("s3pP", "S3pP"), "another key"),
        (AGREED.replace("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", ""), "a status from elsewhere"),
        (AGREED.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n"), "a length"),
        (AGREED.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"), "chunks"),
        (AGREED.replace("HTTP/1.1", "HTTP/1.0"), "an old version"),
    ] {
        let upstream = Upstream::answering(wrong);
        let site = Site::of(&upstream);
        let mut client = site.client();
        ask(&mut client, "");
        client.try_send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.status(), answer.reject()), (502, Some("upstream_protocol_error")), "{why}");
        assert_eq!(client.ending(), Ending::Closed(Vec::new()), "{why}");
        assert_eq!(upstream.received().first, "GET / HTTP/1.1");
        upstream.assert_untouched();
    }
}

#[test]
fn a_route_says_which_protocols_pass() {
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            match request.header("upgrade") {
                None => peer.ok("plain"),
                Some(token) => {
                    peer.send(format!(
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: {token}\r\nConnection: Upgrade\r\n\r\n"
                    ));
                    let mut rest = Vec::new();
                    peer.stream.read_to_end(&mut rest).unwrap();
                    peer.send(rest);
                    return;
                }
            }
        }
    });
    let site = Site::to(&upstream).route("upgrades: [TCP]").start();
    let mut client = site.client();
    ask(&mut client, "");
    client.answer().assert_ok("plain");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: Tcp\r\n\r\nearly");
    let answer = client.head();
    assert_eq!((answer.status(), answer.header("upgrade")), (101, Some("tcp")));
    client.send(" and late").finish_sending();
    assert_eq!(client.ending(), Ending::Closed(b"early and late".to_vec()));
    let site = Site::to(&upstream).route("upgrades: []").start();
    let mut client = site.client();
    for _ in 0..2 {
        ask(&mut client, "");
        client.answer().assert_ok("plain");
    }
}

#[test]
fn who_does_not_read_stops_who_sends_and_is_given_up() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send(AGREED);
        let block = vec![b'x'; 64 * 1024];
        while peer.stream.write_all(&block).is_ok() {}
    });
    let site = Site::to(&upstream).route("").listener("timeouts: {bodyWrite: 500ms}").start();
    let mut client = tunnel(&site, "");
    eventually("it is given up", || closed(&site, "stalled") == 1);
    // Of what nobody reads, the router's kernel takes little, though it would take 4 MiB.
    let sent = site.count("gridrouter_tunnel_bytes_total{to=\"client\"}");
    assert!(sent < 1_000_000, "{sent} bytes");
    // Nor does it keep that for a client that was given up.
    assert!(matches!(client.ending(), Ending::Reset(_)));
}

#[test]
fn permits_are_held_until_the_tunnel_ends_and_the_requests_time_until_it_begins() {
    let upstream = echo();
    let site = Site::to(&upstream)
        .document("kind: Limit\nname: one\nkey: [route]\nconcurrency: {limit: 1}")
        .route("limits: [one]\ntimeouts: {request: 400ms}")
        .start();
    let mut first = tunnel(&site, "");
    let mut second = site.client();
    ask(&mut second, "");
    second.answer().assert_reject(429, "limit_exceeded");
    assert_eq!(first.ending_within(Duration::from_millis(900)), Ending::Open(Vec::new()));
    echoes(&mut first, "still here");
    drop(first);
    eventually("the permit", || {
        let mut client = site.client();
        ask(&mut client, "");
        client.head().status() == 101
    });
}

#[test]
fn bandwidth_limits_slow_down_what_goes_to_the_client() {
    let upstream = echo();
    let site = Site::to(&upstream)
        .document("kind: Limit\nname: slow\nkey: [route]\nbandwidth: {rate: 64KiB/s, burst: 16KiB}")
        .route("limits: [slow]")
        .start();
    let mut client = tunnel(&site, "");
    let began = std::time::Instant::now();
    let text = "x".repeat(64 * 1024);
    echoes(&mut client, &text);
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
}
