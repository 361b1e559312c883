//! What the controllers act on: reading what is in force, and writing one change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use gridrouter_config::codec::{SourceDocument, parse_entry};
use gridrouter_config::ids::{DocumentId, Kind};
use gridrouter_config::problem::Problem;
use gridrouter_config::raw;
use gridrouter_config::store::directory::DirectoryStore;
use gridrouter_config::store::etcd::Random;
use gridrouter_config::store::etcd::writer::{About, Change, Documents, OfKinds, PublishError, Writer};
use gridrouter_config::store::{Store, StoreError};

use super::driver::Moment;
use super::seat::{Proof, Seat};
use super::{Proposal, Unreadable, View, tenant_move};
use crate::directory::{self, Order, WriteError};
use crate::plan::{Plan, Wanted};
use crate::site::Site;
use crate::target::{Target, Where};

/// A store, and what was read of it last.
pub(super) enum Ground {
    Etcd(Box<InEtcd>),
    Directory(Box<InFiles>),
}

pub(super) struct InEtcd {
    writer: Writer,
    wants: Wants,
    /// What was read last. It is kept when a change of it loses: only what is new is read then.
    read: Option<(OfKinds, View)>,
}

pub(super) struct InFiles {
    root: PathBuf,
    store: DirectoryStore,
    wants: Wants,
    read: Option<Files>,
}

/// What is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Wants {
    /// Every document of these kinds.
    pub(super) kinds: Vec<Kind>,
    /// Single documents of other kinds; those of tenants that move are read besides.
    pub(super) single: BTreeSet<DocumentId>,
}

impl Wants {
    /// The single documents, given those of the kinds.
    fn single<'a>(&self, documents: impl IntoIterator<Item = &'a Arc<SourceDocument>>) -> BTreeSet<DocumentId> {
        let moving = documents.into_iter().filter_map(|document| tenant_move::moving(document));
        self.single.iter().cloned().chain(moving).collect()
    }
}

/// What a directory had in one listing.
struct Files {
    revision: u64,
    site: Site,
    view: View,
}

/// What is put, and what is deleted.
type Wanting<'a> = (&'a [Arc<SourceDocument>], &'a [DocumentId]);

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// Somebody else was faster. Nothing was changed.
    Lost(String),
    /// Somebody else leads. Nothing was changed.
    Deposed,
    /// It cannot be done as it is.
    Refused(String),
    /// The store cannot be used. Nothing was changed.
    Away(String),
    /// The store did not say what became of it.
    Unknown(String),
    /// A test wants this controller dead.
    Killed,
}

/// What a write may be stopped by.
pub(super) struct Guard<'a> {
    /// What has to be held; an operator acts without.
    pub(super) seat: Option<&'a Seat>,
    pub(super) writes: &'a mut u64,
    pub(super) crash: &'a mut dyn FnMut(Moment) -> bool,
}

impl Guard<'_> {
    /// Before the next write.
    fn before(&mut self) -> Result<(), Failure> {
        if self.seat.is_some_and(|seat| !seat.holds()) {
            return Err(Failure::Deposed);
        }
        *self.writes += 1;
        if (self.crash)(Moment::BeforeWrite(*self.writes)) { Err(Failure::Killed) } else { Ok(()) }
    }

    fn after(&mut self) -> Result<(), Failure> {
        if (self.crash)(Moment::AfterWrite(*self.writes)) { Err(Failure::Killed) } else { Ok(()) }
    }
}

impl Ground {
    pub(super) fn open(target: &Target, wants: Wants) -> Result<Self, String> {
        Ok(match &target.place {
            Where::Etcd(options) => {
                let writer = Writer::new((**options).clone(), Random::new()).map_err(|error| error.explain())?;
                Ground::Etcd(Box::new(InEtcd { writer, wants, read: None }))
            }
            Where::Directory(root) => {
                let store = DirectoryStore::new(root.as_path());
                Ground::Directory(Box::new(InFiles { root: root.clone(), store, wants, read: None }))
            }
        })
    }

    /// What is in force now. Only the head is read, or the state of the files, where nothing has changed.
    pub(super) fn look(&mut self) -> Result<&View, Failure> {
        match self {
            Ground::Etcd(etcd) => etcd.look(),
            Ground::Directory(files) => files.look(),
        }
    }

    /// Changes what was looked at, as one generation where there are generations. Returns it; nothing when the store had what
    /// was wanted. A controller shows that it leads; an operator needs not.
    pub(super) fn write(
        &mut self,
        proposal: &Proposal,
        about: About,
        proof: Option<&Proof>,
        guard: &mut Guard<'_>,
    ) -> Result<Option<u64>, Failure> {
        let wanted = (&documents(&proposal.put).map_err(Failure::Refused)?[..], &proposal.delete[..]);
        match (self, proof) {
            (Ground::Etcd(etcd), Some(Proof::Etcd(leadership))) => {
                etcd.write(wanted, &About { fence: Some(leadership.clone()), ..about }, guard)
            }
            (Ground::Etcd(etcd), None) => etcd.write(wanted, &about, guard),
            (Ground::Directory(files), Some(Proof::Lock(_)) | None) => files.write(wanted, guard),
            (Ground::Etcd(_), Some(Proof::Lock(_))) | (Ground::Directory(_), Some(Proof::Etcd(_))) => {
                Err(Failure::Deposed)
            }
        }
    }
}

