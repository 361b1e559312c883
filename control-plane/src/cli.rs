//! The command line: one file a verb group.

mod check;
mod endpoint;
mod schema;
mod tenant;

use std::ffi::OsString;
use std::io::{self, BufRead};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::{Colour, Output};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All is well.
    Fine,
    /// The command did its work and found problems.
    Problems,
    /// The command could not do its work: wrong usage, or something cannot be read.
    Failed,
}

impl Status {
    /// The exit code of the program.
    pub const fn code(self) -> u8 {
        match self {
            Status::Fine => 0,
            Status::Problems => 1,
            Status::Failed => 2,
        }
    }
}

/// The operators' tool of GridRouter.
#[derive(Debug, Parser)]
#[command(name = "gridctl", version, after_help = EXAMPLES)]
struct Arguments {
    /// When to print in colour: auto (on a terminal), always or never.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    color: Colour,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Exit code: 0 all is well, 1 problems were found, 2 wrong usage or something cannot be read.

Examples:
  gridctl check config/examples/quickstart
  gridctl tenant where --config config/examples/quickstart --grid shop acme";

#[derive(Debug, Subcommand)]
enum Verb {
    Check(check::Check),
    Endpoint(endpoint::Endpoint),
    Schema(schema::Schema),
    Tenant(tenant::Tenant),
}

/// Runs the program: its arguments, its standard streams.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(run(&arguments, &mut io::stdin().lock(), Output::standard).code())
}

/// Runs one command, reading standard input from `input` and printing to what `open` makes of the wish for colour.
pub fn run(arguments: &[OsString], input: &mut dyn BufRead, open: impl FnOnce(Colour) -> Output) -> Status {
    let (output, status) = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => {
            let mut output = open(arguments.color);
            let status = arguments.verb.run(input, &mut output);
            (output, status)
        }
        Err(usage) => {
            let mut output = open(Colour::Auto);
            output.usage(&usage);
            (output, if usage.use_stderr() { Status::Failed } else { Status::Fine })
        }
    };
    if output.finish().is_err() { Status::Failed } else { status }
}

impl Verb {
    fn run(&self, input: &mut dyn BufRead, output: &mut Output) -> Status {
        match self {
            Verb::Check(check) => check.run(input, output),
            Verb::Endpoint(endpoint) => endpoint.run(output),
            Verb::Schema(schema) => schema.run(output),
            Verb::Tenant(tenant) => tenant.run(input, output),
        }
    }
}
