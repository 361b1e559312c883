//! A request's head from bytes.

use bytes::{Buf, BytesMut};
use http::{Method, Uri, Version};
use memchr::memchr;

use super::body::Decoder;
use super::malformed::Malformed;
use super::{Delimiting, Lines, MAX_LINES, Says, Scan, has_bare_line_feed, has_token, plain_length};
use crate::http::fields::{Fields, Known};

/// The largest head, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How many empty lines may come before a request line. Old clients send one behind a body.
const MAX_EMPTY_LINES: u8 = 4;
/// Header lines that a router adds: room for them is made at once.
const ADDED_LINES: usize = 6;

/// A request's head, and what it says of the connection.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The target, as received.
    pub uri: Uri,
    /// HTTP/1.0 or 1.1.
    pub version: Version,
    /// The header fields.
    pub fields: Fields,
    /// How the body is delimited.
    pub(crate) body: Decoder,
    /// Whether the client wants to use the connection again.
    pub keep_alive: bool,
    /// Whether the client waits to be told that it may send the body.
    pub expects_continue: bool,
    /// Whether the client takes trailers.
    pub takes_trailers: bool,
    /// Whether it offers to change to another protocol.
    pub upgrades: bool,
}

/// Takes a head from the beginning of `input`. `None`: it has not come whole yet.
///
/// The error is final: what is behind a head that is no head cannot be understood either.
pub fn parse(input: &mut BytesMut, scan: &mut Scan) -> Result<Option<Head>, Malformed> {
    skip_empty_lines(input, scan)?;
    if input.is_empty() || !scan.is_worth_parsing(input) {
        return Ok(None);
    }
    let mut lines: Lines<'_> = [const { std::mem::MaybeUninit::uninit() }; MAX_LINES];
    let mut parsed = httparse::Request::new(&mut []);
    let end = match parsed.parse_with_uninit_headers(input, &mut lines) {
        Ok(httparse::Status::Complete(end)) if end <= MAX_HEAD_BYTES => end,
        Ok(httparse::Status::Partial) if input.len() <= MAX_HEAD_BYTES => {
            scan.missed(input, MAX_HEAD_BYTES);
            return Ok(None);
        }
        Ok(_) => return Err(too_large(input)),
        Err(error) => return Err(diagnose(input, error)),
    };
    let bytes = input.get(..end).unwrap_or_default();
    if has_bare_line_feed(bytes) {
        return Err(Malformed::BareLineFeed);
    }
    let head = understand(&parsed, bytes)?;
    input.advance(end);
    *scan = Scan::default();
    Ok(Some(head))
}

/// RFC 9112 §2.2: an empty line before a request line is skipped; a flood of them is not.
fn skip_empty_lines(input: &mut BytesMut, scan: &mut Scan) -> Result<(), Malformed> {
    while input.starts_with(b"\r\n") {
        if scan.empty_lines == MAX_EMPTY_LINES {
            return Err(Malformed::NotHttp);
        }
        scan.empty_lines += 1;
        input.advance(2);
    }
    if input.starts_with(b"\n") { Err(Malformed::BareLineFeed) } else { Ok(()) }
}

fn understand(parsed: &httparse::Request<'_, '_>, bytes: &[u8]) -> Result<Head, Malformed> {
    let (Some(method), Some(path), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Malformed::NotHttp);
    };
    if !path.is_ascii() || memchr(b'#', path.as_bytes()).is_some() {
        return Err(Malformed::BadTarget);
    }
    let mut fields = Fields::of_head(bytes, parsed.headers, ADDED_LINES);
    let delimiting = Delimiting::of(&fields, version)?;
    plain_length(&mut fields, delimiting);
    let says = Says::of(&fields, version);
    Ok(Head {
        method: Method::from_bytes(method.as_bytes()).map_err(|_| Malformed::NotHttp)?,
        uri: Uri::try_from(path).map_err(|_| Malformed::NotHttp)?,
        version: if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 },
        body: Decoder::new(delimiting.length.unwrap_or(0), delimiting.chunked),
        keep_alive: says.lasts,
        upgrades: says.upgrades,
        expects_continue: version == 1 && fields.has(Known::Expect),
        takes_trailers: version == 1 && fields.known(Known::Te).any(|te| has_token(te, b"trailers")),
        fields,
    })
}

fn too_large(input: &[u8]) -> Malformed {
    let line = memchr(b'\n', input).unwrap_or(input.len());
    if line > MAX_HEAD_BYTES / 2 { Malformed::LongTarget } else { Malformed::LargeHead }
}

/// Says more exactly what is wrong with a head that could not be parsed: a client is told another code when the target
/// or the framing is at fault.
#[cold]
fn diagnose(input: &[u8], error: httparse::Error) -> Malformed {
    if error == httparse::Error::TooManyHeaders {
        return Malformed::LargeHead;
    }
    let mut lines = input.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().unwrap_or_default();
    if request_line.is_ascii() && request_line.contains(&b'#') && request_line.contains(&b'/') {
        return Malformed::BadTarget;
    }
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_at(memchr(b':', line).unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or_default();
        let odd = value.iter().any(|b| *b < b' ' && *b != b'\t');
        if odd && name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Malformed::BadTransferEncoding;
        }
        if odd && name.eq_ignore_ascii_case(b"content-length") {
            return Malformed::BadLength;
        }
    }
    Malformed::NotHttp
}

#[cfg(test)]
mod tests;
