//! Columns for people, and the times in them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Rows below a head, aligned. What could steer a terminal is not passed on.
pub fn columns(head: &[&str], rows: &[Vec<String>]) -> String {
    let clean: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = clean.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|word| word.len())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            text.push_str(cell);
            let filled = cell.chars().count();
            text.extend(std::iter::repeat_n(' ', (width + 2).saturating_sub(filled)));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut head.iter().copied());
    for row in &clean {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

/// Text of others, on one line and harmless to a terminal and to whoever reads it: nothing in it steers the terminal, and
/// what is seen is what is there, in its order.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c }).collect()
}

/// Whether a character is not seen itself, or changes how others are: those of the category Cf in Unicode 16, among them
/// those that turn the direction of text, separators of lines, and what is to be shown as nothing by default. Of the latter,
/// the variation selectors FE00 to FE0F are left, which emoji need and which change nothing that is read.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A time of day in UTC, such as `18:03:59`.
pub fn clock(seconds: u64) -> String {
    let day = seconds % 86_400;
    format!("{:02}:{:02}:{:02}", day / 3_600, day / 60 % 60, day % 60)
}

/// How long ago, such as `3m12s`: two units at most. Nothing was ever at second 0.
pub fn age(then: u64, now: u64) -> String {
    if then == 0 {
        return "-".to_owned();
    }
    let seconds = now.saturating_sub(then);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{}s", seconds % 60),
        3600..86_400 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// A moment in seconds since 1970, such as `2026-11-21T18:53:56Z`. Nothing was ever at second 0.
pub fn utc(time: u64) -> String {
    if time == 0 {
        return "-".to_owned();
    }
    // Days since 1 March of the year 0, in eras of 400 years: a leap day is then the last day of its year.
    let days = time / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * march + 2) / 5 + 1, if march < 10 { march + 3 } else { march - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3_600 % 24, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A count with its noun.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_steers_the_terminal() {
        let rows = [vec!["a".to_owned(), "x\u{1b}[2J".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(columns(&["NAME", "B"], &rows), "NAME    B\na       x [2J\nlonger\n");
    }

    #[test]
    fn what_turns_or_hides_text_is_not_passed_on() {
        assert_eq!(printable("a\u{202e}b\u{2066}c\u{200b}d\u{feff}e\u{ad}f\u{2028}g\u{e0041}h"), "a b c d e f g h");
        assert_eq!(printable("\u{1b}[2J\u{9b}2J\r\n\t"), " [2J 2J   ");
        let plain = "Größe 東京 \u{1f44d}\u{1f3fd} \u{2764}\u{fe0f} שלום e\u{301} … ▶";
        assert_eq!(printable(plain), plain);
    }

    #[test]
    fn clocks_have_seconds() {
        assert_eq!([0, 86_399, 1_700_000_000].map(clock), ["00:00:00", "23:59:59", "22:13:20"]);
    }

    #[test]
    fn moments_are_days_and_times() {
        let moments = [0, 1, 951_782_399, 951_782_400, 1_709_164_800, 1_767_225_599, 4_107_542_400];
        let texts = [
            "-",
            "1970-01-01T00:00:01Z",
            "2000-02-28T23:59:59Z",
            "2000-02-29T00:00:00Z",
            "2024-02-29T00:00:00Z",
            "2025-12-31T23:59:59Z",
            "2100-03-01T00:00:00Z",
        ];
        assert_eq!(moments.map(utc), texts);
        assert!(utc(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn ages_have_two_units() {
        let ages = [(100, 100), (100, 159), (100, 292), (100, 7_400), (100, 200_000), (200, 100), (0, 5)];
        let texts = ages.map(|(then, now)| age(then, now));
        assert_eq!(texts, ["0s", "59s", "3m12s", "2h1m", "2d7h", "0s", "-"]);
    }
}
