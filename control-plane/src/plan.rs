//! What a command would change. Pure: from what is in force and what is wanted.

pub mod analysis;
pub mod carry;
pub mod seed;
pub mod shift;
pub mod tenant_move;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridrouter_config::codec::{Parsed, SourceDocument};
use gridrouter_config::generation::{Advanced, advance};
use gridrouter_config::ids::{DocumentId, Kind};
use gridrouter_config::problem::Problem;
use gridrouter_config::store::etcd::writer::Change;
use gridrouter_config::tenants::TenantTable;

use crate::site::Site;
use crate::yaml;

/// What somebody wants.
#[derive(Debug, Default, Clone)]
pub struct Wanted {
    /// Documents that shall be as given.
    pub put: BTreeMap<DocumentId, Arc<SourceDocument>>,
    /// Documents that shall not be.
    pub delete: BTreeSet<DocumentId>,
    /// Whether the store shall hold what is put and nothing else, but for what is taken in.
    pub only: bool,
    /// Kinds of which documents stay although they are not put.
    pub keeps: &'static [Kind],
    /// What it may do with moves.
    pub moves: carry::moving::Moves,
}

impl Wanted {
    /// That the documents of these files be there.
    pub fn of_files(files: &[Parsed]) -> Self {
        let documents = files.iter().flat_map(|file| &file.documents);
        let put = documents.map(|document| (document.id.clone(), Arc::clone(document))).collect();
        Self { put, ..Self::default() }
    }
}

/// A document as it is in a store.
#[derive(Debug, Clone)]
pub enum Version {
    /// One that can be read.
    Document(Arc<SourceDocument>),
    /// One that cannot.
    Bytes(Arc<[u8]>),
    /// One that can be read, and that gridctl would write differently.
    Odd(Arc<SourceDocument>),
    /// Written without gridctl, and not looked at.
    Foreign,
}

impl Version {
    /// As people read it.
    pub fn yaml(&self) -> String {
        match self {
            Version::Document(document) => document_yaml(document),
            Version::Bytes(bytes) => yaml::from_json(bytes),
            Version::Odd(document) => format!("# not written as gridctl writes it\n{}", document_yaml(document)),
            Version::Foreign => "# written without gridctl\n".to_owned(),
        }
    }

    /// As tools read it; what cannot be read is a text.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Version::Document(document) | Version::Odd(document) => {
                serde_json::to_value(&document.raw).unwrap_or_default()
            }
            Version::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
            Version::Foreign => serde_json::Value::Null,
        }
    }
}

/// A document as people read it.
pub fn document_yaml(document: &SourceDocument) -> String {
    // A document that was read can be written.
    serde_json::to_vec(&document.raw).map_or_else(|error| format!("# {error}\n"), |json| yaml::from_json(&json))
}

/// What happens to one document.
#[derive(Debug, Clone)]
pub struct Edit {
    /// What was there.
    pub before: Option<Version>,
    /// What is to be there.
    pub after: Option<Arc<SourceDocument>>,
}

/// What happens to a document, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is there and shall not be.
    Deleted,
    /// It is not there yet.
    Created,
    /// It says something else.
    Changed,
    /// It says the same already.
    Unchanged,
}

impl Action {
    /// Every action, in the order in which they matter.
    pub const ALL: [Action; 4] = [Action::Deleted, Action::Created, Action::Changed, Action::Unchanged];

    /// The word that people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Deleted => "deleted",
            Action::Created => "created",
            Action::Changed => "changed",
            Action::Unchanged => "unchanged",
        }
    }
}

impl Edit {
    /// What happens.
    pub fn action(&self) -> Action {
        match (&self.before, &self.after) {
            (_, None) => Action::Deleted,
            (None, Some(_)) => Action::Created,
            (Some(_), Some(_)) => Action::Changed,
        }
    }
}

/// What would change.
#[derive(Debug, Default)]
pub struct Plan {
    /// What happens, by document.
    pub edits: BTreeMap<DocumentId, Edit>,
    /// Documents that are as they are wanted.
    pub unchanged: Vec<DocumentId>,
}

