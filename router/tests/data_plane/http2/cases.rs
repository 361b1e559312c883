//! What clients may send frame by frame, and what becomes of it: RFC 9113, section by section. What reaches the endpoint is
//! compared with what it should be, to the byte.

use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, fields, frame, get,
};
use crate::support::{Site, Upstream};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;

/// What becomes of it. The h2 crate ends a connection with `PROTOCOL_ERROR` also where the RFC has a code of its own, or where
/// resetting the stream would be enough (RFC 9113 §5.4.1 lets it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The request reaches the endpoint.
    Passed,
    /// An answer with this status, and nothing reaches the endpoint.
    Refused(u16),
    /// The request reaches the endpoint, and its client gets 502 all the same.
    Declined,
    /// The stream is reset with this code.
    Reset(u32),
    /// The connection ends with this code.
    Ended(u32),
}
use Outcome::{Declined, Ended, Passed, Refused, Reset};

/// A whole request on the first stream.
fn asks(list: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, list)
}

/// A request with these fields and nothing else.
fn of(list: &[(&str, &str)]) -> Vec<u8> {
    asks(&fields(list))
}

/// A request with more fields.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    asks(&get("/", more))
}

/// A request with a body in these frames.
fn post(more: &[(&str, &str)], data: &[Vec<u8>]) -> Vec<u8> {
    let plain = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")];
    let head = frame(HEADERS, END_HEADERS, 1, &fields(&[&plain[..], more].concat()));
    [head, data.concat()].concat()
}

fn data(flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, flags, 1, bytes)
}

const GET: (&str, &str) = (":method", "GET");
const HTTP: (&str, &str) = (":scheme", "http");
const ROOT: (&str, &str) = (":path", "/");
const HOST: (&str, &str) = (":authority", "a.test");

