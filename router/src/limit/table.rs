//! What limits have counted, by key, in bounded memory.
//!
//! Keys are spread over shards, each a lock around a hash table of 40-byte entries; a check holds one lock for some
//! 30 ns. A request that meets several limits holds the locks of all of them, taken in the order of the shards, so that
//! it takes from all or from none.
//!
//! A shard has a share of the table's budget in bytes. Its hash table grows up to seven eighths of that, and is full
//! when 7 of 16 places are taken: above, hashbrown would double it to make room for tombstones. What states have outside
//! of their entries counts too.
//!
//! A key that comes to a full shard puts another out. Entries that follow a random place are looked at for one that says
//! no more than a fresh one; then for one that was used only once, which is what keys of a flood are; then the one that
//! counts the fewest requests goes, because those are handed out once more. So a flood of new keys puts out its own kind,
//! and not those in use. Requests are compared and not times, so that a flood on a slow limit does not put out the keys
//! of a fast one.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::key::{KeyHash, KeyHasher};
use super::{Answered, Outcome, Prepared, State, Verdict};

/// Entries looked at to find a good one to put out.
const SAMPLE: usize = 16;
/// Entries looked at when every one of those is in use.
const WIDE_SAMPLE: usize = 64;
/// Entries put out by one check at the most: so none takes long, and more than a state can grow by is freed in the mean.
const AT_ONCE: usize = 4;
/// Set in an entry's key when it was used again after it came.
const USED_AGAIN: u64 = 1 << 63;

/// What one limit is asked about a request, and what it says.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What is counted.
    pub key: KeyHash,
    /// The limit.
    pub limit: &'a Prepared,
    /// How much the request costs, at least 1.
    pub cost: u32,
    /// Whether a refusal refuses the request. If not, the others do not care what this one says.
    pub enforced: bool,
    /// What it said, once it was asked.
    pub verdict: Verdict,
}

impl<'a> Ask<'a> {
    /// A question that was not asked yet.
    pub fn new(key: KeyHash, limit: &'a Prepared, cost: u32, enforced: bool) -> Self {
        Self { key, limit, cost, enforced, verdict: UNASKED }
    }
}

const UNASKED: Verdict = Verdict { outcome: Outcome::Pass, remaining: 0, retry_after_nanos: 0, reset_nanos: 0 };

/// What has a question in it.
pub trait Asking<'a> {
    /// The question.
    fn ask(&mut self) -> &mut Ask<'a>;
}

impl<'a> Asking<'a> for Ask<'a> {
    fn ask(&mut self) -> &mut Ask<'a> {
        self
    }
}

/// What limits have counted, by key; one table is shared by all threads and outlives snapshots.
#[derive(Debug)]
pub struct LimitTable {
    seed: u64,
    /// A power of two.
    shards: Box<[Shard]>,
}

impl LimitTable {
    /// A table that takes about this many bytes at the most, and keeps at least one key a shard. It has 64 shards a
    /// core, at least 64 and at most 512: with many more shards than threads two threads seldom meet, and with many more
    /// than limits of a request two keys of it seldom do. Keys are hashed with a random seed.
    pub fn new(budget_bytes: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let shards = (cores * 64).next_power_of_two().clamp(64, 512);
        Self::with_shards(budget_bytes, shards, RandomState::new().hash_one(budget_bytes))
    }

    fn with_shards(budget_bytes: usize, shards: usize, seed: u64) -> Self {
        let budget = budget_bytes / shards;
        Self {
            seed,
            shards: (0..shards).map(|_| Shard { budget: Budget::new(budget), entries: Mutex::default() }).collect(),
        }
    }

    /// Begins the key of a limit: see [`KeyHasher::new`] for what `limit_id` must be.
    #[inline]
    pub fn key(&self, limit_id: u32) -> KeyHasher {
        KeyHasher::new(self.seed, limit_id)
    }

    /// The key of a limit that has one part: see [`KeyHasher::only`].
    #[inline]
    pub fn key_of(&self, limit_id: u32, part: &[u8]) -> KeyHash {
        KeyHasher::only(self.seed, limit_id, part)
    }

