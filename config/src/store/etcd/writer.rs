//! Publishing: how a change becomes a generation.
//!
//! One transaction moves `head`, and compares that nobody else has moved it meanwhile. A change that fits is in the same
//! transaction. One that does not is staged first, as chunks that no head names yet and no reader looks at; the
//! transaction then makes the head name them, and they lie over the documents' keys until they are settled into them.
//! Whoever comes next settles what a writer left, and sweeps what no head names.

mod commit;
mod error;
mod fence;
mod kinds;
mod live;
pub(super) mod record;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use etcd_client::{GetOptions, TxnOp};

use super::backoff::Random;
use super::chunk::{Bytes, Changed};
use super::client::{Etcd, Kind, Trouble, write};
use super::election::Leadership;
use super::head::Head;
use super::image::{Image, Relisting, Write};
use super::options::EtcdOptions;
use super::runtime;
use crate::codec::SourceDocument;
use crate::digest::Digest;
use crate::ids::{self, DocumentId};
use crate::store::{Listing, StoreError};

pub use self::error::{Lost, PublishError};
pub use self::kinds::{Documents, OfKinds, Unreadable};
pub use self::record::History;

/// Documents with more bytes than this, as JSON, are not published: they would not fit into a request in quotes.
pub const MAX_DOCUMENT_BYTES: usize = 512 * 1024;
/// Operations in one transaction, for which etcd's servers have the limit 128.
const OPERATIONS: usize = 100;
/// How many generations the history keeps. What changed in them stays where it is little; where it is more, it lies in
/// parts, and goes after [`PARTS_KEPT`](crate::keys::PARTS_KEPT) generations. A thousand moves of tenants are four thousand,
/// and must not push out who changed what last week. An entry has one or two KiB as a rule and 16 at the most, so that this
/// is some 15 MB as a rule and 160 MB at the worst, of the 2 GB that etcd has by default.
const KEPT: u64 = 10_000;
/// The history of a change does not say what was in the documents when that is more than this.
const HISTORY_BYTES: usize = 64 * 1024 * 1024;

/// One document to write or to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    id: DocumentId,
    after: Bytes,
}

impl Change {
    /// Writes a document, whether or not there is one by its name.
    pub fn put(document: &SourceDocument) -> Result<Self, String> {
        let bytes = serde_json::to_vec(&document.raw)
            .map_err(|error| format!("{} cannot be written as JSON: {error}", document.id))?;
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(format!(
                "{} has {} bytes as JSON; {MAX_DOCUMENT_BYTES} are the most",
                document.id,
                bytes.len()
            ));
        }
        Ok(Self { id: document.id.clone(), after: Some(bytes.into()) })
    }

    /// Deletes a document, if there is one by its name.
    pub fn delete(id: DocumentId) -> Self {
        Self { id, after: None }
    }

    /// Back to what was there before another change.
    pub fn undo(changed: &Changed) -> Self {
        Self { id: changed.id.clone(), after: changed.before.clone() }
    }

    /// The document.
    pub fn id(&self) -> &DocumentId {
        &self.id
    }
}

/// Who changes something, and why.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Who.
    pub author: String,
    /// Why; may be empty.
    pub message: String,
    /// An operator's word that this store takes the place of what routers follow now.
    pub adopt: Option<Adopt>,
    /// The leadership that whoever changes it acts under. Nothing is written any more once that is over.
    pub fence: Option<Leadership>,
    /// Whether there is a generation also where no document changes: the history is to have what was done elsewhere.
    pub note: bool,
}

/// Makes routers follow a store that was restored, moved or emptied: they hold on to what they have until they are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopt {
    /// Lineages that this one replaces, as the routers name them. The one in the store's own head need not be named.
    pub replaces: Vec<String>,
    /// The highest generation that a router has in force; the new one gets a higher number.
    pub above: u64,
}

