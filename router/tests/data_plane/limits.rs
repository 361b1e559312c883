//! Limits as clients see them.

mod meeting;
mod modes;
mod permits;
mod several;
mod waiting;

use super::support::{Builder, Site, Upstream};

fn limit(name: &str, lines: &str) -> String {
    format!("kind: Limit\nname: {name}\n{lines}")
}

/// Everything goes to one endpoint; the tenant is named by a header.
fn site(upstream: &Upstream, limits: &str) -> Builder {
    Site::to(upstream)
        .route(&format!("tenant: {{from: [{{header: x-tenant}}], otherwise: {{tenant: nobody}}}}\n{limits}"))
}

const ACME: &str = "X-Tenant: acme\r\n";

#[test]
fn a_refused_request_says_when_to_try_again_and_reaches_nobody() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]")
        .document(&limit("per", "key: [tenant]\ntokenBucket: {rate: 2/m, burst: 2}"))
        .start();
    let mut client = site.client();
    let first = client.get_with("/", ACME);
    first.assert_ok("ok");
    assert_eq!(first.header("ratelimit-policy"), Some("\"per\";q=2;w=60"));
    let left = first.header("ratelimit").unwrap();
    assert!(left.starts_with("\"per\";r=1;t="), "{left}");
    assert_eq!(first.header("retry-after"), None);
    let second = client.get_with("/", ACME);
    assert!(second.header("ratelimit").unwrap().starts_with("\"per\";r=0;t="));
    upstream.drain();
    let refused = client.get_with("/", ACME);
    refused.assert_reject(429, "limit_exceeded");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((25..=30).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"per\";q=2;w=60"));
    assert!(refused.header("ratelimit").unwrap().starts_with("\"per\";r=0;t="));
    upstream.assert_untouched();
    client.get_with("/", "X-Tenant: other\r\n").assert_ok("ok");
    assert!(
        (site.metric("gridrouter_limit_requests_total{limit=\"per\",values=\"live\",verdict=\"refused\"}") - 1.0).abs()
            < 0.1
    );
}

#[test]
fn clients_are_told_always_when_refused_or_never() {
    let upstream = Upstream::ok("ok");
    for (headers, admitted, refused) in [("always", true, true), ("refused", false, true), ("never", false, false)] {
        let site = site(&upstream, "limits: [per]")
            .document(&limit("per", &format!("tokenBucket: {{rate: 1/h, burst: 1}}\nheaders: {headers}")))
            .start();
        let told = |answer: super::support::Message| answer.header("ratelimit").is_some();
        assert_eq!(told(site.get("/")), admitted, "{headers}");
        let answer = site.get("/");
        assert_eq!(answer.status(), 429);
        assert!(answer.header("retry-after").is_some());
        assert_eq!(told(answer), refused, "{headers}");
    }
}

#[test]
fn a_tenant_may_have_values_of_its_own() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]")
        .document(&limit("per", "tokenBucket: {rate: 1/h, burst: 1}"))
        .document("kind: Tenant\nname: acme\nlimits: {per: {rate: 60/h, burst: 3}}")
        .start();
    let mut client = site.client();
    let first = client.get_with("/", ACME);
    assert_eq!(first.header("ratelimit-policy"), Some("\"per\";q=3;w=180"));
    client.get_with("/", ACME).assert_ok("ok");
    client.get_with("/", ACME).assert_ok("ok");
    client.get_with("/", ACME).assert_reject(429, "limit_exceeded");
    client.get_with("/", "X-Tenant: other\r\n").assert_ok("ok");
    client.get_with("/", "X-Tenant: other\r\n").assert_reject(429, "limit_exceeded");
}

