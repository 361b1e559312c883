//! The third step: tenants that are listed as a table against the documents that they refer to.
//!
//! Many tenants share a pin or limit values, so that not tenants are checked but what they share. Only when something is
//! wrong with that are tenants looked at: they become documents like all others, [`settle`] decides what gives way, and
//! what it decides is written back into the table.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::gather::Gathered;
use super::settle::settle;
use super::{Documents, Entry, InForce};
use crate::check::{ModelDocument, convert, tenant_misfits};
use crate::codec::Parsed;
use crate::ids::{DocumentId, Kind, Name};
use crate::model::{Limit, Pin};
use crate::problem::Problem;
use crate::raw;
use crate::tenants::{OwnLimits, Row, Tenant, TenantTable};

/// Tenants that become documents in one round. More than these are treated as one.
const WITNESSES: usize = 100;
/// Every round takes something back. Should some tangle need more than this, tenants that contradict others are left
/// out.
const MAX_ROUNDS: usize = 10;

/// What was in force, with each tenant in the place that it has now: in a file, or in the table.
pub(super) struct Before<'a> {
    pub(super) documents: Cow<'a, Documents>,
    pub(super) tenants: TenantTable,
}

impl<'a> Before<'a> {
    pub(super) fn of(previous: Option<&'a InForce>, files: &[Parsed], listed: &TenantTable) -> Self {
        let Some(previous) = previous else {
            return Self { documents: Cow::default(), tenants: listed.emptied() };
        };
        let mut before = Self { documents: Cow::Borrowed(&*previous.documents), tenants: previous.tenants.clone() };
        if !before.tenants.is_empty() {
            let good = files.iter().flat_map(|file| &file.documents).map(|document| &document.id);
            let bad = files.iter().flat_map(|file| &file.broken).filter_map(|broken| broken.id.as_ref());
            for id in good.chain(bad).filter(|id| id.kind == Kind::Tenant) {
                let entry = before.tenants.get(id.name.as_str()).and_then(entry);
                if let Some(entry) = entry {
                    before.documents.to_mut().insert(id.clone(), entry);
                    before.tenants.remove(id.name.as_str());
                }
            }
        }
        if !listed.is_empty() {
            let tenants = before.documents.keys().rev().take_while(|id| id.kind == Kind::Tenant);
            let moved: Vec<_> = tenants.filter(|id| listed.get(id.name.as_str()).is_some()).cloned().collect();
            for id in moved {
                if let Some(entry) = before.documents.to_mut().remove(&id) {
                    put(&mut before.tenants, &entry);
                }
            }
        }
        before
    }
}

/// A tenant of the table as a document.
fn entry(tenant: Tenant<'_>) -> Option<Entry> {
    let source = tenant.source()?;
    let model = convert(&source).ok()?;
    Some(Entry { source, model })
}

fn put(table: &mut TenantTable, entry: &Entry) {
    if let (ModelDocument::Tenant(model), raw::Document::Tenant(raw)) = (&entry.model, &entry.source.raw) {
        table.put(raw, model);
    }
}

fn id(name: &str) -> Option<DocumentId> {
    Some(DocumentId { kind: Kind::Tenant, name: Name::tenant(name).ok()? })
}

/// What some tenants refer to, and must not.
#[derive(Default)]
pub(super) struct Dangling {
    pins: BTreeSet<u32>,
    limits: BTreeSet<u32>,
}

impl Dangling {
    pub(super) fn find(table: &TenantTable, documents: &Documents) -> Self {
        let pins = table.pins().filter(|(_, pin)| !fits(pin, documents)).map(|(number, _)| number);
        let limits = table.limits().filter(|(_, own)| !are_limits(own, documents)).map(|(number, _)| number);
        Self { pins: pins.collect(), limits: limits.collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pins.is_empty() && self.limits.is_empty()
    }

    fn concerns(&self, row: &Row) -> bool {
        row.pin().is_some_and(|pin| self.pins.contains(&pin))
            || row.limits().is_some_and(|limits| self.limits.contains(&limits))
    }
}

fn model_of<'a>(documents: &'a Documents, kind: Kind, name: &Name) -> Option<&'a ModelDocument> {
    documents.get(&DocumentId { kind, name: name.clone() }).map(|entry| &entry.model)
}

fn fits(pin: &Pin, documents: &Documents) -> bool {
    let Some(ModelDocument::Grid(grid)) = model_of(documents, Kind::Grid, &pin.grid) else { return false };
    grid.cells.binary_search(&pin.cell).is_ok() && model_of(documents, Kind::Cell, &pin.cell).is_some()
}

