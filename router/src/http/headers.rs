//! Headers between one hop and the next.

use gridrouter_config::model::HeaderEdits;

use super::fields::{Fields, Known};
use crate::http1::has_token;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a client to an endpoint.
    Request,
    /// From an endpoint to a client.
    Response,
}

/// Removes what concerns only the hop it came by (RFC 9110 §7.6.1), the fields that `Connection` names among it.
///
/// `Trailer` stays: it announces trailers, which are passed on. `TE` stays only as `trailers`. A request's
/// `Transfer-Encoding` stays when it has a body, where it is exactly `chunked` by then; in a response it depends on what
/// the client understands.
pub fn strip_hop_by_hop(headers: &mut Fields, direction: Direction, has_body: bool) {
    let (mut connection, mut any, mut te, mut coding) = (false, false, false, false);
    for (known, ..) in headers.iter() {
        connection |= known == Known::Connection;
        te |= known == Known::Te;
        coding |= known == Known::TransferEncoding;
        any |= concerns_one_hop(known, direction);
    }
    if !(connection || any || te || coding) {
        return;
    }
    if connection {
        strip_named_by_connection(headers);
    }
    let request = direction == Direction::Request;
    let trailers = te && request && headers.known(Known::Te).any(|te| has_token(te, b"trailers"));
    headers.retain(|known, _| {
        !matches!(known, Known::Te | Known::TransferEncoding) && !concerns_one_hop(known, direction)
    });
    if trailers {
        headers.append("te", "trailers");
    }
    if coding && has_body && request {
        // Written anew: an endpoint that compares by case must not read `Chunked` as no coding at all.
        headers.append("transfer-encoding", "chunked");
    }
}

/// Whether a field is never passed on.
fn concerns_one_hop(known: Known, direction: Direction) -> bool {
    let always = matches!(
        known,
        Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::ProxyAuthenticate
            | Known::ProxyAuthorization
            | Known::Http2Settings
            | Known::Upgrade
            | Known::Expect
    );
    // Only the router itself may say that it refused a request.
    always || (known == Known::XGridrouterReject && direction == Direction::Response)
}

fn strip_named_by_connection(headers: &mut Fields) {
    // Without these a message would change its meaning: a client must not be able to remove them.
    const KEPT: [&[u8]; 7] =
        [b"close", b"keep-alive", b"te", b"host", b"content-length", b"transfer-encoding", b"trailer"];
    let mut named: Vec<Vec<u8>> = Vec::new();
    for line in headers.known(Known::Connection) {
        for token in line.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            if !token.is_empty() && !KEPT.iter().any(|kept| token.eq_ignore_ascii_case(kept)) {
                named.push(token.to_ascii_lowercase());
            }
        }
    }
    if !named.is_empty() {
        headers.retain(|_, name| !named.iter().any(|named| named == name));
    }
}

/// Applies a route's edits: remove, set, add.
pub fn apply(edits: &HeaderEdits, headers: &mut Fields) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name, value);
    }
    for (name, value) in &edits.add {
        headers.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn map(lines: &[(&str, &str)]) -> Fields {
        lines.iter().copied().collect()
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
        let names = |headers: &Fields| {
            let mut names: Vec<_> =
                headers.iter().map(|(_, name, _)| String::from_utf8(name.to_owned()).unwrap()).collect();
            names.sort();
            names
        };
        let mut request = map(&lines);
        strip_hop_by_hop(&mut request, Direction::Request, true);
        assert_eq!(names(&request), ["content-length", "host", "te", "trailer", "transfer-encoding", "x-kept"]);
        assert_eq!(request.get("te"), Some(&b"trailers"[..]));
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
