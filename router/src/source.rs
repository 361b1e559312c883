//! Where the configuration comes from: one path for boot, change and recovery.
//!
//! store → raw → model → compile → publish, on a thread of its own. A document that is bad is quarantined alone; the
//! last good generation is kept on disk, and the router boots from it when the store cannot be read.

mod status;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gridrouter_config::codec::{self, Parsed, SourceDocument};
use gridrouter_config::generation::{self, Advanced, InForce, Quarantined};
use gridrouter_config::model;
use gridrouter_config::registrations::Registrations;
use gridrouter_config::resolved::{self, Resolved};
use gridrouter_config::store::last_known_good::{self, Keeper, Saved};
use gridrouter_config::store::{self, Listing, Numbered, Store, etcd};

use self::status::{log_faults, log_quarantine};
use crate::resolver::Resolver;
use crate::snapshot::Snapshot;
use crate::snapshot::compile::compile;
use crate::snapshot::names::Names;

pub(crate) use self::status::unix_time;
pub use self::status::{Origin, SharedStatus, Status};

/// How long the store is waited for before the thread looks whether it should end.
const WAIT: Duration = Duration::from_millis(500);

/// Who serves what is read.
pub trait Serving {
    /// The snapshot in force.
    fn current(&self) -> Arc<Snapshot>;

    /// Puts a snapshot in force: when this returns, every request that comes is decided by it.
    fn publish(&mut self, snapshot: Arc<Snapshot>, names: &Names);

    /// Tells whoever waits for a generation. Only then does the status say that it is in force.
    fn tell(&self);

    /// Called about twice a second.
    fn now_and_then(&mut self);
}

/// Reads the configuration and publishes each generation.
pub struct Source {
    store: Box<dyn Store>,
    /// Keeps the last good generation, if it is kept anywhere.
    keeper: Option<Keeper>,
    /// The revision of the listing that was taken over last; 0 before the first.
    revision: u64,
    /// What the store calls what it listed, where it numbers its generations.
    numbered: Option<Numbered>,
    /// What was listed last.
    entries: Arc<[Arc<store::Entry>]>,
    /// What could not be read then.
    unreadable: Vec<(Arc<str>, String)>,
    /// What the entries hold, in their order.
    parsed: Vec<Parsed>,
    in_force: InForce,
    generation: u64,
    /// Where that came from.
    origin: Origin,
    /// Whether the store is not followed on purpose.
    held: bool,
    quarantined: Arc<Vec<Quarantined>>,
    registrations: Arc<Registrations>,
    resolver: Resolver,
    resolved: Arc<Resolved>,
    names: Names,
    status: SharedStatus,
}

impl Source {
    /// Reads the configuration for the first time: from the store, or else from the disk. With neither, the error says
    /// what is wrong with the store.
    pub(crate) fn boot(
        store: Box<dyn Store>,
        state: Option<&Path>,
        resolver: Resolver,
    ) -> Result<(Self, Snapshot), String> {
        let began = Instant::now();
        let saved = state.and_then(read_saved);
        let mut source = Self {
            status: Arc::new(Mutex::new(Status::new(store.describe()))),
            keeper: state.map(Keeper::new),
            revision: 0,
            numbered: None,
            entries: Arc::default(),
            unreadable: Vec::new(),
            parsed: Vec::new(),
            in_force: InForce::default(),
            generation: 0,
            origin: Origin::Store,
            held: false,
            quarantined: Arc::default(),
            registrations: Arc::default(),
            resolver,
            resolved: Arc::default(),
            names: Names::default(),
            store: Box::new(Nowhere),
        };
        let none_saved = saved.is_none();
        let mut since = None;
        source.store = store;
        if let Some(saved) = saved {
            (source.generation, since) = (saved.generation, Some((saved.generation, saved.digest, saved.time)));
            source.in_force = restore(saved);
            source.store.in_hurry();
        }
        let listing = source.list();
        let mut fresh = false;
        match listing {
            Ok(listing) => fresh = source.take(&listing),
            Err(error) if none_saved => {
                let ends = "the router has nothing to serve yet, and ends";
                return Err(error.explain().replace("it is tried again", ends));
            }
            Err(error) => {
                tracing::error!(
                    generation = source.generation,
                    "the store cannot be read, serving the last good generation: {}",
                    error.explain()
                );
                source.origin = Origin::LastKnownGood;
                source.fail(&error);
            }
        }
        source.heard();
        source.join();
        if source.generation == 0 {
            source.generation = 1;
            fresh = true;
        }
        if fresh {
            source.save();
        }
        let snapshot = source.compile(None, began);
        source.note(&snapshot);
        match since {
            // It is as old as it was before the restart.
            Some((generation, digest, time))
                if (generation, digest) == (source.generation, source.in_force.digest()) =>
            {
                source.lock().since = time;
            }
            Some(_) | None => {}
        }
        Ok((source, snapshot))
    }

