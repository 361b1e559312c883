//! How tunnels over HTTP/2 end.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use h2::Reason;
use http::Method;

use super::{agree, closed, echo, open};
use crate::shift::{Tracks, shift};
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Raw, fields, frame};
use crate::support::mux::{Mux, Tunnel, asking, websocket};
use crate::support::{PATIENCE, Site, Upstream, assert_fired, eventually};

/// All that comes until the end.
pub(super) fn rest(tunnel: &Tunnel) -> Vec<u8> {
    let mut all = Vec::new();
    (&tunnel.socket).read_to_end(&mut all).unwrap();
    all
}

fn goodbye(code: u16) -> Vec<u8> {
    [&[0x88, 2][..], &code.to_be_bytes()].concat()
}

/// A whole frame there and back.
pub(super) fn echoes(tunnel: &Tunnel) {
    (&tunnel.socket).write_all(b"\x01\x01x").unwrap();
    let mut back = [0; 3];
    (&tunnel.socket).read_exact(&mut back).unwrap();
    assert_eq!(&back, b"\x01\x01x");
}

/// An endpoint that agrees, sends this, and then waits for its client to close.
fn sending(bytes: &'static [u8]) -> Upstream {
    Upstream::scripted(move |peer| {
        agree(peer, "");
        peer.send(bytes);
        let mut rest = Vec::new();
        // It ends with a reset if the client does.
        let _ended = peer.stream.read_to_end(&mut rest);
        peer.log(&crate::support::Message { body: rest, ..Default::default() });
    })
}

/// A tunnel frame by frame.
fn raw_tunnel(site: &Site) -> Raw {
    let mut raw = Raw::connect(site.address());
    ask(&mut raw, 1, "websocket");
    raw
}

fn ask(raw: &mut Raw, stream: u32, protocol: &str) {
    let list = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a.test"),
        ("sec-websocket-version", "13"),
    ];
    raw.send(&frame(HEADERS, END_HEADERS, stream, &fields(&list)));
    assert_eq!(raw.status(), 200);
}

