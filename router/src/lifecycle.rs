//! Starting and stopping the router.

mod sockets;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gridrouter_config::address::Address;
use gridrouter_config::live::LiveId;
use gridrouter_config::store::Store;
use gridrouter_config::store::directory::DirectoryStore;
use gridrouter_config::store::etcd::{EtcdOptions, EtcdStore, Random};

use self::sockets::Sockets;
use crate::admin;
use crate::listener::worker::{self, Shared};
use crate::presence::Presence;
use crate::resolver::{Board, Resolver};
use crate::snapshot::Snapshot;
use crate::snapshot::names::Names;
use crate::source::{Serving, SharedStatus, Source};
use crate::tls::keeper::Keeper;

/// Bytes that the counts of all limits take at the most, unless something else is said.
pub const LIMIT_BYTES: usize = 128 << 20;

/// How a router is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of documents; unused with `etcd`.
    pub config: PathBuf,
    /// The etcd that has the documents instead.
    pub etcd: Option<EtcdOptions>,
    /// What the router is called in etcd; without, the host's name and a number that its state directory remembers.
    pub id: Option<LiveId>,
    /// Where the last good generation is kept; nowhere without.
    pub state: Option<PathBuf>,
    /// Name servers that names of endpoints are asked of, instead of the system's if there are any.
    pub nameservers: Vec<SocketAddr>,
    /// Data-plane threads, at least one.
    pub threads: usize,
    /// Where the admin endpoints listen; nowhere without.
    pub admin: Option<SocketAddr>,
    /// How long answers under way may take when it is stopped.
    pub drain: Duration,
    /// Bytes that the counts of all limits take at the most.
    pub limit_bytes: usize,
    /// The file with the keys of TLS session tickets; without, the process makes its own.
    pub tls_ticket_keys: Option<PathBuf>,
}

/// A running router.
#[derive(Debug)]
pub struct Router {
    /// What its threads share.
    pub shared: Arc<Shared>,
    /// What is known about its configuration.
    pub status: SharedStatus,
    sockets: Arc<Mutex<Sockets>>,
    presence: Arc<OnceLock<Presence>>,
    admin: Option<SocketAddr>,
    stop: Arc<AtomicBool>,
    control: Option<JoinHandle<()>>,
    drain: Duration,
}

/// What whoever shows the router's state needs.
#[derive(Debug, Clone)]
pub struct View {
    /// What the threads share.
    pub shared: Arc<Shared>,
    /// What is known about the configuration.
    pub status: SharedStatus,
    /// Names of what is counted, by stable number.
    pub labels: Arc<Mutex<Labels>>,
    /// The sockets.
    pub(crate) sockets: Arc<Mutex<Sockets>>,
    /// The router's presence in etcd, if it is there.
    pub(crate) presence: Arc<OnceLock<Presence>>,
    /// What is known of names of endpoints.
    pub(crate) board: Arc<Board>,
}

/// Names by stable number.
#[derive(Debug, Default)]
pub struct Labels {
    /// Routes.
    pub routes: Vec<Arc<str>>,
    /// Endpoint groups.
    pub groups: Vec<Arc<str>>,
    /// Limits.
    pub limits: Vec<Arc<str>>,
    /// Listeners.
    pub listeners: Vec<Arc<str>>,
}

impl Labels {
    fn update(&mut self, names: &Names) {
        names.routes.labels(&mut self.routes);
        names.groups.labels(&mut self.groups);
        names.limits.labels(&mut self.limits);
        names.listeners.labels(&mut self.listeners);
    }
}

impl Router {
    /// Starts a router: when this returns, it listens.
    pub fn start(options: &Options) -> Result<Router, String> {
        let store: Box<dyn Store> = match &options.etcd {
            None => Box::new(DirectoryStore::new(&options.config)),
            Some(etcd) => Box::new(EtcdStore::start(etcd.clone(), Random::new()).map_err(|error| error.explain())?),
        };
        let resolver = Resolver::new(&options.nameservers, options.state.as_deref());
        let board = resolver.board();
        let (source, snapshot) = Source::boot(store, options.state.as_deref(), resolver)?;
        let status = source.status();
        let shared = Shared::new(snapshot, options.threads, options.limit_bytes);
        let mut sockets = Sockets::default();
        let first = shared.snapshot.load_full();
        let mut certificates = Keeper::new(options.tls_ticket_keys.as_deref());
        certificates.follow(&first, &shared.tls);
        sockets.follow(&shared, &first);
        if let Some(error) = sockets.refused().first() {
            return Err(error.clone());
        }
        let sockets = Arc::new(Mutex::new(sockets));
        let labels = Arc::new(Mutex::new(Labels::default()));
        labels.lock().unwrap_or_else(PoisonError::into_inner).update(source.names());
        for index in 0..shared.threads.len() {
            let shared = Arc::clone(&shared);
            spawn(&format!("data-{index}"), move || {
                if let Err(error) = worker::run(shared, index) {
                    tracing::error!(index, %error, "a data-plane thread ended");
                }
            })?;
        }
        let view = View {
            shared: Arc::clone(&shared),
            status: Arc::clone(&status),
            labels: Arc::clone(&labels),
            sockets: Arc::clone(&sockets),
            presence: Arc::default(),
            board,
        };
        let presence = Arc::clone(&view.presence);
        let admin = match options.admin {
            Some(address) => Some(admin::start(address, view)?),
            None => None,
        };
        if let Some(etcd) = &options.etcd {
            let started = Presence::start(etcd, options, admin, Arc::clone(&status), Arc::clone(&shared))?;
            let _only_once: Result<(), _> = presence.set(started);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let teller = tell_of_fences(&presence, &stop)?;
        shared.fenced.told_by(teller.thread().clone());
        // What was read when it was started may have fences already.
        shared.threads.iter().for_each(|thread| thread.tell(worker::Message::Fenced));
        let control = Control {
            shared: Arc::clone(&shared),
            sockets: Arc::clone(&sockets),
            labels,
            certificates,
            presence: Arc::clone(&presence),
            stop: Arc::clone(&stop),
        };
        let until = Arc::clone(&stop);
        let control = spawn("control", move || source.follow(&until, control))?;
        Ok(Router { shared, status, sockets, presence, admin, stop, control: Some(control), drain: options.drain })
    }

    /// The address and port of a listener, with the port the kernel chose where the document says 0.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).address(listener)?.socket()
    }

