//! What follows from a refusal: limits that are enforced, that only look, and values tried beside those in force.

use super::super::support::{Site, Upstream, eventually};
use super::{ACME, limit, site};

fn verdicts(site: &Site, values: &str, verdict: &str) -> f64 {
    let labels = format!("limit=\"per\",values=\"{values}\",verdict=\"{verdict}\"");
    site.metric(&format!("gridrouter_limit_requests_total{{{labels}}}"))
}

#[test]
fn a_shadow_limit_counts_and_refuses_nothing() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]")
        .document(&limit("per", "mode: shadow\ntokenBucket: {rate: 1/h, burst: 2}"))
        .start();
    for _ in 0..5 {
        let answer = site.get_with("/", ACME);
        answer.assert_ok("ok");
        assert_eq!(answer.header("ratelimit"), None, "nobody is told of a limit that is none");
    }
    assert!((verdicts(&site, "live", "allowed") - 2.0).abs() < 0.1);
    assert!((verdicts(&site, "live", "shadow_refused") - 3.0).abs() < 0.1);
    assert!(verdicts(&site, "live", "refused").abs() < 0.1);
}

#[test]
fn a_shadow_queue_makes_nobody_wait() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]")
        .document(&limit("per", "mode: shadow\nleakyBucketQueue: {rate: 60/h, maxQueueing: 60s}"))
        .start();
    for _ in 0..3 {
        site.get_with("/", ACME).assert_ok("ok");
    }
    let counts = ["allowed", "delayed", "shadow_refused"].map(|verdict| verdicts(&site, "live", verdict) as u32);
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn a_shadow_bandwidth_slows_nothing_down() {
    let body = "x".repeat(4_000);
    let upstream = Upstream::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let site = Site::to(&upstream)
        .route("limits: [per]")
        .document(&limit("per", "key: [route]\nmode: shadow\nbandwidth: {rate: 1B/s, burst: 10B}"))
        .start();
    assert_eq!(site.get("/").text(), body, "enforced, it would take an hour");
    eventually("it is counted", || verdicts(&site, "live", "delayed") > 0.5);
}

#[test]
fn candidate_values_are_counted_beside_those_in_force() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]")
        .document(&limit("per", "tokenBucket: {rate: 1/h, burst: 4}\ncandidate: {burst: 1}"))
        .document("kind: Tenant\nname: own\nlimits: {per: {burst: 2}}")
        .start();
    let statuses: Vec<u16> = (0..6).map(|_| site.get_with("/", ACME).status()).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
    let counts =
        |values| ["allowed", "refused", "shadow_refused"].map(|verdict| verdicts(&site, values, verdict) as u32);
    assert_eq!(counts("live"), [4, 2, 0]);
    assert_eq!(counts("candidate"), [1, 0, 5]);
    site.get_with("/", "X-Tenant: own\r\n").assert_ok("ok");
    assert_eq!(counts("candidate"), [1, 0, 5], "who has values of its own is not asked");
    let explained = site.json("/explain?path=/&host=a&header=x-tenant:acme");
    let limits = explained["limits"].as_array().unwrap();
    assert_eq!(limits.len(), 2);
    assert_eq!((&limits[0]["values"], &limits[1]["values"]), (&"live".into(), &"candidate".into()));
    assert_eq!((&limits[0]["enforced"], &limits[1]["enforced"]), (&true.into(), &false.into()));
}

#[test]
fn the_tenants_refused_most_are_named() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]").document(&limit("per", "tokenBucket: {rate: 1/h, burst: 1}")).start();
    for (tenant, requests) in [("acme", 5), ("bolt", 3), ("cork", 1)] {
        for _ in 0..requests {
            site.get_with("/", &format!("X-Tenant: {tenant}\r\n"));
        }
    }
    let refusals = |tenant: &str| {
        site.metric(&format!("gridrouter_limit_top_refusals{{limit=\"per\",tenant=\"{tenant}\"}}")) as u32
    };
    assert_eq!(["acme", "bolt", "cork"].map(refusals), [4, 2, 0]);
}

#[test]
fn a_refusal_has_the_status_that_the_document_says() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]")
        .document(&limit("per", "status: 503\nlegacyHeaders: true\ntokenBucket: {rate: 1/h, burst: 1}"))
        .start();
    let admitted = site.get_with("/", ACME);
    admitted.assert_ok("ok");
    assert_eq!(admitted.header("x-ratelimit-limit"), Some("1"));
    assert_eq!(admitted.header("x-ratelimit-remaining"), Some("0"));
    let refused = site.get_with("/", ACME);
    refused.assert_reject(503, "limit_exceeded");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    let reset: u64 = refused.header("x-ratelimit-reset").unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&reset), "{reset}");
    eventually("it is counted", || site.metric("gridrouter_route_requests_total{route=\"all\",status=\"5xx\"}") > 0.5);
}

/// A request that no time would help is not told to come back.
#[test]
fn what_can_never_pass_is_not_told_to_come_back() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]").document(&limit("per", "cost: 50\nwarmUp: {rate: 10/s}")).start();
    let refused = site.get_with("/", ACME);
    if refused.status() == 429 && refused.header("retry-after").is_none() {
        assert!(!refused.header("ratelimit").unwrap().contains(";t="));
    }
}