fn pseudo() -> Vec<(&'static str, &'static str, Vec<u8>, Outcome)> {
    vec![
        ("§8.3.1", "a plain request", of(&[GET, HTTP, ROOT, HOST]), Passed),
        ("§8.3.1", "https in clear, from a proxy that ended TLS", of(&[GET, (":scheme", "https"), ROOT, HOST]), Passed),
        ("§8.3.1", "a scheme that is none of HTTP's", of(&[GET, (":scheme", "ftp"), ROOT, HOST]), Refused(400)),
        ("§8.3.1", "no method", of(&[HTTP, ROOT, HOST]), Reset(PROTOCOL_ERROR)),
        ("§8.3.1", "no scheme", of(&[GET, ROOT, HOST]), Reset(PROTOCOL_ERROR)),
        ("§8.3.1", "no path", of(&[GET, HTTP, HOST]), Reset(PROTOCOL_ERROR)),
        ("§8.3.1", "an empty path", of(&[GET, HTTP, (":path", ""), HOST]), Reset(PROTOCOL_ERROR)),
        (
            "§8.3.1",
            "a path that does not begin with a slash",
            of(&[GET, HTTP, (":path", "a"), HOST]),
            Reset(PROTOCOL_ERROR),
        ),
        ("§8.3.1", "a path with a space", of(&[GET, HTTP, (":path", "/a b"), HOST]), Reset(PROTOCOL_ERROR)),
        ("§8.3.1", "a path above the root", of(&[GET, HTTP, (":path", "/a/../../b"), HOST]), Refused(400)),
        (
            "§8.3.1",
            "a path with a control character",
            of(&[GET, HTTP, (":path", "/a\u{1}"), HOST]),
            Reset(PROTOCOL_ERROR),
        ),
        ("§8.3.1", "an asterisk for a GET", of(&[GET, HTTP, (":path", "*"), HOST]), Refused(400)),
        ("§8.3.1", "no host at all", of(&[GET, HTTP, ROOT]), Refused(400)),
        ("§8.3.1", "a Host and no authority", of(&[GET, HTTP, ROOT, ("host", "a.test")]), Passed),
        ("§8.3.1", "a Host that is the authority", of(&[GET, HTTP, ROOT, HOST, ("host", "A.test")]), Passed),
        ("§8.3.1", "a Host that is another", of(&[GET, HTTP, ROOT, HOST, ("host", "b.test")]), Refused(400)),
        ("§8.3.1", "two Hosts", of(&[GET, HTTP, ROOT, ("host", "a.test"), ("host", "a.test")]), Refused(400)),
        (
            "§8.3.1",
            "two Hosts and an authority",
            of(&[GET, HTTP, ROOT, HOST, ("host", "a.test"), ("host", "a.test")]),
            Refused(400),
        ),
        (
            "§8.3.1",
            "user information in the authority",
            of(&[GET, HTTP, ROOT, (":authority", "u@a.test")]),
            Refused(400),
        ),
        ("§8.3.1", "an authority that is none", of(&[GET, HTTP, ROOT, (":authority", "a b")]), Reset(PROTOCOL_ERROR)),
        ("§8.3.1", "an empty authority", of(&[GET, HTTP, ROOT, (":authority", "")]), Reset(PROTOCOL_ERROR)),
        ("§8.3", "a method twice", of(&[GET, GET, HTTP, ROOT, HOST]), Reset(PROTOCOL_ERROR)),
        ("§8.3", "a path twice", of(&[GET, HTTP, ROOT, ROOT, HOST]), Reset(PROTOCOL_ERROR)),
        ("§8.3", "an authority twice", of(&[GET, HTTP, ROOT, HOST, HOST]), Reset(PROTOCOL_ERROR)),
        ("§8.3", "a status in a request", of(&[GET, HTTP, ROOT, HOST, (":status", "200")]), Reset(PROTOCOL_ERROR)),
        ("§8.3", "an unknown pseudo-header", of(&[GET, HTTP, ROOT, HOST, (":x", "1")]), Ended(PROTOCOL_ERROR)),
        ("§8.3", "a pseudo-header behind a field", of(&[GET, HTTP, ROOT, ("a", "1"), HOST]), Reset(PROTOCOL_ERROR)),
        ("§8.5", "CONNECT", of(&[(":method", "CONNECT"), (":authority", "a.test:80")]), Refused(501)),
        ("§8.5", "CONNECT with a path", of(&[(":method", "CONNECT"), HTTP, ROOT, HOST]), Reset(PROTOCOL_ERROR)),
        ("RFC 9110 §9.3.8", "TRACE", of(&[(":method", "TRACE"), HTTP, ROOT, HOST]), Refused(501)),
        ("RFC 9110 §9.3.8", "trace in lower case", of(&[(":method", "trace"), HTTP, ROOT, HOST]), Refused(501)),
        ("§3.4", "PRI", of(&[(":method", "PRI"), HTTP, ROOT, HOST]), Refused(501)),
        ("§8.3.1", "a method that is none", of(&[(":method", "G T"), HTTP, ROOT, HOST]), Ended(PROTOCOL_ERROR)),
    ]
}

