//! Connections to endpoints: when they are used again, and when a request may be sent twice.

use std::time::Duration;

use super::support::{Ending, Message, PATIENCE, QUIET, Site, Upstream, closed_port};

const POST: &str = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody";

/// The first connection answers once, and closes when the next request has arrived.
fn stale() -> Upstream {
    Upstream::scripted(|peer| {
        while peer.request().is_some() {
            if peer.number == 0 && peer.requests() > 1 {
                return;
            }
            peer.ok("ok");
        }
    })
}

#[test]
fn connections_are_used_again() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    for _ in 0..5 {
        let mut client = site.client();
        client.get("/").assert_ok("ok");
        client.send(POST).answer().assert_ok("ok");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn what_a_stale_connection_swallowed_is_sent_again_where_that_is_safe() {
    for request in [
        "GET /2 HTTP/1.1\r\nHost: a.test\r\nX-Own: 1\r\n\r\n",
        "DELETE /2 HTTP/1.1\r\nHost: a.test\r\nX-Own: 1\r\n\r\n",
    ] {
        let upstream = stale();
        let site = Site::of(&upstream);
        let mut client = site.client();
        client.get("/1").assert_ok("ok");
        upstream.received();
        client.send(request).answer().assert_ok("ok");
        let (swallowed, again) = (upstream.received(), upstream.received());
        assert_eq!(swallowed.first, again.first);
        assert_eq!(swallowed.lines, again.lines, "the second attempt is the same request");
        upstream.assert_untouched();
        assert_eq!(upstream.connections(), 2);
    }
}

#[test]
fn what_a_stale_connection_swallowed_is_not_sent_again_where_that_is_not_safe() {
    for request in [
        POST,
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
        "PATCH / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody",
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ] {
        let upstream = stale();
        let site = Site::of(&upstream);
        let mut client = site.client();
        client.get("/1").assert_ok("ok");
        upstream.received();
        client.send(request).answer().assert_reject(502, "upstream_closed");
        upstream.received();
        upstream.assert_untouched();
        client.get("/3").assert_ok("ok");
    }
}

/// Once, not for ever: the second attempt is on a new connection, and what fails there has failed.
#[test]
fn a_request_is_sent_again_only_once() {
    let upstream = Upstream::scripted(|peer| {
        while peer.request().is_some() {
            if peer.number > 0 || peer.requests() > 1 {
                return;
            }
            peer.ok("ok");
        }
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.get("/1").assert_ok("ok");
    client.get("/2").assert_reject(502, "upstream_closed");
    let received: Vec<_> = (0..3).map(|_| upstream.received().first).collect();
    assert_eq!(received, ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1", "GET /2 HTTP/1.1"]);
    upstream.assert_untouched();
}

#[test]
fn a_connection_that_was_closed_while_unused_is_not_used() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.ok("ok");
        peer.finish_sending();
        let ended = peer.ending();
        peer.log(&Message { first: format!("{ended:?}"), ..Message::default() });
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..3 {
        client.send(POST).answer().assert_ok("ok");
        upstream.received();
        assert_eq!(upstream.received().first, format!("{:?}", Ending::Closed(Vec::new())));
    }
    assert_eq!(upstream.connections(), 3);
}

/// Right after its end has arrived, too, before anybody looks after unused connections.
#[test]
fn a_connection_that_was_just_closed_or_reset_is_not_used() {
    for by_reset in [false, true] {
        let upstream = Upstream::scripted(move |peer| {
            peer.request();
            peer.ok("ok");
            // The answer has been read when this returns.
            let answered = peer.ending_within(QUIET);
            if by_reset {
                socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
                peer.close();
            } else {
                peer.finish_sending();
            }
            peer.log(&Message { first: format!("{answered:?}"), ..Message::default() });
            peer.ending_within(QUIET);
        });
        let site = Site::of(&upstream);
        let mut client = site.client();
        for _ in 0..8 {
            client.send(POST).answer().assert_ok("ok");
            upstream.received();
            assert_eq!(upstream.received().first, format!("{:?}", Ending::Open(Vec::new())));
        }
        assert_eq!(upstream.connections(), 8);
    }
}

#[test]
fn an_endpoint_takes_no_more_at_a_time_than_it_may() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::scripted(move |peer| {
        while peer.request().is_some() {
            wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            peer.ok("ok");
        }
    });
    let endpoint = format!("{{address: {}, maxConnections: 2}}", upstream.address());
    let site = Site::builder()
        .document(&format!("kind: Service\nname: all\nendpoints: {{blue: [{endpoint}]}}"))
        .route("")
        .start();
    let mut busy = [site.client(), site.client()];
    for client in &mut busy {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        upstream.received();
    }
    site.get("/").assert_reject(503, "no_endpoint_available");
    for client in &mut busy {
        go.send(()).unwrap();
        client.answer().assert_ok("ok");
    }
    go.send(()).unwrap();
    site.get("/").assert_ok("ok");
}

#[test]
fn a_connection_is_not_used_again_before_the_answer_was_read() {
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            let body = "x".repeat(200_000);
            peer.ok(&format!("{}{body}", request.first));
        }
    });
    let site = Site::of(&upstream);
    let mut slow = site.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").head();
    let mut clients: Vec<_> = (0..4).map(|_| site.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert!(client.answer().text().starts_with(&format!("GET /{n} ")));
    }
    assert!(slow.bytes(200_000).starts_with(b"GET /slow"));
}

#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let upstream = Upstream::ok("ok");
    let site = Site::builder().service("all", &[closed_port(), upstream.address(), closed_port()]).route("").start();
    let mut client = site.client();
    for _ in 0..6 {
        client.send(POST).answer().assert_ok("ok");
        assert_eq!(upstream.received().text(), "body");
    }
    client.get("/").assert_ok("ok");
}

#[test]
fn where_every_endpoint_refuses_the_client_is_told_so() {
    let site = Site::builder().service("all", &[closed_port(), closed_port()]).route("").start();
    let mut client = site.client();
    client.send(POST).answer().assert_reject(502, "upstream_connect_failed");
    client.send(POST).answer().assert_reject(503, "no_endpoint_available");
    client.get("/").assert_reject(503, "no_endpoint_available");
}

#[test]
fn a_backup_is_used_when_no_other_can_be_and_one_that_is_down_never() {
    let (backup, down) = (Upstream::ok("backup"), Upstream::ok("down"));
    let site = Site::builder()
        .document(&format!(
            "kind: Service\nname: all\nendpoints: {{blue: [{{address: {}}}, {{address: {}, backup: true}}, \
             {{address: {}, down: true}}]}}",
            closed_port(),
            backup.address(),
            down.address()
        ))
        .route("")
        .start();
    for _ in 0..4 {
        site.get("/").assert_ok("backup");
    }
    down.assert_untouched();
}

#[test]
fn endpoints_take_turns_by_weight() {
    let (heavy, light) = (Upstream::ok("heavy"), Upstream::ok("light"));
    let site = Site::builder()
        .document(&format!(
            "kind: Service\nname: all\nendpoints: {{blue: [{{address: {}, weight: 3}}, {{address: {}}}]}}",
            heavy.address(),
            light.address()
        ))
        .route("")
        .start();
    let mut client = site.client();
    for _ in 0..10 {
        let round: Vec<_> = (0..4).map(|_| client.get("/").text()).collect();
        assert_eq!(round.iter().filter(|body| *body == "heavy").count(), 3, "{round:?}");
    }
}