impl Plan {
    /// From what is there to what is wanted.
    pub fn new(site: &Site, wanted: &Wanted) -> Self {
        let mut plan = Plan::default();
        for (id, document) in &wanted.put {
            let before = version(site, id);
            // What somebody created without gridctl was never in force.
            let foreign = site.base.as_ref().and_then(|base| base.foreign().get(id));
            let before = before.filter(|_| foreign.is_none_or(|foreign| foreign.before.is_some()));
            if matches!(&before, Some(Version::Document(old)) if old.digest == document.digest) {
                plan.unchanged.push(id.clone());
            } else {
                plan.insert(id, Edit { before, after: Some(Arc::clone(document)) });
            }
        }
        for id in wanted.delete.iter().filter(|id| !wanted.put.contains_key(*id)) {
            if let Some(before) = version(site, id) {
                plan.insert(id, Edit { before: Some(before), after: None });
            }
        }
        if wanted.only {
            let broken = site.broken.iter().flat_map(|broken| &broken.ids);
            for id in site.documents.keys().chain(site.foreign.keys()).chain(broken) {
                if !wanted.put.contains_key(id) && !wanted.keeps.contains(&id.kind) {
                    plan.insert(id, Edit { before: version(site, id), after: None });
                }
            }
        }
        plan
    }

    fn insert(&mut self, id: &DocumentId, edit: Edit) {
        self.edits.insert(id.clone(), edit);
    }

    /// How many documents meet with this.
    pub fn count(&self, action: Action) -> usize {
        match action {
            Action::Unchanged => self.unchanged.len(),
            Action::Deleted | Action::Created | Action::Changed => {
                self.edits.values().filter(|edit| edit.action() == action).count()
            }
        }
    }

    /// Whether nothing happens.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// All documents that the plan is about, what matters most first.
    pub fn rows(&self) -> Vec<(Action, &DocumentId)> {
        let mut rows: Vec<_> = self.edits.iter().map(|(id, edit)| (edit.action(), id)).collect();
        rows.sort();
        rows.extend(self.unchanged.iter().map(|id| (Action::Unchanged, id)));
        rows
    }

    /// The counts in words, such as `2 created, 1 changed`.
    pub fn summary(&self) -> String {
        let counts = Action::ALL.map(|action| (self.count(action), action.as_str()));
        let counts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        if counts.is_empty() { "nothing changed".to_owned() } else { counts.join(", ") }
    }

    /// The documents that it changes and that are not any more what it starts from, or not where they were.
    pub fn overtaken(&self, now: &Site) -> Vec<DocumentId> {
        let file = |version: &Option<Version>| match version {
            Some(Version::Document(document) | Version::Odd(document)) => Some(Arc::clone(&document.file)),
            Some(Version::Bytes(_) | Version::Foreign) | None => None,
        };
        let overtaken = |(id, edit): &(&DocumentId, &Edit)| {
            let now = version(now, id);
            differs(edit.before.as_ref(), now.as_ref()) || file(&edit.before) != file(&now)
        };
        self.edits.iter().filter(overtaken).map(|(id, _)| id.clone()).collect()
    }

    /// The same for a store that has generations.
    pub fn changes(&self) -> Result<Vec<Change>, String> {
        let change = |(id, edit): (&DocumentId, &Edit)| match &edit.after {
            Some(document) => Change::put(document),
            None => Ok(Change::delete(id.clone())),
        };
        self.edits.iter().map(change).collect()
    }
}

fn version(site: &Site, id: &DocumentId) -> Option<Version> {
    if site.foreign.contains_key(id) {
        return Some(Version::Foreign);
    }
    if let Some(document) = site.documents.get(id) {
        let document = Arc::clone(document);
        return Some(if site.odd.contains(id) { Version::Odd(document) } else { Version::Document(document) });
    }
    site.broken(id).map(|broken| Version::Bytes(Arc::clone(&broken.entry.bytes)))
}

