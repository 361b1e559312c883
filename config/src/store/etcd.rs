//! Documents in etcd, one a key, below `config/`. A change is in force only when `head` says so, as one generation.
//!
//! A thread of its own follows etcd (`follow.rs`): it keeps an image of the store (`image.rs`), checks that the store may
//! be followed at all (`gate.rs`), and comes back after every failure with full jitter (`backoff.rs`). Whoever asks the
//! store gets what the image has. Publishing is `writer.rs`.

mod backoff;
mod chunk;
mod client;
pub mod election;
mod follow;
mod gate;
mod head;
mod image;
pub mod live;
mod options;
mod registry;
mod shared;
pub mod writer;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::follow::Follower;
use self::image::Image;
use self::registry::Registrar;
use self::shared::{Shared, Told};
use super::{Listing, Store, StoreError};
use crate::registrations::Registrations;

pub use self::backoff::Random;
pub use self::chunk::Changed;
pub use self::head::{Head, Staged};
pub use self::options::{EtcdOptions, EtcdSettings};

/// How long the first listing is waited for by a process that has a last good generation to serve: an etcd that does not
/// answer must not keep it from that.
const BRIEFLY: Duration = Duration::from_secs(1);

/// Documents in etcd.
pub struct EtcdStore {
    identity: String,
    shared: Arc<Shared>,
    told: Told,
    listing: Listing,
    patience: Duration,
    /// Whether there is something else to serve.
    briefly: bool,
    listed: bool,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EtcdStore {
    /// Begins to follow etcd. That etcd cannot be reached is no error here: it is one of [`Store::list`], and it is tried
    /// again for ever. The random numbers decide which member is asked first and how long to wait after failures.
    pub fn start(options: EtcdOptions, random: Random) -> Result<Self, StoreError> {
        let shared = Shared::new(Image::new(options.keys.clone()));
        let identity = options.identity();
        let patience = options.connect_timeout + options.request_timeout;
        let runtime = runtime()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let registrar = Registrar::new(options.clone(), Arc::clone(&shared), random.clone());
        let follower = Follower::new(options, Arc::clone(&shared), random);
        let watched = Arc::clone(&shared);
        let run = move || {
            let _last_words = LastWords(watched);
            runtime.block_on(async {
                tokio::select! {
                    () = follower.run() => {}
                    () = registrar.run() => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("etcd".to_owned()).spawn(run).map_err(|error| {
            StoreError::new("cannot start the thread that follows etcd", "raise the limit of processes")
                .caused_by(error)
        })?;
        let (told, listing) = (Told::default(), Listing::default());
        let (stop, thread) = (Some(stop), Some(thread));
        Ok(Self { identity, shared, told, listing, patience, briefly: false, listed: false, stop, thread })
    }
}

/// What drives one thread's requests.
fn runtime() -> Result<tokio::runtime::Runtime, StoreError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        StoreError::new("cannot prepare to speak to etcd", "raise the limit of open files").caused_by(error)
    })
}

/// Tells that the thread ended by a panic, which nothing that etcd sends may bring about.
struct LastWords(Arc<Shared>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.0.fail("following etcd ended by a fault of this program".to_owned(), "restart it, and report the log");
    }
}

impl Store for EtcdStore {
    fn describe(&self) -> String {
        let endpoint = self.shared.endpoint();
        match (endpoint.is_empty(), self.listing.generation) {
            (true, _) => self.identity.clone(),
            (false, Some(_)) => format!("{}, watched at {endpoint}", self.identity),
            (false, None) => format!("{}, watched at {endpoint}; nothing has been published there", self.identity),
        }
    }

    fn list(&mut self) -> Result<Listing, StoreError> {
        let listing = self.shared.list(&mut self.told, &mut self.listing, (self.patience, self.briefly))?;
        if !self.listed {
            // Whoever starts with the documents alone would refuse requests to services whose endpoints register.
            self.shared.await_registrations(self.patience);
            self.listed = true;
        }
        Ok(listing)
    }

    fn wait(&mut self, timeout: Duration) -> Result<bool, StoreError> {
        Ok(self.shared.wait(self.told, timeout))
    }

    fn registrations(&mut self) -> Option<Arc<Registrations>> {
        Some(self.shared.registrations(&mut self.told))
    }

    fn in_hurry(&mut self) {
        (self.patience, self.briefly) = (BRIEFLY, true);
    }

    fn heard(&self) -> Option<Instant> {
        self.shared.heard()
    }
}

/// Whether an error says that the store is not followed on purpose, because it was emptied, restored or replaced.
pub fn is_held(error: &StoreError) -> bool {
    error.remedy() == gate::REMEDY
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends at its next pause; had it panicked, that was told already.
            let _ended: Result<(), _> = thread.join();
        }
    }
}
