//! Requests that are counted while they last, and answers that are slowed down.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use super::super::support::{Builder, Client, PATIENCE, Site, Upstream, eventually};
use super::limit;

fn limited(upstream: &Upstream, algorithm: &str) -> Builder {
    let document = limit("all", &format!("key: [{{constant: all}}]\n{algorithm}"));
    Site::to(upstream).route("limits: [all]").document(&document)
}

/// One that sends the second half of the body of `/slow` when it is told to.
fn body_on_command() -> (Upstream, Sender<()>) {
    let (command, commands) = channel();
    let commands = Mutex::new(commands);
    let upstream = Upstream::scripted(move |peer| {
        while let Some(request) = peer.request() {
            if request.first.contains("/slow") {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
                commands.lock().unwrap().recv_timeout(PATIENCE).expect("nobody said to go on");
                peer.send("cd");
            } else {
                peer.ok("ok");
            }
        }
    });
    (upstream, command)
}

#[test]
fn a_permit_is_held_until_the_body_is_over() {
    let (upstream, go_on) = body_on_command();
    let site = limited(&upstream, "concurrency: {limit: 1}").start();
    let mut slow = site.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut head = slow.head();
    // The head has come, and the body has not.
    let refused = site.get("/");
    refused.assert_reject(429, "limit_exceeded");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"all\";q=1;qu=\"concurrent-requests\""));
    assert_eq!(refused.header("retry-after"), Some("1"));
    go_on.send(()).unwrap();
    slow.try_body(&mut head, false).unwrap();
    assert_eq!(head.text(), "abcd");
    eventually("the permit is back", || site.get("/").status() == 200);
}

fn held(site: &Site) -> bool {
    site.json("/explain?path=/&host=a")["limits"][0]["admitted"] == false
}

#[test]
fn a_permit_comes_back_however_its_request_ends() {
    let silent = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            if request.first.contains("/close") {
                return peer.close();
            }
        }
    });
    let site = limited(&silent, "concurrency: {limit: 1}").start();
    let ask = |path: &str| {
        let mut client = site.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    };
    for leave in [|client: Client| drop(client), |client: Client| client.abort()] {
        let client = ask("/");
        eventually("it is held", || held(&site));
        leave(client);
        eventually("it is back", || !held(&site));
    }
    assert_eq!(ask("/close").answer().status(), 502);
    eventually("it is back after a failure", || !held(&site));
}

#[test]
fn a_permit_comes_back_when_there_is_no_endpoint() {
    let upstream = Upstream::ok("ok");
    let site = Site::builder()
        .document(&format!(
            "kind: Service\nname: all\nendpoints: {{blue: [{{address: {}, down: true}}]}}",
            upstream.address()
        ))
        .route("limits: [all]")
        .document(&limit("all", "key: [route]\nconcurrency: {limit: 1}"))
        .start();
    for _ in 0..3 {
        site.get("/").assert_reject(503, "no_endpoint_available");
    }
}

#[test]
fn an_edit_while_permits_are_out_neither_loses_nor_makes_any() {
    let (upstream, go_on) = body_on_command();
    let site = limited(&upstream, "concurrency: {limit: 2}").start();
    let mut slow = site.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut head = slow.head();
    site.edit("{limit: 2}", "{limit: 1}");
    go_on.send(()).unwrap();
    slow.try_body(&mut head, false).unwrap();
    eventually("it is back", || !held(&site));
    let mut slow = site.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut head = slow.head();
    assert!(held(&site));
    go_on.send(()).unwrap();
    slow.try_body(&mut head, false).unwrap();
}

#[test]
fn a_body_takes_as_long_as_its_bytes() {
    let body = "x".repeat(60_000);
    let upstream = Upstream::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let site = limited(&upstream, "bandwidth: {rate: 100kB/s, burst: 10kB}").start();
    let began = Instant::now();
    let mut client = site.client();
    assert_eq!(client.get("/").text(), body);
    // 10 kB at once, and 50 kB at 100 kB a second.
    assert!(began.elapsed() >= Duration::from_millis(490), "{:?}", began.elapsed());
    assert_eq!(client.get("/").text(), body, "the connection goes on");
}

#[test]
fn chunks_and_trailers_pass_at_their_pace() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n",
    );
    let site = limited(&upstream, "bandwidth: {rate: 100B/s, burst: 4B}").start();
    assert_eq!(site.get("/").text(), "abcdefghij");
}

#[test]
fn an_adaptive_limit_begins_with_what_it_is_told_to() {
    let (upstream, go_on) = body_on_command();
    let site = limited(&upstream, "adaptiveConcurrency: {initial: 1, min: 1, max: 2}").start();
    let mut slow = site.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut head = slow.head();
    site.get("/").assert_reject(429, "limit_exceeded");
    go_on.send(()).unwrap();
    slow.try_body(&mut head, false).unwrap();
    eventually("the permit is back", || site.get("/").status() == 200);
}

const AIMD: &str = "adaptiveConcurrency: {algorithm: aimd, initial: 8, min: 1, max: 8, latency: 2s}";

/// Requests that could be held at once, by what the limit learned.
fn learned(site: &Site) -> u64 {
    let limits = site.json("/explain?path=/&host=a")["limits"].clone();
    let adaptive = limits.as_array().unwrap().iter().find(|limit| limit["limit"] == "all").unwrap();
    adaptive["remaining"].as_u64().unwrap() + 1
}

#[test]
fn what_clients_do_teaches_an_adaptive_limit_nothing() {
    let upstream = Upstream::ok("ok");
    let site = limited(&upstream, AIMD).start();
    for _ in 0..3 {
        let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
        assert_eq!(site.exchange(request).status(), 400);
    }
    eventually("the permits are back", || learned(&site) == 8);
    let broken = Upstream::scripted(|peer| while peer.request().is_some_and(|_| false) {});
    let site = limited(&broken, AIMD).start();
    assert_eq!(site.get("/").status(), 502);
    eventually("what the endpoint does is learned", || learned(&site) == 7);
}

/// Nor does the time in another limit's queue.
#[test]
fn waiting_for_a_turn_teaches_an_adaptive_limit_nothing() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream)
        .route("limits: [queue, all]")
        .document(&limit("queue", "key: [route]\nleakyBucketQueue: {rate: 28/m, maxQueueing: 30s}"))
        .document(&limit("all", &format!("key: [route]\n{AIMD}")))
        .start();
    (0..2).for_each(|_| site.get("/").assert_ok("ok"));
    eventually("the permits are back", || learned(&site) == 8);
}

/// How long a client takes to send its request is not the endpoint's doing.
#[test]
fn a_slow_upload_teaches_an_adaptive_limit_nothing() {
    let upstream = Upstream::ok("ok");
    let site = limited(&upstream, AIMD).start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    upstream.assert_quiet_for(Duration::from_millis(2_100));
    client.send("cd");
    client.answer().assert_ok("ok");
    eventually("the permits are back", || learned(&site) == 8);
}
