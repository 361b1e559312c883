//! Connections that are idle are parked on the bare socket and served again.

use std::time::Duration;

use super::support::{Client, Ending, Site, Upstream};

/// Longer than it takes until an idle connection is parked.
const LONG: Duration = Duration::from_millis(1300);

fn be_idle(client: &mut Client) {
    assert_eq!(client.ending_within(LONG), Ending::Open(Vec::new()));
}

#[test]
fn a_parked_connection_is_served_again_and_again() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let mut client = site.client();
    for _ in 0..3 {
        client.get("/").assert_ok("ok");
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").answer().assert_ok("ok");
        be_idle(&mut client);
    }
    client.get("/").assert_ok("ok");
}

#[test]
fn a_parked_connection_takes_a_request_in_single_bytes() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.get("/").assert_ok("ok");
    be_idle(&mut client);
    for byte in "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n".bytes() {
        client.send([byte]);
    }
    client.answer().assert_ok("ok");
    upstream.received();
    assert_eq!(upstream.received().text(), "body");
    be_idle(&mut client);
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    client.answer().assert_ok("ok");
    client.answer().assert_ok("ok");
}

#[test]
fn a_connection_that_has_asked_nothing_yet_is_served_late() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let mut client = site.client();
    be_idle(&mut client);
    client.get("/").assert_ok("ok");
}

#[test]
fn empty_lines_do_not_confuse_a_parked_connection() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.get("/").assert_ok("ok");
    client.send("\r\n");
    be_idle(&mut client);
    client.send("\r\n");
    be_idle(&mut client);
    client.get("/").assert_ok("ok");
}

#[test]
fn many_parked_connections_are_all_served_again() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).route("").threads(2).start();
    let mut clients: Vec<_> = (0..200).map(|_| site.client()).collect();
    for client in &mut clients {
        client.get("/").assert_ok("ok");
    }
    be_idle(&mut clients[0]);
    for client in &mut clients {
        client.get("/").assert_ok("ok");
    }
}

#[test]
fn half_a_head_on_a_parked_connection_runs_out_of_time() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).listener("timeouts: {head: 300ms}").route("").start();
    let mut client = site.client();
    client.get("/").assert_ok("ok");
    be_idle(&mut client);
    client.send("GET / HTTP/1.1\r\nHost").answer().assert_reject(408, "head_timeout");
}

/// An answer under way, and a body under way, are no idleness.
#[test]
fn a_slow_exchange_is_not_parked() {
    let upstream = Upstream::scripted(|peer| {
        while peer.request().is_some() {
            assert_eq!(peer.ending_within(LONG), Ending::Open(Vec::new()));
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsl");
            assert_eq!(peer.ending_within(LONG), Ending::Open(Vec::new()));
            peer.send("owly");
        }
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo");
    be_idle(&mut client);
    client.send("dy").answer().assert_ok("slowly");
}

#[test]
fn a_parked_connection_that_the_client_closes_is_forgotten() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let live = || site.router().shared.threads[0].live.load(std::sync::atomic::Ordering::Relaxed);
    let mut client = site.client();
    client.get("/").assert_ok("ok");
    be_idle(&mut client);
    assert_eq!(live(), 1);
    drop(client);
    super::support::eventually("the connection is forgotten", || live() == 0);
}
