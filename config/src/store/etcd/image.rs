//! What is known of the store: which documents are in force, and which writes are not yet. Pure.
//!
//! A write to a document's key counts only once a head at the same or a later revision says so. Until then it is
//! pending; what a settled change writes is in force already and changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chunk::Bytes;
use super::head::Head;
use crate::digest::Digest;
use crate::ids::{DocumentId, Kind};
use crate::keys::{self, Keys};
use crate::store::{Entry, Key};
use crate::tenants::TenantTable;

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
    /// What is in force, but for the tenants that the table takes.
    held: BTreeMap<String, Arc<Entry>>,
    /// The digest of those.
    digest: Digest,
    tenants: TenantTable,
    /// Writes that no head has put into force yet.
    pending: BTreeMap<String, (DocumentId, Bytes, i64)>,
    /// Keys that name no document, with the reason.
    strange: BTreeMap<String, String>,
    /// What is wrong with the generation as a whole.
    complaint: Option<String>,
    /// What is held, as it is listed; nothing after a change.
    listed: Option<Arc<[Arc<Entry>]>>,
}

impl Image {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            tenants: TenantTable::below(&format!("{}{}", keys.documents(), keys::document_of(Kind::Tenant, ""))),
            keys,
            held: BTreeMap::new(),
            digest: Digest::default(),
            pending: BTreeMap::new(),
            strange: BTreeMap::new(),
            complaint: None,
            listed: None,
        }
    }

    /// The digest of everything in force.
    pub(super) fn digest(&self) -> Digest {
        let mut digest = self.digest;
        digest.add(self.tenants.digest());
        digest
    }

    /// How many documents are in force.
    pub(super) fn documents(&self) -> u64 {
        (self.held.len() + self.tenants.len()) as u64
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
        if self.is_in_force(&key, &id, write.value.as_deref()) {
            self.pending.remove(&key).is_some()
        } else {
            self.pending.insert(key, (id, write.value, write.revision));
            true
        }
    }

    fn is_in_force(&self, key: &str, id: &DocumentId, value: Option<&[u8]>) -> bool {
        match self.row(id) {
            Some(json) => value == Some(&*json),
            None => self.held.get(key).map(|entry| &*entry.bytes) == value,
        }
    }

    /// What the table has of a tenant.
    fn row(&self, id: &DocumentId) -> Option<Vec<u8>> {
        let tenant = self.tenants.get(id.name.as_str()).filter(|_| id.kind == Kind::Tenant)?;
        let mut json = Vec::new();
        tenant.json(&mut json);
        Some(json)
    }

    /// Puts what is pending into force, and then a staged change. Returns whether any document changed.
    pub(super) fn commit(&mut self, staged: Vec<(DocumentId, Bytes)>, revision: i64) -> bool {
        let mut changed = false;
        for (key, (id, value, revision)) in std::mem::take(&mut self.pending) {
            changed |= self.set(&key, id, value, revision);
        }
        for (id, value) in staged {
            changed |= self.set(&keys::document(&id), id, value, revision);
        }
        changed
    }

    /// Takes over a whole listing: what is not in it is gone, and what did not change is shared.
    pub(super) fn replace(&mut self, listing: Relisting) {
        let Relisting { image: mut new, staged, head_revision, .. } = listing;
        // What was written since the head is pending, and its key keeps what it had.
        let later: Vec<_> = new.pending.iter().map(|(key, (id, ..))| (key.clone(), id.clone())).collect();
        for (key, id) in later {
            let before = self.row(&id).map(Arc::from);
            let before = before.or_else(|| self.held.get(&key).map(|entry| Arc::clone(&entry.bytes)));
            new.set(&key, id, before, head_revision);
        }
        for (key, (id, value)) in staged {
            new.set(&key, id, value, head_revision);
        }
        for (key, entry) in &mut new.held {
            if let Some(before) = self.held.get(key).filter(|before| before.bytes == entry.bytes) {
                *entry = Arc::clone(before);
            }
        }
        new.tenants = TenantTable::sharing(&self.tenants, new.tenants);
        *self = new;
    }

    /// Compares with what the head says there should be; the difference is a complaint until it is gone.
    pub(super) fn verify(&mut self, head: &Head, revision: i64) -> bool {
        let digest = self.digest();
        let fine = head.digest == digest;
        self.complaint = (!fine).then(|| {
            format!(
                "generation {} (revision {revision}) has {} documents with digest {}, and the store has {} with digest \
                 {}: documents were written without gridctl; publish anything to make them part of a generation",
                head.generation,
                head.documents,
                head.digest,
                self.documents(),
                digest
            )
        });
        fine
    }

    /// What is in force but for the tenants of the table, sorted by key.
    pub(super) fn entries(&mut self) -> Arc<[Arc<Entry>]> {
        // The prefix that all paths begin with does not change their order.
        Arc::clone(self.listed.get_or_insert_with(|| self.held.values().cloned().collect()))
    }

    /// The tenants of the table that are in force.
    pub(super) fn tenants(&self) -> &TenantTable {
        &self.tenants
    }

    /// What is wrong, sorted by key: the first ones of each sort, and how many more there are.
    pub(super) fn faults(&self, most: usize) -> Vec<(Arc<str>, String)> {
        let strange = self.strange.iter().take(most).map(|(key, why)| (Arc::from(key.as_str()), why.clone()));
        let pending = self.pending.values().take(most).map(|(id, value, revision)| {
            let done = if value.is_some() { "written" } else { "deleted" };
            let text = format!("was {done} at revision {revision} without a head, and is not in force; use gridctl");
            (Arc::from(self.keys.document(id)), text)
        });
        let head = self.complaint.iter().map(|why| (Arc::from(self.keys.head()), why.clone()));
        let mut faults: Vec<_> = strange.chain(pending).chain(head).collect();
        faults.sort();
        let more = self.strange.len().saturating_sub(most) + self.pending.len().saturating_sub(most);
        if more > 0 {
            let text = format!("{more} more keys name no document, or were written without a head");
            faults.push((Arc::from(self.keys.documents()), text));
        }
        faults
    }

    fn set(&mut self, key: &str, id: DocumentId, value: Bytes, revision: i64) -> bool {
        if self.is_in_force(key, &id, value.as_deref()) {
            return false;
        }
        let Some(bytes) = value else { return self.unset(key, &id) };
        if id.kind == Kind::Tenant {
            if self.tenants.put_json(&id.name, &bytes) {
                self.unhold(key);
                return true;
            }
            self.tenants.remove(id.name.as_str());
        }
        // A path that is known is shared: with many documents, the texts would weigh more than the rest.
        let before = self.unhold(key);
        let path = before.map_or_else(|| Arc::from(self.keys.document(&id)), |before| Arc::clone(&before.path));
        self.digest.add(Digest::of(key, &bytes));
        let entry = Arc::new(Entry { path, bytes, key: Some(Key { id, revision }) });
        self.held.insert(key.to_owned(), entry);
        self.listed = None;
        true
    }

    fn unset(&mut self, key: &str, id: &DocumentId) -> bool {
        let of_table = id.kind == Kind::Tenant && self.tenants.remove(id.name.as_str());
        self.unhold(key).is_some() || of_table
    }

    /// Takes an entry out, and out of the digest.
    fn unhold(&mut self, key: &str) -> Option<Arc<Entry>> {
        let entry = self.held.remove(key)?;
        self.digest.remove(Digest::of(key, &entry.bytes));
        self.listed = None;
        Some(entry)
    }
}

