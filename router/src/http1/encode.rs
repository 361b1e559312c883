//! Heads and the framing of bodies to bytes.

use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, Version, header};

use crate::http::fields::{Fields, Known};

/// How the end of a body is told to whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none: what the headers say of a length is left as it is.
    None,
    /// By its length.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By the end of the connection, for clients of HTTP/1.0.
    ToEnd,
}

/// What a response says of the connection's future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Future {
    /// It lasts, which goes without saying.
    Lasts,
    /// It lasts, which a client of HTTP/1.0 must be told.
    LastsForOld,
    /// It ends with this response.
    Ends,
}

/// Writes a request's head. The fields say already how its body is delimited.
pub(crate) fn request_head(out: &mut Vec<u8>, method: &Method, target: &Uri, fields: &Fields) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields.write(out, |_| false);
    out.extend_from_slice(b"\r\n");
}

/// What of a response's head is not among its fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) version: Version,
    pub(crate) status: StatusCode,
    pub(crate) framing: Framing,
    pub(crate) future: Future,
}

/// Writes a response's head. `date` stands in where the fields have none (RFC 9110 §6.6.1).
pub(crate) fn response_head(out: &mut Vec<u8>, start: Start, fields: &Fields, date: &[u8]) {
    status_line(out, start.version, start.status);
    let unsaid = matches!(start.framing, Framing::Chunked | Framing::ToEnd);
    fields.write(out, |known| unsaid && known == Known::ContentLength);
    match start.framing {
        Framing::Length(length) if !fields.has(Known::ContentLength) => {
            line(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(_) | Framing::None | Framing::ToEnd => {}
    }
    match start.future {
        Future::Lasts => {}
        Future::LastsForOld => out.extend_from_slice(b"connection: keep-alive\r\n"),
        Future::Ends => out.extend_from_slice(b"connection: close\r\n"),
    }
    if !fields.has(Known::Date) {
        line(out, "date", date);
    }
    out.extend_from_slice(b"\r\n");
}

fn status_line(out: &mut Vec<u8>, version: Version, status: StatusCode) {
    if status == StatusCode::OK && version == Version::HTTP_11 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes the line that begins a chunk of this size.
pub(crate) fn chunk_size(out: &mut Vec<u8>, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.extend(DIGITS.get((size >> (4 * digit)) & 15));
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the end of a body in chunks.
pub(crate) fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if may_be_trailer(name) {
            line(out, name.as_str(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a field may stand in a trailer section (RFC 9110 §6.5.1). What concerns framing, routing, conditions, the
/// caller's identity or how the body is to be read may not: whoever merges trailers into the headers would take it for
/// checked.
pub(crate) fn may_be_trailer(name: &HeaderName) -> bool {
    const NEVER: [HeaderName; 9] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::MAX_FORWARDS,
        header::RANGE,
        header::SET_COOKIE,
        header::TRAILER,
    ];
    let text = name.as_str();
    let guarded = ["if-", "x-forwarded-", "x-real-", "x-gridrouter-"].iter().any(|prefix| text.starts_with(prefix));
    // A name with `_` could be one of them in disguise.
    Known::of(text.as_bytes()) == Known::Other && !guarded && !NEVER.contains(name) && !text.contains('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: StatusCode, lines: &[(&str, &str)], framing: Framing, future: Future) -> String {
        let mut out = Vec::new();
        let version = if future == Future::LastsForOld { Version::HTTP_10 } else { Version::HTTP_11 };
        let fields: Fields = lines.iter().copied().collect();
        response_head(&mut out, Start { version, status, framing, future }, &fields, b"now");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_is_written_as_it_is_to_be_read() {
        let mut out = Vec::new();
        let fields: Fields = [("host", "a"), ("x", "1")].into_iter().collect();
        request_head(&mut out, &Method::GET, &Uri::from_static("/a?b"), &fields);
        assert_eq!(out, b"GET /a?b HTTP/1.1\r\nhost: a\r\nx: 1\r\n\r\n");
    }

    #[test]
    fn a_response_says_its_length_once_and_its_date_always() {
        let ok = StatusCode::OK;
        assert_eq!(
            response(ok, &[("x", "1")], Framing::Length(17), Future::Lasts),
            "HTTP/1.1 200 OK\r\nx: 1\r\ncontent-length: 17\r\ndate: now\r\n\r\n"
        );
        assert_eq!(
            response(ok, &[("content-length", "17"), ("date", "then")], Framing::Length(17), Future::Ends),
            "HTTP/1.1 200 OK\r\ncontent-length: 17\r\ndate: then\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(
            response(ok, &[("content-length", "17")], Framing::Chunked, Future::Lasts),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ndate: now\r\n\r\n"
        );
        assert_eq!(
            response(StatusCode::NOT_FOUND, &[], Framing::Length(0), Future::LastsForOld),
            "HTTP/1.0 404 Not Found\r\ncontent-length: 0\r\nconnection: keep-alive\r\ndate: now\r\n\r\n"
        );
        assert_eq!(
            response(StatusCode::NOT_MODIFIED, &[("content-length", "5")], Framing::None, Future::Lasts),
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\ndate: now\r\n\r\n"
        );
    }

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for size in [0, 1, 9, 10, 15, 16, 255, 256, 4096, 65_535, 1 << 20, usize::MAX] {
            let mut out = Vec::new();
            chunk_size(&mut out, size);
            assert_eq!(out, format!("{size:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn trailers_that_would_pass_for_headers_are_dropped() {
        let mut trailers = HeaderMap::new();
        for name in [
            "x-sum",
            "host",
            "authorization",
            "x-forwarded-for",
            "content-length",
            "x-gridrouter-reject",
            "keep-alive",
            "x-request-id",
            "if-match",
            "range",
            "x-real-ip",
            "x_sum",
        ] {
            trailers.append(name, http::HeaderValue::from_static("1"));
        }
        let mut out = Vec::new();
        last_chunk(&mut out, Some(&trailers));
        assert_eq!(out, b"0\r\nx-sum: 1\r\n\r\n");
    }
}
