//! The entries of one shard: what was counted of its keys, what that takes outside of them, and who goes when there is no
//! room.
//!
//! A key that comes to a full shard puts another out. Entries that follow a random place are looked at for one that says
//! no more than a fresh one; then for one that was used only once, which is what keys of a flood are. Where all are in use, other
//! places are looked at; at last the one that counts the fewest requests goes, because those are handed out once more. So a flood of new keys puts out its own kind,
//! and not those in use. Requests are compared and not times, so that a flood on a slow limit does not put out the keys
//! of a fast one.

use smallvec::SmallVec;

use super::Usage;
use super::slots::{Place, Slots, Whereabouts};
use crate::limit::{Before, Left, Prepared, State, Verdict};

/// Entries looked at to find a good one to put out.
const SAMPLE: usize = 16;
/// How often, when every one of those is in use.
const SAMPLES: usize = 8;
/// Entries put out by one check at the most: so none takes long, and more than a state can grow by is freed in the mean.
const AT_ONCE: usize = 4;
/// Set in an entry's key when it was used again after it came: a bit by which no place is found.
const USED_AGAIN: u64 = 1 << 63;

/// The entries of one shard, by key. A cache line together with the lock, as every check reads most of it.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) slots: Slots,
    /// Bytes that states have outside of themselves.
    heap_bytes: usize,
    evicted: Box<Evicted>,
}

/// How many keys were put out.
#[derive(Debug, Default)]
struct Evicted {
    /// Those that said no more than fresh ones.
    idle: u64,
    /// Those that had something counted.
    others: u64,
}

/// Half a cache line, so that it never takes two of them: mostly the first is in no cache, and waiting for it is most of what a check
/// costs.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Entry {
    /// The first half of the key, with [`USED_AGAIN`] in the place of one bit. Of the second half only what found the shard counts: with
    /// 67 bits and more, any two of ten million keys are the same once in three million such tables, and no attacker knows the seed.
    key: u64,
    pub(super) state: State,
}

/// What an entry is found by.
#[inline]
pub(super) fn hash_of(key: [u64; 2]) -> u64 {
    key[0] & !USED_AGAIN
}

/// The half of a key that finds the shard has random bits left.
fn random_of(key: [u64; 2]) -> usize {
    (key[1] >> 32) as usize
}

impl Entry {
    /// One that was not used again yet.
    pub(super) fn new(hash: u64, state: State) -> Self {
        Self { key: hash, state }
    }

    /// The hash that it is found by.
    #[inline]
    pub(super) fn hash(&self) -> u64 {
        self.key & !USED_AGAIN
    }

