//! The command that copies a tenant's data, as gridctl sees it: a keeper (`keeper.rs`) that runs it.

use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use gridrouter_config::model::Move;
use rustix::process::{Pid, Signal, kill_process};

use super::keeper;

/// How long the keeper is waited for beyond the time that it gives the command.
const SLACK: Duration = Duration::from_secs(2);

/// A hook that runs.
pub(super) struct Hook {
    keeper: Child,
    /// Since when it is told to end.
    ending: Option<Instant>,
}

impl Hook {
    /// Starts it. It does not outlive gridctl.
    pub(super) fn start(command: &str, one: &Move) -> Result<Self, String> {
        let named =
            [("TENANT", &one.tenant), ("GRID", &one.grid), ("FROM", &one.from), ("TO", &one.to), ("MOVE", &one.name)];
        let keeper = keeper::command(command)
            .envs(named.map(|(key, value)| (key, value.as_str())))
            .stdin(Stdio::null())
            // An interrupt of gridctl is for gridctl to pass on.
            .process_group(0)
            .spawn();
        let keeper = keeper.map_err(|error| format!("the hook cannot be started: {error}"))?;
        Ok(Self { keeper, ending: None })
    }

    /// How it ended; nothing while it runs. The error says what went wrong.
    pub(super) fn ended(&mut self) -> Option<Result<(), String>> {
        match self.keeper.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) if status.success() => Some(Ok(())),
            Ok(Some(status)) => Some(Err(how(status))),
            Err(error) => Some(Err(format!("the hook cannot be waited for: {error}"))),
        }
    }

    /// Tells it to end, once. Nobody waits here.
    pub(super) fn end(&mut self) {
        if self.ending.is_none() && self.ended().is_none() {
            self.ending = Some(Instant::now());
            self.signal(Signal::TERM);
        }
    }

    /// Whether it is gone, and everything that it has started with it; a keeper that takes too long is gone, too.
    pub(super) fn is_gone(&mut self) -> bool {
        if self.ended().is_some() {
            return true;
        }
        let late = self.ending.is_some_and(|since| since.elapsed() >= keeper::GRACE + SLACK);
        if late {
            self.signal(Signal::KILL);
        }
        late
    }

    fn signal(&self, signal: Signal) {
        if let Some(keeper) = i32::try_from(self.keeper.id()).ok().and_then(Pid::from_raw) {
            // One that has ended by now is what is wanted.
            let _gone: Result<(), _> = kill_process(keeper, signal);
        }
    }
}

impl Drop for Hook {
    /// The keeper does the rest, also when this process is gone.
    fn drop(&mut self) {
        self.end();
    }
}

fn how(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("the hook ended with exit code {code}"),
        None => "the hook was killed".to_owned(),
    }
}
