//! Where the table looks things up: one hash table for the paths of all hosts, and what was learned of the texts in it
//! when it was built, so that no look-up is made for a depth that no route has.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Candidate;
use super::text::Text;

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

/// 64 bytes with the first candidate inside: with thousands of routes the cost is in cache misses.
#[derive(Debug)]
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
    more: Vec<Candidate>,
}

impl Candidates {
    pub(super) fn iter(&self) -> impl Iterator<Item = Candidate> {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }

    /// A route may name the same path twice.
    fn push_new(&mut self, candidate: Candidate) {
        if *self.more.last().unwrap_or(&self.first) != candidate {
            self.more.push(candidate);
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
        let candidates = Candidates { first: candidate, more: Vec::new() };
        let entry = Entry { host, kind, text: text.into(), candidates };
        self.entries.insert_unique(hash, entry, |entry| hasher.hash_one((entry.host, entry.kind, &entry.text)));
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
    std::iter::from_fn(move || {
        loop {
            let (prefix, its_depth) = (rest?, depth);
            depth = depth.saturating_sub(1);
            rest = prefix.rfind('/').and_then(|at| prefix.get(..at));
            if depths.contain(its_depth) {
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
