//! The one normal form of a request's path, which is routed on *and* forwarded.
//!
//! RFC 3986 §6.2.2 with two rules of a gateway on top: empty segments are merged, and what could make two readers
//! disagree (an encoded slash, backslash or NUL, non-ASCII bytes, escapes that are not escapes, climbing above the root)
//! is refused instead of guessed at.

use std::borrow::Cow;

/// Why a path has no normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPath {
    /// It does not begin with a slash.
    NoLeadingSlash,
    /// A byte that must not stand in a path: a control character, a blank, non-ASCII, or one of `"<>\^`{|}#`.
    BadByte,
    /// A `%` that is not followed by two hexadecimal digits.
    BadEscape,
    /// An encoded slash, backslash, NUL or other control character.
    AmbiguousEscape,
    /// `..` climbs above the root.
    AboveRoot,
    /// `.` or `..` with a parameter: some servers cut parameters off before they look at dots, others do not.
    DotsWithParameter,
}

impl BadPath {
    /// What is wrong, for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            BadPath::NoLeadingSlash => "the path does not begin with a slash",
            BadPath::BadByte => "the path has a byte that must not stand in a path",
            BadPath::BadEscape => "the path has a percent sign without two hexadecimal digits",
            BadPath::AmbiguousEscape => "the path has an encoded slash, backslash or control character",
            BadPath::AboveRoot => "the path climbs above the root",
            BadPath::DotsWithParameter => "the path has dots with a parameter",
        }
    }
}

/// A byte that may not stand in a path in normal form.
const UNSAFE: u8 = 1;
/// A byte that may not follow a slash there.
const NOT_AFTER_SLASH: u8 = 2;

/// What each byte is. A slash has one bit more than [`NOT_AFTER_SLASH`], which lies where that does when it is moved by
/// one.
const TRAITS: [u8; 256] = {
    let mut table = [UNSAFE; 256];
    let mut i = 0;
    let safe = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~!$&'()*+,;=:@";
    while i < safe.len() {
        table[safe[i] as usize] = 0;
        i += 1;
    }
    table[b'.' as usize] = NOT_AFTER_SLASH;
    table[b'/' as usize] = NOT_AFTER_SLASH | NOT_AFTER_SLASH << 1;
    table
};

/// Brings a path (without its query) into normal form. Borrows when it is in normal form already, which is the rule.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if is_plain(path.as_bytes()) { Ok(Cow::Borrowed(path)) } else { rebuild(path).map(Cow::Owned) }
}

/// Whether nothing is to be done: only safe bytes, no empty segments, no segment that begins with a dot.
fn is_plain(path: &[u8]) -> bool {
    let (mut wrong, mut not_here) = (0, 0);
    // Without a branch a byte: nearly every path is plain.
    for &byte in path {
        let traits = TRAITS[usize::from(byte)];
        wrong |= traits & (not_here | UNSAFE);
        not_here = traits >> 1;
    }
    wrong == 0 && path.first() == Some(&b'/')
}

fn rebuild(path: &str) -> Result<String, BadPath> {
    let decoded = decode_unreserved(path)?;
    let Some(rest) = decoded.strip_prefix('/') else { return Err(BadPath::NoLeadingSlash) };
    let mut out = String::with_capacity(decoded.len());
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" | "." => {}
            ".." => match out.rfind('/') {
                Some(slash) => out.truncate(slash),
                None => return Err(BadPath::AboveRoot),
            },
            _ if has_dots_with_parameter(segment) => return Err(BadPath::DotsWithParameter),
            _ => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        if last {
            out.push('/');
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    Ok(out)
}

/// Whether a segment would be `.` or `..` for those who cut its parameters off.
fn has_dots_with_parameter(segment: &str) -> bool {
    let rest = segment.trim_start_matches('.');
    (1..=2).contains(&(segment.len() - rest.len())) && (rest.starts_with(';') || rest.starts_with("%3B"))
}

/// Decodes what needs no escape, writes the other escapes in upper case, and refuses what is ambiguous.
fn decode_unreserved(path: &str) -> Result<String, BadPath> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let (high, low) = (hex(bytes.next())?, hex(bytes.next())?);
                push_decoded(&mut out, high << 4 | low)?;
            }
            _ if TRAITS[usize::from(byte)] & UNSAFE == 0 => out.push(char::from(byte)),
            _ => return Err(BadPath::BadByte),
        }
    }
    Ok(out)
}

