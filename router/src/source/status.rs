//! What is known about the configuration, for whoever shows it.

use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use gridrouter_config::generation::Quarantined;
use gridrouter_config::registrations::Fault;
use gridrouter_config::store::{self, Numbered};
use serde::Serialize;

/// Where the generation in force came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The store.
    Store,
    /// The last good generation on disk, because the store could not be read.
    LastKnownGood,
}

impl Origin {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Origin::Store => "store",
            Origin::LastKnownGood => "last-known-good",
        }
    }
}

/// What is known about the configuration, for `/ready`, the metrics and people.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The store.
    pub store: String,
    /// Where the generation in force came from.
    pub origin: Origin,
    /// The generation in force.
    pub generation: u64,
    /// Its digest.
    pub digest: String,
    /// The history that the store says the generation belongs to; empty where the store has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lineage: String,
    /// The digest of what the store held then; empty where the store does not say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub listed: String,
    /// When it came into force, in seconds since 1970.
    pub since: u64,
    /// Documents in force.
    pub documents: usize,
    /// Documents that were refused, with what is in force instead and why.
    pub quarantined: Arc<Vec<Quarantined>>,
    /// Whether the generation's number is the store's own. Before anything was published in etcd it is not.
    #[serde(skip)]
    pub numbered: bool,
    /// Whether the store could be read last time.
    pub store_reachable: bool,
    /// Whether the store is not followed on purpose, because it was emptied, restored or replaced.
    pub held: bool,
    /// When the store was last heard of.
    #[serde(skip)]
    pub heard: Option<Instant>,
    /// Endpoints that registered themselves.
    pub registered_endpoints: usize,
    /// Registrations that are not in force, and why; the first hundred of those that cannot be read.
    pub registration_faults: Vec<Fault>,
    /// Why the store could not be read last time, if it could not, or what is wrong in it.
    pub store_error: Option<String>,
    /// What is wrong in the store: keys that are not in force, files that cannot be read.
    pub store_faults: Vec<String>,
    /// Why the last good generation could not be written, if it could not.
    pub saving_error: Option<String>,
    /// Changes taken over since the start.
    pub reloads: u64,
    /// How long the last one took, in microseconds, from bytes to published.
    pub reload_micros: u64,
}

/// The status, shared with whoever shows it.
pub type SharedStatus = Arc<Mutex<Status>>;

impl Status {
    pub(super) fn new(store: String) -> Self {
        Self {
            store,
            origin: Origin::Store,
            generation: 0,
            digest: String::new(),
            lineage: String::new(),
            listed: String::new(),
            since: 0,
            documents: 0,
            quarantined: Arc::default(),
            numbered: false,
            store_reachable: true,
            held: false,
            heard: None,
            registered_endpoints: 0,
            registration_faults: Vec::new(),
            store_error: None,
            store_faults: Vec::new(),
            saving_error: None,
            reloads: 0,
            reload_micros: 0,
        }
    }

    /// Takes over what the store calls the generation in force.
    pub(super) fn number(&mut self, numbered: Option<&Numbered>) {
        self.numbered = numbered.is_some();
        (self.lineage, self.listed) = match numbered {
            Some(numbered) => (numbered.lineage.to_string(), numbered.digest.to_string()),
            None => (String::new(), String::new()),
        };
    }

    pub(super) fn fail(&mut self, error: &store::StoreError, held: bool) {
        self.store_error = Some(error.explain());
        (self.store_reachable, self.held) = (false, held);
    }

    /// Seconds since the generation came into force, by the clock on the wall.
    pub fn age_seconds(&self) -> u64 {
        unix_time().saturating_sub(self.since)
    }

    /// Seconds since the store was last heard of; none if it never was.
    pub fn silent_seconds(&self) -> Option<f64> {
        self.heard.map(|heard| heard.elapsed().as_secs_f64())
    }
}

pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Says which registrations are newly not in force.
pub(super) fn log_faults(old: &[Fault], aside: &[Fault], bad: &[Fault]) {
    for fault in bad.iter().chain(aside).filter(|fault| !old.contains(fault)) {
        tracing::warn!("registration not in force: {}: {}", fault.key, fault.why);
    }
}

/// Says what is newly refused, and what no longer is.
pub(super) fn log_quarantine(old: &[Quarantined], new: &[Quarantined]) {
    let key = |q: &Quarantined| (q.id.clone(), Arc::clone(&q.file));
    let known: hashbrown::HashMap<_, _> = old.iter().map(|one| (key(one), &one.problems)).collect();
    for q in new.iter().filter(|q| known.get(&key(q)).is_none_or(|problems| **problems != q.problems)) {
        let document = q.id.as_ref().map(ToString::to_string).unwrap_or_default();
        for problem in &q.problems {
            tracing::warn!(
                document,
                in_force = ?q.fallback,
                "document quarantined: {}:{}:{}: {}: {}",
                problem.file, problem.line, problem.column, problem.path, problem.message
            );
        }
    }
    if new.is_empty() && !old.is_empty() {
        tracing::info!("no document is quarantined any more");
    }
}
