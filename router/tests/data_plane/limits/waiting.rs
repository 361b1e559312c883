//! Requests that wait for their turn.

use std::time::{Duration, Instant};

use super::super::support::{Site, Upstream, eventually};
use super::limit;

const DEPTH: &str = "gridrouter_limit_queue_depth{limit=\"all\",values=\"live\"}";

fn queue(upstream: &Upstream, values: &str) -> Site {
    let document = limit("all", &format!("key: [{{constant: all}}]\nleakyBucketQueue: {values}"));
    Site::to(upstream).route("limits: [all]").document(&document).start()
}

#[test]
fn a_request_that_comes_too_early_waits_for_its_turn() {
    let upstream = Upstream::ok("ok");
    let site = queue(&upstream, "{rate: 10/s, maxQueueing: 30s}");
    let began = Instant::now();
    for _ in 0..4 {
        site.get("/").assert_ok("ok");
    }
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    let verdicts = |verdict: &str| {
        site.metric(&format!("gridrouter_limit_requests_total{{limit=\"all\",values=\"live\",verdict=\"{verdict}\"}}"))
    };
    assert!((verdicts("allowed") + verdicts("delayed") - 4.0).abs() < 0.1);
    assert!(verdicts("allowed") > 0.5 && verdicts("delayed") > 0.5);
    let waited = site.metric("gridrouter_limit_wait_seconds_count{limit=\"all\",values=\"live\"}");
    assert!((waited - verdicts("delayed")).abs() < 0.1);
    assert!(site.metric(DEPTH).abs() < 0.1);
}

#[test]
fn who_would_wait_too_long_is_refused_and_told_when_to_come_back() {
    let upstream = Upstream::ok("ok");
    let site = queue(&upstream, "{rate: 1/h, maxQueueing: 1s}");
    site.get("/").assert_ok("ok");
    let refused = site.get("/");
    refused.assert_reject(429, "limit_exceeded");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3_500..=3_599).contains(&wait), "{wait}");
}

/// The turn of a client that has gone is given to the next.
#[test]
fn a_client_that_goes_away_leaves_the_queue() {
    let upstream = Upstream::ok("ok");
    let site = queue(&upstream, "{rate: 60/h, maxQueueing: 60s}");
    site.get("/").assert_ok("ok");
    upstream.drain();
    let mut waiting = site.client();
    waiting.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it waits", || site.metric(DEPTH) > 0.5);
    // There is no room for another one: its turn would come in two minutes.
    site.get("/").assert_reject(429, "limit_exceeded");
    drop(waiting);
    eventually("it has left", || site.metric(DEPTH) < 0.5);
    let explained = site.json("/explain?path=/&host=a");
    assert_eq!(explained["limits"][0]["admitted"], true, "{explained}");
    eventually("it is counted", || site.metric("gridrouter_route_requests_total{route=\"all\",status=\"4xx\"}") > 1.5);
    upstream.assert_untouched();
}

#[test]
fn its_endpoint_is_picked_when_its_turn_comes() {
    let (old, new) = (Upstream::ok("old"), Upstream::ok("new"));
    let site = queue(&old, "{rate: 1/s, maxQueueing: 60s}");
    site.get("/").assert_ok("old");
    let mut waiting = site.client();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it waits", || site.metric(DEPTH) > 0.5);
    // The request keeps the snapshot that it began with; what it does not keep is an endpoint.
    site.edit(&old.address().to_string(), &new.address().to_string());
    waiting.answer().assert_ok("old");
    site.get("/").assert_ok("new");
}

#[test]
fn a_request_with_a_body_waits_too_and_its_body_is_whole() {
    let upstream = Upstream::ok("ok");
    let site = queue(&upstream, "{rate: 20/s, maxQueueing: 30s}");
    site.get("/").assert_ok("ok");
    upstream.drain();
    let answer = site.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nConnection: close\r\n\r\nabcdefghi");
    answer.assert_ok("ok");
    assert_eq!(upstream.received().text(), "abcdefghi");
}

#[test]
fn a_meter_delays_what_is_above_the_rate_and_refuses_what_is_above_the_burst() {
    let upstream = Upstream::ok("ok");
    let document = limit("all", "key: [{constant: all}]\nleakyBucketMeter: {rate: 1/m, burst: 2, nodelay: true}");
    let site = Site::to(&upstream).route("limits: [all]").document(&document).start();
    let statuses: Vec<u16> = (0..5).map(|_| site.get("/").status()).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let document = limit("all", "key: [{constant: all}]\nleakyBucketMeter: {rate: 10/s, burst: 2}");
    let site = Site::to(&upstream).route("limits: [all]").document(&document).start();
    let began = Instant::now();
    site.get("/").assert_ok("ok");
    site.get("/").assert_ok("ok");
    assert!(began.elapsed() >= Duration::from_millis(90), "{:?}", began.elapsed());
}

/// Nobody reads its body while it waits.
#[test]
fn a_client_with_a_body_leaves_the_queue_too() {
    let upstream = Upstream::ok("ok");
    let site = queue(&upstream, "{rate: 60/h, maxQueueing: 60s}");
    site.get("/").assert_ok("ok");
    for body in ["abc", "abcdefghi"] {
        let mut waiting = site.client();
        waiting.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{body}"));
        eventually("it waits", || site.metric(DEPTH) > 0.5);
        drop(waiting);
        eventually("it has left", || site.metric(DEPTH) < 0.5);
    }
}

#[test]
fn a_turn_that_would_come_too_late_is_not_waited_for() {
    let upstream = Upstream::ok("ok");
    let document = limit("all", "key: [{constant: all}]\nleakyBucketQueue: {rate: 60/h, maxQueueing: 60s}");
    let site = Site::to(&upstream).route("limits: [all]\ntimeouts: {request: 2s}").document(&document).start();
    site.get("/").assert_ok("ok");
    for _ in 0..3 {
        site.get("/").assert_reject(504, "request_timeout");
    }
    assert!(site.metric(DEPTH).abs() < 0.1);
    // Their turns were given back.
    let wait = site.json("/explain?path=/&host=a")["limits"][0]["wait_seconds"].as_f64().unwrap();
    assert!(wait <= 60.0, "{wait}");
}

#[test]
fn the_routers_own_answers_wait_too() {
    let site = Site::builder()
        .document("kind: Route\nname: own\npaths: [{prefix: /}]\nrespond: {status: 200, body: own}\nlimits: [all]")
        .document(&limit("all", "key: [{constant: all}]\nleakyBucketQueue: {rate: 10/s, maxQueueing: 30s}"))
        .start();
    let began = Instant::now();
    (0..3).for_each(|_| site.get("/").assert_ok("own"));
    assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
}

#[test]
fn who_leaves_while_the_routers_own_answer_waits_is_counted() {
    let site = Site::builder()
        .document("kind: Route\nname: own\npaths: [{prefix: /}]\nrespond: {status: 200, body: own}\nlimits: [all]")
        .document(&limit("all", "key: [{constant: all}]\nleakyBucketQueue: {rate: 60/h, maxQueueing: 60s}"))
        .start();
    site.get("/").assert_ok("own");
    let mut waiting = site.client();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it waits", || site.metric(DEPTH) > 0.5);
    drop(waiting);
    eventually("it has left", || site.metric(DEPTH) < 0.5);
    eventually("it is counted", || site.metric("gridrouter_route_requests_total{route=\"own\",status=\"4xx\"}") > 0.5);
}
