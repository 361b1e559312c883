//! HTTP/2 with endpoints: one that is made with h2, and one that sends frames by hand where h2 would not.

mod both;
mod failures;
mod flow;
mod lifetimes;
mod strictness;
pub(super) mod terms;

use std::net::SocketAddr;

use super::support::http2::{Call, Http2Upstream, Manner, send_all};
use super::support::{Builder, Site, eventually};

/// The service `all` over HTTP/2 in clear.
pub(super) fn over_http2(addresses: &[SocketAddr]) -> Builder {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("{{address: \"{address}\"}}")).collect();
    let endpoints = endpoints.join(", ");
    Site::builder().document(&format!("kind: Service\nname: all\nendpoints: {{blue: [{endpoints}]}}\nprotocol: h2"))
}

/// Everything goes to one endpoint.
fn site(upstream: &Http2Upstream) -> Site {
    over_http2(&[upstream.address()]).route("").start()
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Bytes that tell when something is missing.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn requests_share_a_connection_and_say_what_they_said_over_http1() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        let head = &call.request;
        let mut lines: Vec<_> =
            head.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.retain(|line| !line.starts_with("x-request-id") && !line.starts_with("x-forwarded-for"));
        lines.sort();
        call.log(format!("{} {} {lines:?}", head.method(), head.uri()));
        let (body, _) = call.body().await.unwrap();
        call.ok(body).await;
    });
    let site = site(&upstream);
    let mut client = site.client();
    client
        .get_with("/a%20b?c=d", "Connection: close, X-Mine\r\nX-Mine: 1\r\nX: 1\r\nX: 2\r\nTE: trailers, gzip\r\n")
        .assert_ok("");
    assert_eq!(
        upstream.logged(),
        "GET http://a.test/a%20b?c=d [\"te: trailers\", \"x-forwarded-host: a.test\", \"x-forwarded-proto: http\", \"x: 1\", \
         \"x: 2\"]"
    );
    let mut client = site.client();
    client.send(post("/p", b"hello")).answer().assert_ok("hello");
    assert!(upstream.logged().starts_with("POST http://a.test/p [\"content-length: 5\", "));
    let chunked =
        "PUT /c HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    client.send(chunked).answer().assert_ok("abcde");
    assert!(!upstream.logged().contains("transfer-encoding"));
    let head = client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n").head();
    assert_eq!(head.header("content-length"), Some("0"));
    client.get("/after").assert_ok("");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn many_requests_at_a_time_share_one_connection() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        call.log(call.path());
        call.wait().await;
        let path = call.path();
        call.ok(path).await;
    });
    let site = site(&upstream);
    let mut clients: Vec<_> = (0..50).map(|_| site.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    }
    for _ in 0..50 {
        upstream.logged();
    }
    assert_eq!(upstream.connections(), 1);
    upstream.go.add_permits(50);
    for (n, client) in clients.iter_mut().enumerate() {
        client.answer().assert_ok(&format!("/{n}"));
    }
}

#[test]
fn trailers_pass_in_both_directions() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        let (body, trailers) = call.body().await.unwrap();
        call.log(format!("{:?}", trailers.unwrap_or_default()));
        let head = http::Response::builder().header("trailer", "x-sum").body(()).unwrap();
        let mut stream = call.respond.send_response(head, false).unwrap();
        send_all(&mut stream, body.into(), false, &std::sync::atomic::AtomicUsize::new(0)).await.unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        trailers.insert("x-gridrouter-reject", "forged".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    });
    let site = site(&upstream);
    let mut client = site.client();
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n0\r\nX-Checked: 1\r\nAuthorization: x\r\n\r\n";
    let answer = client.send(request).answer();
    answer.assert_ok("abc");
    assert_eq!(answer.trailers, ["x-sum: 7"]);
    assert_eq!(upstream.logged(), r#"{"x-checked": "1"}"#);
    client.get("/").assert_ok("");
    assert_eq!(upstream.logged(), "{}");
}

#[test]
fn an_answer_may_come_before_its_request_was_read() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        call.ok("no").await;
        drop(call);
    });
    let site = site(&upstream);
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n").send(vec![1; 1000]);
    client.answer().assert_ok("no");
    site.get("/").assert_ok("no");
    assert_eq!(upstream.connections(), 1);
}

/// As those of endpoints that speak HTTP/1.1: at once, what is for clients, and so many.
#[test]
fn early_hints_are_passed_on_and_other_interim_answers_are_not() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        let interim =
            |status: u16| http::Response::builder().status(status).header("link", "</a>").header("x-own", "1");
        for status in [102, 103, 100] {
            call.respond.send_informational(interim(status).body(()).unwrap()).unwrap();
        }
        call.wait().await;
        for _ in 0..20 {
            call.respond.send_informational(interim(103).body(()).unwrap()).unwrap();
        }
        call.ok("ok").await;
    });
    let site = site(&upstream);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    for n in 0.. {
        let answer = client.head();
        if answer.status() == 200 {
            // 102 and 100 are among the eight that are looked at.
            assert_eq!((n, client.bytes(2)), (6, b"ok".to_vec()));
            break;
        }
        assert_eq!((answer.status(), answer.lines), (103, vec!["link: </a>".to_owned()]));
        if n == 0 {
            // It came before the endpoint said anything else.
            upstream.go.add_permits(1);
        }
    }
    upstream.go.add_permits(1);
    site.exchange("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").assert_ok("ok");
}

#[test]
fn unused_connections_are_counted_and_closed_after_a_while() {
    let upstream = Http2Upstream::echo(Manner::default());
    let site = over_http2(&[upstream.address()]).route("timeouts: {upstreamIdle: 1s}").start();
    site.get("/").assert_ok("");
    eventually("the connection is unused", || site.metric("gridrouter_upstream_connections_idle") > 0.5);
    assert_eq!(upstream.logged(), "connection 0 ended");
    eventually("it is gone", || site.metric("gridrouter_upstream_connections_idle") < 0.5);
    site.get("/").assert_ok("");
    assert_eq!(upstream.connections(), 2);
}
