//! The cells of a shift as a table that fits a screen.
//!
//! What does not fit is left out in a fixed order: bars get shorter, then go, then headings get shorter, then the columns go
//! that matter least; a line says which. Of more rows than there is room for, the first are shown. A number is shown whole
//! or not at all.

use super::{Cell, Picture, percent, put, shown};
use crate::screen::Screen;
use crate::table::{columns, printable};

/// Lengths of bars, the best first; 0 is none.
const BARS: [usize; 4] = [20, 10, 5, 0];
/// The columns that are left out, the first one first. The name, the share and the errors of the new track always stay.
const LEAST: [Column; 8] = [
    Column::Open(Side::Old),
    Column::Wave,
    Column::Open(Side::New),
    Column::Rate(Side::Old),
    Column::P99(Side::Old),
    Column::Rate(Side::New),
    Column::Errors(Side::Old),
    Column::P99(Side::New),
];
/// The shortest that a name is made.
const NAME: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    New,
    Old,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    Wave,
    Bar(usize),
    Share,
    Rate(Side),
    Errors(Side),
    P99(Side),
    Open(Side),
}

/// The table, of at most so many lines, but of three at least: the head, a cell, and how many more there are.
pub(super) fn table(picture: &Picture, screen: Screen, lines: usize) -> String {
    let (text, without) = fitting(picture, screen);
    let notes = usize::from(!without.is_empty());
    let rows = picture.cells.len();
    let fits = rows.saturating_add(1 + notes) <= lines;
    let shown = if fits { rows } else { lines.saturating_sub(2 + notes).clamp(1, rows.max(1)) };
    let mut out: String = text.split_inclusive('\n').take(1 + shown).collect();
    if let Some(more) = rows.checked_sub(shown).filter(|more| *more > 0) {
        let noun = if more == 1 { "cell" } else { "cells" };
        put(&mut out, format_args!("{} {more} more {noun}", screen.ellipsis()));
    }
    if !without.is_empty() {
        let names: Vec<String> = without.iter().map(|column| column.in_words(picture)).collect();
        out.push_str(&screen.cut(&format!("{} no room for {}", screen.ellipsis(), names.join(", "))));
        out.push('\n');
    }
    out
}

/// The table with as much as fits beside each other, and the columns that it is without.
fn fitting(picture: &Picture, screen: Screen) -> (String, Vec<Column>) {
    let waves = picture.cells.last().is_some_and(|cell| cell.wave > 1);
    let there = |column: &Column| waves || *column != Column::Wave;
    let attempt = |bar: usize, short: bool, without: &[Column]| {
        let all = [Column::Name, Column::Wave, Column::Bar(bar), Column::Share];
        let track = |side| [Column::Rate(side), Column::Errors(side), Column::P99(side), Column::Open(side)];
        let kept = |column: &Column| there(column) && *column != Column::Bar(0) && !without.contains(column);
        let columns = all.into_iter().chain(track(Side::New)).chain(track(Side::Old)).filter(kept).collect();
        Table { columns, short, picture, screen }.text()
    };
    let fits = |text: &String| text.lines().all(|line| line.chars().count() <= screen.width);
    if let Some(text) = BARS.into_iter().map(|bar| attempt(bar, false, &[])).find(fits) {
        return (text, Vec::new());
    }
    let least: Vec<Column> = LEAST.into_iter().filter(there).collect();
    let mut text = String::new();
    for left_out in 0..=least.len() {
        let without = least.get(..left_out).unwrap_or_default();
        text = attempt(0, true, without);
        if fits(&text) {
            return (text, without.to_vec());
        }
    }
    (text, least)
}

struct Table<'a> {
    columns: Vec<Column>,
    /// Whether headings are short.
    short: bool,
    picture: &'a Picture,
    screen: Screen,
}

