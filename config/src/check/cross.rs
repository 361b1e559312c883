//! What documents say of each other: references that lead nowhere, and documents that contradict each other.

mod grids;
mod limits;
mod listeners;
mod moves;
mod overlap;
mod reach;
mod references;
mod shifts;

pub(super) use references::advice;

use std::collections::{BTreeMap, BTreeSet};

use super::ModelDocument;
use crate::generation::Entry;
use crate::ids::{DocumentId, Kind, Name};
use crate::model::{Cell, Certificate, Grid, Limit, Listener, Move, Plan, Route, Service, Shift, Tenant};
use crate::path::Path;
use crate::problem::Problem;

/// A problem between documents.
#[derive(Debug)]
pub struct Conflict {
    /// The problem, at the document that says it.
    pub problem: Problem,
    /// The document that says it.
    pub document: DocumentId,
    /// The other documents whose change could have caused it, one that is missing included.
    pub involved: Vec<DocumentId>,
}

/// Checks all documents against each other, given the kinds of which something differs from a set of documents that
/// had no conflicts. What only concerns other kinds is as good as it was: a new pin among a million compares no routes.
pub fn cross_check(documents: &BTreeMap<DocumentId, Entry>, changed: &BTreeSet<Kind>) -> Vec<Conflict> {
    let any = |kinds: &[Kind]| kinds.iter().any(|kind| changed.contains(kind));
    let mut cross = Cross::new(documents);
    references::check(&mut cross, any);
    limits::check(&mut cross, any);
    if any(&[Kind::Grid, Kind::Cell, Kind::Tenant]) {
        grids::check(&mut cross);
    }
    if any(&[Kind::Route, Kind::Grid, Kind::Cell, Kind::Service]) {
        reach::check(&mut cross);
    }
    if any(&[Kind::Listener]) {
        listeners::check(&mut cross);
    }
    if any(&[Kind::Shift, Kind::Service, Kind::Cell]) {
        shifts::check(&mut cross);
    }
    if any(&[Kind::Move, Kind::Grid, Kind::Cell]) {
        moves::check(&mut cross);
    }
    if any(&[Kind::Route]) {
        overlap::check(&mut cross);
    }
    cross.conflicts
}

/// A document of a known kind.
struct Of<'a, T> {
    entry: &'a Entry,
    model: &'a T,
}

impl<T> Clone for Of<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Of<'_, T> {}

type All<'a, T> = BTreeMap<&'a Name, Of<'a, T>>;

/// The same in order, from which maps are made faster than by inserting: one list a kind.
type ByKind<'a> = (
    List<'a, Listener>,
    List<'a, Certificate>,
    List<'a, Grid>,
    List<'a, Cell>,
    List<'a, Service>,
    List<'a, Route>,
    List<'a, Limit>,
    List<'a, Plan>,
    List<'a, Shift>,
    List<'a, Move>,
    List<'a, Tenant>,
);
type List<'a, T> = Vec<(&'a Name, Of<'a, T>)>;

/// All documents by kind, and the conflicts found so far.
#[derive(Default)]
struct Cross<'a> {
    listeners: All<'a, Listener>,
    certificates: All<'a, Certificate>,
    grids: All<'a, Grid>,
    cells: All<'a, Cell>,
    services: All<'a, Service>,
    routes: All<'a, Route>,
    limits: All<'a, Limit>,
    plans: All<'a, Plan>,
    shifts: All<'a, Shift>,
    moves: All<'a, Move>,
    tenants: All<'a, Tenant>,
    conflicts: Vec<Conflict>,
}

impl<'a> Cross<'a> {
    fn new(documents: &'a BTreeMap<DocumentId, Entry>) -> Self {
        let mut of: ByKind<'a> = ByKind::default();
        for (id, entry) in documents {
            let name = &id.name;
            match &entry.model {
                ModelDocument::Listener(model) => of.0.push((name, Of { entry, model })),
                ModelDocument::Certificate(model) => of.1.push((name, Of { entry, model })),
                ModelDocument::Grid(model) => of.2.push((name, Of { entry, model })),
                ModelDocument::Cell(model) => of.3.push((name, Of { entry, model })),
                ModelDocument::Service(model) => of.4.push((name, Of { entry, model })),
                ModelDocument::Route(model) => of.5.push((name, Of { entry, model })),
                ModelDocument::Limit(model) => of.6.push((name, Of { entry, model })),
                ModelDocument::Plan(model) => of.7.push((name, Of { entry, model })),
                ModelDocument::Shift(model) => of.8.push((name, Of { entry, model })),
                ModelDocument::Move(model) => of.9.push((name, Of { entry, model })),
                ModelDocument::Tenant(model) => of.10.push((name, Of { entry, model })),
            }
        }
        Cross {
            listeners: of.0.into_iter().collect(),
            certificates: of.1.into_iter().collect(),
            grids: of.2.into_iter().collect(),
            cells: of.3.into_iter().collect(),
            services: of.4.into_iter().collect(),
            routes: of.5.into_iter().collect(),
            limits: of.6.into_iter().collect(),
            plans: of.7.into_iter().collect(),
            shifts: of.8.into_iter().collect(),
            moves: of.9.into_iter().collect(),
            tenants: of.10.into_iter().collect(),
            conflicts: Vec::new(),
        }
    }

    /// Notes a conflict that `entry` says, and that a change of the others could have caused.
    fn conflict(&mut self, entry: &Entry, path: &Path<'_>, message: String, help: String, others: Vec<DocumentId>) {
        let problem = entry.source.problem(path, message).with_help(help);
        self.conflicts.push(Conflict { problem, document: entry.source.id.clone(), involved: others });
    }
}

fn id(kind: Kind, name: &Name) -> DocumentId {
    DocumentId { kind, name: name.clone() }
}

/// Puts the one that is written first before the other.
fn in_writing_order<'a>(one: &'a Entry, other: &'a Entry) -> (&'a Entry, &'a Entry) {
    let place = |entry: &'a Entry| (&entry.source.file, entry.source.line, &entry.source.id);
    if place(one) <= place(other) { (one, other) } else { (other, one) }
}
