//! Changes as they are written into values of bounded size: staged ones and those of the history.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::DocumentId;
use crate::keys;

/// How many bytes of documents go into one value. etcd takes requests of 1.5 MiB; a text in quotes may be twice as long.
pub(super) const CHUNK_BYTES: usize = 512 * 1024;

/// One document of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// As [`keys::document`] writes it.
    key: String,
    /// What is in it, or nothing when it is deleted (or was not there before).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// In a history: whether this is what was there before the change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    before: bool,
}

/// The bytes of a document, or nothing.
pub(super) type Bytes = Option<Arc<[u8]>>;

/// A document before and after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The document.
    pub id: DocumentId,
    /// What was in force, or nothing.
    pub before: Option<Arc<[u8]>>,
    /// What is in force since, or nothing.
    pub after: Option<Arc<[u8]>>,
}

impl Record {
    fn new(id: &DocumentId, bytes: &Bytes, before: bool) -> Self {
        let text = bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Self { key: keys::document(id), text, before }
    }

    fn size(&self) -> usize {
        self.key.len() + self.text.as_ref().map_or(0, String::len)
    }
}

/// What readers need: what is in force after the change.
pub(super) fn staged(changes: &[Changed]) -> Result<Vec<Vec<u8>>, String> {
    pack(changes.iter().map(|change| Record::new(&change.id, &change.after, false)))
}

/// What the history needs: both sides.
pub(super) fn history(changes: &[Changed]) -> Result<Vec<Vec<u8>>, String> {
    pack(changes.iter().flat_map(|change| {
        let sides = [(&change.before, true), (&change.after, false)];
        sides.into_iter().map(|(bytes, before)| Record::new(&change.id, bytes, before))
    }))
}

fn pack(records: impl Iterator<Item = Record>) -> Result<Vec<Vec<u8>>, String> {
    let (mut chunks, mut open, mut size) = (Vec::new(), Vec::new(), 0);
    let close = |open: &mut Vec<Record>| {
        let bytes = serde_json::to_vec(open).map_err(|error| format!("a chunk cannot be written as JSON: {error}"));
        open.clear();
        bytes
    };
    for record in records {
        if !open.is_empty() && size + record.size() > CHUNK_BYTES {
            chunks.push(close(&mut open)?);
            size = 0;
        }
        size += record.size();
        open.push(record);
    }
    if !open.is_empty() {
        chunks.push(close(&mut open)?);
    }
    Ok(chunks)
}

/// Reads a staged chunk.
pub(super) fn read_staged(bytes: &[u8]) -> Result<Vec<(DocumentId, Bytes)>, String> {
    let sides = read(bytes)?.into_iter().map(|(id, bytes, _)| (id, bytes));
    Ok(sides.collect())
}

/// Reads the chunks of a history, in their order.
pub(super) fn read_history<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Changed>, String> {
    let mut changes: Vec<Changed> = Vec::new();
    for chunk in chunks {
        for (id, bytes, before) in read(chunk)? {
            match changes.last_mut().filter(|last| last.id == id) {
                Some(last) if !before => last.after = bytes,
                Some(_) | None if before => changes.push(Changed { id, before: bytes, after: None }),
                Some(_) | None => changes.push(Changed { id, before: None, after: bytes }),
            }
        }
    }
    Ok(changes)
}

fn read(bytes: &[u8]) -> Result<Vec<(DocumentId, Bytes, bool)>, String> {
    let records: Vec<Record> =
        serde_json::from_slice(bytes).map_err(|error| format!("is no chunk of changes: {error}"))?;
    let parsed = records.into_iter().map(|record| {
        let bytes = record.text.map(|text| Arc::from(text.into_bytes()));
        keys::parse_document(&record.key).map(|id| (id, bytes, record.before))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Kind, Name};

    fn changed(name: &str, before: Option<&str>, after: Option<&str>) -> Changed {
        let bytes = |text: Option<&str>| text.map(|text| Arc::from(text.as_bytes()));
        let id = DocumentId { kind: Kind::Tenant, name: Name::tenant(name).unwrap() };
        Changed { id, before: bytes(before), after: bytes(after) }
    }

    #[test]
    fn changes_survive_being_packed_and_read() {
        let big = "x".repeat(CHUNK_BYTES - 10);
        let changes = [
            changed("a", None, Some("{\"a\": 1}")),
            changed("b", Some(&big), Some(&big)),
            changed("c/ç", Some("old"), None),
        ];
        let parts = history(&changes).unwrap();
        assert!(parts.len() >= 3);
        assert_eq!(read_history(parts.iter().map(Vec::as_slice)).unwrap(), changes);
        let chunks = staged(&changes).unwrap();
        let read: Vec<_> = chunks.iter().flat_map(|chunk| read_staged(chunk).unwrap()).collect();
        assert_eq!(read, changes.map(|change| (change.id, change.after)));
        assert_eq!(staged(&[]).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn no_chunk_is_larger_than_etcd_takes() {
        // Every byte of this needs an escape.
        let worst = "\"".repeat(CHUNK_BYTES);
        let changes: Vec<Changed> = (0..4).map(|n| changed(&n.to_string(), Some(&worst), Some(&worst))).collect();
        assert!(history(&changes).unwrap().iter().all(|chunk| chunk.len() < 1_500_000));
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [&b"{"[..], b"\xff", b"[{\"key\":\"rote/a\"}]", b"[{\"key\":1}]"] {
            assert!(read_staged(bytes).is_err());
        }
    }
}
