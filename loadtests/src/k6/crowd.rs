//! k6 on `k6/shift.js`: many tenants that ask all the time, until they are stopped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::{ENDING, INTERRUPTED, Summary, summary_of};
use crate::error::{Error, Result};
use crate::process::Process;
use crate::tools::Tool;

/// How many ask, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Tenants, called `t-0`, `t-1` and so on.
    pub tenants: usize,
    /// Users that ask for them, each for its share.
    pub users: usize,
    /// Milliseconds between two requests of a user.
    pub pace: u64,
}

/// Running k6. It ends when dropped.
#[derive(Debug)]
pub struct Crowd {
    process: Process,
    summary: PathBuf,
}

impl Crowd {
    /// Starts to ask these routers in turns. What k6 writes goes into `directory`.
    pub fn start(targets: &[SocketAddr], size: Size, directory: &Path) -> Result<Self> {
        let program = Tool::K6.find()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("k6/shift.js");
        let summary = directory.join("k6-shift.json");
        let targets: Vec<String> = targets.iter().map(|target| format!("http://{target}")).collect();
        let environment = [
            format!("TARGETS={}", targets.join(",")),
            format!("TENANTS={}", size.tenants),
            format!("VUS={}", size.users),
            format!("PACE={}", size.pace),
        ];
        let flags = ["run", "--quiet", "--no-usage-report", "--no-color", "--address", ""].map(AsRef::as_ref);
        let environment = environment.iter().flat_map(|one| ["--env".as_ref(), one.as_ref()]);
        let ends = ["--summary-export".as_ref(), summary.as_os_str(), script.as_os_str()];
        let arguments = flags.into_iter().chain(environment).chain(ends);
        let process = Process::start("k6", &program, arguments, directory, None)?;
        Ok(Self { process, summary })
    }

    /// Fails when k6 has ended by itself.
    pub fn still_asks(&mut self) -> Result<()> {
        self.process.still_runs()
    }

    /// Interrupts k6, which drops the requests under way, and reads what it has counted.
    pub async fn stop(&mut self) -> Result<Summary> {
        self.process.still_runs()?;
        self.process.signal(Signal::INT)?;
        let status = self.process.ended(ENDING).await?;
        if status.code() != Some(INTERRUPTED) {
            return Err(Error::new(format!("k6 ended with {status}; it said:\n{}", self.process.log_tail())));
        }
        summary_of(&self.summary, &self.process)
    }
}
