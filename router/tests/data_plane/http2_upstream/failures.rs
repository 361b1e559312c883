//! Endpoints that refuse, leave, die and break off.

use bytes::Bytes;
use h2::Reason;

use crate::support::http2::{
    Call, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, Http2Upstream, Manner, RST_STREAM, send_all,
};
use crate::support::{Ending, Message, Upstream, closed_port};

use super::{over_http2, post, site};

/// Refuses the first so many requests on each connection.
fn refusing(most: usize) -> Http2Upstream {
    Http2Upstream::scripted(move |mut call: Call| async move {
        if call.number <= most {
            call.log("refused");
            return call.respond.send_reset(Reason::REFUSED_STREAM);
        }
        let (body, _) = call.body().await.unwrap();
        call.ok(body).await;
    })
}

#[test]
fn a_request_that_was_refused_is_sent_again_whatever_it_is() {
    let upstream = refusing(2);
    let site = site(&upstream);
    site.client().send(post("/", b"body")).answer().assert_ok("body");
    assert_eq!(upstream.drain(), ["refused", "refused"]);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn where_an_endpoint_refuses_again_and_again_another_one_gets_the_request() {
    let (busy, other) = (refusing(usize::MAX), Http2Upstream::echo(Manner::default()));
    let site = over_http2(&[busy.address(), other.address()]).route("").start();
    for _ in 0..4 {
        site.client().send(post("/", b"body")).answer().assert_ok("body");
    }
    assert_eq!(busy.drain().len(), 3, "it is left out after the first request");
    let site = super::site(&busy);
    site.client().send(post("/", b"body")).answer().assert_reject(502, "upstream_closed");
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_passed_over() {
    let upstream = Http2Upstream::echo(Manner::default());
    let site = over_http2(&[closed_port(), upstream.address()]).route("").start();
    for _ in 0..4 {
        site.client().send(post("/", b"body")).answer().assert_ok("body");
    }
    over_http2(&[closed_port()]).route("").start().get("/").assert_reject(502, "upstream_connect_failed");
}

/// After a GOAWAY what is under way ends as it should, and what is new takes another connection.
#[test]
fn a_connection_that_goes_away_takes_no_more_requests() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        call.log(call.path());
        if call.path() == "/slow" {
            call.go_away();
            call.wait().await;
        }
        let text = format!("{} {}", call.connection, call.path());
        call.ok(text).await;
    });
    let site = site(&upstream);
    let mut slow = site.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(upstream.logged(), "/slow");
    // Those that were sent before the router heard of it are served on the old one.
    crate::support::eventually("new requests go elsewhere", || site.get("/").text().starts_with("1 "));
    for _ in 0..3 {
        site.client().send(post("/new", b"x")).answer().assert_ok("1 /new");
    }
    upstream.go.add_permits(1);
    slow.answer().assert_ok("0 /slow");
    crate::support::eventually("the old one has ended", || upstream.drain().contains(&"connection 0 ended".to_owned()));
    assert_eq!(upstream.connections(), 2);
}

/// The endpoint says that it has looked at none of what was sent: even a POST is sent again, with what it had of its body.
#[test]
fn what_a_connection_that_goes_away_did_not_look_at_is_sent_again() {
    let upstream = Upstream::scripted(|peer| {
        let number = peer.number;
        let log = |peer: &crate::support::Peer, first: String| peer.log(&Message { first, ..Message::default() });
        let mut frames = Frames::on(peer);
        let head = frames.next(HEADERS).unwrap();
        if number == 0 {
            let data = frames.next(DATA).unwrap();
            frames.send(&Frame::new(GOAWAY, 0, 0, [0; 8]));
            frames.next(u8::MAX);
            return log(peer, format!("0 {:?}", data.payload));
        }
        let mut body = Vec::new();
        while let Some(data) = frames.next(DATA) {
            body.extend_from_slice(&data.payload);
            if data.flags & END_STREAM != 0 {
                break;
            }
        }
        frames.send(&Frame::new(HEADERS, END_HEADERS | END_STREAM, head.stream, [0x88]));
        log(peer, format!("1 {body:?}"));
        peer.ending();
    });
    let site = over_http2(&[upstream.address()]).route("").start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc");
    assert_eq!(upstream.received().first, "0 [97, 98, 99]");
    client.send("def").answer().assert_ok("");
    assert_eq!(upstream.received().first, "1 [97, 98, 99, 100, 101, 102]");
}

