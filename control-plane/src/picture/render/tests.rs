use gridrouter_config::raw::ShiftReport;

use super::super::Step;
use super::cells::bar;
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
        report: ShiftReport { requests: 200, failed: 4, old_requests: 1_800, old_failed: 0, fallbacks: 0 },
        mirror: None,
        missing: vec![],
        controller: Some("host:1".to_owned()),
    }
}

fn look(width: usize, unicode: bool, colour: bool) -> Look {
    Look { screen: Screen { width, height: usize::MAX, unicode }, colour }
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
    shown.mirror =
        Some(Mirror { copies: 1_204, status_differs: 3, bodies_compared: 12, compared: 1_200, ..Mirror::default() });
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
    let filled = |hundredths| bar(hundredths, 20, false).matches('#').count();
    assert_eq!([0, 1, 100, 5_000, 9_999, 10_000].map(filled), [0, 1, 1, 10, 19, 20]);
}

/// The table of the picture of an ordinary shift on a terminal of so many columns.
fn table_at(width: usize, picture: &Picture) -> String {
    let text = lines(picture, look(width, true, false), 200_000);
    assert!(text.lines().skip(7).all(|line| line.chars().count() <= width), "{width}: {text}");
    text.split_once("\n\n").unwrap().1.to_owned()
}

#[test]
fn at_100_columns_bars_are_shorter() {
    let mut shown = picture();
    shown.cells.iter_mut().for_each(|cell| (cell.new.leaving, cell.old.leaving) = (0, 0));
    let wanted = "\
CELL  WAVE  SHARE       GREEN  GREEN REQ/S  ERRORS  P99     OPEN  BLUE REQ/S  ERRORS  P99     OPEN
eu-1  1     █░░░░░░░░░  10%    12           2.00%   4.1 ms  3     110         0.00%   4.1 ms  3
us-1  2     ░░░░░░░░░░  0%     12           2.00%   4.1 ms  3     110         0.00%   4.1 ms  3
";
    assert_eq!(table_at(100, &shown), wanted);
}

#[test]
fn at_80_columns_headings_are_short_and_one_column_is_left_out_with_a_word() {
    let wanted = "\
CELL  WAVE  GREEN  GREEN/S  ERRORS  P99     OPEN         BLUE/S  ERRORS  P99
eu-1  1     10%    12       2.00%   4.1 ms  3 (1 leave)  110     0.00%   4.1 ms
us-1  2     0%     12       2.00%   4.1 ms  3 (1 leave)  110     0.00%   4.1 ms
… no room for BLUE OPEN
";
    assert_eq!(table_at(80, &picture()), wanted);
}

#[test]
fn at_60_columns_what_matters_least_is_left_out() {
    let wanted = "\
CELL  GREEN  GREEN/S  ERRORS  P99     BLUE/S  ERRORS  P99
eu-1  10%    12       2.00%   4.1 ms  110     0.00%   4.1 ms
us-1  0%     12       2.00%   4.1 ms  110     0.00%   4.1 ms
… no room for BLUE OPEN, WAVE, GREEN OPEN
";
    assert_eq!(table_at(60, &picture()), wanted);
    let narrow = table_at(40, &picture());
    assert!(narrow.starts_with("CELL  GREEN  ERRORS  P99     BLUE ERRORS\n"), "{narrow}");
    for width in 20..140 {
        let text = table_at(width, &picture());
        assert!(
            text.lines().skip(1).take(2).all(|row| row.ends_with("ms") || row.ends_with(['%', ')'])),
            "{width}: {text}"
        );
    }
}

#[test]
fn long_names_are_cut_with_a_mark() {
    let mut shown = picture();
    shown.cells[0].cell = "a-cell-with-a-name-that-takes-most-of-the-line".to_owned();
    let text = table_at(80, &shown);
    assert!(text.contains("\na-cell-with-a-name-that-t…  "), "{text}");
}

#[test]
fn thirty_cells_on_24_rows_are_as_many_as_fit() {
    let mut shown = picture();
    let cell = shown.cells[0].clone();
    shown.cells = (1..=30).map(|n| Cell { cell: format!("c{n}"), ..cell.clone() }).collect();
    let at = |height| {
        let screen = Screen { width: 140, height, unicode: true };
        lines(&shown, Look { screen, colour: false }, 200_000)
    };
    let text = at(24);
    assert_eq!(text.lines().count(), 23, "the cursor needs a line: {text}");
    assert!(
        text.starts_with("shift     new") && text.contains("\nc14 ") && text.ends_with("\n… 16 more cells\n"),
        "{text}"
    );
    assert!(at(39).ends_with("3 (1 leave)\n") && at(39).lines().count() == 38, "all fit");
    assert!(at(38).ends_with("\n… 2 more cells\n"));
    assert!(at(3).contains("\nc1 "), "one is shown at least");
    shown.missing = vec!["router r cannot be read: connection refused".to_owned(); 9];
    let text = lines(&shown, Look { screen: Screen { width: 80, height: 24, unicode: true }, colour: false }, 200_000);
    assert!(text.contains("\nmissing   … and 6 more\n") && text.lines().count() == 23, "{text}");
    assert!(text.ends_with("more cells\n… no room for BLUE OPEN\n"), "{text}");
}

#[test]
fn requests_that_fell_back_are_told() {
    let mut shown = picture();
    assert!(!lines(&shown, look(140, true, false), 200_000).contains("fell back"));
    shown.cells[0].new.fallbacks = 50;
    let text = lines(&shown, look(140, true, false), 200_000);
    assert!(text.contains("\nfallback  50 of 250 requests for green fell back to blue (20.00%)\n"), "{text}");
    assert!(line(&shown, "12:00:01").contains(" | 50 of 250 requests for green fell back to blue (20.00%) | unclear"));
    shown.cells[1].old.fallbacks = 200;
    let text = lines(&shown, look(140, true, false), 200_000);
    assert!(text.contains("(20.00%), 200 of 2,000 requests for blue fell back to green (10.00%)\n"), "{text}");
    // Nobody has the counts any more, and the report has them.
    let report = ShiftReport { requests: 10, fallbacks: 90, ..shown.report };
    let ended = Picture { report, stopped: Some(150_000), left_millis: None, ..shown };
    let text = lines(&ended, look(80, true, false), 200_000);
    assert!(text.contains("fallback  90 of 100 requests for green fell back to blue (90.00%)"), "{text}");
    assert!(
        text.ends_with("\nreport    4 of 10 requests on green failed, 90 more fell back, 0 of 1800 on blue\n"),
        "{text}"
    );
}
