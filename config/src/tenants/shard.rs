//! A part of the table: rows in place, found by their hash, with linear probing. Parts that did not change are shared
//! between a table and the next one.

use std::sync::Arc;

use super::hash_of;
use super::row::Row;

#[derive(Debug, Clone, Default)]
pub(super) struct Shard {
    rows: Arc<[Row]>,
    len: usize,
}

/// Where the search for a hash begins among this many places.
fn home(hash: u64, places: usize) -> usize {
    ((u64::from(hash as u32) * places as u64) >> 32) as usize
}

impl Shard {
    pub(super) fn get(&self, hash: u64, id: &str) -> Option<&Row> {
        let (before, after) = self.rows.split_at_checked(home(hash, self.rows.len()))?;
        after.iter().chain(before).take_while(|row| !row.is_empty()).find(|row| row.is(id))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.is_empty())
    }

    /// Whether two are the same rows, not merely equal ones.
    pub(super) fn same(&self, other: &Shard) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
    }

    fn place(&self, hash: u64, id: &str) -> Option<usize> {
        let places = self.rows.len();
        let places = (home(hash, places)..places).chain(0..home(hash, places));
        places
            .take_while(|place| self.rows.get(*place).is_some_and(|row| !row.is_empty()))
            .find(|place| self.rows.get(*place).is_some_and(|row| row.is(id)))
    }

    /// Puts a row in the place of one that is there.
    pub(super) fn replace(&mut self, hash: u64, row: Row) -> Option<Row> {
        let place = self.place(hash, row.name())?;
        Arc::make_mut(&mut self.rows).get_mut(place).map(|there| std::mem::replace(there, row))
    }

    /// Adds a row that is not there.
    pub(super) fn add(&mut self, hash: u64, row: Row) {
        // Between 70 and 87.5 % of the places are taken: few steps to look up, and little to copy.
        if (self.len + 1) * 8 > self.rows.len() * 7 {
            self.grow((self.len + 1) * 10 / 7 + 1);
        }
        self.len += 1;
        let rows = Arc::make_mut(&mut self.rows);
        let (before, after) = rows.split_at_mut(home(hash, rows.len()));
        if let Some(free) = after.iter_mut().chain(before).find(|row| row.is_empty()) {
            *free = row;
        }
    }

    fn grow(&mut self, places: usize) {
        let old = std::mem::replace(&mut self.rows, std::iter::repeat_n(Row::EMPTY, places).collect());
        self.len = 0;
        for row in old.iter().filter(|row| !row.is_empty()) {
            self.add(hash_of(row.name()), row.clone());
        }
    }

    pub(super) fn remove(&mut self, hash: u64, id: &str) -> Option<Row> {
        let place = self.place(hash, id)?;
        self.len -= 1;
        let rows = Arc::make_mut(&mut self.rows);
        let places = rows.len();
        let removed = std::mem::replace(rows.get_mut(place)?, Row::EMPTY);
        // Rows behind the gap that were put there for lack of a better place move up, so that no search ends early.
        let (mut gap, mut next) = (place, (place + 1) % places);
        while let Some(row) = rows.get(next).filter(|row| !row.is_empty()) {
            let from_home = |place: usize| (place + places - home(hash_of(row.name()), places)) % places;
            if from_home(gap) <= from_home(next) {
                rows.swap(gap, next);
                gap = next;
            }
            next = (next + 1) % places;
        }
        Some(removed)
    }

    /// Two shards with the rows of this one, by the bit of their hash that decides.
    pub(super) fn split(&self, goes_right: impl Fn(u64) -> bool) -> [Shard; 2] {
        let mut halves = [Shard::default(), Shard::default()];
        let [left, right] = &mut halves;
        for row in self.iter() {
            let hash = hash_of(row.name());
            if goes_right(hash) { right.add(hash, row.clone()) } else { left.add(hash, row.clone()) }
        }
        halves
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::row::NONE;
    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_map_would(steps in prop::collection::vec((any::<bool>(), 0..40_u32, any::<u32>()), 0..200)) {
            let (mut shard, mut model) = (Shard::default(), BTreeMap::new());
            for (add, id, pin) in steps {
                let (id, pin) = (format!("t{id}"), pin / 2);
                let (hash, kept) = (hash_of(&id), shard.clone());
                if add {
                    let row = Row::new(&id, pin, NONE);
                    let replaced = shard.replace(hash, row.clone());
                    if replaced.is_none() {
                        shard.add(hash, row);
                    }
                    prop_assert_eq!(replaced.and_then(|row| row.pin()), model.insert(id, pin));
                } else {
                    prop_assert_eq!(shard.remove(hash, &id).and_then(|row| row.pin()), model.remove(&id));
                }
                let all = |shard: &Shard| -> BTreeMap<String, u32> {
                    shard.iter().map(|row| (row.name().to_owned(), row.pin().unwrap())).collect()
                };
                prop_assert_eq!(&all(&shard), &model);
                prop_assert!(all(&kept).len().abs_diff(model.len()) <= 1, "a clone is not changed");
                for id in (0..40).map(|id| format!("t{id}")) {
                    let found = shard.get(hash_of(&id), &id).and_then(Row::pin);
                    prop_assert_eq!(found, model.get(&id).copied());
                }
            }
        }
    }
}