/// Checks what would be in force. `files` are what is put, as it was read. Documents that had problems before and are not in
/// these files are left out, because this change is not to blame.
pub fn review(site: &Site, plan: &Plan, files: &mut Vec<Parsed>) -> Vec<Problem> {
    let count = files.len();
    let replaced: BTreeSet<&DocumentId> = {
        let broken = files.iter().flat_map(|file| &file.broken).filter_map(|broken| broken.id.as_ref());
        files.iter().flat_map(|file| &file.documents).map(|document| &document.id).chain(broken).collect()
    };
    let rest = site.without(|id| replaced.contains(id) || plan.edits.contains_key(id));
    drop(replaced);
    files.extend(rest);
    let mut problems = problems_of(files);
    files.truncate(count);
    let own: BTreeSet<&str> = files.iter().map(|file| &*file.file).collect();
    let of_input = |problem: &Problem| own.contains(&*problem.file);
    // What was written without gridctl has not been looked at, and may be what is missing.
    let unseen = |id: &DocumentId| site.foreign.contains_key(id) && !plan.edits.contains_key(id);
    problems.retain(|problem| problem.missing.as_ref().is_none_or(|id| !unseen(id)));
    if problems.iter().all(of_input) {
        return problems;
    }
    // A document that is not in force before may have other problems afterwards, and is no worse off.
    let key = |problem: &Problem| match &problem.document {
        Some(id) => (Some(id.clone()), String::new()),
        None => (None, format!("{}: {}", problem.file, problem.message)),
    };
    let before: BTreeSet<_> = problems_of(&site.without(|_| false)).iter().map(key).collect();
    // What was deleted without gridctl is missing before, too, and was in force: it is this change that takes it out.
    let gone = |id: &DocumentId| site.foreign.contains_key(id) && deletes(plan, id);
    let blamed = |problem: &Problem| problem.missing.as_ref().is_some_and(gone) || !before.contains(&key(problem));
    problems.retain(|problem| of_input(problem) || blamed(problem));
    problems
}

/// Everything that is wrong, but for references to what is itself refused.
fn problems_of(files: &[Parsed]) -> Vec<Problem> {
    let Advanced { mut problems, quarantined, .. } = advance(None, files, &TenantTable::default());
    let refused: BTreeSet<&DocumentId> = quarantined.iter().filter_map(|one| one.id.as_ref()).collect();
    problems.retain(|problem| problem.missing.as_ref().is_none_or(|missing| !refused.contains(missing)));
    problems
}

/// Who refers to what is to be deleted: the documents by what they need.
pub fn referrers<'a>(plan: &Plan, problems: &'a [Problem]) -> BTreeMap<&'a DocumentId, Vec<&'a Problem>> {
    let mut found: BTreeMap<&DocumentId, Vec<&Problem>> = BTreeMap::new();
    for problem in problems {
        if let Some(missing) = problem.missing.as_ref().filter(|id| deletes(plan, id)) {
            found.entry(missing).or_default().push(problem);
        }
    }
    found
}

fn deletes(plan: &Plan, id: &DocumentId) -> bool {
    plan.edits.get(id).is_some_and(|edit| edit.after.is_none())
}

/// Whether two looks at a store differ in a document.
fn differs(before: Option<&Version>, now: Option<&Version>) -> bool {
    match (before, now) {
        (None, None) | (Some(Version::Foreign), Some(Version::Foreign)) => false,
        (Some(Version::Document(a)), Some(Version::Document(b))) | (Some(Version::Odd(a)), Some(Version::Odd(b))) => {
            a.digest != b.digest
        }
        (Some(Version::Bytes(a)), Some(Version::Bytes(b))) => a != b,
        (Some(Version::Document(_) | Version::Odd(_) | Version::Bytes(_) | Version::Foreign) | None, _) => true,
    }
}

/// The documents that two looks at a store differ in, among those that a plan is about.
pub fn clashes(before: &Site, now: &Site, wanted: &Wanted) -> Vec<DocumentId> {
    let differs = |id: &&DocumentId| differs(version(before, id).as_ref(), version(now, id).as_ref());
    if wanted.only {
        // Everything is meant, also what came meanwhile.
        let all: BTreeSet<&DocumentId> = before.documents.keys().chain(now.documents.keys()).collect();
        return all.into_iter().filter(differs).cloned().collect();
    }
    wanted.put.keys().chain(&wanted.delete).filter(differs).cloned().collect()
}

#[cfg(test)]
mod tests {
    use gridrouter_config::codec::parse;

    use super::*;

    fn files(text: &str) -> Vec<Parsed> {
        vec![parse("input", text.as_bytes())]
    }

