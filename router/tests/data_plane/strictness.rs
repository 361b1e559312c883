//! What is refused before anything is decided on it, and that nothing of it reaches an endpoint.

mod smuggling;
mod table;

use super::support::{Ending, QUIET, Site, Upstream, eventually};

/// A request that must be refused: what is wrong with it, its bytes, and the status and code of the answer.
type Case = (&'static str, &'static [u8], u16, &'static str);

fn refused(cases: &[Case]) {
    let upstream = Upstream::ok("reached");
    let site = Site::of(&upstream);
    let mut wrong = Vec::new();
    for (what, bytes, status, code) in cases {
        let mut client = site.client();
        client.send(bytes);
        let answer = client.try_head().map(|mut answer| {
            client.try_body(&mut answer, true);
            (answer.status(), answer.reject().map(str::to_owned))
        });
        if answer != Some((*status, Some((*code).to_owned()))) {
            wrong.push(format!("{what}: answered {answer:?}"));
        }
        let ending = client.ending_within(QUIET / 8);
        if !matches!(&ending, Ending::Open(rest) | Ending::Closed(rest) if rest.is_empty()) {
            wrong.push(format!("{what}: ended with {ending:?}"));
        }
        wrong.extend(upstream.drain().into_iter().map(|request| format!("{what}: reached the endpoint: {request:?}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    upstream.assert_untouched();
    site.get("/still/alive").assert_ok("reached");
}

#[test]
fn line_ends_and_header_lines() {
    refused(table::LINES);
}

#[test]
fn hosts() {
    refused(table::HOSTS);
}

#[test]
fn framing_headers() {
    refused(table::FRAMING);
}

#[test]
fn targets() {
    refused(table::TARGETS);
}

#[test]
fn methods_versions_and_expectations() {
    refused(table::METHODS_AND_VERSIONS);
}

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
