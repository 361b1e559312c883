//! Which limits a request meets, what it is counted under, and what it costs.

use super::super::support::{Site, Upstream};
use super::{ACME, limit, site};

const ONE: &str = "tokenBucket: {rate: 1/h, burst: 1}";
const TWO: &str = "tokenBucket: {rate: 1/h, burst: 2}";

#[test]
fn a_listener_has_limits_that_a_request_meets_whatever_becomes_of_it() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream)
        .listener("limits: [everyone]")
        .document("kind: Route\nname: all\npaths: [{prefix: /known}]\nservice: all")
        .document(&limit("everyone", "key: [clientIp]\ntokenBucket: {rate: 1/h, burst: 3}"))
        .start();
    site.get("/unknown").assert_reject(404, "no_route");
    site.get("/known").assert_ok("ok");
    site.get("/unknown").assert_reject(404, "no_route");
    site.get("/unknown").assert_reject(429, "limit_exceeded");
    site.get("/known").assert_reject(429, "limit_exceeded");
}

#[test]
fn a_service_has_limits_whatever_the_route() {
    let upstream = Upstream::ok("ok");
    let site = Site::builder()
        .document(&format!(
            "kind: Service\nname: all\nendpoints: {{blue: [{{address: {}}}]}}\nlimits: [service]",
            upstream.address()
        ))
        .route("")
        .document("kind: Route\nname: two\npaths: [{prefix: /two}]\nservice: all\nlimits: [service]")
        .document(&limit("service", &format!("key: [service]\n{TWO}")))
        .start();
    site.get("/").assert_ok("ok");
    let second = site.get("/two");
    second.assert_ok("ok");
    assert!(second.header("ratelimit").unwrap().starts_with("\"service\";r=0"), "named twice, it counts once");
    site.get("/").assert_reject(429, "limit_exceeded");
}

#[test]
fn tenants_and_plans_have_values_and_limits_of_their_own() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]")
        .document(&limit("per", ONE))
        .document(&limit("extra", "key: [tenant, route]\ntokenBucket: {rate: 1/h, burst: 4}"))
        .document(&limit("own", "key: [{constant: all}]\ntokenBucket: {rate: 1/h, burst: 2}\nheaders: never"))
        .document("kind: Plan\nname: gold\nlimits: {per: {rate: 60/h, burst: 3}}\nextraLimits: [extra]")
        .document("kind: Tenant\nname: acme\nplan: gold")
        .document("kind: Tenant\nname: bolt\nplan: gold\nlimits: {per: {burst: 9}}")
        .document("kind: Tenant\nname: cork\nextraLimits: [own]")
        .start();
    let admitted = |tenant: &str| {
        let lines = format!("X-Tenant: {tenant}\r\n");
        (0..12).filter(|_| site.get_with("/", &lines).status() == 200).count()
    };
    let first = site.get_with("/", ACME);
    assert_eq!(first.header("ratelimit-policy"), Some("\"per\";q=3;w=180"));
    assert_eq!(admitted("acme"), 2, "the plan's values");
    assert_eq!(admitted("bolt"), 4, "the tenant's own burst, and the plan's other limit");
    assert_eq!(admitted("cork"), 1, "no plan");
    assert_eq!(admitted("nobody-knows-them"), 1);
    // One request of cork's was admitted by both limits. A refusal by the first takes nothing of the second.
    site.edit("limits: {per: {burst: 9}}", "limits: {per: {burst: 9}}\nextraLimits: [own]");
    site.edit("rate: 60/h, burst: 3}}\nextraLimits: [extra]", "rate: 60/h, burst: 3}}");
    assert_eq!(admitted("bolt"), 1, "what cork left of the limit that both meet");
}

#[test]
fn a_plan_changes_for_all_its_tenants_at_once() {
    let upstream = Upstream::ok("ok");
    let site = site(&upstream, "limits: [per]")
        .document(&limit("per", ONE))
        .document("kind: Plan\nname: gold\nlimits: {per: {burst: 2}}")
        .document("kind: Tenant\nname: acme\nplan: gold")
        .start();
    let policy = || site.get_with("/", ACME).header("ratelimit-policy").unwrap().to_owned();
    assert_eq!(policy(), "\"per\";q=2;w=7200");
    site.edit("limits: {per: {burst: 2}}", "limits: {per: {burst: 5}}");
    assert_eq!(policy(), "\"per\";q=5;w=18000");
}

