//! Answers that go on when their track is left.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::support::{Client, Ending, PATIENCE, QUIET, Site, Upstream, assert_fired, eventually};
use super::{Tracks, shift, tenant};

const DRAIN: Duration = Duration::from_secs(1);

/// An endpoint whose answers, of this type and with more header lines, go on until the test says so.
pub(super) fn streaming(head: &'static str) -> (Upstream, Sender<()>) {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::scripted(move |peer| {
        while peer.request().is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
            peer.send(if head.contains("chunked") { "5\r\nfirst\r\n" } else { "first" });
            let Ok(()) = wait.lock().unwrap().recv_timeout(PATIENCE) else { return };
            if !peer.try_send(if head.contains("chunked") { "4\r\nlast\r\n0\r\n\r\n" } else { "last!" }) {
                return;
            }
        }
    });
    (upstream, go)
}

pub(super) const EVENTS: &str = "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked";
pub(super) const CHUNKED: &str = "content-type: text/plain\r\ntransfer-encoding: chunked";
pub(super) const LENGTH: &str = "content-type: text/event-stream\r\ncontent-length: 10";

pub(super) fn running(share: &str) -> String {
    shift("Running", share, "drain: 1s")
}

pub(super) fn start(tracks: &Tracks, first: &str) -> Site {
    let site = tracks.builder().start();
    site.change(|| site.write("shift.yaml", first));
    site
}

pub(super) fn change(site: &Site, shift: &str) {
    site.change(|| site.write("shift.yaml", shift));
}

/// Asks for a stream and reads its beginning.
fn open(site: &Site, number: usize) -> Client {
    let mut client = site.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", tenant(number)));
    assert_eq!(client.head().status(), 200);
    client
}

pub(super) fn count(site: &Site, track: &str, what: &str) -> Value {
    site.json("/tracks")["shifts"][0]["tracks"][track][what].clone()
}

#[test]
fn an_event_stream_ends_cleanly_when_its_time_to_drain_is_over() {
    let (blue, _go) = streaming(EVENTS);
    let green = Upstream::ok("green");
    let site = start(&Tracks::of(&blue, &green), &running("0%"));
    let mut client = open(&site, 1);
    assert_eq!(client.chunk(), b"first");
    let began = Instant::now();
    change(&site, &running("100%"));
    eventually("it has to leave", || count(&site, "blue", "leaving") == 1);
    assert_eq!(client.ending_within(PATIENCE), Ending::Closed(b"0\r\n\r\n".to_vec()));
    assert_fired(began, DRAIN);
    eventually("it is over", || count(&site, "blue", "inFlight") == 0 && count(&site, "blue", "leaving") == 0);
    assert_eq!((count(&site, "blue", "requests"), count(&site, "blue", "failed")), (1.into(), 0.into()));
}

#[test]
fn another_answer_is_cut_such_that_its_client_can_tell() {
    for head in [CHUNKED, LENGTH] {
        let (blue, _go) = streaming(head);
        let green = Upstream::ok("green");
        let site = start(&Tracks::of(&blue, &green), &running("0%"));
        let mut client = open(&site, 1);
        let began = Instant::now();
        change(&site, &running("100%"));
        let (Ending::Closed(rest) | Ending::Reset(rest)) = client.ending_within(PATIENCE) else { panic!("{head}") };
        assert_fired(began, DRAIN);
        assert!(rest == b"5\r\nfirst\r\n" || rest == b"first", "{head}: {rest:?}");
        eventually("it is over", || count(&site, "blue", "inFlight") == 0);
        assert_eq!(count(&site, "blue", "failed"), 0, "that is not the track's fault");
    }
}

#[test]
fn who_ends_in_time_notices_nothing() {
    let (blue, go) = streaming(CHUNKED);
    let green = Upstream::ok("green");
    let site = start(&Tracks::of(&blue, &green), &shift("Running", "0%", "drain: 60s"));
    let mut client = open(&site, 1);
    change(&site, &shift("Running", "100%", "drain: 60s"));
    eventually("it has to leave", || count(&site, "blue", "leaving") == 1);
    go.send(()).unwrap();
    assert_eq!((client.chunk(), client.chunk(), client.chunk()), (b"first".into(), b"last".into(), Vec::new()));
    eventually("it left", || count(&site, "blue", "leaving") == 0);
    assert_eq!(client.bytes(2), b"\r\n");
    client.get_with("/", &tenant(1)).assert_ok("green");
}

