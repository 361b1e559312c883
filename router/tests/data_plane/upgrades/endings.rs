//! How tunnels end.

use std::io::Read;
use std::time::{Duration, Instant};

use super::{AGREED, HANDSHAKE, ask, closed, echo, echoes, open, tunnel};
use crate::support::{Client, Ending, PATIENCE, Site, Upstream, assert_fired, eventually};

/// A frame that closes with this code, as a server sends it.
fn goodbye(code: u16) -> Vec<u8> {
    [&[0x88, 2][..], &code.to_be_bytes()].concat()
}

/// What agrees to a protocol that nobody knows anything of.
const TCP: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n";

/// An endpoint that agrees, sends this, and then waits for its client to close.
fn sending(bytes: &'static [u8]) -> Upstream {
    Upstream::scripted(move |peer| {
        peer.request();
        peer.send(AGREED);
        peer.send(bytes);
        let mut rest = Vec::new();
        // It ends with a reset if the client does.
        let _ended = peer.stream.read_to_end(&mut rest);
        peer.log(&crate::support::Message { body: rest, ..Default::default() });
    })
}

#[test]
fn an_idle_tunnel_is_closed_and_the_client_told() {
    let upstream = echo();
    let site = Site::to(&upstream).route("timeouts: {tunnelIdle: 600ms}").start();
    let mut client = tunnel(&site, "");
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(900) {
        // A whole frame each time.
        echoes(&mut client, "\u{1}\u{1}x");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let began = Instant::now();
    assert_eq!(client.ending(), Ending::Closed(goodbye(1001)));
    assert_fired(began, Duration::from_millis(600));
    eventually("it is counted", || closed(&site, "idle") == 1);
}

#[test]
fn half_a_close_is_passed_on_both_ways() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send(TCP).send("bye").finish_sending();
        let mut rest = Vec::new();
        peer.stream.read_to_end(&mut rest).unwrap();
        peer.log(&crate::support::Message { body: rest, ..Default::default() });
    });
    let site = Site::to(&upstream).route("upgrades: [tcp]").start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    upstream.received();
    assert_eq!(client.ending(), Ending::Closed(b"bye".to_vec()));
    client.send("and still something");
    drop(client);
    assert_eq!(upstream.received().text(), "and still something");
    eventually("its end", || closed(&site, "ended") == 1);
}

#[test]
fn a_client_that_breaks_off_ends_it_for_the_endpoint() {
    let upstream = sending(b"");
    let site = Site::of(&upstream);
    let client = tunnel(&site, "");
    upstream.received();
    client.abort();
    upstream.received();
    eventually("its end", || closed(&site, "broken") == 1);
    assert_eq!(open(&site), 0);
}

/// Told between two frames; what comes behind is thrown away, and the goodbye of the client reaches the endpoint.
#[test]
fn a_router_that_ends_says_goodbye_between_two_frames() {
    let upstream = sending(b"\x82\x05one");
    let site = Site::to(&upstream).route("").drain(Duration::from_secs(3)).start();
    let mut client = tunnel(&site, "");
    upstream.received();
    assert_eq!(client.bytes(5), b"\x82\x05one");
    let stopping = std::thread::spawn(move || site.stop());
    // In the middle of a frame nothing can be said.
    let began = Instant::now();
    assert_eq!(client.ending(), Ending::Closed(Vec::new()));
    assert!(began.elapsed() >= Duration::from_secs(2));
    stopping.join().unwrap();
    let upstream = sending(b"\x82\x03one");
    let site = Site::to(&upstream).route("").drain(PATIENCE).start();
    let mut client = tunnel(&site, "");
    upstream.received();
    assert_eq!(client.bytes(5), b"\x82\x03one");
    let stopping = std::thread::spawn(move || site.stop());
    assert_eq!(client.bytes(4), goodbye(1001));
    client.send([0x88, 0x82, 0, 0, 0, 0, 3, 0xe9]);
    drop(client);
    assert_eq!(upstream.received().body, [0x88, 0x82, 0, 0, 0, 0, 3, 0xe9]);
    assert_eq!(stopping.join().unwrap(), 0, "nobody was cut off");
}

#[test]
fn a_tunnel_of_another_protocol_lasts_until_the_drain_is_over() {
    let upstream = Upstream::answering(TCP);
    let site = Site::to(&upstream).route("upgrades: [tcp]").drain(Duration::from_secs(1)).start();
    let mut client: Client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    let began = Instant::now();
    let cut = site.stop();
    assert!(cut == 1 && began.elapsed() >= Duration::from_secs(1), "{cut}");
}

#[test]
fn an_endpoint_that_never_answers_is_given_up_as_with_any_request() {
    let upstream = Upstream::scripted(|peer| drop((peer.request(), peer.try_request())));
    let site = Site::to(&upstream).route("timeouts: {request: 300ms}").start();
    let mut client = site.client();
    ask(&mut client, "");
    client.answer().assert_reject(504, "request_timeout");
    client.assert_closed();
    // Nor does a client that leaves meanwhile leave anything behind.
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{HANDSHAKE}\r\n"));
    upstream.received();
    drop(client);
    eventually("it is over", || site.count("gridrouter_connections") == 0);
}
