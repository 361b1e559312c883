//! The router on documents of a drill's own: one listener, one service and its one endpoint, and routes without tenants.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::demo;
use crate::error::{Context, Error, Result};
use crate::ports;
use crate::process::Process;
use crate::proxies::gridrouter;
use crate::tools::Tool;
use crate::upstream::journal::Journal;
use crate::upstream::{Endpoint, Label};

/// The one service.
const SERVICE: &str = "behind";

/// A limit under a path of its own.
#[derive(Debug, Clone)]
pub struct Limited {
    /// The name of limit and route; the path is the name after a slash.
    pub name: &'static str,
    /// The limit's algorithm, as its document has it.
    pub algorithm: String,
}

impl Limited {
    /// The path prefix.
    pub fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// The limit's document. All requests have the same key.
    pub fn document(&self) -> String {
        format!("kind: Limit\nname: {}\nkey: [{{constant: all}}]\n{}\n", self.name, self.algorithm)
    }

    fn route(&self) -> String {
        let Self { name, .. } = self;
        format!(
            "kind: Route\nname: {name}\npaths: [{{prefix: /{name}}}]\nservice: {SERVICE}\nlimits: [{name}]\n\
             timeouts: {{responseHead: 60s, request: 120s}}\n"
        )
    }
}

/// The running router. It ends with its endpoint when this is dropped.
pub struct Stand {
    /// The router.
    pub router: Process,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the router's admin answers.
    pub admin: SocketAddr,
    /// For everything that is written.
    pub directory: tempfile::TempDir,
    /// Who came to the endpoint.
    pub journal: Arc<Journal>,
    _endpoint: Apart,
}

impl Stand {
    /// Starts the endpoint and the router, and returns when it is ready.
    pub async fn start(limits: &[Limited]) -> Result<Self> {
        let program = Tool::Gridrouter.find()?;
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let ports: [SocketAddr; 3] = ports::free(3)?.try_into().map_err(|_| Error::new("ran out of ports"))?;
        let [listen, admin, address] = ports;
        let journal = Arc::new(Journal::default());
        let label = Label { address, service: SERVICE.to_owned(), cell: "none".to_owned() };
        let endpoint = Apart::start(label, Arc::clone(&journal)).await?;
        let documents = directory.path().join("documents");
        std::fs::create_dir(&documents).context("cannot make the directory of documents")?;
        let site = format!(
            "kind: Listener\nname: web\naddress: {listen}\n---\nkind: Service\nname: {SERVICE}\n\
             balance: {{maxFails: 0}}\nendpoints: {{blue: [{{address: \"{address}\"}}]}}\n"
        );
        let routes = limits.iter().map(Limited::route).collect::<Vec<_>>().join("---\n");
        let files = [("site.yaml".to_owned(), site), ("routes.yaml".to_owned(), routes)];
        let of_limits = limits.iter().map(|limit| (format!("limit-{}.yaml", limit.name), limit.document()));
        for (name, text) in files.into_iter().chain(of_limits) {
            std::fs::write(documents.join(&name), text).context(format_args!("cannot write {name}"))?;
        }
        let home = directory.path().join("state").into_os_string();
        let admin_at = admin.to_string().into();
        let arguments = ["--admin".into(), admin_at, "--state".into(), home, "--config".into(), documents.into()];
        let mut process = Process::start("gridrouter", &program, arguments, directory.path(), None)?;
        demo::until_ready(&mut process, admin).await?;
        let stand = Self { router: process, listen, admin, directory, journal, _endpoint: endpoint };
        let (_, ready) = gridrouter::ready(stand.admin).await?;
        let ready: serde_json::Value = serde_json::from_str(&ready).context("/ready is not JSON")?;
        match ready.get("quarantined").and_then(|list| list.as_array()) {
            Some(none) if none.is_empty() => Ok(stand),
            other => Err(Error::new(format!("the router quarantines the drill's documents: {other:?}"))),
        }
    }

    /// The file with a limit's document.
    pub fn file(&self, limit: &str) -> PathBuf {
        self.directory.path().join("documents").join(format!("limit-{limit}.yaml"))
    }

    /// The router's metrics.
    pub async fn metrics(&self) -> Result<Metrics> {
        gridrouter::ask(self.admin, "/metrics").await.map(|(_, text)| Metrics(text))
    }
}

/// What the router counts, in the text format of Prometheus.
#[derive(Debug)]
pub struct Metrics(String);

impl Metrics {
    /// What the router says at `/metrics`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// What has no labels.
    pub fn plain(&self, name: &str) -> Result<f64> {
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
        self.0.lines().find_map(value).ok_or_else(|| Error::new(format!("the router does not tell {name}")))
    }

    /// What is counted under this name with all of these labels, in whatever order; zero when it is not there.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let value = |line: &str| {
            let (own, rest) = line.strip_prefix(name)?.strip_prefix('{')?.split_once('}')?;
            let has = |(label, is): &(&str, &str)| own.split(',').any(|pair| pair == format!("{label}=\"{is}\""));
            labels.iter().all(has).then(|| rest.split_ascii_whitespace().next()?.parse::<f64>().ok()).flatten()
        };
        self.0.lines().filter_map(value).sum()
    }
}

/// An endpoint on a thread of its own, so that whatever else this program does cannot delay what the journal says.
struct Apart {
    thread: Option<std::thread::JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Apart {
    async fn start(label: Label, journal: Arc<Journal>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let (tell, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move || {
            runtime.block_on(async {
                let (endpoint, said) =
                    Endpoint::recorded(&label, journal).map_or_else(|e| (None, Err(e)), |e| (Some(e), Ok(())));
                // Whoever does not listen any more has dropped the other side too, which is to stop.
                let _ = tell.send(said);
                let _ = stopped.await;
                drop(endpoint);
            });
        };
        let thread = std::thread::Builder::new().name("endpoint".to_owned()).spawn(work).context("no thread")?;
        let apart = Self { thread: Some(thread), stop: Some(stop) };
        told.await.context("the endpoint's thread")??;
        Ok(apart)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_by_labels_in_any_order() {
        let text = "# HELP a_total b\na_total{limit=\"x\",values=\"live\",verdict=\"allowed\"} 2\na_total{limit=\"x\",values=\"live\",verdict=\"refused\"} 3\na_total{limit=\"y\",values=\"live\",verdict=\"refused\"} 5\n";
        let metrics = Metrics(text.to_owned());
        let sum = |labels: &[(&str, &str)]| metrics.sum("a_total", labels) as u64;
        assert_eq!([sum(&[("verdict", "refused"), ("limit", "x")]), sum(&[("limit", "x")]), sum(&[])], [3, 5, 10]);
        assert_eq!(metrics.sum("a", &[]) as u64, 0);
    }
}
