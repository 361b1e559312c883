//! Why clients' connections ended is counted.

use super::support::{Site, Upstream, eventually};

const REASONS: [&str; 7] = ["client", "idle", "answered", "refused", "broken_off", "flood", "drained"];

fn closed(site: &Site) -> Vec<(&'static str, u64)> {
    let count = |reason| site.count(&format!("gridrouter_connections_closed_total{{reason=\"{reason}\"}}"));
    REASONS.map(|reason| (reason, count(reason))).into_iter().filter(|(_, count)| *count > 0).collect()
}

fn ends(site: &Site, expected: &[(&'static str, u64)]) {
    eventually("it is counted", || closed(site).iter().map(|(_, count)| count).sum::<u64>() > 0);
    assert_eq!(closed(site), expected);
}

#[test]
fn by_the_client_after_a_request_or_without_one() {
    let upstream = Upstream::ok("ok");
    for asks in [true, false] {
        let site = Site::of(&upstream);
        let mut client = site.client();
        if asks {
            client.get("/").assert_ok("ok");
        }
        drop(client);
        ends(&site, &[("client", 1)]);
    }
}

#[test]
fn by_an_answer_that_was_to_be_the_last() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").answer().assert_ok("ok");
    ends(&site, &[("answered", 1)]);
}

#[test]
fn because_what_came_was_no_request() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let mut client = site.client();
    assert_eq!(client.send("GET\r\n\r\n").answer().status(), 400);
    ends(&site, &[("refused", 1)]);
}

#[test]
fn because_nothing_was_asked() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).route("").listener("timeouts: {idle: 300ms}").start();
    let mut client = site.client();
    client.get("/").assert_ok("ok");
    ends(&site, &[("idle", 1)]);
    drop(client);
}

#[test]
fn because_an_answer_broke_off() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    });
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head();
    ends(&site, &[("broken_off", 1)]);
}