/// What a change starts from: a generation, which has to be the one in force when the change is committed.
#[derive(Debug, Clone)]
pub struct Base {
    head: Option<Head>,
    /// The revision of a head that cannot be read, and is to be replaced.
    unreadable: Option<i64>,
    /// The last generation in the history, where no head says which one is in force.
    last: u64,
    /// Documents that somebody wrote without a head.
    foreign: Arc<BTreeMap<DocumentId, Foreign>>,
    digest: Digest,
    documents: u64,
    /// The revision at which digest and documents are right.
    at: i64,
}

impl Base {
    /// The generation; 0 before anything was published.
    pub fn generation(&self) -> u64 {
        self.head.as_ref().map_or(self.last, |head| head.generation)
    }

    /// Documents that somebody wrote, or deleted, without a head. They are not in force, and the next head makes them so.
    pub fn foreign(&self) -> &BTreeMap<DocumentId, Foreign> {
        &self.foreign
    }

    /// The head of that generation.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }
}

/// A document that somebody wrote without a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// What is in force; as `now` where etcd does not remember it any more.
    pub before: Bytes,
    /// What is there now.
    pub now: Bytes,
}

/// Everything that is in force.
#[derive(Debug, Clone)]
pub struct View {
    /// What a change of this starts from.
    pub base: Base,
    /// The documents, and what is wrong with the store.
    pub listing: Listing,
}

/// A published change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The generation that is in force now.
    pub generation: u64,
    /// The revision of its head.
    pub revision: i64,
    /// Documents that it changed; with none, nothing was published and this is the generation from before.
    pub changed: usize,
}

/// Publishes, and reads what was published. Every call blocks; each speaks to whatever member answers.
pub struct Writer {
    runtime: tokio::runtime::Runtime,
    session: Session,
}

impl Writer {
    /// A writer. Nothing is asked of etcd before the first call.
    pub fn new(options: EtcdOptions, random: Random) -> Result<Self, StoreError> {
        Ok(Self { runtime: runtime()?, session: Session { options, random, etcd: None, member: 0 } })
    }

    /// The generation in force, to change documents without reading them all.
    pub fn base(&mut self) -> Result<Base, StoreError> {
        Ok(self.runtime.block_on(self.session.read(Session::base))?)
    }

    /// Everything that is in force, from one moment. A change that starts from this makes documents that somebody wrote
    /// without a head part of its generation.
    pub fn read(&mut self) -> Result<View, StoreError> {
        Ok(self.runtime.block_on(self.session.read(Session::view))?)
    }

    /// The same where an operator adopts the store: a head that cannot be read is replaced like one that is not there, and
    /// the documents that are there are what the next generation starts from.
    pub fn read_adopting(&mut self) -> Result<View, StoreError> {
        Ok(self.runtime.block_on(self.session.read(Session::adopted))?)
    }

    /// Publishes changes as one generation. When somebody else was faster, nothing is changed and the error says who.
    pub fn publish(&mut self, base: &Base, changes: &[Change], about: &About) -> Result<Published, PublishError> {
        self.runtime.block_on(self.session.publish(base, changes, about))
    }

    /// Ends what a writer left unfinished, which the next one would do too. Returns whether there was anything.
    pub fn settle(&mut self) -> Result<bool, StoreError> {
        Ok(self.runtime.block_on(self.session.finish())?)
    }

    /// The last generations, the newest first.
    pub fn history(&mut self, most: usize) -> Result<Vec<History>, StoreError> {
        Ok(self.runtime.block_on(self.session.history(most))?)
    }

    /// One generation, as the history has it: nothing when it does not know the generation any more.
    pub fn entry(&mut self, generation: u64) -> Result<Option<History>, StoreError> {
        Ok(self.runtime.block_on(self.session.entry(generation))?)
    }

    /// What a generation changed: nothing when the history does not know the generation any more, or it was much and is long
    /// ago.
    pub fn changes(&mut self, generation: u64) -> Result<Option<Vec<Changed>>, StoreError> {
        Ok(self.runtime.block_on(self.session.changes(generation))?)
    }
}

impl Base {
    /// Nothing, at a revision.
    fn at(at: i64) -> Self {
        let (digest, foreign) = (Digest::default(), Arc::default());
        Self { head: None, unreadable: None, last: 0, foreign, digest, documents: 0, at }
    }
}

