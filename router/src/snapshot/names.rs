//! Stable numbers for names.

use std::sync::Arc;

use gridrouter_config::address::Address;
use hashbrown::HashMap;

use crate::limit::key::KeySeed;

/// Gives each name a small number, once, for as long as the process lives.
#[derive(Debug)]
pub struct Numbers<K> {
    numbers: HashMap<K, u32>,
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self { numbers: HashMap::new() }
    }
}

impl<K: std::hash::Hash + Eq> Numbers<K> {
    /// The number of `key`, a new one if it has none yet.
    pub fn of(&mut self, key: K) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry(key).or_insert(next)
    }

    /// The number of `key`, if it has one.
    pub fn get<Q: std::hash::Hash + hashbrown::Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    /// How many numbers were given.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

impl Numbers<Arc<str>> {
    /// Brings a table of names by number up to date.
    pub fn labels(&self, table: &mut Vec<Arc<str>>) {
        if table.len() == self.numbers.len() {
            return;
        }
        table.resize_with(self.numbers.len(), Arc::default);
        for (name, number) in &self.numbers {
            if let Some(slot) = table.get_mut(*number as usize) {
                slot.clone_from(name);
            }
        }
    }
}

/// The stable numbers of everything that something is learned about.
#[derive(Debug, Default)]
pub struct Names {
    /// What keys of limits are made with: as long as numbers, keys are the same.
    pub keys: Arc<KeySeed>,
    /// Listeners.
    pub listeners: Numbers<Arc<str>>,
    /// Routes.
    pub routes: Numbers<Arc<str>>,
    /// Grids.
    pub grids: Numbers<Arc<str>>,
    /// Cells.
    pub cells: Numbers<Arc<str>>,
    /// Limits.
    pub limits: Numbers<Arc<str>>,
    /// Endpoint groups, by `<service>/<cell>/<track>`.
    pub groups: Numbers<Arc<str>>,
    /// Tracks of shifts, by `<shift>@<started>/<cell>/<track>`.
    pub tracks: Numbers<Arc<str>>,
    /// Endpoints, by address.
    pub endpoints: Numbers<(Address, Option<Arc<str>>)>,
}
