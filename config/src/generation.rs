//! What goes into force. Pure: from what is in force and what was read, to what is in force next and what is wrong.
//!
//! A document that is bad is quarantined alone: its last good version stays in force, and everything else goes live.

mod gather;
mod refusals;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use crate::check::ModelDocument;
use crate::codec::{Parsed, SourceDocument, parse};
use crate::ids::DocumentId;
use crate::model::Model;
use crate::problem::Problem;

use gather::{Gathered, gather};
use settle::settle;

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
    documents: BTreeMap<DocumentId, Entry>,
    model: Arc<Model>,
    digest: u64,
}

impl InForce {
    /// The documents.
    pub fn documents(&self) -> &BTreeMap<DocumentId, Entry> {
        &self.documents
    }

    /// The same documents as a model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// A hash of what all the documents say, whatever their order, files and layout; stable across runs.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The digest as people see it: 16 hexadecimal digits.
    pub fn digest_hex(&self) -> String {
        format!("{:016x}", self.digest)
    }

    fn new(documents: BTreeMap<DocumentId, Entry>) -> InForce {
        let mut hash = Xxh3::new();
        for (id, entry) in &documents {
            // The lengths are fixed or the text is ended by a byte that no name has, so that no two sets of documents
            // give the same bytes.
            hash.update(id.kind.as_str().as_bytes());
            hash.update(&[0]);
            hash.update(id.name.as_str().as_bytes());
            hash.update(&[0]);
            hash.update(&entry.source.digest.to_le_bytes());
        }
        let model = Arc::new(model_of(&documents));
        InForce { digest: hash.digest(), model, documents }
    }
}

fn model_of(documents: &BTreeMap<DocumentId, Entry>) -> Model {
    let mut model = Model::default();
    for (id, entry) in documents {
        let name = id.name.clone();
        match &entry.model {
            ModelDocument::Listener(one) => drop(model.listeners.insert(name, Arc::clone(one))),
            ModelDocument::Grid(one) => drop(model.grids.insert(name, Arc::clone(one))),
            ModelDocument::Cell(one) => drop(model.cells.insert(name, Arc::clone(one))),
            ModelDocument::Service(one) => drop(model.services.insert(name, Arc::clone(one))),
            ModelDocument::Route(one) => drop(model.routes.insert(name, Arc::clone(one))),
            ModelDocument::Limit(one) => drop(model.limits.insert(name, Arc::clone(one))),
            ModelDocument::Tenant(one) => drop(model.tenants.insert(name, Arc::clone(one))),
        }
    }
    model
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
/// and a file that cannot be read is [`Parsed::unreadable`].
pub fn advance(previous: Option<&InForce>, files: &[Parsed]) -> Advanced {
    let nothing = BTreeMap::new();
    let before = previous.map_or(&nothing, |in_force| &in_force.documents);
    let mut gathered = gather(before, files);
    settle(before, &mut gathered);
    let Gathered { documents, refusals, .. } = gathered;
    let changed = previous.is_none() || !same_models(before, &documents);
    let in_force = match previous {
        // Positions may have moved; what is said has not.
        Some(previous) if !changed => {
            InForce { documents, model: Arc::clone(&previous.model), digest: previous.digest }
        }
        _ => InForce::new(documents),
    };
    let (problems, quarantined) = refusals.report(&in_force.documents);
    Advanced { in_force, problems, quarantined, changed }
}

fn same_models(one: &BTreeMap<DocumentId, Entry>, other: &BTreeMap<DocumentId, Entry>) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|((id, entry), (other_id, other))| id == other_id && entry.model.same(&other.model))
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
    let Advanced { in_force, mut problems, quarantined, .. } = advance(None, &parsed);
    let refused: BTreeSet<&DocumentId> = quarantined.iter().filter_map(|one| one.id.as_ref()).collect();
    problems.retain(|problem| problem.missing.as_ref().is_none_or(|missing| !refused.contains(missing)));
    CheckReport { problems, documents, in_force }
}

#[cfg(test)]
mod tests;
