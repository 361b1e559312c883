//! Bodies that are larger than any window, and sides that do not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::http2::{Call, Http2Upstream, Manner, send_all};
use crate::support::{QUIET, eventually};

use super::{pattern, post, site};

#[test]
fn bodies_larger_than_the_windows_pass_whole() {
    for window in [None, Some(1000)] {
        let upstream = Http2Upstream::echo(Manner { window, ..Manner::default() });
        let site = site(&upstream);
        let body = pattern(if window.is_some() { 300_000 } else { 3_000_000 });
        let mut client = site.client();
        for _ in 0..2 {
            assert!(client.send(post("/", &body)).answer().body == body);
        }
        // The endpoint sends while it receives, and so does the client.
        assert_eq!(upstream.connections(), 1);
    }
}

/// Sends without end, and counts.
fn endless(sent: &Arc<AtomicUsize>) -> Http2Upstream {
    let sent = Arc::clone(sent);
    Http2Upstream::scripted(move |mut call: Call| {
        let sent = Arc::clone(&sent);
        async move {
            if call.path() != "/endless" {
                return call.ok("ok").await;
            }
            let mut stream = call.respond.send_response(http::Response::new(()), false).unwrap();
            let piece = bytes::Bytes::from(vec![7; 16 * 1024]);
            while send_all(&mut stream, piece.clone(), false, &sent).await.is_ok() {}
            call.log("reset");
        }
    })
}

/// Waits until a count keeps still.
#[track_caller]
fn settled(count: &AtomicUsize) -> usize {
    let mut last = 0;
    eventually("it stands still", || {
        std::thread::park_timeout(QUIET);
        let now = count.load(Ordering::Relaxed);
        let still = now == last && now > 0;
        last = now;
        still
    });
    last
}

#[test]
fn a_client_that_does_not_read_stops_the_endpoint_and_no_one_else() {
    let sent = Arc::new(AtomicUsize::new(0));
    let upstream = endless(&sent);
    let site = site(&upstream);
    let mut slow: Vec<_> = (0..10).map(|_| site.client()).collect();
    for client in &mut slow {
        client.send("GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n").head();
    }
    // A window each, and what the client's two sockets hold, some 10 MiB by the kernel's bounds.
    let stopped = settled(&sent);
    assert!(stopped < 10 * (12 << 20), "{stopped}");
    // All on one connection, whose own window is not used up by them.
    site.get("/").assert_ok("ok");
    assert_eq!(upstream.connections(), 1);
    // When one reads, its answer goes on.
    let before = sent.load(Ordering::Relaxed);
    while sent.load(Ordering::Relaxed) == before {
        slow[0].chunk();
    }
    // Whoever leaves resets its stream.
    drop(slow);
    for _ in 0..10 {
        assert_eq!(upstream.logged(), "reset");
    }
    site.get("/").assert_ok("ok");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_endpoint_that_does_not_read_stops_the_client() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        call.log("here");
        call.wait().await;
        let (body, _) = call.body().await.unwrap();
        call.ok(body.len().to_string()).await;
    });
    let site = site(&upstream);
    let mut client = site.client();
    let all = 64 << 20;
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {all}\r\n\r\n"));
    let mut writer = client.stream.try_clone().unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let writing = std::thread::spawn(move || {
        use std::io::Write;
        let piece = vec![1; 64 * 1024];
        while count.load(Ordering::Relaxed) < all {
            writer.write_all(&piece).unwrap();
            count.fetch_add(piece.len(), Ordering::Relaxed);
        }
    });
    upstream.logged();
    // The endpoint's window of 64 KiB, a piece in the router, and what sockets hold.
    let stopped = settled(&written);
    assert!(stopped < all / 2, "{stopped}");
    upstream.go.add_permits(1);
    client.answer().assert_ok(&all.to_string());
    writing.join().unwrap();
}

#[test]
fn a_client_that_leaves_resets_its_stream_only() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        call.log(call.path());
        if call.path() == "/left" {
            let reason = crate::support::http2::reset_of(&mut call.respond).await.unwrap();
            return call.log(format!("{reason:?}"));
        }
        call.wait().await;
        call.ok("ok").await;
    });
    let site = site(&upstream);
    let (mut left, mut stays) = (site.client(), site.client());
    stays.send("GET /stays HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(upstream.logged(), "/stays");
    left.send("GET /left HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(upstream.logged(), "/left");
    drop(left);
    assert_eq!(upstream.logged(), "CANCEL");
    upstream.go.add_permits(1);
    stays.answer().assert_ok("ok");
    assert_eq!(upstream.connections(), 1);
}
