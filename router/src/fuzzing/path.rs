//! Normal paths: normal, of the same meaning, and normal for good.

use std::borrow::Cow;

use crate::http::path::normalise;

/// The segments that a path means, decoded, by whoever reads it step by step.
fn meant(path: &str) -> Option<Vec<Vec<u8>>> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    for segment in path.split('/') {
        let (mut decoded, mut bytes) = (Vec::new(), segment.bytes());
        while let Some(byte) = bytes.next() {
            decoded.push(if byte == b'%' {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            } else {
                byte
            });
        }
        match decoded.as_slice() {
            b"" | b"." => {}
            b".." => drop(segments.pop()?),
            _ => segments.push(decoded),
        }
    }
    Some(segments)
}

/// What must hold of a path in normal form.
pub(super) fn is_normal(path: &str) {
    assert!(path.starts_with('/') && !path.contains("//"), "{path}");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#?".contains(&byte)), "{path}");
    for segment in path.split('/') {
        // Whoever cuts parameters off first does not see another path.
        let bare = segment.split(';').next().unwrap_or_default();
        let bare = bare.split("%3B").next().unwrap_or_default();
        assert!(!matches!(bare, "." | ".."), "{path}");
    }
    for escape in path.split('%').skip(1) {
        let digits =
            escape.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'A'..=b'F')));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let needed = |byte: u8| {
            let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            !unreserved && !byte.is_ascii_control() && !b"/\\".contains(&byte)
        };
        assert!(byte.is_some_and(needed), "{path}");
    }
}

pub(super) fn check(bytes: &[u8]) {
    let Ok(path) = str::from_utf8(bytes) else { return };
    let Ok(normal) = normalise(path) else { return };
    is_normal(&normal);
    assert_eq!(normalise(&normal).map(Cow::into_owned).as_deref(), Ok(&*normal));
    assert_eq!(meant(path), meant(&normal), "{path}");
    if matches!(normal, Cow::Borrowed(_)) {
        assert_eq!(path, normal);
    }
}
