//! Percent-decoding that refuses what is not well formed.

use std::borrow::Cow;

/// Decodes a path segment. None when a `%` is not followed by two hexadecimal digits, or the result is not UTF-8.
pub(super) fn decode(encoded: &str) -> Option<Cow<'_, str>> {
    if encoded.contains('%') { collect(bytes(encoded, b'+')) } else { Some(Cow::Borrowed(encoded)) }
}

/// As [`decode`], for a query, where `+` is a blank.
pub(super) fn decode_form(encoded: &str) -> Option<Cow<'_, str>> {
    if encoded.contains(['%', '+']) { collect(bytes(encoded, b' ')) } else { Some(Cow::Borrowed(encoded)) }
}

/// Whether part of a query decodes to this text; what is not well formed does not.
pub(super) fn is_form(encoded: &str, text: &str) -> bool {
    encoded == text && !encoded.contains(['%', '+']) || bytes(encoded, b' ').eq(text.bytes().map(Some))
}

fn collect<'a>(bytes: impl Iterator<Item = Option<u8>>) -> Option<Cow<'a, str>> {
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok().map(Cow::Owned)
}

/// The decoded bytes; none in place of an escape that is not one.
fn bytes(encoded: &str, plus: u8) -> impl Iterator<Item = Option<u8>> {
    let mut rest = encoded.bytes();
    std::iter::from_fn(move || {
        Some(match rest.next()? {
            b'%' => hexadecimal(rest.next()).zip(hexadecimal(rest.next())).map(|(high, low)| high << 4 | low),
            b'+' => Some(plus),
            byte => Some(byte),
        })
    })
}

fn hexadecimal(digit: Option<u8>) -> Option<u8> {
    match digit? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
