//! The upstream as a program of its own: `upstream --serve 127.0.0.1:9101=checkout/eu-1 …`.

use std::process::ExitCode;

use clap::Parser;
use loadtests::error::Result;
use loadtests::upstream::{Endpoint, Label};
use loadtests::{output, process, program};

/// Serve as the upstream of a proxy, on any number of ports, each saying who it is.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen, and as which service in which cell; may be given many times.
    #[arg(long = "serve", value_name = "ADDRESS=SERVICE/CELL", required = true)]
    serve: Vec<Label>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    program::run(serve(arguments))
}

async fn serve(arguments: Arguments) -> Result<()> {
    process::allow_files(1_024)?;
    let mut endpoints = Vec::new();
    for label in &arguments.serve {
        output::progress(format_args!("serving {} on {}", label.served_by(), label.address));
        endpoints.push(Endpoint::start(label)?);
    }
    // Until a signal comes.
    std::future::pending().await
}
