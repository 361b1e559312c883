//! Where documents are kept. A store hands out bytes and says when they may have changed; what the bytes mean is not its
//! business. Everything here blocks, and runs on a control thread: nothing on a request's path ever asks a store.
//!
//! This is the only module of the crate that does I/O.

pub mod directory;
pub mod etcd;
pub mod last_known_good;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::digest::Digest;
use crate::ids::DocumentId;
use crate::registrations::Registrations;
use crate::tenants::TenantTable;

/// A place that documents are read from.
pub trait Store: Send {
    /// What this store is and how it notices changes, for logs.
    fn describe(&self) -> String;

    /// Reads everything that is in force now. What did not change since the last listing keeps its [`Arc`], so comparing
    /// pointers is enough to find the changes. An error leaves the last listing valid.
    fn list(&mut self) -> Result<Listing, StoreError>;

    /// Waits until a new listing or [`Store::registrations`] may differ from the last (`true`), or until the time is over
    /// (`false`).
    fn wait(&mut self, timeout: Duration) -> Result<bool, StoreError>;

    /// The endpoints that registered themselves, as far as they are known: also while the store cannot be read. The same
    /// `Arc` as before where nothing changed; none where the store has no such endpoints.
    fn registrations(&mut self) -> Option<Arc<Registrations>> {
        None
    }

    /// Tells that there is something to serve while the store does not answer: the next listing is not waited for long.
    fn in_hurry(&mut self) {}

    /// When the store was last heard of. None where that cannot be told: then whatever succeeds is a sign of life.
    fn heard(&self) -> Option<Instant> {
        None
    }
}

/// All that a store holds at one moment.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// What could be read, sorted by path; the same allocation as before where nothing changed.
    pub entries: Arc<[Arc<Entry>]>,
    /// Tenants that a store with one key for each document has as [`TenantTable::put_json`] takes them. They are not in
    /// `entries`.
    pub tenants: TenantTable,
    /// What could not be read, and why, sorted by path. A path that was readable before is in `entries` too, with the
    /// bytes it had then.
    pub faults: Vec<(Arc<str>, String)>,
    /// Grows whenever anything else here changed: two listings of one store with equal revisions are equal.
    pub revision: u64,
    /// Whether each document has a key of its own, so that what cannot be read hides no other one.
    pub keyed: bool,
    /// The generation that the store itself numbers this as, if it does.
    pub generation: Option<u64>,
    /// What else the store says of that generation.
    pub numbered: Option<Numbered>,
}

/// A generation, as a store says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Its number.
    pub number: u64,
    /// The history that it belongs to.
    pub lineage: Arc<str>,
    /// The digest of what the store holds.
    pub digest: Digest,
}

impl Listing {
    /// The faults behind which documents may be hidden: those of files of which there are no earlier bytes either.
    pub fn unreadable(&self) -> impl Iterator<Item = &(Arc<str>, String)> {
        let listed = |path: &Arc<str>| self.entries.binary_search_by(|entry| entry.path.cmp(path)).is_ok();
        self.faults.iter().filter(move |(path, _)| !self.keyed && !listed(path))
    }

    /// Whether nothing could be read.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.tenants.is_empty()
    }
}

/// The bytes of one file or key.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the bytes come from, as shown to people.
    pub path: Arc<str>,
    /// The bytes, unchecked.
    pub bytes: Arc<[u8]>,
    /// What the bytes have to be, where the store has one key for each document.
    pub key: Option<Key>,
}

/// The key of a single document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The document that the key names. Bytes that hold another one are refused.
    pub id: DocumentId,
    /// The revision of the store at which the bytes were written.
    pub revision: i64,
}

/// Why a store as a whole cannot be used just now.
#[derive(Debug)]
pub struct StoreError {
    what: String,
    remedy: &'static str,
    source: Option<io::Error>,
}

impl StoreError {
    /// `what` is wrong, naming the place; `remedy` says what to do about it.
    pub fn new(what: impl Into<String>, remedy: &'static str) -> Self {
        Self { what: what.into(), remedy, source: None }
    }

    /// Adds the error of the system that led here.
    #[must_use]
    pub fn caused_by(mut self, source: io::Error) -> Self {
        self.source = Some(source);
        self
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }

    /// The whole story on one line, cause included, where no error chain is printed.
    pub fn explain(&self) -> String {
        match &self.source {
            Some(source) => format!("{}: {source}; {}", self.what, self.remedy),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
