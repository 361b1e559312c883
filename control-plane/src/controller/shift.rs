//! The controller of shifts: asks routers what the tracks did, and writes what becomes of each shift.
//!
//! What it remembers from one time to the next is only what the last step is judged by; one that takes over begins to count
//! there anew, and goes on from the store.

use std::collections::{BTreeMap, BTreeSet};

use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::model::{self, Analysis};
use gridrouter_config::raw::{self, Document};
use gridrouter_config::store::etcd::Random;
use gridrouter_config::store::etcd::writer::Writer;
use gridrouter_config::track::Track;

use super::{Decision, Proposal, View};
use crate::ledger::{Ledger, Reading};
use crate::observe::{Observer, Router};
use crate::plan::analysis::judge;
use crate::plan::shift::write::documents;
use crate::plan::shift::{Next, Verdict, give_up, tick};
use crate::site::in_our_words;
use crate::target::{Target, Where};

/// The routers that are asked.
pub enum Routers {
    /// Those that are live in etcd.
    Live(Box<Writer>),
    /// These, by the address of their admin endpoints.
    Listed(Vec<String>),
}

impl Routers {
    /// Those of a store, where it knows them; `listed` are asked instead if there are any.
    pub fn of(target: &Target, listed: &[String]) -> Result<Self, String> {
        match &target.place {
            Where::Etcd(options) if listed.is_empty() => {
                let writer = Writer::new((**options).clone(), Random::new()).map_err(|error| error.explain())?;
                Ok(Routers::Live(Box::new(writer)))
            }
            Where::Etcd(_) | Where::Directory(_) => Ok(Routers::Listed(listed.to_vec())),
        }
    }

    /// Who is there now.
    pub fn list(&mut self) -> Result<Vec<Router>, String> {
        match self {
            Routers::Live(writer) => {
                let live = writer.routers().map_err(|error| in_our_words(&error.explain()))?;
                Ok(live.into_iter().map(|router| Router { id: router.id, address: router.address }).collect())
            }
            Routers::Listed(addresses) => {
                let router = |address: &String| Router { id: address.clone(), address: Some(address.clone()) };
                Ok(addresses.iter().map(router).collect())
            }
        }
    }
}

/// The controller of shifts.
pub struct Shifts {
    routers: Routers,
    observer: Observer,
    ledgers: BTreeMap<Name, Ledger>,
}

impl Shifts {
    /// One that has seen nothing yet.
    pub fn new(routers: Routers) -> Result<Self, String> {
        Ok(Self { routers, observer: Observer::new()?, ledgers: BTreeMap::new() })
    }

    /// What is to be done now.
    pub fn step(&mut self, view: &View, now: u64) -> Decision {
        let shifts: Vec<_> = view.documents.values().filter_map(|document| read(&document.raw, document)).collect();
        let live: BTreeSet<&Name> =
            shifts.iter().filter(|(_, shift)| !shift.has_ended()).map(|(_, one)| &one.name).collect();
        self.ledgers.retain(|name, _| live.contains(name));
        let readings = if shifts.iter().any(|(_, shift)| shift.is_under_way()) { self.readings() } else { Vec::new() };
        let mut notes = Vec::new();
        for (raw, shift) in shifts.iter().filter(|(_, shift)| !shift.has_ended()) {
            let service = service(view, &shift.service);
            let next = if let Some(why) = obstacle(shift, service) {
                Some(give_up(shift, &why, now))
            } else {
                let ledger = self.ledgers.entry(shift.name.clone()).or_default();
                ledger.take(shift, &readings);
                notes.extend(ledger.missing().iter().cloned());
                tick(shift, &verdict(shift, ledger), now).map(|next| reported(next, shift, ledger))
            };
            if let Some(next) = next {
                let message = format!("shift {}: {}", shift.name, next.what);
                let proposal = Proposal { put: documents(raw, service, &next), message };
                return Decision { proposal: Some(proposal), notes };
            }
        }
        Decision { proposal: None, notes }
    }

    fn readings(&mut self) -> Vec<Reading> {
        match self.routers.list() {
            Ok(routers) => self.observer.read(routers),
            Err(why) => vec![Reading { router: "list".to_owned(), tracks: Err(why) }],
        }
    }
}

/// A shift that can be read. What is wrong with one is told by whoever reads the store.
fn read<'a>(
    raw: &'a Document,
    source: &gridrouter_config::codec::SourceDocument,
) -> Option<(&'a raw::Shift, std::sync::Arc<model::Shift>)> {
    match (raw, convert(source)) {
        (Document::Shift(raw), Ok(ModelDocument::Shift(shift))) => Some((raw, shift)),
        _ => None,
    }
}

fn service<'a>(view: &'a View, name: &Name) -> Option<&'a raw::Service> {
    let id = DocumentId { kind: Kind::Service, name: name.clone() };
    match &view.documents.get(&id)?.raw {
        Document::Service(service) => Some(service),
        Document::Listener(_)
        | Document::Grid(_)
        | Document::Cell(_)
        | Document::Route(_)
        | Document::Limit(_)
        | Document::Plan(_)
        | Document::Shift(_)
        | Document::Tenant(_) => None,
    }
}

/// Why a shift cannot be carried out, where that is so.
fn obstacle(shift: &model::Shift, service: Option<&raw::Service>) -> Option<String> {
    let Some(service) = service else { return Some(format!("there is no Service \"{}\"", shift.service)) };
    shift.cells().find_map(|cell| {
        let tracks = service.cells.get(cell.as_str());
        let listed = tracks.is_some_and(|tracks| match shift.to {
            Track::Blue => tracks.blue.is_some(),
            Track::Green => tracks.green.is_some(),
        });
        (!listed).then(|| format!("Service \"{}\" has no `{}` in cell \"{cell}\"", shift.service, shift.to.as_str()))
    })
}

/// What is to be said of a shift's new track: of the cells that are moving, and of those that have moved already. A fault
/// in a cell that has just begun must not drown among the requests of the others.
pub fn verdict(shift: &model::Shift, ledger: &Ledger) -> Verdict {
    let Some(analysis) = &shift.analysis else { return Verdict::Good };
    let (before, now) = shift.waves.split_at(shift.state.wave.min(shift.waves.len()));
    let moving = now.iter().take(1).flat_map(|wave| &wave.cells);
    let moved = before.iter().flat_map(|wave| &wave.cells);
    match of_cells(analysis, shift, ledger, moved) {
        bad @ Verdict::Bad(_) => bad,
        Verdict::Good | Verdict::Unclear(_) => of_cells(analysis, shift, ledger, moving),
    }
}

fn of_cells<'a>(
    analysis: &Analysis,
    shift: &model::Shift,
    ledger: &Ledger,
    cells: impl Iterator<Item = &'a Name>,
) -> Verdict {
    judge(analysis, &ledger.seen(shift, cells))
}

/// With what the tracks did so far; where the shift has just begun, nothing was done yet.
fn reported(next: Next, shift: &model::Shift, ledger: &Ledger) -> Next {
    if !shift.is_under_way() {
        return next;
    }
    let state = model::ShiftState { report: Some(ledger.report(shift)), ..next.state };
    Next { state, ..next }
}
