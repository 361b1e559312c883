//! The side-by-side benchmark; see `loadtests::bench`.

use std::process::ExitCode;

use clap::Parser;
use loadtests::{bench, program};

fn main() -> ExitCode {
    let arguments = bench::Arguments::parse();
    program::run(bench::run(arguments))
}
