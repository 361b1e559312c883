//! Which route takes a request, and what it changes.

use super::support::{Site, Upstream};

/// A site of routes that answer with their own name.
fn answering(routes: &[(&str, &str)]) -> Site {
    let document = |(name, lines): &(&str, &str)| {
        format!("kind: Route\nname: {name}\n{lines}\nrespond: {{status: 200, body: {name}}}")
    };
    routes.iter().fold(Site::builder(), |site, route| site.document(&document(route))).start()
}

#[test]
fn conditions_on_method_header_and_query() {
    let site = answering(&[
        ("any", ""),
        ("post", "paths: [{prefix: /p}]\nmethods: [POST]"),
        ("beta", "paths: [{prefix: /b}]\nheaders: [{name: X-Beta, exact: yes-please}]"),
        ("version", "paths: [{prefix: /v}]\nheaders: [{name: x-version, regex: '2\\.[0-9]+'}]"),
        ("query", "paths: [{prefix: /q}]\nquery: [{name: debug}, {name: level, regex: '[0-9]+'}]"),
    ]);
    let text = |bytes: &str| site.exchange(bytes.as_bytes()).text();
    assert_eq!(text("GET /p HTTP/1.1\r\nHost: a\r\n\r\n"), "any");
    assert_eq!(text("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), "post");
    assert_eq!(text("GET /b HTTP/1.1\r\nHost: a\r\nx-beta: yes-please\r\n\r\n"), "beta");
    assert_eq!(text("GET /b HTTP/1.1\r\nHost: a\r\nx-beta: no\r\n\r\n"), "any");
    assert_eq!(text("GET /v HTTP/1.1\r\nHost: a\r\nx-version: 2.17\r\n\r\n"), "version");
    assert_eq!(text("GET /v HTTP/1.1\r\nHost: a\r\nx-version: 12.17\r\n\r\n"), "any");
    assert_eq!(text("GET /q?debug&level=3 HTTP/1.1\r\nHost: a\r\n\r\n"), "query");
    assert_eq!(text("GET /q?debug=&level=%33 HTTP/1.1\r\nHost: a\r\n\r\n"), "query");
    assert_eq!(text("GET /q?level=3 HTTP/1.1\r\nHost: a\r\n\r\n"), "any");
}

#[test]
fn the_most_specific_route_wins() {
    let site = answering(&[
        ("root", ""),
        ("prefix", "paths: [{prefix: /a}]"),
        ("longer", "paths: [{prefix: /a/b}]"),
        ("exact", "paths: [{exact: /a/b/c}]"),
        ("regex", "paths: [{regex: '/r/[a-z]+'}]"),
        ("wild", "hosts: ['*.test']"),
        ("host", "hosts: [shop.test]\npaths: [{prefix: /a}]"),
    ]);
    for (host, path, wanted) in [
        ("x", "/", "root"),
        ("x", "/ab", "root"),
        ("x", "/a", "prefix"),
        ("x", "/a/x", "prefix"),
        ("x", "/a/b", "longer"),
        ("x", "/a/b/", "longer"),
        ("x", "/a/b/c", "exact"),
        ("x", "/a/b/c/", "longer"),
        ("x", "/r/abc", "regex"),
        ("x", "/r/abc/d", "root"),
        ("shop.test", "/a", "host"),
        ("shop.test", "/", "wild"),
        ("y.z.test", "/a", "wild"),
    ] {
        let answer = site.exchange(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.text(), wanted, "{host}{path}");
    }
}

#[test]
fn prefix_and_host_are_rewritten_and_headers_edited() {
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nServer: x\r\nX-Set: old\r\nX-Add: 1\r\nContent-Length: 2\r\n\r\nok");
    let site = Site::to(&upstream)
        .route(
            "paths: [{prefix: /api/billing}]\nrewrite: {prefix: /v2, host: billing.internal}\n\
             requestHeaders: {remove: [x-debug], set: {x-entry: web}, add: {x-more: b}}\n\
             responseHeaders: {remove: [server], set: {x-set: new}, add: {x-add: '2'}}",
        )
        .start();
    let mut client = site.client();
    let lines = "X-Debug: 1\r\nX-Entry: forged\r\nX-More: a\r\n";
    for (sent, received) in [
        ("/api/billing/invoices?q=/api/billing", "/v2/invoices?q=/api/billing"),
        ("/api/billing", "/v2"),
        ("/api/billing/", "/v2/"),
        ("/api//billing/./x", "/v2/x"),
    ] {
        let answer = client.get_with(sent, lines);
        answer.assert_ok("ok");
        assert_eq!((answer.header("server"), answer.header("x-set")), (None, Some("new")));
        assert_eq!(answer.headers("x-add"), ["1", "2"]);
        let request = upstream.received();
        assert_eq!(request.first, format!("GET {received} HTTP/1.1"));
        assert_eq!((request.header("host"), request.header("x-debug")), (Some("billing.internal"), None));
        assert_eq!(request.header("x-entry"), Some("web"));
        assert_eq!(request.headers("x-more"), ["a", "b"]);
    }
}

#[test]
fn redirects() {
    let redirect = |name: &str, lines: &str| format!("kind: Route\nname: {name}\n{lines}");
    let site = Site::builder()
        .document(&redirect("https", "paths: [{prefix: /tls}]\nredirect: {status: 301, scheme: https}"))
        .document(&redirect("moved", "paths: [{prefix: /old}]\nredirect: {status: 308, prefix: /new}"))
        .document(&redirect("whole", "paths: [{prefix: /whole}]\nredirect: {path: /there, host: b.test, port: 81}"))
        .start();
    for (path, status, location) in [
        ("/tls/x?y=z", 301, "https://a.test/tls/x?y=z"),
        ("/old/x?y", 308, "http://a.test:8080/new/x?y"),
        ("/old", 308, "http://a.test:8080/new"),
        ("//old/../old/%41", 308, "http://a.test:8080/new/A"),
        ("/whole/x?y", 302, "http://b.test:81/there?y"),
    ] {
        let answer = site.exchange(format!("GET {path} HTTP/1.1\r\nHost: a.test:8080\r\n\r\n"));
        assert_eq!((answer.status(), answer.header("location")), (status, Some(location)), "{path}");
        assert_eq!(answer.header("content-length"), Some("0"));
    }
}

/// What a client writes in its path must not lead to another host.
#[test]
fn a_redirect_cannot_be_led_astray() {
    let site =
        Site::builder().document("kind: Route\nname: moved\npaths: [{prefix: /old}]\nredirect: {prefix: /}").start();
    for path in ["/old//evil.test", "/old///evil.test/", "/old/%0d%0aX: y", "/old/\\evil.test", "/old/@evil.test"] {
        let answer = site.exchange(format!("GET {} HTTP/1.1\r\nHost: a.test\r\n\r\n", path.replace(' ', "%20")));
        let location = answer.header("location").unwrap_or_default().to_owned();
        assert!(location.is_empty() || location.starts_with("http://a.test/"), "{path}: {location}");
        assert!(!location.contains("a.test//"), "{path}: {location}");
    }
}

#[test]
fn fixed_responses() {
    let site = Site::builder()
        .document("kind: Route\nname: json\npaths: [{exact: /json}]\nrespond: {status: 418, body: '{}', contentType: application/json}\nresponseHeaders: {set: {x-own: y}}")
        .document("kind: Route\nname: empty\npaths: [{exact: /empty}]\nrespond: {status: 204}")
        .document("kind: Route\nname: nothing\npaths: [{exact: /nothing}]\nrespond: {status: 200}")
        .start();
    let mut client = site.client();
    let answer = client.get("/json");
    assert_eq!((answer.status(), answer.text().as_str()), (418, "{}"));
    assert_eq!((answer.header("content-type"), answer.header("x-own")), (Some("application/json"), Some("y")));
    assert_eq!(client.get("/empty").status(), 204);
    client.get("/nothing").assert_ok("");
    let head = client.send("HEAD /json HTTP/1.1\r\nHost: a\r\n\r\n").head();
    assert_eq!(head.header("content-length"), Some("2"));
    client.get("/none").assert_reject(404, "no_route");
}

#[test]
fn a_route_belongs_to_its_listeners() {
    let site = Site::builder()
        .document("kind: Listener\nname: other\naddress: 127.0.0.1:0")
        .document("kind: Route\nname: web\nlisteners: [web]\nrespond: {status: 200, body: web}")
        .document("kind: Route\nname: other\nlisteners: [other]\nrespond: {status: 200, body: other}")
        .start();
    site.get("/").assert_ok("web");
    let mut other = super::support::Client::connect(site.router().address("other").unwrap());
    other.get("/").assert_ok("other");
}
