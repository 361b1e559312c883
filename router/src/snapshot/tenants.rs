//! The tenants that have a document: one look-up by hash a request.
//!
//! With many tenants a look-up costs what it misses in the processor's cache. So all that a request asks of a tenant
//! stands in the table itself, its id included, on one cache line: a look-up reads the hash table's bytes of control,
//! which are few enough to stay in a cache, and that line.

use std::sync::Arc;

use gridrouter_config::ids::Name;
use gridrouter_config::model;
use hashbrown::HashTable;

use super::QuotaPlan;
use crate::placement;

/// Bytes of an id that are kept in place. A UUID has 36.
const SHORT: usize = 37;

/// A tenant's own quotas, by the limit's stable number.
pub(super) type Quotas = Vec<(u32, Arc<QuotaPlan>)>;

/// What is known of one tenant: 64 bytes, one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub struct TenantPlan {
    /// Bytes of the id.
    len: u8,
    /// The id, unless it is longer.
    id: [u8; SHORT],
    /// Apart from the pin, which with a tag of its own would take the room that a UUID needs.
    pinned: bool,
    /// Grid and cell of its pin, by stable number.
    pin: (u32, u32),
    document: Arc<model::Tenant>,
    /// None for most tenants.
    quotas: Option<Arc<Quotas>>,
}

impl TenantPlan {
    pub(super) fn new(document: Arc<model::Tenant>, pin: Option<(u32, u32)>, quotas: Option<Arc<Quotas>>) -> Self {
        let name = document.name.as_str().as_bytes();
        let mut id = [0; SHORT];
        if let Some(place) = id.get_mut(..name.len()) {
            place.copy_from_slice(name);
        }
        // A name has at most 128 bytes.
        let len = name.len() as u8;
        Self { len, id, pinned: pin.is_some(), pin: pin.unwrap_or_default(), document, quotas }
    }

    /// The same tenant in the next snapshot, where nothing that it depends on changed.
    pub(super) fn again(&self) -> Self {
        Self::new(Arc::clone(&self.document), self.pin(), self.quotas.clone())
    }

    /// Grid and cell of its pin, by stable number.
    pub fn pin(&self) -> Option<(u32, u32)> {
        self.pinned.then_some(self.pin)
    }

    /// The cell it is pinned to in `grid`.
    pub fn pinned_to(&self, grid: u32) -> Option<u32> {
        self.pin().filter(|(of, _)| *of == grid).map(|(_, cell)| cell)
    }

    /// Its own quota for a limit.
    pub fn quota(&self, limit: u32) -> Option<&Arc<QuotaPlan>> {
        self.quotas.as_ref()?.iter().find(|(id, _)| *id == limit).map(|(_, quota)| quota)
    }

    fn is(&self, id: &str) -> bool {
        usize::from(self.len) == id.len()
            && match self.id.get(..id.len()) {
                Some(own) => own == id.as_bytes(),
                None => self.document.name.as_str() == id,
            }
    }

    fn hash(&self) -> u64 {
        hash_of(&self.document.name)
    }
}

fn hash_of(name: &Name) -> u64 {
    placement::hash_of(name.as_str().as_bytes())
}

/// Tenants by id.
#[derive(Debug, Default)]
pub struct TenantTable {
    table: HashTable<TenantPlan>,
}

impl TenantTable {
    /// The tenant of this id, whose [`placement::hash_of`] is `hash`.
    pub fn get(&self, hash: u64, id: &str) -> Option<&TenantPlan> {
        self.table.find(hash, |plan| plan.is(id))
    }

    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { table: HashTable::with_capacity(capacity) }
    }

    pub(super) fn insert(&mut self, plan: TenantPlan) {
        self.table.insert_unique(plan.hash(), plan, TenantPlan::hash);
    }

    /// The tenant of a document.
    pub(super) fn of(&self, document: &Arc<model::Tenant>) -> Option<&TenantPlan> {
        self.get(hash_of(&document.name), document.name.as_str()).filter(|plan| Arc::ptr_eq(&plan.document, document))
    }

    /// How many tenants have a document.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(id: &str, pin: Option<(u32, u32)>) -> TenantPlan {
        let name = Name::tenant(id).unwrap();
        TenantPlan::new(Arc::new(model::Tenant { name, pin: None, limits: [].into() }), pin, None)
    }

    #[test]
    fn a_tenant_takes_one_cache_line() {
        assert_eq!((size_of::<TenantPlan>(), align_of::<TenantPlan>()), (64, 64));
    }

    #[test]
    fn ids_of_any_length_are_told_apart() {
        let ids: Vec<String> =
            (1..=128).flat_map(|length| ["a", "b"].map(|end| "x".repeat(length - 1) + end)).collect();
        let mut table = TenantTable::default();
        for (number, id) in (0..).zip(&ids) {
            table.insert(plan(id, Some((1, number))));
        }
        for (number, id) in (0..).zip(&ids) {
            let found = table.get(placement::hash_of(id.as_bytes()), id).unwrap();
            assert_eq!((found.pinned_to(1), found.pinned_to(0)), (Some(number), None), "{id}");
        }
    }

    #[test]
    fn the_id_counts_and_not_only_its_hash() {
        let mut table = TenantTable::default();
        let hash = placement::hash_of(b"a");
        table.insert(plan("a", None));
        assert!(table.get(hash, "a").is_some_and(|plan| plan.pin().is_none()));
        for other in ["b", "", "a\0", "aa"] {
            assert!(table.get(hash, other).is_none(), "{other:?}");
        }
    }
}
