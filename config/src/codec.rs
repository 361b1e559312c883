//! Bytes → documents. A file is cut into documents before it is read as YAML, so that a mistake harms only the
//! document it is in.

mod split;

use std::sync::Arc;

use crate::digest::Digest;
use crate::ids::{DocumentId, Kind, Name};
use crate::keys;
use crate::node::{self, Mark, Node, Value};
use crate::path::Path;
use crate::problem::{Problem, quoted_list, split_advice};
use crate::raw;
use crate::store;
use crate::structure::{self, Gaps, STAND_IN};

use split::{BYTE_ORDER_MARK, Chunk};

/// A document as it was written, and where.
#[derive(Debug)]
pub struct SourceDocument {
    /// Its kind and name.
    pub id: DocumentId,
    /// The file, as the store names it.
    pub file: Arc<str>,
    /// The line it begins on.
    pub line: u32,
    /// What it says.
    pub raw: raw::Document,
    /// The digest of what it says, whatever its layout and comments: that of its canonical JSON.
    pub digest: Digest,
    /// Positions; the texts have been dropped.
    node: Node,
}

/// A document that cannot be read.
#[derive(Debug)]
pub struct BrokenDocument {
    /// Its kind and name, when they could still be read.
    pub id: Option<DocumentId>,
    /// Whether other documents of the file may be hidden in its text: its end or its identity could not be read.
    pub may_hide_others: bool,
    /// What is wrong with it, at least one.
    pub problems: Vec<Problem>,
    /// Where its name is, or else its beginning.
    pub(crate) at: Mark,
    /// What it says apart from that, as far as it can be known.
    pub(crate) rest: Option<Box<Rest>>,
}

/// A broken document made whole with stand-ins, to be checked and never to be used.
#[derive(Debug)]
pub(crate) struct Rest {
    /// The document. Its name is a stand-in too where it could not be read.
    pub(crate) source: SourceDocument,
    /// Where the stand-ins are.
    pub(crate) gaps: Gaps,
}

/// What a file holds.
#[derive(Debug)]
pub struct Parsed {
    /// The file, as the store names it.
    pub file: Arc<str>,
    /// Whether the file has nothing but blanks. A file of comments is not blank: somebody meant it.
    pub blank: bool,
    /// The documents that can be read.
    pub documents: Vec<Arc<SourceDocument>>,
    /// The documents that cannot.
    pub broken: Vec<BrokenDocument>,
}

impl BrokenDocument {
    fn unreadable(problems: Vec<Problem>) -> BrokenDocument {
        BrokenDocument { id: None, may_hide_others: true, problems, at: Mark::START, rest: None }
    }
}

impl Parsed {
    /// A file that is there and could not be read at all, with the reason. What was in force from it stays.
    pub fn unreadable(file: &str, reason: &str) -> Parsed {
        let file: Arc<str> = file.into();
        let broken = vec![BrokenDocument::unreadable(vec![Problem::of_file(&file, reason)])];
        Parsed { file, blank: false, documents: Vec::new(), broken }
    }

    /// Documents that come from no text, such as those of the last good generation.
    pub fn from_documents(file: &str, documents: Vec<Arc<SourceDocument>>) -> Parsed {
        Parsed { file: file.into(), blank: false, documents, broken: Vec::new() }
    }
}

impl SourceDocument {
    /// A document that comes from no text, such as one of the last good generation. The file is the one that it was
    /// read from at the time: what is missing in a broken file stays in force by that name.
    pub fn from_raw(file: &str, line: u32, raw: raw::Document) -> Result<SourceDocument, Box<Problem>> {
        let file: Arc<str> = file.into();
        let wrong = |message: String| Box::new(Problem { line, ..Problem::of_file(&file, message) });
        let id = identity(raw.kind(), raw.name()).map_err(wrong)?;
        let at = Mark { line, ..Mark::START };
        SourceDocument::new(id, Arc::clone(&file), Node { at, value: Value::Map(Vec::new()) }, raw).map_err(wrong)
    }

    /// The same document with other contents: what is wrong with it is still shown where it was written.
    pub fn with(&self, raw: raw::Document) -> Result<SourceDocument, String> {
        SourceDocument::new(self.id.clone(), Arc::clone(&self.file), self.node.clone(), raw)
    }

    fn new(id: DocumentId, file: Arc<str>, node: Node, raw: raw::Document) -> Result<SourceDocument, String> {
        let canonical = serde_json::to_vec(&raw).map_err(|error| format!("cannot be written as JSON: {error}"))?;
        let digest = Digest::of(&keys::document(&id), &canonical);
        Ok(SourceDocument { id, file, line: node.at.line, raw, digest, node })
    }

