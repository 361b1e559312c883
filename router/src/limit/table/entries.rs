//! The entries of one shard: a hash table, what its states have outside of it, and who goes when there is no room.
//!
//! The hash table grows up to seven eighths of the shard's bytes, and is full when 7 of 16 places are taken: above,
//! hashbrown would double it to make room for tombstones. What states have outside of their entries counts too.
//!
//! A key that comes to a full shard puts another out. Entries that follow a random place are looked at for one that says
//! no more than a fresh one; then for one that was used only once, which is what keys of a flood are; then the one that
//! counts the fewest requests goes, because those are handed out once more. So a flood of new keys puts out its own kind,
//! and not those in use. Requests are compared and not times, so that a flood on a slow limit does not put out the keys
//! of a fast one.

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::Usage;
use crate::limit::{Prepared, State, Verdict};

/// Entries looked at to find a good one to put out.
const SAMPLE: usize = 16;
/// Entries looked at when every one of those is in use.
const WIDE_SAMPLE: usize = 64;
/// Entries put out by one check at the most: so none takes long, and more than a state can grow by is freed in the mean.
const AT_ONCE: usize = 4;
/// Set in an entry's key when it was used again after it came: a bit by which hashbrown neither finds a place, which are the lowest, nor
/// tells entries from each other before it looks at them, which are the highest seven.
const USED_AGAIN: u64 = 1 << 56;

/// Where an entry is, until one comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

/// The entries of one shard, by key.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) table: HashTable<Entry>,
    /// Keys that are kept at the most.
    pub(super) most_keys: usize,
    room: Room,
    idle_evictions: u64,
    evictions: u64,
}

/// How much room a shard has, and takes, in bytes.
#[derive(Debug)]
struct Room {
    /// What all of it may take.
    most: usize,
    /// What the table has, which changes only when a key comes.
    table: usize,
    /// What the states have outside of the table.
    heap: usize,
}

impl Room {
    #[inline]
    fn is_over(&self) -> bool {
        self.heap + self.table > self.most
    }
}

/// Half a cache line, so that it never takes two of them: mostly the first is in no cache, and waiting for it is most of what a check
/// costs.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Entry {
    /// The first half of the key, with [`USED_AGAIN`] in the place of one bit. Of the second half only what found the shard counts: with
    /// 69 bits and more, any two of ten million keys are the same once in ten million such tables, and no attacker knows the seed.
    key: u64,
    pub(super) state: State,
}

/// What an entry is found by.
#[inline]
fn hash_of(key: [u64; 2]) -> u64 {
    key[0] & !USED_AGAIN
}

impl Entry {
    #[inline]
    fn hash(&self) -> u64 {
        self.key & !USED_AGAIN
    }

    #[inline]
    fn is_of(&self, key: [u64; 2]) -> bool {
        self.hash() == hash_of(key)
    }

    /// It was used again. Not written where it is known: what several cores only read they may all have at hand.
    #[inline]
    fn is_used(&mut self) {
        if !self.is_used_again() {
            self.key |= USED_AGAIN;
        }
    }

    fn is_used_again(&self) -> bool {
        self.key & USED_AGAIN != 0
    }
}

/// The half of a key that finds the shard has random bits left.
fn random_of(key: [u64; 2]) -> usize {
    (key[1] >> 32) as usize
}

/// What is known of a key, in its shard.
#[derive(Debug)]
pub(super) struct Known<'e> {
    entry: &'e mut Entry,
    room: &'e mut Room,
}

impl Known<'_> {
    /// What a limit says, of which nothing is taken yet.
    #[inline]
    pub(super) fn ask(&mut self, limit: &Prepared, cost: u32, now: u64) -> Verdict {
        self.entry.is_used();
        limit.ask(&mut self.entry.state, &mut self.room.heap, now, cost)
    }

    /// Whether states have become too large for their shard, by what this limit keeps in them.
    #[inline]
    pub(super) fn is_too_much(&self, limit: &Prepared) -> bool {
        limit.keeps_more() && self.room.is_over()
    }

    /// Takes what was admitted.
    #[inline]
    pub(super) fn take(&mut self, limit: &Prepared, cost: u32, now: u64) {
        limit.take(&mut self.entry.state, &mut self.room.heap, now, cost);
    }
}

impl Entries {
    /// None yet, of those that may take so many bytes.
    pub(super) fn new(most_bytes: usize) -> Self {
        // A place is an entry and one byte of hashbrown's own.
        let places = (most_bytes / 8 * 7 / (size_of::<Entry>() + 1)).checked_ilog2().map_or(1, |log| 1_usize << log);
        let most_keys = (places * 7 / 16).max(1);
        Self {
            table: HashTable::new(),
            most_keys,
            room: Room { most: most_bytes, table: 0, heap: 0 },
            idle_evictions: 0,
            evictions: 0,
        }
    }

    /// Where a key is, if it is known.
    #[inline]
    pub(super) fn find(&self, key: [u64; 2]) -> Option<Place> {
        self.table.find_bucket_index(hash_of(key), |entry| entry.is_of(key)).map(Place)
    }

    /// What is known of a key.
    pub(super) fn state(&self, key: [u64; 2]) -> Option<&State> {
        self.table.find(hash_of(key), |entry| entry.is_of(key)).map(|entry| &entry.state)
    }

