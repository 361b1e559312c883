//! Problems as a compiler prints them.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::Problem;

/// The longest part of a source line that is shown; a JSON document may be one line of any length.
const WIDTH: usize = 120;

const BAD: Style = AnsiColor::Red.on_default().bold();
const FRAME: Style = AnsiColor::Blue.on_default().bold();
const STRONG: Style = Style::new().bold();

/// A file's text cut into lines, for rendering many problems of it.
#[derive(Debug)]
pub struct SourceText<'a> {
    lines: Vec<&'a str>,
}

impl<'a> SourceText<'a> {
    /// Cuts the text where YAML ends lines: at LF, CR LF and CR.
    pub fn new(text: &'a str) -> Self {
        SourceText { lines: lines(text).collect() }
    }
}

impl Problem {
    /// The problem in the manner of a compiler, with the line it is on when the source text is at hand. Ends with a
    /// line break. For many problems of one file see [`Problem::render_in`].
    pub fn render(&self, source: Option<&str>, colour: bool) -> String {
        let line = usize::try_from(self.line).ok().and_then(|line| lines(source?).nth(line.checked_sub(1)?));
        self.render_line(line, colour)
    }

    /// The problem in the manner of a compiler, with the line it is on.
    pub fn render_in(&self, source: &SourceText<'_>, colour: bool) -> String {
        let line = usize::try_from(self.line).ok().and_then(|line| source.lines.get(line.checked_sub(1)?));
        self.render_line(line.copied(), colour)
    }

    fn render_line(&self, line: Option<&str>, colour: bool) -> String {
        let paint = |style: Style, text: &str| {
            if colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
        };
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}{}", paint(BAD, "error"), paint(STRONG, &format!(": {}", self.message)));
        let _ =
            writeln!(out, "{gutter}{} {}:{}:{}", paint(FRAME, "-->"), printable(&self.file), self.line, self.column);
        if let Some(excerpt) = line.and_then(|line| self.excerpt(line)) {
            let bar = paint(FRAME, "|");
            let _ = writeln!(out, "{gutter} {bar}");
            let _ = writeln!(out, "{} {bar} {}", paint(FRAME, &number), excerpt.text);
            let carets = "^".repeat(excerpt.carets);
            let _ = writeln!(out, "{gutter} {bar} {}{}", excerpt.indent, paint(BAD, &carets));
        }
        let note =
            |label: &str, text: &str| format!("{gutter} {} {}: {text}\n", paint(FRAME, "="), paint(STRONG, label));
        if let Some(place) = self.place() {
            out.push_str(&note("in", &place));
        }
        if let Some(help) = &self.help {
            out.push_str(&note("help", help));
        }
        out
    }

    /// The document and the field.
    fn place(&self) -> Option<String> {
        match (&self.document, self.path.as_str()) {
            (None, "") => None,
            (None, path) => Some(path.to_owned()),
            (Some(id), "") => Some(id.to_string()),
            (Some(id), path) => Some(format!("{id}, {path}")),
        }
    }

    fn excerpt(&self, line: &str) -> Option<Excerpt> {
        let column = usize::try_from(self.column).ok()?.saturating_sub(1);
        let chars: Vec<char> = line.chars().collect();
        let from = if chars.len() <= WIDTH { 0 } else { column.saturating_sub(WIDTH / 3).min(chars.len() - WIDTH) };
        let to = chars.len().min(from + WIDTH);
        let shown = chars.get(from..to)?;
        let before = column.saturating_sub(from).min(shown.len());
        // The caret stands under its character whatever the width of a tab.
        let blank = |c: &char| if *c == '\t' { '\t' } else { ' ' };
        let mut indent: String = shown.iter().take(before).map(blank).collect();
        let mut text: String = shown.iter().collect::<String>();
        if from > 0 {
            text.insert(0, '…');
            indent.insert(0, ' ');
        }
        if to < chars.len() {
            text.push('…');
        }
        let length = usize::try_from(self.length).unwrap_or(1);
        let carets = length.min(shown.len() - before).max(1);
        Some(Excerpt { text: printable(&text), indent, carets })
    }
}

struct Excerpt {
    text: String,
    indent: String,
    carets: usize,
}

/// The lines as YAML counts them: ended by LF, CR LF or CR.
fn lines(source: &str) -> impl Iterator<Item = &str> {
    source.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// A file may hold anything; what could steer a terminal is not passed on.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| *c != '\u{feff}')
        .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn problem() -> Problem {
        let mut problem = Problem::of_file(&Arc::from("a.yaml"), "unknown field \"adress\"");
        (problem.line, problem.column, problem.length) = (3, 5, 6);
        problem.path = "endpoints.blue[0].adress".to_owned();
        problem.with_help("did you mean \"address\"?")
    }

    #[test]
    fn looks_like_a_compiler() {
        let source = "kind: Service\nblue:\n  - adress: 10.0.0.1:80\n";
        assert_eq!(
            problem().render(Some(source), false),
            "error: unknown field \"adress\"\n\
             \x20--> a.yaml:3:5\n\
             \x20 |\n\
             3 |   - adress: 10.0.0.1:80\n\
             \x20 |     ^^^^^^\n\
             \x20 = in: endpoints.blue[0].adress\n\
             \x20 = help: did you mean \"address\"?\n"
        );
    }

    #[test]
    fn works_without_the_source_and_with_the_wrong_one() {
        for source in [None, Some(""), Some("a\nb")] {
            assert!(problem().render(source, false).starts_with("error: unknown field"));
            assert!(!problem().render(source, false).contains('|'));
            let text = SourceText::new(source.unwrap_or_default());
            assert_eq!(problem().render_in(&text, false), problem().render(source, false));
        }
        assert!(problem().render(Some("\n\nab"), false).contains("3 | ab\n  |   ^\n"));
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let source = format!("\n\n{}", "x".repeat(1000));
        let mut problem = problem();
        problem.column = 500;
        let text = problem.render(Some(&source), false);
        assert!(text.lines().all(|line| line.chars().count() < WIDTH + 10), "{text}");
        assert!(text.contains("…x"));
    }

    #[test]
    fn colour_only_when_asked_and_nothing_that_steers_a_terminal() {
        assert!(problem().render(None, true).contains("\u{1b}["));
        let text = problem().render(Some("\n\n\u{1b}[31mred"), false);
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn carriage_returns_end_lines() {
        assert_eq!(lines("a\r\nb\rc\nd").collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }
}
