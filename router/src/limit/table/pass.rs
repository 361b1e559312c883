//! The way that nearly all requests take: every limit knows its key and lets the request pass, and nobody else has the
//! lock of any, but of the first. It needs no order of locks and no second look at anything.
//!
//! What a limit lets pass is taken at once, and undone where another one does not, under the same locks: nobody has
//! seen it. Of each limit is only noted what cannot be found again, as nearly nothing is ever undone.

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::entries::Entries;
use super::{FEW, LimitTable};
use crate::limit::key::KeyHash;
use crate::limit::{Before, Left, Prepared};

/// The locks that a request has, each by the number of the limit that it was taken for.
type Locked<'t> = [Option<MutexGuard<'t, Entries>>; FEW];

impl LimitTable {
    /// Counts a request that all of these limits let pass at once. If one does not, does not know its key, cannot be undone or
    /// is asked by somebody else, this counts nothing and returns false; whether the request is admitted is to be seen by
    /// [`check`](Self::check) then. `said` hears what is left of each, by its number, also of those that were undone. A key
    /// may be there twice if its limit is the same. It may also return false for more than six limits.
    #[inline]
    pub fn pass<'a>(
        &self,
        asks: &(impl Iterator<Item = (KeyHash, &'a Prepared, u32)> + Clone),
        now: u64,
        mut said: impl FnMut(usize, Left),
    ) -> bool {
        let mut locked: Locked<'_> = [const { None }; FEW];
        let mut before = [Before::default(); FEW];
        for (number, ask) in asks.clone().enumerate() {
            let passed = self.pass_one(asks, (number, ask), now, &mut locked);
            let (Some((left, undone_by)), Some(before)) = (passed, before.get_mut(number)) else {
                self.undo(asks, number, &mut locked, &before);
                return false;
            };
            *before = undone_by;
            said(number, left);
        }
        true
    }

    /// Lets a request pass one limit and keeps its lock. None where the limit does not, somebody else has the lock, or there is
    /// no room to keep it.
    #[inline]
    fn pass_one<'a, 't>(
        &'t self,
        asks: &(impl Iterator<Item = (KeyHash, &'a Prepared, u32)> + Clone),
        (number, (key, limit, cost)): (usize, (KeyHash, &Prepared, u32)),
        now: u64,
        locked: &mut Locked<'t>,
    ) -> Option<(Left, Before)> {
        let lock = locked.get_mut(number)?;
        let entries = &self.shards[self.index(key)].entries;
        // Whoever has no lock may wait for one. Whoever takes what nobody has waits for nobody, and so needs no order.
        let entries = if number == 0 { Some(entries.lock()) } else { entries.try_lock() };
        let Some(mut entries) = entries else { return self.pass_where_locked(asks, number, now, locked) };
        let passed = entries.pass(key.halves(), limit, cost, now);
        *lock = Some(entries);
        passed
    }

    /// Lets a request pass a limit whose lock was taken for one of those before.
    #[cold]
    fn pass_where_locked<'a>(
        &self,
        asks: &(impl Iterator<Item = (KeyHash, &'a Prepared, u32)> + Clone),
        number: usize,
        now: u64,
        locked: &mut Locked<'_>,
    ) -> Option<(Left, Before)> {
        let (key, limit, cost) = asks.clone().nth(number)?;
        let lock = asks.clone().take(number).position(|(other, ..)| self.index(other) == self.index(key))?;
        locked.get_mut(lock)?.as_mut()?.pass(key.halves(), limit, cost, now)
    }

    /// Undoes what the first so many let pass, the last first: one key may have been asked about twice.
    #[cold]
    fn undo<'a>(
        &self,
        asks: &(impl Iterator<Item = (KeyHash, &'a Prepared, u32)> + Clone),
        number: usize,
        locked: &mut Locked<'_>,
        before: &[Before; FEW],
    ) {
        let keys: SmallVec<[(KeyHash, u32); FEW]> =
            asks.clone().take(number).map(|(key, _, cost)| (key, cost)).collect();
        for ((key, cost), before) in keys.iter().zip(before).rev() {
            let lock = keys.iter().position(|(other, _)| self.index(*other) == self.index(*key));
            if let Some(entries) = lock.and_then(|lock| locked.get_mut(lock)?.as_mut()) {
                entries.restore(key.halves(), *before, *cost);
            }
        }
    }
}