/// CONNECT with `:protocol` (RFC 8441 §4).
fn connects() -> Vec<(&'static str, &'static str, Vec<u8>, Outcome)> {
    const CONNECT: (&str, &str) = (":method", "CONNECT");
    const WEBSOCKET: (&str, &str) = (":protocol", "websocket");
    const VERSION: (&str, &str) = ("sec-websocket-version", "13");
    let open = |list: &[(&str, &str)]| frame(HEADERS, END_HEADERS, 1, &fields(list));
    let with = |more: &[(&str, &str)]| open(&[&[CONNECT, WEBSOCKET, HTTP, ROOT, HOST, VERSION][..], more].concat());
    vec![
        // The endpoint does not agree, and says 200: that would be a tunnel.
        ("RFC 8441 §5", "one that reaches the endpoint", with(&[]), Declined),
        ("RFC 8441 §4", "no path", open(&[CONNECT, WEBSOCKET, HTTP, HOST, VERSION]), Reset(PROTOCOL_ERROR)),
        ("RFC 8441 §4", "no scheme", open(&[CONNECT, WEBSOCKET, ROOT, HOST, VERSION]), Reset(PROTOCOL_ERROR)),
        ("RFC 8441 §4", "no authority and no Host", open(&[CONNECT, WEBSOCKET, HTTP, ROOT, VERSION]), Refused(400)),
        (
            "RFC 8441 §4",
            "a protocol and another method",
            open(&[GET, WEBSOCKET, HTTP, ROOT, HOST]),
            Reset(PROTOCOL_ERROR),
        ),
        ("RFC 8441 §4", "a protocol twice", with(&[WEBSOCKET]), Reset(PROTOCOL_ERROR)),
        (
            "RFC 8441 §4",
            "an empty protocol",
            open(&[CONNECT, (":protocol", ""), HTTP, ROOT, HOST, VERSION]),
            Refused(400),
        ),
        (
            "RFC 9110 §7.8",
            "several",
            open(&[CONNECT, (":protocol", "websocket, tcp"), HTTP, ROOT, HOST, VERSION]),
            Refused(400),
        ),
        (
            "RFC 9110 §7.8",
            "a protocol with a line in it",
            open(&[CONNECT, (":protocol", "websocket\r\nx: y"), HTTP, ROOT, HOST, VERSION]),
            Refused(400),
        ),
        (
            "RFC 9220 §3",
            "one that the route does not let pass",
            open(&[CONNECT, (":protocol", "h2c"), HTTP, ROOT, HOST]),
            Refused(501),
        ),
        ("RFC 6455 §4.1", "no version", open(&[CONNECT, WEBSOCKET, HTTP, ROOT, HOST]), Refused(400)),
        ("RFC 6455 §4.1", "two versions", with(&[VERSION]), Refused(400)),
        ("RFC 9110 §9.3.6", "a length", with(&[("content-length", "5")]), Refused(400)),
        ("RFC 9110 §9.3.6", "a length of zero", with(&[("content-length", "0")]), Refused(400)),
        ("RFC 9110 §9.3.6", "an end in the head", of(&[CONNECT, WEBSOCKET, HTTP, ROOT, HOST, VERSION]), Refused(400)),
        ("§8.2.2", "an Upgrade besides", with(&[("upgrade", "websocket")]), Reset(PROTOCOL_ERROR)),
        (
            "§8.3.1",
            "a path above the root",
            open(&[CONNECT, WEBSOCKET, HTTP, (":path", "/.."), HOST, VERSION]),
            Refused(400),
        ),
        ("§8.3.1", "a Host that is another", with(&[("host", "b.test")]), Refused(400)),
    ]
}