#[test]
fn an_idle_tunnel_is_closed_and_the_client_told() {
    let upstream = echo();
    let site = Site::to(&upstream).route("timeouts: {tunnelIdle: 600ms}").start();
    let mux = Mux::connect(site.address());
    let tunnel = mux.websocket("/", &[]);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(900) {
        echoes(&tunnel);
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let began = Instant::now();
    assert_eq!(rest(&tunnel), goodbye(1001));
    assert_eq!(tunnel.end(), Ok(()), "END_STREAM, and no reset");
    assert_fired(began, Duration::from_millis(600));
    eventually("it is counted", || closed(&site, "idle") == 1);
    // Another protocol has no words for that.
    let site = Site::to(&upstream).route("upgrades: [tcp]\ntimeouts: {tunnelIdle: 300ms}").start();
    let mux = Mux::connect(site.address());
    let tunnel = mux.send(asking(Method::CONNECT, Some("tcp"), "/", &[]), "").tunnel();
    assert_eq!((rest(&tunnel), tunnel.end()), (Vec::new(), Err(Some(Reason::CANCEL))));
    eventually("it is counted", || closed(&site, "idle") == 1);
}

#[test]
fn half_a_close_is_passed_on_both_ways() {
    let upstream = Upstream::scripted(|peer| {
        agree(peer, "");
        peer.send("bye").finish_sending();
        let mut rest = Vec::new();
        peer.stream.read_to_end(&mut rest).unwrap();
        peer.log(&crate::support::Message { body: rest, ..Default::default() });
    });
    let site = Site::to(&upstream).route("upgrades: [tcp]").start();
    let mux = Mux::connect(site.address());
    let tunnel = mux.send(asking(Method::CONNECT, Some("tcp"), "/", &[]), "").tunnel();
    upstream.received();
    assert_eq!((rest(&tunnel), tunnel.end()), (b"bye".to_vec(), Ok(())));
    (&tunnel.socket).write_all(b"and still something").unwrap();
    tunnel.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(upstream.received().text(), "and still something");
    eventually("its end", || closed(&site, "ended") == 1);
}

#[test]
fn a_client_that_takes_it_back_ends_it_for_the_endpoint() {
    let upstream = sending(b"");
    let site = Site::of(&upstream);
    let mux = Mux::connect(site.address());
    let tunnel = mux.websocket("/", &[]);
    upstream.received();
    tunnel.reset();
    upstream.received();
    eventually("its end", || closed(&site, "broken") == 1);
    // Before there was an answer, too.
    let upstream = Upstream::scripted(|peer| drop((peer.request(), peer.ending())));
    let site = Site::of(&upstream);
    let mux = Mux::connect(site.address());
    let pending = mux.send(websocket("/", &[]), "");
    upstream.received();
    pending.take_back();
    eventually("it is counted", || site.count("gridrouter_route_requests_total{route=\"all\",status=\"4xx\"}") == 1);
    // And if all of the connection goes.
    let upstream = sending(b"");
    let site = Site::of(&upstream);
    drop(raw_tunnel(&site));
    upstream.received();
    upstream.received();
    eventually("its end", || open(&site) == 0);
}

/// Its side is not read any more then: a thousand of these must not be left behind by a client that has gone.
#[test]
fn a_client_that_has_said_all_and_takes_it_back_ends_it_too() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::scripted(move |peer| {
        agree(peer, "");
        // It keeps its own half open.
        let _ended = peer.stream.read_to_end(&mut Vec::new());
        let _until = wait.lock().unwrap().recv_timeout(10 * PATIENCE);
    });
    let site = Site::to(&upstream).route("upgrades: [tcp]").start();
    let mut raw = Raw::connect(site.address());
    for stream in [1, 3] {
        ask(&mut raw, stream, "tcp");
        upstream.received();
        raw.send(&frame(DATA, END_STREAM, stream, b""));
        eventually("it is open", || open(&site) == 1);
        if stream == 1 {
            raw.send(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            eventually("its end", || open(&site) == 0);
        }
    }
    drop(raw);
    eventually("its end with the connection's", || open(&site) == 0);
    drop(go);
}

/// Nothing but DATA may come on a stream that is a tunnel (RFC 9113 §8.5).
#[test]
fn trailers_break_a_tunnel() {
    let upstream = sending(b"");
    let site = Site::of(&upstream);
    let mut raw = raw_tunnel(&site);
    raw.send(&frame(DATA, 0, 1, b"x"));
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&[("x-sum", "1")])));
    assert_eq!(raw.next_of(&[RST_STREAM, DATA]).unwrap().kind, RST_STREAM);
    eventually("its end", || closed(&site, "broken") == 1);
}