    /// A problem of this document at a field.
    pub(crate) fn problem(&self, path: &Path<'_>, message: impl Into<String>) -> Problem {
        let at = self.node.locate(path);
        let document = Some(self.id.clone());
        Problem { path: path.to_string(), document, ..Problem::at(&self.file, at, message) }
    }

    /// Where the document is, for messages about another one.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

fn identity(kind: Kind, name: &str) -> Result<DocumentId, String> {
    let name = if kind == Kind::Tenant { Name::tenant(name)? } else { Name::parse(name)? };
    Ok(DocumentId { kind, name })
}

/// Reads a file. Whatever its bytes are, the outcome is documents and problems.
pub fn parse(file: &str, bytes: &[u8]) -> Parsed {
    let blank = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes).trim_ascii().is_empty();
    let mut parsed = Parsed { file: file.into(), blank, documents: Vec::new(), broken: Vec::new() };
    for chunk in split::chunks(bytes) {
        match read_chunk(&parsed.file, chunk) {
            Ok(None) => {}
            Ok(Some(document)) => parsed.documents.push(Arc::new(document)),
            Err(broken) => parsed.broken.push(broken),
        }
    }
    parsed
}

/// Reads what a store lists. Where the key names a document, the bytes have to hold that one and nothing else: whatever
/// they hold instead harms no other document, and what was in force by that name stays.
pub fn parse_entry(entry: &store::Entry) -> Parsed {
    let mut parsed = parse(&entry.path, &entry.bytes);
    let Some(key) = &entry.key else { return parsed };
    let wrong = match (parsed.documents.as_slice(), parsed.broken.as_mut_slice()) {
        ([document], []) if document.id == key.id => return parsed,
        ([], [broken]) if broken.id.as_ref().is_none_or(|id| *id == key.id) => {
            broken.id = Some(key.id.clone());
            broken.may_hide_others = false;
            for problem in &mut broken.problems {
                problem.document = Some(key.id.clone());
            }
            return parsed;
        }
        ([], []) => format!("value at revision {} is empty; delete the key to remove {}", key.revision, key.id),
        (documents, broken) => {
            let ids = documents.iter().map(|document| Some(&document.id));
            let ids = ids.chain(broken.iter().map(|broken| broken.id.as_ref()));
            let names: Vec<String> =
                ids.map(|id| id.map_or_else(|| "a nameless document".to_owned(), ToString::to_string)).collect();
            let held = quoted_list(names.iter().map(String::as_str));
            format!("value at revision {} holds {held}; its key is for {} alone", key.revision, key.id)
        }
    };
    let (message, help) = split_advice(wrong);
    let problem = Problem { document: Some(key.id.clone()), help, ..Problem::of_file(&parsed.file, message) };
    let broken = BrokenDocument { id: Some(key.id.clone()), ..BrokenDocument::unreadable(vec![problem]) };
    parsed.documents.clear();
    parsed.broken = vec![BrokenDocument { may_hide_others: false, ..broken }];
    parsed.blank = false;
    parsed
}

/// Reads a file that holds one YAML document of any shape, such as a program's settings.
pub fn to_json(file: &str, bytes: &[u8]) -> Result<serde_json::Value, Box<Problem>> {
    let file: Arc<str> = file.into();
    let mut value = serde_json::Value::Null;
    for chunk in split::chunks(bytes) {
        let tree = node::read(&file, chunk.line, text(&file, chunk)?);
        if let Some(problem) = tree.problems.into_iter().next() {
            return Err(Box::new(problem));
        }
        if let Some(root) = tree.root.filter(|root| !root.is_null()) {
            if !value.is_null() {
                return Err(Box::new(Problem::at(&file, root.at, "a second document in a file that holds one")));
            }
            value = structure::to_json(&root);
        }
    }
    Ok(value)
}

/// One document, or nothing where a document would be empty.
fn read_chunk(file: &Arc<str>, chunk: Chunk<'_>) -> Result<Option<SourceDocument>, BrokenDocument> {
    let tree = match text(file, chunk) {
        Ok(text) => node::read(file, chunk.line, text),
        Err(problem) => return Err(BrokenDocument::unreadable(vec![*problem])),
    };
    match tree.root {
        None if tree.problems.is_empty() => Ok(None),
        None => Err(BrokenDocument::unreadable(tree.problems)),
        Some(root) if root.is_null() && tree.problems.is_empty() => Ok(None),
        Some(root) => read_document(file, root, tree.problems, tree.complete).map(Some),
    }
}

