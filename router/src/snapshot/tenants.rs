//! The tenants that have a document: one look-up by hash a request.

use std::sync::Arc;

use gridrouter_config::model;
use hashbrown::HashTable;

use super::QuotaPlan;
use crate::placement;

/// What is known of one tenant.
#[derive(Debug)]
pub struct TenantPlan {
    /// The document.
    pub document: Arc<model::Tenant>,
    hash: u64,
    /// Grid and cell of its pin, by stable number.
    pub pin: Option<(u32, u32)>,
    /// Its own quotas, by the limit's stable number.
    pub limits: Box<[(u32, Arc<QuotaPlan>)]>,
}

impl TenantPlan {
    pub(super) fn new(
        document: Arc<model::Tenant>,
        pin: Option<(u32, u32)>,
        limits: Box<[(u32, Arc<QuotaPlan>)]>,
    ) -> Self {
        let hash = placement::hash_of(document.name.as_str().as_bytes());
        Self { document, hash, pin, limits }
    }

    /// The cell it is pinned to in `grid`.
    pub fn pinned_to(&self, grid: u32) -> Option<u32> {
        self.pin.filter(|(of, _)| *of == grid).map(|(_, cell)| cell)
    }

    /// Its own quota for a limit.
    pub fn quota(&self, limit: u32) -> Option<&Arc<QuotaPlan>> {
        self.limits.iter().find(|(id, _)| *id == limit).map(|(_, quota)| quota)
    }
}

/// Tenants by id.
#[derive(Debug, Default)]
pub struct TenantTable {
    table: HashTable<Arc<TenantPlan>>,
}

impl TenantTable {
    /// The tenant of this id, whose [`placement::hash_of`] is `hash`.
    pub fn get(&self, hash: u64, id: &str) -> Option<&Arc<TenantPlan>> {
        self.table.find(hash, |plan| plan.hash == hash && plan.document.name.as_str() == id)
    }

    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { table: HashTable::with_capacity(capacity) }
    }

    pub(super) fn insert(&mut self, plan: Arc<TenantPlan>) {
        self.table.insert_unique(plan.hash, plan, |plan| plan.hash);
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
