//! The tenants that have a document, as requests ask for them: one look-up by hash a request.
//!
//! The table is the model's own. What its rows have numbers for, pins and limit values, is compiled once for all tenants
//! that share it.

use std::sync::Arc;

use gridrouter_config::tenants::{OwnLimits, Row, TenantTable};

use super::{LimitPlan, QuotaPlan};

/// What a tenant and its plan say of limits.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// Values of their own, by the limit's stable number.
    pub(super) own: Vec<(u32, Arc<QuotaPlan>)>,
    /// Limits that all the tenant's requests meet.
    pub(super) extra: Vec<Arc<LimitPlan>>,
}

/// Tenants by id.
#[derive(Debug, Default)]
pub struct Tenants {
    table: TenantTable,
    /// Grid and cell by stable number, for each number of a pin.
    pins: Arc<[Option<(u32, u32)>]>,
    /// For each number of limit values.
    quotas: Arc<[Option<Arc<Quotas>>]>,
}

/// What is known of one tenant.
#[derive(Debug, Clone, Copy)]
pub struct TenantPlan<'a> {
    tenants: &'a Tenants,
    row: &'a Row,
}

impl Tenants {
    pub(super) fn new(table: TenantTable, pins: Arc<[Option<(u32, u32)>]>, quotas: Arc<[Option<Arc<Quotas>>]>) -> Self {
        Self { table, pins, quotas }
    }

    /// The same pins and quotas for another table, whose numbers mean the same.
    pub(super) fn again(&self, table: TenantTable) -> Self {
        Self { table, pins: Arc::clone(&self.pins), quotas: Arc::clone(&self.quotas) }
    }

    /// The table that this was compiled from.
    pub(super) fn table(&self) -> &TenantTable {
        &self.table
    }

    /// What was compiled from these limit values, if it was by this number.
    pub(super) fn quotas_of(&self, number: u32, own: &Arc<OwnLimits>) -> Option<Arc<Quotas>> {
        self.table.limits_of(number).filter(|before| Arc::ptr_eq(before, own))?;
        self.quotas.get(number as usize)?.clone()
    }

    /// The tenant of this id, whose [`crate::placement::hash_of`] is `hash`.
    pub fn get(&self, hash: u64, id: &str) -> Option<TenantPlan<'_>> {
        Some(TenantPlan { tenants: self, row: self.table.find(hash, id)? })
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

impl<'a> TenantPlan<'a> {
    /// Grid and cell of its pin, by stable number.
    pub fn pin(&self) -> Option<(u32, u32)> {
        *self.tenants.pins.get(self.row.pin()? as usize)?
    }

    /// The cell it is pinned to in `grid`.
    pub fn pinned_to(&self, grid: u32) -> Option<u32> {
        self.pin().filter(|(of, _)| *of == grid).map(|(_, cell)| cell)
    }

    fn quotas(&self) -> Option<&'a Quotas> {
        self.tenants.quotas.get(self.row.limits()? as usize)?.as_deref()
    }

    /// Its own quota for a limit, or its plan's.
    pub fn quota(&self, limit: u32) -> Option<&'a Arc<QuotaPlan>> {
        self.quotas()?.own.iter().find(|(id, _)| *id == limit).map(|(_, quota)| quota)
    }

    /// Whether it or its plan say something of limits.
    pub fn has_limits(&self) -> bool {
        self.row.limits().is_some()
    }

    /// Limits that all its requests meet, beside those of listener, route and service.
    pub fn extra(&self) -> &'a [Arc<LimitPlan>] {
        self.quotas().map_or(&[], |quotas| &quotas.extra)
    }
}

#[cfg(test)]
mod tests {
    use gridrouter_config::ids::Name;

    use super::*;
    use crate::placement;

    #[test]
    fn placement_and_the_table_hash_alike() {
        let mut table = TenantTable::default();
        assert!(table.put_json(&Name::tenant("acme").unwrap(), br#"{"kind":"Tenant","name":"acme"}"#));
        let tenants = Tenants::new(table, Arc::default(), Arc::default());
        let found = tenants.get(placement::hash_of(b"acme"), "acme").unwrap();
        assert_eq!((found.pin(), found.quota(0).is_none()), (None, true));
        assert!(tenants.get(placement::hash_of(b"bolt"), "bolt").is_none());
    }
}
