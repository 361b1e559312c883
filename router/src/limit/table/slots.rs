//! A hash table of entries, each where its key says or in one of the places that follow: open addressing with linear
//! probing (Knuth, The Art of Computer Programming 3, §6.4, algorithms L and R).
//!
//! Nothing is kept of an entry but itself. A table that keeps tags of its entries apart has to wait for memory twice, for
//! the tag and then for the entry, and a limit's entry is in no cache where tenants are many. So here a look-up waits
//! once, and where an entry should be is known before anything was read: several can be fetched at the same time.
//!
//! The number of places is any, and grows by doubling up to the most there may be.

use prefetch_index::prefetch_index;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::entries::Entry;

/// Of so many places so many are taken at the most: few of those that are looked for are then far from where they should be.
const FULL: (usize, usize) = (5, 8);
/// Places of the smallest table: one is empty.
const FEWEST: u32 = 2;
/// Bytes of a place, and an eighth of them for what entries have outside of themselves.
const BYTES_A_PLACE: usize = size_of::<Option<Entry>>() * 8 / 7;

/// Where an entry is, until one comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

/// The entries of one shard, by key.
#[derive(Debug)]
pub(super) struct Slots {
    places: Box<[Option<Entry>]>,
    taken: u32,
    most_places: u32,
}

impl Slots {
    /// None yet, of those that may take so many bytes together with what they have outside of themselves.
    pub(super) fn new(most_bytes: usize) -> Self {
        let most_places = u32::try_from(most_bytes / BYTES_A_PLACE).unwrap_or(u32::MAX).max(FEWEST);
        Self { places: Box::default(), taken: 0, most_places }
    }

    /// Entries that there is room for, at least one.
    pub(super) fn most(&self) -> usize {
        full(self.most_places as usize)
    }

    /// Bytes that they may take together with what they have outside of themselves.
    #[inline]
    pub(super) fn most_bytes(&self) -> usize {
        self.most_places as usize * BYTES_A_PLACE
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.taken as usize
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.places)
    }

    /// Bytes that they would take with one entry more, where there is room for it.
    pub(super) fn bytes_with_one_more(&self) -> usize {
        let places = if self.is_full() { self.grown() } else { self.places.len() };
        places * size_of::<Option<Entry>>()
    }

    fn is_full(&self) -> bool {
        self.len() >= full(self.places.len())
    }

    /// Places after it has grown.
    fn grown(&self) -> usize {
        (self.places.len() * 2).max(FEWEST as usize).min(self.most_places as usize)
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        home(key, self.places.len())
    }

    /// A key's entry, if there is one.
    #[inline]
    pub(super) fn find(&mut self, key: u64) -> Option<&mut Entry> {
        let mut at = self.home(key);
        loop {
            match self.places.get(at) {
                Some(Some(entry)) if entry.is_of(key) => break,
                Some(Some(_)) => at += 1,
                Some(None) => return None,
                None => {
                    at = self.end_from_the_first(key)?;
                    break;
                }
            }
        }
        self.places.get_mut(at)?.as_mut()
    }

    /// Goes on where the last place was taken: where a key's entry is, or the first empty place.
    #[cold]
    fn end_from_the_first(&self, key: u64) -> Option<usize> {
        // One is empty: no more than a part of all are taken.
        self.places.iter().position(|slot| slot.as_ref().is_none_or(|entry| entry.is_of(key)))
    }

    /// The entry at a place.
    #[inline]
    pub(super) fn at(&mut self, Place(at): Place) -> Option<&mut Entry> {
        self.places.get_mut(at)?.as_mut()
    }

    /// The entries from a place on, a random one for a random number, and then those before it.
    pub(super) fn from(&self, random: usize) -> impl Iterator<Item = (Place, &Entry)> {
        let begin = random.checked_rem(self.places.len()).unwrap_or_default();
        let (before, after) = self.places.split_at(begin);
        let all = (begin..).zip(after).chain((0..).zip(before));
        all.filter_map(|(at, slot)| Some((Place(at), slot.as_ref()?)))
    }

    /// Adds an entry whose key has none, where there are fewer than the most. `whereabouts` are this table's.
    pub(super) fn insert(&mut self, entry: Entry, whereabouts: &Whereabouts) {
        if self.is_full() {
            self.grow();
            whereabouts.note(self);
        }
        self.put(entry);
    }

    fn grow(&mut self) {
        let grown = (0..self.grown()).map(|_| None).collect();
        let before = std::mem::replace(&mut self.places, grown);
        self.taken = 0;
        before.into_iter().flatten().for_each(|entry| self.put(entry));
    }

    /// Puts an entry into the first empty place for it. One that has none is dropped, which happens to nobody who asks for
    /// room first.
    fn put(&mut self, entry: Entry) {
        let home = self.home(entry.hash());
        let (before, after) = self.places.split_at_mut(home);
        if let Some(empty) = after.iter_mut().chain(before).find(|slot| slot.is_none()) {
            *empty = Some(entry);
            self.taken += 1;
        }
    }

    /// Removes an entry. Those behind it move up, as far as that brings them nearer to where they should be, so that none
    /// is behind an empty place.
    pub(super) fn remove(&mut self, Place(at): Place) -> Option<Entry> {
        let removed = self.places.get_mut(at)?.take()?;
        self.taken -= 1;
        let places = self.places.len();
        let distance = |from: usize, to: usize| if to < from { to + places - from } else { to - from };
        let (mut empty, mut next) = (at, at);
        loop {
            next = if next + 1 < places { next + 1 } else { 0 };
            let Some(entry) = self.places.get(next).and_then(Option::as_ref) else { return Some(removed) };
            if distance(self.home(entry.hash()), next) >= distance(empty, next) {
                self.places.swap(empty, next);
                empty = next;
            }
        }
    }
}

/// Where the entries of a table are, for who may not look at it: they can be fetched by that and not more. It may be where
/// they were until just now; then something else is fetched, or nothing.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    address: AtomicUsize,
    places: AtomicU32,
}

impl Whereabouts {
    fn note(&self, slots: &Slots) {
        self.address.store(slots.places.as_ptr().addr(), Ordering::Relaxed);
        self.places.store(slots.places.len() as u32, Ordering::Relaxed);
    }

    /// Has the memory brought that an entry should be in, and what follows, which it is in at times; does not wait for it.
    #[inline]
    pub(super) fn fetch(&self, key: u64) {
        let nothing: &[u8] = &[];
        let from_nothing = self.address_of(key).wrapping_sub(nothing.as_ptr().addr());
        prefetch_index(nothing, from_nothing);
        prefetch_index(nothing, from_nothing.wrapping_add(size_of::<Option<Entry>>()));
    }

    #[inline]
    fn address_of(&self, key: u64) -> usize {
        let home = home(key, self.places.load(Ordering::Relaxed) as usize);
        self.address.load(Ordering::Relaxed).wrapping_add(home * size_of::<Option<Entry>>())
    }
}

/// Where an entry should be: the part of all places that its key is of all keys. Nothing else is found by the low half of a
/// key.
#[inline]
fn home(key: u64, places: usize) -> usize {
    (((key & u64::from(u32::MAX)) * places as u64) >> 32) as usize
}

/// Of so many places, those that are taken at the most.
fn full(places: usize) -> usize {
    places * FULL.0 / FULL.1
}

#[cfg(test)]
mod tests;