/// The client can tell what was cut from what is whole.
#[test]
fn an_endpoint_that_breaks_off_resets_the_stream() {
    for (bytes, is_whole) in [(&b"\x82\x05on"[..], false), (b"\x82\x03one", true)] {
        let upstream = Upstream::scripted(move |peer| {
            agree(peer, "");
            peer.send(bytes);
            peer.bytes(1);
        });
        let site = Site::of(&upstream);
        let mux = Mux::connect(site.address());
        let tunnel = mux.websocket("/", &[]);
        let mut came = vec![0; bytes.len()];
        (&tunnel.socket).read_exact(&mut came).unwrap();
        (&tunnel.socket).write_all(b"x").unwrap();
        assert_eq!(tunnel.end(), if is_whole { Ok(()) } else { Err(Some(Reason::CANCEL)) });
        eventually("it is counted", || open(&site) == 0);
        assert_eq!(closed(&site, "broken"), u64::from(!is_whole));
    }
    // A connection that is reset.
    let upstream = Upstream::scripted(|peer| {
        agree(peer, "");
        peer.send("\u{1}\u{1}x");
        peer.bytes(1);
        socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let site = Site::of(&upstream);
    let mux = Mux::connect(site.address());
    let tunnel = mux.websocket("/", &[]);
    (&tunnel.socket).read_exact(&mut [0; 3]).unwrap();
    (&tunnel.socket).write_all(b"x").unwrap();
    assert_eq!(tunnel.end(), Err(Some(Reason::CANCEL)));
    eventually("it is counted", || closed(&site, "broken") == 1);
}

/// Told between two frames, and the connection with GOAWAY; the client's own goodbye reaches the endpoint.
#[test]
fn a_router_that_ends_says_goodbye() {
    let upstream = sending(b"\x82\x03one");
    let site = Site::to(&upstream).route("").drain(PATIENCE).start();
    let mux = Mux::connect(site.address());
    let tunnel = mux.websocket("/", &[]);
    upstream.received();
    let mut first = [0; 5];
    (&tunnel.socket).read_exact(&mut first).unwrap();
    let stopping = std::thread::spawn(move || site.stop());
    let mut last = [0; 4];
    (&tunnel.socket).read_exact(&mut last).unwrap();
    assert_eq!(last[..], goodbye(1001));
    (&tunnel.socket).write_all(&[0x88, 0x82, 0, 0, 0, 0, 3, 0xe9]).unwrap();
    tunnel.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(upstream.received().body, [0x88, 0x82, 0, 0, 0, 0, 3, 0xe9]);
    assert_eq!(tunnel.end(), Ok(()));
    mux.assert_over();
    assert_eq!(stopping.join().unwrap(), 0, "nobody was cut off");
}

#[test]
fn a_tunnel_leaves_its_track_and_its_connection_stays() {
    let (blue, green) = (echo(), echo());
    let site = Tracks::of(&blue, &green).builder().start();
    let to = |share| site.change(|| site.write("shift.yaml", &shift("Running", share, "drain: 1s")));
    let count = |what: &str| site.json("/tracks")["shifts"][0]["tracks"]["blue"][what].clone();
    to("0%");
    let mux = Mux::connect(site.address());
    let tunnel = mux.websocket("/", &[("x-tenant", "tenant-1")]);
    assert_eq!((count("inFlight"), count("leaving")), (1.into(), 0.into()));
    let began = Instant::now();
    to("100%");
    eventually("it has to leave", || count("leaving") == 1);
    echoes(&tunnel);
    assert_eq!((rest(&tunnel), tunnel.end()), (goodbye(1012), Ok(())));
    assert_fired(began, Duration::from_secs(1));
    eventually("it left", || count("leaving") == 0 && count("inFlight") == 0);
    assert_eq!((count("requests"), count("failed"), closed(&site, "left")), (1.into(), 0.into(), 1));
    // Its client comes back by the same connection, to the other track.
    echoes(&mux.websocket("/", &[("x-tenant", "tenant-1")]));
    assert_eq!((blue.connections(), green.connections()), (1, 1));
    assert_eq!(site.count("gridrouter_connections_accepted_total"), 1);
}

#[test]
fn a_tunnel_of_a_tenant_that_moves_is_closed_before_the_fence_is_up() {
    let old = echo();
    let site = super::super::moves::moving(&old, "RolledBack", "writes");
    let mux = Mux::connect(site.address());
    let acme = mux.websocket("/", &[("x-tenant", "acme")]);
    let other = mux.websocket("/", &[("x-tenant", "other")]);
    site.edit("phase: RolledBack", "phase: Fencing");
    assert_eq!((rest(&acme), acme.end()), (goodbye(1012), Ok(())));
    eventually("the fence", || site.json("/snapshot")["moves"][0]["clean"] == true);
    assert_eq!(closed(&site, "fenced"), 1);
    echoes(&other);
    // Nor does another one come in, although it is a GET to its route.
    let answer = mux.send(websocket("/", &[("x-tenant", "acme")]), "").answer();
    assert_eq!(answer.headers.get("x-gridrouter-reject").unwrap(), "tenant_fenced");
}
