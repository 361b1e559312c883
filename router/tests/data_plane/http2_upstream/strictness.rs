//! Answers that are ambiguous or no answers: as over HTTP/1.1 the client gets none of them.

use crate::support::http2::{DATA, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, fields};
use crate::support::{Site, Upstream};

/// Gives every request these frames; the stream is put in.
fn answering(frames: Vec<Frame>) -> (Upstream, Site) {
    let upstream = Upstream::scripted(move |peer| {
        let mut wire = Frames::on(peer);
        while let Some(head) = wire.next(HEADERS) {
            for frame in &frames {
                wire.send(&Frame { stream: head.stream, ..frame.clone() });
            }
        }
    });
    // Failing is what they are for.
    let service = format!(
        "kind: Service\nname: all\nendpoints: {{blue: [{{address: \"{}\"}}]}}\nprotocol: h2\nbalance: {{maxFails: 0}}",
        upstream.address()
    );
    let site = Site::builder().document(&service).route("").start();
    (upstream, site)
}

fn head(flags: u8, lines: &[(&str, &str)]) -> Frame {
    Frame::new(HEADERS, flags | END_HEADERS, 0, fields(lines))
}

#[test]
fn answers_that_are_none_are_refused() {
    let many: Vec<_> = (0..200).map(|_| ("x", "1")).collect();
    let many: Vec<_> = [(":status", "200")].into_iter().chain(many).collect();
    let large = "y".repeat(15_000);
    let too_large = || {
        let mut frames = vec![Frame::new(HEADERS, END_STREAM, 0, fields(&[(":status", "200"), ("a", &large)]))];
        // A block goes on in CONTINUATION frames.
        frames.extend((0..5).map(|_| Frame::new(9, 0, 0, fields(&[("b", &large)]))));
        frames.push(Frame::new(9, END_HEADERS, 0, fields(&[("c", "1")])));
        frames
    };
    let ok = |line: (&'static str, &'static str)| vec![head(END_STREAM, &[(":status", "200"), line])];
    let cases: Vec<(&str, Vec<Frame>)> = vec![
        ("no status", vec![head(END_STREAM, &[("x", "1")])]),
        ("a status that is none", vec![head(END_STREAM, &[(":status", "abc")])]),
        ("a status beyond 599", vec![head(END_STREAM, &[(":status", "600")])]),
        ("two statuses", vec![head(END_STREAM, &[(":status", "200"), (":status", "200")])]),
        ("a status behind fields", vec![head(END_STREAM, &[("x", "1"), (":status", "200")])]),
        ("connection", ok(("connection", "close"))),
        ("transfer-encoding", ok(("transfer-encoding", "chunked"))),
        ("keep-alive", ok(("keep-alive", "1"))),
        ("upgrade", ok(("upgrade", "x"))),
        ("a name in capitals", ok(("X-Capital", "1"))),
        ("a name with a blank", ok(("x y", "1"))),
        ("an empty name", ok(("", "1"))),
        ("a line feed in a value", ok(("x", "1\n2"))),
        ("a CRLF in a value", ok(("x", "1\r\nset-cookie: a=b"))),
        ("a zero byte in a value", ok(("x", "1\u{0}"))),
        ("a value that begins with a blank", ok(("x", " 1"))),
        ("a value that ends with a tab", ok(("x", "1\t"))),
        ("a length that is none", ok(("content-length", "x"))),
        ("a length with a sign", ok(("content-length", "+0"))),
        ("two lengths", vec![head(0, &[(":status", "200"), ("content-length", "0"), ("content-length", "0")])]),
        ("a length and no body", ok(("content-length", "1"))),
        ("101", vec![head(0, &[(":status", "101")]), head(END_STREAM, &[(":status", "200")])]),
        ("an interim answer with a length", vec![head(0, &[(":status", "103"), ("content-length", "0")])]),
        ("an interim answer that ends", vec![head(END_STREAM, &[(":status", "103")])]),
        ("too many fields", vec![head(END_STREAM, &many)]),
        ("too large a head", too_large()),
        ("data before a head", vec![Frame::new(DATA, END_STREAM, 0, *b"x")]),
        (
            "too many interim answers",
            (0..40).map(|_| head(0, &[(":status", "103")])).chain([head(END_STREAM, &[(":status", "200")])]).collect(),
        ),
    ];
    for (what, frames) in cases {
        let (_upstream, site) = answering(frames);
        for _ in 0..2 {
            let answer = site.get("/");
            assert_eq!((answer.status(), answer.reject()), (502, Some("upstream_protocol_error")), "{what}");
        }
    }
}

#[test]
fn a_body_of_another_length_is_not_taken_for_whole() {
    let with = |length: &str, data: &str| {
        vec![
            head(0, &[(":status", "200"), ("content-length", length)]),
            Frame::new(DATA, END_STREAM, 0, data.as_bytes()),
        ]
    };
    for (what, frames) in [
        ("too short", with("5", "abc")),
        ("too long", with("2", "abc")),
        ("trailers that do not end", {
            let head = head(0, &[(":status", "200")]);
            vec![head, Frame::new(DATA, 0, 0, *b"abc"), Frame::new(HEADERS, END_HEADERS, 0, fields(&[("x", "1")]))]
        }),
    ] {
        let (_upstream, site) = answering(frames);
        let mut client = site.client();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let whole = client.try_head().and_then(|mut head| match head.status() {
            // It was noticed before anything was passed on.
            502 => None,
            _ => client.try_body(&mut head, true),
        });
        assert!(whole.is_none(), "{what}");
    }
}

#[test]
fn what_has_no_body_has_none() {
    let (_upstream, site) = answering(vec![
        head(0, &[(":status", "204"), ("content-length", "3")]),
        Frame::new(DATA, END_STREAM, 0, *b"abc"),
    ]);
    let mut client = site.client();
    let answer = client.get("/");
    assert_eq!((answer.status(), answer.header("content-length")), (204, None));
    client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.head().status(), 204);
    let (_upstream, site) = answering(vec![head(END_STREAM, &[(":status", "304"), ("content-length", "3")])]);
    assert_eq!(site.get("/").header("content-length"), Some("3"));
}
