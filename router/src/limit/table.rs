//! What limits have counted, by key, in bounded memory.
//!
//! Keys are spread over shards, each a lock around a hash table of 40-byte entries; a check holds one lock for some
//! 30 ns. A shard grows as keys come, up to its share of the capacity. Full and with keys coming and going its table
//! is between 7/32 and 7/16 filled (it doubles until half of it can be tombstones), which is 94 to 188 bytes a key.
//!
//! A key that comes to a full shard puts another out: of eight entries at a random place the first that says no more
//! than a fresh one, else the one that counts the fewest requests, because those are handed out once more. So a flood
//! of new keys puts out its own kind, which count one request each, and not the few that have used much of their
//! burst. Requests are compared and not times, so that a flood on a slow limit does not put out the keys of a fast
//! one.
//!
//! Measured on one thread (`benches/limit.rs`), with the hash of the key, which is half of it: 57 to 65 ns a check among
//! 1,000 keys, 80 ns among 100,000 (twice that on a machine that is busy otherwise); some 400 ns for a key that puts
//! another out.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;

use super::key::{KeyHash, KeyHasher};
use super::{PreparedQuota, State, Verdict};

/// Entries looked at to find one to put out.
const SAMPLE: usize = 8;

/// What limits have counted, by key; one table is shared by all threads and outlives snapshots.
#[derive(Debug)]
pub struct LimitTable {
    seed: u64,
    /// A power of two.
    shards: Box<[Shard]>,
}

impl LimitTable {
    /// A table that keeps at most about this many keys, and at least one a shard. It has four shards a core, at least
    /// 16 and at most 64: with four times as many shards as threads two threads seldom meet, and beyond 64 only
    /// memory grows. Keys are hashed with a random seed.
    pub fn new(capacity_keys: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let shards = (cores * 4).next_power_of_two().clamp(16, 64);
        Self::with_shards(capacity_keys, shards, RandomState::new().hash_one(capacity_keys))
    }

    fn with_shards(capacity_keys: usize, shards: usize, seed: u64) -> Self {
        let capacity = capacity_keys.div_ceil(shards).max(1);
        Self { seed, shards: (0..shards).map(|_| Shard { capacity, entries: Mutex::default() }).collect() }
    }

    /// Begins the key of a limit: see [`KeyHasher::new`] for what `limit_id` must be.
    #[inline]
    pub fn key(&self, limit_id: u32) -> KeyHasher {
        KeyHasher::new(self.seed, limit_id)
    }

    /// Decides on one request and counts it if admitted. `now_nanos` is time since an epoch of the process.
    pub fn check(&self, key: KeyHash, quota: &PreparedQuota, now_nanos: u64) -> Verdict {
        let (shard, key) = self.shard(key);
        let mut entries = shard.lock();
        let at = match entries.position(key) {
            Some(at) => at,
            None => entries.insert(shard.capacity, key, quota.fresh(), now_nanos),
        };
        match entries.table.get_bucket_mut(at) {
            Some(entry) => quota.check(&mut entry.state, now_nanos),
            None => quota.check(&mut quota.fresh(), now_nanos),
        }
    }

    /// What [`check`](Self::check) would say; counts nothing.
    pub fn peek(&self, key: KeyHash, quota: &PreparedQuota, now_nanos: u64) -> Verdict {
        let (shard, key) = self.shard(key);
        let known = shard.lock().find(key).map(|entry| entry.state);
        quota.check(&mut known.unwrap_or_else(|| quota.fresh()), now_nanos)
    }

    /// Gives back one request that this limit admitted and another one refused, so that a refusal uses up nothing.
    pub fn refund(&self, key: KeyHash, quota: &PreparedQuota, now_nanos: u64) {
        let (shard, key) = self.shard(key);
        if let Some(entry) = shard.lock().find(key) {
            quota.refund(&mut entry.state, now_nanos);
        }
    }

    /// Keys in the table.
    pub fn live_keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().table.len()).sum()
    }

    /// Keys put out to make room since the table was made.
    pub fn evictions(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().evictions).sum()
    }

    /// One half of the key finds the shard, the other one the place in it.
    fn shard(&self, key: KeyHash) -> (&Shard, [u64; 2]) {
        let key = key.halves();
        (&self.shards[key[1] as usize & (self.shards.len() - 1)], key)
    }
}

/// On cache lines of its own (two of them: processors fetch pairs), so that neighbours do not slow each other down.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    capacity: usize,
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
    evictions: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Not a `u128`, whose alignment would make 48 bytes out of 40.
    key: [u64; 2],
    state: State,
}

impl Entries {
    fn position(&self, key: [u64; 2]) -> Option<usize> {
        self.table.find_bucket_index(key[0], |entry| entry.key == key)
    }

    fn find(&mut self, key: [u64; 2]) -> Option<&mut Entry> {
        self.table.find_mut(key[0], |entry| entry.key == key)
    }

    /// Inserts a key that is not there, and tells where.
    fn insert(&mut self, capacity: usize, key: [u64; 2], state: State, now_nanos: u64) -> usize {
        if self.table.len() >= capacity {
            // The half that finds the shard has random bits left.
            self.evict((key[1] >> 32) as usize, now_nanos);
        }
        self.table.insert_unique(key[0], Entry { key, state }, |entry| entry.key[0]).bucket_index()
    }

    /// Puts out one entry of those that follow a random place. At least 7 of 32 places are taken when a shard is full,
    /// so it looks at about 37 at most.
    fn evict(&mut self, random: usize, now_nanos: u64) {
        let places = self.table.num_buckets();
        let start = random & places.wrapping_sub(1);
        let mut victim: Option<(usize, u64)> = None;
        let taken = (start..places).chain(0..start).filter_map(|at| Some((at, self.table.get_bucket(at)?)));
        for (at, entry) in taken.take(SAMPLE) {
            let used = entry.state.used(now_nanos);
            if victim.is_none_or(|(_, fewest)| used < fewest) {
                victim = Some((at, used));
            }
            if used == 0 {
                break;
            }
        }
        if let Some(entry) = victim.and_then(|(at, _)| self.table.get_bucket_entry(at).ok()) {
            entry.remove();
            self.evictions += 1;
        }
    }
}

#[cfg(test)]
mod tests;
