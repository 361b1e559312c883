//! Bytes → documents. A file is cut into documents before it is read as YAML, so that a mistake harms only the
//! document it is in.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::ids::{DocumentId, Kind, Name};
use crate::node::{Mark, Node, Value};
use crate::path::Path;
use crate::problem::Problem;
use crate::raw;

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
    /// A hash of what it says, whatever its layout and comments: xxh3 of its canonical JSON.
    pub digest: u64,
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

impl Parsed {
    /// A file that is there and could not be read at all, with the reason. What was in force from it stays.
    pub fn unreadable(file: &str, reason: &str) -> Parsed {
        let file: Arc<str> = file.into();
        let problem = Problem::of_file(&file, reason);
        let broken = vec![BrokenDocument { id: None, may_hide_others: true, problems: vec![problem] }];
        Parsed { file, blank: false, documents: Vec::new(), broken }
    }

    /// Documents that come from no text, such as those of the last good generation.
    pub fn from_documents(file: &str, documents: Vec<Arc<SourceDocument>>) -> Parsed {
        Parsed { file: file.into(), blank: false, documents, broken: Vec::new() }
    }
}

impl SourceDocument {
    /// A document that comes from no text.
    pub fn from_raw(file: &str, line: u32, raw: raw::Document) -> Result<SourceDocument, Problem> {
        let file: Arc<str> = file.into();
        let wrong = |message: String| Problem { line, ..Problem::of_file(&file, message) };
        let id = identity(raw.kind(), raw.name()).map_err(wrong)?;
        let at = Mark { line, ..Mark::START };
        SourceDocument::new(id, Arc::clone(&file), Node { at, value: Value::Map(Vec::new()) }, raw).map_err(wrong)
    }

    fn new(id: DocumentId, file: Arc<str>, node: Node, raw: raw::Document) -> Result<SourceDocument, String> {
        let canonical = serde_json::to_vec(&raw).map_err(|error| format!("cannot be written as JSON: {error}"))?;
        Ok(SourceDocument { id, file, line: node.at.line, raw, digest: xxh3_64(&canonical), node })
    }

    /// A problem of this document at a field.
    pub(crate) fn problem(&self, path: &Path<'_>, message: impl Into<String>) -> Problem {
        let at = self.node.locate(path);
        Problem {
            file: Arc::clone(&self.file),
            line: at.line,
            column: at.column,
            length: at.length,
            path: path.to_string(),
            document: Some(self.id.clone()),
            message: message.into(),
            help: None,
            missing: None,
        }
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
    let file: Arc<str> = file.into();
    Parsed { file, blank: bytes.trim_ascii().is_empty(), documents: Vec::new(), broken: Vec::new() }
}
