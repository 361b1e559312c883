//! What standard output is shown on: its size, and what fits.

/// What standard output is shown on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Columns; the greatest number where there is no end, as in a file.
    pub width: usize,
    /// Lines; the greatest number where there is no end.
    pub height: usize,
    /// Whether it shows more than ASCII.
    pub unicode: bool,
}

impl Screen {
    /// Where nothing is known, and nothing has to fit.
    pub const UNKNOWN: Screen = Screen { width: usize::MAX, height: usize::MAX, unicode: true };

    /// A terminal of so many columns and lines, or what the environment says of it. A terminal is never taken for larger
    /// than it is: a line that it wraps is two, and COLUMNS may be of before somebody made it smaller.
    pub fn of(seen: Option<(u16, u16)>) -> Self {
        let side = |name: &str, seen: Option<u16>| {
            let said = std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
            let all = [said, seen.map(usize::from)].into_iter().flatten();
            all.filter(|length| *length > 0).min().unwrap_or(usize::MAX)
        };
        let height = seen.map_or(usize::MAX, |(_, lines)| side("LINES", Some(lines)));
        // As libc chooses the locale: the first that is set.
        let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].iter().find(|name| set(name)).and_then(|name| std::env::var(name).ok());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let unicode = !dumb && locale.is_some_and(|locale| is_utf8(&locale));
        Self { width: side("COLUMNS", seen.map(|(columns, _)| columns)), height, unicode }
    }

    /// The same for what is printed once, and may be longer than the screen is high.
    #[must_use]
    pub fn endless(self) -> Self {
        Self { height: usize::MAX, ..self }
    }

    /// The columns of what is drawn over the whole width.
    pub fn paper(self) -> usize {
        if self.width == usize::MAX { 80 } else { self.width }
    }

    /// What stands for what was left out.
    pub fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// The beginning of a line, so that it fits; what was cut is marked. What steers colours takes no room.
    pub fn cut(self, line: &str) -> String {
        if length(line) <= self.width {
            return line.to_owned();
        }
        let mark = self.ellipsis();
        let (mut out, mut steering, mut marked) = (String::new(), false, false);
        let mut room = self.width.saturating_sub(mark.chars().count());
        for c in line.chars() {
            steering |= c == '\u{1b}';
            if steering {
                out.push(c);
                steering = c != 'm';
            } else if room > 0 {
                out.push(c);
                room -= 1;
            } else if !marked {
                out.extend(mark.chars().take(self.width));
                marked = true;
            }
        }
        out
    }
}

/// The columns that a line takes.
fn length(line: &str) -> usize {
    let mut steering = false;
    let shows = |c: &char| {
        steering |= *c == '\u{1b}';
        let shown = !steering;
        steering &= *c != 'm';
        shown
    };
    line.chars().filter(shows).count()
}

/// Whether a locale, such as `de_DE.UTF-8`, is one of UTF-8.
fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_to_the_screen_with_a_mark_and_keep_their_colours() {
        let screen = |width, unicode| Screen { width, height: 24, unicode };
        assert_eq!(screen(6, true).cut("abcdef"), "abcdef");
        assert_eq!(screen(4, true).cut("abcdef"), "abc…");
        assert_eq!(screen(5, false).cut("abcdef"), "ab...");
        assert_eq!(screen(2, false).cut("abcdef"), "..");
        assert_eq!(screen(3, true).cut("ä\u{1b}[31mbcd\u{1b}[0m"), "ä\u{1b}[31mb…\u{1b}[0m");
        assert_eq!(screen(4, true).cut("ä\u{1b}[31mbcd\u{1b}[0m"), "ä\u{1b}[31mbcd\u{1b}[0m");
        assert_eq!(Screen::UNKNOWN.cut("abc"), "abc");
    }

    #[test]
    fn locales_say_whether_they_are_of_utf8() {
        assert!(["C.UTF-8", "de_DE.utf8", "en_GB.UTF-8@euro"].into_iter().all(is_utf8));
        assert!(!["", "C", "POSIX", "de_DE.ISO-8859-1"].into_iter().any(is_utf8));
    }
}
