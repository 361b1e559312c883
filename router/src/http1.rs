//! HTTP/1.1 on the wire, strictly: heads and bodies from bytes and to bytes.
//!
//! `request`, `response`, `body` and `encode` are pure. `wire` is a socket with what was received and not used
//! yet, and `out` is what is waiting to be written to one.
//!
//! Why the router reads and writes the protocol by itself, and not through hyper, is in ARCHITECTURE.md: what a gateway
//! must refuse is invisible behind a lenient parser, and half of the time of a request was spent in handing its parts
//! from one task to another. httparse does the parsing of lines.

pub(crate) mod body;
pub(crate) mod encode;
pub mod malformed;
pub(crate) mod out;
pub mod request;
pub(crate) mod response;
pub(crate) mod wire;

use self::malformed::Malformed;
use crate::http::fields::{Fields, Known};

/// The most header lines of a message.
pub(crate) const MAX_LINES: usize = 100;

/// Room for the lines of a head while it is parsed.
type Lines<'a> = [std::mem::MaybeUninit<httparse::Header<'a>>; MAX_LINES];

/// How much of a head that has not come whole was looked at, so that one that comes byte by byte is not parsed anew for
/// each.
#[derive(Debug, Default, Clone, Copy)]
pub struct Scan {
    /// Bytes that were there the last time.
    seen: usize,
    /// When this many are there it is parsed even without an end, so that what can be no head is refused early.
    parse_at: usize,
    /// Empty lines that were skipped before it.
    empty_lines: u8,
}

impl Scan {
    /// Whether parsing `input` could tell more than the last time.
    fn is_worth_parsing(self, input: &[u8]) -> bool {
        let fresh = input.get(self.seen.saturating_sub(3)..).unwrap_or_default();
        input.len() >= self.parse_at
            || memchr::memmem::find(fresh, b"\n\r\n").is_some()
            || memchr::memmem::find(fresh, b"\n\n").is_some()
    }

    /// The head was not whole, and `most` is as long as one may be.
    fn missed(&mut self, input: &[u8], most: usize) {
        *self = Self { seen: input.len(), parse_at: (input.len().max(64) * 2).min(most + 1), ..*self };
    }

    /// Whether nothing of a head was seen yet.
    pub(crate) fn is_new(self) -> bool {
        self.seen == 0
    }
}

/// What the header fields say of how a body is delimited (RFC 9112 §6).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delimiting {
    pub(crate) length: Option<u64>,
    chunked: bool,
}

impl Delimiting {
    pub(crate) fn of(fields: &Fields, minor_version: u8) -> Result<Self, Malformed> {
        let mut found = Self { length: None, chunked: false };
        for value in fields.known(Known::ContentLength) {
            if found.length.is_some() {
                return Err(Malformed::RepeatedLength);
            }
            found.length = Some(body::decimal(value).ok_or(Malformed::BadLength)?);
        }
        for value in fields.known(Known::TransferEncoding) {
            if found.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed::BadTransferEncoding);
            }
            found.chunked = true;
        }
        match found {
            Self { length: Some(_), chunked: true } => Err(Malformed::LengthAndTransferEncoding),
            Self { chunked: true, .. } if minor_version == 0 => Err(Malformed::OldTransferEncoding),
            Self { .. } => Ok(found),
        }
    }
}

/// Writes a length without leading zeros, which somebody might read as an octal number.
pub(crate) fn plain_length(fields: &mut Fields, delimiting: Delimiting) {
    if let Some(length) = delimiting.length
        && fields.known(Known::ContentLength).any(|value| value.len() > 1 && value.starts_with(b"0"))
    {
        fields.set(Known::ContentLength, itoa::Buffer::new().format(length).as_bytes());
    }
}

fn has_bare_line_feed(bytes: &[u8]) -> bool {
    let ends = memchr::memchr_iter(b'\n', bytes);
    ends.into_iter().any(|at| at.checked_sub(1).and_then(|before| bytes.get(before)) != Some(&b'\r'))
}

/// What a message says of the connection that it came by.
#[derive(Debug, Clone, Copy)]
struct Says {
    /// Another message may follow (RFC 9112 §9.3).
    lasts: bool,
    /// Its `Upgrade` is meant for this hop, which with HTTP/1.0 it never is (RFC 9110 §7.8).
    upgrades: bool,
}

impl Says {
    fn of(fields: &Fields, minor_version: u8) -> Self {
        let (mut close, mut keep_alive, mut upgrades) = (false, minor_version == 1, false);
        for value in fields.known(Known::Connection) {
            close |= has_token(value, b"close");
            keep_alive |= has_token(value, b"keep-alive");
            upgrades |= has_token(value, b"upgrade");
        }
        Self { lasts: keep_alive && !close, upgrades: upgrades && minor_version == 1 }
    }
}

/// Whether a list of tokens, parted by commas, has this one.
pub(crate) fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}
