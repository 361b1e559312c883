//! Real etcd servers.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use etcd_client::Client;
use tempfile::TempDir;

use super::PATIENCE;

/// How many times to look for other ports when somebody else was faster to take them.
const ATTEMPTS: usize = 5;

/// A loopback port that nobody listens on, below those that the kernel gives to outgoing connections. The next call, here
/// or in another test process, begins elsewhere.
pub(crate) fn free_port() -> u16 {
    static STEP: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(131);
    loop {
        let step = u32::from(STEP.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from((start + step) % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A cluster of one. Dropping it ends the process.
pub(crate) struct Server {
    home: TempDir,
    child: Child,
    port: u16,
}

impl Server {
    pub(crate) fn start() -> Self {
        for _ in 0..ATTEMPTS {
            if let Some(server) = Self::attempt() {
                return server;
            }
        }
        panic!("etcd did not start on any of {ATTEMPTS} pairs of ports");
    }

    /// Nothing when somebody else was faster to take the port.
    fn attempt() -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let (port, peer) = (free_port(), free_port());
        let [client, peer] = [port, peer].map(|port| format!("http://127.0.0.1:{port}"));
        let log = File::create(home.path().join("log")).unwrap();
        // The kernel ends the server with the test's thread, also where no destructor runs.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "etcd", "--name", "one", "--data-dir"]).arg(home.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("one={peer}")]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("setpriv is missing: run scripts/setup test (Debian: util-linux)");
        let mut server = Self { home, child, port };
        server.answers().then_some(server)
    }

    fn answers(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                let log = self.log();
                assert!(
                    !log.contains("failed to execute etcd"),
                    "etcd is not in the path: run scripts/setup test (Debian: etcd-server)"
                );
                assert!(log.contains("address already in use"), "etcd ended at once:\n{log}");
                return false;
            }
            // A connection is no answer, but a member opens its port for clients only once it serves.
            if TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).is_ok() {
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        panic!("etcd did not answer in time:\n{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// As gridctl takes it.
    pub(crate) fn store(&self) -> String {
        format!("etcd://127.0.0.1:{}", self.port)
    }

    /// A client that knows nothing of documents.
    pub(crate) fn raw(&self) -> Raw {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(Client::connect([format!("http://127.0.0.1:{}", self.port)], None)).unwrap();
        Raw { runtime, client }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// etcd as it is.
pub(crate) struct Raw {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Raw {
    pub(crate) fn client<T>(&mut self, work: impl AsyncFnOnce(&mut Client) -> Result<T, etcd_client::Error>) -> T {
        self.runtime.block_on(work(&mut self.client)).unwrap()
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) {
        self.client(async |client| client.put(key, value, None).await);
    }

    pub(crate) fn delete_below(&mut self, prefix: &str) {
        let options = etcd_client::DeleteOptions::new().with_prefix();
        self.client(async |client| client.delete(prefix, Some(options)).await);
    }

    pub(crate) fn revision(&mut self) -> i64 {
        self.client(async |client| client.get("x", None).await).header().unwrap().revision()
    }
}
