//! The drills; see `loadtests::drill`.

use std::process::ExitCode;

use clap::Parser;
use loadtests::{drill, program};

fn main() -> ExitCode {
    let arguments = drill::Arguments::parse();
    program::run(drill::run(arguments))
}
