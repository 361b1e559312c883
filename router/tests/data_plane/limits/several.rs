//! Requests that meet several limits, of which nearly all pass all of them at once. Of each key the first request goes
//! another way, so what counts here are those that follow.

use super::super::support::{Message, Site, Upstream, eventually};
use super::{ACME, limit, site};

fn bucket(burst: u32) -> String {
    format!("key: [tenant]\ntokenBucket: {{rate: 1/h, burst: {burst}}}")
}

/// What the client is told: the policy's name and quota, and what is left.
fn told(answer: &Message) -> (&str, &str) {
    let part = |name: &str| answer.header(name).unwrap_or_default().rsplit_once(';').map_or("", |(part, _)| part);
    (part("ratelimit-policy"), part("ratelimit"))
}

fn allowed(site: &Site, limit: &str) -> u32 {
    site.metric(&format!("gridrouter_limit_requests_total{{limit=\"{limit}\",values=\"live\",verdict=\"allowed\"}}"))
        as u32
}

#[test]
fn clients_are_told_of_the_nearest_and_each_counts() {
    let upstream = Upstream::ok("ok");
    for limits in ["[near, far, farther]", "[farther, far, near]", "[far, near, farther]"] {
        let site = site(&upstream, &format!("limits: {limits}"))
            .document(&limit("near", &bucket(4)))
            .document(&limit("far", &bucket(6)))
            .document(&limit("farther", &bucket(9)))
            .start();
        for left in [3, 2, 1, 0] {
            let answer = site.get_with("/", ACME);
            answer.assert_ok("ok");
            assert_eq!(told(&answer), ("\"near\";q=4", format!("\"near\";r={left}").as_str()), "{limits}");
        }
        site.get_with("/", ACME).assert_reject(429, "limit_exceeded");
        assert_eq!(["near", "far", "farther"].map(|limit| allowed(&site, limit)), [4, 4, 4], "{limits}");
        // What the nearest refused was not taken of the others.
        let explained = site.json("/explain?path=/&host=a&header=x-tenant:acme");
        let admitted: Vec<bool> =
            explained["limits"].as_array().unwrap().iter().map(|limit| limit["admitted"] == true).collect();
        assert_eq!(admitted.iter().filter(|admitted| **admitted).count(), 2, "{limits}");
    }
}

#[test]
fn of_limits_that_clients_are_not_told_of_they_hear_nothing() {
    let upstream = Upstream::ok("ok");
    for lines in ["headers: never", "headers: refused", "mode: shadow"] {
        let site = site(&upstream, "limits: [quiet, told]")
            .document(&limit("quiet", &format!("{}\n{lines}", bucket(4))))
            .document(&limit("told", &bucket(9)))
            .start();
        for left in [8, 7, 6] {
            let answer = site.get_with("/", ACME);
            assert_eq!(told(&answer), ("\"told\";q=9", format!("\"told\";r={left}").as_str()), "{lines}");
        }
        assert_eq!(allowed(&site, "quiet"), 3, "{lines}");
    }
    let site =
        site(&upstream, "limits: [quiet]").document(&limit("quiet", &format!("{}\nheaders: never", bucket(4)))).start();
    for _ in 0..3 {
        assert_eq!(site.get_with("/", ACME).header("ratelimit"), None);
    }
}

#[test]
fn the_old_fields_are_there_each_time() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [old, new]")
        .document(&limit("old", &format!("{}\nlegacyHeaders: true", bucket(4))))
        .document(&limit("new", &bucket(9)))
        .start();
    for left in ["3", "2", "1"] {
        let answer = site.get_with("/", ACME);
        assert_eq!(answer.header("x-ratelimit-remaining"), Some(left));
        assert_eq!(told(&answer), ("\"old\";q=4", format!("\"old\";r={left}").as_str()));
    }
}

#[test]
fn a_tenant_is_told_of_its_own_values_where_it_has_some() {
    let upstream = Upstream::ok("ok");
    for (own, policy, left) in [
        ("one: {burst: 5}", "\"one\";q=5", "\"one\";r=3"),
        ("two: {burst: 3}", "\"two\";q=3", "\"two\";r=1"),
        // The nearest is one without values of its own.
        ("two: {burst: 99}", "\"one\";q=7", "\"one\";r=5"),
        ("one: {burst: 99}", "\"two\";q=8", "\"two\";r=6"),
    ] {
        let site = site(&upstream, "limits: [one, two]")
            .document(&limit("one", &bucket(7)))
            .document(&limit("two", &bucket(8)))
            .document(&format!("kind: Tenant\nname: acme\nlimits: {{{own}}}"))
            .start();
        site.get_with("/", ACME).assert_ok("ok");
        assert_eq!(told(&site.get_with("/", ACME)), (policy, left), "{own}");
        site.get_with("/", "X-Tenant: bolt\r\n").assert_ok("ok");
        assert_eq!(told(&site.get_with("/", "X-Tenant: bolt\r\n")), ("\"one\";q=7", "\"one\";r=5"), "{own}");
    }
}

/// A request that limits let pass, and that is refused for something else, was counted; the client is told, too.
#[test]
fn what_is_refused_after_limits_let_it_pass_is_told_of_them() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "maxBody: 2B\nlimits: [near, far, busy]")
        .document(&limit("near", &bucket(5)))
        .document(&limit("far", &bucket(9)))
        .document(&limit("busy", "key: [route]\nheaders: never\nconcurrency: {limit: 1}"))
        .start();
    for left in [4, 3, 2] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{ACME}Content-Length: 3\r\n\r\nabc");
        let answer = site.exchange(&request);
        answer.assert_reject(413, "body_too_large");
        assert_eq!(told(&answer), ("\"near\";q=5", format!("\"near\";r={left}").as_str()));
    }
    assert_eq!(allowed(&site, "near"), 3);
}

#[test]
fn every_permit_comes_back() {
    let upstream = Upstream::ok("ok");
    let concurrency = |limit: u32, lines: &str| format!("key: [tenant]\nconcurrency: {{limit: {limit}}}\n{lines}");
    for (limits, tenant) in [
        // Two that hold permits; one behind another limit, which costs two; one that only looks; one with values of its own.
        ([concurrency(1, ""), concurrency(1, "")], ""),
        ([bucket(1_000), concurrency(3, "cost: 2")], ""),
        ([concurrency(1, ""), concurrency(1, "mode: shadow")], ""),
        ([bucket(1_000), concurrency(9, "")], "kind: Tenant\nname: acme\nlimits: {two: {limit: 1}}"),
    ] {
        let [one, two] = &limits;
        let mut site = site(&upstream, "limits: [one, two]").document(&limit("one", one)).document(&limit("two", two));
        if !tenant.is_empty() {
            site = site.document(tenant);
        }
        let site = site.start();
        let free = || {
            let explained = site.json("/explain?path=/&host=a&header=x-tenant:acme");
            explained["limits"].as_array().unwrap().iter().all(|limit| limit["admitted"] == true)
        };
        for round in 0..4 {
            site.get_with("/", ACME).assert_ok("ok");
            eventually(&format!("permits are back in round {round}: {limits:?}"), free);
        }
    }
}