impl Table<'_> {
    fn text(&self) -> String {
        let head: Vec<String> = self.columns.iter().map(|column| self.heading(*column)).collect();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let row = |cell: &Cell| self.columns.iter().map(|column| self.value(*column, cell)).collect();
        columns(&head, &self.picture.cells.iter().map(row).collect::<Vec<_>>())
    }

    fn heading(&self, column: Column) -> String {
        match column {
            Column::Name => "CELL".to_owned(),
            Column::Wave => "WAVE".to_owned(),
            Column::Bar(_) => "SHARE".to_owned(),
            Column::Share => Side::New.track(self.picture),
            Column::Rate(side) if self.short => format!("{}/S", side.track(self.picture)),
            Column::Rate(side) => format!("{} REQ/S", side.track(self.picture)),
            // What stands to the left of it says of which track it is; where nothing does, it says so itself.
            Column::Errors(side) => self.of(side, Column::Rate(side), "ERRORS"),
            Column::P99(side) => self.of(side, Column::Errors(side), "P99"),
            Column::Open(_) => "OPEN".to_owned(),
        }
    }

    fn of(&self, side: Side, before: Column, word: &str) -> String {
        let known = side == Side::New || self.columns.contains(&before);
        if known { word.to_owned() } else { format!("{} {word}", side.track(self.picture)) }
    }

    fn value(&self, column: Column, cell: &Cell) -> String {
        let nothing = || "-".to_owned();
        match column {
            Column::Name => self.name(&cell.cell),
            Column::Wave => cell.wave.to_string(),
            Column::Bar(length) => bar(cell.share_hundredths, length, self.screen.unicode),
            Column::Share => format!("{}%", f64::from(cell.share_hundredths) / 100.0),
            Column::Rate(side) => side.of(cell).per_second.map_or_else(nothing, |rate| format!("{rate:.0}")),
            Column::Errors(side) if side.of(cell).requests == 0 => nothing(),
            Column::Errors(side) => percent(side.of(cell).error_ratio),
            Column::P99(side) => side.of(cell).p99_micros.map_or_else(nothing, shown),
            Column::Open(side) => match side.of(cell) {
                side if side.leaving > 0 => format!("{} ({} leave)", side.in_flight, side.leaving),
                side => side.in_flight.to_string(),
            },
        }
    }

    /// A name takes a third of the screen at the most.
    fn name(&self, name: &str) -> String {
        let third = Screen { width: (self.screen.width / 3).max(NAME), ..self.screen };
        third.cut(&printable(name))
    }
}

impl Side {
    fn of(self, cell: &Cell) -> &super::Side {
        match self {
            Side::New => &cell.new,
            Side::Old => &cell.old,
        }
    }

    fn track(self, picture: &Picture) -> String {
        let track = match self {
            Side::New => picture.to,
            Side::Old => super::other(picture),
        };
        track.to_uppercase()
    }
}

impl Column {
    fn in_words(self, picture: &Picture) -> String {
        let of = |side: Side, word: &str| format!("{} {word}", side.track(picture));
        match self {
            Column::Name => "CELL".to_owned(),
            Column::Wave => "WAVE".to_owned(),
            Column::Bar(_) => "SHARE".to_owned(),
            Column::Share => Side::New.track(picture),
            Column::Rate(side) => of(side, "REQ/S"),
            Column::Errors(side) => of(side, "ERRORS"),
            Column::P99(side) => of(side, "P99"),
            Column::Open(side) => of(side, "OPEN"),
        }
    }
}

/// Something is shown as something, and only everything as everything.
pub(super) fn bar(hundredths: u16, length: usize, unicode: bool) -> String {
    let (full, empty) = if unicode { ("█", "░") } else { ("#", ".") };
    let share = usize::from(hundredths) * length;
    let filled = match hundredths {
        0 => 0,
        10_000.. => length,
        _ => (share / 10_000).clamp(1, length.saturating_sub(1).max(1)),
    };
    full.repeat(filled) + &empty.repeat(length - filled)
}
