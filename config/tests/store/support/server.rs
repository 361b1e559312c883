//! Real etcd servers.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use etcd_client::{Client, GetOptions, KeyValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{PATIENCE, free_port, local};

/// How many times to look for other ports when somebody else was faster to take them.
const ATTEMPTS: usize = 5;

/// One member of a cluster. Dropping it ends the process.
pub(crate) struct Server {
    home: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
    client: u16,
    scheme: &'static str,
}

impl Server {
    /// A cluster of one.
    pub(crate) fn start() -> Self {
        Self::with("http", |_| Vec::new())
    }

    /// A cluster of one with more arguments, which are given the directory for files.
    pub(crate) fn with(scheme: &'static str, more: impl Fn(&Path) -> Vec<String>) -> Self {
        for _ in 0..ATTEMPTS {
            let home = tempfile::tempdir().unwrap();
            let (client, peer) = (free_port(), free_port());
            let extra = more(home.path());
            let mut server = Self::new(home, scheme, client, peer, "one", &format!("one=http://{}", local(peer)));
            server.arguments.extend(extra);
            if server.run() {
                return server;
            }
        }
        panic!("etcd did not start on any of {ATTEMPTS} pairs of ports");
    }

    /// A cluster of three.
    pub(crate) fn cluster() -> Vec<Self> {
        let peers: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let all: Vec<String> = peers.iter().enumerate().map(|(n, p)| format!("m{n}=http://{}", local(*p))).collect();
        let all = all.join(",");
        let member = |(n, peer): (usize, &u16)| {
            Self::new(tempfile::tempdir().unwrap(), "http", free_port(), *peer, &format!("m{n}"), &all)
        };
        let mut members: Vec<Self> = peers.iter().enumerate().map(member).collect();
        for member in &mut members {
            member.spawn();
        }
        for member in &mut members {
            assert!(member.answers(), "a member did not start:\n{}", member.log());
        }
        members
    }

    fn new(home: TempDir, scheme: &'static str, client: u16, peer: u16, name: &str, cluster: &str) -> Self {
        let data = home.path().join("data").display().to_string();
        let (own, peer) = (format!("{scheme}://{}", local(client)), format!("http://{}", local(peer)));
        let arguments = [
            ["--name", name],
            ["--data-dir", &data],
            ["--listen-client-urls", &own],
            ["--advertise-client-urls", &own],
            ["--listen-peer-urls", &peer],
            ["--initial-advertise-peer-urls", &peer],
            ["--initial-cluster", cluster],
            // Nobody votes only because a test machine is busy.
            ["--heartbeat-interval", "200"],
            ["--election-timeout", "2000"],
        ];
        let arguments = arguments.into_iter().flatten().map(str::to_owned).collect();
        Self { home, arguments, child: None, client, scheme }
    }

    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.home.path().join("log")).unwrap();
        // The kernel ends the server with the test's thread, also where no destructor runs.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "etcd"]).args(&self.arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().expect("setpriv is missing: run scripts/setup test (Debian: util-linux)"));
    }

    /// Starts the server again on what it has on disk; returns whether it came up.
    pub(crate) fn run(&mut self) -> bool {
        self.spawn();
        self.answers()
    }

    fn answers(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                let log = self.log();
                assert!(
                    !log.contains("failed to execute etcd"),
                    "etcd is not in the path: run scripts/setup test (Debian: etcd-server)"
                );
                assert!(log.contains("address already in use"), "etcd ended at once:\n{log}");
                self.child = None;
                return false;
            }
            // A connection is no answer, but a member opens its port for clients only once it serves.
            if TcpStream::connect(local(self.client)).is_ok() {
                return true;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        panic!("etcd did not answer in time:\n{}", self.log());
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub(crate) fn port(&self) -> u16 {
        self.client
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, local(self.client))
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        vec![self.url()]
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
    }

    /// Stops the process where it is.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends the server in good order, so that what is on disk is whole.
    pub(crate) fn shut_down(&mut self) {
        self.signal(Signal::TERM);
        self.child.take().unwrap().wait().unwrap();
    }

    /// A client that knows nothing of documents.
    pub(crate) fn raw(&self) -> Raw {
        Raw::new(&self.url())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// etcd as it is.
pub(crate) struct Raw {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Raw {
    fn new(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(Client::connect([url], None)).unwrap();
        Self { runtime, client }
    }

    pub(crate) fn client<T>(&mut self, work: impl AsyncFnOnce(&mut Client) -> Result<T, etcd_client::Error>) -> T {
        self.runtime.block_on(work(&mut self.client)).unwrap()
    }

    pub(crate) fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> i64 {
        let (key, value) = (key.into(), value.into());
        self.client(async |client| client.put(key, value, None).await).header().unwrap().revision()
    }

    /// Everything below a prefix, as it was at a revision (0: is now).
    pub(crate) fn below(&mut self, prefix: &str, revision: i64) -> Vec<KeyValue> {
        let options = GetOptions::new().with_prefix().with_revision(revision);
        // Listings in tests are larger than gRPC's own limit.
        self.client(async |client| {
            let mut kv = client.kv_client().max_decoding_message_size(usize::MAX);
            kv.get(prefix, Some(options)).await
        })
        .take_kvs()
    }

    pub(crate) fn delete_below(&mut self, prefix: &str) -> i64 {
        let options = etcd_client::DeleteOptions::new().with_prefix();
        self.client(async |client| client.delete(prefix, Some(options)).await).header().unwrap().revision()
    }

    pub(crate) fn compact(&mut self, revision: i64) {
        let options = etcd_client::CompactionOptions::new().with_physical();
        self.client(async |client| client.compact(revision, Some(options)).await);
    }

    pub(crate) fn revision(&mut self) -> i64 {
        self.client(async |client| client.get("x", None).await).header().unwrap().revision()
    }
}
