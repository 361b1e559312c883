//! A message's body from bytes: where it ends, and its pieces without their framing.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use super::malformed::BadBody;
use super::{MAX_LINES, has_bare_line_feed};

/// The longest chunk-size line, extensions and all.
const MAX_CHUNK_LINE: usize = 256;
/// The largest trailer section.
const MAX_TRAILERS: usize = 16 * 1024;
/// Up to this size a piece is copied out, so that the buffer it came in is free again at once.
const SMALL: usize = 4096;

/// Where in a body the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoder {
    /// Behind it.
    Done,
    /// In a body of known length: this much is left.
    Length(u64),
    /// At a chunk-size line.
    ChunkSize,
    /// In chunk data: this much is left.
    ChunkData(u64),
    /// At the CRLF behind chunk data.
    ChunkEnd,
    /// In the trailer section.
    Trailers,
    /// In a body that lasts until the connection ends.
    UntilEnd,
}

/// What the next bytes of a body are.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// A piece of it.
    Data(Bytes),
    /// Its trailers. It is over.
    Trailers(HeaderMap),
    /// It is over.
    End,
    /// Not there yet.
    Missing,
}

impl Decoder {
    /// A body of `length` bytes, or one in chunks.
    pub(crate) fn new(length: u64, chunked: bool) -> Self {
        match length {
            _ if chunked => Self::ChunkSize,
            0 => Self::Done,
            _ => Self::Length(length),
        }
    }

    /// Whether all of the body was taken.
    pub(crate) fn is_done(self) -> bool {
        self == Self::Done
    }

    /// How long the rest of the body is, where that is known.
    pub(crate) fn left(self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(left) => Some(left),
            Self::ChunkSize | Self::ChunkData(_) | Self::ChunkEnd | Self::Trailers | Self::UntilEnd => None,
        }
    }

    /// Takes what comes next from `input`.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, BadBody> {
        loop {
            match *self {
                Self::Done => return Ok(Decoded::End),
                _ if input.is_empty() => return Ok(Decoded::Missing),
                Self::UntilEnd => return Ok(Decoded::Data(take(input, u64::MAX))),
                Self::Length(left) => {
                    let data = take(input, left);
                    *self = Self::new(left - data.len() as u64, false);
                    return Ok(Decoded::Data(data));
                }
                Self::ChunkData(left) => {
                    let data = take(input, left);
                    let left = left - data.len() as u64;
                    *self = if left == 0 { Self::ChunkEnd } else { Self::ChunkData(left) };
                    return Ok(Decoded::Data(data));
                }
                Self::ChunkEnd => match &input[..] {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        *self = Self::ChunkSize;
                    }
                    [b'\r'] => return Ok(Decoded::Missing),
                    _ => return Err(BadBody),
                },
                Self::ChunkSize => match chunk_size(input)? {
                    None => return Ok(Decoded::Missing),
                    Some((size, line)) => {
                        input.advance(line);
                        *self = if size == 0 { Self::Trailers } else { Self::ChunkData(size) };
                    }
                },
                Self::Trailers => {
                    let trailers = trailers(input)?;
                    if !matches!(trailers, Decoded::Missing) {
                        *self = Self::Done;
                    }
                    return Ok(trailers);
                }
            }
        }
    }
}

/// Takes at most `most` bytes: the piece is shared with the buffer if it is large.
fn take(input: &mut BytesMut, most: u64) -> Bytes {
    let size = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    if size > SMALL {
        return input.split_to(size).freeze();
    }
    let data = Bytes::copy_from_slice(input.get(..size).unwrap_or_default());
    input.advance(size);
    data
}

/// The size of the chunk that begins here, and how long its line is (RFC 9112 §7.1).
fn chunk_size(input: &[u8]) -> Result<Option<(u64, usize)>, BadBody> {
    let Some(end) = memchr(b'\n', input) else {
        // What can be no size is refused at once, and not when its line ends.
        let digits = input.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let fine = matches!(input.get(digits), None | Some(b';' | b' ' | b'\t' | b'\r'));
        return if fine && digits > 0 && input.len() <= MAX_CHUNK_LINE { Ok(None) } else { Err(BadBody) };
    };
    let line = input.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(BadBody)?;
    let digits = line.split(|b| *b == b';').next().unwrap_or_default();
    // RFC 9112 §7.1.1 knows blanks only before an extension, but says that they are to be understood.
    let size = hexadecimal(digits.trim_ascii_end()).ok_or(BadBody)?;
    let odd = |b: &u8| (*b < b' ' && *b != b'\t') || *b >= 0x7f;
    if line.len() > MAX_CHUNK_LINE || line.iter().any(odd) {
        return Err(BadBody);
    }
    Ok(Some((size, end + 1)))
}

/// The trailer section that begins here.
fn trailers(input: &mut BytesMut) -> Result<Decoded, BadBody> {
    if input.starts_with(b"\r\n") {
        input.advance(2);
        return Ok(Decoded::End);
    }
    let mut lines: [httparse::Header<'_>; MAX_LINES] = [httparse::EMPTY_HEADER; MAX_LINES];
    match httparse::parse_headers(input, &mut lines) {
        Ok(httparse::Status::Complete((end, parsed))) => {
            let bytes = input.get(..end).unwrap_or_default();
            if has_bare_line_feed(bytes) || end > MAX_TRAILERS {
                return Err(BadBody);
            }
            let mut map = HeaderMap::with_capacity(parsed.len());
            for line in parsed {
                let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| BadBody)?;
                let value = HeaderValue::from_bytes(line.value).map_err(|_| BadBody)?;
                map.append(name, value);
            }
            input.advance(end);
            Ok(Decoded::Trailers(map))
        }
        Ok(httparse::Status::Partial) if input.len() <= MAX_TRAILERS => Ok(Decoded::Missing),
        Ok(httparse::Status::Partial) | Err(_) => Err(BadBody),
    }
}

/// A plain decimal number; none near 2^64, so that sums of lengths cannot overflow.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    number(digits, 10).filter(|length| *length <= u64::MAX / 2)
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    number(digits, 16).filter(|length| *length <= u64::MAX / 2)
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let value = char::from(*digit).to_digit(radix)?;
        sum.checked_mul(u64::from(radix))?.checked_add(u64::from(value))
    })
}

#[cfg(test)]
mod tests;
