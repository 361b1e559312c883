//! Answers over HTTP/2 that go on when their track is left: each stream by itself, while its connection stays.

use std::io::Read;
use std::time::{Duration, Instant};

use h2::Reason;

use super::streams::{CHUNKED, EVENTS, LENGTH, change, count, running, start, streaming};
use super::{Tracks, shift};
use crate::support::http2::{Call, Http2Upstream, send_all};
use crate::support::mux::{Mux, Tunnel};
use crate::support::{Site, Upstream, assert_fired, eventually};

const DRAIN: Duration = Duration::from_secs(1);
const ONE: [(&str, &str); 1] = [("x-tenant", "tenant-1")];

/// Asks for a stream and reads its beginning.
fn open(mux: &Mux) -> Tunnel {
    let answer = mux.stream("/", &ONE);
    assert_eq!(answer.answer.status, 200);
    let mut first = [0; 5];
    (&answer.socket).read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first");
    answer
}

/// What comes until the end, and how that is.
fn rest(answer: &Tunnel) -> (Vec<u8>, Result<(), Option<Reason>>) {
    let mut all = Vec::new();
    (&answer.socket).read_to_end(&mut all).unwrap();
    (all, answer.end())
}

/// Opens a stream, moves all to the other track, and returns how the stream ended. The client goes on by the same connection.
fn leaves(site: &Site) -> (Vec<u8>, Result<(), Option<Reason>>) {
    let mux = Mux::connect(site.address());
    let answer = open(&mux);
    assert_eq!((count(site, "blue", "inFlight"), count(site, "blue", "leaving")), (1.into(), 0.into()));
    let began = Instant::now();
    change(site, &running("100%"));
    eventually("it has to leave", || count(site, "blue", "leaving") == 1);
    // Others of the same connection go to the new track at once.
    assert_eq!(mux.get("/", &ONE).body, b"green");
    let end = rest(&answer);
    assert_fired(began, DRAIN);
    eventually("it is over", || count(site, "blue", "inFlight") == 0 && count(site, "blue", "leaving") == 0);
    assert_eq!((count(site, "blue", "requests"), count(site, "blue", "failed")), (1.into(), 0.into()));
    assert_eq!(mux.get("/", &ONE).body, b"green");
    assert_eq!(site.count("gridrouter_connections_accepted_total"), 1);
    end
}

#[test]
fn an_event_stream_ends_cleanly_when_its_time_to_drain_is_over() {
    let (blue, _go) = streaming(EVENTS);
    let green = Upstream::ok("green");
    let site = start(&Tracks::of(&blue, &green), &running("0%"));
    assert_eq!(leaves(&site), (Vec::new(), Ok(())));
}

#[test]
fn another_answer_is_reset_such_that_its_client_can_tell() {
    for head in [CHUNKED, LENGTH] {
        let (blue, _go) = streaming(head);
        let green = Upstream::ok("green");
        let site = start(&Tracks::of(&blue, &green), &running("0%"));
        let (bytes, end) = leaves(&site);
        assert!(bytes.is_empty() && matches!(end, Err(Some(_))), "{head}: {bytes:?} {end:?}");
    }
}

#[test]
fn who_ends_in_time_notices_nothing() {
    let (blue, go) = streaming(CHUNKED);
    let green = Upstream::ok("green");
    let site = start(&Tracks::of(&blue, &green), &shift("Running", "0%", "drain: 60s"));
    let mux = Mux::connect(site.address());
    let answer = open(&mux);
    change(&site, &shift("Running", "100%", "drain: 60s"));
    eventually("it has to leave", || count(&site, "blue", "leaving") == 1);
    go.send(()).unwrap();
    assert_eq!(rest(&answer), (b"last".to_vec(), Ok(())));
    eventually("it left", || count(&site, "blue", "leaving") == 0);
}

/// Of many streams on one connection only those leave whose tenants have moved.
#[test]
fn only_those_leave_that_have_moved() {
    let (blue, _go) = streaming(EVENTS);
    let green = Upstream::ok("green");
    let site = start(&Tracks::of(&blue, &green), &running("0%"));
    let mux = Mux::connect(site.address());
    let tenants: Vec<_> = (0..10).map(|number| format!("tenant-{number}")).collect();
    let streams: Vec<_> = tenants.iter().map(|tenant| mux.stream("/", &[("x-tenant", tenant)])).collect();
    change(&site, &running("50%"));
    let moved =
        |tenant: &String| site.json(&format!("/explain?host=a&path=/&header=x-tenant:{tenant}"))["track"] == "green";
    let moved: Vec<_> = tenants.iter().map(moved).collect();
    let leaving = moved.iter().filter(|moved| **moved).count();
    assert!((1..10).contains(&leaving), "{moved:?}");
    for (stream, _) in streams.iter().zip(&moved).filter(|(_, moved)| **moved) {
        assert_eq!(rest(stream), (b"first".to_vec(), Ok(())));
    }
    eventually("the others stay", || count(&site, "blue", "inFlight") == 10 - leaving);
    for (stream, _) in streams.iter().zip(&moved).filter(|(_, moved)| !**moved) {
        stream.assert_open_for(Duration::from_millis(100));
    }
    assert_eq!(site.count("gridrouter_connections_accepted_total"), 1);
}

/// The endpoint's side of a stream that leaves is reset, and its connection goes on, too.
#[test]
fn an_endpoint_that_shares_its_connection_is_told() {
    let blue = Http2Upstream::scripted(|mut call: Call| async move {
        let head = http::Response::builder().header("content-type", "text/event-stream").body(()).unwrap();
        let mut stream = call.respond.send_response(head, false).unwrap();
        send_all(&mut stream, "first".into(), false, &std::sync::atomic::AtomicUsize::new(0)).await.unwrap();
        let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
        call.log(format!("{:?}", reason.unwrap()));
    });
    let tracks = Tracks { blue: blue.address(), ..Tracks::of(&Upstream::ok("blue"), &Upstream::ok("green")) };
    let green = Http2Upstream::scripted(|mut call: Call| async move { call.ok("green").await });
    let tracks = Tracks { green: green.address(), ..tracks };
    let site = tracks.builder_with("protocol: h2").start();
    change(&site, &running("0%"));
    assert_eq!(leaves(&site), (Vec::new(), Ok(())));
    assert_eq!((blue.logged().as_str(), blue.connections()), ("CANCEL", 1));
}
