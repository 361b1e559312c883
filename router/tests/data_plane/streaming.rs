//! Bodies pass through as they come, and only as fast as the other side takes them.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::support::{Message, PATIENCE, Site, Upstream};

const MIB: usize = 1 << 20;
/// Far more than the sockets between client and endpoint hold.
const BODY: usize = 96 * MIB;
/// What they and the router may hold: a few megabytes for each of four socket buffers.
const HELD: usize = 48 * MIB;

/// Waits until a counter has stood still for a while, and returns it.
fn settled(counter: &AtomicUsize) -> usize {
    let deadline = Instant::now() + PATIENCE;
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(400) || last == 0 {
        assert!(Instant::now() < deadline, "never stood still");
        std::thread::park_timeout(Duration::from_millis(20));
        let now = counter.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

#[test]
fn a_client_that_does_not_read_stops_the_endpoint() {
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let upstream = Upstream::scripted(move |peer| {
        peer.request();
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n"));
        let block = vec![b'x'; 64 * 1024];
        for _ in 0..BODY / block.len() {
            peer.send(&block);
            counter.fetch_add(block.len(), Ordering::Relaxed);
        }
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let stalled = settled(&written);
    assert!(stalled < HELD, "{} MiB were taken from the endpoint", stalled / MIB);
    client.head();
    let mut left = BODY;
    while left > 0 {
        let part = left.min(MIB);
        assert!(client.bytes(part).iter().all(|byte| *byte == b'x'));
        left -= part;
    }
}

#[test]
fn an_endpoint_that_does_not_read_stops_the_client() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::scripted(move |peer| {
        let mut request = peer.head();
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        let mut left = BODY;
        while left > 0 {
            left -= peer.bytes(left.min(MIB)).len();
        }
        request.lines.push(format!("x-read: {BODY}"));
        peer.log(&request);
        peer.ok("taken");
    });
    let site = Site::to(&upstream).route("timeouts: {responseHead: 60s}").start();
    let mut client = site.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n"));
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let mut stream = client.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let block = vec![b'x'; 64 * 1024];
        for _ in 0..BODY / block.len() {
            stream.write_all(&block).unwrap();
            counter.fetch_add(block.len(), Ordering::Relaxed);
        }
    });
    let stalled = settled(&written);
    assert!(stalled < HELD, "{} MiB were taken from the client", stalled / MIB);
    go.send(()).unwrap();
    client.answer().assert_ok("taken");
    writer.join().unwrap();
    assert_eq!(upstream.received().header("x-read"), Some(BODY.to_string().as_str()));
}

#[test]
fn a_request_body_flows_before_it_is_whole() {
    let upstream = Upstream::scripted(|peer| {
        let head = peer.head();
        peer.log(&head);
        let first = peer.chunk();
        peer.log(&Message { body: first, ..Message::default() });
        let rest = peer.chunk();
        peer.log(&Message { body: rest, ..Message::default() });
        assert!(peer.chunk().is_empty());
        peer.bytes(2);
        peer.ok("whole");
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    upstream.received();
    client.send("5\r\nfirst\r\n");
    assert_eq!(upstream.received().text(), "first");
    client.send("4\r\nrest\r\n");
    assert_eq!(upstream.received().text(), "rest");
    client.send("0\r\n\r\n").answer().assert_ok("whole");
}

#[test]
fn an_answer_flows_before_it_is_whole() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::scripted(move |peer| {
        let next = || wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        next();
        peer.send("5\r\nfirst\r\n");
        next();
        peer.send("4\r\nrest\r\n0\r\n\r\n");
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head().status(), 200);
    go.send(()).unwrap();
    assert_eq!(client.chunk(), b"first");
    go.send(()).unwrap();
    assert_eq!(client.chunk(), b"rest");
    assert!(client.chunk().is_empty());
}

/// An endpoint may answer before it has read the request, and both bodies flow at once.
#[test]
fn both_bodies_flow_at_once() {
    let upstream = Upstream::scripted(|peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        loop {
            let chunk = peer.chunk();
            peer.send(format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(&chunk)));
            if chunk.is_empty() {
                break;
            }
        }
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    for word in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{word}\r\n", word.len()));
        assert_eq!(client.chunk(), word.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert!(client.chunk().is_empty());
}
