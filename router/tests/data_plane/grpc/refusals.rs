//! What the router refuses, and what breaks.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::Response;

use super::super::http2::requests::with_client;
use super::super::support::closed_port;
use super::super::support::http2::{Call, Http2Upstream};
use super::{Told, begin, call, server, to, unary};

#[test]
fn a_limit_that_refuses_a_call_says_when_to_try_again() {
    let upstream = server();
    let site = to(upstream.address())
        .route("limits: [per]")
        .document("kind: Limit\nname: per\nkey: [route]\ntokenBucket: {rate: 2/m, burst: 1}\nstatus: 503")
        .start();
    with_client(&site, async |client| {
        let fine = unary(&client, call("/ok", &[])).await;
        assert_eq!((fine.trailer("grpc-status"), &*fine.body), ("0", &b"\0\0\0\0\x02hi"[..]));
        let refused = unary(&client, call("/ok", &[])).await;
        refused.assert_refused(8, "limit_exceeded");
        assert_eq!(refused.header("grpc-message"), "too many requests");
        assert_eq!(refused.header("ratelimit-policy"), "\"per\";q=1;w=30");
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        let millis: u64 = refused.header("grpc-retry-pushback-ms").parse().unwrap();
        assert!(
            (15..=30).contains(&seconds) && millis <= seconds * 1_000 && millis > (seconds - 1) * 1_000,
            "{seconds} {millis}"
        );
    });
    assert_eq!(upstream.drain().len(), 1, "a call that was refused reached the endpoint");
    // What others would have been answered with.
    assert_eq!(site.count("gridrouter_route_requests_total{route=\"all\",status=\"5xx\"}"), 1);
    assert_eq!(site.count("gridrouter_rejects_total{code=\"limit_exceeded\"}"), 1);
}

#[test]
fn every_stage_refuses_calls_by_a_status() {
    let site = to(closed_port())
        .document("kind: Route\nname: here\npaths: [{prefix: /here}]\nservice: all")
        .document("kind: Route\nname: tenants\npaths: [{prefix: /tenants}]\ntenant: {from: [{header: x-tenant}]}\nservice: all")
        .document("kind: Route\nname: small\npaths: [{prefix: /small}]\nmaxBody: 1B\nservice: all")
        .start();
    with_client(&site, async |client| {
        unary(&client, call("/elsewhere", &[])).await.assert_refused(12, "no_route");
        unary(&client, call("/a%2fb", &[])).await.assert_refused(3, "bad_path");
        unary(&client, call("/here", &[("x", " blank")])).await.assert_refused(3, "malformed_request");
        unary(&client, call("/here", &[])).await.assert_refused(14, "upstream_connect_failed");
        unary(&client, call("/tenants", &[])).await.assert_refused(3, "no_tenant");
        unary(&client, call("/small", &[("content-length", "7")])).await.assert_refused(8, "body_too_large");
    });
}

#[test]
fn a_client_that_is_not_admitted_has_no_permission() {
    let site =
        to(closed_port()).listener("trustedProxies: [127.0.0.1/32]\nclients: {allow: [10.0.0.0/8]}").route("").start();
    with_client(&site, async |client| {
        let request = call("/ok", &[("x-forwarded-for", "192.0.2.1")]);
        unary(&client, request).await.assert_refused(7, "client_denied");
    });
}

#[test]
fn a_stream_that_is_refused_does_not_wait_for_its_messages() {
    let site = to(closed_port()).document("kind: Route\nname: here\npaths: [{prefix: /here}]\nservice: all").start();
    with_client(&site, async |client| {
        // Were refusals kept back for bodies that do not come, this would take a quarter of a second each.
        let began = Instant::now();
        for _ in 0..40 {
            let (answer, send) = begin(&client, call("/elsewhere", &[])).await;
            Told::of(answer.await.unwrap()).await.assert_refused(12, "no_route");
            drop(send);
        }
        assert!(began.elapsed() < Duration::from_secs(9), "they wait for something");
    });
}

#[test]
fn over_http_1_there_are_no_calls() {
    let site = to(closed_port()).document("kind: Route\nname: here\npaths: [{prefix: /here}]\nservice: all").start();
    site.get_with("/elsewhere", "Content-Type: application/grpc\r\n").assert_reject(404, "no_route");
}

#[test]
fn other_requests_over_http_2_are_refused_as_ever() {
    let site = to(closed_port()).document("kind: Route\nname: here\npaths: [{prefix: /here}]\nservice: all").start();
    with_client(&site, async |client| {
        for other in ["application/grpc-web", "text/plain"] {
            let request =
                http::Request::post("http://a.test/elsewhere").header("content-type", other).body(()).unwrap();
            let told = unary(&client, request).await;
            assert_eq!((told.status.as_u16(), told.header("grpc-status")), (404, ""));
            assert!(!told.body.is_empty());
        }
    });
}

#[test]
fn what_the_endpoint_breaks_off_does_not_pass_for_whole() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut body = call.respond.send_response(head, false).unwrap();
        body.send_data(Bytes::from_static(b"\0\0\0\0\x02h"), false).unwrap();
        call.wait().await;
        body.send_reset(Reason::REFUSED_STREAM);
    });
    let site = to(upstream.address()).route("").start();
    with_client(&site, async |client| {
        let (answer, _send) = begin(&client, call("/stream", &[])).await;
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap().len(), 6);
        upstream.go.add_permits(1);
        let broken = body.data().await.unwrap().unwrap_err();
        // Not REFUSED_STREAM, which would say that nothing was done, and be tried again.
        assert_eq!(broken.reason(), Some(Reason::INTERNAL_ERROR));
    });
}

#[test]
fn an_answer_of_http_passes_as_it_is() {
    let upstream = server();
    let site = to(upstream.address()).route("").start();
    with_client(&site, async |client| {
        let told = unary(&client, call("/html/503", &[])).await;
        assert_eq!(
            (told.status.as_u16(), told.header("content-type"), told.header("grpc-status")),
            (503, "text/html", "")
        );
        let told = unary(&client, call("/head/5", &[])).await;
        assert_eq!(
            (told.status.as_u16(), told.header("grpc-status"), told.header("grpc-message")),
            (200, "5", "no%25")
        );
        assert_eq!((told.trailers.is_none(), told.headers.contains_key("content-length")), (true, false));
    });
}
