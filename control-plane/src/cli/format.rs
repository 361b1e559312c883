//! How answers are printed.

use clap::ValueEnum;
use serde::Serialize;

use crate::output::Output;
use crate::yaml;

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns, for people.
    Table,
    /// More columns and every row.
    Wide,
    /// For tools.
    Json,
    /// For tools and people.
    Yaml,
    /// One KIND/NAME a line, as gridctl takes it.
    Name,
}

/// Prints a value as YAML.
pub(super) fn print_yaml(value: &impl Serialize, output: &mut Output) {
    match serde_json::to_vec(value) {
        Ok(json) => output.text(yaml::from_json(&json)),
        Err(error) => output.error(format_args!("the answer cannot be written: {error}")),
    }
}
