//! Header fields between HTTP/2 and what the rest of the router works with.

use h2::ext::Protocol;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use crate::http::fields::{Fields, Known};
use crate::http1::body::Decoder;
use crate::http1::encode::may_be_trailer;
use crate::http1::malformed::Malformed;
use crate::http1::request::Head;
use crate::http1::{Delimiting, MAX_LINES, plain_length};
use crate::limit::headers::{RATE_LIMIT, RATE_LIMIT_POLICY};

/// The longest list of fields that is taken, as RFC 9113 §6.5.2 counts it: as much as a head of HTTP/1.1 may have, with what
/// that counts for each line.
pub(crate) const MAX_LIST_BYTES: u32 = 32 * 1024 + 32 * MAX_LINES as u32;
/// Header lines that a router adds: room for them is made at once.
const ADDED_LINES: usize = 6;
/// What stands in a line beside name and value.
const PUNCTUATION: usize = 4;
/// The longest name of a protocol. None that is in use has a third of it.
const LONGEST_PROTOCOL: usize = 64;
/// About how long a line is.
const LINE_BYTES: usize = 48;

/// A request's head, as if it had come by HTTP/1.1: its target is what it would be there, `Host` stands among the fields, and so
/// does the coding of a body whose length is not known. `is_whole` says that there is no body.
///
/// What the h2 crate has refused before is not looked at again: pseudo-header fields that are missing, doubled or out of
/// place, names in upper case, fields that belong to a connection, control characters.
///
/// A CONNECT with `:protocol` (RFC 8441 §4) becomes a GET that asks for the same protocol: it is the same wish, and has the same
/// routes. What comes behind it is no body.
pub(crate) fn request(parts: Parts, is_whole: bool) -> Result<Head, Malformed> {
    let Parts { method, uri, headers, extensions, .. } = parts;
    let target = uri.into_parts();
    if target.scheme.is_some_and(|scheme| scheme != http::uri::Scheme::HTTP && scheme != http::uri::Scheme::HTTPS) {
        return Err(Malformed::BadTarget);
    }
    let mut fields = fields(&headers, ADDED_LINES)?;
    if let Some(authority) = target.authority {
        // RFC 9113 §8.3.1: both may be there, and have to be the same. What is wrong with one is found later.
        let asked = authority.as_str().as_bytes();
        let same = |host: &[u8]| host.eq_ignore_ascii_case(asked);
        if fields.known(Known::Host).all(same) && fields.known(Known::Host).count() <= 1 {
            fields.set(Known::Host, asked);
        } else {
            fields.append(Known::Host.as_str(), asked);
        }
    }
    let delimiting = Delimiting::of(&fields, 1)?;
    plain_length(&mut fields, delimiting);
    let protocol = extensions.get::<Protocol>();
    if let Some(protocol) = protocol {
        if is_whole || delimiting.length.is_some() {
            // RFC 9110 §9.3.6: it has no content. Nor is there any use in half a tunnel.
            return Err(Malformed::BadConnect);
        }
        ask_for(protocol.as_str(), &mut fields)?;
    }
    let body = match delimiting.length {
        _ if is_whole || protocol.is_some() => Decoder::Done,
        Some(length) => Decoder::new(length, false),
        None => {
            fields.append(Known::TransferEncoding.as_str(), "chunked");
            Decoder::ChunkSize
        }
    };
    let uri = target.path_and_query.map_or_else(Uri::default, Uri::from);
    let expects_continue = !body.is_done() && fields.has(Known::Expect);
    Ok(Head {
        method: if protocol.is_some() { Method::GET } else { method },
        uri,
        version: Version::HTTP_2,
        body,
        keep_alive: true,
        expects_continue,
        takes_trailers: true,
        upgrades: protocol.is_some(),
        fields,
    })
}

/// Adds what asks for another protocol by HTTP/1.1, but for what proves that it is understood, which the router makes by itself.
fn ask_for(protocol: &str, fields: &mut Fields) -> Result<(), Malformed> {
    // h2 has not looked at it. RFC 9110 §7.8: a token, or two with a slash between them.
    let is_token = |text: &str| !text.is_empty() && text.bytes().all(is_token_byte);
    if protocol.len() > LONGEST_PROTOCOL || !protocol.splitn(2, '/').all(is_token) {
        return Err(Malformed::BadConnect);
    }
    fields.append(Known::Connection.as_str(), "upgrade");
    fields.append(Known::Upgrade.as_str(), protocol);
    Ok(())
}

