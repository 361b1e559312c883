//! A shift as people see it: a few lines for a terminal, or one for a log. Pure.

mod cells;

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::{Cell, Mirror, Picture, Side};
use crate::plan::analysis::shown;
use crate::screen::Screen;
use crate::table::printable;

/// Lines of what is missing, where there is an end to the screen.
const MISSING: usize = 3;

/// How something is shown.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// On what.
    pub screen: Screen,
    /// Whether it shows colours.
    pub colour: bool,
}

/// Several lines, as many as the screen has, but for its last one, where the cursor is.
pub fn lines(picture: &Picture, look: Look, now: u64) -> String {
    let (above, below) = (above(picture, look, now), below(picture));
    let others = above.lines().count() + below.lines().count();
    let room = look.screen.height.saturating_sub(1).saturating_sub(others);
    above + &cells::table(picture, look.screen, room) + &below
}

/// What is the same for all cells.
fn above(picture: &Picture, look: Look, now: u64) -> String {
    let mut out = String::new();
    let phase = paint(picture.phase, style_of(picture), look);
    let from = other(picture);
    let arrow = if look.screen.unicode { "→" } else { "->" };
    put(
        &mut out,
        format_args!("shift     {}: service {} {from} {arrow} {}", picture.shift, picture.service, picture.to),
    );
    let left = picture.left_millis.map(|left| format!(", {} left", time(left))).unwrap_or_default();
    put(&mut out, format_args!("phase     {phase}, {}{left}", picture.place));
    if !picture.reason.is_empty() {
        put(&mut out, format_args!("reason    {}", printable(&picture.reason)));
    }
    if picture.started > 0 {
        let took = picture.stopped.filter(|_| picture.left_millis.is_none()).unwrap_or(now);
        let ago = time(now.saturating_sub(picture.started));
        let lasted = time(took.saturating_sub(picture.started));
        put(&mut out, format_args!("started   {ago} ago, has lasted {lasted}"));
    }
    put(&mut out, format_args!("steps     {}", steps(picture, look)));
    if let Some(verdict) = picture.verdict {
        let style = match verdict {
            "good" => AnsiColor::Green.on_default(),
            "bad" => AnsiColor::Red.on_default().bold(),
            _ => AnsiColor::Yellow.on_default(),
        };
        let why =
            if picture.verdict_reason.is_empty() { String::new() } else { format!(": {}", picture.verdict_reason) };
        put(&mut out, format_args!("analysis  {}{}", paint(verdict, style, look), printable(&why)));
    }
    if let Some(mirror) = &picture.mirror {
        put(&mut out, format_args!("mirror    {}", copies(mirror)));
    }
    if let Some(controller) = &picture.controller {
        put(&mut out, format_args!("acting    {}", printable(controller)));
    }
    if let Some(fallbacks) = fallbacks(picture) {
        let style = if picture.healthy { Style::new() } else { AnsiColor::Red.on_default().bold() };
        put(&mut out, format_args!("fallback  {}", paint(&fallbacks, style, look)));
    }
    let most = if look.screen.height == usize::MAX { usize::MAX } else { MISSING };
    for missing in picture.missing.iter().take(most) {
        put(&mut out, format_args!("missing   {}", printable(missing)));
    }
    if let Some(more) = picture.missing.len().checked_sub(most).filter(|more| *more > 0) {
        put(&mut out, format_args!("missing   {} and {more} more", look.screen.ellipsis()));
    }
    out.push('\n');
    out
}

/// What is said below the cells.
fn below(picture: &Picture) -> String {
    if picture.left_millis.is_some() || picture.stopped.is_none() {
        return String::new();
    }
    let report = picture.report;
    let (from, to) = (other(picture), picture.to);
    let fell_back = match report.fallbacks {
        0 => String::new(),
        fallbacks => format!(", {fallbacks} more fell back"),
    };
    format!(
        "\nreport    {} of {} requests on {to} failed{fell_back}, {} of {} on {from}\n",
        report.failed, report.requests, report.old_failed, report.old_requests
    )
}

/// The track that the traffic comes from.
fn other(picture: &Picture) -> &'static str {
    if picture.to == "green" { "blue" } else { "green" }
}

