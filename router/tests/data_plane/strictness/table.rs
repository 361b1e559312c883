//! The requests that must be refused.

use super::Case;

const FRAMED: &str = "ambiguous_framing";

pub(super) const LINES: &[Case] = &[
    ("bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("bare LF after a header", b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400, "malformed_request"),
    ("bare LF at the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "malformed_request"),
    ("bare LF throughout", b"GET / HTTP/1.1\nHost: a\n\n", 400, "malformed_request"),
    ("folded line", b"GET / HTTP/1.1\r\nHost: a\r\nx: 1\r\n 2\r\n\r\n", 400, "malformed_request"),
    ("folded line with a tab", b"GET / HTTP/1.1\r\nHost: a\r\nx: 1\r\n\t2\r\n\r\n", 400, "malformed_request"),
    ("blank before the first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "malformed_request"),
    ("blank before a colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "malformed_request"),
    ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nx: 1\x002\r\n\r\n", 400, "malformed_request"),
    ("CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nx: 1\r2\r\n\r\n", 400, "malformed_request"),
    ("CR CR LF", b"GET / HTTP/1.1\r\nHost: a\r\nx: 1\r\r\n\r\n", 400, "malformed_request"),
    ("a control character in a value", b"GET / HTTP/1.1\r\nHost: a\r\nx: \x01\r\n\r\n", 400, "malformed_request"),
    ("NUL in a name", b"GET / HTTP/1.1\r\nHost: a\r\nx\0y: 1\r\n\r\n", 400, "malformed_request"),
    ("a name in brackets", b"GET / HTTP/1.1\r\nHost: a\r\nx(y): 1\r\n\r\n", 400, "malformed_request"),
];

pub(super) const HOSTS: &[Case] = &[
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400, "bad_host"),
    ("an empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad_host"),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_host"),
    ("two equal Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400, "bad_host"),
    ("two Hosts with 1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_host"),
    ("a list of hosts", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "bad_host"),
    ("a blank in the host", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_host"),
    ("a path in the host", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad_host"),
    ("a user in the host", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "bad_host"),
    ("a bad port", b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", 400, "bad_host"),
    ("a huge port", b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400, "bad_host"),
    ("a dot alone", b"GET / HTTP/1.1\r\nHost: .\r\n\r\n", 400, "bad_host"),
    ("two dots", b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", 400, "bad_host"),
    ("an open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "bad_host"),
    ("IPv6 without brackets", b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400, "bad_host"),
    ("a non-ASCII host", b"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400, "bad_host"),
    ("an encoded host", b"GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n", 400, "bad_host"),
    ("another authority", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_host"),
    ("another port in the authority", b"GET http://a:81/ HTTP/1.1\r\nHost: a:80\r\n\r\n", 400, "bad_host"),
    ("an authority without Host", b"GET http://a/ HTTP/1.1\r\n\r\n", 400, "bad_host"),
    ("a user in the authority", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_host"),
];

pub(super) const FRAMING: &[Case] = &[
    ("gzip, chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, FRAMED),
    (
        "chunked, identity",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        400,
        FRAMED,
    ),
    ("identity", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400, FRAMED),
    ("xchunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, FRAMED),
    ("an empty coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \r\n\r\n0\r\n\r\n", 400, FRAMED),
    (
        "chunked twice",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        FRAMED,
    ),
    (
        "coding and length",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
        FRAMED,
    ),
    (
        "length and coding",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        FRAMED,
    ),
    (
        "a vertical tab in the coding",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        400,
        FRAMED,
    ),
    (
        "a blank before the colon of the coding",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        400,
        "malformed_request",
    ),
    (
        "coding with 1.0",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "malformed_request",
    ),
    (
        "two equal lengths",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        400,
        FRAMED,
    ),
    (
        "two different lengths",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        400,
        FRAMED,
    ),
    ("a list of lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", 400, FRAMED),
    ("a signed length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400, FRAMED),
    ("a negative length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx", 400, FRAMED),
    ("an empty length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", 400, FRAMED),
    ("a hexadecimal length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx", 400, FRAMED),
    ("a length with a blank", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\nx", 400, FRAMED),
    (
        "a length too large for anything",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx",
        400,
        FRAMED,
    ),
];

pub(super) const TARGETS: &[Case] = &[
    ("a fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("a fragment in the query", b"GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("non-ASCII bytes", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("an encoded slash", b"GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("an encoded slash in upper case", b"GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("an encoded backslash", b"GET /a%5cb HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("an encoded NUL", b"GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("an encoded line feed", b"GET /a%0a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("half an escape", b"GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("no escape", b"GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("above the root", b"GET /../a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("above the root by escapes", b"GET /a/%2e%2e/%2E%2e/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("the whole server", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
    ("another scheme", b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("ftp", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("an authority for GET", b"GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 400, "malformed_request"),
    ("a relative path", b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("a backslash", b"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
];

pub(super) const METHODS_AND_VERSIONS: &[Case] = &[
    ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501, "method_not_supported"),
    ("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method_not_supported"),
    ("HTTP/0.9", b"GET /\r\n\r\n", 400, "malformed_request"),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed_request"),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("http/1.1 in lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("HTTP/1", b"GET / HTTP/1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("another expectation", b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417, "expectation_failed"),
    (
        "two expectations",
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: other\r\nContent-Length: 0\r\n\r\n",
        417,
        "expectation_failed",
    ),
];
