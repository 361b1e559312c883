//! The second step: documents against each other, until nothing contradicts anything.
//!
//! A document that contradicts others goes back to what it was. If it has not changed, a change of the others is to
//! blame, and that is taken back: this is how a document that others still refer to outlives its deletion. Every
//! round takes at least one change back and none is made again, so that the rounds come to an end.

use std::collections::{BTreeMap, BTreeSet};

use super::gather::Gathered;
use super::{Entry, join};
use crate::check::{Conflict, cross_check};
use crate::ids::{DocumentId, Kind};
use crate::problem::Problem;

/// References run three kinds deep (route, grid, cell), and so do rounds. Should some tangle of changes need more
/// than this, those that contradict others are left out without a look at who is to blame.
const MAX_ROUNDS: usize = 50;

type Documents = BTreeMap<DocumentId, Entry>;

/// Takes back changes until the documents are consistent.
pub(super) fn settle(before: &Documents, gathered: &mut Gathered) {
    let mut given_up = BTreeSet::new();
    for round in 0.. {
        let changed = changed_kinds(before, &gathered.documents);
        let conflicts = if changed.is_empty() { Vec::new() } else { cross_check(&gathered.documents, &changed) };
        if conflicts.is_empty() {
            return;
        }
        let mut blamed: BTreeMap<DocumentId, Vec<Conflict>> = BTreeMap::new();
        for conflict in conflicts {
            let culprit = if round < MAX_ROUNDS {
                culprit(before, &gathered.documents, &given_up, &conflict)
            } else {
                conflict.document.clone()
            };
            blamed.entry(culprit).or_default().push(conflict);
        }
        for (id, conflicts) in blamed {
            let changed = round < MAX_ROUNDS && is_changed(before, &gathered.documents, &given_up, &id);
            report(before, gathered, &id, conflicts);
            if let (true, Some(entry)) = (changed, before.get(&id)) {
                gathered.documents.insert(id, entry.clone());
            } else {
                gathered.documents.remove(&id);
                given_up.insert(id);
            }
        }
    }
}

/// The kinds of which something was added, removed or changed.
fn changed_kinds(before: &Documents, now: &Documents) -> BTreeSet<Kind> {
    let differs = |(_, before, now): &(&DocumentId, Option<&Entry>, Option<&Entry>)| match (before, now) {
        (Some(before), Some(now)) => !before.model.same(&now.model),
        (None, _) | (_, None) => true,
    };
    join(before, now).filter(differs).map(|(id, ..)| id.kind).collect()
}

/// Whose change it is that leads to a conflict.
fn culprit(before: &Documents, now: &Documents, given_up: &BTreeSet<DocumentId>, conflict: &Conflict) -> DocumentId {
    let mut all = std::iter::once(&conflict.document).chain(&conflict.involved);
    all.find(|id| is_changed(before, now, given_up, id)).unwrap_or(&conflict.document).clone()
}

fn is_changed(before: &Documents, now: &Documents, given_up: &BTreeSet<DocumentId>, id: &DocumentId) -> bool {
    match (before.get(id), now.get(id)) {
        (Some(before), Some(now)) => !before.model.same(&now.model),
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => !given_up.contains(id),
    }
}

/// Says what is wrong, at the document that gives way.
fn report(before: &Documents, gathered: &mut Gathered, id: &DocumentId, conflicts: Vec<Conflict>) {
    let (own, caused): (Vec<_>, Vec<_>) = conflicts.into_iter().partition(|conflict| conflict.document == *id);
    if let Some(entry) = gathered.documents.get(id) {
        let mut problems: Vec<Problem> = own.into_iter().map(|conflict| conflict.problem).collect();
        if let Some(first) = caused.first() {
            let place = format!("{}:{}", first.problem.file, first.problem.line);
            let message = format!(
                "this change of {id} breaks {} at {place}{}: {}",
                first.document,
                and_more(caused.len()),
                first.problem.message
            );
            let help = format!("change {} first, or both at once", first.document);
            problems.push(entry.source.problem(&crate::path::Path::Root, message).with_help(help));
        }
        let file = entry.source.file.clone();
        gathered.refusals.refuse(id, &file, problems);
    } else if let (Some(entry), Some(first)) = (before.get(id), caused.first()) {
        let place = format!("{}:{}", first.problem.file, first.problem.line);
        let message =
            format!("{id} was removed, and {} at {place}{} still needs it", first.document, and_more(caused.len()));
        let problem = entry.source.problem(&crate::path::Path::Root, message);
        gathered.refusals.hold(id, problem.with_help("it stays in force until nothing refers to it"));
    }
}

fn and_more(count: usize) -> String {
    if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() }
}
