//! Documents in a directory of files, for people and for mounted ConfigMaps: every `*.yaml`, `*.yml` and `*.json` below it.
//!
//! File events make an edit visible within a fraction of a second; a slow poll that only looks at the files' status makes
//! it visible at all where events are lost (network filesystems, exhausted watches). A file counts only once it keeps
//! still (`settle.rs`), so a half-written one is not read, however it is written: in place, by rename, by a turned link.

mod events;
mod scan;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use self::events::Events;
use self::scan::{Look, MAX_FILE_BYTES, Scan, Stamp};
use self::settle::{Pending, Seen};
use super::{Entry, Listing, Store, StoreError};

/// How often to look when nothing calls for it. It bounds the delay where file events do not arrive, and costs one
/// `stat` a file.
const POLL: Duration = Duration::from_secs(2);
/// The shortest time from one look to the next, whatever happens meanwhile.
const PACE: Duration = Duration::from_millis(40);
/// How long a missing root is waited for when it was there before: a deployment may swap directories in two steps.
const ROOT_GONE: Duration = Duration::from_millis(200);

/// Documents in a directory of files.
pub struct DirectoryStore {
    root: PathBuf,
    poll: Duration,
    events: Option<Events>,
    known: BTreeMap<PathBuf, Known>,
    blind: BTreeMap<PathBuf, String>,
    pending: Pending,
    listing: Listing,
    next_look: Instant,
    /// The last listing failed, or a look since then did.
    failed: bool,
}

/// What is known of one file.
struct Known {
    /// How it looked when it was last read.
    look: Look,
    entry: Option<Arc<Entry>>,
    fault: Option<String>,
}

impl DirectoryStore {
    /// A store over everything below `root`, which need not exist yet. Nothing is touched before the first call.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            poll: POLL,
            events: None,
            known: BTreeMap::new(),
            blind: BTreeMap::new(),
            pending: Pending::default(),
            listing: Listing::default(),
            next_look: Instant::now(),
            failed: false,
        }
    }

    /// Looks this often when no event calls for it.
    #[must_use]
    pub fn with_poll(mut self, poll: Duration) -> Self {
        self.poll = poll.max(PACE);
        self
    }

    /// Why file events cannot be relied on, when they cannot: changes are then noticed by polling alone.
    pub fn warning(&self) -> Option<&str> {
        self.events.as_ref()?.trouble.as_deref()
    }

    /// One look: notes what differs from what was last read.
    fn look(&mut self, now: Instant) -> Result<(), StoreError> {
        let scan = scan::scan(&self.root);
        let directories = scan.as_ref().map_or(const { &BTreeMap::new() }, |scan| &scan.directories);
        let new_watches = self.events.as_mut().is_some_and(|events| events.follow(&self.root, directories));
        let scan = scan?;
        self.pending.observe(self.changes(&scan), now, SystemTime::now());
        self.blind = scan.blind;
        let soon = new_watches || !self.pending.is_empty();
        self.next_look = now + if soon { PACE } else { self.poll };
        Ok(())
    }

    fn changes(&self, scan: &Scan) -> BTreeMap<PathBuf, Seen> {
        let differs = |(path, look): &(&PathBuf, &Look)| match self.known.get(*path) {
            None => true,
            Some(known) => known.look != **look || self.may_have_healed(path, known),
        };
        let mut changes: BTreeMap<PathBuf, Seen> =
            scan.files.iter().filter(differs).map(|(path, look)| (path.clone(), Some(look.clone()))).collect();
        let unknown = |path: &Path| path.ancestors().any(|directory| scan.blind.contains_key(directory));
        let gone = self.known.keys().filter(|path| !scan.files.contains_key(*path) && !unknown(path));
        changes.extend(gone.map(|path| (path.clone(), None)));
        changes
    }

    /// Not everything that makes a file readable again can be seen from its status.
    fn may_have_healed(&self, path: &Path, known: &Known) -> bool {
        known.fault.is_some() && matches!(known.look, Look::File(_)) && read(&self.root.join(path)).is_ok()
    }

    /// Looks until what changed keeps still.
    fn settle(&mut self) -> Result<(), StoreError> {
        let start = Instant::now();
        loop {
            let now = Instant::now();
            match self.look(now) {
                Ok(()) if self.pending.is_ready(now) => return Ok(()),
                Err(error) if self.listing.revision == 0 || now.saturating_duration_since(start) >= ROOT_GONE => {
                    return Err(error);
                }
                Ok(()) | Err(_) => self.pause(now + PACE),
            }
        }
    }

    fn pause(&self, until: Instant) {
        match &self.events {
            Some(events) => events.absorb_until(until),
            // Nobody unparks this thread on purpose, and an early return would only cost one more look.
            None => std::thread::park_timeout(until.saturating_duration_since(Instant::now())),
        }
    }

    /// Reads what changed.
    fn take_in(&mut self, path: PathBuf, seen: Seen) {
        let Some(look) = seen else {
            self.known.remove(&path);
            return;
        };
        let full = self.root.join(&path);
        let before = self.known.remove(&path).and_then(|known| known.entry);
        let (look, outcome) = match look {
            Look::Fault(why) => (Look::Fault(why.clone()), Err(why)),
            Look::File(stamp) => match read(&full) {
                Ok((stamp, bytes)) => (Look::File(stamp), Ok(bytes)),
                Err(why) => (Look::File(stamp), Err(why)),
            },
        };
        let (entry, fault) = match outcome {
            Ok(bytes) => (Some(keep_if_equal(before, &full, bytes)), None),
            Err(why) => (before, Some(why)),
        };
        self.known.insert(path, Known { look, entry, fault });
    }

    /// Puts the listing together, with a new revision if it differs from the last one.
    fn publish(&mut self) -> Listing {
        let shown = |path: &Path| Arc::from(self.root.join(path).display().to_string());
        let mut entries: Vec<Arc<Entry>> = self.known.values().filter_map(|known| known.entry.clone()).collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let broken = self.known.iter().filter_map(|(path, known)| Some((path, known.fault.as_ref()?)));
        let faults: BTreeSet<(Arc<str>, String)> =
            broken.chain(&self.blind).map(|(path, why)| (shown(path), why.clone())).collect();
        let faults: Vec<_> = faults.into_iter().collect();
        let same_entries = entries.iter().map(Arc::as_ptr).eq(self.listing.entries.iter().map(Arc::as_ptr));
        if self.listing.revision == 0 || !same_entries || faults != self.listing.faults {
            let revision = self.listing.revision + 1;
            self.listing = Listing { entries: entries.into(), faults, revision, ..Listing::default() };
        }
        self.listing.clone()
    }

    /// One look on behalf of [`Store::wait`]: whether a listing could differ now.
    fn look_for_change(&mut self, now: Instant) -> bool {
        let blind = std::mem::take(&mut self.blind);
        if self.look(now).is_ok() {
            let recovered = std::mem::take(&mut self.failed);
            let settled = !self.pending.is_empty() && self.pending.is_ready(now);
            return recovered || settled || blind != self.blind;
        }
        self.blind = blind;
        self.next_look = now + self.poll;
        // Told once; from then on only a recovery is news.
        !std::mem::replace(&mut self.failed, true)
    }
}