/// What somebody wrote without a head, with what is in force instead; also what they deleted, which no listing has.
async fn foreign(
    etcd: &Etcd,
    image: &mut Image,
    later: BTreeMap<DocumentId, Bytes>,
    staged: &BTreeSet<&DocumentId>,
    head_revision: i64,
) -> Result<BTreeMap<DocumentId, Foreign>, Trouble> {
    let held: BTreeSet<DocumentId> =
        image.entries().iter().filter_map(|entry| entry.key.as_ref()).map(|key| key.id.clone()).collect();
    let unchanged = |id: &DocumentId| {
        held.contains(id) || (id.kind == ids::Kind::Tenant && image.tenants().get(id.name.as_str()).is_some())
    };
    let mut found: BTreeMap<DocumentId, Foreign> =
        later.iter().map(|(id, now)| (id.clone(), Foreign { before: None, now: now.clone() })).collect();
    let mut each = |write: Write| {
        let Ok(id) = etcd.keys().document_of(&write.key) else { return };
        if let Some(foreign) = found.get_mut(&id) {
            foreign.before = write.value;
        } else if !staged.contains(&id) && !unchanged(&id) {
            found.insert(id, Foreign { before: write.value, now: None });
        }
    };
    match etcd.documents(head_revision, 0, &mut each).await {
        Ok(_) => Ok(found),
        Err(trouble) if trouble.kind == Kind::Compacted => {
            Ok(later.into_iter().map(|(id, now)| (id, Foreign { before: now.clone(), now })).collect())
        }
        Err(trouble) => Err(trouble),
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        let remedy = trouble.remedy();
        StoreError::new(trouble.to_string(), remedy)
    }
}

/// The asynchronous half.
struct Session {
    options: EtcdOptions,
    random: Random,
    etcd: Option<Etcd>,
    member: usize,
}

impl Session {
    /// A member that answers.
    async fn connected(&mut self) -> Result<&Etcd, Trouble> {
        if self.etcd.is_none() {
            let mut trouble = Trouble::new(Kind::Failed, "etcd has no endpoints");
            for _ in 0..self.options.endpoints.len() {
                match self.try_member().await {
                    Ok(etcd) => {
                        self.etcd = Some(etcd);
                        break;
                    }
                    Err(error) => trouble = error,
                }
                self.member = self.member.wrapping_add(1);
            }
            return self.etcd.as_ref().ok_or(trouble);
        }
        self.etcd.as_ref().ok_or_else(|| Trouble::new(Kind::Failed, "etcd has no endpoints"))
    }

    async fn try_member(&mut self) -> Result<Etcd, Trouble> {
        let etcd = Etcd::connect(&self.options, self.member).await?;
        // Connecting sends nothing: only an answer is a sign of life.
        etcd.get(&self.options.keys.head(), GetOptions::new().with_keys_only()).await?;
        Ok(etcd)
    }

    /// Something that may be done twice: on the next member when the one at hand is gone.
    async fn read<T>(&mut self, read: impl AsyncFn(&Etcd) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let had = self.etcd.is_some();
        match read(self.connected().await?).await {
            Err(trouble) if trouble.kind == Kind::Failed => {
                self.forget();
                if had { read(self.connected().await?).await } else { Err(trouble) }
            }
            other => other,
        }
    }

    /// Speaks to another member next time.
    fn forget(&mut self) {
        self.etcd = None;
        self.member = self.member.wrapping_add(1);
    }

    async fn base(etcd: &Etcd) -> Result<Base, Trouble> {
        let read = etcd.head().await?;
        Ok(match read.head {
            Some((head, at)) => {
                Base { digest: head.digest, documents: head.documents, head: Some(head), ..Base::at(at) }
            }
            None => Base::at(read.revision),
        })
    }

