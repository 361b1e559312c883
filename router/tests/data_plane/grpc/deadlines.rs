//! Deadlines of calls.

use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::Response;

use super::super::http2::requests::with_client;
use super::super::support::http2::{Call, Http2Upstream, reset_of, send_all};
use super::super::support::{Site, assert_fired, closed_port};
use super::{begin, call, server, to, unary};

/// One that never answers; with `/head` it sends a head and half a message before, with `/length` a head that promises more.
fn silent() -> Http2Upstream {
    Http2Upstream::scripted(|mut call: Call| async move {
        if call.path() != "/silent" {
            let mut head = Response::builder().header("content-type", "application/grpc");
            if call.path() == "/length" {
                head = head.header("content-length", "7");
            }
            let head = head.body(()).unwrap();
            let mut body = call.respond.send_response(head, false).unwrap();
            body.send_data(Bytes::from_static(b"\0\0\0\0\x02h"), false).unwrap();
            let reset = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
            return call.log(format!("{reset:?}"));
        }
        let reset = reset_of(&mut call.respond).await;
        call.log(format!("{reset:?}"));
    })
}

#[test]
fn a_call_without_an_answer_ends_with_its_deadline() {
    let upstream = silent();
    let site = to(upstream.address()).route("").start();
    let began = Instant::now();
    with_client(&site, async |client| {
        let told = unary(&client, call("/silent", &[("grpc-timeout", "300m")])).await;
        assert_fired(began, Duration::from_millis(300));
        told.assert_refused(4, "request_timeout");
    });
    assert_eq!(upstream.logged(), format!("{:?}", Ok::<_, h2::Error>(Reason::CANCEL)));
}

#[test]
fn a_stream_under_way_ends_with_its_deadline_too() {
    let upstream = silent();
    let site = to(upstream.address()).route("").start();
    let began = Instant::now();
    with_client(&site, async |client| {
        let told = unary(&client, call("/head", &[("grpc-timeout", "300000u")])).await;
        assert_fired(began, Duration::from_millis(300));
        assert_eq!((told.status.as_u16(), &*told.body, told.header("grpc-status")), (200, &b"\0\0\0\0\x02h"[..], ""));
        assert_eq!((told.trailer("grpc-status"), told.trailer("grpc-message")), ("4", "the request took too long"));
    });
    assert_eq!(upstream.logged(), format!("{:?}", Ok::<_, h2::Error>(Reason::CANCEL)));
    assert_eq!(site.count("gridrouter_grpc_calls_total{route=\"all\",status=\"DEADLINE_EXCEEDED\"}"), 1);
}

/// With a length that the body does not have, no client would look at the trailers (RFC 9113 §8.1.1).
#[test]
fn no_length_is_promised_to_who_may_get_a_status_instead() {
    let upstream = silent();
    let site = to(upstream.address()).route("").start();
    with_client(&site, async |client| {
        let told = unary(&client, call("/length", &[("grpc-timeout", "300m")])).await;
        assert_eq!((&*told.body, told.header("content-length")), (&b"\0\0\0\0\x02h"[..], ""));
        assert_eq!(told.trailer("grpc-status"), "4");
    });
}

#[test]
fn a_client_that_takes_nothing_is_told_all_the_same() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut body = call.respond.send_response(head, false).unwrap();
        let much = Bytes::from(vec![0; 1024 * 1024]);
        let _reset = send_all(&mut body, much, false, &AtomicUsize::new(0)).await;
    });
    let site = to(upstream.address()).route("").start();
    with_client(&site, async |client| {
        let (answer, _send) = begin(&client, call("/much", &[("grpc-timeout", "300m")])).await;
        let mut body = answer.await.unwrap().into_body();
        // Room is made for nothing: what there was room for at first comes, and then the trailers.
        let mut came = 0;
        while let Some(data) = body.data().await {
            came += data.unwrap().len();
        }
        assert!(came <= 65_535, "{came}");
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "4");
    });
}

#[test]
fn the_route_may_allow_less() {
    let upstream = silent();
    let site = to(upstream.address()).route("timeouts: {request: 300ms}").start();
    with_client(&site, async |client| {
        let began = Instant::now();
        unary(&client, call("/silent", &[("grpc-timeout", "1H")])).await.assert_refused(4, "request_timeout");
        assert_fired(began, Duration::from_millis(300));
        unary(&client, call("/silent", &[])).await.assert_refused(4, "request_timeout");
    });
}