fn names() -> Vec<(&'static str, &'static str, Vec<u8>, Outcome)> {
    let long = "x".repeat(40_000);
    vec![
        ("§8.2.1", "a name in upper case", with(&[("A", "1")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1", "a name with a space", with(&[("a b", "1")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1", "an empty name", with(&[("", "1")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1", "a name with a colon", with(&[("a:b", "1")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1", "a line feed in a value", with(&[("a", "1\nb: 2")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1", "a carriage return in a value", with(&[("a", "1\rb")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1", "a NUL in a value", with(&[("a", "1\0")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1", "a value that begins with a space", with(&[("a", " 1")]), Refused(400)),
        ("§8.2.1", "a value that ends with a tab", with(&[("a", "1\t")]), Refused(400)),
        ("§8.2.2", "Connection", with(&[("connection", "close")]), Reset(PROTOCOL_ERROR)),
        ("§8.2.2", "Transfer-Encoding", with(&[("transfer-encoding", "chunked")]), Reset(PROTOCOL_ERROR)),
        ("§8.2.2", "Keep-Alive", with(&[("keep-alive", "timeout=5")]), Reset(PROTOCOL_ERROR)),
        ("§8.2.2", "Proxy-Connection", with(&[("proxy-connection", "close")]), Reset(PROTOCOL_ERROR)),
        ("§8.2.2", "Upgrade", with(&[("upgrade", "websocket")]), Reset(PROTOCOL_ERROR)),
        ("§8.2.2", "TE: trailers", with(&[("te", "trailers")]), Passed),
        ("§8.2.2", "TE: gzip", with(&[("te", "gzip")]), Reset(PROTOCOL_ERROR)),
        ("§8.1.1", "a length and no body", with(&[("content-length", "5")]), Reset(PROTOCOL_ERROR)),
        ("§8.1.1", "a length of zero and no body", with(&[("content-length", "0")]), Passed),
        (
            "RFC 9110 §8.6",
            "two lengths",
            post(&[("content-length", "2"), ("content-length", "2")], &[data(END_STREAM, b"hi")]),
            Refused(400),
        ),
        (
            "RFC 9110 §8.6",
            "a length that is a list",
            post(&[("content-length", "2, 2")], &[data(END_STREAM, b"hi")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "RFC 9110 §8.6",
            "a signed length",
            post(&[("content-length", "+2")], &[data(END_STREAM, b"hi")]),
            Reset(PROTOCOL_ERROR),
        ),
        ("RFC 9110 §10.1.1", "an expectation of something else", with(&[("expect", "a-miracle")]), Refused(417)),
        ("§8.2.3", "a cookie in crumbs", with(&[("cookie", "a=1"), ("cookie", "b=2")]), Passed),
        ("§10.5.1", "a hundred lines", with(&[("x", "1"); 99]), Passed),
        ("§10.5.1", "more lines than that", with(&[("x", "1"); 101]), Refused(431)),
        (
            "§6.5.2",
            "a list that is too long",
            [
                frame(HEADERS, END_STREAM, 1, &get("/", &[("x", &long)])[..16_000]),
                frame(CONTINUATION, 0, 1, &get("/", &[("x", &long)])[16_000..32_000]),
                frame(CONTINUATION, END_HEADERS, 1, &get("/", &[("x", &long)])[32_000..]),
            ]
            .concat(),
            Refused(431),
        ),
    ]
}

fn bodies() -> Vec<(&'static str, &'static str, Vec<u8>, Outcome)> {
    vec![
        ("§8.1", "a body without a length", post(&[], &[data(END_STREAM, b"hi")]), Passed),
        ("§8.1", "a body with its length", post(&[("content-length", "2")], &[data(END_STREAM, b"hi")]), Passed),
        (
            "§8.1",
            "a body in pieces, one empty",
            post(&[], &[data(0, b"h"), data(0, b""), data(END_STREAM, b"i")]),
            Passed,
        ),
        ("§6.1", "a padded body", post(&[], &[data(END_STREAM | PADDED, b"\x03hi\0\0\0")]), Passed),
        (
            "§6.1",
            "padding that is longer than the frame",
            post(&[], &[data(END_STREAM | PADDED, b"\x05hi")]),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§8.1.1",
            "a body that is longer than its length",
            post(&[("content-length", "1")], &[data(END_STREAM, b"hi")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "§8.1",
            "trailers",
            post(&[], &[data(0, b"hi"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&[("x-sum", "1")]))]),
            Passed,
        ),
        (
            "§8.1",
            "trailers without an end",
            post(&[], &[data(0, b"hi"), frame(HEADERS, END_HEADERS, 1, &fields(&[("x-sum", "1")]))]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "§8.1",
            "a pseudo-header in trailers",
            post(&[], &[data(0, b"hi"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&[(":path", "/x")]))]),
            Passed,
        ),
    ]
}

fn frames() -> Vec<(&'static str, &'static str, Vec<u8>, Outcome)> {
    let plain = get("/", &[]);
    vec![
        ("§4.1", "a frame of an unknown kind is skipped", [frame(77, 0xff, 0, b"abc"), asks(&plain)].concat(), Passed),
        ("§4.1", "unknown flags are skipped", [frame(PING, 0x40, 0, &[0; 8]), asks(&plain)].concat(), Passed),
        ("§4.2", "a frame that is too large", frame(DATA, 0, 1, &[0; 16_385]), Ended(FRAME_SIZE_ERROR)),
        ("§4.3", "an index that is in no table", asks(&[0xff, 0xff, 0x7f]), Ended(PROTOCOL_ERROR)),
        ("§4.3", "a list cut short", asks(&[0x00, 0x05, b'a']), Ended(PROTOCOL_ERROR)),
        ("§5.1", "data on a stream that nobody opened", frame(DATA, 0, 1, b"x"), Ended(PROTOCOL_ERROR)),
        (
            "§5.1.1",
            "a stream with an even number",
            frame(HEADERS, END_HEADERS | END_STREAM, 2, &plain),
            Ended(PROTOCOL_ERROR),
        ),
        ("§5.1.1", "stream zero", frame(HEADERS, END_HEADERS | END_STREAM, 0, &plain), Ended(PROTOCOL_ERROR)),
        ("§5.3.1", "a stream that depends on itself", frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), Reset(PROTOCOL_ERROR)),
        ("§6.1", "data on stream zero", frame(DATA, 0, 0, b"x"), Ended(PROTOCOL_ERROR)),
        (
            "§6.2",
            "something between the parts of a list",
            [frame(HEADERS, END_STREAM, 1, &plain[..9]), frame(PING, 0, 0, &[0; 8])].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§6.2",
            "a list in two parts",
            [frame(HEADERS, END_STREAM, 1, &plain[..9]), frame(CONTINUATION, END_HEADERS, 1, &plain[9..])].concat(),
            Passed,
        ),
        ("§6.3", "PRIORITY of a wrong length", frame(PRIORITY, 0, 1, &[0; 4]), Ended(PROTOCOL_ERROR)),
        ("§6.4", "RST_STREAM of a stream that nobody opened", frame(RST_STREAM, 0, 1, &[0; 4]), Ended(PROTOCOL_ERROR)),
        (
            "§6.4",
            "RST_STREAM of a wrong length",
            [asks(&plain), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        ("§6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), Ended(PROTOCOL_ERROR)),
        ("§6.5", "SETTINGS of a wrong length", frame(SETTINGS, 0, 0, &[0; 5]), Ended(PROTOCOL_ERROR)),
        ("§6.5", "an acknowledgement that says something", frame(SETTINGS, ACK, 0, &[0; 6]), Ended(PROTOCOL_ERROR)),
        ("§6.5.2", "a window that is too large", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), Ended(PROTOCOL_ERROR)),
        ("§6.5.2", "a frame size that is too small", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), Ended(PROTOCOL_ERROR)),
        (
            "§6.5.2",
            "a push that is neither on nor off",
            frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§6.6",
            "a promise from a client",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &plain].concat()),
            Ended(PROTOCOL_ERROR),
        ),
        ("§6.7", "PING of a wrong length", frame(PING, 0, 0, &[0; 7]), Ended(PROTOCOL_ERROR)),
        ("§6.7", "PING on a stream", frame(PING, 0, 1, &[0; 8]), Ended(PROTOCOL_ERROR)),
        ("§6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), Ended(PROTOCOL_ERROR)),
        ("§6.9", "an increment of zero", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), Ended(PROTOCOL_ERROR)),
        ("§6.9", "WINDOW_UPDATE of a wrong length", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), Ended(PROTOCOL_ERROR)),
        (
            "§6.9.1",
            "a window that grows too large",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            Ended(FLOW_CONTROL_ERROR),
        ),
        ("§6.10", "a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &plain), Ended(PROTOCOL_ERROR)),
        (
            "§6.10",
            "a continuation of another stream",
            [frame(HEADERS, END_STREAM, 1, &plain[..9]), frame(CONTINUATION, END_HEADERS, 3, &plain[9..])].concat(),
            Ended(PROTOCOL_ERROR),
        ),
    ]
}

/// What came of it: the first thing that is said of the stream or the connection.
fn outcome(site: &Site, upstream: &Upstream, bytes: &[u8]) -> Option<Outcome> {
    let mut raw = Raw::connect(site.address());
    raw.send(bytes);
    let frame = raw.next_of(&[HEADERS, RST_STREAM, GOAWAY])?;
    let passed = !upstream.drain().is_empty();
    Some(match frame.kind {
        HEADERS if passed && frame.status() == Some(200) => Passed,
        HEADERS if passed && frame.status() == Some(502) => Declined,
        HEADERS if !passed => Refused(frame.status()?),
        RST_STREAM => Reset(frame.code()?),
        GOAWAY => Ended(frame.code()?),
        _ => panic!("passed on, and answered with {frame:?}"),
    })
}

#[test]
fn frames_and_fields_are_what_the_rules_say() {
    let upstream = Upstream::ok("fine");
    let site = Site::of(&upstream);
    let mut wrong = Vec::new();
    let all = [pseudo(), connects(), names(), bodies(), frames()].concat();
    for (section, what, bytes, wanted) in &all {
        let is = outcome(&site, &upstream, bytes);
        if is != Some(*wanted) {
            wrong.push(format!("{section}, {what}: {is:?}, not {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    // And good clients are served still.
    assert_eq!(Raw::connect(site.address()).ask(1, &get("/", &[])).status(), 200);
}

/// What the endpoint gets of a request, but for what the router adds.
fn reaches(bytes: &[u8]) -> (String, Vec<String>, Vec<u8>, Vec<String>) {
    let upstream = Upstream::ok("fine");
    let site = Site::of(&upstream);
    let mut raw = Raw::connect(site.address());
    raw.send(bytes);
    assert_eq!(raw.status(), 200);
    let got = upstream.received();
    let lines = got.sorted().into_iter().filter(|line| !line.starts_with("x-forwarded-")).collect();
    (got.first.clone(), lines, got.raw_body.clone(), got.trailers.clone())
}

#[test]
fn endpoints_get_what_was_meant_by_http_1_1() {
    let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
    let of_get = of(&[
        GET,
        HTTP,
        (":path", "/a?b=1"),
        HOST,
        ("cookie", "a=1"),
        ("x", "1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
    ]);
    let wanted = lines(&["cookie: a=1; b=2", "host: a.test", "te: trailers", "x: 1"]);
    assert_eq!(reaches(&of_get), ("GET /a?b=1 HTTP/1.1".to_owned(), wanted, Vec::new(), Vec::new()));
    let chunked = post(&[], &[data(0, b"hello"), data(0, b""), data(END_STREAM, b" you")]);
    let (first, of_chunked, body, _) = reaches(&chunked);
    assert_eq!(first, "POST / HTTP/1.1");
    assert_eq!(of_chunked, lines(&["host: a.test", "transfer-encoding: chunked"]));
    assert_eq!(String::from_utf8(body).unwrap(), "5\r\nhello\r\n4\r\n you\r\n0\r\n");
    let (_, of_long, body, _) =
        reaches(&post(&[("content-length", "05")], &[data(0, b"he"), data(END_STREAM, b"llo")]));
    assert_eq!((of_long, &body[..]), (lines(&["content-length: 5", "host: a.test"]), &b"hello"[..]));
    let trailers = fields(&[("x-sum", "1"), ("content-length", "9"), ("x_sum", "2")]);
    let trailed = post(&[], &[data(0, b"hi"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)]);
    let (.., trailers) = reaches(&trailed);
    assert_eq!(trailers, lines(&["x-sum: 1"]));
    // RFC 9113 §8.1 has the stream reset for this. The h2 crate leaves it out, and says nothing.
    let pseudo = fields(&[(":path", "/x"), ("x-sum", "1")]);
    let trailed = post(&[], &[data(0, b"hi"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &pseudo)]);
    assert_eq!(reaches(&trailed).3, lines(&["x-sum: 1"]));
    let empty = post(&[], &[data(END_STREAM, b"")]);
    let (_, of_empty, body, _) = reaches(&empty);
    assert_eq!((of_empty, &body[..]), (lines(&["host: a.test", "transfer-encoding: chunked"]), &b"0\r\n"[..]));
}