fn read_document(
    file: &Arc<str>,
    mut root: Node,
    mut problems: Vec<Problem>,
    complete: bool,
) -> Result<SourceDocument, BrokenDocument> {
    // Text that is no good YAML may have swallowed its neighbours: a `---` that was lost makes two documents one.
    let bad_yaml = !problems.is_empty();
    let (kind, id) = identity_of(file, &root, &mut problems);
    if let (Some(kind), true) = (kind, complete) {
        problems.extend(structure::check(file, kind, &root));
    }
    if problems.is_empty() {
        match (structure::to_raw(&root), &id) {
            (Ok(raw), Some(id)) => {
                root.forget_values();
                let at = root.at;
                return SourceDocument::new(id.clone(), Arc::clone(file), root, raw).map_err(|message| {
                    let problem = Problem { document: Some(id.clone()), ..Problem::at(file, at, message) };
                    BrokenDocument {
                        id: Some(id.clone()),
                        may_hide_others: false,
                        problems: vec![problem],
                        at,
                        rest: None,
                    }
                });
            }
            (Ok(_), None) => problems.push(Problem::at(file, root.at, "document has no name")),
            (Err(message), _) => problems.push(Problem::at(file, root.at, message)),
        }
    }
    for problem in &mut problems {
        problem.document.clone_from(&id);
    }
    let at = root.locate(&Path::Root.key("name"));
    let rest = kind.filter(|_| complete).and_then(|kind| rest(file, kind, id.as_ref(), root));
    Err(BrokenDocument { may_hide_others: bad_yaml || id.is_none(), id, problems, at, rest })
}

/// What can still be checked of a broken document.
fn rest(file: &Arc<str>, kind: Kind, id: Option<&DocumentId>, mut root: Node) -> Option<Box<Rest>> {
    let (raw, gaps) = structure::fill(file, kind, &root)?;
    let id = id.cloned().or_else(|| identity(kind, STAND_IN).ok())?;
    root.forget_values();
    let source = SourceDocument::new(id, Arc::clone(file), root, raw).ok()?;
    Some(Box::new(Rest { source, gaps }))
}

/// The document's kind and name, as far as they can be known; what is wrong with them is added to the problems.
fn identity_of(file: &Arc<str>, root: &Node, problems: &mut Vec<Problem>) -> (Option<Kind>, Option<DocumentId>) {
    if !matches!(root.value, Value::Map(_)) {
        problems
            .push(Problem::at(file, root.at, "a document must be a map of fields").with_help("begin it with `kind:`"));
        return (None, None);
    }
    let kind = match structure::kind(file, root) {
        Ok(kind) => kind,
        Err(problem) => {
            problems.push(*problem);
            return (None, None);
        }
    };
    // A name that is missing or no text is reported with the structure.
    let Some((entry, name)) = root.entry("name").and_then(|entry| Some((entry, entry.value.text()?))) else {
        return (Some(kind), None);
    };
    match identity(kind, name) {
        Ok(id) => (Some(kind), Some(id)),
        Err(message) => {
            let (message, help) = split_advice(message);
            problems.push(Problem { path: "name".to_owned(), help, ..Problem::at(file, entry.mark(), message) });
            (Some(kind), None)
        }
    }
}

/// The text of a document, if it is text. A zero byte in particular would end the reading without an error.
fn text<'a>(file: &Arc<str>, chunk: Chunk<'a>) -> Result<&'a str, Box<Problem>> {
    let (text, invalid) = match std::str::from_utf8(chunk.bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let good = chunk.bytes.get(..error.valid_up_to()).unwrap_or_default();
            (std::str::from_utf8(good).unwrap_or_default(), chunk.bytes.get(error.valid_up_to()))
        }
    };
    let control = text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'));
    let (at, message, help) = match (control, invalid) {
        (Some((at, c)), _) => (at, format!("control character U+{:04X} in the text", u32::from(c)), "remove it"),
        (None, Some(byte)) => (text.len(), format!("byte 0x{byte:02x} is not UTF-8"), "save the file as UTF-8 text"),
        (None, None) => return Ok(text),
    };
    let before = text.get(..at).unwrap_or_default();
    let breaks = before.replace("\r\n", "\n").matches(['\n', '\r']).count();
    let last = before.rsplit(['\n', '\r']).next().unwrap_or_default();
    let at = Mark {
        line: chunk.line.saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX)),
        column: u32::try_from(last.chars().count()).unwrap_or(u32::MAX).saturating_add(1),
        length: 1,
    };
    Err(Box::new(Problem::at(file, at, message).with_help(help)))
}
