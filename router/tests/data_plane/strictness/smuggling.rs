//! Bytes behind an ambiguous message must never be read as a request of their own, and half a body must never look
//! whole.

use super::super::support::{Ending, Site, Upstream};

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn nothing_behind_an_ambiguous_head_is_a_request() {
    let upstream = Upstream::ok("reached");
    let site = Site::of(&upstream);
    for head in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 4\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        for tail in [HIDDEN.to_owned(), format!("0\r\n\r\n{HIDDEN}")] {
            let mut client = site.client();
            let answered = client.send(format!("{head}{tail}")).try_head().map(|answer| answer.status());
            assert_eq!(answered, Some(400), "{head:?}");
            assert!(client.bytes(80).starts_with(b"{\"error\""));
            let Ending::Closed(rest) = client.finish_sending().ending() else { panic!("{head:?}: no clean end") };
            assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1"), "{head:?}: another answer");
        }
    }
    upstream.assert_untouched();
}

/// The same when the bytes come one by one, which takes other paths through the parser.
#[test]
fn an_ambiguous_head_in_pieces_is_refused_too() {
    let upstream = Upstream::ok("reached");
    let site = Site::of(&upstream);
    for head in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    ] {
        let mut client = site.client();
        for byte in format!("{head}{HIDDEN}").bytes() {
            if !client.try_send([byte]) {
                break;
            }
        }
        assert_eq!(client.answer().status(), 400, "{head:?}");
        assert_eq!(client.ending(), Ending::Closed(Vec::new()), "{head:?}");
    }
    upstream.assert_untouched();
}

#[test]
fn a_good_request_before_an_ambiguous_one_is_answered() {
    let upstream = Upstream::ok("reached");
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.send(format!(
        "GET /good HTTP/1.1\r\nHost: a\r\n\r\nPOST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\
         Transfer-Encoding: chunked\r\n\r\n{HIDDEN}"
    ));
    client.answer().assert_ok("reached");
    client.answer().assert_reject(400, "ambiguous_framing");
    client.assert_closed();
    assert_eq!(upstream.received().first, "GET /good HTTP/1.1");
    upstream.assert_untouched();
}

/// The endpoint may have got the head and some of the body by then, but never the end of it.
#[test]
fn a_broken_chunk_never_reaches_the_endpoint_as_a_whole_body() {
    let upstream = Upstream::ok("reached");
    let site = Site::of(&upstream);
    for body in [
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "x\r\n\r\n",
        "-1\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nbad trailer\r\n\r\n",
        "3\r\nabc\r\n0\n\r\n",
        "3\r\nabc\r\n0\r\n\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut client = site.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        // Apart from the head, so that a good head has been taken when the body turns out to be broken.
        client.try_send(format!("{body}{HIDDEN}"));
        let answered = client.try_head().map(|answer| answer.status());
        assert_eq!(answered, Some(400), "{body:?}");
        assert!(!matches!(client.ending(), Ending::Open(_)), "{body:?}");
    }
    upstream.assert_untouched();
}

/// A body cut off by the end of the connection is not whole either.
#[test]
fn a_body_cut_short_never_reaches_the_endpoint_as_a_whole_one() {
    let upstream = Upstream::ok("reached");
    let site = Site::of(&upstream);
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ] {
        let mut client = site.client();
        client.send(request).finish_sending();
        let answered = client.try_head().map(|answer| answer.status());
        assert!(matches!(answered, None | Some(400)), "{request:?}: {answered:?}");
    }
    upstream.assert_untouched();
}