    /// What is known about the configuration.
    pub fn status(&self) -> SharedStatus {
        Arc::clone(&self.status)
    }

    /// The stable numbers given so far.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Follows the store until `stop` is set, and publishes every change.
    pub fn follow(mut self, stop: &AtomicBool, mut serving: impl Serving) {
        while !stop.load(Ordering::Relaxed) {
            serving.now_and_then();
            let waited = self.store.wait(WAIT);
            self.heard();
            match waited {
                Ok(false) if self.resolve() => self.publish(&mut serving, Instant::now()),
                Ok(false) => {}
                Ok(true) => self.reload(&mut serving),
                Err(error) => {
                    self.failed(&error);
                    // The store would fail again at once: look at the stop flag now and then meanwhile.
                    std::thread::park_timeout(WAIT);
                    self.reload(&mut serving);
                }
            }
        }
    }

    fn reload(&mut self, serving: &mut impl Serving) {
        let began = Instant::now();
        let joined = self.join() | self.resolve();
        let changed = match self.list() {
            Err(error) => {
                self.failed(&error);
                false
            }
            // Endpoints that come and go must not cost a look at every document.
            Ok(listing) if self.revision != 0 && listing.revision == self.revision => {
                self.reachable(&listing);
                self.tell_of_store(&mut self.lock());
                false
            }
            Ok(listing) => self.take(&listing),
        };
        if joined || changed {
            self.publish(serving, began);
        }
        if changed {
            self.save();
        }
    }

    /// Puts in force what was read, and only then says so: whoever waits for a generation counts on it from then on.
    fn publish(&mut self, serving: &mut impl Serving, began: Instant) {
        let snapshot = Arc::new(self.compile(Some(&serving.current()), began));
        serving.publish(Arc::clone(&snapshot), &self.names);
        self.lock().reloads += 1;
        self.note(&snapshot);
        serving.tell();
    }

    /// Takes over which endpoints registered themselves. Returns whether any came or went.
    fn join(&mut self) -> bool {
        let Some(now) = self.store.registrations() else { return false };
        let joined = !Arc::ptr_eq(&self.registrations, &now);
        self.registrations = now;
        joined
    }

    /// Takes over what names were resolved to. Returns whether anything is different.
    fn resolve(&mut self) -> bool {
        let now = self.resolver.board().resolved();
        let moved = !Arc::ptr_eq(&self.resolved, &now);
        self.resolved = now;
        moved
    }

    /// Notes when the store was last heard of.
    fn heard(&self) {
        let heard = self.store.heard();
        let mut status = self.lock();
        let fine = status.store_reachable;
        status.heard = heard.or_else(|| fine.then(Instant::now)).or(status.heard);
    }

    /// What the store holds. A store that held documents and now holds none at all was emptied by accident, or is not
    /// mounted: that would take everything out of force at once. Only a generation without any is meant.
    fn list(&mut self) -> Result<Listing, store::StoreError> {
        let listing = self.store.list()?;
        let meant = listing.generation.is_some();
        if listing.is_empty() && !meant && !self.in_force.is_empty() {
            return Err(store::StoreError::new(
                format!("{} holds no documents any more", self.store.describe()),
                "what was in force stays; remove the state directory and start again if that is meant",
            ));
        }
        Ok(listing)
    }

    fn failed(&mut self, error: &store::StoreError) {
        let text = error.explain();
        if self.lock().store_error.as_ref() != Some(&text) {
            tracing::error!("the store cannot be read, what is in force stays: {text}");
        }
        self.fail(error);
    }

    fn fail(&mut self, error: &store::StoreError) {
        self.held = etcd::is_held(error);
        self.lock().fail(error, self.held);
    }