#[test]
fn a_stream_that_is_reset_harms_no_other() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        call.log(call.path());
        match call.path().as_str() {
            "/head" => call.respond.send_reset(Reason::INTERNAL_ERROR),
            "/body" => {
                let mut stream = call.respond.send_response(http::Response::new(()), false).unwrap();
                let sent = std::sync::atomic::AtomicUsize::new(0);
                send_all(&mut stream, Bytes::from_static(b"half"), false, &sent).await.unwrap();
                call.wait().await;
                stream.send_reset(Reason::INTERNAL_ERROR);
            }
            _ => {
                call.wait().await;
                call.ok("ok").await;
            }
        }
    });
    let site = site(&upstream);
    let mut stays = site.client();
    stays.send("GET /stays HTTP/1.1\r\nHost: a.test\r\n\r\n");
    upstream.logged();
    site.get("/head").assert_reject(502, "upstream_closed");
    upstream.logged();
    let mut body = site.client();
    body.send("GET /body HTTP/1.1\r\nHost: a.test\r\n\r\n").head();
    assert_eq!(body.chunk(), b"half");
    upstream.go.add_permits(2);
    assert!(matches!(body.ending(), Ending::Reset(rest) if rest.is_empty()));
    stays.answer().assert_ok("ok");
    assert_eq!(upstream.connections(), 1);
}

/// Whether they were looked at is not known: only what may be done twice is, and only where the connection had served before.
#[test]
fn a_connection_that_breaks_ends_all_that_is_on_it() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        call.log(call.path());
        if call.connection == 0 && call.path() == "/last" {
            call.die();
        }
        if call.connection == 0 && call.path() != "/first" {
            return std::future::pending().await;
        }
        call.ok("ok").await;
    });
    let site = site(&upstream);
    site.get("/first").assert_ok("ok");
    upstream.logged();
    let (mut gets, mut posts): (Vec<_>, Vec<_>) = (0..10).map(|_| (site.client(), site.client())).unzip();
    for client in &mut gets {
        client.send("GET /get HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    for client in &mut posts {
        client.send(post("/post", b"body"));
    }
    for _ in 0..20 {
        upstream.logged();
    }
    site.get("/last").assert_ok("ok");
    for client in &mut gets {
        client.answer().assert_ok("ok");
    }
    for client in &mut posts {
        client.answer().assert_reject(502, "upstream_closed");
    }
    assert_eq!(upstream.connections(), 2);
}

/// A reset without an error after the whole answer says only that the rest of the request is not wanted.
#[test]
fn a_reset_after_the_answer_does_no_harm() {
    let upstream = Upstream::scripted(|peer| {
        let mut frames = Frames::on(peer);
        while let Some(head) = frames.next(HEADERS) {
            frames.send(&Frame::new(HEADERS, END_HEADERS, head.stream, [0x88]));
            frames.send(&Frame::new(DATA, END_STREAM, head.stream, *b"no"));
            frames.send(&Frame::new(RST_STREAM, 0, head.stream, [0; 4]));
        }
    });
    let site = over_http2(&[upstream.address()]).route("").start();
    for _ in 0..3 {
        let mut client = site.client();
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\nabc");
        client.answer().assert_ok("no");
        site.get("/").assert_ok("no");
    }
    assert_eq!(upstream.connections(), 1);
}
