//! The way that nearly all requests take: every limit knows its key and lets the request pass, and nobody else has the
//! lock of any, but of the first. It needs no order of locks and no second look at anything.
//!
//! What a limit lets pass is taken at once, and undone where another one does not, under the same locks: nobody has
//! seen it.

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::entries::Entries;
use super::slots::Place;
use super::{FEW, LimitTable};
use crate::limit::key::KeyHash;
use crate::limit::{Before, Prepared};

/// What is left of a limit that let a request pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Requests of cost 1 that could follow.
    pub remaining: u64,
    /// Nanoseconds until all of it is there again.
    pub reset_nanos: u64,
}

/// What was taken of one limit.
struct Taken {
    shard: usize,
    /// Which of the locks is its shard's.
    lock: usize,
    at: Place,
    before: Before,
    cost: u32,
}

type Locked<'t> = [Option<MutexGuard<'t, Entries>>; FEW];
type AllTaken = SmallVec<[Taken; FEW]>;

impl LimitTable {
    /// Counts a request that all of these limits let pass at once. If one does not, does not know its key, cannot be undone or
    /// is asked by somebody else, this counts nothing and returns false; whether the request is admitted is to be seen by
    /// [`check`](Self::check) then. `said` hears what is left of each, by its number, also of those that were undone. A key
    /// may be there twice if its limit is the same. It may also return false for more than six limits.
    #[inline]
    pub fn pass<'a>(
        &self,
        asks: impl Iterator<Item = (KeyHash, &'a Prepared, u32)>,
        now: u64,
        said: impl FnMut(usize, Left),
    ) -> bool {
        let mut locked: Locked<'_> = [const { None }; FEW];
        let mut taken = AllTaken::new();
        let passed = self.pass_each(asks, now, said, &mut locked, &mut taken);
        if passed.is_none() {
            undo(&mut locked, &taken);
        }
        passed.is_some()
    }

    #[inline]
    fn pass_each<'a, 't>(
        &'t self,
        asks: impl Iterator<Item = (KeyHash, &'a Prepared, u32)>,
        now: u64,
        mut said: impl FnMut(usize, Left),
        locked: &mut Locked<'t>,
        taken: &mut AllTaken,
    ) -> Option<()> {
        for (number, (key, limit, cost)) in asks.enumerate() {
            let shard = self.index(key);
            // Whoever has no lock may wait for one. Whoever takes what nobody has waits for nobody, and so needs no order.
            let entries = &self.shards[shard].entries;
            let lock = match if number == 0 { Some(entries.lock()) } else { entries.try_lock() } {
                Some(entries) => {
                    *locked.get_mut(number)? = Some(entries);
                    number
                }
                None => lock_of(shard, taken)?,
            };
            let (left, at, before) = locked.get_mut(lock)?.as_mut()?.pass(key.halves(), limit, cost, now)?;
            taken.push(Taken { shard, lock, at, before, cost });
            said(number, left);
        }
        Some(())
    }
}

/// The lock of a shard that one of the limits before has.
#[cold]
fn lock_of(shard: usize, taken: &[Taken]) -> Option<usize> {
    taken.iter().find(|taken| taken.shard == shard).map(|taken| taken.lock)
}

/// Undoes what was taken, the last first: one key may have been asked about twice.
#[cold]
fn undo(locked: &mut Locked<'_>, taken: &[Taken]) {
    for Taken { lock, at, before, cost, .. } in taken.iter().rev() {
        if let Some(entries) = locked.get_mut(*lock).and_then(Option::as_mut) {
            entries.restore(*at, *before, *cost);
        }
    }
}
