//! The controller of moves: goes on where whoever began a move does not, and rolls back what has taken too long.
//!
//! It never puts a tenant on its new cell: only who has copied the data knows when.

use std::sync::Arc;
use std::time::Duration;

use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::codec::SourceDocument;
use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::model;
use gridrouter_config::raw::{self, Document};
use gridrouter_config::store::etcd::Random;
use gridrouter_config::store::etcd::writer::Writer;

use super::{Decision, Proposal, View};
use crate::plan::tenant_move::routers::{Fleet, waits};
use crate::plan::tenant_move::tick;
use crate::plan::tenant_move::write::documents;
use crate::site::in_our_words;
use crate::table::plural;
use crate::target::{Target, Where};

/// Whose word is waited for.
pub enum Watch {
    /// The routers that are live in etcd, and those that have gone without a farewell.
    Etcd(Box<Writer>),
    /// A directory does not know its routers.
    Nobody,
}

impl Watch {
    /// The routers of a store. Nothing is asked of it yet.
    pub fn of(target: &Target) -> Result<Self, String> {
        match &target.place {
            Where::Etcd(options) => {
                let writer = Writer::new((**options).clone(), Random::new()).map_err(|error| error.explain())?;
                Ok(Watch::Etcd(Box::new(writer)))
            }
            Where::Directory(_) => Ok(Watch::Nobody),
        }
    }

    /// The routers that there are.
    pub fn fleet(&mut self) -> Result<Fleet, String> {
        match self {
            Watch::Etcd(writer) => {
                let (live, vanished) = writer.fleet().map_err(|error| in_our_words(&error.explain()))?;
                Ok(Fleet { live, vanished })
            }
            Watch::Nobody => Err("a directory does not know its routers".to_owned()),
        }
    }

    /// What routers a move waits for; nothing when all are there.
    pub fn waits(&mut self, one: &model::Move) -> Option<String> {
        match self.fleet() {
            Ok(fleet) => waits(one, &fleet),
            Err(why) => Some(format!("routers cannot be listed: {why}")),
        }
    }
}

/// The controller of moves.
pub struct Moves {
    watch: Watch,
}

impl Moves {
    /// One that has seen nothing yet.
    pub fn new(watch: Watch) -> Self {
        Self { watch }
    }

    /// What is to be done now.
    pub fn step(&mut self, view: &View, now: u64) -> Decision {
        let under_way: Vec<_> = those(view, |one| !one.state.phase.is_last()).collect();
        if under_way.is_empty() {
            return Decision::default();
        }
        let fleet = self.watch.fleet();
        for (document, one) in under_way {
            let waits = match &fleet {
                Ok(fleet) => waits(&one, fleet),
                Err(why) => Some(format!("routers cannot be listed: {why}")),
            };
            let tenant = tenant(view, &one.tenant);
            if let Some(next) = tick(&one, tenant, waits.as_deref(), now) {
                let message = format!("move {}: {}", one.name, next.what);
                return Some(Proposal {
                    put: documents(document, &one, tenant, &next),
                    message,
                    ..Proposal::default()
                })
                .into();
            }
        }
        Decision::default()
    }
}

/// How many moves are deleted in one generation.
const TIDIED: usize = 100;

/// Deletes moves that have ended so long ago that nobody looks for them any more: every router holds what is there.
pub(super) fn tidy(view: &View, keep: Duration, now: u64) -> Option<Proposal> {
    let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    let is_old = |one: &raw::Move| one.state.phase.is_last() && now.saturating_sub(one.state.since) >= keep;
    let old = those(view, is_old).take(TIDIED);
    let delete: Vec<DocumentId> = old.map(|(_, one)| DocumentId { kind: Kind::Move, name: one.name.clone() }).collect();
    if delete.is_empty() {
        return None;
    }
    let message = format!("deletes {} that ended long ago", plural(delete.len(), "move"));
    Some(Proposal { delete, message, ..Proposal::default() })
}

/// The moves that can be read, those that have ended among them. What is wrong with one is told by whoever reads the store.
pub fn all(view: &View) -> impl Iterator<Item = (&raw::Move, Arc<model::Move>)> {
    those(view, |_| true)
}

/// Those of them that are wanted. The others are not checked, either: there may be thousands.
fn those(view: &View, wanted: impl Fn(&raw::Move) -> bool) -> impl Iterator<Item = (&raw::Move, Arc<model::Move>)> {
    view.documents.values().filter_map(move |source| {
        let Document::Move(raw) = &source.raw else { return None };
        match wanted(raw).then(|| convert(source))? {
            Ok(ModelDocument::Move(one)) => Some((&**raw, one)),
            _ => None,
        }
    })
}

/// A tenant's document.
pub fn tenant<'a>(view: &'a View, name: &Name) -> Option<&'a raw::Tenant> {
    let id = DocumentId { kind: Kind::Tenant, name: name.clone() };
    match &view.documents.get(&id)?.raw {
        Document::Tenant(tenant) => Some(tenant),
        Document::Listener(_)
        | Document::Certificate(_)
        | Document::Grid(_)
        | Document::Cell(_)
        | Document::Service(_)
        | Document::Route(_)
        | Document::Limit(_)
        | Document::Plan(_)
        | Document::Shift(_)
        | Document::Move(_) => None,
    }
}

/// The tenant of a move that is under way: its document is needed to carry the move on.
pub(super) fn moving(document: &SourceDocument) -> Option<DocumentId> {
    let Document::Move(one) = &document.raw else { return None };
    let name = Name::tenant(&one.tenant).ok().filter(|_| !one.state.phase.is_last())?;
    Some(DocumentId { kind: Kind::Tenant, name })
}
