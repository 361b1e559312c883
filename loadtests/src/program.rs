//! How each program here runs: one thread, ended by its own work, an error, or a signal, whichever is first. In every
//! case the guards of [`crate::process`] end the children on the way out.

use std::future::Future;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Context, Error, Result};
use crate::output;

/// Runs the program to its end. Success is exit code 0, an error is printed and is 1.
pub fn run(work: impl Future<Output = Result<()>>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => match runtime.block_on(until_signalled(work)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                output::failure(error);
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            output::failure(format_args!("cannot start the runtime: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn until_signalled(work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    tokio::select! {
        result = Box::pin(work) => result,
        _ = interrupt.recv() => Err(Error::new("interrupted; every process that was started has been ended")),
        _ = terminate.recv() => Err(Error::new("terminated; every process that was started has been ended")),
    }
}
