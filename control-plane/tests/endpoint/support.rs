//! A real etcd, and gridctl as a process of its own.

// The tests of the stores start the same servers, and more of what those can do.
#[allow(dead_code, reason = "shared with the tests of the stores")]
#[path = "../../../config/tests/store/support/server.rs"]
mod server;

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
pub(crate) use server::{Raw, Server};

/// Long enough for a busy machine; a test that works never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A loopback port that nobody listens on, below those that the kernel gives to outgoing connections.
fn free_port() -> u16 {
    static STEP: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(139);
    loop {
        let step = u32::from(STEP.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from((start + step) % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Waits until `ready` says so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn gridctl(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridctl"));
    command.arg("endpoint").args(arguments).env("GRIDCTL_STORE", server.url().replace("http:", "etcd:"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `gridctl endpoint` to its end.
pub(crate) fn run(server: &Server, arguments: &[&str]) -> Output {
    gridctl(server, arguments).output().unwrap()
}

/// A `gridctl endpoint register` that runs.
pub(crate) struct Running {
    child: Child,
    out: Receiver<String>,
}

impl Running {
    pub(crate) fn start(server: &Server, arguments: &[&str]) -> Self {
        let mut child = gridctl(server, &[&["register"], arguments].concat()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (told, out) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| told.send(line)));
        Self { child, out }
    }

    /// The next line that it prints.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.out.recv_timeout(PATIENCE).expect("it printed nothing more")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits for its end: the exit code, and what else it printed.
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<String>, String) {
        let mut err = String::new();
        let out: Vec<String> = self.out.iter().collect();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().code(), out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
