//! Cuts a file into documents before it is read as YAML.
//!
//! YAML ends whatever is open at a line that begins with `---` or `...`, even a block of text, so that cutting there
//! is exact for good files and contains the damage in bad ones.

/// UTF-8's, which some editors write and no reader wants.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A part of a file that holds one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    /// The line it begins on, starting at 1.
    pub(super) line: u32,
    /// Its bytes, with the marker that begins it and the one that ends it.
    pub(super) bytes: &'a [u8],
}

/// The parts of the file that have more than blanks, comments, directives and markers.
pub(super) fn chunks(bytes: &[u8]) -> Vec<Chunk<'_>> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut found = Vec::new();
    let (mut from, mut from_line, mut at, mut line) = (0, 1, 0, 1);
    let mut cut = |from: usize, to: usize, line: u32| {
        let chunk = bytes.get(from..to).unwrap_or_default();
        if lines(chunk).any(has_content) {
            found.push(Chunk { line, bytes: chunk });
        }
    };
    for text in lines(bytes) {
        if is_marker(text, b"---") && at > from {
            cut(from, at, from_line);
            (from, from_line) = (at, line);
        }
        at += text.len();
        line += u32::from(ends_line(text));
        if is_marker(text, b"...") {
            cut(from, at, from_line);
            (from, from_line) = (at, line);
        }
    }
    cut(from, bytes.len(), from_line);
    found
}

/// The lines with their ends, which are LF, CR LF or CR.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = match rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            Some(n) if rest.get(n..n + 2) == Some(b"\r\n") => n + 2,
            Some(n) => n + 1,
            None => rest.len(),
        };
        let (line, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(line)
    })
}

fn ends_line(line: &[u8]) -> bool {
    matches!(line.last(), Some(b'\n' | b'\r'))
}

fn is_marker(line: &[u8], marker: &[u8]) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

fn has_content(line: &[u8]) -> bool {
    let line = if is_marker(line, b"---") { line.get(3..).unwrap_or_default() } else { line };
    let text = line.trim_ascii();
    !(text.is_empty() || text.starts_with(b"#") || line.starts_with(b"%") || is_marker(line, b"..."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(u32, &str)> {
        chunks(text.as_bytes()).into_iter().map(|c| (c.line, std::str::from_utf8(c.bytes).unwrap())).collect()
    }

    #[test]
    fn documents_keep_the_lines_of_the_file() {
        assert_eq!(
            cut("a: 1\n---\nb: 2\n--- # c\n\nc: 3"),
            [(1, "a: 1\n"), (2, "---\nb: 2\n"), (4, "--- # c\n\nc: 3")]
        );
        assert_eq!(cut("a: 1\r\n...\r\nb: 2\r\n"), [(1, "a: 1\r\n...\r\n"), (3, "b: 2\r\n")]);
        assert_eq!(cut("a: 1\r---\rb: 2"), [(1, "a: 1\r"), (2, "---\rb: 2")]);
        assert_eq!(cut("\u{feff}a: 1\n"), [(1, "a: 1\n")]);
    }

    #[test]
    fn what_says_nothing_is_no_document() {
        for empty in ["", "\n\n", "# only\n", "---\n", "---\n---\n...\n", "%YAML 1.2\n---\n# x\n", "\u{feff}"] {
            assert!(cut(empty).is_empty(), "{empty:?}");
        }
        assert_eq!(cut("%YAML 1.2\n---\na: 1\n"), [(2, "---\na: 1\n")]);
    }

    #[test]
    fn only_a_whole_word_is_a_marker() {
        assert_eq!(cut("----\na: ---\n ---\n...x").len(), 1);
        assert_eq!(cut("--- {a: 1}\n---\t{b: 1}").len(), 2);
    }
}
