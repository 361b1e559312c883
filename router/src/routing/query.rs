//! Conditions on query parameters.
//!
//! A query is read as browsers write forms: `name=value` joined by `&`, percent-encoded, with `+` for a blank. A `%`
//! that is not followed by two hexadecimal digits stands for itself. The first parameter of a name decides.

use std::iter;

use gridrouter_config::model::{QueryMatch, ValueMatch};

pub(super) fn holds(condition: &QueryMatch, query: Option<&str>) -> bool {
    let mut pairs = query.unwrap_or("").split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    // A part without any character is no parameter.
    let found = pairs.find(|(name, value)| !(name.is_empty() && value.is_empty()) && is(name, &condition.name));
    let Some((_, value)) = found else { return false };
    match &condition.value {
        ValueMatch::Present => true,
        ValueMatch::Exact(text) => is(value, text),
        ValueMatch::Regex(regex) if value.contains(['%', '+']) => {
            String::from_utf8(decode(value).collect()).is_ok_and(|value| regex.is_match(&value))
        }
        ValueMatch::Regex(regex) => regex.is_match(value),
    }
}

fn is(encoded: &str, text: &str) -> bool {
    decode(encoded).eq(text.bytes())
}

fn decode(encoded: &str) -> impl Iterator<Item = u8> {
    let mut rest = encoded.as_bytes();
    iter::from_fn(move || {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] => match (hexadecimal(*high), hexadecimal(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', &rest[1..]),
            },
            [b'+', after @ ..] => (b' ', after),
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        rest = after;
        Some(byte)
    })
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}
