//! The first step: every document by itself. What the files hold, or else what was in force.

use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Entry;
use super::refusals::Refusals;
use crate::check::{Written, convert, convert_with};
use crate::codec::{BrokenDocument, Parsed, Rest, SourceDocument};
use crate::ids::DocumentId;
use crate::problem::{Problem, quoted_list};

/// Documents that are good by themselves, and those that were refused.
pub(super) struct Gathered {
    pub(super) documents: BTreeMap<DocumentId, Entry>,
    pub(super) refusals: Refusals,
    /// Those among the refused that could be read; the rest of what is wrong with them is still to be found.
    refused: Vec<Arc<SourceDocument>>,
}

type Documents = BTreeMap<DocumentId, Entry>;

/// Takes from every file what is good, and keeps from before what is bad or may only seem to be gone.
pub(super) fn gather(before: &Documents, files: &[Parsed]) -> Gathered {
    let mut files: Vec<&Parsed> = files.iter().collect();
    files.sort_by(|one, other| one.file.cmp(&other.file));
    let mut gathered = Gathered { documents: BTreeMap::new(), refusals: Refusals::default(), refused: Vec::new() };
    gathered.take_good(before, &files);
    gathered.keep_broken(before, &files);
    gathered.keep_hidden(before, &files);
    gathered.keep_blank(before, &files);
    gathered.report_duplicates(&files);
    gathered.report_dangling(&files);
    gathered
}

impl Gathered {
    fn take_good(&mut self, before: &Documents, files: &[&Parsed]) {
        let mut written: Vec<&Arc<SourceDocument>> = files.iter().flat_map(|file| &file.documents).collect();
        // Of several by one name, that of the first file stays the first.
        written.sort_by(|one, other| one.id.cmp(&other.id));
        // Both sides are in order, so that neither is searched: with ten thousand routes, most of the time went into that.
        let (mut before, mut good) = (before.iter().peekable(), Vec::with_capacity(written.len()));
        for documents in written.chunk_by(|one, other| one.id == other.id) {
            let Some(id) = documents.first().map(|first| &first.id) else { continue };
            while before.next_if(|(other, _)| *other < id).is_some() {}
            let was = before.peek().filter(|(other, _)| *other == id).map(|(_, entry)| *entry);
            let Some(chosen) = choose(was, documents) else { continue };
            for other in documents.iter().filter(|other| !Arc::ptr_eq(other, chosen)) {
                let mut problems = vec![duplicate(other, chosen)];
                problems.extend(convert(other).err().into_iter().flatten());
                self.refusals.refuse(id, &other.file, problems);
                self.refused.push(Arc::clone(other));
            }
            match check(was, chosen) {
                Ok(entry) => good.push((id.clone(), entry)),
                Err(problems) => {
                    self.refusals.refuse(id, &chosen.file, problems);
                    self.refused.push(Arc::clone(chosen));
                    good.extend(was.map(|was| (id.clone(), was.clone())));
                }
            }
        }
        self.documents = good.into_iter().collect();
    }

    /// What a broken document was before stays in force.
    fn keep_broken(&mut self, before: &Documents, files: &[&Parsed]) {
        for file in files {
            for broken in &file.broken {
                match &broken.id {
                    None => self.refusals.refuse_unnamed(&file.file, problems_of(broken)),
                    Some(id) => {
                        self.refusals.refuse(id, &file.file, problems_of(broken));
                        self.keep(before, id);
                    }
                }
            }
        }
    }

    /// What was in force from a file and is missing in it now may stand in the part of it that cannot be read.
    fn keep_hidden(&mut self, before: &Documents, files: &[&Parsed]) {
        let unclear = files.iter().filter(|file| file.broken.iter().any(|broken| broken.may_hide_others));
        self.keep_files(before, &unclear.map(|file| &*file.file).collect());
    }

    /// A file that held documents and is empty now is half-written: an editor truncates before it writes.
    fn keep_blank(&mut self, before: &Documents, files: &[&Parsed]) {
        let blank = files.iter().filter(|file| file.blank).map(|file| &*file.file).collect();
        for (file, kept) in self.keep_files(before, &blank) {
            let names: Vec<String> = kept.iter().map(ToString::to_string).collect();
            let message = format!("file is empty, and held {}", quoted_list(names.iter().map(String::as_str)));
            let problem = Problem::of_file(&file, message)
                .with_help("delete the file to remove its documents; they stay in force");
            self.refusals.refuse_unnamed(&file, vec![problem]);
        }
    }