/// A listing while it is read, key by key.
pub(super) struct Relisting {
    image: Image,
    /// A staged change, which lies over the keys.
    staged: BTreeMap<String, (DocumentId, Bytes)>,
    head_revision: i64,
    /// How many keys name a document that is not staged.
    listed: u64,
}

impl Relisting {
    /// The listing of a generation whose head was written at a revision. It may be younger than the head, when the head's
    /// own revision was compacted; what was written since is pending.
    pub(super) fn new(keys: Keys, staged: &[(DocumentId, Bytes)], head_revision: i64) -> Self {
        let staged = staged.iter().map(|(id, value)| (keys::document(id), (id.clone(), value.clone()))).collect();
        Self { image: Image::new(keys), staged, head_revision, listed: 0 }
    }

    /// Takes in one key.
    pub(super) fn add(&mut self, write: Write) {
        let Ok(id) = self.image.keys.document_of(&write.key) else {
            self.image.note(write);
            return;
        };
        let key = keys::document(&id);
        if self.staged.contains_key(&key) {
            return;
        }
        self.listed += 1;
        if write.revision > self.head_revision {
            self.image.note(write);
        } else {
            self.image.set(&key, id, write.value, write.revision);
        }
    }

    /// How many documents there are, with the staged change.
    pub(super) fn count(&self) -> u64 {
        self.listed + self.staged.values().filter(|(_, value)| value.is_some()).count() as u64
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

    fn replace(image: &mut Image, listed: Vec<Write>, staged: &[(DocumentId, Bytes)], head_revision: i64) -> u64 {
        let mut listing = Relisting::new(image.keys.clone(), staged, head_revision);
        for write in listed {
            listing.add(write);
        }
        let count = listing.count();
        image.replace(listing);
        count
    }

    fn texts(image: &mut Image) -> Vec<(String, String)> {
        let text = |entry: &Arc<Entry>| (entry.path.to_string(), String::from_utf8_lossy(&entry.bytes).into_owned());
        image.entries().iter().map(text).collect()
    }

    fn expect(image: &mut Image, wanted: &[(&str, &str)]) {
        let wanted: Vec<_> =
            wanted.iter().map(|(key, text)| (format!("/g/config/{key}"), (*text).to_owned())).collect();
        assert_eq!(texts(image), wanted);
    }

    #[test]
    fn nothing_is_in_force_before_a_head_says_so() {
        let mut image = image();
        image.note(write("route/a", Some("1"), 2));
        expect(&mut image, &[]);
        assert!(image.faults(9)[0].1.contains("written at revision 2 without a head"));
        assert!(image.commit(Vec::new(), 2));
        expect(&mut image, &[("route/a", "1")]);
        assert_eq!(image.faults(9), []);
        image.note(write("route/a", None, 3));
        expect(&mut image, &[("route/a", "1")]);
        image.note(write("route/a", Some("1"), 4));
        assert_eq!(image.faults(9), [], "taken back");
        assert!(!image.commit(Vec::new(), 5));
    }

    #[test]
    fn settling_a_staged_change_changes_nothing() {
        let mut image = image();
        replace(&mut image, vec![write("route/a", Some("1"), 1), write("route/b", Some("1"), 1)], &[], 1);
        assert!(image.commit(vec![staged("route/a", Some("2")), staged("route/b", None)], 5));
        expect(&mut image, &[("route/a", "2")]);
        let before = image.entries();
        image.note(write("route/a", Some("2"), 6));
        image.note(write("route/b", None, 7));
        assert_eq!(image.faults(9), []);
        assert!(!image.commit(Vec::new(), 8));
        assert!(Arc::ptr_eq(&before[0], &image.entries()[0]));
    }

    #[test]
    fn a_listing_taken_while_a_change_settles_is_the_same_generation() {
        let change = || vec![staged("route/a", Some("2")), staged("route/b", None), staged("route/c", Some("3"))];
        let (mut before, mut middle) = (image(), image());
        replace(&mut before, vec![write("route/a", Some("1"), 1), write("route/b", Some("1"), 1)], &change(), 5);
        replace(&mut middle, vec![write("route/a", Some("2"), 6), write("route/b", Some("1"), 1)], &change(), 5);
        assert_eq!(texts(&mut before), texts(&mut middle));
        assert_eq!(before.digest(), middle.digest());
    }

    #[test]
    fn listing_again_keeps_what_is_equal_and_the_digest_is_that_of_the_documents() {
        let mut image = image();
        replace(&mut image, vec![write("route/a", Some("1"), 1), write("route/b", Some("1"), 1)], &[], 1);
        let before = image.entries();
        replace(&mut image, vec![write("route/a", Some("1"), 9), write("route/c", Some("1"), 3)], &[], 9);
        expect(&mut image, &[("route/a", "1"), ("route/c", "1")]);
        assert!(Arc::ptr_eq(&before[0], &image.entries()[0]));
        let mut digest = Digest::default();
        digest.add(Digest::of("route/a", b"1"));
        digest.add(Digest::of("route/c", b"1"));
        assert_eq!(image.digest(), digest);
        let mut head = head(3, "l");
        assert!(!image.verify(&head, 9) && image.faults(9)[0].1.contains("written without gridctl"));
        head.digest = digest;
        assert!(image.verify(&head, 9) && image.faults(9).is_empty());
    }

    #[test]
    fn a_listing_younger_than_the_head_leaves_later_writes_out_of_force() {
        let mut image = image();
        replace(&mut image, vec![write("route/a", Some("1"), 1)], &[], 1);
        let listed =
            vec![write("route/a", Some("2"), 7), write("route/b", Some("1"), 8), write("route/c", Some("1"), 5)];
        let later = [staged("route/c", None), staged("route/d", Some("1"))];
        assert_eq!(replace(&mut Image::new(Keys::new("/g").unwrap()), listed.clone(), &later, 5), 3);
        replace(&mut image, listed, &[], 5);
        expect(&mut image, &[("route/a", "1"), ("route/c", "1")]);
        assert_eq!(image.faults(9).len(), 2);
    }

    #[test]
    fn tenants_are_in_the_table_unless_they_are_written_otherwise() {
        let acme = |cell: &str| format!(r#"{{"kind":"Tenant","name":"acme","grid":"shop","cell":"{cell}"}}"#);
        let mut image = image();
        replace(&mut image, vec![write("route/a", Some("1"), 1), write("tenant/acme", Some(&acme("eu-1")), 1)], &[], 1);
        let (entries, before) = (image.entries(), image.tenants().clone());
        assert_eq!((entries.len(), before.len(), image.documents()), (1, 1, 2));
        assert_eq!(before.get("acme").unwrap().place(), "/g/config/tenant/acme");
        image.note(write("tenant/acme", Some(&acme("eu-1")), 2));
        assert_eq!(image.faults(9), [], "it says what is in force");
        image.note(write("tenant/acme", Some(&acme("eu-2")), 3));
        assert_eq!(image.faults(9).len(), 1);
        assert!(image.commit(Vec::new(), 3) && Arc::ptr_eq(&entries, &image.entries()));
        assert_eq!(image.tenants().changes(&before).len(), 1);
        // Spaces make it another text, which is kept as it is.
        let spaced = acme("eu-2").replace(',', ", ");
        image.note(write("tenant/acme", Some(&spaced), 4));
        assert!(image.commit(Vec::new(), 4) && image.tenants().is_empty());
        expect(&mut image, &[("route/a", "1"), ("tenant/acme", &spaced)]);
        let mut digest = Digest::of("route/a", b"1");
        digest.add(Digest::of("tenant/acme", spaced.as_bytes()));
        assert_eq!(image.digest(), digest);
        image.note(write("tenant/acme", Some(&acme("eu-2")), 5));
        image.note(write("tenant/bolt", Some(&acme("eu-2")), 5));
        assert!(image.commit(Vec::new(), 5) && image.tenants().len() == 1);
        expect(&mut image, &[("route/a", "1"), ("tenant/bolt", &acme("eu-2"))]);
        image.note(write("tenant/acme", None, 6));
        assert!(image.commit(Vec::new(), 6) && image.tenants().is_empty());
        assert_eq!(image.documents(), 2);
    }

    #[test]
    fn keys_that_name_no_document_are_faults_and_harm_nothing() {
        let mut image = image();
        replace(&mut image, vec![write("route/a", Some("1"), 1), write("rote/a", Some("1"), 1)], &[], 1);
        image.note(Write { key: b"/g/config/route/\xff".to_vec(), value: Some(Arc::from(&b"1"[..])), revision: 2 });
        expect(&mut image, &[("route/a", "1")]);
        assert_eq!(image.faults(9).len(), 2);
        image.note(write("rote/a", None, 3));
        assert_eq!(image.faults(9).len(), 1);
    }
}