    async fn view(etcd: &Etcd) -> Result<View, Trouble> {
        let read = etcd.head().await?;
        let (staged, head_revision) = match &read.head {
            Some((head, revision)) => (etcd.staged(head, *revision).await?, *revision),
            None => (Vec::new(), 0),
        };
        // What is in force, and what is there: a head that is written now makes it part of its generation.
        let mut listing = Relisting::new(etcd.keys().clone(), &staged, head_revision);
        let staged: BTreeSet<&DocumentId> = staged.iter().map(|(id, _)| id).collect();
        let mut later = BTreeMap::new();
        let mut each = |write: Write| {
            if write.revision > head_revision
                && let Ok(id) = etcd.keys().document_of(&write.key)
                && !staged.contains(&id)
            {
                later.insert(id, write.value.clone());
            }
            listing.add(write);
        };
        let at = etcd.documents(read.revision, 0, &mut each).await?;
        let mut image = Image::new(etcd.keys().clone());
        image.replace(listing);
        let head = read.head.map(|(head, _)| head);
        let fine = head.as_ref().is_none_or(|head| image.verify(head, head_revision));
        let foreign = if fine {
            later.into_iter().map(|(id, now)| (id, Foreign { before: None, now })).collect()
        } else {
            foreign(etcd, &mut image, later, &staged, head_revision).await?
        };
        let generation = head.as_ref().map(|head| head.generation);
        let (entries, tenants, faults) = (image.entries(), image.tenants().clone(), image.faults(usize::MAX));
        let listing = Listing { entries, tenants, faults, keyed: true, revision: 1, generation, ..Listing::default() };
        image.commit(Vec::new(), at);
        let (digest, documents) = (image.digest(), image.documents());
        Ok(View { base: Base { head, foreign: Arc::new(foreign), digest, documents, ..Base::at(at) }, listing })
    }

    async fn adopted(etcd: &Etcd) -> Result<View, Trouble> {
        let (kvs, revision, _) = etcd.get(&etcd.keys().head(), GetOptions::new()).await?;
        let Some(unreadable) = kvs.first().filter(|kv| Head::parse(kv.value()).is_err()) else {
            return Session::view(etcd).await;
        };
        let last = record::newest(etcd, 1).await?.first().map_or(0, |newest| newest.generation);
        // Whatever is there counts, whenever it was written.
        let mut listing = Relisting::new(etcd.keys().clone(), &[], i64::MAX);
        let at = etcd.documents(revision, 0, &mut |write| listing.add(write)).await?;
        let mut image = Image::new(etcd.keys().clone());
        image.replace(listing);
        let (entries, tenants, faults) = (image.entries(), image.tenants().clone(), image.faults(usize::MAX));
        let listing = Listing { entries, tenants, faults, keyed: true, revision: 1, ..Listing::default() };
        let unreadable = Some(unreadable.mod_revision());
        let (digest, documents) = (image.digest(), image.documents());
        Ok(View { base: Base { unreadable, last, digest, documents, ..Base::at(at) }, listing })
    }

    /// What documents were at a revision, or are now when that revision is no more.
    async fn texts(etcd: &Etcd, ids: &[&DocumentId], at: i64) -> Result<Vec<Bytes>, Trouble> {
        let mut texts = Vec::with_capacity(ids.len());
        for ids in ids.chunks(OPERATIONS) {
            let read = |at: i64| {
                let get =
                    |id: &&DocumentId| TxnOp::get(etcd.keys().document(id), Some(GetOptions::new().with_revision(at)));
                etcd.gets(ids.iter().map(get).collect())
            };
            let answers = match read(at).await {
                Err(trouble) if trouble.kind == Kind::Compacted => read(0).await?,
                other => other?,
            };
            texts.extend(answers.iter().map(|found| found.kvs().first().and_then(|kv| write(kv).value)));
        }
        Ok(texts)
    }

    async fn history(&mut self, most: usize) -> Result<Vec<History>, Trouble> {
        self.read(async |etcd| record::newest(etcd, most).await).await
    }

    async fn entry(&mut self, generation: u64) -> Result<Option<History>, Trouble> {
        self.read(async |etcd| record::entry(etcd, generation).await).await
    }

    async fn changes(&mut self, generation: u64) -> Result<Option<Vec<Changed>>, Trouble> {
        self.read(async |etcd| record::changes(etcd, generation).await).await
    }
}