fn are_limits(own: &OwnLimits, documents: &Documents) -> bool {
    let own = &own.model;
    own.plan.as_ref().is_none_or(|plan| model_of(documents, Kind::Plan, plan).is_some())
        && own.extra.iter().all(|name| limit_of(documents, name).is_some())
        && own.overrides.iter().all(|(name, values)| {
            limit_of(documents, name).is_some_and(|limit| tenant_misfits(limit, values).is_empty())
        })
}

fn limit_of<'a>(documents: &'a Documents, name: &Name) -> Option<&'a Limit> {
    if let Some(ModelDocument::Limit(limit)) = model_of(documents, Kind::Limit, name) { Some(limit) } else { None }
}

/// Takes back changes, of tenants or of what they refer to, until the documents are consistent. Returns the tenants in
/// force.
pub(super) fn settle_all(before: &Before<'_>, listed: &TenantTable, gathered: &mut Gathered) -> TenantTable {
    let mut table = listed.clone();
    for round in 0..MAX_ROUNDS {
        let dangling = Dangling::find(&table, &gathered.documents);
        if dangling.is_empty() {
            if round > 0 {
                return table;
            }
            settle(&before.documents, gathered);
            continue;
        }
        let chosen = choose(before, &table, &dangling);
        let mut documents = Documents::clone(&before.documents);
        for (id, old, new) in &chosen.witnesses {
            documents.extend(old.clone().map(|old| (id.clone(), old)));
            gathered.documents.insert(id.clone(), new.clone());
        }
        settle(&documents, gathered);
        for (id, _, new) in &chosen.witnesses {
            match gathered.documents.remove(id) {
                None => drop(table.remove(id.name.as_str())),
                Some(entry) if entry.model.same(&new.model) => {}
                Some(entry) => put(&mut table, &entry),
            }
        }
        take_back(before, &mut table, &chosen.more, gathered);
    }
    let dangling = Dangling::find(&table, &gathered.documents);
    let left = table.iter().filter(|tenant| dangling.concerns(tenant.row()));
    let left: Vec<String> = left.map(|tenant| tenant.name().to_owned()).collect();
    let nothing = Before { documents: Cow::default(), tenants: table.emptied() };
    take_back(&nothing, &mut table, &left, gathered);
    table
}

/// Tenants that refer to what is not there.
struct Chosen {
    /// Some of them, with what they were and are.
    witnesses: Vec<(DocumentId, Option<Entry>, Entry)>,
    /// Those of the others that changed.
    more: Vec<String>,
}

/// Of tenants that did not change one for each thing that is not there is enough: whoever took it away is to blame.
fn choose(before: &Before<'_>, table: &TenantTable, dangling: &Dangling) -> Chosen {
    let mut chosen = Chosen { witnesses: Vec::new(), more: Vec::new() };
    let mut changed = BTreeSet::new();
    for change in table.changes(&before.tenants) {
        let Some(after) = change.after.filter(|after| dangling.concerns(after.row())) else { continue };
        changed.insert(after.name());
        let entries = (id(after.name()), entry(after));
        match entries {
            (Some(id), Some(new)) if chosen.witnesses.len() < WITNESSES => {
                chosen.witnesses.push((id, change.before.and_then(entry), new));
            }
            _ => chosen.more.push(after.name().to_owned()),
        }
    }
    let (mut pins, mut limits) = (dangling.pins.clone(), dangling.limits.clone());
    for tenant in table.iter() {
        if pins.is_empty() && limits.is_empty() {
            break;
        }
        let row = tenant.row();
        let of_pin = row.pin().is_some_and(|pin| pins.contains(&pin));
        let of_limits = row.limits().is_some_and(|limit| limits.contains(&limit));
        if !(of_pin || of_limits) || changed.contains(tenant.name()) {
            continue;
        }
        if let (Some(id), Some(entry)) = (id(tenant.name()), entry(tenant)) {
            row.pin().map(|pin| pins.remove(&pin));
            row.limits().map(|limit| limits.remove(&limit));
            chosen.witnesses.push((id, Some(entry.clone()), entry));
        }
    }
    chosen
}

/// Puts tenants back to what they were, with one report for all of them.
fn take_back(before: &Before<'_>, table: &mut TenantTable, names: &[String], gathered: &mut Gathered) {
    let Some(first) = names.first() else { return };
    let place: Arc<str> = format!("{}{first}", table.place()).into();
    let message = format!(
        "{} more tenants refer to what is not there, \"{first}\" among them; they stay what they were",
        names.len()
    );
    gathered.refusals.refuse_unnamed(&place, vec![Problem::of_file(&place, message)]);
    for name in names {
        match before.tenants.get(name) {
            Some(tenant) => table.put_from(tenant),
            None => drop(table.remove(name)),
        }
    }
}
