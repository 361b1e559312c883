//! A response's head from bytes.

use bytes::{Buf, BytesMut};
use http::StatusCode;

use super::body::Decoder;
use super::malformed::Malformed;
use super::{Delimiting, Lines, MAX_LINES, Says, Scan, has_bare_line_feed, plain_length};
use crate::http::fields::{Fields, Known};

/// The largest head, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Header lines that a router adds: room for them is made at once.
const ADDED_LINES: usize = 8;

/// A response's head, and what it says of the connection.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
    /// How the body is delimited.
    pub(crate) body: Decoder,
    /// Whether the connection may serve another request.
    pub(crate) keep_alive: bool,
}

/// Takes a head from the beginning of `input`; `to_head` says that it answers a HEAD request. `None`: it has not come
/// whole yet. Interim responses (1xx) are heads like any other.
///
/// As strict as with a client's. A bare line feed is how a value that somebody else chose splits a response behind an
/// application that looks for CRLF only.
pub(crate) fn parse(input: &mut BytesMut, scan: &mut Scan, to_head: bool) -> Result<Option<Head>, Malformed> {
    if input.is_empty() || !scan.is_worth_parsing(input) {
        return Ok(None);
    }
    if matches!(input.first(), Some(b'\r' | b'\n')) {
        // Only a server is asked to skip an empty line (RFC 9112 §2.2): here it may be the end of another body.
        return Err(Malformed::NotHttp);
    }
    let mut lines: Lines<'_> = [const { std::mem::MaybeUninit::uninit() }; MAX_LINES];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let end = match config.parse_response_with_uninit_headers(&mut parsed, input, &mut lines) {
        Ok(httparse::Status::Complete(end)) if end <= MAX_HEAD_BYTES => end,
        Ok(httparse::Status::Partial) if input.len() <= MAX_HEAD_BYTES => {
            scan.missed(input, MAX_HEAD_BYTES);
            return Ok(None);
        }
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Malformed::LargeHead),
        Err(_) => return Err(Malformed::NotHttp),
    };
    let bytes = input.get(..end).unwrap_or_default();
    if has_bare_line_feed(bytes) {
        return Err(Malformed::BareLineFeed);
    }
    let head = understand(&parsed, bytes, to_head)?;
    input.advance(end);
    *scan = Scan::default();
    Ok(Some(head))
}

fn understand(parsed: &httparse::Response<'_, '_>, bytes: &[u8], to_head: bool) -> Result<Head, Malformed> {
    let (Some(code), Some(version)) = (parsed.code, parsed.version) else { return Err(Malformed::NotHttp) };
    let status = StatusCode::from_u16(code).map_err(|_| Malformed::NotHttp)?;
    head(status, Fields::of_head(bytes, parsed.headers, ADDED_LINES), version, to_head)
}

/// The head of an answer that came over HTTP/2: its body lasts until the stream ends, where nothing says how long it is.
pub(crate) fn delimited(status: StatusCode, fields: Fields, to_head: bool) -> Result<Head, Malformed> {
    head(status, fields, 1, to_head)
}

fn head(status: StatusCode, mut fields: Fields, version: u8, to_head: bool) -> Result<Head, Malformed> {
    if status.as_u16() >= 600 {
        // RFC 9110 §15: beyond 599 there is nothing that a client could make sense of.
        return Err(Malformed::NotHttp);
    }
    let delimiting = Delimiting::of(&fields, version)?;
    if status == StatusCode::SWITCHING_PROTOCOLS && version == 0 {
        // There is no such thing in HTTP/1.0 (RFC 9110 §7.8).
        return Err(Malformed::NotHttp);
    }
    if status.is_informational() && (delimiting.chunked || delimiting.length.is_some()) {
        // It has no body: what follows could be one all the same, and not the answer.
        return Err(Malformed::DelimitedInterim);
    }
    plain_length(&mut fields, delimiting);
    let body = match delimiting.length {
        _ if to_head || has_no_body(status) => Decoder::Done,
        None if !delimiting.chunked => Decoder::UntilEnd,
        length => Decoder::new(length.unwrap_or(0), delimiting.chunked),
    };
    if status == StatusCode::NO_CONTENT && delimiting.length.is_some() {
        // RFC 9110 §8.6: it must not have one, and some clients would wait for that much.
        fields.retain(|known, _| known != Known::ContentLength);
    }
    let keep_alive = body != Decoder::UntilEnd && Says::of(&fields, version).lasts;
    Ok(Head { status, fields, body, keep_alive })
}

/// Whether a response of this status never has a body (RFC 9110 §6.4.1).
pub(crate) fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &str, to_head: bool) -> Result<Option<Head>, Malformed> {
        parse(&mut BytesMut::from(bytes), &mut Scan::default(), to_head)
    }

    #[test]
    fn the_body_is_delimited_as_status_request_and_head_say() {
        for (head, to_head, body, keep_alive) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", false, Decoder::Length(3), true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", true, Decoder::Done, true),
            ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", false, Decoder::Done, true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", false, Decoder::ChunkSize, true),
            ("HTTP/1.1 200 OK\r\n\r\n", false, Decoder::UntilEnd, false),
            ("HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n", false, Decoder::Done, true),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n", false, Decoder::Done, true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n", false, Decoder::Length(3), false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n", false, Decoder::Length(3), false),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\ncontent-length: 3\r\n\r\n", false, Decoder::Length(3), true),
        ] {
            let got = parsed(head, to_head).unwrap().unwrap();
            assert_eq!((got.body, got.keep_alive), (body, keep_alive), "{head:?}");
        }
    }

    #[test]
    fn only_a_response_without_a_body_by_its_status_loses_its_length() {
        let length = |status: &str| {
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 55\r\n\r\n");
            parsed(&head, false).unwrap().unwrap().fields.has(Known::ContentLength)
        };
        assert_eq!((length("204 No Content"), length("304 Not Modified"), length("200 OK")), (false, true, true));
    }

    #[test]
    fn what_is_ambiguous_or_no_response_is_refused() {
        for head in [
            "hello\r\n\r\n",
            "HTTP/1.1 abc OK\r\n\r\n",
            "HTTP/1.1 200 OK\ncontent-length: 3\n\n",
            "HTTP/1.1 200 OK\r\nx: y\nz: y\r\n\r\n",
            "HTTP/1.1 1000 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 600 OK\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\ncontent-length: 0\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: y\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert!(parsed(head, false).is_err(), "{head:?}");
        }
        let large = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD_BYTES));
        assert_eq!(parsed(&large, false).unwrap_err(), Malformed::LargeHead);
    }
}