impl Store for DirectoryStore {
    fn describe(&self) -> String {
        let root = self.root.display();
        match (&self.events, self.warning()) {
            (None, _) => format!("directory {root}"),
            (Some(_), None) => format!("directory {root}, followed by file events"),
            (Some(_), Some(why)) => format!("directory {root}, polled every {:?} because {why}", self.poll),
        }
    }

    fn list(&mut self) -> Result<Listing, StoreError> {
        let settled = self.settle();
        self.failed = settled.is_err();
        settled?;
        for (path, seen) in self.pending.take(Instant::now()) {
            self.take_in(path, seen);
        }
        Ok(self.publish())
    }

    fn wait(&mut self, timeout: Duration) -> Result<bool, StoreError> {
        let start = Instant::now();
        if self.events.is_none() {
            // Whoever lists only once, as gridctl does, needs no watches.
            self.events = Some(Events::start(&self.root));
            self.next_look = start;
        }
        loop {
            let now = Instant::now();
            if now >= self.next_look && self.look_for_change(now) {
                return Ok(true);
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            let until = self.next_look.min(Instant::now() + left);
            if self.events.as_ref().is_some_and(|events| events.wait_until(until)) {
                self.next_look = self.next_look.min(now + PACE);
            }
        }
    }
}

/// Reads one file whole, as [`DirectoryStore`] would, for tools that are given files. The error is a text about `path`,
/// like those in [`Listing::faults`].
pub fn read_file(path: &Path) -> Result<Entry, String> {
    let metadata = path.metadata().map_err(|error| scan::explain(path, &error))?;
    if let Look::Fault(why) = scan::look_at(&metadata) {
        return Err(why);
    }
    let (_, bytes) = read(path)?;
    Ok(Entry { path: Arc::from(path.display().to_string()), bytes: Arc::from(bytes), key: None })
}

/// Reads a file, and how it looked just before: if it changes while it is read, the next look sees a difference.
fn read(path: &Path) -> Result<(Stamp, Vec<u8>), String> {
    let attempt = || -> io::Result<(Stamp, Vec<u8>)> {
        let file = File::open(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        Ok((stamp, bytes))
    };
    let (stamp, bytes) = attempt().map_err(|error| scan::explain(path, &error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(scan::too_large(bytes.len() as u64));
    }
    Ok((stamp, bytes))
}

/// An entry that did not change keeps its `Arc`, also when the file was touched or replaced by an equal one.
fn keep_if_equal(before: Option<Arc<Entry>>, path: &Path, bytes: Vec<u8>) -> Arc<Entry> {
    match before {
        Some(entry) if *entry.bytes == *bytes => entry,
        _ => Arc::new(Entry { path: Arc::from(path.display().to_string()), bytes: Arc::from(bytes), key: None }),
    }
}