    /// Broken documents of a kind and name that another has. A good one is used, whatever comes before it.
    fn report_duplicates(&mut self, files: &[&Parsed]) {
        let ids: BTreeSet<_> =
            files.iter().flat_map(|file| &file.broken).filter_map(|broken| broken.id.as_ref()).collect();
        if ids.is_empty() {
            return;
        }
        let good = files.iter().flat_map(|file| &file.documents);
        let mut first: BTreeMap<&DocumentId, String> = BTreeMap::new();
        for document in good.filter(|document| ids.contains(&document.id)) {
            first.entry(&document.id).or_insert_with(|| document.place());
        }
        for file in files {
            for broken in &file.broken {
                let Some(id) = &broken.id else { continue };
                match first.entry(id) {
                    Vacant(entry) => drop(entry.insert(format!("{}:{}", file.file, broken.at.line))),
                    Occupied(entry) => {
                        let problem = Problem {
                            path: "name".to_owned(),
                            document: Some(id.clone()),
                            ..Problem::at(&file.file, broken.at, defined_twice(id))
                        };
                        let help = format!("the other one is at {}; rename or remove one of the two", entry.get());
                        self.refusals.refuse(id, &file.file, vec![problem.with_help(help)]);
                    }
                }
            }
        }
    }

    /// References of bad documents to what is written nowhere. Those of good ones are checked when all is settled.
    fn report_dangling(&mut self, files: &[&Parsed]) {
        let refused = std::mem::take(&mut self.refused);
        if refused.is_empty() && files.iter().all(|file| file.broken.is_empty()) {
            return;
        }
        let good = files.iter().flat_map(|file| &file.documents).map(|document| &document.id);
        let bad = files.iter().flat_map(|file| &file.broken).filter_map(|broken| broken.id.as_ref());
        let mut written = Written::new(good.chain(bad).chain(self.documents.keys()));
        for source in refused {
            self.refusals.refuse(&source.id, &source.file, written.dangling(&source, None));
        }
        let mut unnamed = 0;
        for file in files {
            for broken in &file.broken {
                let found = broken.rest.iter().flat_map(|rest| written.dangling(&rest.source, Some(&rest.gaps)));
                let found = found.map(|problem| Problem { document: broken.id.clone(), ..problem }).collect();
                if let Some(id) = &broken.id {
                    self.refusals.refuse(id, &file.file, found);
                } else {
                    // Broken documents are the first that were refused without a name.
                    self.refusals.extend_unnamed(unnamed, found);
                    unnamed += 1;
                }
            }
        }
    }

    /// Keeps what was in force from these files and is nowhere now.
    fn keep_files(&mut self, before: &Documents, files: &BTreeSet<&str>) -> BTreeMap<Arc<str>, Vec<DocumentId>> {
        let mut kept: BTreeMap<Arc<str>, Vec<DocumentId>> = BTreeMap::new();
        if files.is_empty() {
            return kept;
        }
        for (id, entry) in before {
            if files.contains(&*entry.source.file) && !self.documents.contains_key(id) {
                self.documents.insert(id.clone(), entry.clone());
                self.refusals.keep_from(&entry.source.file);
                kept.entry(Arc::clone(&entry.source.file)).or_default().push(id.clone());
            }
        }
        kept
    }

    fn keep(&mut self, before: &Documents, id: &DocumentId) {
        if let (false, Some(entry)) = (self.documents.contains_key(id), before.get(id)) {
            self.documents.insert(id.clone(), entry.clone());
        }
    }
}

/// Which of several documents of one kind and name it is. Who copies a document and edits the copy, or misspells a
/// name into that of another, must not unseat the one in force: it wins that says what is in force, then that of the
/// same file, then the first.
fn choose<'a>(before: Option<&Entry>, documents: &[&'a Arc<SourceDocument>]) -> Option<&'a Arc<SourceDocument>> {
    let same_words = |one: &&&Arc<SourceDocument>| before.is_some_and(|entry| entry.source.digest == one.digest);
    let same_file = |one: &&&Arc<SourceDocument>| before.is_some_and(|entry| entry.source.file == one.file);
    documents
        .iter()
        .find(|one| same_words(one) && same_file(one))
        .or_else(|| documents.iter().find(same_words))
        .or_else(|| documents.iter().find(same_file))
        .or_else(|| documents.first())
        .copied()
}

fn duplicate(document: &SourceDocument, chosen: &SourceDocument) -> Problem {
    let path = crate::path::Path::Root;
    let id = &document.id;
    document
        .problem(&path.key("name"), defined_twice(id))
        .with_help(format!("the one at {} is used; rename or remove one of the two", chosen.place()))
}

fn defined_twice(id: &DocumentId) -> String {
    format!("{} \"{}\" is defined twice", id.kind, id.name)
}

/// What is wrong with a broken document, and with the rest of it.
fn problems_of(broken: &BrokenDocument) -> Vec<Problem> {
    let of_rest = broken.rest.iter().flat_map(|rest| {
        let Rest { source, gaps } = &**rest;
        convert_with(source, Some(gaps)).err().unwrap_or_default()
    });
    let of_rest = of_rest.map(|problem| Problem { document: broken.id.clone(), ..problem });
    broken.problems.iter().cloned().chain(of_rest).collect()
}

/// What says the same as before is the same as before, without a look.
fn check(before: Option<&Entry>, source: &Arc<SourceDocument>) -> Result<Entry, Vec<Problem>> {
    let model = match before.filter(|entry| entry.source.digest == source.digest) {
        Some(entry) => entry.model.clone(),
        None => convert(source)?,
    };
    Ok(Entry { source: Arc::clone(source), model })
}
