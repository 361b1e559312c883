//! Values that many tenants share, kept once and numbered.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;
use xxhash_rust::xxh3::Xxh3;

/// Values by number. A value whose last user is gone gives its number to the next one.
#[derive(Debug)]
pub(super) struct Interned<T> {
    values: Arc<Values<T>>,
    uses: Vec<u32>,
}

#[derive(Debug)]
struct Values<T> {
    list: Vec<Option<Arc<T>>>,
    index: HashTable<u32>,
    /// Numbers of the list that nothing has.
    free: Vec<u32>,
}

/// What a value is looked up by.
pub(super) trait Keyed {
    /// The words that tell it from others.
    fn key(&self) -> [&str; 2];
}

impl<T> Clone for Values<T> {
    fn clone(&self) -> Self {
        Self { list: self.list.clone(), index: self.index.clone(), free: self.free.clone() }
    }
}

impl<T> Clone for Interned<T> {
    fn clone(&self) -> Self {
        Self { values: Arc::clone(&self.values), uses: self.uses.clone() }
    }
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        let values = Values { list: Vec::new(), index: HashTable::new(), free: Vec::new() };
        Self { values: Arc::new(values), uses: Vec::new() }
    }
}

fn hash_of(key: [&str; 2]) -> u64 {
    let mut hash = Xxh3::new();
    key.hash(&mut hash);
    hash.finish()
}

impl<T: Keyed> Interned<T> {
    /// The number of a value.
    pub(super) fn find(&self, key: [&str; 2]) -> Option<u32> {
        let Values { list, index, .. } = &*self.values;
        let is = |number: &u32| list.get(*number as usize).and_then(Option::as_ref).is_some_and(|one| one.key() == key);
        index.find(hash_of(key), is).copied()
    }

    /// The value of a number.
    pub(super) fn get(&self, number: u32) -> Option<&Arc<T>> {
        self.values.list.get(number as usize)?.as_ref()
    }

    /// All that are in use, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Arc<T>)> {
        (0..).zip(&self.values.list).filter_map(|(number, value)| Some((number, value.as_ref()?)))
    }

    /// Whether two give all values the same numbers, for certain.
    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.values, &other.values)
    }

    /// Adds a value that [`Interned::find`] does not, for users to come.
    pub(super) fn add(&mut self, value: Arc<T>) -> u32 {
        let values = Arc::make_mut(&mut self.values);
        let hash = hash_of(value.key());
        let number = values.free.pop().unwrap_or_else(|| {
            values.list.push(None);
            self.uses.push(0);
            values.list.len() as u32 - 1
        });
        if let Some(place) = values.list.get_mut(number as usize) {
            *place = Some(value);
        }
        let Values { list, index, .. } = values;
        let rehash =
            |number: &u32| list.get(*number as usize).and_then(Option::as_ref).map_or(0, |one| hash_of(one.key()));
        index.insert_unique(hash, number, rehash);
        number
    }

    /// Counts a user, or takes one away; with the last one, the value goes.
    pub(super) fn count(&mut self, number: u32, there: bool) {
        let Some(uses) = self.uses.get_mut(number as usize) else { return };
        *uses = if there { *uses + 1 } else { uses.saturating_sub(1) };
        if *uses > 0 {
            return;
        }
        let values = Arc::make_mut(&mut self.values);
        let Some(gone) = values.list.get_mut(number as usize).and_then(Option::take) else { return };
        if let Ok(entry) = values.index.find_entry(hash_of(gone.key()), |other| *other == number) {
            entry.remove();
        }
        values.free.push(number);
    }
}
