//! What limits have counted, by key, in bounded memory.
//!
//! Keys are spread over shards, each a lock around a hash table of 32-byte entries; a check holds one lock for some
//! 30 ns. A request that meets several limits holds the locks of all of them, so that it takes from all
//! or from none: as they come where all are free, or else in the order of the shards.
//!
//! A shard has a share of the table's budget in bytes, and what comes when it is full puts something else out: see
//! `entries`.

mod entries;

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use self::entries::{Entries, Known, Place};
use super::key::{KeyHash, KeySeed};
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
    seed: KeySeed,
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
        Self {
            seed: KeySeed::new(seed),
            shards: (0..shards).map(|_| Shard(Mutex::new(Entries::new(budget_bytes / shards)))).collect(),
        }
    }

    /// What keys are made with.
    pub fn seed(&self) -> &KeySeed {
        &self.seed
    }

    /// The key of a limit that counts by one thing alone.
    #[inline]
    pub fn key(&self, limit_id: u32, bytes: &[u8]) -> KeyHash {
        self.seed.key(limit_id).with(self.seed.part(bytes)).finish()
    }

    /// Decides on one request and counts it in every limit if all those that are enforced admit it, and in those that
    /// are not if they would. Returns whether it is admitted. `now` is in nanoseconds since an epoch of the process.
    pub fn check<'a>(&self, asks: &mut [impl Asking<'a>], now: u64) -> bool {
        match asks {
            [] => true,
            [one] => {
                let ask = one.ask();
                ask.verdict = self.check_one(ask.key, ask.limit, ask.cost, now);
                ask.verdict.admits() || !ask.enforced
            }
            // Mostly they are few, of shards of their own, and nobody has one of those.
            several => self.check_few(several, now).unwrap_or_else(|| self.check_together(several, now)),
        }
    }

    /// Decides on one request of one limit, which is enforced.
    pub fn check_one(&self, key: KeyHash, limit: &Prepared, cost: u32, now: u64) -> Verdict {
        let (shard, key) = self.shard(key);
        shard.lock().check(key, limit, cost, now)
    }

    /// Decides with the locks of all asks held, if each is to be had at once. Whoever takes what nobody has waits for
    /// nobody, and so needs no order.
    ///
    /// A lock lets no read of memory past it. So all locks come first, then all places are looked for and nothing waits
    /// for the one before: entries that are in no cache come at the same time.
    fn check_few<'a>(&self, asks: &mut [impl Asking<'a>], now: u64) -> Option<bool> {
        let mut locked: [Option<MutexGuard<'_, Entries>>; FEW] = [const { None }; FEW];
        let locked = locked.get_mut(..asks.len())?;
        for (one, locked) in asks.iter_mut().zip(&mut *locked) {
            // Nor is that of a shard that an ask before has.
            *locked = Some(self.shards[self.index(one.ask().key)].0.try_lock()?);
        }
        let mut known: [Option<Known<'_>>; FEW] = [const { None }; FEW];
        for ((one, locked), known) in asks.iter_mut().zip(&mut *locked).zip(&mut known) {
            *known = locked.as_deref_mut()?.known(one.ask().key.halves());
        }
        let mut admitted = true;
        for (one, known) in asks.iter_mut().zip(&mut known) {
            let ask = one.ask();
            ask.verdict = match known {
                Some(known) => known.ask(ask.limit, ask.cost, now),
                None => ask.limit.ask_anew(now, ask.cost),
            };
            admitted &= ask.verdict.admits() || !ask.enforced;
        }
        let mut is_done = true;
        for (one, known) in asks.iter_mut().zip(&mut known) {
            let ask = one.ask();
            let Some(known) = known else {
                is_done = false;
                continue;
            };
            if admitted && ask.verdict.admits() {
                known.take(ask.limit, ask.cost, now);
            }
            is_done &= !known.is_too_much(ask.limit);
        }
        if is_done {
            return Some(admitted);
        }
        let is_new = known.map(|known| known.is_none());
        for ((one, locked), is_new) in asks.iter_mut().zip(&mut *locked).zip(is_new) {
            let (ask, Some(entries)) = (one.ask(), locked) else { continue };
            if !is_new {
                entries.has_grown(ask.key.halves(), ask.limit, now);
            } else if admitted && ask.verdict.admits() {
                entries.insert(ask.key.halves(), ask.limit, ask.cost, now);
            }
        }
        Some(admitted)
    }

    /// Decides with the locks of all asks held, as [`check_few`](Self::check_few), however many and whose they are.
    #[cold]
    fn check_together<'a>(&self, asks: &mut [impl Asking<'a>], now: u64) -> bool {
        // In the order of their shards, in which all threads take the locks, so that no two wait for each other.
        let mut turns: SmallVec<[Turn<'_>; FEW]> = SmallVec::new();
        let (mut previous, mut is_alone) = (None, true);
        for &(shard, ask) in self.order(asks).as_slice() {
            let is_next = previous.replace(shard) != Some(shard);
            is_alone &= is_next;
            let (key, locked) = (asks[ask].ask().key.halves(), is_next.then(|| self.shards[shard].lock()));
            turns.push(Turn { at: At { ask, key, place: None }, locked });
        }
        let turns = turns.as_mut_slice();
        each(turns, |at, entries| at.place = entries.find(at.key));
        let mut admitted = true;
        each(turns, |at, entries| {
            let ask = asks[at.ask].ask();
            ask.verdict = entries.ask(at.place, ask.limit, ask.cost, now);
            admitted &= ask.verdict.admits() || !ask.enforced;
        });
        each(turns, |at, entries| {
            let ask = asks[at.ask].ask();
            // What was taken of another key of the shard may have moved this one.
            let place = if is_alone { at.place } else { entries.find(at.key) };
            entries.settle(place, at.key, ask.limit, (admitted && ask.verdict.admits()).then_some(ask.cost), now);
        });
        admitted
    }

    /// The asks, by number, each with its shard, in the order of these.
    #[inline]
    fn order<'a>(&self, asks: &mut [impl Asking<'a>]) -> SmallVec<[(usize, usize); FEW]> {
        let mut order: SmallVec<[(usize, usize); FEW]> = SmallVec::new();
        for (number, one) in asks.iter_mut().enumerate() {
            // They are few: each is put where it belongs among those before it.
            let turn = (self.index(one.ask().key), number);
            let mut at = order.len();
            order.push(turn);
            let order = order.as_mut_slice();
            while at > 0 && order[at - 1].0 > turn.0 {
                order[at] = order[at - 1];
                at -= 1;
            }
            order[at] = turn;
        }
        order
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
    pub fn give_back(&self, key: KeyHash, cost: u32, now: u64) {
        self.change(key, now, |state| state.give_back(cost));
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

/// Limits of one request that are asked in the short way, and without allocating.
const FEW: usize = 8;

/// An ask, and its shard; nothing where that is the one of the turn before, which has it.
struct Turn<'t> {
    at: At,
    locked: Option<MutexGuard<'t, Entries>>,
}

/// An ask, by its number, and where its key is.
struct At {
    ask: usize,
    key: [u64; 2],
    place: Option<Place>,
}

/// Does something for each ask with the entries of its shard.
#[inline]
fn each(turns: &mut [Turn<'_>], mut what: impl FnMut(&mut At, &mut Entries)) {
    let mut entries: Option<&mut Entries> = None;
    for Turn { at, locked } in turns {
        if let Some(locked) = locked {
            entries = Some(locked);
        }
        if let Some(entries) = entries.as_deref_mut() {
            what(at, entries);
        }
    }
}

/// On cache lines of its own (two of them: processors fetch pairs), so that neighbours do not slow each other down.
///
/// The lock is parking_lot's, which spins a little longer than that of the standard library before it lets its thread sleep:
/// it is held for some 30 ns, and with all cores on one key a check takes less than half as long.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<Entries>);

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests;
