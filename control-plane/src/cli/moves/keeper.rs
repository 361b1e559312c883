//! Runs a hook, and sees to it that nothing of it outlives the gridctl that wanted it.
//!
//! A process of its own between the two, because a process that is killed can end nobody: the kernel tells the keeper when
//! gridctl is gone, however that came about. It is gridctl itself, started in another way, so that nothing else has to be
//! installed; the way is for gridctl only, and no verb.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal, test_kill_process_group,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::output::{Colour, Output};

/// How long a hook that is told to end has for that.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How often is looked.
const PACE: Duration = Duration::from_millis(20);
/// The word that makes gridctl a keeper.
const WORD: &str = "keep-hook-of";
/// What a shell says of a command that cannot be run.
const CANNOT_RUN: u8 = 126;
/// And of one that a signal has ended.
const TERMINATED: u8 = 128 + 15;

/// The keeper of a command of the shell.
pub(super) fn command(hook: &str) -> Command {
    // The very program that runs, also where another version has been put into its place.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("gridctl").arg(WORD).arg(std::process::id().to_string()).arg(hook);
    command
}

/// Runs as a keeper, if that is what the arguments say. Returns the exit code.
pub(in crate::cli) fn answer(arguments: &[OsString]) -> Option<u8> {
    let [_, word, parent, hook] = arguments else { return None };
    if word != WORD {
        return None;
    }
    let parent = parent.to_str().and_then(|text| text.parse().ok()).and_then(Pid::from_raw)?;
    Some(keep(parent, hook).unwrap_or_else(|why| {
        let mut output = Output::standard(Colour::Never);
        output.error(why);
        CANNOT_RUN
    }))
}

fn keep(parent: Pid, hook: &OsStr) -> Result<u8, String> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended))
            .map_err(|error| format!("cannot wait for signals: {error}"))?;
    }
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| format!("cannot hear of the end of gridctl: {error}"))?;
    // It may have ended before it was listened for.
    if getppid() != Some(parent) {
        return Err("gridctl has ended".to_owned());
    }
    // What it prints goes to standard error: standard output is for what gridctl says of the move.
    let child = Command::new("sh").args(["-c", "exec sh -c \"$1\" >&2", "sh"]).arg(hook).process_group(0).spawn();
    let mut child = child.map_err(|error| format!("the hook cannot be started: {error}"))?;
    let code = loop {
        if let Some(status) = child.try_wait().map_err(|error| format!("the hook cannot be waited for: {error}"))? {
            break code(status);
        }
        if ended.load(Ordering::Relaxed) {
            // Whatever it says in the end, it was not let to its end.
            break TERMINATED;
        }
        pause();
    };
    end(&mut child);
    Ok(code)
}

/// Ends all that the hook has started and that runs still, itself and what it leaves behind.
fn end(child: &mut Child) {
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    for (signal, patience) in [(Signal::TERM, GRACE), (Signal::KILL, PACE * 10)] {
        let since = Instant::now();
        // Nothing is left to be told, or waited for, where that fails.
        let mut there = kill_process_group(group, signal).is_ok();
        while there && since.elapsed() < patience {
            pause();
            // One that nobody waits for counts as there.
            let _ended: Result<_, _> = child.try_wait();
            there = test_kill_process_group(group).is_ok();
        }
        if !there {
            return;
        }
    }
}

/// Nobody unparks this thread, and one more look would be no harm.
fn pause() {
    std::thread::park_timeout(PACE);
}

/// As a shell says it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(CANNOT_RUN)
}