fn push_decoded(out: &mut String, byte: u8) -> Result<(), BadPath> {
    match byte {
        b'/' | b'\\' | 0..=0x1f | 0x7f => return Err(BadPath::AmbiguousEscape),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
        _ => {
            const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
            out.push('%');
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
    }
    Ok(())
}

fn hex(digit: Option<u8>) -> Result<u8, BadPath> {
    let digit = digit.and_then(|d| char::from(d).to_digit(16)).ok_or(BadPath::BadEscape)?;
    Ok(u8::try_from(digit).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_paths_are_borrowed() {
        for path in ["/", "/a", "/a/b.c", "/a/", "/a:b@c;d=e", "/~x/-_!$&'()*+,"] {
            assert!(matches!(normalise(path), Ok(Cow::Borrowed(p)) if p == path), "{path}");
        }
    }

    #[test]
    fn paths_are_brought_into_normal_form() {
        for (path, wanted) in [
            ("//", "/"),
            ("/a//b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/%2e%2E/b", "/b"),
            ("/%61%2Db", "/a-b"),
            ("/a%3fb", "/a%3Fb"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a/..", "/"),
            ("/.hidden", "/.hidden"),
            ("/...", "/..."),
            ("/...;a/.x;b", "/...;a/.x;b"),
            ("/a%20b", "/a%20b"),
        ] {
            assert_eq!(normalise(path).as_deref(), Ok(wanted), "{path}");
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for (path, wanted) in [
            ("", BadPath::NoLeadingSlash),
            ("a", BadPath::NoLeadingSlash),
            ("*", BadPath::NoLeadingSlash),
            ("/..", BadPath::AboveRoot),
            ("/a/../../b", BadPath::AboveRoot),
            ("/%2e%2e/b", BadPath::AboveRoot),
            ("/a%2Fb", BadPath::AmbiguousEscape),
            ("/a%5cb", BadPath::AmbiguousEscape),
            ("/a%00", BadPath::AmbiguousEscape),
            ("/a%0d%0a", BadPath::AmbiguousEscape),
            ("/a%7f", BadPath::AmbiguousEscape),
            ("/a%", BadPath::BadEscape),
            ("/a%2", BadPath::BadEscape),
            ("/a%zz", BadPath::BadEscape),
            ("/a/..;/b", BadPath::DotsWithParameter),
            ("/a/.;x=1", BadPath::DotsWithParameter),
            ("/a/%2e%2e%3bx/b", BadPath::DotsWithParameter),
            ("/a\\b", BadPath::BadByte),
            ("/é", BadPath::BadByte),
            ("/a b", BadPath::BadByte),
            ("/a\"b", BadPath::BadByte),
        ] {
            assert_eq!(normalise(path), Err(wanted), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_normal_form_is_normal(path in "/[a-c./%2eEfF%]{0,30}") {
            if let Ok(normal) = normalise(&path) {
                let normal = normal.into_owned();
                proptest::prop_assert!(!normal.contains("//") && !normal.split('/').any(|s| s == ".." || s == "."));
                let again = normalise(&normal).map(Cow::into_owned);
                proptest::prop_assert_eq!(again, Ok(normal));
            }
        }

        #[test]
        fn a_plain_path_is_one_that_stays_as_it_is(path in "[/a-c./%#é]{0,12}") {
            let safe = path.bytes().all(|b| matches!(b, b'a'..=b'c' | b'.' | b'/'));
            let plain = safe && path.starts_with('/') && !path.contains("//") && !path.contains("/.");
            proptest::prop_assert_eq!(is_plain(path.as_bytes()), plain);
        }
    }
}
