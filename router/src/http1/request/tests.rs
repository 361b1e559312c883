use super::*;
use Malformed as M;

fn parsed(bytes: &str) -> Result<Option<Head>, Malformed> {
    parse(&mut BytesMut::from(bytes), &mut Scan::default())
}

fn head(bytes: &str) -> Head {
    parsed(bytes).unwrap().unwrap_or_else(|| panic!("{bytes:?} is not whole"))
}

/// A head in which `lines` follow the `Host` line.
fn with(lines: &str) -> Result<Option<Head>, Malformed> {
    parsed(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

#[test]
fn a_head_says_what_is_asked_and_what_becomes_of_the_connection() {
    let head = head("GET /a?b=c HTTP/1.1\r\nHost: a.test\r\nX-Own:  1 \r\nTE: gzip, trailers\r\n\r\nGET");
    assert_eq!((head.method, head.uri.to_string(), head.version), (Method::GET, "/a?b=c".into(), Version::HTTP_11));
    assert_eq!(head.fields.get("x-own"), Some(&b"1"[..]));
    assert!(head.keep_alive && head.takes_trailers && !head.expects_continue && head.body.is_done());
}

#[test]
fn what_is_behind_a_head_is_left() {
    let mut input = BytesMut::from("\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
    let head = parse(&mut input, &mut Scan::default()).unwrap().unwrap();
    assert_eq!((head.body, &input[..]), (Decoder::Length(3), &b"abc"[..]));
}

#[test]
fn the_connection_lasts_as_the_version_and_the_client_say() {
    for (version, line, lasts) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, Close\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        assert_eq!(head(&format!("GET / HTTP/{version}\r\n{line}\r\n")).keep_alive, lasts, "{version} {line}");
    }
}

#[test]
fn a_length_with_leading_zeros_is_passed_on_without() {
    let head = with("Content-Length: 0010\r\n").unwrap().unwrap();
    assert_eq!((head.body, head.fields.get("content-length")), (Decoder::Length(10), Some(&b"10"[..])));
}

#[test]
fn only_a_client_of_http_1_1_waits_to_continue() {
    let lines = "Host: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    assert!(head(&format!("POST / HTTP/1.1\r\n{lines}")).expects_continue);
    assert!(!head(&format!("POST / HTTP/1.0\r\n{lines}")).expects_continue);
}

#[test]
fn the_body_is_delimited_in_one_way_or_not_at_all() {
    for (lines, body) in [
        ("", Decoder::Done),
        ("Content-Length: 0\r\n", Decoder::Done),
        ("content-length:17\r\n", Decoder::Length(17)),
        ("Transfer-Encoding: Chunked\r\n", Decoder::ChunkSize),
    ] {
        assert_eq!(with(lines).unwrap().unwrap().body, body, "{lines:?}");
    }
    for (lines, wrong) in [
        ("Content-Length: 3\r\nContent-Length: 3\r\n", M::RepeatedLength),
        ("Content-Length: 3, 3\r\n", M::BadLength),
        ("Content-Length: +3\r\n", M::BadLength),
        ("Content-Length: 3 3\r\n", M::BadLength),
        ("Content-Length: 0x3\r\n", M::BadLength),
        ("Content-Length:\r\n", M::BadLength),
        ("Content-Length: 18446744073709551615\r\n", M::BadLength),
        ("Content-Length: 99999999999999999999\r\n", M::BadLength),
        ("Content-Length: \x0b3\r\n", M::BadLength),
        ("Transfer-Encoding: gzip, chunked\r\n", M::BadTransferEncoding),
        ("Transfer-Encoding: identity\r\n", M::BadTransferEncoding),
        ("Transfer-Encoding:\r\n", M::BadTransferEncoding),
        ("Transfer-Encoding: \x0bchunked\r\n", M::BadTransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", M::BadTransferEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", M::LengthAndTransferEncoding),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", M::LengthAndTransferEncoding),
        ("Transfer-Encoding : chunked\r\n", M::NotHttp),
        ("Content-Length : 3\r\n", M::NotHttp),
    ] {
        assert_eq!(with(lines).unwrap_err(), wrong, "{lines:?}");
    }
    let old = parsed("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old.unwrap_err(), M::OldTransferEncoding);
}

#[test]
fn what_is_no_head_is_told_apart() {
    for (bytes, wrong) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", M::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", M::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", M::BareLineFeed),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", M::BadTarget),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", M::BadTarget),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", M::NotHttp),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", M::NotHttp),
        ("GET / HTTP/1.1\r\nx: \x01\r\n\r\n", M::NotHttp),
        ("GET / HTTP/2.0\r\n\r\n", M::NotHttp),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", M::NotHttp),
        ("\x16\x03\x01\x02", M::NotHttp),
        ("GET / HTTP/1.1 x\r\n\r\n", M::NotHttp),
    ] {
        assert_eq!(parsed(bytes).unwrap_err(), wrong, "{bytes:?}");
    }
}

