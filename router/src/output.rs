//! The only module that writes to the terminal; everything else is the log.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "this is where output goes")]

use std::io::{IsTerminal, Write};

/// Says why the program ends.
pub fn error(text: &str) {
    eprintln!("gridrouter: {text}");
}

/// Says something to the person at the terminal. A terminal that is gone is nobody to tell.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _gone: std::io::Result<()> = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Whether colours would be seen in what is said.
pub fn colours() -> bool {
    seen_on(&std::io::stdout())
}

/// Whether colours would be seen in the log.
pub fn log_colours() -> bool {
    seen_on(&std::io::stderr())
}

fn seen_on(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
