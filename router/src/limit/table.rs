//! What limits have counted, by key, in bounded memory.
//!
//! Keys are spread over shards, each a lock around a hash table of 32-byte entries; a check holds one lock for some
//! 30 ns. A request that meets several limits holds the locks of all of them, so that it takes from all
//! or from none: as they come where all are free and all let it pass, see `pass`, or else in the order of the shards. What
//! it will ask about it says before, and goes on while that comes from memory: see `expect` and `slots`.
//!
//! A shard has a share of the table's budget in bytes, and what comes when it is full puts something else out: see
//! `entries`.

mod entries;
mod pass;
mod slots;

use std::num::NonZeroUsize;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use self::entries::Entries;
use self::slots::Whereabouts;
use super::key::KeyHash;
use super::{Answered, Outcome, Prepared, State, Verdict};

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
    /// A power of two.
    shards: Box<[Shard]>,
}

impl LimitTable {
    /// A table that takes about this many bytes at the most, and keeps at least one key a shard. It has 16 shards a core,
    /// and more where one would have more than 2 MiB, up to 1,024: with many more shards than threads two threads seldom
    /// meet, to grow a shard of 2 MiB takes less than a millisecond, and shards are few enough to stay in a core's cache.
    pub fn new(budget_bytes: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let shards = (cores * 16).max(budget_bytes / MOST_OF_A_SHARD).next_power_of_two().min(MOST_SHARDS);
        Self::with_shards(budget_bytes, shards)
    }

    fn with_shards(budget_bytes: usize, shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| Shard::new(budget_bytes / shards)).collect() }
    }

    /// Decides on one request and counts it in every limit if all those that are enforced admit it, and in those that
    /// are not if they would. Returns whether it is admitted. `now` is in nanoseconds since an epoch of the process. A key may be
    /// there twice if its limit is the same.
    pub fn check<'a>(&self, asks: &mut [impl Asking<'a>], now: u64) -> bool {
        match asks {
            [] => true,
            [one] => {
                let ask = one.ask();
                ask.verdict = self.check_one(ask.key, ask.limit, ask.cost, now);
                ask.verdict.admits() || !ask.enforced
            }
            several => self.check_in_order(several, now),
        }
    }

    /// Decides on one request of one limit, which is enforced.
    pub fn check_one(&self, key: KeyHash, limit: &Prepared, cost: u32, now: u64) -> Verdict {
        let (shard, key) = self.shard(key);
        shard.lock().check(key, limit, cost, now, &shard.whereabouts)
    }

    /// Has the memory brought that what is known of a key is in, and does not wait for it: for a check that comes soon.
    #[inline]
    pub fn expect(&self, key: KeyHash) {
        let (shard, key) = self.shard(key);
        shard.whereabouts.fetch(entries::hash_of(key));
    }

    /// Decides with the locks of all asks held, which all threads wait for in the order of the shards, so that no two wait for
    /// each other.
    #[inline(never)]
    fn check_in_order<'a>(&self, asks: &mut [impl Asking<'a>], now: u64) -> bool {
        let mut shards: SmallVec<[usize; FEW]> = asks.iter_mut().map(|one| self.index(one.ask().key)).collect();
        shards.sort_unstable();
        shards.dedup();
        let mut locked: SmallVec<[_; FEW]> = shards.iter().map(|shard| self.shards[*shard].lock()).collect();
        let mut refused = false;
        for one in &mut *asks {
            let ask = one.ask();
            let entries = of_shard(&mut locked, &shards, self.index(ask.key));
            ask.verdict = entries.ask(ask.key.halves(), ask.limit, ask.cost, now);
            refused |= ask.enforced && !ask.verdict.admits();
        }
        let is_taken = |ask: &Ask<'_>| ask.verdict.admits() && !refused;
        // Those that are known first: what is new may put others out.
        let mut are_known: SmallVec<[bool; FEW]> = SmallVec::new();
        for one in &mut *asks {
            let ask = one.ask();
            let entries = of_shard(&mut locked, &shards, self.index(ask.key));
            are_known.push(is_taken(ask) && entries.take(ask.key.halves(), ask.limit, ask.cost, now));
        }
        for (one, is_known) in asks.iter_mut().zip(are_known) {
            let ask = one.ask();
            let shard = self.index(ask.key);
            let entries = of_shard(&mut locked, &shards, shard);
            if !is_known && is_taken(ask) {
                let whereabouts = &self.shards[shard].whereabouts;
                entries.take_anew(ask.key.halves(), ask.limit, ask.cost, now, whereabouts);
            }
            entries.has_grown(ask.key.halves(), ask.limit, now);
        }
        !refused
    }

    /// What [`check`](Self::check) would say; counts nothing.
    pub fn peek<'a>(&self, asks: &mut [impl Asking<'a>], now: u64) -> bool {
        let mut admitted = true;
        for one in asks {
            let ask = one.ask();
            let (shard, key) = self.shard(ask.key);
            let known = shard.lock().state(key).cloned();
            ask.verdict = ask.limit.ask(&mut known.unwrap_or_else(|| ask.limit.fresh(now)), &mut 0, now, ask.cost);
            admitted &= ask.verdict.admits() || !ask.enforced;
        }
        admitted
    }

    /// Takes more of a limit than it was asked for, or gives back, if the key is still known.
    pub fn charge(&self, key: KeyHash, limit: &Prepared, cost: i64, now: u64) {
        self.change(key, now, |state| limit.charge(state, now, cost));
    }

    /// Ends a request that was counted while it lasted, under a limit that learns from that.
    pub fn release(&self, key: KeyHash, limit: &Prepared, cost: u32, answered: Answered, now: u64) {
        self.change(key, now, |state| limit.release(state, now, cost, answered));
    }

    /// Ends a request that was counted while it lasted.
    pub fn give_back(&self, key: KeyHash, cost: u32) {
        let (shard, key) = self.shard(key);
        shard.lock().give_back(key, cost);
    }

    /// Gives back the turn, at `turn` nanoseconds, of a request that waited for it and has gone.
    pub fn leave(&self, key: KeyHash, limit: &Prepared, turn: u64, cost: u32, now: u64) {
        self.change(key, now, |state| limit.leave(state, now, turn, cost));
    }

    fn change(&self, key: KeyHash, now: u64, change: impl FnOnce(&mut State)) {
        let (shard, key) = self.shard(key);
        shard.lock().change(key, now, change);
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

/// Bytes of a shard, where a table can have so many.
const MOST_OF_A_SHARD: usize = 2 << 20;
const MOST_SHARDS: usize = 1_024;

/// Limits of one request that are asked without allocating.
pub(crate) const FEW: usize = 6;

/// The entries of a shard that is one of these, of which all are locked.
fn of_shard<'e>(locked: &'e mut [MutexGuard<'_, Entries>], shards: &[usize], shard: usize) -> &'e mut Entries {
    &mut locked[shards.partition_point(|other| *other < shard)]
}

/// On a cache line of its own, and beside an empty one, as processors fetch pairs: so neighbours do not slow each other down.
///
/// The lock is parking_lot's, which spins a little longer than that of the standard library before it lets its thread sleep:
/// it is held for some 30 ns, and with all cores on one key a check takes less than half as long.
#[derive(Debug)]
#[repr(C, align(128))]
struct Shard {
    entries: Mutex<Entries>,
    whereabouts: Whereabouts,
}

impl Shard {
    fn new(most_bytes: usize) -> Self {
        Self { entries: Mutex::new(Entries::new(most_bytes)), whereabouts: Whereabouts::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock()
    }
}

#[cfg(test)]
mod tests;
