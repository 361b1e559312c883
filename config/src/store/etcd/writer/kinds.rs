//! The documents of a few kinds, for those who change them again and again: a million tenants are not read for that.

mod again;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use etcd_client::{GetOptions, TxnOp};

use super::{Base, OPERATIONS, Writer};
use crate::codec::{SourceDocument, parse_entry};
use crate::ids::{DocumentId, Kind};
use crate::keys::{Keys, end_of};
use crate::problem::Problem;
use crate::store::etcd::chunk::Bytes;
use crate::store::etcd::client::{self, Etcd, Trouble, write};
use crate::store::etcd::election::Leader;
use crate::store::etcd::head::Head;
use crate::store::{Entry, Key, StoreError};

/// Documents by kind and name.
pub type Documents = BTreeMap<DocumentId, Arc<SourceDocument>>;

/// The documents of a few kinds that are in force.
#[derive(Debug)]
pub struct OfKinds {
    /// What a change of them starts from.
    pub base: Base,
    /// Those that can be read. Shared, so that whoever looks at them and whoever reads them again need no copy.
    pub documents: Arc<Documents>,
    /// Those that cannot.
    pub unreadable: Vec<Unreadable>,
    kinds: Vec<Kind>,
    /// Documents of other kinds that were asked for.
    single: BTreeSet<DocumentId>,
}

/// A document that cannot be read, or that nobody may rely on.
#[derive(Debug)]
pub struct Unreadable {
    /// The document, where the key names one.
    pub id: Option<DocumentId>,
    /// Why.
    pub problems: Vec<Problem>,
}

impl Writer {
    /// The documents of these kinds that are in force, from one moment, and what a change of them starts from.
    pub fn read_kinds(&mut self, kinds: &[Kind]) -> Result<OfKinds, StoreError> {
        self.read_kinds_and(kinds, |_| BTreeSet::new())
    }

    /// The same, with single documents of other kinds: `more` is asked which, given those of these kinds.
    pub fn read_kinds_and(
        &mut self,
        kinds: &[Kind],
        more: impl Fn(&Documents) -> BTreeSet<DocumentId>,
    ) -> Result<OfKinds, StoreError> {
        Ok(self.runtime.block_on(self.session.read(async |etcd: &Etcd| of_kinds(etcd, kinds, &more).await))?)
    }

    /// Which controller leads; nothing while none does.
    pub fn leader(&mut self) -> Result<Option<Leader>, StoreError> {
        let read = async |etcd: &Etcd| {
            let (kvs, ..) = etcd.get(&etcd.keys().leader(), GetOptions::new()).await?;
            Ok(kvs.first().map(|kv| Leader::read(kv.value())))
        };
        Ok(self.runtime.block_on(self.session.read(read))?)
    }
}

/// A document as it is in force, and since when; with no bytes where that is not known.
type Found = (Bytes, i64);

async fn of_kinds(
    etcd: &Etcd,
    kinds: &[Kind],
    more: &impl Fn(&Documents) -> BTreeSet<DocumentId>,
) -> Result<OfKinds, Trouble> {
    let read = etcd.head().await?;
    let Some((head, head_revision)) = read.head else {
        // What is there has not been published.
        return Ok(OfKinds::new(Base::at(read.revision), kinds));
    };
    // The keys as they were when the head was written are what is in force, but for what is staged over them. That moment
    // may have been compacted away; then what was written later without a head shows by its revision.
    let (mut found, strange) = match listed(etcd, kinds, head_revision).await {
        Err(trouble) if trouble.kind == client::Kind::Compacted => listed(etcd, kinds, read.revision).await?,
        other => other?,
    };
    let staged = etcd.staged(&head, head_revision).await?;
    lay_over(&mut found, &staged, head_revision, |id| kinds.contains(&id.kind));
    let mut all = OfKinds { unreadable: strange, ..OfKinds::new(base(head, head_revision), kinds) };
    all.add(etcd.keys(), found);
    let single = all.ask(more);
    let mut found = match each(etcd, &single, head_revision).await {
        Err(trouble) if trouble.kind == client::Kind::Compacted => each(etcd, &single, read.revision).await?,
        other => other?,
    };
    lay_over(&mut found, &staged, head_revision, |id| single.contains(id));
    all.add(etcd.keys(), found);
    Ok(OfKinds { single, ..all })
}

