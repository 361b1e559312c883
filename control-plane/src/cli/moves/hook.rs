//! The command that copies a tenant's data.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use gridrouter_config::model::Move;
use rustix::process::{Pid, Signal, kill_process_group};

/// A hook that runs.
pub(super) struct Hook(Child);

impl Hook {
    /// Starts it, in a group of its own: an interrupt of gridctl is for gridctl to pass on.
    pub(super) fn start(command: &str, one: &Move) -> Result<Self, String> {
        let named =
            [("TENANT", &one.tenant), ("GRID", &one.grid), ("FROM", &one.from), ("TO", &one.to), ("MOVE", &one.name)];
        let child = Command::new("sh")
            .args(["-c", command])
            .envs(named.map(|(key, value)| (key, value.as_str())))
            .stdin(Stdio::null())
            .process_group(0)
            .spawn();
        child.map(Self).map_err(|error| format!("the hook cannot be started: {error}"))
    }

    /// How it ended; nothing while it runs. The error says what went wrong.
    pub(super) fn ended(&mut self) -> Option<Result<(), String>> {
        match self.0.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) if status.success() => Some(Ok(())),
            Ok(Some(status)) => Some(Err(how(status))),
            Err(error) => Some(Err(format!("the hook cannot be waited for: {error}"))),
        }
    }
}

fn how(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("the hook ended with exit code {code}"),
        None => "the hook was killed".to_owned(),
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        if self.ended().is_none() {
            if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
                // What it has started is ended with it.
                let _gone: Result<(), _> = kill_process_group(group, Signal::TERM);
            }
            let _reaped: Result<_, _> = self.0.wait();
        }
    }
}
