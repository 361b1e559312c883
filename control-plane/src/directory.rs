//! Changing documents in a directory of files. What is not changed stays as somebody wrote it, comments and all: a file is
//! cut at its `---` lines, and only the parts are replaced that hold what changes. Every file is checked to say what it
//! should before it takes the place of the old one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use gridrouter_config::codec::{SourceDocument, parse};
use gridrouter_config::digest::Digest;
use gridrouter_config::ids::{DocumentId, Kind};

use crate::plan::{Edit, Plan, Version, document_yaml};

/// Carries a plan out. Files change one by one: a router that follows the directory may see some before others.
pub fn write(root: &Path, plan: &Plan) -> Result<(), String> {
    let mut by_file: BTreeMap<PathBuf, Vec<(&DocumentId, &Edit)>> = BTreeMap::new();
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
        by_file.entry(file).or_default().push((id, edit));
    }
    // Everything is made ready before anything is written.
    let mut ready = Vec::new();
    for (file, edits) in by_file {
        let before = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("{} cannot be read: {error}", file.display())),
        };
        let json = file.extension().is_some_and(|extension| extension == "json");
        let after = edited(&before, &edits, json);
        verify(&file, &before, &after, &edits)?;
        ready.push((file, after));
    }
    for (file, text) in ready {
        let outcome = if text.is_empty() { fs::remove_file(&file) } else { replace(&file, &text) };
        outcome.map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn edit(text: &str) -> (DocumentId, Edit) {
        let document = parse("new", text.as_bytes()).documents.remove(0);
        (document.id.clone(), Edit { before: None, after: Some(Arc::clone(&document)) })
    }

    #[test]
    fn what_is_not_changed_keeps_its_words() {
        let text = "# ours\nkind: Cell\nname: a # the first\n---\nkind: Cell\nname: b\nweight: 1\n";
        let (b, change) = edit("{kind: Cell, name: b, weight: 2}");
        let (c, create) = edit("{kind: Cell, name: c}");
        let edits = [(&b, &change), (&c, &create)];
        let after = edited(text, &edits, false);
        assert_eq!(
            after,
            "# ours\nkind: Cell\nname: a # the first\n---\nkind: Cell\nname: b\nweight: 2\n---\nkind: Cell\nname: c\n"
        );
        verify(Path::new("f"), text, &after, &edits).unwrap();
        let gone = Edit { before: None, after: None };
        assert_eq!(edited("kind: Cell\nname: b\n", &[(&b, &gone)], false), "");
        assert_eq!(edited("{}", &[(&c, &create)], true), "{}\n---\n{\n  \"kind\": \"Cell\",\n  \"name\": \"c\"\n}\n");
        assert!(
            verify(Path::new("f"), text, text, &edits).unwrap_err().contains("change Cell/b, Cell/c in it by hand")
        );
    }
}
