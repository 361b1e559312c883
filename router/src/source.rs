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
use gridrouter_config::generation::{self, Advanced, InForce};
use gridrouter_config::model;
use gridrouter_config::registrations::Registrations;
use gridrouter_config::resolved::{self, Resolved};
use gridrouter_config::store::last_known_good::{self, Keeper, Saved};
use gridrouter_config::store::{self, Listing, Store};

use self::status::{log_faults, log_quarantine};
use crate::resolver::Resolver;
use crate::snapshot::Snapshot;
use crate::snapshot::compile::compile;
use crate::snapshot::names::Names;

pub(crate) use self::status::unix_time;
pub use self::status::{Origin, SharedStatus, Status};

/// How long the store is waited for before the thread looks whether it should end.
const WAIT: Duration = Duration::from_millis(500);

/// Reads the configuration and publishes each generation.
pub struct Source {
    store: Box<dyn Store>,
    /// Keeps the last good generation, if it is kept anywhere.
    keeper: Option<Keeper>,
    /// The revision of the listing that was taken over last; 0 before the first.
    revision: u64,
    /// Whether the store numbers its generations.
    numbered: bool,
    /// What was listed last.
    entries: Arc<[Arc<store::Entry>]>,
    /// What could not be read then.
    unreadable: Vec<(Arc<str>, String)>,
    /// What the entries hold, in their order.
    parsed: Vec<Parsed>,
    in_force: InForce,
    generation: u64,
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
            numbered: false,
            entries: Arc::default(),
            unreadable: Vec::new(),
            parsed: Vec::new(),
            in_force: InForce::default(),
            generation: 0,
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
                let mut status = source.lock();
                status.origin = Origin::LastKnownGood;
                status.fail(&error);
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

    /// Follows the store until `stop` is set, and publishes every change. `now_and_then` is called about twice a second.
    pub fn follow(
        mut self,
        stop: &AtomicBool,
        mut current: impl FnMut() -> Arc<Snapshot>,
        now_and_then: impl Fn(),
        mut publish: impl FnMut(Snapshot, &Names),
    ) {
        while !stop.load(Ordering::Relaxed) {
            now_and_then();
            let waited = self.store.wait(WAIT);
            self.heard();
            match waited {
                Ok(false) if self.resolve() => {
                    let snapshot = self.compile(Some(&current()), Instant::now());
                    publish(snapshot, &self.names);
                }
                Ok(false) => {}
                Ok(true) => self.reload(&mut current, &mut publish),
                Err(error) => {
                    self.failed(&error);
                    // The store would fail again at once: look at the stop flag now and then meanwhile.
                    std::thread::park_timeout(WAIT);
                    self.reload(&mut current, &mut publish);
                }
            }
        }
    }

    fn reload(&mut self, current: &mut impl FnMut() -> Arc<Snapshot>, publish: &mut impl FnMut(Snapshot, &Names)) {
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
                false
            }
            Ok(listing) => self.take(&listing),
        };
        if joined || changed {
            let snapshot = self.compile(Some(&current()), began);
            publish(snapshot, &self.names);
        }
        if changed {
            self.save();
        }
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

    fn failed(&self, error: &store::StoreError) {
        let text = error.explain();
        let mut status = self.lock();
        if status.store_error.as_ref() != Some(&text) {
            tracing::error!("the store cannot be read, what is in force stays: {text}");
        }
        status.fail(error);
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
        let before = std::mem::take(&mut self.lock().quarantined);
        log_quarantine(&before, &quarantined);
        self.in_force = in_force;
        // A store that numbers its generations is spoken of by its numbers, also by one that changes nothing here. It
        // sees to it that they do not go backwards.
        let generation = listing.generation.unwrap_or_else(|| self.generation.saturating_add(u64::from(changed)));
        let numbered = listing.generation.is_some();
        let changed = changed || generation != self.generation || numbered != self.numbered;
        (self.generation, self.numbered) = (generation, numbered);
        self.lock().quarantined = quarantined;
        self.reachable(listing);
        changed
    }

    /// Notes that the store could be read.
    fn reachable(&self, listing: &Listing) {
        let mut status = self.lock();
        status.origin = Origin::Store;
        (status.store_reachable, status.held) = (true, false);
        status.store_faults = listing.faults.iter().map(|(path, why)| format!("{path}: {why}")).collect();
        (status.lineage, status.listed) = match &listing.numbered {
            Some(numbered) => (numbered.lineage.to_string(), numbered.digest.to_string()),
            None => (String::new(), String::new()),
        };
        status.store_error = listing.faults.first().map(|(path, reason)| format!("{path}: {reason}"));
        status.store = self.store.describe();
    }

    /// The short way, where nothing is listed differently but tenants, and all of it is good.
    fn take_tenants(&self, listing: &Listing) -> Option<InForce> {
        let same_files = Arc::ptr_eq(&self.entries, &listing.entries) && listing.unreadable().eq(&self.unreadable);
        let good = self.revision > 0 && self.lock().quarantined.is_empty();
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
        let digest = self.in_force.digest().to_string();
        let model = Arc::clone(self.in_force.model());
        let aside = self.registrations.aside(&model);
        let registrations = Arc::clone(&self.registrations);
        // Only documents have names, and whoever writes a new one waits for it.
        let same =
            |old: &model::Model| Arc::ptr_eq(&old.services, &model.services) && Arc::ptr_eq(&old.cells, &model.cells);
        if !old.is_some_and(|old| same(&old.model)) {
            self.resolver.want(&resolved::names(&model));
            self.resolve();
        }
        let resolved = Arc::clone(&self.resolved);
        let mut snapshot =
            compile(model, registrations, resolved, self.generation, digest.as_str().into(), old, &mut self.names);
        snapshot.compiled_in = began.elapsed();
        let mut status = self.lock();
        status.reloads += u64::from(old.is_some());
        status.reload_micros = u64::try_from(snapshot.compiled_in.as_micros()).unwrap_or(u64::MAX);
        status.registered_endpoints = self.registrations.count();
        log_faults(&status.registration_faults, &aside, self.registrations.faults());
        status.registration_faults = self.registrations.faults().iter().cloned().chain(aside).collect();
        let before = (status.generation, std::mem::replace(&mut status.digest, digest));
        (status.generation, status.numbered) = (self.generation, self.numbered);
        status.documents = self.in_force.len();
        if (before.0, &*before.1) != (self.generation, &*snapshot.digest) {
            status.since = unix_time();
            tracing::info!(generation = self.generation, digest = &*snapshot.digest, "configuration in force");
        }
        drop(status);
        snapshot
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
