//! A shift as people see it: a few lines for a terminal, or one for a log. Pure.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::{Cell, Mirror, Picture, Side};
use crate::output::Screen;
use crate::plan::analysis::shown;
use crate::table::{columns, printable};

/// Cells of a bar.
const BAR: usize = 20;

/// How something is shown.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// On what.
    pub screen: Screen,
    /// Whether it shows colours.
    pub colour: bool,
}

/// Several lines.
pub fn lines(picture: &Picture, look: Look, now: u64) -> String {
    let mut out = String::new();
    let phase = paint(picture.phase, style_of(picture), look);
    let from = if picture.to == "green" { "blue" } else { "green" };
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
    for missing in &picture.missing {
        put(&mut out, format_args!("missing   {}", printable(missing)));
    }
    out.push('\n');
    out.push_str(&cells(picture, look));
    if picture.left_millis.is_none() && picture.stopped.is_some() {
        let report = picture.report;
        put(
            &mut out,
            format_args!(
                "\nreport    {} of {} requests on {} failed, {} of {} on {from}",
                report.failed, report.requests, picture.to, report.old_failed, report.old_requests
            ),
        );
    }
    out
}

/// One line, for where lines cannot be taken back.
pub fn line(picture: &Picture, clock: &str) -> String {
    let mut out = format!("{clock} {} {}: {}", picture.shift, picture.phase, picture.place);
    if let Some(left) = picture.left_millis {
        put_on(&mut out, format_args!(", {} left", time(left)));
    }
    let (new, old) = (total(picture, |cell| &cell.new), total(picture, |cell| &cell.old));
    for (track, side) in [(picture.to, new), (if picture.to == "green" { "blue" } else { "green" }, old)] {
        let rate = side.per_second.map(|rate| format!(" {rate:.0}/s")).unwrap_or_default();
        let p99 = side.p99_micros.map(|micros| format!(", p99 {}", shown(micros))).unwrap_or_default();
        put_on(&mut out, format_args!(" | {track}{rate} {} failed{p99}", percent(side.error_ratio)));
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

fn cells(picture: &Picture, look: Look) -> String {
    let waves = picture.cells.last().map_or(1, |cell| cell.wave);
    let (to, from) = if picture.to == "green" { ("GREEN", "BLUE") } else { ("BLUE", "GREEN") };
    let mut head = vec!["CELL"];
    if waves > 1 {
        head.push("WAVE");
    }
    let width = look.screen.width;
    let bars = width >= 100;
    if bars {
        head.push("SHARE");
    }
    let track = |name: &str| [format!("{name} REQ/S"), "ERRORS".to_owned(), "P99".to_owned(), "OPEN".to_owned()];
    let titles: Vec<String> = [track(to), track(from)].concat();
    head.push(to);
    head.extend(titles.iter().map(String::as_str));
    let row = |cell: &Cell| {
        let mut row = vec![cell.cell.clone()];
        if waves > 1 {
            row.push(cell.wave.to_string());
        }
        if bars {
            row.push(bar(cell.share_hundredths, look.screen.unicode));
        }
        row.push(format!("{}%", f64::from(cell.share_hundredths) / 100.0));
        for side in [&cell.new, &cell.old] {
            row.push(side.per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}")));
            row.push(if side.requests == 0 { "-".to_owned() } else { percent(side.error_ratio) });
            row.push(side.p99_micros.map_or_else(|| "-".to_owned(), shown));
            let leaving = if side.leaving > 0 { format!(" ({} leave)", side.leaving) } else { String::new() };
            row.push(format!("{}{leaving}", side.in_flight));
        }
        row
    };
    columns(&head, &picture.cells.iter().map(row).collect::<Vec<_>>())
}

fn bar(hundredths: u16, unicode: bool) -> String {
    let (full, empty) = if unicode { ("█", "░") } else { ("#", ".") };
    // Something is shown as something, and only everything as everything.
    let share = usize::from(hundredths) * BAR;
    let filled = match hundredths {
        0 => 0,
        10_000.. => BAR,
        _ => (share / 10_000).clamp(1, BAR - 1),
    };
    full.repeat(filled) + &empty.repeat(BAR - filled)
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
mod tests {
    use gridrouter_config::raw::ShiftReport;

    use super::super::Step;
    use super::*;

    fn picture() -> Picture {
        let step = |what: &str, now, done| Step { what: what.to_owned(), now, done };
        let side = |requests, failed, rate| Side {
            requests,
            failed,
            in_flight: 3,
            leaving: 1,
            per_second: Some(rate),
            error_ratio: failed as f64 / requests as f64,
            p99_micros: Some(4_100),
            ..Side::default()
        };
        let cell = |name: &str, wave, share_hundredths| Cell {
            cell: name.to_owned(),
            wave,
            share_hundredths,
            new: side(100, 2, 12.4),
            old: side(900, 0, 110.0),
        };
        Picture {
            shift: "new".to_owned(),
            service: "checkout".to_owned(),
            to: "green",
            phase: "Running",
            place: "at 10% (step 2 of 3 of wave 1 of 2)".to_owned(),
            reason: String::new(),
            healthy: true,
            verdict: Some("unclear"),
            verdict_reason: "7 of 100 requests on the new track".to_owned(),
            started: 1_000,
            since: 100_000,
            stopped: None,
            left_millis: Some(48_200),
            steps: vec![step("1%", false, true), step("10%", true, false), step("100%", false, false)],
            cells: vec![cell("eu-1", 1, 1_000), cell("us-1", 2, 0)],
            report: ShiftReport { requests: 200, failed: 4, old_requests: 1_800, old_failed: 0 },
            mirror: None,
            missing: vec![],
            controller: Some("host:1".to_owned()),
        }
    }

    fn look(width: usize, unicode: bool, colour: bool) -> Look {
        Look { screen: Screen { width, unicode }, colour }
    }

    #[test]
    fn a_wide_terminal_shows_bars() {
        let wanted = "\
shift     new: service checkout blue → green
phase     Running, at 10% (step 2 of 3 of wave 1 of 2), 49s left
started   3m19s ago, has lasted 3m19s
steps     ✓1%  ▶10%  100%
analysis  unclear: 7 of 100 requests on the new track
acting    host:1

CELL  WAVE  SHARE                 GREEN  GREEN REQ/S  ERRORS  P99     OPEN         BLUE REQ/S  ERRORS  P99     OPEN
eu-1  1     ██░░░░░░░░░░░░░░░░░░  10%    12           2.00%   4.1 ms  3 (1 leave)  110         0.00%   4.1 ms  3 (1 leave)
us-1  2     ░░░░░░░░░░░░░░░░░░░░  0%     12           2.00%   4.1 ms  3 (1 leave)  110         0.00%   4.1 ms  3 (1 leave)
";
        assert_eq!(lines(&picture(), look(140, true, false), 200_000), wanted);
    }

    #[test]
    fn a_plain_one_has_neither_bars_nor_colours_nor_signs() {
        let text = lines(&picture(), look(80, false, false), 200_000);
        assert!(text.is_ascii(), "{text}");
        assert!(text.contains("steps     +1%  >10%  100%") && !text.contains("SHARE"), "{text}");
        let coloured = lines(&picture(), look(80, true, true), 200_000);
        assert!(coloured.contains('\u{1b}'), "{coloured}");
    }

    #[test]
    fn what_has_ended_has_a_report_and_a_log_has_one_line() {
        let ended = Picture {
            phase: "RolledBack",
            place: "everything is on blue".to_owned(),
            reason: "errors on the new track 2.00%".to_owned(),
            healthy: false,
            verdict: None,
            stopped: Some(150_000),
            left_millis: None,
            ..picture()
        };
        let text = lines(&ended, look(80, true, false), 200_000);
        assert!(text.ends_with("\nreport    4 of 200 requests on green failed, 0 of 1800 on blue\n"), "{text}");
        assert!(text.contains("started   3m19s ago, has lasted 2m29s\n"), "{text}");
        assert_eq!(
            line(&picture(), "12:00:01"),
            "12:00:01 new Running: at 10% (step 2 of 3 of wave 1 of 2), 49s left | green 25/s 2.00% failed, p99 4.1 ms | \
             blue 220/s 0.00% failed, p99 4.1 ms | unclear: 7 of 100 requests on the new track"
        );
    }

    #[test]
    fn copies_have_a_line_where_there_are_any() {
        let mut shown = picture();
        shown.mirror = Some(Mirror {
            copies: 1_204,
            status_differs: 3,
            bodies_compared: 12,
            compared: 1_200,
            ..Mirror::default()
        });
        let text = lines(&shown, look(140, true, false), 200_000);
        let wanted = "\nmirror    1,204 copies, 3 statuses differ, 0 of 12 bodies differ\nacting    host:1\n";
        assert!(text.contains(wanted), "{text}");
        let all = Mirror {
            copies: 1,
            status_differs: 1,
            failed: 1_234_567,
            slower: 2,
            dropped: 3,
            old_p99_micros: Some(4_100),
            new_p99_micros: Some(5_200),
            ..Mirror::default()
        };
        assert_eq!(
            copies(&all),
            "1 copy, 1 status differs, 1,234,567 without an answer, 2 much slower, 3 not sent, p99 5.2 ms against 4.1 ms"
        );
    }

    #[test]
    fn bars_are_honest_at_both_ends() {
        let filled = |hundredths| bar(hundredths, false).matches('#').count();
        assert_eq!([0, 1, 100, 5_000, 9_999, 10_000].map(filled), [0, 1, 1, 10, 19, 20]);
    }
}
