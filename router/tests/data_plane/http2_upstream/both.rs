//! HTTP/2 on both sides: what needs both directions at once, and how little is in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;

use crate::support::http2::{Call, Http2Upstream, reset_of, send_all};
use crate::support::{PATIENCE, QUIET};

use super::site;

/// Runs a client on a connection of its own.
fn with_client<T>(address: SocketAddr, act: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = TcpStream::connect(address).await.unwrap();
        let (send, connection) = h2::client::handshake(socket).await.unwrap();
        let moving = tokio::spawn(connection);
        let done = tokio::time::timeout(3 * PATIENCE, act(send)).await.expect("a client waits forever");
        moving.abort();
        done
    })
}

fn request(path: &str) -> Request<()> {
    let request = Request::post(format!("http://a.test{path}"));
    request.header("te", "trailers").header("content-type", "application/grpc").body(()).unwrap()
}

async fn next(body: &mut RecvStream) -> Bytes {
    let data = body.data().await.unwrap().unwrap();
    body.flow_control().release_capacity(data.len()).unwrap();
    data
}

/// As with gRPC: each side waits for the other's message before it sends its next, and the status is in trailers.
#[test]
fn both_sides_may_speak_in_turn() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        let names = ["te", "content-type", "content-length", "transfer-encoding"];
        call.log(format!("{:?}", names.map(|name| call.request.headers().contains_key(name))));
        let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
        let body = call.request.body_mut();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            send_all(&mut stream, data, false, &AtomicUsize::new(0)).await.unwrap();
        }
        let mut trailers = body.trailers().await.unwrap().unwrap();
        trailers.insert("grpc-status", "0".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    });
    let site = site(&upstream);
    with_client(site.address(), async |client| {
        let mut streams = Vec::new();
        for _ in 0..20 {
            let mut client = client.clone().ready().await.unwrap();
            let (answer, send) = client.send_request(request("/chat"), false).unwrap();
            streams.push((answer.await.unwrap().into_body(), send));
        }
        for turn in 0..10_u8 {
            for (body, send) in &mut streams {
                send.send_data(Bytes::from(vec![turn; 100]), false).unwrap();
                assert_eq!(next(body).await, vec![turn; 100]);
            }
        }
        for (body, send) in &mut streams {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "7".parse().unwrap());
            send.send_trailers(trailers).unwrap();
            assert!(body.data().await.is_none());
            let trailers = body.trailers().await.unwrap().unwrap();
            assert_eq!((&trailers["x-sum"], &trailers["grpc-status"]), (&"7".parse().unwrap(), &"0".parse().unwrap()));
        }
    });
    assert_eq!(upstream.logged(), "[true, true, false, false]");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_reset_goes_through_in_both_directions() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
        send_all(&mut stream, Bytes::from_static(b"half"), false, &AtomicUsize::new(0)).await.unwrap();
        if call.path() == "/client" {
            let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
            return call.log(format!("{:?}", reason.unwrap()));
        }
        call.wait().await;
        stream.send_reset(Reason::INTERNAL_ERROR);
        let _reset = reset_of(&mut call.respond).await;
    });
    let site = site(&upstream);
    with_client(site.address(), async |client| {
        let mut client = client.ready().await.unwrap();
        let (first, mut first_send) = client.send_request(request("/client"), false).unwrap();
        let (second, _second_send) = client.send_request(request("/endpoint"), false).unwrap();
        let (mut first, mut second) = (first.await.unwrap().into_body(), second.await.unwrap().into_body());
        assert_eq!(next(&mut first).await, "half");
        assert_eq!(next(&mut second).await, "half");
        first_send.send_reset(Reason::CANCEL);
        // The client's connection has to be kept going meanwhile.
        while upstream.drain() != ["CANCEL"] {
            tokio::time::sleep(QUIET / 10).await;
        }
        upstream.go.add_permits(1);
        assert!(second.data().await.unwrap().unwrap_err().is_reset());
    });
    assert_eq!(upstream.connections(), 1);
}

/// The client has said how much it takes, so that what is on the way can be told exactly.
#[test]
fn little_is_on_the_way_to_a_client_that_does_not_read() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let upstream = Http2Upstream::scripted(move |mut call: Call| {
        let sent = Arc::clone(&count);
        async move {
            let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
            let piece = Bytes::from(vec![7; 16 * 1024]);
            while send_all(&mut stream, piece.clone(), false, &sent).await.is_ok() {}
        }
    });
    let site = site(&upstream);
    with_client(site.address(), async |client| {
        let mut client = client.ready().await.unwrap();
        let (answer, _send) = client.send_request(request("/"), true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        // So much is sent sooner or later, the window towards the endpoint; how much of what was passed on is allowed again then depends
        // on who was faster. And then, in any time, not much more.
        while sent.load(Ordering::Relaxed) < 250_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(QUIET).await;
        let last = sent.load(Ordering::Relaxed);
        // The client's window of 64 KiB, that of 256 KiB towards the endpoint, and what each side writes next.
        assert!(last < 600_000, "{last}");
        let mut read = 0;
        while read < 2_000_000 {
            read += next(&mut body).await.len();
        }
        assert!(sent.load(Ordering::Relaxed) < read + 600_000);
    });
}

#[test]
fn early_hints_come_before_the_answer() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        let hint = Response::builder().status(103).header("link", "</a>").header("x-own", "1").body(()).unwrap();
        call.respond.send_informational(hint).unwrap();
        call.wait().await;
        call.ok("ok").await;
    });
    let site = site(&upstream);
    with_client(site.address(), async |client| {
        let mut client = client.ready().await.unwrap();
        let (mut answer, _send) = client.send_request(request("/"), true).unwrap();
        let hint = std::future::poll_fn(|cx| answer.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(
            (hint.status().as_u16(), hint.headers().len(), &hint.headers()["link"]),
            (103, 1, &"</a>".parse().unwrap())
        );
        upstream.go.add_permits(1);
        assert_eq!(next(answer.await.unwrap().body_mut()).await, "ok");
    });
}
