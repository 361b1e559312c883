//! Heads as HTTP/2 has them.

use h2::ext::Protocol;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, Uri, Version};

use crate::http::fields::Known;
use crate::http1::malformed::Malformed;
use crate::http1::response::{self, Head};
use crate::http2::headers;
use crate::upstream::journey::Outgoing;

/// Header lines that a router adds: room for them is made at once.
const ADDED_LINES: usize = 8;

/// What an opening handshake of WebSocket over HTTP/1.1 has to prove that it was understood, and HTTP/2 has no use for (RFC 8441 §5).
const KEY: &str = "sec-websocket-key";

/// A request's head. `None` for one that HTTP/2 has no form for. With a protocol it asks for a tunnel (RFC 8441 §4).
pub(super) fn request(outgoing: &Outgoing, protocol: Option<&str>, is_secure: bool) -> Option<Request<()>> {
    let authority = Authority::try_from(outgoing.fields.known(Known::Host).next()?).ok()?;
    let mut parts = http::uri::Parts::default();
    // That of this hop: some servers refuse another one. What the client spoke is in `x-forwarded-proto`.
    parts.scheme = Some(if is_secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    parts.path_and_query =
        Some(outgoing.target.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    *request.version_mut() = Version::HTTP_2;
    *request.method_mut() = outgoing.method.clone();
    // A copy, because the head stays for another attempt; the values share it.
    let mut fields = outgoing.fields.clone();
    // A route's edits may have put something else there.
    let has_te = fields.known(Known::Te).all(|value| value == b"trailers");
    fields.retain(|known, _| known != Known::Host && (known != Known::Te || has_te));
    if let Some(protocol) = protocol {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from(protocol));
        fields.remove(KEY);
    }
    *request.headers_mut() = headers::map(fields, 0);
    Some(request)
}

/// An answer's head, as strict as over HTTP/1.1. h2 has refused what concerns connections, names that are no names, and
/// lengths that differ.
pub(super) fn answer(answer: &Response<()>, to_head: bool) -> Result<Head, Malformed> {
    let fields = headers::fields(answer.headers(), ADDED_LINES)?;
    response::delimited(answer.status(), fields, to_head)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::http1::body::Decoder;

    fn outgoing(target: &'static str, lines: &[(&str, &str)]) -> Outgoing {
        let fields = lines.iter().copied().collect();
        Outgoing { method: Method::GET, target: Uri::from_static(target), fields }
    }

    #[test]
    fn what_belongs_to_http1_is_left_behind() {
        let lines = [
            ("host", "a.test:81"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("x", "1"),
            ("x", "2"),
            ("content-length", "3"),
            ("keep-alive", "1"),
        ];
        let made = request(&outgoing("/a?b=c", &lines), None, true).unwrap();
        assert_eq!(*made.uri(), Uri::from_static("https://a.test:81/a?b=c"));
        let kept: Vec<_> = made.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        assert_eq!(kept, ["te: trailers", "x: 1", "x: 2", "content-length: 3"]);
        let made = request(&outgoing("*", &[("host", "a")]), None, false).unwrap();
        assert_eq!((made.uri().scheme_str(), made.uri().path()), (Some("http"), "*"));
        assert!(request(&outgoing("/", &[]), None, false).is_none());
    }

    #[test]
    fn answers_are_as_strict_as_over_http1() {
        let of = |status: u16, lines: &[(&'static str, &'static str)]| {
            let mut response = Response::builder().status(status);
            for (name, value) in lines {
                response = response.header(*name, *value);
            }
            answer(&response.body(()).unwrap(), false)
        };
        assert_eq!(of(200, &[("content-length", "03")]).unwrap().body, Decoder::Length(3));
        assert_eq!(of(200, &[]).unwrap().body, Decoder::UntilEnd);
        assert_eq!(of(204, &[("content-length", "3")]).unwrap().body, Decoder::Done);
        for (status, lines) in [
            (600, &[][..]),
            (200, &[("content-length", "1"), ("content-length", "1")]),
            (200, &[("content-length", "+1")]),
            (200, &[("x", " a")]),
            (200, &[("x", "a\t")]),
            (103, &[("content-length", "0")]),
        ] {
            assert!(of(status, lines).is_err(), "{status} {lines:?}");
        }
        let many: Vec<_> = (0..101).map(|_| ("x", "1")).collect();
        assert!(of(200, &many).is_err());
    }
}
