//! The model of what is in force. What did not change is taken over from the one before.

use std::sync::Arc;

use super::{Documents, InForce};
use crate::check::ModelDocument;
use crate::ids::{Kind, Name};
use crate::model::{Map, Model};
use crate::raw;
use crate::tenants::TenantTable;

pub(super) fn model_of(previous: Option<&InForce>, documents: &Documents, tenants: &TenantTable) -> Model {
    let mut maps = Maps::default();
    for (id, entry) in documents {
        let name = id.name.clone();
        match &entry.model {
            ModelDocument::Listener(one) => maps.listeners.push((name, Arc::clone(one))),
            ModelDocument::Certificate(one) => maps.certificates.push((name, Arc::clone(one))),
            ModelDocument::Grid(one) => maps.grids.push((name, Arc::clone(one))),
            ModelDocument::Cell(one) => maps.cells.push((name, Arc::clone(one))),
            ModelDocument::Service(one) => maps.services.push((name, Arc::clone(one))),
            ModelDocument::Route(one) => maps.routes.push((name, Arc::clone(one))),
            ModelDocument::Limit(one) => maps.limits.push((name, Arc::clone(one))),
            ModelDocument::Plan(one) => maps.plans.push((name, Arc::clone(one))),
            ModelDocument::Shift(one) => maps.shifts.push((name, Arc::clone(one))),
            ModelDocument::Move(one) => maps.moves.push((name, Arc::clone(one))),
            ModelDocument::Tenant(_) => {}
        }
    }
    let nothing = Model::default();
    let old = previous.map_or(&nothing, |previous| &*previous.model);
    Model {
        listeners: keep(&old.listeners, maps.listeners),
        certificates: keep(&old.certificates, maps.certificates),
        grids: keep(&old.grids, maps.grids),
        cells: keep(&old.cells, maps.cells),
        services: keep(&old.services, maps.services),
        routes: keep(&old.routes, maps.routes),
        limits: keep(&old.limits, maps.limits),
        plans: keep(&old.plans, maps.plans),
        shifts: keep(&old.shifts, maps.shifts),
        moves: keep(&old.moves, maps.moves),
        tenants: tenants_of(previous, documents, tenants),
    }
}

/// In order, from which a map is made faster than by inserting.
#[derive(Default)]
struct Maps {
    listeners: Vec<(Name, Arc<crate::model::Listener>)>,
    certificates: Vec<(Name, Arc<crate::model::Certificate>)>,
    grids: Vec<(Name, Arc<crate::model::Grid>)>,
    cells: Vec<(Name, Arc<crate::model::Cell>)>,
    services: Vec<(Name, Arc<crate::model::Service>)>,
    routes: Vec<(Name, Arc<crate::model::Route>)>,
    limits: Vec<(Name, Arc<crate::model::Limit>)>,
    plans: Vec<(Name, Arc<crate::model::Plan>)>,
    shifts: Vec<(Name, Arc<crate::model::Shift>)>,
    moves: Vec<(Name, Arc<crate::model::Move>)>,
}

/// The same map as before, if it has the same documents.
fn keep<T>(old: &Map<T>, new: Vec<(Name, Arc<T>)>) -> Map<T> {
    let same = old.len() == new.len() && old.values().zip(&new).all(|(old, (_, new))| Arc::ptr_eq(old, new));
    if same { Arc::clone(old) } else { Arc::new(new.into_iter().collect()) }
}

fn tenant_documents(documents: &Documents) -> impl Iterator<Item = (&Arc<crate::model::Tenant>, &raw::Tenant)> {
    // They are the last kind in the order of the map.
    let tenants = documents.iter().rev().take_while(|(id, _)| id.kind == Kind::Tenant);
    tenants.filter_map(|(_, entry)| match (&entry.model, &entry.source.raw) {
        (ModelDocument::Tenant(model), raw::Document::Tenant(raw)) => Some((model, raw)),
        _ => None,
    })
}

/// Whether there are tenants besides those of the table.
pub(super) fn has_tenants(documents: &Documents) -> bool {
    tenant_documents(documents).next().is_some()
}

/// The tenants of the table, and those that were listed otherwise.
fn tenants_of(previous: Option<&InForce>, documents: &Documents, tenants: &TenantTable) -> TenantTable {
    if let Some(previous) = previous
        && previous.tenants.same(tenants)
        && tenant_documents(documents)
            .map(|(model, _)| Arc::as_ptr(model))
            .eq(tenant_documents(&previous.documents).map(|(model, _)| Arc::as_ptr(model)))
    {
        return previous.model.tenants.clone();
    }
    let mut table = tenants.clone();
    for (model, raw) in tenant_documents(documents) {
        table.put(raw, model);
    }
    table
}