    /// Whether it is found by this hash.
    #[inline]
    pub(super) fn is_of(&self, hash: u64) -> bool {
        self.hash() == hash
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

impl Entries {
    /// None yet, of those that may take so many bytes.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { slots: Slots::new(most_bytes), heap_bytes: 0, evicted: Box::default() }
    }

    /// What is known of a key.
    pub(super) fn state(&mut self, key: [u64; 2]) -> Option<&mut State> {
        self.slots.find(hash_of(key)).map(|entry| &mut entry.state)
    }

    /// Lets a request pass and takes of its limit. Nothing, and nothing is taken, where the key is not known, the limit does
    /// not let it pass at once, that could not be undone, or it would need more memory.
    #[inline]
    pub(super) fn pass(&mut self, key: [u64; 2], limit: &Prepared, cost: u32, now: u64) -> Option<(Left, Before)> {
        let entry = self.slots.find(hash_of(key))?;
        entry.is_used();
        limit.pass(&mut entry.state, now, cost)
    }

    /// Asks about a request and takes nothing.
    pub(super) fn ask(&mut self, key: [u64; 2], limit: &Prepared, cost: u32, now: u64) -> Verdict {
        match self.slots.find(hash_of(key)) {
            Some(entry) => {
                entry.is_used();
                limit.ask(&mut entry.state, &mut self.heap_bytes, now, cost)
            }
            None => limit.ask_anew(now, cost),
        }
    }

    /// Undoes that so much [passed](Self::pass) since.
    pub(super) fn restore(&mut self, key: [u64; 2], before: Before, cost: u32) {
        if let Some(state) = self.state(key) {
            state.restore(before, cost);
        }
    }

    /// Gives back permits, if the key is still known. Its state grows by nothing outside of it.
    #[inline]
    pub(super) fn give_back(&mut self, key: [u64; 2], permits: u32) {
        if let Some(state) = self.state(key) {
            state.give_back(permits);
        }
    }

    /// Takes what was admitted, if the key is known, and returns whether it is.
    #[inline]
    pub(super) fn take(&mut self, key: [u64; 2], limit: &Prepared, cost: u32, now: u64) -> bool {
        let entry = self.slots.find(hash_of(key));
        entry.map(|entry| limit.take(&mut entry.state, &mut self.heap_bytes, now, cost)).is_some()
    }

    /// Decides on one request and takes what is admitted.
    #[inline]
    pub(super) fn check(
        &mut self,
        key: [u64; 2],
        limit: &Prepared,
        cost: u32,
        now: u64,
        whereabouts: &Whereabouts,
    ) -> Verdict {
        let Some(entry) = self.slots.find(hash_of(key)) else {
            let verdict = limit.ask_anew(now, cost);
            if verdict.admits() {
                self.insert(key, limit, cost, now, whereabouts);
            }
            return verdict;
        };
        entry.is_used();
        let verdict = limit.check(&mut entry.state, &mut self.heap_bytes, now, cost);
        self.has_grown(key, limit, now);
        verdict
    }

    /// Takes what was admitted of a key that was not known when it was asked about.
    #[cold]
    pub(super) fn take_anew(
        &mut self,
        key: [u64; 2],
        limit: &Prepared,
        cost: u32,
        now: u64,
        whereabouts: &Whereabouts,
    ) {
        // Another limit of the same request may count by the same key.
        if !self.take(key, limit, cost, now) {
            self.insert(key, limit, cost, now, whereabouts);
        }
    }

    /// Makes room if states have become too large for their shard, by what this limit keeps in them.
    #[inline]
    pub(super) fn has_grown(&mut self, key: [u64; 2], limit: &Prepared, now: u64) {
        if limit.keeps_more() && self.is_over() {
            self.make_room(key, now);
        }
    }

    #[inline]
    fn is_over(&self) -> bool {
        self.heap_bytes + self.slots.bytes() > self.slots.most_bytes()
    }

    /// Changes what is known of a key, if anything is.
    pub(super) fn change(&mut self, key: [u64; 2], now: u64, change: impl FnOnce(&mut State)) {
        let Some(state) = self.state(key) else { return };
        let before = state.heap_bytes();
        change(state);
        let after = state.heap_bytes();
        self.heap_bytes = (self.heap_bytes + after).saturating_sub(before);
        if after > before && self.is_over() {
            self.make_room(key, now);
        }
    }

    /// Inserts a key that is not there, of which something is taken.
    #[cold]
    fn insert(&mut self, key: [u64; 2], limit: &Prepared, cost: u32, now: u64, whereabouts: &Whereabouts) {
        let mut state = limit.fresh(now);
        limit.take(&mut state, &mut 0, now, cost);
        // What states have outside of them may be in the way of more places.
        if self.slots.len() >= self.slots.most()
            || self.heap_bytes + self.slots.bytes_with_one_more() > self.slots.most_bytes()
        {
            self.evict(random_of(key), now);
        }
        let heap_bytes = state.heap_bytes();
        self.heap_bytes += heap_bytes;
        self.slots.insert(Entry::new(hash_of(key), state), whereabouts);
        if heap_bytes > 0 && self.is_over() {
            self.make_room(key, now);
        }
    }

    /// Puts entries out while they take more than there is, a few at a time: what a state grows by at once is about as
    /// much as they have.
    #[cold]
    fn make_room(&mut self, key: [u64; 2], now: u64) {
        let mut random = random_of(key);
        for _ in 0..AT_ONCE {
            if !self.is_over() || self.slots.len() <= 1 {
                return;
            }
            // Another place each time that there is something to do, or the same few would be looked at.
            random = random.wrapping_mul(0x9e37_79b9).wrapping_add(self.heap_bytes);
            self.evict(random, now);
        }
    }

    /// Puts out one entry of those that follow a random place, or another one where all of those are in use. Of equals any goes,
    /// and not the first: one that follows many in use would go sooner, until none but those in use were left around them.
    fn evict(&mut self, random: usize, now: u64) {
        let mut victim: Option<(Place, (bool, u64, u64))> = None;
        let mut looked_at: SmallVec<[Place; SAMPLE]> = SmallVec::new();
        let mut begin = random;
        for _ in 0..SAMPLES {
            looked_at.clear();
            for (at, entry) in self.slots.from(begin).take(SAMPLE) {
                let used = entry.state.used(now);
                let rank = (used > 0 && entry.is_used_again(), used, entry.hash() ^ (random as u64) << 31);
                looked_at.push(at);
                if victim.is_none_or(|(_, lowest)| rank < lowest) {
                    victim = Some((at, rank));
                }
                if used == 0 {
                    break;
                }
            }
            if victim.is_none_or(|(_, (in_use, ..))| !in_use) {
                break;
            }
            begin = begin.wrapping_mul(0x9e37_79b9).rotate_left(16) ^ random;
        }
        let Some((at, (in_use, used, _))) = victim else { return };
        if in_use {
            // They were all used again at some time; who is not again from now on is the next to go.
            for at in looked_at {
                if let Some(entry) = self.slots.at(at) {
                    entry.key &= !USED_AGAIN;
                }
            }
        }
        if let Some(entry) = self.slots.remove(at) {
            self.heap_bytes = self.heap_bytes.saturating_sub(entry.state.heap_bytes());
            if used == 0 {
                self.evicted.idle += 1;
            } else {
                self.evicted.others += 1;
            }
        }
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            keys: self.slots.len(),
            bytes: self.slots.bytes() + self.heap_bytes,
            idle_evictions: self.evicted.idle,
            evictions: self.evicted.others,
        }
    }
}