/// How many requests went to the track that they were not meant for, where there were any.
fn fallbacks(picture: &Picture) -> Option<String> {
    let (to, from) = (picture.to, other(picture));
    let count = |of: fn(&Cell) -> &Side| {
        let sides = picture.cells.iter().map(of);
        let sum = |(requests, fallbacks): (u64, u64), side: &Side| {
            (requests.saturating_add(side.requests), fallbacks.saturating_add(side.fallbacks))
        };
        sides.fold((0, 0), sum)
    };
    let (new, old) = (count(|cell| &cell.new), count(|cell| &cell.old));
    let report = &picture.report;
    // What an earlier controller has seen of routers that are gone is only in the report.
    let new = if report.fallbacks > new.1 { (report.requests, report.fallbacks) } else { new };
    let side = |(requests, fallbacks): (u64, u64), meant: &str, went: &str| {
        let all = requests.saturating_add(fallbacks);
        let share = percent(fallbacks as f64 / all as f64);
        let (fallbacks, all) = (grouped(fallbacks), grouped(all));
        format!("{fallbacks} of {all} requests for {meant} fell back to {went} ({share})")
    };
    let both = [(new, to, from), (old, from, to)];
    let said: Vec<String> = both
        .into_iter()
        .filter(|(counts, ..)| counts.1 > 0)
        .map(|(counts, meant, went)| side(counts, meant, went))
        .collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// One line, for where lines cannot be taken back.
pub fn line(picture: &Picture, clock: &str) -> String {
    let mut out = format!("{clock} {} {}: {}", picture.shift, picture.phase, picture.place);
    if let Some(left) = picture.left_millis {
        put_on(&mut out, format_args!(", {} left", time(left)));
    }
    let (new, old) = (total(picture, |cell| &cell.new), total(picture, |cell| &cell.old));
    for (track, side) in [(picture.to, new), (other(picture), old)] {
        let rate = side.per_second.map(|rate| format!(" {rate:.0}/s")).unwrap_or_default();
        let p99 = side.p99_micros.map(|micros| format!(", p99 {}", shown(micros))).unwrap_or_default();
        put_on(&mut out, format_args!(" | {track}{rate} {} failed{p99}", percent(side.error_ratio)));
    }
    if let Some(fallbacks) = fallbacks(picture) {
        put_on(&mut out, format_args!(" | {fallbacks}"));
    }
    if let Some(verdict) = picture.verdict.filter(|verdict| *verdict != "good") {
        put_on(&mut out, format_args!(" | {verdict}: {}", picture.verdict_reason));
    }
    if !picture.reason.is_empty() {
        put_on(&mut out, format_args!(" | {}", picture.reason));
    }
    printable(&out)
}

/// All cells together; of the times, the longest.
fn total(picture: &Picture, of: impl Fn(&Cell) -> &Side) -> Side {
    let mut all = Side::default();
    let mut failed = 0.0;
    let mut requests = 0.0;
    for side in picture.cells.iter().map(of) {
        let weight = side.per_second.unwrap_or(side.requests as f64);
        failed += side.error_ratio * weight;
        requests += weight;
        all.per_second = match (all.per_second, side.per_second) {
            (None, rate) | (rate, None) => rate,
            (Some(one), Some(other)) => Some(one + other),
        };
        all.p99_micros = all.p99_micros.max(side.p99_micros);
    }
    all.error_ratio = if requests > 0.0 { failed / requests } else { 0.0 };
    all
}

fn steps(picture: &Picture, look: Look) -> String {
    let (here, done) = if look.screen.unicode { ("▶", "✓") } else { (">", "+") };
    let step = |step: &super::Step| match (step.now, step.done) {
        (true, _) => paint(&format!("{here}{}", step.what), Style::new().bold(), look),
        (false, true) => format!("{done}{}", step.what),
        (false, false) => step.what.clone(),
    };
    picture.steps.iter().map(step).collect::<Vec<_>>().join("  ")
}

/// What became of the copies that the new track got.
fn copies(mirror: &Mirror) -> String {
    let mut out = many(mirror.copies, "copy", "copies");
    put_on(&mut out, format_args!(", {}", many(mirror.status_differs, "status differs", "statuses differ")));
    if mirror.bodies_compared > 0 {
        let (differ, compared) = (grouped(mirror.bodies_differ), grouped(mirror.bodies_compared));
        put_on(&mut out, format_args!(", {differ} of {compared} bodies differ"));
    }
    for (count, what) in
        [(mirror.failed, "without an answer"), (mirror.slower, "much slower"), (mirror.dropped, "not sent")]
    {
        if count > 0 {
            put_on(&mut out, format_args!(", {} {what}", grouped(count)));
        }
    }
    if let (Some(new), Some(old)) = (mirror.new_p99_micros, mirror.old_p99_micros) {
        put_on(&mut out, format_args!(", p99 {} against {}", shown(new), shown(old)));
    }
    out
}

fn many(count: u64, one: &str, more: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { more })
}

/// A number with a comma every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn style_of(picture: &Picture) -> Style {
    match (picture.phase, picture.healthy) {
        ("Succeeded", _) => AnsiColor::Green.on_default().bold(),
        ("Paused", true) => AnsiColor::Yellow.on_default().bold(),
        (_, true) => Style::new().bold(),
        (_, false) => AnsiColor::Red.on_default().bold(),
    }
}

fn paint(text: &str, style: Style, look: Look) -> String {
    if look.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

fn percent(ratio: f64) -> String {
    format!("{:.2}%", ratio * 100.0)
}

/// A time in milliseconds for people.
pub fn time(millis: u64) -> String {
    let seconds = millis.div_ceil(1_000);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m", seconds / 3_600, seconds / 60 % 60),
    }
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    put_on(out, line);
    out.push('\n');
}

fn put_on(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    // Writing into a String cannot fail.
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests;
