//! A router with its documents.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridrouter::lifecycle::{LIMIT_BYTES, Options, Router};
use serde_json::Value;
use tempfile::TempDir;

use super::{Client, Message, Upstream, eventually};

/// Documents on their way to becoming a site.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    listener: String,
    documents: String,
    threads: usize,
    state: Option<PathBuf>,
    drain: Duration,
    keys: Option<PathBuf>,
    nameserver: Option<SocketAddr>,
}

impl Builder {
    /// More lines of the listener `web`.
    pub(crate) fn listener(mut self, lines: &str) -> Self {
        writeln!(self.listener, "{lines}").unwrap();
        self
    }

    /// One more document.
    pub(crate) fn document(mut self, document: &str) -> Self {
        writeln!(self.documents, "---\n{}", document.trim_end()).unwrap();
        self
    }

    /// A service with endpoints for routes without a grid.
    pub(crate) fn service(self, name: &str, addresses: &[SocketAddr]) -> Self {
        let endpoints: Vec<_> = addresses.iter().map(|address| format!("{{address: \"{address}\"}}")).collect();
        self.document(&format!("kind: Service\nname: {name}\nendpoints: {{blue: [{}]}}", endpoints.join(", ")))
    }

    /// A route that everything takes, to the service `all`, with more lines.
    pub(crate) fn route(self, lines: &str) -> Self {
        self.document(&format!("kind: Route\nname: all\nservice: all\n{lines}"))
    }

    pub(crate) fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    pub(crate) fn state(mut self, directory: &Path) -> Self {
        self.state = Some(directory.to_owned());
        self
    }

    /// Keys of session tickets.
    pub(crate) fn ticket_keys(mut self, file: &Path) -> Self {
        self.keys = Some(file.to_owned());
        self
    }

    /// Who is asked for names.
    pub(crate) fn nameserver(mut self, address: SocketAddr) -> Self {
        self.nameserver = Some(address);
        self
    }

    /// How long answers under way may take when the router is stopped.
    pub(crate) fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    pub(crate) fn start(self) -> Site {
        let directory = tempfile::tempdir().unwrap();
        let listener = format!("kind: Listener\nname: web\naddress: 127.0.0.1:0\n{}", self.listener);
        std::fs::write(directory.path().join("listener.yaml"), listener).unwrap();
        std::fs::write(directory.path().join("documents.yaml"), self.documents).unwrap();
        let router = boot(directory.path(), self.state, self.threads.max(1), self.drain, (self.keys, self.nameserver));
        let site = Site { router: Some(router), directory: Some(directory) };
        assert_eq!(site.ready()["quarantined"], serde_json::json!([]), "the documents of a test have to be good");
        site
    }
}

fn boot(
    config: &Path,
    state: Option<PathBuf>,
    threads: usize,
    drain: Duration,
    told: (Option<PathBuf>, Option<SocketAddr>),
) -> Router {
    let (keys, nameserver) = told;
    let admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Router::start(&Options {
        config: config.to_owned(),
        etcd: None,
        id: None,
        state,
        threads,
        admin,
        drain,
        limit_bytes: LIMIT_BYTES,
        tls_ticket_keys: keys,
        nameservers: nameserver.into_iter().collect(),
    })
    .unwrap()
}

/// A running router.
#[derive(Debug)]
pub(crate) struct Site {
    router: Option<Router>,
    /// None if it is not the site's own.
    directory: Option<TempDir>,
}

impl Site {
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// Everything goes to one endpoint.
    pub(crate) fn of(upstream: &Upstream) -> Site {
        Self::to(upstream).route("").start()
    }

    /// The service `all` with one endpoint; the route is yet to come.
    pub(crate) fn to(upstream: &Upstream) -> Builder {
        Self::builder().service("all", &[upstream.address()])
    }

    /// Boots with a directory of documents that may not be there.
    pub(crate) fn boot_from(directory: &Path, state: &Path) -> Site {
        let router = boot(directory, Some(state.to_owned()), 1, Duration::ZERO, (None, None));
        Site { router: Some(router), directory: None }
    }

    pub(crate) fn router(&self) -> &Router {
        self.router.as_ref().unwrap()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.router().address("web").unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Message {
        self.client().get(path)
    }

    /// One GET with more header lines, on a connection of its own.
    #[track_caller]
    pub(crate) fn get_with(&self, path: &str, lines: &str) -> Message {
        self.client().get_with(path, lines)
    }

    /// Sends these bytes on a connection of its own and reads an answer.
    #[track_caller]
    pub(crate) fn exchange(&self, bytes: impl AsRef<[u8]>) -> Message {
        self.client().send(bytes).answer()
    }

    pub(crate) fn admin(&self, path: &str) -> Message {
        Client::connect(self.router().admin().unwrap()).get(path)
    }

    /// What an admin endpoint says, as JSON.
    pub(crate) fn json(&self, path: &str) -> Value {
        let answer = self.admin(path);
        assert_eq!(answer.status(), 200, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub(crate) fn ready(&self) -> Value {
        self.json("/ready")
    }

    fn generation(&self) -> u64 {
        self.ready()["generation"].as_u64().unwrap()
    }

    /// The value of a metric with exactly these labels, as written; 0 if it is not there.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.admin("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// The same, of a counter.
    pub(crate) fn count(&self, series: &str) -> u64 {
        self.metric(series).round() as u64
    }

    /// Writes a file of documents the way careful tools do.
    pub(crate) fn write(&self, file: &str, text: &str) {
        let temporary = self.directory().join(format!(".{file}.new"));
        std::fs::write(&temporary, text).unwrap();
        std::fs::rename(temporary, self.directory().join(file)).unwrap();
    }

    /// Changes the documents and waits until that is in force.
    #[track_caller]
    pub(crate) fn change(&self, how: impl FnOnce()) {
        let before = self.generation();
        how();
        eventually("a new generation", || self.generation() > before);
    }

    /// Replaces a text in the documents, and waits until that is in force.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let documents = std::fs::read_to_string(self.directory().join("documents.yaml")).unwrap();
        assert!(documents.contains(from), "{from:?} is not in {documents}");
        self.change(|| self.write("documents.yaml", &documents.replace(from, to)));
    }

    /// Stops the router; says how many connections were cut off.
    pub(crate) fn stop(mut self) -> usize {
        self.router.take().unwrap().stop()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(router) = self.router.take() {
            router.stop();
        }
    }
}