    /// Decides on one request and counts it in every limit if all those that are enforced admit it, and in those that
    /// are not if they would. Returns whether it is admitted. `now` is in nanoseconds since an epoch of the process.
    pub fn check<'a>(&self, asks: &mut [impl Asking<'a>], now: u64) -> bool {
        match asks {
            [] => true,
            [one] => {
                let ask = one.ask();
                let (shard, key) = self.shard(ask.key);
                ask.verdict = shard.lock().check(&shard.budget, key, ask.limit, ask.cost, now);
                ask.verdict.admits() || !ask.enforced
            }
            several if several.len() <= FEW => {
                let mut order = [Turn::default(); FEW];
                let order = self.order(several, &mut order);
                self.check_in_turn(order, several, true, now)
            }
            many => {
                let mut order = vec![Turn::default(); many.len()];
                let order = self.order(many, &mut order);
                self.check_in_turn(order, many, true, now)
            }
        }
    }

    /// Decides on one request of one limit, which is enforced.
    pub fn check_one(&self, key: KeyHash, limit: &Prepared, cost: u32, now: u64) -> Verdict {
        let (shard, key) = self.shard(key);
        shard.lock().check(&shard.budget, key, limit, cost, now)
    }

    /// The asks in the order in which the locks of their shards are taken: that of the shards, so that no two threads
    /// ever wait for each other. `room` is for as many as there are asks.
    fn order<'a, 'o>(&self, asks: &mut [impl Asking<'a>], room: &'o mut [Turn]) -> &'o [Turn] {
        let mut sorted: usize = 0;
        for (number, one) in asks.iter_mut().enumerate() {
            let turn = Turn { shard: self.index(one.ask().key), ask: number };
            // They are few: each is put where it belongs among those before it.
            let mut at: usize = sorted;
            while let Some(before) = at.checked_sub(1).and_then(|before| room.get(before)).copied()
                && before.shard > turn.shard
            {
                if let Some(place) = room.get_mut(at) {
                    *place = before;
                }
                at -= 1;
            }
            if let Some(place) = room.get_mut(at) {
                *place = turn;
            }
            sorted += 1;
        }
        room.get(..sorted).unwrap_or_default()
    }

    /// Asks the first of these, which holds its lock while those after it are asked, and takes if all admit it.
    fn check_in_turn<'a>(&self, order: &[Turn], asks: &mut [impl Asking<'a>], so_far: bool, now: u64) -> bool {
        let Some((first, others)) = order.split_first() else { return so_far };
        let (Some(shard), Some(one)) = (self.shards.get(first.shard), asks.get_mut(first.ask)) else { return so_far };
        if others.first().is_some_and(|next| next.shard == first.shard) {
            return self.check_in_one_shard(shard, order, asks, so_far, now);
        }
        let Ask { key, limit, cost, enforced, .. } = *one.ask();
        let (mut entries, key) = (shard.lock(), key.halves());
        let Entries { table, heap_bytes, .. } = &mut *entries;
        if let Some(entry) = table.find_mut(key[0], |entry| entry.is_of(key)) {
            let before = limit.keeps_more().then(|| entry.state.heap_bytes());
            let verdict = entry.ask(limit, cost, now);
            one.ask().verdict = verdict;
            let so_far = so_far && (verdict.admits() || !enforced);
            let admitted = self.check_in_turn(others, asks, so_far, now);
            if admitted && verdict.admits() {
                limit.take(&mut entry.state, now, cost);
            }
            if let Some(before) = before {
                *heap_bytes = (*heap_bytes + entry.state.heap_bytes()).saturating_sub(before);
                entries.make_room(&shard.budget, key, now);
            }
            return admitted;
        }
        let verdict = limit.ask(&mut limit.fresh(now), now, cost);
        one.ask().verdict = verdict;
        let admitted = self.check_in_turn(others, asks, so_far && (verdict.admits() || !enforced), now);
        if admitted && verdict.admits() {
            entries.take(&shard.budget, key, limit, cost, now);
        }
        admitted
    }

    /// The same, where several keys are in the same shard.
    #[cold]
    fn check_in_one_shard<'a>(
        &self,
        shard: &Shard,
        order: &[Turn],
        asks: &mut [impl Asking<'a>],
        mut so_far: bool,
        now: u64,
    ) -> bool {
        let index = order.first().map_or(usize::MAX, |turn| turn.shard);
        let (here, others) = order.split_at(order.iter().take_while(|turn| turn.shard == index).count());
        let mut entries = shard.lock();
        for turn in here {
            let Some(one) = asks.get_mut(turn.ask) else { continue };
            let ask = one.ask();
            ask.verdict = entries.ask(ask.key.halves(), ask.limit, ask.cost, now);
            so_far &= ask.verdict.admits() || !ask.enforced;
        }
        let admitted = self.check_in_turn(others, asks, so_far, now);
        for turn in here.iter().filter(|_| admitted) {
            let Some(one) = asks.get_mut(turn.ask) else { continue };
            let ask = one.ask();
            if ask.verdict.admits() {
                entries.take(&shard.budget, ask.key.halves(), ask.limit, ask.cost, now);
            }
        }
        admitted
    }

    /// What [`check`](Self::check) would say; counts nothing.
    pub fn peek<'a>(&self, asks: &mut [impl Asking<'a>], now: u64) -> bool {
        let mut admitted = true;
        for one in asks {
            let ask = one.ask();
            let (shard, key) = self.shard(ask.key);
            let known = shard.lock().find(key).map(|entry| entry.state.clone());
            ask.verdict = ask.limit.ask(&mut known.unwrap_or_else(|| ask.limit.fresh(now)), now, ask.cost);
            admitted &= ask.verdict.admits() || !ask.enforced;
        }
        admitted
    }

    /// Takes more of a limit than it was asked for, or gives back, if the key is still known.
    pub fn charge(&self, key: KeyHash, limit: &Prepared, cost: i64, now: u64) {
        self.change(key, now, |state| limit.charge(state, now, cost));
    }

    /// Ends a request that was counted while it lasted.
    pub fn release(&self, key: KeyHash, limit: &Prepared, cost: u32, answered: Answered, now: u64) {
        self.change(key, now, |state| limit.release(state, now, cost, answered));
    }

    /// Gives back the turn, at `turn` nanoseconds, of a request that waited for it and has gone.
    pub fn leave(&self, key: KeyHash, limit: &Prepared, turn: u64, cost: u32, now: u64) {
        self.change(key, now, |state| limit.leave(state, now, turn, cost));
    }

    fn change(&self, key: KeyHash, now: u64, change: impl FnOnce(&mut State)) {
        let (shard, key) = self.shard(key);
        let mut entries = shard.lock();
        let Some(entry) = entries.find(key) else { return };
        let before = entry.state.heap_bytes();
        change(&mut entry.state);
        let after = entry.state.heap_bytes();
        entries.heap_bytes = (entries.heap_bytes + after).saturating_sub(before);
        if after > before {
            entries.make_room(&shard.budget, key, now);
        }
    }

    /// What the table holds.
    pub fn usage(&self) -> Usage {
        self.shards.iter().map(|shard| shard.lock().usage()).fold(Usage::default(), |sum, one| Usage {
            keys: sum.keys + one.keys,
            bytes: sum.bytes + one.bytes,
            idle_evictions: sum.idle_evictions + one.idle_evictions,
            evictions: sum.evictions + one.evictions,
        })
    }

    fn index(&self, key: KeyHash) -> usize {
        key.halves()[1] as usize & (self.shards.len() - 1)
    }

    /// One half of the key finds the shard, the other one the place in it.
    fn shard(&self, key: KeyHash) -> (&Shard, [u64; 2]) {
        (&self.shards[self.index(key)], key.halves())
    }
}

