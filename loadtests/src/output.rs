//! The only module that prints. Progress goes to standard error, results to standard output.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "output goes through this module")]

use std::fmt::{Display, Write as _};
use std::path::Path;

use crate::error::{Context, Result};

/// Tells the person watching what is going on.
pub fn progress(line: impl Display) {
    eprintln!("{line}");
}

/// Prints a line of the result.
pub fn line(text: impl Display) {
    println!("{text}");
}

/// Prints why the program gives up.
pub fn failure(cause: impl Display) {
    eprintln!("error: {cause}");
}

/// Prints a table with a heading row; the first column is text, the others are numbers and stand to the right.
pub fn table(heading: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heading.get(column).map_or(0, |cell| cell.chars().count())]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let print = |cells: &[String]| {
        let mut text = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = if column == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        println!("{}", text.trim_end());
    };
    print(&heading.iter().map(ToString::to_string).collect::<Vec<_>>());
    for row in rows {
        print(row);
    }
}

/// Writes the machine-readable result, when a file was asked for.
pub fn json(file: Option<&Path>, value: &serde_json::Value) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    std::fs::write(file, format!("{value:#}\n")).context(format_args!("cannot write {}", file.display()))
}