impl InEtcd {
    fn look(&mut self) -> Result<&View, Failure> {
        let away = |error: StoreError| Failure::Away(error.explain());
        let wants = &self.wants;
        let single = |documents: &Documents| wants.single(documents.values());
        let read = match self.read.take() {
            // The view goes first, so that the documents are changed where they are.
            Some((before, view)) => {
                drop(view);
                self.writer.read_kinds_again(before, single)
            }
            None => self.writer.read_kinds_and(&wants.kinds, single),
        };
        let read = read.map_err(away)?;
        let view = view_of_kinds(&read);
        let fresh = (read, view);
        Ok(&self.read.insert(fresh).1)
    }

    fn write(
        &mut self,
        (put, delete): Wanting<'_>,
        about: &About,
        guard: &mut Guard<'_>,
    ) -> Result<Option<u64>, Failure> {
        let changes: Result<Vec<Change>, String> = put.iter().map(|one| Change::put(one)).collect();
        let mut changes = changes.map_err(Failure::Refused)?;
        changes.extend(delete.iter().cloned().map(Change::delete));
        let Some((read, _)) = &self.read else { return Err(Failure::Lost("nothing was read".to_owned())) };
        guard.before()?;
        let published = self.writer.publish(&read.base, &changes, about)?;
        guard.after()?;
        Ok((published.changed > 0).then_some(published.generation))
    }
}

impl InFiles {
    fn look(&mut self) -> Result<&View, Failure> {
        let listing = self.store.list().map_err(|error| Failure::Away(error.explain()))?;
        let same = self.read.take().filter(|read| read.revision == listing.revision);
        let fresh = same.unwrap_or_else(|| {
            let (revision, site) = (listing.revision, Site::of_files(listing));
            let view = view_of_site(&site, &self.wants);
            Files { revision, site, view }
        });
        Ok(&self.read.insert(fresh).view)
    }

    fn write(&mut self, (put, delete): Wanting<'_>, guard: &mut Guard<'_>) -> Result<Option<u64>, Failure> {
        let Some(Files { site, .. }) = &self.read else { return Err(Failure::Lost("nothing was read".to_owned())) };
        let wanted = put.iter().map(|one| (one.id.clone(), Arc::clone(one))).collect();
        let delete = delete.iter().cloned().collect();
        let plan = Plan::new(site, &Wanted { put: wanted, delete, ..Wanted::default() });
        if plan.is_empty() {
            return Ok(None);
        }
        let rank = |id: &DocumentId| put.iter().position(|one| one.id == *id).unwrap_or(put.len());
        let (mut inside, mut stopped) = (false, None);
        let mut go_on = || {
            inside = !inside;
            stopped = if inside { guard.before() } else { guard.after() }.err();
            stopped.is_none()
        };
        let outcome = directory::write_in_order(&self.root, &plan, Order { rank: &rank, go_on: &mut go_on });
        match (outcome, stopped) {
            (Ok(()), _) => Ok(Some(0)),
            (Err(WriteError::Stopped), Some(why)) => Err(why),
            (Err(lost @ WriteError::Lost(_)), _) => Err(Failure::Lost(lost.to_string())),
            (Err(error @ (WriteError::Failed(_) | WriteError::Stopped)), _) => Err(Failure::Refused(error.to_string())),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Lost(lost) => Failure::Lost(lost.to_string()),
            PublishError::Deposed => Failure::Deposed,
            PublishError::Refused(why) => Failure::Refused(why),
            PublishError::Store(_) => Failure::Away(error.to_string()),
            PublishError::Unknown(_) => Failure::Unknown(error.to_string()),
        }
    }
}

fn documents(put: &[raw::Document]) -> Result<Vec<Arc<SourceDocument>>, String> {
    let source = |raw: &raw::Document| {
        let source = SourceDocument::from_raw("controller", 1, raw.clone());
        source.map(Arc::new).map_err(|problem| format!("a controller wants what cannot be: {}", problem.message))
    };
    put.iter().map(source).collect()
}

fn view_of_kinds(read: &OfKinds) -> View {
    let unreadable = read.unreadable.iter().flat_map(|one| {
        let id = &one.id;
        one.problems.iter().map(move |problem| unreadable(id.clone(), problem))
    });
    let (generation, documents) = (read.base.generation(), Arc::clone(&read.documents));
    View { generation, documents, unreadable: unreadable.collect() }
}

fn view_of_site(site: &Site, wants: &Wants) -> View {
    let kinds = &wants.kinds;
    let of_kinds = site.documents.iter().filter(|(id, _)| kinds.contains(&id.kind));
    let mut documents: BTreeMap<_, _> = of_kinds.map(|(id, document)| (id.clone(), Arc::clone(document))).collect();
    let single = wants.single(documents.values());
    documents.extend(single.into_iter().filter_map(|id| Some((id.clone(), Arc::clone(site.documents.get(&id)?)))));
    let broken = site.broken.iter().flat_map(|broken| parse_entry(&broken.entry).broken);
    // What has no name may be of any kind.
    let ours = broken.filter(|broken| broken.id.as_ref().is_none_or(|id| kinds.contains(&id.kind)));
    let texts = ours.flat_map(|broken| {
        let id = broken.id;
        broken.problems.into_iter().map(move |problem| unreadable(id.clone(), &problem))
    });
    let faults = site.faults.iter().map(|(place, why)| Unreadable { id: None, why: format!("{place}: {why}") });
    View { generation: 0, documents: Arc::new(documents), unreadable: texts.chain(faults).collect() }
}

fn unreadable(id: Option<DocumentId>, problem: &Problem) -> Unreadable {
    Unreadable { id, why: format!("{}:{}: {}", problem.file, problem.line, problem.message) }
}