/// What a table holds, and what it had to forget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys that something is known of.
    pub keys: usize,
    /// Bytes that they take.
    pub bytes: usize,
    /// Keys forgotten that said no more than fresh ones.
    pub idle_evictions: u64,
    /// Keys forgotten that had something counted.
    pub evictions: u64,
}

/// Limits of one request that are asked without allocating.
const FEW: usize = 8;

/// An ask, by its number, and the shard that its key is in.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    shard: usize,
    ask: usize,
}

/// What a shard may take.
#[derive(Debug)]
struct Budget {
    bytes: usize,
    /// Keys that it keeps at the most.
    keys: usize,
}

impl Budget {
    fn new(bytes: usize) -> Self {
        // A place is an entry and one byte of hashbrown's own.
        let places = (bytes / 8 * 7 / (size_of::<Entry>() + 1)).checked_ilog2().map_or(1, |log| 1_usize << log);
        Self { bytes, keys: (places * 7 / 16).max(1) }
    }
}

/// On cache lines of its own (two of them: processors fetch pairs), so that neighbours do not slow each other down.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    budget: Budget,
    entries: Mutex<Entries>,
}

impl Shard {
    /// A thread that panicked left nothing half done that matters more than serving the others.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Entries {
    table: HashTable<Entry>,
    /// What the states have outside of the table.
    heap_bytes: usize,
    idle_evictions: u64,
    evictions: u64,
}

#[derive(Debug)]
struct Entry {
    /// The key, with [`USED_AGAIN`] in the place of its highest bit. Not a `u128`, whose alignment would make 48 bytes
    /// out of 40.
    key: [u64; 2],
    state: State,
}

impl Entry {
    #[inline]
    fn is_of(&self, key: [u64; 2]) -> bool {
        self.key[0] == key[0] && (self.key[1] ^ key[1]) & !USED_AGAIN == 0
    }

