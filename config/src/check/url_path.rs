//! Paths in their normal form. Requests are brought to it before they are routed, so that a path in any other form
//! could never match; and a path that the router refuses in a request could not either. The rules are those of the
//! router's `http::path`.

use std::fmt::Write;

use crate::problem::quoted;

/// The path, if it is in normal form: begins with `/`; no empty, `.` or `..` segments; percent-encoding valid, in
/// upper case and only where it is needed; no query and no fragment; nothing that readers could disagree about.
pub(super) fn check(text: &str) -> Result<String, String> {
    let shown = quoted(text);
    if let Some(mark) = text.chars().find(|c| matches!(c, '?' | '#')) {
        let help = if mark == '?' { "match the query under `query`" } else { "a fragment is never sent" };
        return Err(format!("path {shown} has a {mark:?}; {help}"));
    }
    if !text.starts_with('/') {
        return Err(format!("path {shown} does not begin with `/`; write /{}", text.escape_debug()));
    }
    let normal = normal_form(text).map_err(|why| format!("path {shown} {why}"))?;
    if normal == text { Ok(normal) } else { Err(format!("path {shown} is not in normal form; write {normal}")) }
}

/// A prefix: as a path, without the slash at its end.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let mut path = check(text)?;
    if path.len() > 1 && path.ends_with('/') {
        path.pop();
    }
    Ok(path)
}

/// The normal form of a path, or why it has none.
fn normal_form(text: &str) -> Result<String, &'static str> {
    let mut segments: Vec<String> = Vec::new();
    let mut open = false;
    for segment in text.split('/').skip(1) {
        let segment = normal_segment(segment)?;
        open = matches!(segment.as_str(), "" | "." | "..");
        match segment.as_str() {
            "" | "." => {}
            ".." => drop(segments.pop().ok_or("climbs above the root; remove a `..`")?),
            _ => segments.push(segment),
        }
    }
    let mut path = format!("/{}", segments.join("/"));
    if open && path.len() > 1 {
        path.push('/');
    }
    Ok(path)
}

fn normal_segment(segment: &str) -> Result<String, &'static str> {
    const NO_ESCAPE: &str = "has a `%` without two hexadecimal digits; write %25 for a percent sign";
    let mut out = String::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    let digit = |byte: Option<u8>| byte.and_then(hex).ok_or(NO_ESCAPE);
    while let Some(byte) = bytes.next() {
        let encoded = byte == b'%';
        let byte = if encoded { digit(bytes.next())? << 4 | digit(bytes.next())? } else { byte };
        match byte {
            b'/' | b'\\' | 0..=0x1f | 0x7f => {
                return Err("has a slash, backslash or control character as data; requests with one are refused");
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' if !encoded => {
                out.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    Ok(out)
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_paths_stay_as_they_are() {
        for good in
            ["/", "/a", "/a/", "/a/b.c~d-_", "/a%20b", "/a%3Fb", "/a%21", "/a:b@c!$&'()*+,;=", "/.well-known", "/..."]
        {
            assert_eq!(check(good).as_deref(), Ok(good));
        }
        assert_eq!(prefix("/a/b/").as_deref(), Ok("/a/b"));
        assert_eq!(prefix("/").as_deref(), Ok("/"));
    }

    #[test]
    fn others_are_told_their_normal_form() {
        for (bad, help) in [
            ("a", "write /a"),
            ("", "write /"),
            ("//a", "write /a"),
            ("/a//b", "write /a/b"),
            ("/a/./b", "write /a/b"),
            ("/a/../b", "write /b"),
            ("/a/..", "write /"),
            ("/../..", "remove a `..`"),
            ("/a/b/..", "write /a/"),
            ("/a/%2e%2E/x", "write /x"),
            ("/%41", "write /A"),
            ("/a%3fb", "write /a%3Fb"),
            ("/a{b}|c", "write /a%7Bb%7D%7Cc"),
            ("/a%2Fb", "requests with one are refused"),
            ("/a\\b", "requests with one are refused"),
            ("/a%00", "requests with one are refused"),
            ("/a b", "write /a%20b"),
            ("/ä", "write /%C3%A4"),
            ("/a%2", "write %25 for a percent sign"),
            ("/a%zz", "write %25 for a percent sign"),
            ("/a?b=1", "under `query`"),
            ("/a#b", "never sent"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.ends_with(help), "{bad}: {error}");
        }
    }

    #[test]
    fn the_normal_form_is_normal() {
        for text in ["/a/../%41//b/./c%3f/", "/a/b//..", "/%25%32%65"] {
            let normal = normal_form(text).unwrap();
            assert_eq!(normal_form(&normal).as_deref(), Ok(normal.as_str()), "{text}");
        }
    }
}