#[test]
fn what_a_later_limit_refuses_costs_an_earlier_one_nothing() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [wide, narrow]")
        .document(&limit("wide", "key: [route]\ntokenBucket: {rate: 1/h, burst: 3}"))
        .document(&limit("narrow", "key: [tenant]\ntokenBucket: {rate: 1/h, burst: 1}"))
        .start();
    let mut client = site.client();
    let answer = client.get_with("/", ACME);
    answer.assert_ok("ok");
    // Of the one that is nearest to refusing.
    assert_eq!(answer.headers("ratelimit-policy"), ["\"narrow\";q=1;w=3600"]);
    assert_eq!(answer.headers("ratelimit"), ["\"narrow\";r=0;t=3600"]);
    for _ in 0..5 {
        let refused = client.get_with("/", ACME);
        refused.assert_reject(429, "limit_exceeded");
        assert!(refused.header("ratelimit").unwrap().starts_with("\"narrow\";r=0;t="), "of the one that refuses");
    }
    client.get_with("/", "X-Tenant: b\r\n").assert_ok("ok");
    client.get_with("/", "X-Tenant: c\r\n").assert_ok("ok");
    client.get_with("/", "X-Tenant: d\r\n").assert_reject(429, "limit_exceeded");
}

#[test]
fn keys_are_any_combination_of_parts() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream)
        .route("limits: [keyed]")
        .document("kind: Route\nname: two\npaths: [{prefix: /two}]\nservice: all\nlimits: [keyed]")
        .document(&limit("keyed", "key: [route, {header: x-key}]\ntokenBucket: {rate: 1/h, burst: 1}"))
        .start();
    let mut client = site.client();
    for (path, key, status) in [
        ("/", "a", 200),
        ("/", "a", 429),
        ("/", "b", 200),
        ("/x", "b", 429),
        ("/two", "a", 200),
        ("/two", "a", 429),
        ("/two", "ab", 200),
    ] {
        assert_eq!(client.get_with(path, &format!("X-Key: {key}\r\n")).status(), status, "{path} {key}");
    }
}

#[test]
fn two_threads_share_one_allowance() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]")
        .threads(2)
        .document(&limit("per", "tokenBucket: {rate: 1/h, burst: 20}"))
        .start();
    let admitted = (0..60).filter(|_| site.get_with("/", ACME).status() == 200).count();
    assert_eq!(admitted, 20);
}

#[test]
fn an_edited_rate_hands_out_no_fresh_burst() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]").document(&limit("per", "tokenBucket: {rate: 10/h, burst: 10}")).start();
    let mut client = site.client();
    for _ in 0..10 {
        client.get_with("/", ACME).assert_ok("ok");
    }
    client.get_with("/", ACME).assert_reject(429, "limit_exceeded");
    site.edit("rate: 10/h", "rate: 20/h");
    client.get_with("/", ACME).assert_reject(429, "limit_exceeded");
    site.edit("rate: 20/h", "rate: 9/h");
    client.get_with("/", ACME).assert_reject(429, "limit_exceeded");
    client.get_with("/", "X-Tenant: other\r\n").assert_ok("ok");
}

#[test]
fn other_edits_leave_what_was_counted_alone() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]").document(&limit("per", "tokenBucket: {rate: 1/h, burst: 2}")).start();
    let mut client = site.client();
    client.get_with("/", ACME).assert_ok("ok");
    site.change(|| {
        site.write("more.yaml", "kind: Route\nname: more\npaths: [{exact: /more}]\nrespond: {status: 204}\n");
    });
    client.get_with("/", ACME).assert_ok("ok");
    client.get_with("/", ACME).assert_reject(429, "limit_exceeded");
}

#[test]
fn a_request_that_has_nowhere_to_go_costs_nothing() {
    let upstream = Upstream::ok("ok");
    let site = Site::builder()
        .document("kind: Grid\nname: grid\ncells: [one, two]")
        .document("kind: Cell\nname: one\nstate: offline")
        .document("kind: Cell\nname: two")
        .document(&format!(
            "kind: Service\nname: all\ncells: {{one: {{blue: [{{address: {0}}}]}}, two: {{blue: [{{address: {0}}}]}}}}",
            upstream.address()
        ))
        .route("tenant: {from: [{header: x-tenant}]}\ngrid: grid\nlimits: [per]")
        .document(&limit("per", "tokenBucket: {rate: 1/h, burst: 1}"))
        .document("kind: Tenant\nname: acme\ngrid: grid\ncell: one")
        .start();
    for _ in 0..3 {
        site.get_with("/", ACME).assert_reject(503, "cell_offline");
    }
    site.edit("state: offline", "state: draining");
    site.get_with("/", ACME).assert_ok("ok");
    site.get_with("/", ACME).assert_reject(429, "limit_exceeded");
}
