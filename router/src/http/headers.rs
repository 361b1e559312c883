//! Headers between one hop and the next.

use gridrouter_config::model::HeaderEdits;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::reject::REJECT_HEADER;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a client to an endpoint.
    Request,
    /// From an endpoint to a client.
    Response,
}

/// Removes what concerns only the hop it came by (RFC 9110 §7.6.1), the headers that `Connection` names among it.
///
/// `Trailer` stays: it announces trailers, which are passed on. `TE` stays only as `trailers`. A request's
/// `Transfer-Encoding` stays when it has a body, where it is exactly `chunked` by then: it is how hyper is told that
/// the body is sent in chunks; in a response hyper decides by what the client understands.
pub fn strip_hop_by_hop(headers: &mut HeaderMap, direction: Direction, has_body: bool) {
    let seen = Seen::in_(headers);
    if seen == Seen::default() {
        return;
    }
    if seen.connection {
        strip_named_by_connection(headers);
    }
    if seen.te {
        let trailers = headers.get_all(header::TE).iter().any(names_trailers);
        headers.remove(header::TE);
        if trailers && direction == Direction::Request {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
    if seen.transfer_encoding {
        headers.remove(header::TRANSFER_ENCODING);
        if has_body && direction == Direction::Request {
            // Written anew: an endpoint that compares by case must not read `Chunked` as no coding at all.
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    if seen.others {
        let always = [header::UPGRADE, header::PROXY_AUTHENTICATE, header::PROXY_AUTHORIZATION, header::EXPECT];
        if direction == Direction::Response {
            // Only the router itself may say that it refused a request.
            headers.remove(REJECT_HEADER);
        }
        for name in always.iter().chain(&[KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS]) {
            headers.remove(name);
        }
    }
}

/// Which hop-by-hop headers a message has: one look at each header, since most messages have none.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent facts")]
struct Seen {
    connection: bool,
    te: bool,
    transfer_encoding: bool,
    others: bool,
}

impl Seen {
    fn in_(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            // Compared by length first: names are interned or short, and most differ there.
            match name.as_str().len() {
                10 => {
                    seen.connection |= *name == header::CONNECTION;
                    seen.others |= *name == KEEP_ALIVE;
                }
                2 => seen.te |= *name == header::TE,
                6 => seen.others |= *name == header::EXPECT,
                7 => seen.others |= *name == header::UPGRADE,
                14 => seen.others |= *name == HTTP2_SETTINGS,
                16 => seen.others |= *name == PROXY_CONNECTION,
                17 => seen.transfer_encoding |= *name == header::TRANSFER_ENCODING,
                18 => seen.others |= *name == header::PROXY_AUTHENTICATE,
                19 => seen.others |= *name == header::PROXY_AUTHORIZATION || *name == REJECT_HEADER,
                _ => {}
            }
        }
        seen
    }
}

fn names_trailers(te: &HeaderValue) -> bool {
    te.as_bytes().split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

fn strip_named_by_connection(headers: &mut HeaderMap) {
    let mut named = Vec::new();
    for line in headers.get_all(header::CONNECTION) {
        for token in line.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            // Without these a message would change its meaning: a client must not be able to remove them.
            let keep =
                [&b"close"[..], b"keep-alive", b"te", b"host", b"content-length", b"transfer-encoding", b"trailer"];
            if !token.is_empty()
                && !keep.iter().any(|k| token.eq_ignore_ascii_case(k))
                && let Ok(name) = HeaderName::from_bytes(token)
            {
                named.push(name);
            }
        }
    }
    headers.remove(header::CONNECTION);
    for name in named {
        headers.remove(name);
    }
}

/// Applies a route's edits: remove, set, add.
pub fn apply(edits: &HeaderEdits, headers: &mut HeaderMap) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name.clone(), value.clone());
    }
    for (name, value) in &edits.add {
        headers.append(name.clone(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn hop_by_hop_headers_are_removed_both_ways() {
        let lines = [
            ("host", "a"),
            ("connection", "close, x-private"),
            ("connection", "X-Other, host, Content-Length"),
            ("x-private", "1"),
            ("x-other", "2"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "x"),
            ("proxy-authenticate", "x"),
            ("te", "gzip, trailers"),
            ("trailer", "x-sum"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("x-kept", "1"),
        ];
        let names = |headers: &HeaderMap| {
            let mut names: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
            names.sort();
            names
        };
        let mut request = map(&lines);
        strip_hop_by_hop(&mut request, Direction::Request, true);
        assert_eq!(names(&request), ["content-length", "host", "te", "trailer", "transfer-encoding", "x-kept"]);
        assert_eq!(request[header::TE], "trailers");
        let mut response = map(&lines);
        strip_hop_by_hop(&mut response, Direction::Response, true);
        assert_eq!(names(&response), ["content-length", "host", "trailer", "x-kept"]);
    }

    #[test]
    fn edits_are_applied_in_order() {
        let mut headers = map(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let edits = HeaderEdits {
            remove: vec![HeaderName::from_static("a"), HeaderName::from_static("d")],
            set: vec![(HeaderName::from_static("b"), HeaderValue::from_static("2"))],
            add: vec![
                (HeaderName::from_static("c"), HeaderValue::from_static("2")),
                (HeaderName::from_static("a"), HeaderValue::from_static("3")),
            ],
        };
        apply(&edits, &mut headers);
        assert_eq!(headers, map(&[("b", "2"), ("c", "1"), ("c", "2"), ("a", "3")]));
    }
}