    /// The same, to be asked and taken of.
    #[inline]
    pub(super) fn known(&mut self, key: [u64; 2]) -> Option<Known<'_>> {
        let entry = self.table.find_mut(hash_of(key), |entry| entry.is_of(key))?;
        Some(Known { entry, room: &mut self.room })
    }

    #[inline]
    fn at(&mut self, at: Option<Place>) -> Option<Known<'_>> {
        let entry = at.and_then(|Place(at)| self.table.get_bucket_mut(at))?;
        Some(Known { entry, room: &mut self.room })
    }

    /// What a limit says of a key that is at this place, or at none. Nothing is taken yet.
    pub(super) fn ask(&mut self, at: Option<Place>, limit: &Prepared, cost: u32, now: u64) -> Verdict {
        match self.at(at) {
            Some(mut known) => known.ask(limit, cost, now),
            None => limit.ask_anew(now, cost),
        }
    }

    /// Decides on one request and takes what is admitted.
    #[inline]
    pub(super) fn check(&mut self, key: [u64; 2], limit: &Prepared, cost: u32, now: u64) -> Verdict {
        let Some(known) = self.known(key) else {
            let verdict = limit.ask_anew(now, cost);
            if verdict.admits() {
                self.insert(key, limit, cost, now);
            }
            return verdict;
        };
        known.entry.is_used();
        let verdict = limit.check(&mut known.entry.state, &mut known.room.heap, now, cost);
        self.has_grown(key, limit, now);
        verdict
    }

    /// Takes what was admitted, if it was, of a key that is at this place, or at none.
    pub(super) fn settle(
        &mut self,
        at: Option<Place>,
        key: [u64; 2],
        limit: &Prepared,
        admitted: Option<u32>,
        now: u64,
    ) {
        if let Some(cost) = admitted {
            match self.at(at) {
                Some(mut known) => known.take(limit, cost, now),
                None => return self.insert(key, limit, cost, now),
            }
        }
        self.has_grown(key, limit, now);
    }

    /// Makes room if what a key's state has outside of itself became too much.
    #[inline]
    pub(super) fn has_grown(&mut self, key: [u64; 2], limit: &Prepared, now: u64) {
        if limit.keeps_more() && self.room.is_over() {
            self.make_room(key, now);
        }
    }

    /// Changes what is known of a key, if anything is.
    pub(super) fn change(&mut self, key: [u64; 2], now: u64, change: impl FnOnce(&mut State)) {
        let Some(entry) = self.table.find_mut(hash_of(key), |entry| entry.is_of(key)) else { return };
        let before = entry.state.heap_bytes();
        change(&mut entry.state);
        let after = entry.state.heap_bytes();
        self.room.heap = (self.room.heap + after).saturating_sub(before);
        if after > before && self.room.is_over() {
            self.make_room(key, now);
        }
    }

    /// Inserts a key that is not there, of which something is taken.
    pub(super) fn insert(&mut self, key: [u64; 2], limit: &Prepared, cost: u32, now: u64) {
        let mut state = limit.fresh(now);
        limit.take(&mut state, &mut 0, now, cost);
        if self.table.len() >= self.most_keys {
            self.evict(random_of(key), now);
        }
        let heap_bytes = state.heap_bytes();
        self.room.heap += heap_bytes;
        let entry = Entry { key: hash_of(key), state };
        self.table.insert_unique(hash_of(key), entry, Entry::hash);
        self.room.table = self.table.allocation_size();
        if heap_bytes > 0 && self.room.is_over() {
            self.make_room(key, now);
        }
    }

    /// Puts entries out while they take more than there is, a few at a time: what a state grows by at once is about as
    /// much as they have.
    #[cold]
    fn make_room(&mut self, key: [u64; 2], now: u64) {
        let mut random = random_of(key);
        for _ in 0..AT_ONCE {
            if !self.room.is_over() || self.table.len() <= 1 {
                return;
            }
            // Another place each time that there is something to do, or the same few would be looked at.
            random = random.wrapping_mul(0x9e37_79b9).wrapping_add(self.room.heap);
            self.evict(random, now);
        }
    }

    /// Puts out one entry of those that follow a random place. At least 7 of 32 places are taken when a shard is full of
    /// keys, so it looks at about 70 in the rule, and at about 290 when all are in use.
    fn evict(&mut self, random: usize, now: u64) {
        let places = self.table.num_buckets();
        let start = random & places.wrapping_sub(1);
        let mut victim: Option<(usize, (bool, u64))> = None;
        let mut looked_at: SmallVec<[usize; SAMPLE]> = SmallVec::new();
        let taken = (start..places).chain(0..start).filter_map(|at| Some((at, self.table.get_bucket(at)?)));
        for (number, (at, entry)) in taken.take(WIDE_SAMPLE).enumerate() {
            let used = entry.state.used(now);
            let rank = (used > 0 && entry.is_used_again(), used);
            if number < SAMPLE {
                looked_at.push(at);
            }
            if victim.is_none_or(|(_, lowest)| rank < lowest) {
                victim = Some((at, rank));
            }
            // Beyond the sample, the first that is not in use will do.
            if used == 0 || (number + 1 >= SAMPLE && victim.is_some_and(|(_, (in_use, _))| !in_use)) {
                break;
            }
        }
        let Some((at, (in_use, used))) = victim else { return };
        if in_use {
            // They were all used again at some time; who is not again from now on is the next to go.
            for at in looked_at {
                if let Some(entry) = self.table.get_bucket_mut(at) {
                    entry.key &= !USED_AGAIN;
                }
            }
        }
        if let Ok(entry) = self.table.get_bucket_entry(at) {
            let (entry, _) = entry.remove();
            self.room.heap = self.room.heap.saturating_sub(entry.state.heap_bytes());
            if used == 0 {
                self.idle_evictions += 1;
            } else {
                self.evictions += 1;
            }
        }
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            keys: self.table.len(),
            bytes: self.room.table + self.room.heap,
            idle_evictions: self.idle_evictions,
            evictions: self.evictions,
        }
    }
}
