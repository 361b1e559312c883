//! The quickstart under k6: `loadtests/k6/quickstart.js` asserts, this starts what it needs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use tokio::time::timeout;

use super::Common;
use super::demo::{self, Demo};
use crate::error::{Context, Error, Result};
use crate::output;
use crate::proxies::Kind;
use crate::tools::Tool;

/// What this drill takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// The quickstart's documents.
    #[arg(long, value_name = "DIR", default_value = demo::DOCUMENTS)]
    config: PathBuf,
    /// Drive a router that already runs at this address, started by somebody else, instead.
    #[arg(long, value_name = "ADDRESS")]
    target: Option<String>,
}

pub(super) async fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let k6 = Tool::K6.find()?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let mut started = None;
    let target = if let Some(target) = &arguments.target {
        target.clone()
    } else {
        if common.proxy != Kind::Gridrouter {
            return Err(Error::new("the quickstart is gridrouter's own; give --target to drive something else"));
        }
        let demo = Demo::start(&arguments.config).await?;
        started.insert(demo).listen.to_string()
    };
    let summary = directory.path().join("summary.json");
    let mut command = tokio::process::Command::new("setpriv");
    command
        .args(["--pdeathsig", "TERM"])
        .arg(&k6)
        .args(["run", "--quiet", "--no-usage-report", "--address", ""])
        .arg("--summary-export")
        .arg(&summary)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("k6/quickstart.js"))
        .env("TARGET", format!("http://{target}"))
        .env("SHORT", if common.short { "1" } else { "" })
        .stdin(Stdio::null())
        .kill_on_drop(true);
    output::progress(format_args!("k6 drives http://{target}"));
    let mut child = command.spawn().context(format_args!("cannot start {}", k6.display()))?;
    let status = timeout(Duration::from_mins(3), child.wait()).await.context("k6 does not end")?.context("k6")?;
    if let Some(demo) = &mut started {
        demo.router.still_runs()?;
    }
    if let Some(file) = &common.json {
        std::fs::copy(&summary, file).context(format_args!("cannot write {}", file.display()))?;
    }
    if status.success() { Ok(()) } else { Err(Error::new(format!("k6 found something wrong and ended with {status}"))) }
}