    /// Takes over what the store holds. Returns whether what is in force changed.
    fn take(&mut self, listing: &Listing) -> bool {
        let (in_force, quarantined, changed) = if let Some(in_force) = self.take_tenants(listing) {
            let changed = in_force.digest() != self.in_force.digest();
            (in_force, Vec::new(), changed)
        } else {
            self.read(listing);
            let previous = (self.generation > 0).then_some(&self.in_force);
            let files: Vec<_> = self.unreadable.iter().map(|(path, why)| Parsed::unreadable(path, why)).collect();
            self.parsed.extend(files);
            let Advanced { in_force, quarantined, changed, .. } =
                generation::advance(previous, &self.parsed, &listing.tenants);
            self.parsed.truncate(self.entries.len());
            (in_force, quarantined, changed)
        };
        self.revision = listing.revision;
        log_quarantine(&self.quarantined, &quarantined);
        self.quarantined = Arc::new(quarantined);
        self.in_force = in_force;
        // A store that numbers its generations is spoken of by its numbers, also by one that changes nothing here. It
        // sees to it that they do not go backwards.
        let generation = listing.generation.unwrap_or_else(|| self.generation.saturating_add(u64::from(changed)));
        let numbers = listing.numbered.is_some() != self.numbered.is_some();
        let changed = changed || generation != self.generation || numbers;
        (self.generation, self.numbered) = (generation, listing.numbered.clone());
        self.reachable(listing);
        if !changed {
            self.tell_of_store(&mut self.lock());
        }
        changed
    }

    /// Says what the store made of what is in force. Together with the generation, or else somebody would take the one for
    /// the other's.
    fn tell_of_store(&self, status: &mut Status) {
        (status.origin, status.held) = (self.origin, self.held);
        status.quarantined = Arc::clone(&self.quarantined);
        status.number(self.numbered.as_ref());
    }

    /// Notes that the store could be read.
    fn reachable(&mut self, listing: &Listing) {
        (self.origin, self.held) = (Origin::Store, false);
        let mut status = self.lock();
        status.store_reachable = true;
        status.store_faults = listing.faults.iter().map(|(path, why)| format!("{path}: {why}")).collect();
        status.store_error = listing.faults.first().map(|(path, reason)| format!("{path}: {reason}"));
        status.store = self.store.describe();
    }

    /// The short way, where nothing is listed differently but tenants, and all of it is good.
    fn take_tenants(&self, listing: &Listing) -> Option<InForce> {
        let same_files = Arc::ptr_eq(&self.entries, &listing.entries) && listing.unreadable().eq(&self.unreadable);
        let good = self.revision > 0 && self.quarantined.is_empty();
        if same_files && good { generation::advance_tenants(&self.in_force, &listing.tenants) } else { None }
    }

    /// Reads what is listed, as far as it was not listed before.
    fn read(&mut self, listing: &Listing) {
        let mut old: hashbrown::HashMap<_, _> =
            self.entries.iter().map(Arc::as_ptr).zip(self.parsed.drain(..)).collect();
        let read =
            |entry: &Arc<store::Entry>| old.remove(&Arc::as_ptr(entry)).unwrap_or_else(|| codec::parse_entry(entry));
        self.parsed = listing.entries.iter().map(read).collect();
        self.entries = Arc::clone(&listing.entries);
        // What was in force from an unreadable file stays; one whose old bytes are still listed is only reported.
        self.unreadable = listing.unreadable().cloned().collect();
    }

    fn compile(&mut self, old: Option<&Snapshot>, began: Instant) -> Snapshot {
        let model = Arc::clone(self.in_force.model());
        // Only documents have names, and whoever writes a new one waits for it.
        let same =
            |old: &model::Model| Arc::ptr_eq(&old.services, &model.services) && Arc::ptr_eq(&old.cells, &model.cells);
        if !old.is_some_and(|old| same(&old.model)) {
            self.resolver.want(&resolved::names(&model));
            self.resolve();
        }
        let digest = self.in_force.digest().to_string().into();
        let (registrations, resolved) = (Arc::clone(&self.registrations), Arc::clone(&self.resolved));
        let mut snapshot = compile(model, registrations, resolved, self.generation, digest, old, &mut self.names);
        snapshot.compiled_in = began.elapsed();
        snapshot
    }

