//! Where the table looks things up: hash tables for hosts and for the paths of all hosts, and what was learned of the
//! texts in them when they were built, so that no look-up is made for a depth that no route has.
//!
//! With thousands of routes the cost is in cache misses, so an entry of each table is one line of the cache.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::text::Text;
use super::{Candidate, HostRoutes};

/// Hosts by name.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    entries: HashTable<Host>,
    hasher: DefaultHashBuilder,
}

/// 64 bytes.
#[derive(Debug)]
#[repr(align(64))]
struct Host {
    name: Text,
    routes: HostRoutes,
}

impl Hosts {
    pub(super) fn get(&self, name: &str) -> Option<&HostRoutes> {
        #[cfg(test)]
        probes::count();
        let name = name.as_bytes();
        let found = self.entries.find(self.hasher.hash_one(name), |host| host.name.as_bytes() == name);
        found.map(|host| &host.routes)
    }

    /// The routes of a host, which are made if there are none yet.
    pub(super) fn entry(&mut self, name: &str, make: impl FnOnce() -> HostRoutes) -> &mut HostRoutes {
        let hasher = &self.hasher;
        let entry = self.entries.entry(
            hasher.hash_one(name.as_bytes()),
            |host| host.name.as_bytes() == name.as_bytes(),
            |host| hasher.hash_one(host.name.as_bytes()),
        );
        &mut entry.or_insert_with(|| Host { name: name.into(), routes: make() }).into_mut().routes
    }

    pub(super) fn routes_mut(&mut self) -> impl Iterator<Item = &mut HostRoutes> {
        self.entries.iter_mut().map(|host| &mut host.routes)
    }
}

/// How a path has to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Exact,
    /// By element; the prefix has no trailing slash, and that of all paths is empty.
    Prefix,
}

/// Routes by host and path. An entry is looked up in one step, whatever their number.
#[derive(Debug, Default)]
pub(super) struct Paths {
    entries: HashTable<Entry>,
    hasher: DefaultHashBuilder,
}

/// 64 bytes with the first candidate inside.
#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    host: u32,
    kind: Kind,
    text: Text,
    candidates: Candidates,
}

/// Routes of the same host and path in the order of precedence, at least one.
#[derive(Debug)]
pub(super) struct Candidates {
    first: Candidate,
    more: Option<Box<More>>,
}

/// Boxed once more than it needs to be, because it is seldom there.
#[derive(Debug, Default)]
struct More(Vec<Candidate>);

impl Candidates {
    /// The first of which this is true.
    pub(super) fn find(&self, is_it: impl Fn(Candidate) -> bool) -> Option<Candidate> {
        if is_it(self.first) {
            return Some(self.first);
        }
        self.more.as_ref()?.0.iter().copied().find(|&candidate| is_it(candidate))
    }

    /// A route may name the same path twice.
    fn push_new(&mut self, candidate: Candidate) {
        let last = self.more.as_ref().and_then(|more| more.0.last()).unwrap_or(&self.first);
        if *last != candidate {
            self.more.get_or_insert_default().0.push(candidate);
        }
    }
}

impl Paths {
    /// Adds a candidate after those that are there.
    pub(super) fn insert(&mut self, host: u32, kind: Kind, text: &str, candidate: Candidate) {
        let hasher = &self.hasher;
        let hash = hasher.hash_one((host, kind, text.as_bytes()));
        if let Some(entry) = self.entries.find_mut(hash, |entry| entry.is(host, kind, text)) {
            entry.candidates.push_new(candidate);
            return;
        }
        let candidates = Candidates { first: candidate, more: None };
        let entry = Entry { host, kind, text: text.into(), candidates };
        self.entries
            .insert_unique(hash, entry, |entry| hasher.hash_one((entry.host, entry.kind, entry.text.as_bytes())));
    }

    pub(super) fn get(&self, host: u32, kind: Kind, text: &str) -> Option<&Candidates> {
        #[cfg(test)]
        probes::count();
        let hash = self.hasher.hash_one((host, kind, text.as_bytes()));
        self.entries.find(hash, |entry| entry.is(host, kind, text)).map(|entry| &entry.candidates)
    }
}

impl Entry {
    fn is(&self, host: u32, kind: Kind, text: &str) -> bool {
        self.host == host && self.kind == kind && self.text.as_bytes() == text.as_bytes()
    }
}

/// The numbers of elements that texts in a table have, each exactly up to 62; 63 stands for all above.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Depths(u64);

impl Depths {
    pub(super) fn insert(&mut self, depth: usize) {
        self.0 |= 1 << depth.min(63);
    }

    fn contain(self, depth: usize) -> bool {
        self.0 & 1 << depth.min(63) != 0
    }

    fn deepest(self) -> Option<usize> {
        match self.0.checked_ilog2()? {
            63 => Some(usize::MAX),
            deepest => Some(deepest as usize),
        }
    }
}

/// The prefixes of a path at the end of an element that have one of these depths, the longest first. What lies deeper
/// in a path than any of them is not read.
pub(super) fn prefixes(path: &str, depths: Depths) -> impl Iterator<Item = &str> {
    let deepest = depths.deepest().filter(|_| path.starts_with('/'));
    let (mut depth, mut rest) = (0, deepest.map(|_| path));
    for (at, byte) in path.bytes().enumerate().filter(|_| deepest.is_some()) {
        if byte == b'/' {
            if Some(depth) == deepest {
                rest = path.get(..at);
                break;
            }
            depth += 1;
        }
    }
    let mut first = true;
    std::iter::from_fn(move || {
        loop {
            if !first {
                depth = depth.saturating_sub(1);
                rest = rest.and_then(|prefix| prefix.get(..prefix.bytes().rposition(|byte| byte == b'/')?));
            }
            first = false;
            let prefix = rest?;
            if depths.contain(depth) {
                return Some(prefix);
            }
        }
    })
}

/// What follows a dot in a host, if something precedes it and it has one of these depths; the longest first.
pub(super) fn suffixes(host: &str, depths: Depths) -> impl Iterator<Item = &str> {
    let labels = if depths.deepest().is_some() { host.bytes().filter(|&byte| byte == b'.').count() } else { 0 };
    let dots = host.match_indices('.').zip((1..=labels).rev());
    let wanted = dots.filter(move |((at, _), depth)| *at > 0 && depths.contain(*depth));
    wanted.filter_map(|((at, _), _)| host.get(at + 1..))
}

/// Counts look-ups, so that tests can say what a request costs without a clock.
#[cfg(test)]
pub(super) mod probes {
    use std::cell::Cell;

    thread_local! {
        static COUNT: Cell<usize> = const { Cell::new(0) };
    }

    pub(in crate::routing) fn count() {
        COUNT.set(COUNT.get() + 1);
    }

    pub(in crate::routing) fn take() -> usize {
        COUNT.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_cache_line() {
        assert_eq!((size_of::<Host>(), align_of::<Host>()), (64, 64));
        assert_eq!((size_of::<Entry>(), align_of::<Entry>()), (64, 64));
    }
}
