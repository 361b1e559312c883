//! Changing documents in a directory of files. What is not changed stays as somebody wrote it, comments and all: a file is
//! cut at its `---` lines, and only the parts are replaced that hold what changes. Every file is checked to say what it
//! should before it takes the place of the old one.
//!
//! Whoever writes holds a lock (`directory/lock.rs`), and nothing is written unless the documents that change are still what
//! the plan starts from.

pub mod lock;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use gridrouter_config::codec::{SourceDocument, parse};
use gridrouter_config::digest::Digest;
use gridrouter_config::ids::{DocumentId, Kind};

use self::lock::Lock;
use crate::plan::{Edit, Plan, Version, document_yaml};
use crate::site::Site;

/// Why files were not changed.
#[derive(Debug, PartialEq, Eq)]
pub enum WriteError {
    /// Somebody else changed these documents meanwhile. Nothing was changed.
    Lost(Vec<DocumentId>),
    /// It cannot be done, or not be done to the end.
    Failed(String),
    /// Whoever asked for it said stop between two files.
    Stopped,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Lost(ids) => {
                let names: Vec<String> = ids.iter().take(5).map(ToString::to_string).collect();
                let more = if ids.len() > names.len() { " and others" } else { "" };
                let names = names.join(", ");
                write!(
                    f,
                    "nothing was written: somebody changed {names}{more} meanwhile; read it again and repeat the change"
                )
            }
            WriteError::Failed(why) => f.write_str(why),
            WriteError::Stopped => f.write_str("stopped between two files"),
        }
    }
}

impl From<String> for WriteError {
    fn from(why: String) -> Self {
        WriteError::Failed(why)
    }
}

/// How a plan is carried out. A directory has no transactions: files change one by one, and a router that follows the
/// directory may see some before others.
pub struct Order<'a> {
    /// Documents with a lower number are written before those with a higher one.
    pub rank: &'a dyn Fn(&DocumentId) -> usize,
    /// Asked before each file is written, and after: whether to go on.
    pub go_on: &'a mut dyn FnMut() -> bool,
}

/// Carries a plan out, in any order.
pub fn write(root: &Path, plan: &Plan) -> Result<(), WriteError> {
    write_in_order(root, plan, Order { rank: &|_| 0, go_on: &mut || true })
}

/// Carries a plan out. Whatever is wrong with it shows before anything is written, but for what the disk says then.
pub fn write_in_order(root: &Path, plan: &Plan, order: Order<'_>) -> Result<(), WriteError> {
    let Order { rank, go_on } = order;
    let _lock = Lock::of_writers(root)?;
    let overtaken = plan.overtaken(&Site::of_directory(root)?);
    if !overtaken.is_empty() {
        return Err(WriteError::Lost(overtaken));
    }
    for (file, text) in prepared(root, plan, rank)? {
        if !go_on() {
            return Err(WriteError::Stopped);
        }
        let outcome = if text.is_empty() { fs::remove_file(&file) } else { replace(&file, &text) };
        outcome.map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
        if !go_on() {
            return Err(WriteError::Stopped);
        }
    }
    Ok(())
}

/// What is written, one file after the other. A file is written again where others have to be written in between.
fn prepared(root: &Path, plan: &Plan, rank: &dyn Fn(&DocumentId) -> usize) -> Result<Vec<(PathBuf, String)>, String> {
    let mut edits = Vec::with_capacity(plan.edits.len());
    for (id, edit) in &plan.edits {
        let file = match &edit.before {
            Some(Version::Document(document) | Version::Odd(document)) => PathBuf::from(&*document.file),
            None => root.join(new_file(id.kind)),
            Some(Version::Bytes(_) | Version::Foreign) => {
                return Err(format!(
                    "{id} is in a file that cannot be read as it is; mend or delete that file by hand"
                ));
            }
        };
        edits.push((rank(id), file, id, edit));
    }
    edits.sort_by(|a, b| (a.0, &a.1, a.2).cmp(&(b.0, &b.1, b.2)));
    let mut texts: BTreeMap<&Path, String> = BTreeMap::new();
    let mut ready = Vec::new();
    for same in edits.chunk_by(|a, b| a.1 == b.1) {
        let Some((_, file, ..)) = same.first() else { continue };
        let before = match texts.remove(file.as_path()) {
            Some(text) => text,
            None => read(file)?,
        };
        let edits: Vec<(&DocumentId, &Edit)> = same.iter().map(|(.., id, edit)| (*id, *edit)).collect();
        let json = file.extension().is_some_and(|extension| extension == "json");
        let after = edited(&before, &edits, json);
        verify(file, &before, &after, &edits)?;
        texts.insert(file, after.clone());
        ready.push((file.clone(), after));
    }
    Ok(ready)
}

