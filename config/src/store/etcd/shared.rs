//! What the thread that follows etcd and the thread that asks the store have in common.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::gate::{Anchor, REMEDY};
use super::head::Head;
use super::image::Image;
use super::registry::Registry;
use crate::registrations::Registrations;
use crate::store::{Listing, Numbered, StoreError};

/// Faults that a listing tells; the others are counted.
const FAULTS: usize = 100;

/// The state of the store, and a bell for whoever waits for news.
pub(super) struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

/// What is known. A listing is made of it only when somebody asks, so that a storm of changes costs one.
pub(super) struct State {
    pub(super) image: Image,
    pub(super) generation: Option<u64>,
    /// The history that it belongs to.
    pub(super) lineage: Arc<str>,
    /// When the first listing last moved on.
    moved: Option<Instant>,
    /// The image is not that of the generation just now, because something in it turned out to be missing. Nobody is shown
    /// it until it has been listed again.
    pub(super) unsettled: bool,
    /// Grows with every change that a listing would show; 0 before the first one.
    version: u64,
    /// What is wrong, and what to do about it.
    error: Option<(String, &'static str)>,
    /// Grows whenever that changes.
    errors: u64,
    endpoint: String,
    /// When the store was last heard of.
    heard: Option<Instant>,
    /// What was last in force.
    pub(super) anchor: Option<Anchor>,
    /// The endpoints that registered themselves.
    pub(super) registry: Registry,
}

impl State {
    /// The image is that of this head.
    pub(super) fn is_at(&mut self, head: &Head) {
        self.generation = Some(head.generation);
        if *self.lineage != *head.lineage {
            self.lineage = head.lineage.as_str().into();
        }
    }
}

/// How much of the news somebody has been told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    version: u64,
    errors: u64,
    registry: u64,
}

impl Shared {
    pub(super) fn new(image: Image) -> Arc<Self> {
        let state = State {
            image,
            generation: None,
            lineage: Arc::default(),
            moved: None,
            unsettled: false,
            version: 0,
            error: None,
            errors: 0,
            endpoint: String::new(),
            heard: None,
            anchor: None,
            registry: Registry::default(),
        };
        Arc::new(Self { state: Mutex::new(state), news: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state without telling anybody yet.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.lock())
    }

    /// Tells of what is neither documents nor an error.
    pub(super) fn ring(&self) {
        self.news.notify_all();
    }

    /// Whether the store is not followed on purpose.
    pub(super) fn held(&self) -> bool {
        self.lock().error.as_ref().is_some_and(|(_, remedy)| *remedy == REMEDY)
    }

    /// When the store was last heard of.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.lock().heard
    }

    /// The endpoints that registered themselves.
    pub(super) fn registrations(&self, told: &mut Told) -> Arc<Registrations> {
        let state = self.lock();
        told.registry = state.registry.version;
        Arc::clone(&state.registry.now)
    }

    /// Waits until it is known which endpoints registered themselves, or that it cannot be known.
    pub(super) fn await_registrations(&self, patience: Duration) {
        let unknown = |state: &mut State| !state.registry.tried;
        drop(self.news.wait_timeout_while(self.lock(), patience, unknown));
    }

    /// Tells that the first listing is on its way.
    pub(super) fn moving(&self) {
        self.lock().moved = Some(Instant::now());
    }

    /// Tells that a listing may differ from the last one.
    pub(super) fn announce(&self) {
        self.lock().version += 1;
        self.news.notify_all();
    }

    /// Tells that the store cannot be followed just now.
    pub(super) fn fail(&self, what: String, remedy: &'static str) {
        let mut state = self.lock();
        if state.error.as_ref().is_none_or(|(before, _)| *before != what) {
            state.error = Some((what, remedy));
            state.errors += 1;
            self.news.notify_all();
        }
    }

    /// Tells that it can.
    pub(super) fn fine(&self, endpoint: &str) {
        let mut state = self.lock();
        state.heard = Some(Instant::now());
        if state.endpoint != endpoint {
            endpoint.clone_into(&mut state.endpoint);
        }
        if state.error.take().is_some() {
            state.errors += 1;
            self.news.notify_all();
        }
    }

    pub(super) fn has_listed(&self) -> bool {
        self.lock().version > 0
    }

    /// The member that is followed; empty before the first.
    pub(super) fn endpoint(&self) -> String {
        self.lock().endpoint.clone()
    }

    /// Waits until there is something that was not told yet.
    pub(super) fn wait(&self, told: Told, timeout: Duration) -> bool {
        let state = self.lock();
        let quiet = |state: &mut State| {
            (state.unsettled || state.version == told.version)
                && (state.errors, state.registry.version) == (told.errors, told.registry)
        };
        let (_state, waited) =
            self.news.wait_timeout_while(state, timeout, quiet).unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// What is in force, waiting for the first listing or the first failure. An error that stands is told once all the
    /// documents that came before it have been.
    pub(super) fn list(
        &self,
        told: &mut Told,
        last: &mut Listing,
        (patience, briefly): (Duration, bool),
    ) -> Result<Listing, StoreError> {
        let began = Instant::now();
        let mut state = self.lock();
        while state.version == 0 && state.error.is_none() {
            // A large listing takes its time, and may have it for as long as it goes on, if nothing else can be done.
            let moved = state.moved.filter(|_| !briefly).unwrap_or(began).max(began);
            let left = patience.saturating_sub(moved.elapsed());
            if left.is_zero() {
                return Err(StoreError::new(
                    format!("etcd has not answered within {patience:?}"),
                    "it is tried again; check the endpoints and that etcd is up",
                ));
            }
            state = self.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.version > told.version && !state.unsettled {
            told.version = state.version;
            if state.error.is_none() {
                told.errors = state.errors;
            }
            let (entries, tenants, faults) = (state.image.entries(), state.image.tenants(), state.image.faults(FAULTS));
            let same = Arc::as_ptr;
            let same_entries = entries.iter().map(same).eq(last.entries.iter().map(same));
            let same_documents = same_entries && tenants.same(&last.tenants);
            if last.revision == 0 || !same_documents || faults != last.faults || state.generation != last.generation {
                let entries = if same_entries { Arc::clone(&last.entries) } else { entries };
                let (tenants, generation) = (tenants.clone(), state.generation);
                let (lineage, digest) = (Arc::clone(&state.lineage), state.image.digest());
                let numbered = generation.map(|number| Numbered { number, lineage, digest });
                *last = Listing {
                    entries,
                    tenants,
                    faults,
                    keyed: true,
                    revision: last.revision + 1,
                    generation,
                    numbered,
                };
            }
            return Ok(last.clone());
        }
        told.errors = state.errors;
        match &state.error {
            Some((what, remedy)) => Err(StoreError::new(what.clone(), remedy)),
            None => Ok(last.clone()),
        }
    }
}
