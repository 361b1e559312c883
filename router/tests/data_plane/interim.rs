//! Interim answers, and answers that come a little at a time.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::support::{Ending, PATIENCE, QUIET, Site, Upstream};

/// An endpoint that sends a piece of its answer whenever the test says so.
fn by_pieces(pieces: &'static [&'static str]) -> (Upstream, std::sync::mpsc::Sender<()>) {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::scripted(move |peer| {
        if peer.request().is_none() {
            return;
        }
        for piece in pieces {
            let Ok(()) = wait.lock().unwrap().recv_timeout(PATIENCE) else { return };
            if !peer.try_send(piece) {
                return;
            }
        }
        peer.try_request();
    });
    (upstream, go)
}

#[test]
fn early_hints_are_passed_on_at_once_and_others_are_not() {
    let (upstream, go) = by_pieces(&[
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nServer: x\r\nSet-Cookie: y=1\r\n\
         X-Gridrouter-Reject: no\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nServer: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n",
        "HTTP/1.1 200 OK\r\nLink: </a>\r\nContent-Length: 2\r\n\r\nok",
    ]);
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for link in ["link: </a>", "link: </b>"] {
        go.send(()).unwrap();
        let hint = client.head();
        assert_eq!((hint.status(), hint.lines), (103, vec![link.to_owned()]));
    }
    go.send(()).unwrap();
    let answer = client.answer();
    assert_eq!(answer.header("link"), Some("</a>"));
    answer.assert_ok("ok");
}

#[test]
fn a_client_of_an_old_version_gets_no_hints() {
    let upstream = Upstream::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let site = Site::of(&upstream);
    site.exchange("GET / HTTP/1.0\r\nHost: a\r\n\r\n").assert_ok("ok");
}

#[test]
fn hints_that_are_too_many_or_too_large_are_dropped() {
    let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "a".repeat(20_000));
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let upstream = Upstream::answering(hint + last);
    let site = Site::of(&upstream);
    site.get("/").assert_ok("ok");
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let upstream = Upstream::answering(hint.repeat(20) + last);
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..8 {
        assert_eq!(client.head().status(), 103);
    }
    client.answer().assert_ok("ok");
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Each event is with the client before the endpoint sends the next one, however it is divided.
#[test]
fn each_event_of_a_stream_passes_at_once() {
    let (upstream, go) =
        by_pieces(&[EVENTS, "8\r\ndata: a\n\r\n", "1\r\n\n\r\n", "1\r\nd\r\n", "8\r\nata: b\n\n\r\n", "0\r\n\r\n"]);
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
    go.send(()).unwrap();
    assert_eq!(client.head().status(), 200);
    for piece in ["data: a\n", "\n", "d", "ata: b\n\n", ""] {
        go.send(()).unwrap();
        assert_eq!(client.chunk(), piece.as_bytes());
    }
}

/// `responseBody` is about a pause, and not about the whole: what sends something now and then goes on.
#[test]
fn a_stream_lasts_as_long_as_something_comes_within_a_pause() {
    let (upstream, go) = by_pieces(&[EVENTS, "2\r\n:\n\r\n", "2\r\n:\n\r\n", "2\r\n:\n\r\n", "2\r\n:\n\r\n"]);
    let site = Site::to(&upstream).route("timeouts: {responseBody: 2s}").start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    go.send(()).unwrap();
    assert_eq!(client.head().status(), 200);
    let began = Instant::now();
    for _ in 0..4 {
        assert!(matches!(client.ending_within(QUIET.min(Duration::from_millis(400))), Ending::Open(_)));
        go.send(()).unwrap();
        assert_eq!(client.chunk(), b":\n");
    }
    assert!(began.elapsed() >= Duration::from_millis(400));
    let ended = client.ending();
    assert!(matches!(ended, Ending::Reset(_)) && began.elapsed() >= Duration::from_secs(2), "{ended:?}");
}
