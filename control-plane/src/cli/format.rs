//! How answers are printed.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use crate::output::Output;
use crate::yaml;

/// How an answer is printed that names documents, or other things.
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
    /// One name a line, as gridctl takes it.
    Name,
}

/// How an answer is printed in which nothing has a name of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shown {
    /// For people.
    #[value(alias = "text")]
    Table,
    /// More columns, for people.
    Wide,
    /// For tools.
    Json,
    /// For tools and people.
    Yaml,
}

/// Prints a value as YAML.
pub(super) fn print_yaml(value: &impl Serialize, output: &mut Output) {
    match serde_json::to_vec(value) {
        Ok(json) => output.text(yaml::from_json(&json)),
        Err(error) => output.error(format_args!("the answer cannot be written: {error}")),
    }
}

/// Prints one of many values as YAML: each a document of its own.
pub(super) fn print_yaml_part(value: &impl Serialize, output: &mut Output) {
    output.line("---");
    print_yaml(value, output);
}

/// Prints a value for tools.
pub(super) fn print_value(format: Format, value: &Value, output: &mut Output) {
    if format == Format::Yaml { print_yaml(value, output) } else { output.json(value) }
}