#[test]
fn a_head_has_its_bounds() {
    let long = |bytes| "a".repeat(bytes);
    let target = parsed(&format!("GET /{} HTTP/1.1\r\n\r\n", long(MAX_HEAD_BYTES)));
    assert_eq!(target.unwrap_err(), Malformed::LongTarget);
    assert_eq!(parsed(&format!("GET /{}", long(MAX_HEAD_BYTES))).unwrap_err(), Malformed::LongTarget);
    assert_eq!(with(&format!("x: {}\r\n", long(MAX_HEAD_BYTES))).unwrap_err(), Malformed::LargeHead);
    assert_eq!(with(&"x: y\r\n".repeat(MAX_LINES)).unwrap_err(), Malformed::LargeHead);
    assert!(with(&"x: y\r\n".repeat(MAX_LINES - 1)).unwrap().is_some());
    assert!(with(&format!("x: {}\r\n", long(MAX_HEAD_BYTES - 60))).unwrap().is_some());
}

/// What came so far is not parsed anew for each byte, but what can be no head is refused before it ends.
#[test]
fn rubbish_without_an_end_is_refused_early() {
    let (mut input, mut scan) = (BytesMut::new(), Scan::default());
    for n in 0.. {
        input.extend_from_slice(if n == 0 { b"GET / HTTP/1.1\r\nx(y): " } else { b"z" });
        if parse(&mut input, &mut scan).is_err() {
            break;
        }
        assert!(n < 300, "{n} bytes of rubbish were waited for");
    }
}

proptest::proptest! {
    /// However the bytes are cut into reads, the outcome is the same.
    #[test]
    fn the_outcome_does_not_depend_on_how_bytes_arrive(
        text in "(\r\n)?(GET|POST|G@T) /[a#]? HTTP/1.[01]\r?\n((Content-Length: ?[0-9]{1,2}|Transfer-Encoding: chunked|X: y|X : y)\r?\n){0,3}\r?\n[0-9a-f\r\n;]{0,40}",
        cuts in proptest::collection::vec(1_usize..12, 0..40),
    ) {
        let bytes = text.as_bytes();
        let outcome = |parsed: Result<Option<Head>, Malformed>| {
            parsed.map(|head| head.map(|head| (head.method, head.uri, head.version, head.fields, head.body)))
        };
        let mut whole = BytesMut::from(bytes);
        let wanted = outcome(parse(&mut whole, &mut Scan::default()));
        let (mut input, mut scan, mut at) = (BytesMut::new(), Scan::default(), 0);
        let mut got = Ok(None);
        let mut cuts = cuts.into_iter();
        while at < bytes.len() && matches!(got, Ok(None)) {
            let end = (at + cuts.next().unwrap_or(1)).min(bytes.len());
            input.extend_from_slice(&bytes[at..end]);
            got = outcome(parse(&mut input, &mut scan));
            at = end;
        }
        // Which of several faults is told may depend on which is seen first.
        proptest::prop_assert_eq!(got.as_ref().ok(), wanted.as_ref().ok());
        if let Ok(Some(_)) = got {
            proptest::prop_assert_eq!([&input[..], &bytes[at..]].concat(), whole.to_vec());
        }
    }

    /// Nothing that a client sends makes the parser panic.
    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _outcome = parse(&mut BytesMut::from(&bytes[..]), &mut Scan::default());
    }
}
