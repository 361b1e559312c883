//! Keys that are there for as long as somebody keeps them alive: a router's presence, an endpoint's registration.
//!
//! Each has a thread of its own (`keeper.rs`), so that keeping a lease alive waits for nothing else: neither for a
//! router that reads a large generation nor for a disk.

mod keeper;
mod read;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use self::keeper::Keeper;
use super::backoff::Random;
use super::options::EtcdOptions;
use super::runtime;
use crate::check;
use crate::keys::Keys;
use crate::live::{LiveId, RouterStatus};
use crate::raw;
use crate::registrations::Place;
use crate::store::StoreError;

pub use self::read::{Listed, endpoints};

/// What is kept alive.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A router. The id in its status is the one that it got.
    Router(RouterStatus),
    /// An endpoint.
    Endpoint(Place, raw::Endpoint),
}

impl Entry {
    /// An endpoint, checked as routers will check it. The error says what is wrong with it.
    pub fn endpoint(place: Place, endpoint: raw::Endpoint) -> Result<Self, String> {
        check::registered(&endpoint)?;
        Ok(Entry::Endpoint(place, endpoint))
    }

    fn key(&self, keys: &Keys, id: &LiveId) -> String {
        match self {
            Entry::Router(_) => keys.router(id),
            Entry::Endpoint(place, _) => keys.endpoint(place, id),
        }
    }

    /// What stays when the lease ends, until a farewell: a router may serve for longer than it is heard of.
    fn note(&self, keys: &Keys, id: &LiveId) -> Option<String> {
        match self {
            Entry::Router(_) => Some(keys.note(id.as_str())),
            Entry::Endpoint(..) => None,
        }
    }

    fn value(&self, id: &LiveId) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Entry::Router(status) => serde_json::to_vec(&RouterStatus { id: id.to_string(), ..status.clone() }),
            Entry::Endpoint(_, endpoint) => serde_json::to_vec(endpoint),
        }
    }
}

/// Under which terms.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The id that is wanted. If somebody else is alive under it, another one that begins with it is taken.
    pub id: LiveId,
    /// How long the key outlives this process when it cannot take it back, in whole seconds. etcd's servers may grant more.
    pub lease: Duration,
    /// A file that remembers the lease, so that the id is known to be the process's own after a restart.
    pub memory: Option<PathBuf>,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The id.
    pub id: LiveId,
    /// Whether the key is there, as far as is known.
    pub registered: bool,
    /// Why it is not, or may not be.
    pub trouble: Option<String>,
    /// How often it has been put under a new lease.
    pub leases: u64,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// etcd said that the lease is gone, and the key with it.
    TakenBack,
    /// There was nothing to take back.
    Nothing,
    /// etcd did not answer: the key is there until the lease ends by itself.
    Unanswered,
}

/// Keeps one key alive until it is stopped or dropped.
pub struct Holder {
    entry: watch::Sender<Entry>,
    board: Arc<Board>,
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<Farewell>)>>,
}

impl Holder {
    /// Begins to register. That etcd cannot be reached is no error here: it is tried again for ever.
    pub fn start(options: EtcdOptions, entry: Entry, terms: Terms, random: Random) -> Result<Self, StoreError> {
        let standing = Standing { id: terms.id.clone(), registered: false, trouble: None, leases: 0 };
        let board = Arc::new(Board { standing: Mutex::new(standing), news: Condvar::new() });
        let (entry, wanted) = watch::channel(entry);
        let (stop, stopped) = oneshot::channel();
        let runtime = runtime()?;
        let keeper = Keeper::new(options, wanted, terms, Arc::clone(&board), random);
        let run = move || {
            let farewell = runtime.block_on(keeper.run(stopped));
            // A name that is still being looked up must not hold up whoever waits for the end.
            runtime.shutdown_background();
            farewell
        };
        let thread = std::thread::Builder::new().name("live".to_owned()).spawn(run).map_err(|error| {
            StoreError::new("cannot start the thread that keeps a lease alive", "raise the limit of processes")
                .caused_by(error)
        })?;
        Ok(Self { entry, board, running: Mutex::new(Some((stop, thread))) })
    }

    /// Says something else. Of many in quick succession the last one is told; the same again is not.
    pub fn tell(&self, entry: Entry) {
        self.entry.send_if_modified(|last| {
            let other = *last != entry;
            if other {
                *last = entry;
            }
            other
        });
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.board.lock().clone()
    }

    /// Waits until it stands differently, or the time is over.
    pub fn wait(&self, known: &Standing, timeout: Duration) -> Standing {
        let waited = self.board.news.wait_timeout_while(self.board.lock(), timeout, |standing| standing == known);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Takes the key back, which takes a second at the most. Where etcd cannot be reached, the lease ends by itself.
    /// Only the first call can do it.
    pub fn stop(&self) -> Farewell {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((stop, thread)) = running else { return Farewell::Nothing };
        drop(stop);
        // Had it panicked, nothing would be left to take back by other means.
        thread.join().unwrap_or(Farewell::Unanswered)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("standing", &self.standing()).finish_non_exhaustive()
    }
}

/// Where the keeper says how it stands.
struct Board {
    standing: Mutex<Standing>,
    news: Condvar,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.lock());
        self.news.notify_all();
    }
}
