//! The router with its default settings, good clients, and what is known of its process.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::apart::Apart;
use super::good::{self, Good, Target};
use super::prey;
use crate::drill::demo;
use crate::drill::stand::Metrics;
use crate::error::{Context, Error, Result};
use crate::ports;
use crate::process::{self, Process};
use crate::proxies::gridrouter;
use crate::tls::{self, Client, Sessions};
use crate::tools::{Cores, Tool};
use crate::upstream::Label;

/// How often the process is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Where the parts run: the router has a core for itself, where there is more than one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) router: Option<usize>,
    pub(super) load: Option<usize>,
}

impl Places {
    pub(super) fn share_out() -> Result<Self> {
        let cores = Cores::share_out()?;
        let apart = cores.available > 1;
        Ok(Self { router: apart.then_some(cores.proxy), load: apart.then_some(cores.load) })
    }
}

/// A router that is to be attacked. It ends, with everything around it, when this is dropped.
pub(super) struct Siege {
    pub(super) router: Process,
    pub(super) target: Target,
    pub(super) good: Good,
    admin: SocketAddr,
    _prey: Apart<()>,
    _directory: TempDir,
}

impl Siege {
    /// Starts endpoints, router and good clients.
    pub(super) async fn begin(places: Places) -> Result<Self> {
        let program = Tool::Gridrouter.find()?;
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let at: [SocketAddr; 5] = ports::free(5)?.try_into().map_err(|_| Error::new("ran out of ports"))?;
        let [clear, secure, admin, good, bad] = at;
        tls::write(directory.path(), good::HOST)?;
        let documents = directory.path().join("documents");
        fs::create_dir(&documents).context("cannot make the directory of documents")?;
        let [chain, key] = [tls::CHAIN, tls::KEY].map(|name| directory.path().join(name).display().to_string());
        // Nothing here changes what a listener does by default. That the endpoint of the attacked service is never taken out
        // of use makes the attacks worse.
        let text = format!(
            "kind: Listener\nname: clear\naddress: {clear}\n---\n\
             kind: Listener\nname: secure\naddress: {secure}\ntls: {{default: drill}}\n---\n\
             kind: Certificate\nname: drill\nfiles: {{chain: '{chain}', key: '{key}'}}\n---\n\
             kind: Service\nname: good\nendpoints: {{blue: [{{address: \"{good}\"}}]}}\n---\n\
             kind: Service\nname: prey\nbalance: {{maxFails: 0}}\nendpoints: {{blue: [{{address: \"{bad}\"}}]}}\n---\n\
             kind: Route\nname: good\npaths: [{{prefix: /good}}]\nservice: good\n---\n\
             kind: Route\nname: prey\npaths: [{{prefix: /prey}}]\nservice: prey\n"
        );
        fs::write(documents.join("site.yaml"), text).context("cannot write the documents")?;
        let prey = prey::start(bad, places.load)?;
        let state = directory.path().join("state").into_os_string();
        let arguments = ["--threads", "1", "--admin", &admin.to_string(), "--state"].map(Into::into).into_iter();
        let arguments = arguments.chain([state, "--config".into(), documents.into()]);
        let mut router = Process::start("gridrouter", &program, arguments, directory.path(), places.router)?;
        demo::until_ready(&mut router, admin).await?;
        let (_, ready) = gridrouter::ready(admin).await?;
        let said: serde_json::Value = serde_json::from_str(&ready).context("/ready is not JSON")?;
        if said.get("quarantined").and_then(|list| list.as_array()).is_none_or(|list| !list.is_empty()) {
            return Err(Error::new(format!("the router quarantines the drill's documents: {ready}")));
        }
        let tls = Client::new(directory.path(), good::HOST, Sessions::Full)?;
        let target = Target { clear, secure, tls };
        let label = Label { address: good, service: "good".to_owned(), cell: "none".to_owned() };
        let good = Good::start(label, places.load, target.clone(), Instant::now() + LOOK)?;
        Ok(Self { router, target, good, admin, _prey: prey, _directory: directory })
    }

    /// How many connections the router has with clients.
    pub(super) async fn connections(&self) -> Result<u64> {
        let metrics = gridrouter::ask(self.admin, "/metrics").await.map(|(_, text)| Metrics::new(text))?;
        metrics.plain("gridrouter_connections").map(|count| count as u64)
    }

    /// Waits until the router has no more connections than this, and returns how long that took.
    pub(super) async fn until_gone(&self, most: u64, limit: Duration) -> Result<Option<Duration>> {
        let begin = Instant::now();
        loop {
            if self.connections().await? <= most {
                return Ok(Some(begin.elapsed()));
            }
            if begin.elapsed() > limit {
                return Ok(None);
            }
            sleep(LOOK).await;
        }
    }

    /// CPU time that the router has used.
    pub(super) fn cpu(&self) -> Duration {
        process::cpu_time(&[self.router.id()])
    }

    /// Resident memory of the router, in bytes.
    pub(super) fn resident(&self) -> u64 {
        process::memory(&[self.router.id()]).resident
    }

    /// Watches for so long, and returns the most memory that was resident meanwhile, in bytes.
    pub(super) async fn peak_within(&mut self, length: Duration) -> Result<u64> {
        // Where the kernel does not take this, the peak is that of all the time before: too much, never too little.
        let _unable = fs::write(format!("/proc/{}/clear_refs", self.router.id()), "5");
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.router.still_runs()?;
            sleep(LOOK).await;
        }
        Ok(process::peak(self.router.id()))
    }
}
