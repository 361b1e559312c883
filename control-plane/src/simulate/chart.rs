//! What happened, for people: a summary, and bars over time.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::series::{Counts, Row};
use super::summary::Summary;

/// Columns that a bar has at least, however narrow the terminal.
const NARROWEST: usize = 10;
const HEAD: [&str; 4] = ["PASSED", "WAITED", "REFUSED", "ADMITTED"];

/// What is drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paper {
    /// Columns.
    pub width: usize,
    /// Whether there are more characters than those of ASCII.
    pub unicode: bool,
    /// Whether there are colours.
    pub colour: bool,
}

/// A part of a bar. The characters differ, because colours may be missing.
struct Part {
    name: &'static str,
    unicode: char,
    ascii: char,
    style: Style,
}

const PARTS: [Part; 3] = [
    Part { name: "passed", unicode: '█', ascii: '#', style: AnsiColor::Green.on_default() },
    Part { name: "waited", unicode: '▒', ascii: '~', style: AnsiColor::Yellow.on_default() },
    Part { name: "refused", unicode: '░', ascii: 'x', style: AnsiColor::Red.on_default() },
];

impl Part {
    fn draw(&self, length: usize, paper: Paper) -> String {
        let character = if paper.unicode { self.unicode } else { self.ascii };
        let drawn: String = std::iter::repeat_n(character, length).collect();
        let style = self.style;
        if paper.colour && length > 0 { format!("{style}{drawn}{style:#}") } else { drawn }
    }
}

/// What happened in all, in a few lines.
pub fn summary(summary: &Summary) -> String {
    let Summary { arrivals, passed, waited, refused, .. } = *summary;
    let percent = |count: u64| share(count, arrivals);
    let mut out = String::new();
    let mut line = |name: &str, text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<10}{text}");
    };
    line("arrivals", number(arrivals));
    line("passed", number(passed) + &percent(passed));
    let waits = if waited == 0 {
        String::new()
    } else {
        format!(
            ": mean {}, p50 {}, p99 {}, longest {}",
            time(summary.mean_wait_ns),
            time(summary.p50_wait_ns),
            time(summary.p99_wait_ns),
            time(summary.longest_wait_ns)
        )
    };
    line("waited", number(waited) + &percent(waited) + &waits);
    let never = match summary.refused_for_ever {
        0 => String::new(),
        never => format!(": {} cost more than the limit ever gives", number(never)),
    };
    line("refused", number(refused) + &percent(refused) + &never);
    line("admitted", admitted(summary));
    out
}

/// What was admitted, and how fast.
fn admitted(summary: &Summary) -> String {
    let span = summary.to_ns - summary.from_ns;
    // In less than a second the rate would be a large number that says little.
    let rate = summary.admitted_per_second.filter(|_| span >= 1_000_000_000);
    let rate = rate.map(|rate| format!(", {} a second", round(rate))).unwrap_or_default();
    let about = if summary.most_is_exact { "" } else { "about " };
    let most = number(summary.most_admitted_in_1s);
    let keys = if summary.keys > 1 { format!("; {} keys together", number(summary.keys)) } else { String::new() };
    format!("{} over {}{rate}; at most {about}{most} in any second{keys}", number(summary.admitted), time(span))
}

/// A bar a row, and what the bars mean. Nothing where there is no row.
pub fn bars(rows: &[Row], paper: Paper) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let width = first.to - first.from;
    // Times of a clock that began long ago say nothing; those of a trace of its own do.
    let since = if first.from > 1_000 * width.max(1_000_000_000) { first.from } else { 0 };
    let table = table(rows, since, width);
    let taken: usize = table.iter().map(|column| column.width + 2).sum();
    let room = paper.width.saturating_sub(taken).max(NARROWEST);
    let most = rows.iter().map(|row| row.counts.arrivals()).max().unwrap_or_default();
    let mut out = String::new();
    for number in 0..=rows.len() {
        let mut line = String::new();
        for column in &table {
            let cell = column.cells.get(number).map_or("", String::as_str);
            let _ = write!(line, "{cell:>width$}  ", width = column.width);
        }
        let row = number.checked_sub(1).and_then(|at| rows.get(at));
        let bar = row.map(|row| bar(&row.counts, most, room, paper)).unwrap_or_default();
        line.push_str(&bar);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let _ = write!(out, "\n{}", legend(rows, most, width, since, paper));
    out
}

struct Column {
    width: usize,
    cells: Vec<String>,
}

/// The numbers, with their heads. Who waits is admitted later, which is of interest only where somebody does.
fn table(rows: &[Row], since: u128, width: u128) -> Vec<Column> {
    let waited = rows.iter().any(|row| row.counts.waited > 0);
    let shown = if waited { HEAD.len() } else { HEAD.len() - 1 };
    let of = |counts: &Counts| [counts.passed, counts.waited, counts.refused, counts.admitted];
    let times = std::iter::once("FROM".to_owned()).chain(rows.iter().map(|row| clock(row.from - since, width)));
    let column = |cells: Vec<String>| {
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or_default();
        Column { width, cells }
    };
    let counts = HEAD.iter().take(shown).enumerate().map(|(at, head)| {
        let cells = rows.iter().map(|row| of(&row.counts).get(at).copied().map(number).unwrap_or_default());
        column(std::iter::once((*head).to_owned()).chain(cells).collect())
    });
    std::iter::once(column(times.collect())).chain(counts).collect()
}