    /// Every listener with its address.
    pub fn addresses(&self) -> Vec<(String, Address)> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).addresses()
    }

    /// The address of the admin endpoints.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Stops: accepts no more connections, lets answers under way end within the drain time, and returns how many
    /// connections were cut off.
    pub fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.shared.drain.store(u64::try_from(self.drain.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.shared.draining.store(true, Ordering::Relaxed);
        if let Some(presence) = self.presence.get() {
            presence.tell();
        }
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).close(&self.shared);
        for thread in &self.shared.threads {
            thread.tell(worker::Message::Drain);
        }
        let deadline = Instant::now() + self.drain;
        let live = || self.shared.threads.iter().map(|t| t.live.load(Ordering::Relaxed)).sum::<usize>();
        while live() > 0 && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        if let Some(control) = self.control.take() {
            control.thread().unpark();
            // It ends within the store's waiting time; its panic would have been reported by itself.
            let _ended: Result<(), _> = control.join();
        }
        if let Some(presence) = self.presence.get() {
            presence.stop();
        }
        live()
    }
}

/// What the thread that follows the store works on.
struct Control {
    shared: Arc<Shared>,
    sockets: Arc<Mutex<Sockets>>,
    labels: Arc<Mutex<Labels>>,
    certificates: Keeper,
    presence: Arc<OnceLock<Presence>>,
    stop: Arc<AtomicBool>,
}

impl Control {
    /// Opens the sockets of new listeners, and closes those of listeners that are gone.
    fn open_sockets(&self) {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever stops the router sets the flag before it closes the sockets.
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        if sockets.follow(&self.shared, &self.shared.snapshot.load()) {
            for error in sockets.refused() {
                tracing::error!("{error}; it is tried again");
            }
        }
    }
}

impl Serving for Control {
    fn current(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    fn publish(&mut self, snapshot: Arc<Snapshot>, names: &Names) {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner).update(names);
        // Before a socket hands connections to a listener, what their handshakes need is there.
        self.certificates.follow(&snapshot, &self.shared.tls);
        let (old, new) = (self.shared.snapshot.swap(Arc::clone(&snapshot)), &snapshot.model);
        // Only then: who is told looks at the snapshot in force.
        if !Arc::ptr_eq(&old.model.shifts, &new.shifts) || !Arc::ptr_eq(&old.model.services, &new.services) {
            self.shared.threads.iter().for_each(|thread| thread.tell(worker::Message::Shifted));
        }
        if !Arc::ptr_eq(&old.model.moves, &new.moves) {
            self.shared.fenced.keep(snapshot.fences.as_deref());
            self.shared.threads.iter().for_each(|thread| thread.tell(worker::Message::Fenced));
        }
        self.open_sockets();
    }

    fn tell(&self) {
        if let Some(presence) = self.presence.get() {
            presence.tell();
        }
    }

    fn now_and_then(&mut self) {
        self.certificates.follow(&self.shared.snapshot.load(), &self.shared.tls);
        self.open_sockets();
        self.tell();
    }
}

/// Tells of fences on a thread of its own, as soon as the threads have them up: somebody waits for that, and the thread that
/// follows the store may be waiting for something else.
fn tell_of_fences(presence: &Arc<OnceLock<Presence>>, stop: &Arc<AtomicBool>) -> Result<JoinHandle<()>, String> {
    let (presence, stop) = (Arc::clone(presence), Arc::clone(stop));
    spawn("fences", move || {
        while !stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_secs(1));
            if let Some(presence) = presence.get() {
                presence.tell();
            }
        }
    })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| format!("cannot start a thread: {error}"))
}

/// How many data-plane threads there are by default: one a core that this process may use.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