/// RFC 9110 §5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Fields as they came by HTTP/2, with room for `more`. The lines of `cookie` become one (RFC 9113 §8.2.3).
pub(crate) fn fields(map: &HeaderMap, more: usize) -> Result<Fields, Malformed> {
    let lines = map.len();
    if lines > MAX_LINES {
        return Err(Malformed::LargeHead);
    }
    // As much as it takes: a head is kept for as long as its request is answered, and what grows by doubling holds twice that.
    let bytes: usize = map.iter().map(|(name, value)| name.as_str().len() + value.len() + PUNCTUATION).sum();
    let mut fields = Fields::with_room(lines + more, bytes + more * LINE_BYTES);
    let mut cookies = 0;
    for (name, value) in map {
        let bytes = value.as_bytes();
        // RFC 9113 §8.2.1. What trims it would see another value than what does not.
        if is_blank(bytes.first()) || is_blank(bytes.last()) {
            return Err(Malformed::NotHttp);
        }
        cookies += usize::from(name == http::header::COOKIE);
        fields.append(name, bytes);
    }
    if cookies > 1 {
        let all: Vec<&[u8]> = map.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        fields.set(Known::Cookie, &all.join(&b"; "[..]));
    }
    Ok(fields)
}

fn is_blank(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b' ' | b'\t'))
}

/// Names that most answers have and the http crate does not know: made once, not for each.
static TOLD: HeaderName = HeaderName::from_static(RATE_LIMIT);
static TOLD_POLICY: HeaderName = HeaderName::from_static(RATE_LIMIT_POLICY);

/// Fields as they go by HTTP/2. What belongs to a connection of HTTP/1.1 is left out (RFC 9113 §8.2.2), and so is what cannot be
/// there at all.
pub(crate) fn map(fields: Fields, more: usize) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len() + more);
    fields.share(|known, name, value| {
        if belongs_to_connection(known) {
            return;
        }
        let (name, is_fleeting) = if name == RATE_LIMIT.as_bytes() {
            (Ok(TOLD.clone()), true)
        } else if name == RATE_LIMIT_POLICY.as_bytes() {
            (Ok(TOLD_POLICY.clone()), false)
        } else {
            (HeaderName::from_lowercase(name), false)
        };
        if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_maybe_shared(value)) {
            // It is another one in every answer: the table of HPACK would hold nothing else.
            value.set_sensitive(is_fleeting);
            map.append(name, value);
        }
    });
    map
}

fn belongs_to_connection(known: Known) -> bool {
    matches!(
        known,
        Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade
            | Known::Http2Settings
    )
}