/// With half of the tenants moved, only their answers leave; and none, if they come back in time.
#[test]
fn only_those_leave_that_have_moved() {
    let (blue, _go) = streaming(EVENTS);
    let green = Upstream::ok("green");
    let site = start(&Tracks::of(&blue, &green), &running("0%"));
    let long = |phase, share| shift(phase, share, "drain: 60s");
    let mut clients: Vec<_> = (0..10).map(|number| open(&site, number)).collect();
    change(&site, &long("Running", "50%"));
    let moved = |number: &usize| {
        let said = site.json(&format!("/explain?host=a&path=/&header=x-tenant:tenant-{number}"));
        said["track"] == "green"
    };
    let moved: Vec<usize> = (0..10).filter(moved).collect();
    assert!((1..10).contains(&moved.len()), "{moved:?}");
    eventually("they have to leave", || count(&site, "blue", "leaving") == moved.len());
    change(&site, &long("RollingBack", "0%"));
    eventually("nobody has to leave", || count(&site, "blue", "leaving") == 0);
    change(&site, &running("50%"));
    for (number, client) in clients.iter_mut().enumerate() {
        if moved.contains(&number) {
            assert!(matches!(client.ending_within(PATIENCE), Ending::Closed(_)), "{number}");
        } else {
            assert!(matches!(client.ending_within(QUIET), Ending::Open(_)), "{number}");
        }
    }
    eventually("the others stay", || count(&site, "blue", "inFlight") == 10 - moved.len());
}

#[test]
fn by_request_all_leave_with_the_last_share() {
    let by_request = |share| shift("Running", share, "by: request\ndrain: 1s");
    let (blue, _go) = streaming(EVENTS);
    let green = Upstream::ok("green");
    let site = start(&Tracks::of(&blue, &green), &by_request("0%"));
    let mut client = open(&site, 1);
    change(&site, &by_request("99%"));
    assert!(matches!(client.ending_within(DRAIN + QUIET), Ending::Open(_)));
    assert_eq!(count(&site, "blue", "leaving"), 0);
    change(&site, &by_request("100%"));
    assert_eq!(client.ending_within(PATIENCE), Ending::Closed(b"0\r\n\r\n".to_vec()));
}

#[test]
fn after_an_abort_the_new_track_is_left_and_after_success_the_old_one() {
    for (first, then, active) in [("100%", "Aborted", "blue"), ("0%", "Succeeded", "green")] {
        let (blue, _one) = streaming(EVENTS);
        let (green, _other) = streaming(EVENTS);
        let site = start(&Tracks::of(&blue, &green), &running(first));
        let mut client = open(&site, 1);
        if active == "green" {
            site.edit("active: blue", "active: green");
        }
        change(&site, &shift(then, first, "drain: 1s"));
        let Ending::Closed(rest) = client.ending_within(PATIENCE) else { panic!("{then}") };
        assert!(rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
        let again = open(&site, 1);
        assert_eq!(if active == "blue" { blue.connections() } else { green.connections() }, 1);
        drop(again);
    }
}

/// An answer that has not begun when the track is left is waited for: nobody knows how long it will be.
#[test]
fn an_answer_that_has_not_begun_is_waited_for() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let blue = Upstream::scripted(move |peer| {
        peer.request();
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        peer.ok("late");
    });
    let green = Upstream::ok("green");
    let site = start(&Tracks::of(&blue, &green), &running("0%"));
    let mut client = site.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", tenant(1)));
    blue.received();
    change(&site, &running("100%"));
    assert!(matches!(client.ending_within(DRAIN + QUIET), Ending::Open(_)));
    go.send(()).unwrap();
    client.answer().assert_ok("late");
    client.get_with("/", &tenant(1)).assert_ok("green");
}

