//! What goes into force. Pure: from what is in force and what was read, to what is in force next and what is wrong.
//!
//! A document that is bad is quarantined alone: its last good version stays in force, and everything else goes live.

mod gather;
mod models;
mod refusals;
mod settle;
mod tenants;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::check::ModelDocument;
use crate::codec::{Parsed, SourceDocument, parse};
use crate::digest::Digest;
use crate::ids::{DocumentId, Kind, Name};
use crate::model::Model;
use crate::problem::Problem;
use crate::tenants::{TenantChange, TenantTable};

use gather::{Gathered, gather};
use tenants::{Before, Dangling, settle_all};

/// A document in force: what was written and what came of it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As written.
    pub source: Arc<SourceDocument>,
    /// As checked. The same `Arc` as before if the document says the same as before.
    pub model: ModelDocument,
}

/// The documents in force. Every reference among them resolves.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    documents: Arc<Documents>,
    tenants: TenantTable,
    model: Arc<Model>,
    digest: Digest,
}

pub(crate) type Documents = BTreeMap<DocumentId, Entry>;

impl InForce {
    /// The documents, but for those in [`InForce::tenants`].
    pub fn documents(&self) -> &BTreeMap<DocumentId, Entry> {
        &self.documents
    }

    /// The tenants that were listed as a table.
    pub fn tenants(&self) -> &TenantTable {
        &self.tenants
    }

    /// How many documents there are in all.
    pub fn len(&self) -> usize {
        self.documents.len() + self.tenants.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same documents as a model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The digest of what all the documents say, whatever their order, files and layout; stable across runs.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether the two differ in tenants of the table alone, as far as pointers tell.
    pub fn same_documents(&self, other: &InForce) -> bool {
        Arc::ptr_eq(&self.documents, &other.documents)
    }
}

/// What two sets have of each document, in order.
pub(crate) fn join<'a>(
    before: &'a Documents,
    now: &'a Documents,
) -> impl Iterator<Item = (&'a DocumentId, Option<&'a Entry>, Option<&'a Entry>)> {
    let (mut before, mut now) = (before.iter().peekable(), now.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (before.peek(), now.peek()) {
            (Some((one, _)), Some((other, _))) => one.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let old = if order == Ordering::Greater { None } else { before.next() };
        let new = if order == Ordering::Less { None } else { now.next() };
        let (id, _) = old.or(new)?;
        Some((id, old.map(|(_, entry)| entry), new.map(|(_, entry)| entry)))
    })
}

fn digest_of(documents: &Documents, tenants: &TenantTable) -> Digest {
    let mut digest = tenants.digest();
    for entry in documents.values() {
        digest.add(entry.source.digest);
    }
    digest
}

/// What is in force in place of a document that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fallback {
    /// A good version: the last one, or another document of the same name.
    LastGood,
    /// Nothing: there never was a good version.
    Absent,
    /// The version that was to be removed, because others still refer to it.
    DeletionHeld,
}

/// A document that was refused.
#[derive(Debug, Clone, Serialize)]
pub struct Quarantined {
    /// Its kind and name, if they could be read.
    pub id: Option<DocumentId>,
    /// The file.
    pub file: Arc<str>,
    /// What is in force instead.
    pub fallback: Fallback,
    /// Why.
    pub problems: Vec<Problem>,
}

/// The outcome of [`advance`].
#[derive(Debug)]
pub struct Advanced {
    /// What is in force now.
    pub in_force: InForce,
    /// Everything that is wrong, in reading order.
    pub problems: Vec<Problem>,
    /// The documents that were refused.
    pub quarantined: Vec<Quarantined>,
    /// Whether what is in force differs from before.
    pub changed: bool,
}

/// The next generation. `files` are all the files there are, in any order; a file that is not among them is deleted,
/// and a file that cannot be read is [`Parsed::unreadable`]. `tenants` are documents that are good by themselves; none of
/// them is in a file too.
pub fn advance(previous: Option<&InForce>, files: &[Parsed], tenants: &TenantTable) -> Advanced {
    let before = Before::of(previous, files, tenants);
    let mut gathered = gather(&before.documents, files);
    let tenants = settle_all(&before, tenants, &mut gathered);
    let Gathered { documents, refusals, .. } = gathered;
    let digest = digest_of(&documents, &tenants);
    let in_force = match previous {
        // Positions may have moved; what is said has not.
        Some(previous) if previous.digest == digest => {
            InForce { documents: Arc::new(documents), tenants, model: Arc::clone(&previous.model), digest }
        }
        _ => {
            let model = Arc::new(models::model_of(previous, &documents, &tenants));
            InForce { documents: Arc::new(documents), tenants, model, digest }
        }
    };
    let changed = previous.is_none_or(|previous| previous.digest != digest);
    let known = |id: &DocumentId| {
        in_force.documents.contains_key(id)
            || id.kind == Kind::Tenant && in_force.tenants.get(id.name.as_str()).is_some()
    };
    let (problems, quarantined) = refusals.report(known);
    Advanced { in_force, problems, quarantined, changed }
}

/// The next generation where no document differs but for tenants of the table, and nothing was refused before. Costs as
/// much as there are changes. Nothing if something is wrong with them, so that [`advance`] has to look at everything.
pub fn advance_tenants(previous: &InForce, tenants: &TenantTable) -> Option<InForce> {
    let changes = tenants.changes(&previous.tenants);
    let elsewhere = |change: &TenantChange<'_>| {
        let name = change.after.or(change.before).and_then(|tenant| Name::tenant(tenant.name()).ok());
        name.is_none_or(|name| previous.documents.contains_key(&DocumentId { kind: Kind::Tenant, name }))
    };
    if changes.iter().any(elsewhere) || !Dangling::find(tenants, &previous.documents).is_empty() {
        return None;
    }
    let mut model = Model::clone(&previous.model);
    if models::has_tenants(&previous.documents) {
        model.tenants.apply(&changes);
    } else {
        model.tenants = tenants.clone();
    }
    let mut digest = previous.digest;
    digest.remove(previous.tenants.digest());
    digest.add(tenants.digest());
    let documents = Arc::clone(&previous.documents);
    Some(InForce { documents, tenants: tenants.clone(), model: Arc::new(model), digest })
}

/// What a check of files by themselves found.
#[derive(Debug)]
pub struct CheckReport {
    /// Everything that is wrong, in reading order.
    pub problems: Vec<Problem>,
    /// How many documents the files hold, good and bad.
    pub documents: usize,
    /// What would be in force.
    pub in_force: InForce,
}

/// Checks files, given as name and bytes, as if nothing had been in force before. References to a document that is
/// itself refused are not reported: they are right again as soon as it is.
pub fn check_sources(files: &[(String, Vec<u8>)]) -> CheckReport {
    let parsed: Vec<Parsed> = files.iter().map(|(name, bytes)| parse(name, bytes)).collect();
    let documents = parsed.iter().map(|file| file.documents.len() + file.broken.len()).sum();
    let Advanced { in_force, mut problems, quarantined, .. } = advance(None, &parsed, &TenantTable::default());
    let refused: BTreeSet<&DocumentId> = quarantined.iter().filter_map(|one| one.id.as_ref()).collect();
    problems.retain(|problem| problem.missing.as_ref().is_none_or(|missing| !refused.contains(missing)));
    CheckReport { problems, documents, in_force }
}

#[cfg(test)]
mod tests;