    /// Says that a snapshot is in force.
    fn note(&self, snapshot: &Snapshot) {
        let aside = self.registrations.aside(&snapshot.model);
        let mut status = self.lock();
        status.reload_micros = u64::try_from(snapshot.compiled_in.as_micros()).unwrap_or(u64::MAX);
        status.registered_endpoints = self.registrations.count();
        log_faults(&status.registration_faults, &aside, self.registrations.faults());
        status.registration_faults = self.registrations.faults().iter().cloned().chain(aside).collect();
        status.documents = self.in_force.len();
        if (status.generation, &*status.digest) != (snapshot.generation, &*snapshot.digest) {
            status.since = unix_time();
            tracing::info!(generation = snapshot.generation, digest = &*snapshot.digest, "configuration in force");
        }
        (status.generation, status.digest) = (snapshot.generation, snapshot.digest.to_string());
        self.tell_of_store(&mut status);
    }

    /// Keeps what is in force on disk.
    fn save(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        let result = keeper.save(&self.in_force, self.generation, unix_time());
        if let Err(error) = &result {
            tracing::warn!("the last good generation cannot be kept: {error}");
        }
        self.lock().saving_error = result.err().map(|error| error.to_string());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store before there is one.
struct Nowhere;

impl Store for Nowhere {
    fn describe(&self) -> String {
        "nowhere".to_owned()
    }

    fn list(&mut self) -> Result<Listing, store::StoreError> {
        Ok(Listing::default())
    }

    fn wait(&mut self, _: Duration) -> Result<bool, store::StoreError> {
        Ok(false)
    }
}

fn read_saved(state: &Path) -> Option<Saved> {
    match last_known_good::load(state) {
        Ok(loaded) => loaded.map(|loaded| {
            if let Some(why) = &loaded.passed_over {
                tracing::warn!("the newest good generation on disk was passed over: {why}");
            }
            loaded.saved
        }),
        Err(error) => {
            tracing::warn!("the last good generation on disk cannot be used: {error}");
            None
        }
    }
}

/// The saved documents, checked again: another version of this program may have written them.
fn restore(saved: Saved) -> InForce {
    let mut files: std::collections::BTreeMap<String, Vec<Arc<SourceDocument>>> = std::collections::BTreeMap::new();
    for saved in saved.documents {
        match SourceDocument::from_raw(&saved.file, saved.line, saved.document) {
            Ok(document) => files.entry(saved.file).or_default().push(Arc::new(document)),
            Err(problem) => tracing::warn!("a saved document is no longer accepted: {}", problem.message),
        }
    }
    let parsed: Vec<_> = files.into_iter().map(|(file, documents)| Parsed::from_documents(&file, documents)).collect();
    generation::advance(None, &parsed, &saved.tenants).in_force
}

#[cfg(test)]
mod tests {
    use gridrouter_config::store::directory::DirectoryStore;

    use super::*;

    /// Sees what the status says before and after a publication, and ends with the first one.
    struct Watching {
        current: Arc<Snapshot>,
        status: SharedStatus,
        stop: Arc<AtomicBool>,
        seen: Arc<Mutex<Vec<(&'static str, u64)>>>,
    }

    impl Watching {
        fn see(&self, when: &'static str) {
            self.seen.lock().unwrap().push((when, self.status.lock().unwrap().generation));
        }
    }

    impl Serving for Watching {
        fn current(&self) -> Arc<Snapshot> {
            Arc::clone(&self.current)
        }

        fn publish(&mut self, snapshot: Arc<Snapshot>, _: &Names) {
            self.see("published");
            self.current = snapshot;
        }

        fn tell(&self) {
            self.see("told");
            self.stop.store(true, Ordering::Relaxed);
        }

        fn now_and_then(&mut self) {}
    }

    /// A controller that moves a tenant takes what a router says as done: said before it is, a request could still meet
    /// what was in force until then.
    #[test]
    fn a_generation_is_told_of_when_it_is_in_force_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let cell = |name: &str| std::fs::write(directory.path().join("cell.yaml"), format!("kind: Cell\nname: {name}"));
        cell("one").unwrap();
        let store = Box::new(DirectoryStore::new(directory.path()));
        let (source, snapshot) = Source::boot(store, None, Resolver::new(&[], None)).unwrap();
        let status = source.status();
        assert_eq!(status.lock().unwrap().generation, 1);
        let (stop, seen) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<_>>>::default());
        let watching =
            Watching { current: Arc::new(snapshot), status, stop: Arc::clone(&stop), seen: Arc::clone(&seen) };
        let thread = std::thread::spawn(move || source.follow(&stop, watching));
        cell("another").unwrap();
        thread.join().unwrap();
        assert_eq!(*seen.lock().unwrap(), [("published", 1), ("told", 2)]);
    }
}