/// Trailers as they are passed on: as by HTTP/1.1, without what somebody could take for checked.
pub(crate) fn trailers(trailers: HeaderMap) -> HeaderMap {
    if trailers.keys().all(may_be_trailer) {
        return trailers;
    }
    let mut kept = HeaderMap::with_capacity(trailers.len());
    for name in trailers.keys().filter(|name| may_be_trailer(name)) {
        for value in trailers.get_all(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(list: &[(&str, &str)], uri: &str) -> Parts {
        let mut request = http::Request::builder().method("POST").uri(uri);
        for (name, value) in list {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn lines(fields: &Fields) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields.iter().map(|(_, name, value)| format!("{}: {}", text(name), text(value))).collect()
    }

    #[test]
    fn a_request_is_as_if_it_had_come_by_http_1_1() {
        let list = [("a", "1"), ("cookie", "x=1"), ("b", ""), ("cookie", "y=2"), ("a", "2")];
        let head = request(parts(&list, "https://A.test:8443/p?q"), false).unwrap();
        assert_eq!(
            (head.uri.to_string().as_str(), head.version, head.body),
            ("/p?q", Version::HTTP_2, Decoder::ChunkSize)
        );
        let mut is = lines(&head.fields);
        is.sort_unstable();
        assert_eq!(is, ["a: 1", "a: 2", "b: ", "cookie: x=1; y=2", "host: A.test:8443", "transfer-encoding: chunked"]);
        let whole = request(parts(&[("content-length", "0")], "http://a/"), true).unwrap();
        assert_eq!(
            (whole.body, lines(&whole.fields)),
            (Decoder::Done, vec!["content-length: 0".to_owned(), "host: a".to_owned()])
        );
        let long = request(parts(&[("content-length", "007")], "http://a/"), false).unwrap();
        assert_eq!((long.body, long.fields.get("content-length")), (Decoder::Length(7), Some(&b"7"[..])));
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        let refused = |list: &[(&str, &str)], uri: &str| request(parts(list, uri), false).err();
        assert_eq!(refused(&[("a", " 1")], "http://a/"), Some(Malformed::NotHttp));
        assert_eq!(refused(&[("a", "1\t")], "http://a/"), Some(Malformed::NotHttp));
        assert_eq!(
            refused(&[("content-length", "1"), ("content-length", "1")], "http://a/"),
            Some(Malformed::RepeatedLength)
        );
        assert_eq!(refused(&[("content-length", "-1")], "http://a/"), Some(Malformed::BadLength));
        assert_eq!(refused(&[], "ftp://a/"), Some(Malformed::BadTarget));
        assert_eq!(refused(&vec![("a", "1"); MAX_LINES + 1], "http://a/"), Some(Malformed::LargeHead));
        // Two hosts that differ: whoever looks at them finds both.
        let head = request(parts(&[("host", "b")], "http://a/"), true).unwrap();
        assert_eq!(head.fields.known(Known::Host).count(), 2);
    }

    #[test]
    fn a_connect_with_a_protocol_is_a_get_that_asks_for_it() {
        let asked = |protocol: &str, list: &[(&str, &str)], is_whole: bool| {
            let mut parts = parts(list, "https://a.test/chat?x");
            parts.method = Method::CONNECT;
            parts.extensions.insert(Protocol::from(protocol));
            request(parts, is_whole)
        };
        let head = asked("WebSocket", &[("x", "1")], false).unwrap();
        assert_eq!((&head.method, head.uri.to_string().as_str(), head.upgrades), (&Method::GET, "/chat?x", true));
        assert_eq!((head.body, head.expects_continue), (Decoder::Done, false));
        assert_eq!(lines(&head.fields), ["x: 1", "host: a.test", "connection: upgrade", "upgrade: WebSocket"]);
        assert!(asked("a/1.0", &[], false).is_ok());
        for (protocol, list, is_whole) in [
            ("websocket", &[][..], true),
            ("websocket", &[("content-length", "0")], false),
            ("", &[], false),
            ("a/", &[], false),
            ("a/1/2", &[], false),
            ("a, b", &[], false),
            ("a\r\nb: c", &[], false),
            ("\u{e9}", &[], false),
        ] {
            let refused = asked(protocol, list, is_whole).err();
            assert_eq!(refused, Some(Malformed::BadConnect), "{protocol:?} {list:?}");
        }
        // Without one it is what it was.
        let mut plain = parts(&[], "http://a/");
        plain.method = Method::CONNECT;
        let head = request(plain, true).unwrap();
        assert_eq!((head.method, head.upgrades), (Method::CONNECT, false));
    }

    #[test]
    fn what_is_left_of_a_limit_is_not_kept_in_the_table_of_names_and_values() {
        let lines = [("ratelimit-policy", "\"a\";q=1"), ("ratelimit", "\"a\";r=1"), ("x-ratelimit", "1")];
        let map = map(lines.into_iter().collect(), 0);
        let seen: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(seen, lines);
        assert_eq!(map.values().map(HeaderValue::is_sensitive).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn fields_go_without_what_belongs_to_a_connection() {
        let lines = [
            ("a", "1"),
            ("connection", "x"),
            ("keep-alive", "1"),
            ("a", "2"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
        ];
        let map = map(lines.into_iter().collect(), 0);
        assert_eq!(map.len(), 2);
        assert_eq!(map.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn trailers_go_without_what_could_be_taken_for_checked() {
        let given = [("x", "1"), ("host", "a"), ("x", "2"), ("authorization", "b")];
        let given: HeaderMap =
            given.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect();
        let kept = trailers(given);
        assert_eq!((kept.len(), kept.contains_key("host")), (kept.get_all("x").iter().count(), false));
        assert!(kept.contains_key("x"));
    }
}
