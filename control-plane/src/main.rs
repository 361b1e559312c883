//! The operators' tool of GridRouter.

use std::process::ExitCode;

fn main() -> ExitCode {
    gridctl::cli::main()
}
