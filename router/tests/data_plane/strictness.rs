//! What is refused before anything is decided on it, and that nothing of it reaches an endpoint: what the tables in
//! `cases` cannot say.

mod smuggling;

use super::support::{Site, Upstream, eventually};

#[test]
fn a_long_target_is_refused_with_414() {
    let upstream = Upstream::ok("reached");
    let site = Site::of(&upstream);
    let answer = site.exchange(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000)));
    assert!(matches!((answer.status(), answer.reject()), (414, Some("uri_too_long"))), "{answer:?}");
    upstream.assert_untouched();
}

#[test]
fn a_large_head_is_refused_with_431() {
    let upstream = Upstream::ok("reached");
    let site = Site::of(&upstream);
    let line = format!("x-large: {}\r\n", "a".repeat(1000));
    let heads = [
        ("many bytes", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", line.repeat(40))),
        ("one huge line", format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "a".repeat(200_000))),
        ("many lines", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(200))),
        ("no end", format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}", "a".repeat(100_000))),
    ];
    for (what, head) in heads {
        let answer = site.exchange(head);
        assert_eq!((answer.status(), answer.reject()), (431, Some("head_too_large")), "{what}");
    }
    upstream.assert_untouched();
}

#[test]
fn rubbish_is_refused_and_ends_the_connection() {
    let upstream = Upstream::ok("reached");
    let site = Site::of(&upstream);
    for rubbish in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"\0\0\0\0\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1 extra\r\nHost: a\r\n\r\n",
        b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n: empty\r\n\r\n",
    ] {
        let mut client = site.client();
        let answer = client.send(rubbish).answer();
        assert_eq!(answer.status(), 400, "{rubbish:?}: {answer:?}");
        assert!(answer.reject().is_some());
        client.assert_closed();
    }
    upstream.assert_untouched();
}

#[test]
fn a_reject_says_why_in_json_and_leaks_nothing() {
    let upstream = Upstream::ok("reached");
    let site = Site::of(&upstream);
    let answer = site.get("/a%2fb");
    answer.assert_reject(400, "bad_path");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let told = format!("{:?} {}", answer.lines, answer.text());
    assert!(!told.contains("all") && !told.contains(&upstream.address().to_string()), "{told}");
    // A request is counted when the last byte of its answer has been handed over.
    eventually("it is counted", || (site.metric("gridrouter_rejects_total{code=\"bad_path\"}") - 1.0).abs() < 0.1);
}