/// What a change of a few documents starts from.
fn base(head: Head, revision: i64) -> Base {
    Base { digest: head.digest, documents: head.documents, head: Some(head), ..Base::at(revision) }
}

impl OfKinds {
    fn new(base: Base, kinds: &[Kind]) -> Self {
        let (documents, unreadable, single) = (Arc::default(), Vec::new(), BTreeSet::new());
        Self { base, documents, unreadable, kinds: kinds.to_vec(), single }
    }

    /// The single documents that are wanted besides.
    fn ask(&self, more: &impl Fn(&Documents) -> BTreeSet<DocumentId>) -> BTreeSet<DocumentId> {
        let mut single = more(&self.documents);
        single.retain(|id| !self.kinds.contains(&id.kind));
        single
    }

    /// Reads what was found, in the place of what was there. What cannot be relied on goes to what is unreadable.
    fn add(&mut self, keys: &Keys, found: BTreeMap<DocumentId, Found>) {
        let documents = Arc::make_mut(&mut self.documents);
        for (id, (bytes, revision)) in found {
            documents.remove(&id);
            let path = keys.document(&id);
            let Some(bytes) = bytes.filter(|_| revision <= self.base.at) else {
                let why =
                    format!("was written at revision {revision} without a head, over what etcd remembers no more");
                self.unreadable.push(unreadable(Some(id), &path, why));
                continue;
            };
            let key = Some(Key { id: id.clone(), revision });
            let parsed = parse_entry(&Entry { path: path.into(), bytes, key });
            documents.extend(parsed.documents.into_iter().map(|document| (document.id.clone(), document)));
            let broken = parsed.broken.into_iter();
            self.unreadable.extend(broken.map(|broken| Unreadable { id: Some(id.clone()), problems: broken.problems }));
        }
    }
}

/// Lays what is staged over what the keys have.
fn lay_over(
    found: &mut BTreeMap<DocumentId, Found>,
    staged: &[(DocumentId, Bytes)],
    revision: i64,
    ours: impl Fn(&DocumentId) -> bool,
) {
    for (id, value) in staged.iter().filter(|(id, _)| ours(id)) {
        match value {
            Some(_) => drop(found.insert(id.clone(), (value.clone(), revision))),
            None => drop(found.remove(id)),
        }
    }
}

/// Single documents as they were at a revision.
async fn each(etcd: &Etcd, ids: &BTreeSet<DocumentId>, revision: i64) -> Result<BTreeMap<DocumentId, Found>, Trouble> {
    let mut found = BTreeMap::new();
    let ids: Vec<&DocumentId> = ids.iter().collect();
    for ids in ids.chunks(OPERATIONS) {
        let get =
            |id: &&DocumentId| TxnOp::get(etcd.keys().document(id), Some(GetOptions::new().with_revision(revision)));
        let answers = etcd.gets(ids.iter().map(get).collect()).await?;
        for (id, answer) in ids.iter().zip(answers) {
            found.extend(answer.kvs().iter().map(write).map(|write| ((*id).clone(), (write.value, write.revision))));
        }
    }
    Ok(found)
}

/// The keys of these kinds as they were at a revision, and those that name no document.
async fn listed(
    etcd: &Etcd,
    kinds: &[Kind],
    revision: i64,
) -> Result<(BTreeMap<DocumentId, Found>, Vec<Unreadable>), Trouble> {
    let (mut found, mut strange) = (BTreeMap::new(), Vec::new());
    for kind in kinds {
        let from = etcd.keys().documents_of(*kind);
        let (writes, _) = etcd.range(&from, &end_of(&from), revision).await?;
        for write in writes {
            match etcd.keys().document_of(&write.key) {
                Ok(id) => drop(found.insert(id, (write.value, write.revision))),
                Err(why) => strange.push(unreadable(None, &String::from_utf8_lossy(&write.key), why)),
            }
        }
    }
    Ok((found, strange))
}

fn unreadable(id: Option<DocumentId>, path: &str, why: String) -> Unreadable {
    let problem = Problem { document: id.clone(), ..Problem::of_file(&path.into(), why) };
    Unreadable { id, problems: vec![problem] }
}
