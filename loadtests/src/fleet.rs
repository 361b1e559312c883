//! Routers that take their configuration from etcd, each a process with a state directory and an admin of its own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::error::{Context, Error, Result};
use crate::ports;
use crate::process::Process;
use crate::proxies::gridrouter;
use crate::tools::Tool;

/// How long a router may take to start: a large configuration on a busy machine takes a while.
pub const STARTING: Duration = Duration::from_mins(3);
/// How long a router may take to stop.
const STOPPING: Duration = Duration::from_secs(40);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a router says of its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ready {
    /// The generation in force.
    pub generation: u64,
    /// Its digest.
    pub digest: String,
    /// Where it came from.
    pub origin: String,
    /// The store, and the member that is watched.
    pub store: String,
    /// Why the store cannot be read, if it cannot.
    pub trouble: Option<String>,
    /// Documents that were refused.
    pub quarantined: usize,
}

/// One router.
#[derive(Debug)]
pub struct Router {
    /// Its name.
    pub name: String,
    /// Where its admin answers.
    pub admin: SocketAddr,
    /// Where its clients connect; another port after every start.
    pub listen: SocketAddr,
    home: PathBuf,
    arguments: Vec<OsString>,
    process: Option<Process>,
    runs: usize,
}

impl Router {
    /// Starts it and waits until it serves.
    pub async fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.until_serving().await
    }

    /// Starts it and does not wait.
    pub fn launch(&mut self) -> Result<()> {
        self.runs += 1;
        let name = format!("{}-{}", self.name, self.runs);
        let program = Tool::Gridrouter.find()?;
        self.process = Some(Process::start(&name, &program, &self.arguments, &self.home, None)?);
        Ok(())
    }

    /// Waits until it serves.
    pub async fn until_serving(&mut self) -> Result<()> {
        let deadline = Instant::now() + STARTING;
        loop {
            self.still_runs()?;
            let trouble = match gridrouter::ready(self.admin).await {
                Ok((200, _)) => match self.listener().await {
                    Ok(address) => {
                        self.listen = address;
                        return Ok(());
                    }
                    Err(error) => error,
                },
                Ok((status, body)) => Error::new(format!("/ready answers {status}: {body}")),
                Err(error) => error,
            };
            if Instant::now() > deadline {
                return Err(Error::new(format!("{} does not serve: {trouble}\n{}", self.name, self.log_tail())));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Fails when the router has ended by itself.
    pub fn still_runs(&mut self) -> Result<()> {
        match &mut self.process {
            Some(process) => process.still_runs(),
            None => Err(Error::new(format!("{} was not started", self.name))),
        }
    }

    /// Stops it in good order.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal(Signal::TERM)?;
        process.ended(STOPPING).await.map(drop)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::id)
    }

    /// What it says of its configuration.
    pub async fn ready(&self) -> Result<Ready> {
        ready(self.admin).await
    }

    /// What it said last, for people.
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map(Process::log_tail).unwrap_or_default()
    }

    async fn listener(&self) -> Result<SocketAddr> {
        let (_, body) = gridrouter::ask(self.admin, "/snapshot").await?;
        let json: Value = serde_json::from_str(&body).context("/snapshot")?;
        let address = json.get("listeners").and_then(|listeners| listeners.get("web")?.as_str()?.parse().ok());
        address.ok_or_else(|| Error::new(format!("{} does not listen", self.name)))
    }
}

/// What the router with this admin says of its configuration.
pub async fn ready(admin: SocketAddr) -> Result<Ready> {
    let (_, body) = gridrouter::ready(admin).await?;
    read_ready(&body)
}

/// Reads the body of `/ready`.
pub fn read_ready(body: &str) -> Result<Ready> {
    let json: Value = serde_json::from_str(body).context("/ready")?;
    let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(Ready {
        generation: json.get("generation").and_then(Value::as_u64).unwrap_or(0),
        digest: text("digest").unwrap_or_default(),
        origin: text("origin").unwrap_or_default(),
        store: text("store").unwrap_or_default(),
        trouble: text("storeError"),
        quarantined: json.get("quarantined").and_then(Value::as_array).map_or(0, Vec::len),
    })
}

/// Some routers that follow the same store.
#[derive(Debug)]
pub struct Fleet {
    /// The routers.
    pub routers: Vec<Router>,
    /// Goes when everything in it has ended.
    home: TempDir,
    endpoints: String,
}

impl Fleet {
    /// Routers that are not started yet, one thread each.
    pub fn new(count: usize, endpoints: &[String]) -> Result<Self> {
        let home = tempfile::tempdir().context("cannot make a temporary directory")?;
        let mut fleet = Self { routers: Vec::new(), home, endpoints: endpoints.join(",") };
        for _ in 0..count {
            fleet.add()?;
        }
        Ok(fleet)
    }

    /// One more router, that knows nothing yet and is not started.
    pub fn add(&mut self) -> Result<&mut Router> {
        let admin = ports::free(1)?.pop().ok_or_else(|| Error::new("no port"))?;
        let name = format!("router-{}", self.routers.len());
        let state = self.home.path().join(&name);
        let arguments: [OsString; 8] = [
            "--threads".into(),
            "1".into(),
            "--admin".into(),
            admin.to_string().into(),
            "--state".into(),
            state.into(),
            "--etcd".into(),
            (&self.endpoints).into(),
        ];
        let home = self.home.path().to_owned();
        let arguments = arguments.to_vec();
        self.routers.push(Router { name, admin, listen: admin, home, arguments, process: None, runs: 0 });
        self.routers.last_mut().ok_or_else(|| Error::new("no router"))
    }

    /// Starts all and waits until all serve.
    pub async fn start(&mut self) -> Result<()> {
        for router in &mut self.routers {
            router.launch()?;
        }
        for router in &mut self.routers {
            router.until_serving().await?;
        }
        Ok(())
    }

    /// What every router says of its configuration.
    pub async fn ready(&self) -> Result<Vec<Ready>> {
        let mut all = Vec::with_capacity(self.routers.len());
        for router in &self.routers {
            all.push(router.ready().await?);
        }
        Ok(all)
    }

    /// Fails when one has ended by itself.
    pub fn still_run(&mut self) -> Result<()> {
        self.routers.iter_mut().try_for_each(Router::still_runs)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // All at once, so that they end in the time of one.
        for process in self.routers.iter().filter_map(|router| router.process.as_ref()) {
            let _ = process.signal(Signal::TERM);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_router_says_is_read() {
        let ready = read_ready(
            "{\"generation\": 7, \"digest\": \"00ff\", \"origin\": \"store\", \"storeError\": null, \"quarantined\": [{}]}",
        );
        let ready = ready.unwrap();
        assert_eq!((ready.generation, ready.digest.as_str(), ready.quarantined), (7, "00ff", 1));
        assert_eq!(ready.trouble, None);
        assert!(read_ready("no").is_err());
    }
}
