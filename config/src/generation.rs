//! What goes into force. Pure: from what is in force and what was read, to what is in force next and what is wrong.
//!
//! A document that is bad is quarantined alone: its last good version stays in force, and everything else goes live.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::check::ModelDocument;
use crate::codec::{Parsed, SourceDocument, parse};
use crate::ids::DocumentId;
use crate::model::Model;
use crate::problem::Problem;

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

/// The next generation. `files` are all the files there are, in any order.
pub fn advance(previous: Option<&InForce>, _files: &[Parsed]) -> Advanced {
    Advanced {
        in_force: previous.cloned().unwrap_or_default(),
        problems: Vec::new(),
        quarantined: Vec::new(),
        changed: false,
    }
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

/// Checks files, given as name and bytes, as if nothing had been in force before.
pub fn check_sources(files: &[(String, Vec<u8>)]) -> CheckReport {
    let parsed: Vec<Parsed> = files.iter().map(|(name, bytes)| parse(name, bytes)).collect();
    let documents = parsed.iter().map(|file| file.documents.len() + file.broken.len()).sum();
    let advanced = advance(None, &parsed);
    CheckReport { problems: advanced.problems, documents, in_force: advanced.in_force }
}