fn read(file: &Path) -> Result<String, String> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
    }
}

/// Where new documents of a kind go.
fn new_file(kind: Kind) -> String {
    format!("{}s.yaml", kind.as_str().to_lowercase())
}

fn edited(text: &str, edits: &[(&DocumentId, &Edit)], json: bool) -> String {
    let written = |edit: &&Edit| edit.after.as_deref().map(|document| written(document, json));
    let mut wanted: BTreeMap<&DocumentId, &Edit> = edits.iter().copied().collect();
    let mut parts: Vec<String> = Vec::new();
    for part in split(text) {
        let parsed = parse("", part.as_bytes());
        let id = match (parsed.documents.as_slice(), parsed.broken.is_empty()) {
            ([document], true) => Some(&document.id),
            _ => None,
        };
        match id.and_then(|id| wanted.remove(id)) {
            None => parts.push(part.to_owned()),
            Some(edit) => parts.extend(written(&edit)),
        }
    }
    parts.extend(wanted.values().filter_map(written));
    parts.retain(|part| !part.trim().is_empty());
    let mut out = String::new();
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            out.push_str("---\n");
        }
        out.push_str(part);
        if !part.ends_with('\n') {
            out.push('\n');
        }
    }
    out
}

/// A document as a file of this kind has it.
fn written(document: &SourceDocument, json: bool) -> String {
    match serde_json::to_string_pretty(&document.raw) {
        Ok(text) if json => text,
        Ok(_) | Err(_) => document_yaml(document),
    }
}

/// The documents of a file as text, without the lines between them.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let next = at + line.len();
        if line.trim_end() == "---" {
            parts.push(text.get(from..at).unwrap_or_default());
            from = next;
        }
        at = next;
    }
    parts.push(text.get(from..).unwrap_or_default());
    parts
}

/// Whether the new text says what is wanted and, of everything else, what the old one says.
fn verify(file: &Path, before: &str, after: &str, edits: &[(&DocumentId, &Edit)]) -> Result<(), String> {
    let documents = |text: &str| {
        let parsed = parse("", text.as_bytes());
        let found: BTreeMap<DocumentId, Digest> =
            parsed.documents.iter().map(|document| (document.id.clone(), document.digest)).collect();
        (found, parsed.broken.len())
    };
    let touched: BTreeSet<&DocumentId> = edits.iter().map(|(id, _)| *id).collect();
    let (mut wanted, broken) = documents(before);
    wanted.retain(|id, _| !touched.contains(id));
    let put = edits.iter().filter_map(|(id, edit)| Some(((*id).clone(), edit.after.as_ref()?.digest)));
    wanted.extend(put);
    if documents(after) == (wanted, broken) {
        return Ok(());
    }
    let names: Vec<String> = touched.iter().take(3).map(ToString::to_string).collect();
    Err(format!(
        "{} is written in a way that gridctl cannot edit; change {} in it by hand",
        file.display(),
        names.join(", ")
    ))
}

/// A new file in the old one's place, so that no reader sees half of it.
pub fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    // A link stays one.
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = file.with_file_name(name);
    let mut to = fs::File::create(&temporary)?;
    if let Ok(metadata) = fs::metadata(file) {
        to.set_permissions(metadata.permissions())?;
    }
    to.write_all(text.as_bytes())?;
    to.sync_all()?;
    fs::rename(&temporary, file)
}