#[test]
fn keys_have_cookies_parameters_and_constants() {
    let upstream = Upstream::ok("ok");
    for (key, requests) in [
        (
            "{cookie: sid}",
            [
                ("/", "Cookie: a=1; sid=x; b=2\r\n", 200),
                ("/", "Cookie: sid=x\r\n", 429),
                ("/", "Cookie: sid=y\r\n", 200),
                ("/", "Cookie: side=x\r\n", 200),
                ("/", "", 429),
            ],
        ),
        (
            "{query: q}",
            [("/?q=a", "", 200), ("/?x=1&q=%61", "", 429), ("/?q=b", "", 200), ("/", "", 200), ("/?qq=a", "", 429)],
        ),
        (
            "{constant: all}",
            [("/", "", 200), ("/a", "", 429), ("/b", "X: 1\r\n", 429), ("/c", "", 429), ("/d", "", 429)],
        ),
    ] {
        let site = Site::to(&upstream)
            .route("limits: [keyed]")
            .document(&limit("keyed", &format!("key: [{key}]\n{ONE}")))
            .start();
        for (path, lines, status) in requests {
            assert_eq!(site.get_with(path, lines).status(), status, "{key} {path} {lines}");
        }
    }
}

/// A second value does not make a second count: all that are ambiguous share one.
#[test]
fn an_ambiguous_value_is_no_way_around() {
    let upstream = Upstream::ok("ok");
    for (key, path, lines) in [
        ("{query: q}", "/?q=a&q=N", String::new()),
        ("{cookie: sid}", "/", "Cookie: sid=a; sid=N\r\n".to_owned()),
        ("{header: x-key}", "/", "X-Key: a\r\nX-Key: N\r\n".to_owned()),
    ] {
        let site = Site::to(&upstream)
            .route("limits: [keyed]")
            .document(&limit("keyed", &format!("key: [{key}]\n{ONE}")))
            .start();
        let ask = |n: usize| {
            let exchange = |text: &str| text.replace('N', &n.to_string());
            site.get_with(&exchange(path), &exchange(&lines)).status()
        };
        assert_eq!([1, 2, 3].map(ask), [200, 429, 429], "{key}");
    }
}

#[test]
fn a_request_may_cost_more_than_one() {
    let upstream = Upstream::ok("ok");
    let site =
        site(&upstream, "limits: [per]").document(&limit("per", "tokenBucket: {rate: 1/h, burst: 5}\ncost: 2")).start();
    let statuses: Vec<u16> = (0..3).map(|_| site.get_with("/", ACME).status()).collect();
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn the_upstream_says_what_a_request_cost() {
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            let cost = request.header("x-want").unwrap_or("none").to_owned();
            peer.send(format!("HTTP/1.1 200 OK\r\nX-Cost: {cost}\r\nContent-Length: 2\r\n\r\nok"));
        }
    });
    let site = site(&upstream, "limits: [per]")
        .document(&limit("per", "tokenBucket: {rate: 1/h, burst: 10}\ncost: {constant: 2, responseHeader: X-Cost}"))
        .start();
    let left = |want: &str| {
        assert_eq!(site.get_with("/", &format!("{ACME}X-Want: {want}\r\n")).status(), 200);
        // Of the next one, which takes two more.
        site.json("/explain?path=/&host=a&header=x-tenant:acme")["limits"][0]["remaining"].as_u64().unwrap() + 2
    };
    assert_eq!(left("2"), 8);
    assert_eq!(left("4"), 4, "two more are charged");
    assert_eq!(left("0"), 4, "two are given back");
    assert_eq!(left("rubbish"), 2);
    site.get_with("/", "X-Tenant: dear\r\nX-Want: 99999999999999999999\r\n").assert_ok("ok");
    site.get_with("/", "X-Tenant: dear\r\n").assert_reject(429, "limit_exceeded");
    site.get_with("/", &format!("{ACME}X-Want: 50\r\n")).assert_ok("ok");
    let refused = site.get_with("/", ACME);
    refused.assert_reject(429, "limit_exceeded");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait > 2 * 3_600, "what it cost is owed: {wait}");
}

/// An address of one kind has the same bytes as a network of the other.
#[test]
fn clients_of_both_internets_are_counted_apart() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream)
        .listener("trustedProxies: [127.0.0.0/8]")
        .route("limits: [keyed]")
        .document(&limit("keyed", &format!("key: [clientIp]\n{ONE}")))
        .start();
    for (client, status) in [
        ("2001:db8::1", 200),
        ("2001:db8::2", 429),
        ("2001:db8:0:1::1", 200),
        ("32.1.13.184", 200),
        ("32.1.13.184", 429),
    ] {
        let lines = format!("X-Forwarded-For: {client}\r\n");
        assert_eq!(site.get_with("/", &lines).status(), status, "{client}");
    }
}
