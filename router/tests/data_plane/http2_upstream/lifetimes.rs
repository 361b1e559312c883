//! How many connections there are, for how long, and who waits for one.

use std::time::Duration;

use gridrouter_config::tracks::Tracks as Told;

use crate::shift::shift;
use crate::support::http2::{Call, Http2Upstream, Manner};
use crate::support::{Site, eventually};

use super::{over_http2, post};

/// One that holds its answers until it is let go.
fn holding(max_streams: u32) -> Http2Upstream {
    let manner = Manner { max_streams: Some(max_streams), ..Manner::default() };
    Http2Upstream::new(manner, |mut call: Call| async move {
        call.log(format!("{} {}", call.connection, call.path()));
        call.wait().await;
        call.ok("ok").await;
    })
}

#[test]
fn where_a_connection_is_full_another_one_is_opened() {
    let upstream = holding(2);
    let site = over_http2(&[upstream.address()]).route("").start();
    let mut clients: Vec<_> = (0..10).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    for _ in 0..10 {
        upstream.logged();
    }
    assert_eq!(upstream.connections(), 5);
    upstream.go.add_permits(10);
    for client in &mut clients {
        client.answer().assert_ok("ok");
    }
}

#[test]
fn a_request_waits_for_a_place_as_long_as_for_a_connection() {
    let upstream = holding(1);
    let site = over_http2(&[upstream.address()]).route("timeouts: {connect: 1s}").start();
    let mut clients: Vec<_> = (0..16).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        upstream.logged();
    }
    assert_eq!(upstream.connections(), 16);
    site.get("/").assert_reject(504, "upstream_connect_timeout");
    // It is full and not broken: whoever waits longer gets a place.
    let mut late = site.client();
    late.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    upstream.go.add_permits(17);
    for client in clients.iter_mut().chain([&mut late]) {
        client.answer().assert_ok("ok");
    }
    assert_eq!(upstream.connections(), 16);
}

#[test]
fn an_endpoint_may_close_an_unused_connection_at_any_time() {
    let upstream = Http2Upstream::scripted(|mut call: Call| async move {
        let (body, _) = call.body().await.unwrap();
        call.ok(body).await;
        call.wait().await;
        call.die();
        std::future::pending::<()>().await;
    });
    let site = over_http2(&[upstream.address()]).route("").start();
    for n in 0..5 {
        site.client().send(post("/", b"body")).answer().assert_ok("body");
        assert_eq!(upstream.connections(), n + 1);
        upstream.go.add_permits(1);
        assert_eq!(upstream.logged(), format!("connection {n} ended"));
    }
}

#[test]
fn what_is_under_way_ends_before_the_router_does() {
    let upstream = holding(100);
    let site = over_http2(&[upstream.address()]).route("").drain(Duration::from_secs(20)).start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    upstream.logged();
    let stopping = std::thread::spawn(move || site.stop());
    upstream.go.add_permits(1);
    client.answer().assert_ok("ok");
    assert_eq!(stopping.join().unwrap(), 0);
}

#[test]
fn copies_have_connections_of_their_own() {
    let echo = || Http2Upstream::echo(Manner::default());
    let (blue, green) = (echo(), echo());
    let site = Site::builder()
        .document("kind: Grid\nname: grid\ncells: [one]")
        .document("kind: Cell\nname: one")
        .document(&format!(
            "kind: Service\nname: all\nprotocol: h2\ncells: {{one: {{blue: [{{address: \"{}\"}}], green: [{{address: \
             \"{}\"}}]}}}}",
            blue.address(),
            green.address()
        ))
        .route("tenant: {from: [{header: x-tenant}], otherwise: {tenant: nobody}}\ngrid: grid")
        .document(&shift("Running", "0%", "mirror: {share: 100%, bodies: 100%, methods: [GET, POST]}"))
        .start();
    let mut client = site.client();
    for _ in 0..5 {
        client.get("/").assert_ok("");
        client.send(post("/", b"body")).answer().assert_ok("body");
    }
    let told = || {
        let told: Told = serde_json::from_value(site.json("/tracks")).unwrap();
        told.shifts.into_iter().next().unwrap().mirror.unwrap()
    };
    eventually("all copies are over", || told().in_flight == 0 && told().compared + told().failed >= 10);
    let counts = told();
    assert_eq!((counts.copies, counts.compared, counts.status_differs, counts.bodies_differ), (10, 10, 0, 0));
    assert_eq!((blue.connections(), green.connections()), (1, 1));
}
