//! The difference of documents, as people know it from version control.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use similar::TextDiff;

const OLD: Style = AnsiColor::Red.on_default();
const NEW: Style = AnsiColor::Green.on_default();
const PLACE: Style = AnsiColor::Cyan.on_default();
const FILE: Style = Style::new().bold();

/// The difference of one document. Either side may be missing; nothing when they are equal.
pub fn unified(name: &str, before: Option<&str>, after: Option<&str>, colour: bool) -> String {
    let side = |text: Option<&str>, word: &str| match text {
        Some(_) => format!("{name} ({word})"),
        None => "/dev/null".to_owned(),
    };
    let (old, new) = (side(before, "before"), side(after, "after"));
    let diff = TextDiff::from_lines(before.unwrap_or_default(), after.unwrap_or_default());
    let text = diff.unified_diff().context_radius(3).header(&old, &new).missing_newline_hint(false).to_string();
    if colour { paint(&text) } else { text }
}

fn paint(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for (n, line) in text.lines().enumerate() {
        let style = match line.as_bytes().first() {
            _ if n < 2 => FILE,
            Some(b'-') => OLD,
            Some(b'+') => NEW,
            Some(b'@') => PLACE,
            Some(_) | None => Style::new(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{style}{line}{style:#}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_may_be_missing() {
        assert_eq!(unified("Cell/a", Some("x\n"), Some("x\n"), false), "");
        let created = unified("Cell/a", None, Some("kind: Cell\nname: a\n"), false);
        assert_eq!(created, "--- /dev/null\n+++ Cell/a (after)\n@@ -0,0 +1,2 @@\n+kind: Cell\n+name: a\n");
        let changed = unified("Cell/a", Some("a\nb\n"), Some("a\nc\n"), false);
        assert!(changed.contains("-b\n+c\n"), "{changed}");
        assert!(unified("Cell/a", Some("a\n"), None, true).contains("\u{1b}[31m-a\u{1b}[0m"));
    }
}
