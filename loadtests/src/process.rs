//! Children that never outlive this program, and what the kernel says about them.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Signal, getrlimit, kill_process, pidfd_open, setrlimit};
use tokio::time::{Instant, sleep};

use crate::error::{Context, Error, Result};

/// How long a process may take to end when asked, before it is killed.
const ENDING: Duration = Duration::from_secs(3);

/// How a program is ended when it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is asked, and killed when it does not end in time.
    Asked,
    /// It is killed: what it has on disk goes too, and it may be stopped and unable to hear.
    Killed,
}

/// A started program. Dropping it ends the program and all its children, each by its own process id.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ending: Ending,
}

impl Process {
    /// Starts `program` on `core` (anywhere when `None`), its output going to a file in `directory`.
    pub fn start<I, A>(name: &str, program: &Path, arguments: I, directory: &Path, core: Option<usize>) -> Result<Self>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        Self::start_to_end(name, program, arguments, directory, core, Ending::Asked)
    }

    /// The same, for a program that is ended in this way.
    pub fn start_to_end<I, A>(
        name: &str,
        program: &Path,
        arguments: I,
        directory: &Path,
        core: Option<usize>,
        ending: Ending,
    ) -> Result<Self>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        let log = directory.join(format!("{name}.log"));
        let output = fs::File::create(&log).context(format_args!("cannot create {}", log.display()))?;
        let errors = output.try_clone().context("cannot share the log file")?;
        // The kernel ends the program with this one even where no destructor runs. TERM, not KILL: nginx's master must
        // be able to take its worker along. Both setpriv and taskset replace themselves, so the process id stays.
        let mut command = Command::new("setpriv");
        let signal = match ending {
            Ending::Asked => "TERM",
            Ending::Killed => "KILL",
        };
        command.args(["--pdeathsig", signal]);
        if let Some(core) = core {
            command.args(["taskset", "-c", &core.to_string()]);
        }
        let child = command
            .arg(program)
            .args(arguments)
            // Logs are read by people as plain text.
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .context(format_args!("cannot start {name} with setpriv and taskset (Debian: util-linux)"))?;
        Ok(Self { name: name.to_owned(), child, log, ending })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails, with the end of its log, when the program has ended by itself.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                Err(Error::new(format!("{} ended early with {status}; it said:\n{}", self.name, self.log_tail())))
            }
            Err(error) => Err(Error::new(format!("cannot ask after {}: {error}", self.name))),
        }
    }

    /// Waits for the end of a program that ends by itself or was told to.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait().context(format_args!("cannot ask after {}", self.name))? {
                Some(status) => return Ok(status),
                None if Instant::now() > deadline => {
                    return Err(Error::new(format!("{} does not end within {limit:?}", self.name)));
                }
                None => sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// The last lines that the program wrote.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
    }

    /// Sends a signal to the program itself.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = pid(self.id()).ok_or_else(|| Error::new("no process id"))?;
        kill_process(id, signal).context(format_args!("cannot signal {}", self.name))
    }

    /// Ends the program at once, as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context(format_args!("cannot kill {}", self.name))?;
        self.child.wait().map(drop).context(format_args!("cannot wait for the end of {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process id of a program whose end was noticed may be somebody else's by now.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let children = tree(self.id());
        // A failure here means that the process is gone, which is what is wanted.
        let ended = match self.ending {
            Ending::Asked => self.signal(Signal::TERM).is_ok() && ended_within(self.id(), ENDING),
            Ending::Killed => false,
        };
        if !ended {
            for id in children {
                if let Some(id) = pid(id) {
                    let _ = kill_process(id, Signal::KILL);
                }
            }
        }
        let _ = self.child.wait();
    }
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

fn ended_within(id: u32, limit: Duration) -> bool {
    let Some(id) = pid(id) else { return true };
    let Ok(descriptor) = pidfd_open(id, PidfdFlags::empty()) else { return true };
    let timeout = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::IN)], Some(&timeout))
        .is_ok_and(|ready| ready > 0)
}

/// The process and all its descendants.
pub fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
        .filter_map(|id| Some((id, stat_field(id, 1)?.try_into().ok()?)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    found
}

/// Number `index` after the state letter in `/proc/ID/stat`, counting the state as 0.
fn stat_field(id: u32, index: usize) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The command may hold spaces and brackets; nothing after the last bracket does.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(index)?.parse().ok()
}

/// CPU time that the processes have used, with all threads that they have, user and system together. To the nanosecond
/// where the kernel says so (Linux with `/proc/<pid>/schedstat`), or else in ticks.
pub fn cpu_time(ids: &[u32]) -> Duration {
    let nanos = ids.iter().map(|id| scheduled_nanos(*id)).sum::<Option<u64>>();
    nanos.map_or_else(|| cpu_ticks(ids), Duration::from_nanos)
}

fn scheduled_nanos(id: u32) -> Option<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten() {
        // One that has ended meanwhile has none.
        let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        sum += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
    }
    (sum > 0).then_some(sum)
}

fn cpu_ticks(ids: &[u32]) -> Duration {
    let ticks: u64 = ids.iter().flat_map(|id| [stat_field(*id, 11), stat_field(*id, 12)]).flatten().sum();
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second().max(1))
}

/// Resident memory of some processes together, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Every page that each has in memory.
    pub resident: u64,
    /// The same, where a page that n processes share counts one nth for each.
    pub proportional: u64,
}

/// Reads the memory that the processes have now.
pub fn memory(ids: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for id in ids {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        let kilobytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        sum.resident += kilobytes("Rss") * 1024;
        sum.proportional += kilobytes("Pss") * 1024;
    }
    sum
}

/// The most memory that a process has had resident at once, in bytes.
pub fn peak(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Raises the number of files this program and its children may open to all that is allowed, and fails when that is
/// less than `needed`.
pub fn allow_files(needed: u64) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the number of open files")?;
    match limit.maximum {
        Some(maximum) if maximum < needed => {
            Err(Error::new(format!("needs {needed} open files, but `ulimit -Hn` is {maximum}; try fewer connections")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_has_ended_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let script = ["-c", "sleep 600 & trap '' TERM; echo ready; wait; wait"];
        let mut process = Process::start("sh", Path::new("/bin/sh"), script, directory.path(), None).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while !process.log_tail().contains("ready") {
            assert!(std::time::Instant::now() < deadline, "the shell did not start");
            std::thread::yield_now();
        }
        process.still_runs().unwrap();
        let family = tree(process.id());
        assert_eq!(family.len(), 2, "{family:?}");
        assert!(memory(&family).resident > 0);
        drop(process);
        // The orphan dies when the kernel gets to it, and is reaped by whoever adopted it; what counts is that it ends.
        let runs = |id: &u32| {
            let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            text.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while family.iter().any(runs) {
            assert!(std::time::Instant::now() < deadline, "still runs: {family:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_stopped_process_that_is_to_be_killed_ends_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let (sleep, arguments) = (Path::new("/bin/sleep"), ["600"]);
        let process = Process::start_to_end("sleep", sleep, arguments, directory.path(), None, Ending::Killed).unwrap();
        process.signal(Signal::STOP).unwrap();
        let id = process.id();
        drop(process);
        assert_eq!(stat_field(id, 1), None);
    }

    #[test]
    fn own_cpu_time_grows() {
        let own = [std::process::id()];
        let before = cpu_time(&own);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while cpu_time(&own) <= before {
            assert!(std::time::Instant::now() < deadline, "no tick was counted");
        }
    }
}
