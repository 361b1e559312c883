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

/// Text of others, on one line and harmless to a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
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
    fn clocks_have_seconds() {
        assert_eq!([0, 86_399, 1_700_000_000].map(clock), ["00:00:00", "23:59:59", "22:13:20"]);
    }

    #[test]
    fn ages_have_two_units() {
        let ages = [(100, 100), (100, 159), (100, 292), (100, 7_400), (100, 200_000), (200, 100), (0, 5)];
        let texts = ages.map(|(then, now)| age(then, now));
        assert_eq!(texts, ["0s", "59s", "3m12s", "2h1m", "2d7h", "0s", "-"]);
    }
}