#[test]
fn a_deadline_that_is_none_is_refused() {
    let site = to(closed_port()).route("").start();
    with_client(&site, async |client| {
        for bad in ["5", "5s", "-1S", "123456789n", "S", ""] {
            unary(&client, call("/ok", &[("grpc-timeout", bad)])).await.assert_refused(3, "bad_grpc_timeout");
        }
        let twice = [("grpc-timeout", "5S"), ("grpc-timeout", "6S")];
        unary(&client, call("/ok", &twice)).await.assert_refused(3, "bad_grpc_timeout");
        unary(&client, call("/ok", &[("grpc-timeout", "0n")])).await.assert_refused(4, "request_timeout");
        unary(&client, call("/ok", &[("grpc-timeout", "5S")])).await.assert_refused(14, "upstream_connect_failed");
    });
    // What speaks no gRPC may have such a header.
    site.get_with("/", "grpc-timeout: never\r\n").assert_reject(502, "upstream_connect_failed");
}

/// The milliseconds that the endpoint was told.
fn told(line: &str) -> u64 {
    let (_, value) = line.split_once('"').unwrap();
    value.trim_end_matches("m\")").parse().unwrap_or_else(|_| panic!("{line}"))
}

#[test]
fn the_endpoint_is_told_what_is_left() {
    let upstream = server();
    let site = to(upstream.address())
        .route("")
        .document("kind: Route\nname: capped\npaths: [{prefix: /trailers}]\nservice: all\ntimeouts: {request: 10s}")
        .document("kind: Route\nname: queued\npaths: [{prefix: /none}]\nservice: all\nlimits: [queue]")
        .document("kind: Limit\nname: queue\nkey: [route]\nleakyBucketQueue: {rate: 2/s, maxQueueing: 30s}")
        .start();
    with_client(&site, async |client| {
        unary(&client, call("/ok", &[("grpc-timeout", "20000000u")])).await;
        assert_eq!(upstream.logged(), "/ok Some(\"20000000u\")", "nothing has changed");
        unary(&client, call("/ok", &[])).await;
        assert_eq!(upstream.logged(), "/ok None");
        for more in [&[][..], &[("grpc-timeout", "1M")]] {
            unary(&client, call("/trailers/0", more)).await;
            let left = told(&upstream.logged());
            assert!((1..=10_000).contains(&left), "{left}");
        }
        let waits = || unary(&client, call("/none", &[("grpc-timeout", "20S")]));
        waits().await;
        upstream.logged();
        waits().await;
        let left = told(&upstream.logged());
        assert!((1..=19_900).contains(&left), "{left}");
    });
}

#[test]
fn a_turn_that_comes_too_late_is_not_waited_for() {
    let upstream = server();
    let site = to(upstream.address())
        .route("limits: [queue]")
        .document("kind: Limit\nname: queue\nkey: [route]\nleakyBucketQueue: {rate: 2/m, maxQueueing: 60s}")
        .start();
    with_client(&site, async |client| {
        unary(&client, call("/ok", &[("grpc-timeout", "10S")])).await;
        let began = Instant::now();
        let late = unary(&client, call("/ok", &[("grpc-timeout", "10S")])).await;
        late.assert_refused(4, "request_timeout");
        assert!(began.elapsed() < Duration::from_secs(9), "it was waited for");
    });
    assert_eq!(upstream.drain().len(), 1);
}

/// A tenant that is being moved: its calls are kept for so long.
fn fenced(hold: &str) -> Site {
    let nobody = closed_port();
    Site::builder()
        .document("kind: Grid\nname: grid\ncells: [a, b]")
        .document("kind: Cell\nname: a")
        .document("kind: Cell\nname: b")
        .document(&format!(
            "kind: Service\nname: all\ncells: {{a: {{blue: [{{address: {nobody}}}]}}, b: {{blue: [{{address: {nobody}}}]}}}}\n\
             protocol: h2"
        ))
        .route("tenant: {from: [{header: x-tenant}]}\ngrid: grid")
        .document("kind: Tenant\nname: acme\ngrid: grid\ncell: a")
        .document(&format!(
            "kind: Move\nname: m\ntenant: acme\ngrid: grid\nfrom: a\nto: b\nwasPinned: true\nretryAfter: 7s\nhold: {hold}\n\
             state: {{phase: Fenced, started: 1, since: 1, deadline: 9}}"
        ))
        .start()
}

#[test]
fn a_fence_keeps_a_call_no_longer_than_its_deadline() {
    const ACME: (&str, &str) = ("x-tenant", "acme");
    let site = fenced("10s");
    with_client(&site, async |client| {
        let began = Instant::now();
        let late = unary(&client, call("/ok", &[ACME, ("grpc-timeout", "300m")])).await;
        assert_fired(began, Duration::from_millis(300));
        late.assert_refused(4, "request_timeout");
        assert_eq!(late.header("retry-after"), "");
    });
    let site = fenced("100ms");
    with_client(&site, async |client| {
        let kept = unary(&client, call("/ok", &[ACME, ("grpc-timeout", "1H")])).await;
        kept.assert_refused(14, "tenant_fenced");
        assert_eq!((kept.header("retry-after"), kept.header("grpc-retry-pushback-ms")), ("7", "7000"));
    });
}