    #[inline]
    fn ask(&mut self, limit: &Prepared, cost: u32, now: u64) -> Verdict {
        self.key[1] |= USED_AGAIN;
        limit.ask(&mut self.state, now, cost)
    }

    fn is_used_again(&self) -> bool {
        self.key[1] & USED_AGAIN != 0
    }
}

/// The half of a key that finds the shard has random bits left.
fn random_of(key: [u64; 2]) -> usize {
    (key[1] >> 32) as usize
}

impl Entries {
    #[inline]
    fn find(&mut self, key: [u64; 2]) -> Option<&mut Entry> {
        self.table.find_mut(key[0], |entry| entry.is_of(key))
    }

    #[inline]
    fn check(&mut self, budget: &Budget, key: [u64; 2], limit: &Prepared, cost: u32, now: u64) -> Verdict {
        let Some(entry) = self.table.find_mut(key[0], |entry| entry.is_of(key)) else {
            let verdict = limit.ask(&mut limit.fresh(now), now, cost);
            if verdict.admits() {
                self.take(budget, key, limit, cost, now);
            }
            return verdict;
        };
        let before = limit.keeps_more().then(|| entry.state.heap_bytes());
        let verdict = entry.ask(limit, cost, now);
        if verdict.admits() {
            limit.take(&mut entry.state, now, cost);
        }
        if let Some(before) = before {
            self.heap_bytes = (self.heap_bytes + entry.state.heap_bytes()).saturating_sub(before);
            self.make_room(budget, key, now);
        }
        verdict
    }

    /// What a limit says, of which nothing is taken yet.
    fn ask(&mut self, key: [u64; 2], limit: &Prepared, cost: u32, now: u64) -> Verdict {
        let Some(entry) = self.table.find_mut(key[0], |entry| entry.is_of(key)) else {
            return limit.ask(&mut limit.fresh(now), now, cost);
        };
        let before = entry.state.heap_bytes();
        let verdict = entry.ask(limit, cost, now);
        self.heap_bytes = (self.heap_bytes + entry.state.heap_bytes()).saturating_sub(before);
        verdict
    }

    /// Takes what was admitted.
    fn take(&mut self, budget: &Budget, key: [u64; 2], limit: &Prepared, cost: u32, now: u64) {
        if let Some(entry) = self.table.find_mut(key[0], |entry| entry.is_of(key)) {
            let before = entry.state.heap_bytes();
            limit.take(&mut entry.state, now, cost);
            self.heap_bytes = (self.heap_bytes + entry.state.heap_bytes()).saturating_sub(before);
            self.make_room(budget, key, now);
        } else {
            let mut state = limit.fresh(now);
            limit.take(&mut state, now, cost);
            self.insert(budget, key, state, now);
        }
    }

    /// Inserts a key that is not there.
    fn insert(&mut self, budget: &Budget, key: [u64; 2], state: State, now: u64) {
        let heap_bytes = state.heap_bytes();
        if self.table.len() >= budget.keys {
            self.evict(random_of(key), now);
        }
        self.heap_bytes += heap_bytes;
        let entry = Entry { key: [key[0], key[1] & !USED_AGAIN], state };
        self.table.insert_unique(key[0], entry, |entry| entry.key[0]);
        if heap_bytes > 0 {
            self.make_room(budget, key, now);
        }
    }

    /// Puts entries out while they take more than there is, a few at a time: what a state grows by at once is about as
    /// much as they have.
    fn make_room(&mut self, budget: &Budget, key: [u64; 2], now: u64) {
        let mut random = random_of(key);
        for _ in 0..AT_ONCE {
            if self.heap_bytes + self.table.allocation_size() <= budget.bytes || self.table.len() <= 1 {
                return;
            }
            // Another place each time that there is something to do, or the same few would be looked at.
            random = random.wrapping_mul(0x9e37_79b9).wrapping_add(self.heap_bytes);
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
                    entry.key[1] &= !USED_AGAIN;
                }
            }
        }
        if let Ok(entry) = self.table.get_bucket_entry(at) {
            let (entry, _) = entry.remove();
            self.heap_bytes = self.heap_bytes.saturating_sub(entry.state.heap_bytes());
            if used == 0 {
                self.idle_evictions += 1;
            } else {
                self.evictions += 1;
            }
        }
    }

    fn usage(&self) -> Usage {
        Usage {
            keys: self.table.len(),
            bytes: self.table.allocation_size() + self.heap_bytes,
            idle_evictions: self.idle_evictions,
            evictions: self.evictions,
        }
    }
}

#[cfg(test)]
mod tests;