#[test]
fn testers_leave_when_the_shift_is_rolled_back() {
    let blue = Upstream::ok("blue");
    let (green, _go) = streaming(EVENTS);
    let lines = "drain: 1s\ntesters: {tenants: [tenant-1]}";
    let site = start(&Tracks::of(&blue, &green), &shift("Running", "0%", lines));
    let mut client = open(&site, 1);
    change(&site, &shift("Paused", "1%", lines));
    assert_eq!(count(&site, "green", "leaving"), 0);
    change(&site, &shift("RollingBack", "0%", lines));
    assert_eq!(client.ending_within(PATIENCE), Ending::Closed(b"5\r\nfirst\r\n0\r\n\r\n".to_vec()));
}

/// One that fell back is on the other track because its own had no endpoint, which another share does not change.
#[test]
fn what_fell_back_does_not_have_to_leave() {
    let (blue, _go) = streaming(EVENTS);
    let green = Upstream::ok("green");
    let tracks = Tracks { green_is: ", down: true", ..Tracks::of(&blue, &green) };
    let lines = "drain: 1s\nonNoEndpoint: fallback\nby: request";
    let site = start(&tracks, &shift("Running", "100%", lines));
    let mut client = open(&site, 1);
    assert_eq!(count(&site, "blue", "inFlight"), 1);
    for share in ["99%", "100%"] {
        change(&site, &shift("Running", share, lines));
        assert!(matches!(client.ending_within(DRAIN + QUIET), Ending::Open(_)), "{share}");
        assert_eq!(count(&site, "blue", "leaving"), 0, "{share}");
    }
}

/// Answers that began before the shift did were on no track. They leave when nothing goes to the old one any more.
#[test]
fn what_began_before_the_shift_leaves_with_the_last_share() {
    for (head, last) in [(EVENTS, &b"0\r\n\r\n"[..]), (CHUNKED, b"")] {
        let (blue, _go) = streaming(head);
        let green = Upstream::ok("green");
        let site = Tracks::of(&blue, &green).builder().start();
        let mut client = open(&site, 1);
        assert_eq!(client.chunk(), b"first");
        change(&site, &running("99%"));
        assert!(matches!(client.ending_within(DRAIN + QUIET), Ending::Open(_)));
        let began = Instant::now();
        change(&site, &running("100%"));
        let (Ending::Closed(rest) | Ending::Reset(rest)) = client.ending_within(PATIENCE) else { panic!("{head}") };
        assert_fired(began, DRAIN);
        assert_eq!(rest, last, "{head}");
    }
}

#[test]
fn what_began_before_the_shift_stays_if_all_comes_back_in_time() {
    let (blue, go) = streaming(CHUNKED);
    let green = Upstream::ok("green");
    let site = Tracks::of(&blue, &green).builder().start();
    let mut client = open(&site, 1);
    let slow = |phase, share| shift(phase, share, "drain: 4s");
    change(&site, &slow("Running", "100%"));
    client.ending_within(QUIET);
    let began = Instant::now();
    change(&site, &slow("RollingBack", "0%"));
    if began.elapsed() < Duration::from_secs(2) {
        assert!(matches!(client.ending_within(Duration::from_secs(5)), Ending::Open(_)));
        go.send(()).unwrap();
        eventually(
            "it ends by itself",
            || matches!(client.ending_within(QUIET), Ending::Open(rest) if rest.ends_with(b"0\r\n\r\n")),
        );
    }
}

#[test]
fn what_began_before_the_shift_is_counted_while_it_has_to_leave() {
    let (blue, go) = streaming(CHUNKED);
    let green = Upstream::ok("green");
    let site = Tracks::of(&blue, &green).builder().start();
    let mut client = open(&site, 1);
    let long = |phase, share| shift(phase, share, "drain: 60s");
    change(&site, &long("Running", "99%"));
    assert_eq!(count(&site, "blue", "leaving"), 0);
    for (phase, share, leaving) in [("Running", "100%", 1), ("RollingBack", "0%", 0), ("Running", "100%", 1)] {
        change(&site, &long(phase, share));
        eventually(share, || count(&site, "blue", "leaving") == leaving);
    }
    go.send(()).unwrap();
    assert_eq!((client.chunk(), client.chunk(), client.chunk()), (b"first".into(), b"last".into(), Vec::new()));
    eventually("it left", || count(&site, "blue", "leaving") == 0);
    assert_eq!(count(&site, "blue", "requests"), 0, "it was none of the track's");
}