    fn site(text: &str) -> Site {
        let parsed = parse("store", text.as_bytes());
        assert!(parsed.broken.is_empty());
        let documents = parsed.documents.into_iter().map(|one| (one.id.clone(), one)).collect();
        let (broken, faults, foreign, odd) = (Vec::new(), Vec::new(), BTreeMap::new(), BTreeSet::new());
        Site { documents, broken, foreign, odd, complaint: None, faults, base: None }
    }

    const GRID: &str = "{kind: Grid, name: g, cells: [a]}\n---\n{kind: Cell, name: a}\n---\n{kind: Cell, name: b}\n";

    fn plan(text: &str, only: bool) -> Plan {
        Plan::new(&site(GRID), &Wanted { only, ..Wanted::of_files(&files(text)) })
    }

    #[test]
    fn a_plan_has_what_differs() {
        let text =
            "{name: a, kind: Cell} # the same\n---\n{kind: Cell, name: b, weight: 5}\n---\n{kind: Cell, name: c}\n";
        assert_eq!(plan(text, false).summary(), "1 created, 1 changed, 1 unchanged");
        let pruned = plan(text, true);
        assert_eq!(pruned.summary(), "1 deleted, 1 created, 1 changed, 1 unchanged");
        assert_eq!(pruned.rows()[0].1.to_string(), "Grid/g");
        assert_eq!(plan("", false).summary(), "nothing changed");
        assert_eq!(pruned.changes().unwrap().len(), 3);
    }

    #[test]
    fn a_document_that_gridctl_writes_differently_is_written_again_when_it_is_meant() {
        let mut site = site(GRID);
        let id = site.documents.keys().find(|id| id.name.as_str() == "b").unwrap().clone();
        site.odd.insert(id.clone());
        let plan = |text: &str| Plan::new(&site, &Wanted::of_files(&files(text)));
        assert_eq!(plan(GRID).summary(), "1 changed, 2 unchanged");
        assert!(plan(GRID).edits[&id].before.as_ref().unwrap().yaml().starts_with("# not written as gridctl"));
        assert_eq!(plan("{kind: Cell, name: a}").summary(), "1 unchanged");
    }

    #[test]
    fn who_needs_what_is_deleted_is_known() {
        let site = site(GRID);
        let id = |name: &str| site.documents.keys().find(|id| id.name.as_str() == name).unwrap().clone();
        let wanted = Wanted { delete: [id("a")].into(), ..Wanted::default() };
        let plan = Plan::new(&site, &wanted);
        let problems = review(&site, &plan, &mut Vec::new());
        let needed = referrers(&plan, &problems);
        assert_eq!(needed[&id("a")][0].document, Some(id("g")));
        let both = Plan::new(&site, &Wanted { delete: [id("a"), id("g")].into(), ..Wanted::default() });
        assert_eq!(review(&site, &both, &mut Vec::new()), []);
    }

    #[test]
    fn a_change_is_blamed_for_its_own_problems_only() {
        let bad = format!("{GRID}---\n{{kind: Tenant, name: t, grid: g, cell: gone}}\n");
        let site = site(&bad);
        let check = |text: &str| {
            let mut files = files(text);
            let plan = Plan::new(&site, &Wanted::of_files(&files));
            let problems = review(&site, &plan, &mut files);
            assert_eq!(files.len(), 1);
            problems.len()
        };
        assert_eq!(check("{kind: Cell, name: c}"), 0);
        assert_eq!(check("{kind: Cell, name: gone}"), 0);
        assert_eq!(check("{kind: Tenant, name: t, grid: g, cell: gone}"), 1, "it is in the input");
        assert_eq!(check("{kind: Grid, name: g, cells: [c]}"), 1);
    }

    #[test]
    fn changes_clash_when_they_are_about_the_same_documents() {
        let (before, now) = (site(GRID), site(&GRID.replace("name: b", "name: b, weight: 2")));
        let wanted = |text: &str| Wanted::of_files(&files(text));
        assert_eq!(clashes(&before, &now, &wanted("{kind: Cell, name: a, weight: 3}")), []);
        assert_eq!(clashes(&before, &now, &wanted("{kind: Cell, name: b}")).len(), 1);
        assert_eq!(clashes(&before, &now, &Wanted { only: true, ..wanted("") }).len(), 1);
    }
}
