//! What is known of the store: which documents are in force, and which writes are not yet. Pure.
//!
//! A write to a document's key counts only once a head at the same or a later revision says so. Until then it is
//! pending; what a settled change writes is in force already and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::chunk::Bytes;
use super::head::Head;
use crate::digest::Digest;
use crate::ids::DocumentId;
use crate::keys::{self, Keys};
use crate::store::{Entry, Key};

/// A document or its absence, as etcd tells it.
#[derive(Debug, Clone)]
pub(super) struct Write {
    /// The whole key.
    pub(super) key: Vec<u8>,
    /// The value; nothing when it was deleted.
    pub(super) value: Bytes,
    /// When.
    pub(super) revision: i64,
}

/// Documents by the part of their key that is the same below every prefix.
#[derive(Debug)]
pub(super) struct Image {
    keys: Keys,
    /// What is in force.
    held: BTreeMap<String, Arc<Entry>>,
    digest: Digest,
    /// Writes that no head has put into force yet.
    pending: BTreeMap<String, (DocumentId, Bytes, i64)>,
    /// Keys that name no document, with the reason.
    strange: BTreeMap<String, String>,
    /// What is wrong with the generation as a whole.
    complaint: Option<String>,
}

impl Image {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            held: BTreeMap::new(),
            digest: Digest::default(),
            pending: BTreeMap::new(),
            strange: BTreeMap::new(),
            complaint: None,
        }
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn documents(&self) -> u64 {
        self.held.len() as u64
    }

    /// Notes a write of which no head is known to speak. Returns whether that is news.
    pub(super) fn note(&mut self, write: Write) -> bool {
        let id = match self.keys.document_of(&write.key) {
            Ok(id) => id,
            Err(why) => {
                let key = shown(&write.key);
                return match write.value {
                    Some(_) => {
                        self.strange.insert(key, format!("{why} (revision {})", write.revision));
                        true
                    }
                    None => self.strange.remove(&key).is_some(),
                };
            }
        };
        let key = keys::document(&id);
        let in_force = self.held.get(&key).map(|entry| &*entry.bytes);
        if in_force == write.value.as_deref() {
            self.pending.remove(&key).is_some()
        } else {
            self.pending.insert(key, (id, write.value, write.revision));
            true
        }
    }

    /// Puts what is pending into force, and then a staged change. Returns whether any document changed.
    pub(super) fn commit(&mut self, staged: Vec<(DocumentId, Bytes)>, revision: i64) -> bool {
        let mut changed = false;
        for (key, (id, value, revision)) in std::mem::take(&mut self.pending) {
            changed |= self.set(key, id, value, revision);
        }
        for (id, value) in staged {
            changed |= self.set(keys::document(&id), id, value, revision);
        }
        changed
    }

    /// Takes over a whole listing: what is not in it is gone, and what did not change keeps its entry. A listing may be
    /// younger than the head, when the head's own revision was compacted; what was written since is pending.
    pub(super) fn replace(&mut self, listed: Vec<Write>, staged: Vec<(DocumentId, Bytes)>, head_revision: i64) -> bool {
        self.pending.clear();
        self.strange.clear();
        let staged: BTreeMap<String, (DocumentId, Bytes)> =
            staged.into_iter().map(|(id, value)| (keys::document(&id), (id, value))).collect();
        let mut gone: BTreeSet<String> = self.held.keys().cloned().collect();
        let mut changed = false;
        for write in listed {
            let Ok(id) = self.keys.document_of(&write.key) else {
                self.note(write);
                continue;
            };
            let key = keys::document(&id);
            if staged.contains_key(&key) {
                continue;
            }
            gone.remove(&key);
            if write.revision > head_revision {
                self.note(write);
            } else {
                changed |= self.set(key, id, write.value, write.revision);
            }
        }
        for (key, (id, value)) in staged {
            gone.remove(&key);
            changed |= self.set(key, id, value, head_revision);
        }
        for key in gone {
            changed |= self.unset(&key);
        }
        changed
    }

    /// How many documents a listing has, with a staged change over it.
    pub(super) fn count(&self, listed: &[Write], staged: &[(DocumentId, Bytes)]) -> u64 {
        let mut ids: BTreeSet<DocumentId> =
            listed.iter().filter_map(|write| self.keys.document_of(&write.key).ok()).collect();
        for (id, value) in staged {
            if value.is_some() {
                ids.insert(id.clone());
            } else {
                ids.remove(id);
            }
        }
        ids.len() as u64
    }

    /// Compares with what the head says there should be; the difference is a complaint until it is gone.
    pub(super) fn verify(&mut self, head: &Head, revision: i64) -> bool {
        let fine = head.digest == self.digest;
        self.complaint = (!fine).then(|| {
            format!(
                "generation {} (revision {revision}) has {} documents with digest {}, and the store has {} with digest \
                 {}: documents were written without gridctl; publish anything to make them part of a generation",
                head.generation,
                head.documents,
                head.digest,
                self.documents(),
                self.digest
            )
        });
        fine
    }

    /// What is in force, sorted by key.
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        // The prefix that all paths begin with does not change their order.
        self.held.values().cloned().collect()
    }

    /// What is wrong, sorted by key.
    pub(super) fn faults(&self) -> Vec<(Arc<str>, String)> {
        let strange = self.strange.iter().map(|(key, why)| (Arc::from(key.as_str()), why.clone()));
        let pending = self.pending.values().map(|(id, value, revision)| {
            let done = if value.is_some() { "written" } else { "deleted" };
            let text = format!("was {done} at revision {revision} without a head, and is not in force; use gridctl");
            (Arc::from(self.keys.document(id)), text)
        });
        let head = self.complaint.iter().map(|why| (Arc::from(self.keys.head()), why.clone()));
        let mut faults: Vec<_> = strange.chain(pending).chain(head).collect();
        faults.sort();
        faults
    }

    fn set(&mut self, key: String, id: DocumentId, value: Bytes, revision: i64) -> bool {
        let Some(bytes) = value else { return self.unset(&key) };
        let before = self.held.get(&key);
        if before.is_some_and(|entry| *entry.bytes == *bytes) {
            return false;
        }
        if let Some(entry) = before {
            self.digest.remove(Digest::of(&key, &entry.bytes));
        }
        self.digest.add(Digest::of(&key, &bytes));
        // A path that is known is shared: with many documents, the texts would weigh more than the rest.
        let path = before.map_or_else(|| Arc::from(self.keys.document(&id)), |entry| Arc::clone(&entry.path));
        let entry = Arc::new(Entry { path, bytes, key: Some(Key { id, revision }) });
        self.held.insert(key, entry);
        true
    }

    fn unset(&mut self, key: &str) -> bool {
        let Some(entry) = self.held.remove(key) else { return false };
        self.digest.remove(Digest::of(key, &entry.bytes));
        true
    }
}

fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::head::tests::head;
    use super::*;

    fn image() -> Image {
        Image::new(Keys::new("/g").unwrap())
    }

    fn write(key: &str, value: Option<&str>, revision: i64) -> Write {
        let value = value.map(|text| Arc::from(text.as_bytes()));
        Write { key: format!("/g/config/{key}").into_bytes(), value, revision }
    }

    fn staged(key: &str, value: Option<&str>) -> (DocumentId, Bytes) {
        (keys::parse_document(key).unwrap(), value.map(|text| Arc::from(text.as_bytes())))
    }

    fn texts(image: &Image) -> Vec<(String, String)> {
        let text = |entry: &Arc<Entry>| (entry.path.to_string(), String::from_utf8_lossy(&entry.bytes).into_owned());
        image.entries().iter().map(text).collect()
    }

    fn expect(image: &Image, wanted: &[(&str, &str)]) {
        let wanted: Vec<_> =
            wanted.iter().map(|(key, text)| (format!("/g/config/{key}"), (*text).to_owned())).collect();
        assert_eq!(texts(image), wanted);
    }

    #[test]
    fn nothing_is_in_force_before_a_head_says_so() {
        let mut image = image();
        image.note(write("route/a", Some("1"), 2));
        expect(&image, &[]);
        assert!(image.faults()[0].1.contains("written at revision 2 without a head"));
        assert!(image.commit(Vec::new(), 2));
        expect(&image, &[("route/a", "1")]);
        assert_eq!(image.faults(), []);
        image.note(write("route/a", None, 3));
        expect(&image, &[("route/a", "1")]);
        image.note(write("route/a", Some("1"), 4));
        assert_eq!(image.faults(), [], "taken back");
        assert!(!image.commit(Vec::new(), 5));
    }

    #[test]
    fn settling_a_staged_change_changes_nothing() {
        let mut image = image();
        image.replace(vec![write("route/a", Some("1"), 1), write("route/b", Some("1"), 1)], Vec::new(), 1);
        assert!(image.commit(vec![staged("route/a", Some("2")), staged("route/b", None)], 5));
        expect(&image, &[("route/a", "2")]);
        let before = image.entries();
        image.note(write("route/a", Some("2"), 6));
        image.note(write("route/b", None, 7));
        assert_eq!(image.faults(), []);
        assert!(!image.commit(Vec::new(), 8));
        assert!(Arc::ptr_eq(&before[0], &image.entries()[0]));
    }

    #[test]
    fn a_listing_taken_while_a_change_settles_is_the_same_generation() {
        let change = || vec![staged("route/a", Some("2")), staged("route/b", None), staged("route/c", Some("3"))];
        let (mut before, mut middle) = (image(), image());
        before.replace(vec![write("route/a", Some("1"), 1), write("route/b", Some("1"), 1)], change(), 5);
        middle.replace(vec![write("route/a", Some("2"), 6), write("route/b", Some("1"), 1)], change(), 5);
        assert_eq!(texts(&before), texts(&middle));
        assert_eq!(before.digest(), middle.digest());
    }

    #[test]
    fn listing_again_keeps_what_is_equal_and_the_digest_is_that_of_the_documents() {
        let mut image = image();
        image.replace(vec![write("route/a", Some("1"), 1), write("route/b", Some("1"), 1)], Vec::new(), 1);
        let before = image.entries();
        assert!(image.replace(vec![write("route/a", Some("1"), 9), write("route/c", Some("1"), 3)], Vec::new(), 9));
        expect(&image, &[("route/a", "1"), ("route/c", "1")]);
        assert!(Arc::ptr_eq(&before[0], &image.entries()[0]));
        let mut digest = Digest::default();
        digest.add(Digest::of("route/a", b"1"));
        digest.add(Digest::of("route/c", b"1"));
        assert_eq!(image.digest(), digest);
        let mut head = head(3, "l");
        assert!(!image.verify(&head, 9) && image.faults()[0].1.contains("written without gridctl"));
        head.digest = digest;
        assert!(image.verify(&head, 9) && image.faults().is_empty());
    }

    #[test]
    fn a_listing_younger_than_the_head_leaves_later_writes_out_of_force() {
        let mut image = image();
        image.replace(vec![write("route/a", Some("1"), 1)], Vec::new(), 1);
        let listed =
            vec![write("route/a", Some("2"), 7), write("route/b", Some("1"), 8), write("route/c", Some("1"), 5)];
        assert_eq!(image.count(&listed, &[staged("route/c", None), staged("route/d", Some("1"))]), 3);
        image.replace(listed, Vec::new(), 5);
        expect(&image, &[("route/a", "1"), ("route/c", "1")]);
        assert_eq!(image.faults().len(), 2);
    }

    #[test]
    fn keys_that_name_no_document_are_faults_and_harm_nothing() {
        let mut image = image();
        image.replace(vec![write("route/a", Some("1"), 1), write("rote/a", Some("1"), 1)], Vec::new(), 1);
        image.note(Write { key: b"/g/config/route/\xff".to_vec(), value: Some(Arc::from(&b"1"[..])), revision: 2 });
        expect(&image, &[("route/a", "1")]);
        assert_eq!(image.faults().len(), 2);
        image.note(write("rote/a", None, 3));
        assert_eq!(image.faults().len(), 1);
    }
}
