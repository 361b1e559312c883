//! Headers between one hop and the next.

use super::support::{Site, Upstream};

#[test]
fn hop_by_hop_headers_of_a_request_stay_behind() {
    let upstream = Upstream::ok("");
    let site = Site::of(&upstream);
    site.get_with(
        "/",
        "Connection: keep-alive, X-Private\r\nConnection: x-other\r\nX-Private: 1\r\nX-Other: 2\r\nX-Kept: 3\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: secret\r\n\
         TE: gzip, trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n",
    )
    .assert_ok("");
    let request = upstream.received();
    let forwarded = ["host: a.test", "te: trailers"];
    let added = ["x-forwarded-for: 127.0.0.1", "x-forwarded-host: a.test", "x-forwarded-proto: http", "x-kept: 3"];
    assert_eq!(request.sorted(), [&forwarded[..], &added[..]].concat());
}

#[test]
fn te_without_trailers_stays_behind() {
    let upstream = Upstream::ok("");
    let site = Site::of(&upstream);
    site.get_with("/", "TE: gzip\r\nConnection: te\r\n").assert_ok("");
    assert_eq!(upstream.received().header("te"), None);
    site.get_with("/", "TE: trailers\r\nConnection: te\r\n").assert_ok("");
    assert_eq!(upstream.received().header("te"), Some("trailers"));
}

/// A client must not be able to remove what the endpoint decides on, nor what the router adds.
#[test]
fn connection_cannot_name_away_what_matters() {
    let upstream = Upstream::ok("");
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nConnection: host, content-length, x-forwarded-for, \
         x-forwarded-host, x-forwarded-proto, x-request-id, transfer-encoding\r\n\r\nabc",
    );
    client.answer().assert_ok("");
    let request = upstream.received();
    assert_eq!((request.header("host"), request.header("content-length")), (Some("a.test"), Some("3")));
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.header("x-forwarded-host"), Some("a.test"));
    assert!(request.header("x-request-id").is_some());
    assert_eq!(request.text(), "abc");
    client.send(
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nConnection: transfer-encoding, close\r\n\r\n\
         3\r\nabc\r\n0\r\n\r\n",
    );
    client.answer().assert_ok("");
    let request = upstream.received();
    assert_eq!((request.header("transfer-encoding"), request.text().as_str()), (Some("chunked"), "abc"));
}

#[test]
fn hop_by_hop_headers_of_an_answer_stay_behind() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Private, keep-alive\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Authenticate: Basic\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nX-Kept: 2\r\nContent-Length: 2\r\n\r\nok",
    );
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..2 {
        let answer = client.get("/");
        answer.assert_ok("ok");
        assert_eq!(answer.sorted(), ["content-length: 2", "x-kept: 2"]);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_endpoint_that_closes_its_connection_does_not_close_the_client_s() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..3 {
        let answer = client.get("/");
        answer.assert_ok("ok");
        assert_eq!(answer.header("connection"), None);
    }
}

/// Lines of one header keep their order and number, as cookies need it.
#[test]
fn repeated_headers_and_odd_bytes_pass_both_ways() {
    let upstream = Upstream::answering(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Latin: \xe9\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n",
    );
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\nAccept: a\r\nAccept: b, c\r\nX-Empty:\r\nX-Tab: a\tb\r\n\r\n");
    let head = client.raw_head();
    let text = String::from_utf8_lossy(&head).into_owned();
    assert!(text.contains("set-cookie: a=1\r\nset-cookie: b=2\r\n"), "{text}");
    assert!(head.windows(10).any(|window| window == b"x-latin: \xe9"), "{text}");
    let request = upstream.received();
    assert_eq!(request.headers("accept"), ["a", "b, c"]);
    assert_eq!(request.header("x-tab"), Some("a\tb"));
    assert_eq!(request.headers("x-empty"), [""]);
}

const FORGED: &str = "X-Forwarded-For: 6.6.6.6, 10.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: www.test\r\n\
                      X-Request-Id: mine\r\nForwarded: for=6.6.6.6\r\n";

#[test]
fn what_a_stranger_says_of_itself_is_replaced() {
    let upstream = Upstream::ok("");
    let site = Site::to(&upstream).listener("trustedProxies: [10.0.0.0/8]").route("").start();
    site.get_with("/", FORGED).assert_ok("");
    let request = upstream.received();
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    assert_eq!(request.header("x-forwarded-host"), Some("a.test"));
    assert_eq!(request.header("forwarded"), None);
    let id = request.header("x-request-id").unwrap().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    site.get("/").assert_ok("");
    assert_ne!(upstream.received().header("x-request-id"), Some(id.as_str()));
}

#[test]
fn what_a_trusted_proxy_says_is_kept() {
    let upstream = Upstream::ok("");
    let site = Site::to(&upstream).listener("trustedProxies: [127.0.0.0/8, 10.0.0.0/8]").route("").start();
    site.get_with("/", FORGED).assert_ok("");
    let request = upstream.received();
    assert_eq!(request.header("x-forwarded-for"), Some("6.6.6.6, 10.1.1.1, 127.0.0.1"));
    assert_eq!(request.header("x-forwarded-proto"), Some("https"));
    assert_eq!(request.header("x-forwarded-host"), Some("www.test"));
    assert_eq!(request.header("x-request-id"), Some("mine"));
    assert_eq!(request.header("forwarded"), Some("for=6.6.6.6"));
    // Ids that are too long, or several, are not believed even then.
    site.get_with("/", &format!("X-Request-Id: {}\r\n", "a".repeat(200))).assert_ok("");
    assert_eq!(upstream.received().header("x-request-id").unwrap().len(), 32);
    site.get_with("/", "X-Request-Id: a\r\nX-Request-Id: b\r\n").assert_ok("");
    assert_eq!(upstream.received().header("x-request-id").unwrap().len(), 32);
}

#[test]
fn limits_by_client_go_by_the_same_rule() {
    let upstream = Upstream::ok("");
    let limit = "kind: Limit\nname: ip\nkey: [clientIp]\ntokenBucket: {rate: 1/h, burst: 1}";
    let site = |trusted| {
        Site::to(&upstream)
            .listener(&format!("trustedProxies: [{trusted}]"))
            .route("limits: [ip]")
            .document(limit)
            .start()
    };
    let strict = site("10.0.0.0/8");
    strict.get_with("/", "X-Forwarded-For: 1.1.1.1\r\n").assert_ok("");
    strict.get_with("/", "X-Forwarded-For: 2.2.2.2\r\n").assert_reject(429, "limit_exceeded");
    let trusting = site("127.0.0.0/8");
    trusting.get_with("/", "X-Forwarded-For: 1.1.1.1\r\n").assert_ok("");
    trusting.get_with("/", "X-Forwarded-For: 2.2.2.2\r\n").assert_ok("");
    trusting.get_with("/", "X-Forwarded-For: 9.9.9.9, 1.1.1.1\r\n").assert_reject(429, "limit_exceeded");
}