fn legend(rows: &[Row], most: u64, width: u128, since: u128, paper: Paper) -> String {
    let counts = |at: usize| rows.iter().any(|row| shares(&row.counts).get(at).is_some_and(|count| *count > 0));
    let parts = PARTS.iter().enumerate().filter(|(at, _)| counts(*at));
    let parts: Vec<String> = parts.map(|(_, part)| format!("{} {}", part.draw(1, paper), part.name)).collect();
    let began = if since > 0 { format!("; times are since {since} ns") } else { String::new() };
    let time = time(u64::try_from(width).unwrap_or(u64::MAX));
    let arrivals = if most == 1 { "1 arrival".to_owned() } else { format!("{} arrivals", number(most)) };
    format!("{}; a row is {time}, the longest bar {arrivals}{began}\n", parts.join("  "))
}

fn shares(counts: &Counts) -> [u64; 3] {
    [counts.passed, counts.waited, counts.refused]
}

/// A bar as long as its arrivals are many. What is there is seen, however little it is.
fn bar(counts: &Counts, most: u64, room: usize, paper: Paper) -> String {
    let scale = |count: u64| {
        let cells = (u128::from(count) * room as u128 * 2 + u128::from(most)) / (2 * u128::from(most.max(1)));
        usize::try_from(cells).unwrap_or(room).min(room)
    };
    let mut upto = 0;
    let mut lengths = shares(counts).map(|count| {
        let before = scale(upto);
        upto += count;
        if count > 0 { (scale(upto) - before).max(1) } else { 0 }
    });
    // What was made visible is taken from the longest, so that bars of as many arrivals are as long.
    while lengths.iter().sum::<usize>() > scale(upto) {
        match lengths.iter_mut().max() {
            Some(longest) if *longest > 1 => *longest -= 1,
            Some(_) | None => break,
        }
    }
    PARTS.iter().zip(lengths).map(|(part, length)| part.draw(length, paper)).collect()
}

/// A number with its thousands apart.
fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share of a whole in hundredths, such as ` (80 %)`. Only all is 100, and only none is 0.
fn share(count: u64, all: u64) -> String {
    if count == 0 {
        return String::new();
    }
    let percent = count as f64 * 100.0 / all.max(1) as f64;
    if percent < 0.1 {
        " (below 0.1 %)".to_owned()
    } else if count < all {
        format!(" ({} %)", ((percent * 10.0).round() / 10.0).min(99.9))
    } else {
        " (100 %)".to_owned()
    }
}

/// A rate to four digits or so.
fn round(rate: f64) -> String {
    if rate >= 1_000.0 { number(rate.round() as u64) } else { format!("{}", (rate * 100.0).round() / 100.0) }
}

/// A time to three digits or so.
pub fn time(nanos: u64) -> String {
    let decimal = |unit: u64, name: &str| {
        let value = nanos as f64 / unit as f64;
        let digits = if value < 10.0 {
            100.0
        } else if value < 100.0 {
            10.0
        } else {
            1.0
        };
        format!("{}{name}", (value * digits).round() / digits)
    };
    // Where rounding would say 1000 of a unit, the next one is meant.
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..999_500 => decimal(1_000, "us"),
        999_500..999_500_000 => decimal(1_000_000, "ms"),
        999_500_000..60_000_000_000 => decimal(1_000_000_000, "s"),
        _ => crate::table::age(1, nanos.saturating_add(500_000_000) / 1_000_000_000 + 1),
    }
}

/// When a row begins, as exactly as rows are apart.
fn clock(nanos: u128, width: u128) -> String {
    let (unit, name) = match width {
        0..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..10_000_000 => (1_000_000, "ms"),
        _ if width.is_multiple_of(60_000_000_000) => {
            let minutes = nanos / 60_000_000_000;
            return format!("{}h{:02}m", minutes / 60, minutes % 60);
        }
        _ => (1_000_000_000, "s"),
    };
    let decimals = if name == "s" { width_decimals(width) } else { 0 };
    let tenth = unit / 10_u128.pow(decimals);
    let fraction = nanos % unit / tenth.max(1);
    match decimals {
        0 => format!("{}{name}", nanos / unit),
        _ => format!("{}.{fraction:0places$}{name}", nanos / unit, places = decimals as usize),
    }
}

/// Decimals of seconds in which rows of this width differ.
fn width_decimals(width: u128) -> u32 {
    (0..3).find(|decimals| width.is_multiple_of(1_000_000_000 / 10_u128.pow(*decimals))).unwrap_or(3)
}

#[cfg(test)]
mod tests;
