//! What was refused, and the report of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Fallback, Quarantined};
use crate::ids::DocumentId;
use crate::problem::Problem;

/// Everything that was refused so far.
#[derive(Default)]
pub(super) struct Refusals {
    /// By document and file: two files may hold a bad document of the same name each.
    named: BTreeMap<(DocumentId, Arc<str>), Vec<Problem>>,
    /// Documents and files without a name that can be read.
    unnamed: Vec<(Arc<str>, Vec<Problem>)>,
    /// Files of which something was kept that is not in them now.
    kept: BTreeSet<Arc<str>>,
    /// Documents that were removed and cannot be yet.
    held: BTreeMap<DocumentId, Problem>,
}

impl Refusals {
    pub(super) fn refuse(&mut self, id: &DocumentId, file: &Arc<str>, problems: Vec<Problem>) {
        self.named.entry((id.clone(), Arc::clone(file))).or_default().extend(problems);
    }

    pub(super) fn refuse_unnamed(&mut self, file: &Arc<str>, problems: Vec<Problem>) {
        self.unnamed.push((Arc::clone(file), problems));
    }

    /// Adds to what was refused without a name as the nth.
    pub(super) fn extend_unnamed(&mut self, nth: usize, more: Vec<Problem>) {
        if let Some((_, problems)) = self.unnamed.get_mut(nth) {
            problems.extend(more);
        }
    }

    pub(super) fn keep_from(&mut self, file: &Arc<str>) {
        self.kept.insert(Arc::clone(file));
    }

    pub(super) fn hold(&mut self, id: &DocumentId, problem: Problem) {
        self.held.entry(id.clone()).or_insert(problem);
    }

    /// All problems in reading order, and the documents that were refused.
    pub(super) fn report(self, in_force: impl Fn(&DocumentId) -> bool) -> (Vec<Problem>, Vec<Quarantined>) {
        let mut quarantined = Vec::new();
        for (file, problems) in self.unnamed {
            let fallback = if self.kept.contains(&file) { Fallback::LastGood } else { Fallback::Absent };
            quarantined.push(Quarantined { id: None, file, fallback, problems });
        }
        let places: BTreeMap<DocumentId, String> =
            self.named.iter().filter_map(|((id, _), found)| Some((id.clone(), place(found.first()?)))).collect();
        for ((id, file), mut problems) in self.named {
            for problem in &mut problems {
                if let Some(at) = problem.missing.as_ref().and_then(|missing| places.get(missing)) {
                    problem.help = Some(format!("it is there, at {at}, with a problem of its own"));
                }
            }
            let fallback = if in_force(&id) { Fallback::LastGood } else { Fallback::Absent };
            quarantined.push(Quarantined { id: Some(id), file, fallback, problems });
        }
        for (id, problem) in self.held {
            let file = Arc::clone(&problem.file);
            quarantined.push(Quarantined {
                id: Some(id),
                file,
                fallback: Fallback::DeletionHeld,
                problems: vec![problem],
            });
        }
        let mut problems: Vec<Problem> = quarantined.iter().flat_map(|one| one.problems.iter().cloned()).collect();
        problems.sort_by(Problem::reading_order);
        (problems, quarantined)
    }
}

fn place(problem: &Problem) -> String {
    format!("{}:{}", problem.file, problem.line)
}
