//! The controller of shifts: asks routers what the tracks did, and writes what becomes of each shift.
//!
//! What it remembers from one time to the next is only what the last step is judged by; one that takes over begins to count
//! there anew, and goes on from the store.

use std::collections::{BTreeMap, BTreeSet};

use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::model;
use gridrouter_config::raw::{self, Document, ShiftPhase};
use gridrouter_config::store::etcd::Random;
use gridrouter_config::store::etcd::writer::Writer;
use gridrouter_config::track::Track;

use super::{Decision, Proposal, View};
use crate::ledger::{Ledger, NOBODY, Reading};
use crate::observe::{Observer, Router};
use crate::plan::analysis::{Seen, judge};
use crate::plan::shift::write::documents;
use crate::plan::shift::{Next, Verdict, give_up, tick};
use crate::site::in_our_words;
use crate::target::{Target, Where};

/// When the report of a shift that has ended is looked after once more, in milliseconds from its end.
const CLOSING: std::ops::Range<u64> = 2_000..60_000;

/// How often Prometheus is asked, in milliseconds.
const ASKING: u64 = 5_000;
/// How long a shift that cannot be carried out is kept, in milliseconds: a file that is being written, or deleted by mistake,
/// may be back soon.
const PATIENCE: u64 = 10_000;

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

    /// Why something of them is not known, with what helps.
    pub fn explain(&self, missing: &str) -> String {
        match self {
            _ if missing != NOBODY => missing.to_owned(),
            Routers::Live(_) => format!("{NOBODY}: none is live in etcd; look with `gridctl status`"),
            Routers::Listed(_) => format!("{NOBODY}; those of a directory have to be named with --router"),
        }
    }
}

/// The controller of shifts.
pub struct Shifts {
    routers: Routers,
    observer: Observer,
    ledgers: BTreeMap<Name, Ledger>,
    /// Runs whose closing report was looked after, by when they were started.
    closed: BTreeMap<Name, u64>,
    /// The one that something was to be written for last.
    last: Option<Name>,
    /// Since when shifts cannot be carried out.
    obstacles: BTreeMap<Name, u64>,
    /// What Prometheus said last, and when it was asked.
    answers: BTreeMap<Name, (u64, Answers)>,
}

impl Shifts {
    /// One that has seen nothing yet.
    pub fn new(routers: Routers) -> Result<Self, String> {
        Ok(Self {
            routers,
            observer: Observer::new()?,
            ledgers: BTreeMap::new(),
            closed: BTreeMap::new(),
            last: None,
            obstacles: BTreeMap::new(),
            answers: BTreeMap::new(),
        })
    }

    /// What is to be done now.
    pub fn step(&mut self, view: &View, now: u64) -> Decision {
        let shifts: Vec<_> = view.documents.values().filter_map(|document| read(&document.raw, document)).collect();
        let closing =
            |shift: &model::Shift| is_closing(shift, now) && self.closed.get(&shift.name) != Some(&shift.state.started);
        let mut open: Vec<_> = shifts.iter().filter(|(_, shift)| !shift.has_ended() || closing(shift)).collect();
        let names: BTreeSet<&Name> = open.iter().map(|(_, shift)| &shift.name).collect();
        self.ledgers.retain(|name, _| names.contains(name));
        self.answers.retain(|name, _| names.contains(name));
        self.obstacles.retain(|name, _| names.contains(name));
        self.closed.retain(|name, _| view.documents.contains_key(&id(Kind::Shift, name)));
        let counted = open.iter().any(|(_, shift)| shift.state.phase != ShiftPhase::Pending);
        let readings = if counted { self.readings() } else { Vec::new() };
        let mut notes = Vec::new();
        // Whose turn it was last comes last: what cannot be written for one holds up no other.
        let after = open.partition_point(|(_, shift)| self.last.as_ref().is_some_and(|last| shift.name <= *last));
        open.rotate_left(after);
        for (raw, shift) in open {
            let service = view.service(&shift.service);
            let ledger = self.ledgers.entry(shift.name.clone()).or_default();
            ledger.take(shift, &readings);
            notes.extend(ledger.missing().iter().map(|why| self.routers.explain(why)));
            let next = if shift.has_ended() {
                self.closed.insert(shift.name.clone(), shift.state.started);
                close(shift, ledger)
            } else if let Some(why) = unreadable(view, &shift.service) {
                // Routers have an earlier version of it in force, which nobody here knows. The way back needs none.
                notes.push(format!("shift {} waits: {why}", shift.name));
                let answers = answers(&self.observer, &mut self.answers, shift, now);
                let next = tick(shift, &verdict(shift, ledger, answers), now).map(|next| reported(next, shift, ledger));
                next.filter(|next| matches!(next.state.phase, ShiftPhase::RollingBack | ShiftPhase::Paused))
            } else if let Some(why) = obstacle(shift, service) {
                let since = *self.obstacles.entry(shift.name.clone()).or_insert(now);
                notes.push(format!("shift {}: {why}", shift.name));
                (now.saturating_sub(since) >= PATIENCE).then(|| give_up(shift, &why, now))
            } else {
                self.obstacles.remove(&shift.name);
                let answers = answers(&self.observer, &mut self.answers, shift, now);
                tick(shift, &verdict(shift, ledger, answers), now).map(|next| reported(next, shift, ledger))
            };
            if let Some(next) = next {
                self.last = Some(shift.name.clone());
                let message = format!("shift {}: {}", shift.name, next.what);
                let proposal = Proposal { put: documents(raw, service, &next), message, ..Proposal::default() };
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

fn id(kind: Kind, name: &Name) -> DocumentId {
    DocumentId { kind, name: name.clone() }
}

/// Why a service cannot be read, where it may be there, or what is wrong with it, so that routers refuse it.
fn unreadable(view: &View, name: &Name) -> Option<String> {
    let wanted = id(Kind::Service, name);
    if let Some(document) = view.documents.get(&wanted) {
        let problems = convert(document).err()?;
        return problems.first().map(|one| format!("{wanted} is not right: {}", one.message));
    }
    let fits = |one: &&super::Unreadable| one.id.as_ref().is_none_or(|id| *id == wanted);
    view.unreadable.iter().find(fits).map(|one| one.why.clone())
}

/// Why a shift cannot be carried out, where that is so.
fn obstacle(shift: &model::Shift, service: Option<&raw::Service>) -> Option<String> {
    let Some(service) = service else { return Some(format!("there is no Service \"{}\"", shift.service)) };
    let (name, to) = (&shift.service, shift.to.as_str());
    shift.cells().find_map(|cell| {
        let tracks = service.cells.get(cell.as_str());
        let listed = tracks.is_some_and(|tracks| match shift.to {
            Track::Blue => tracks.blue.is_some(),
            Track::Green => tracks.green.is_some(),
        });
        if !listed {
            return Some(format!("Service \"{name}\" has no `{to}` in cell \"{cell}\""));
        }
        // Its first step would take all but a little of the traffic away from there.
        let begins = shift.state.phase == ShiftPhase::Pending;
        let in_use = tracks.is_some_and(|tracks| tracks.active.unwrap_or_default() == shift.to);
        (begins && in_use).then(|| {
            format!(
                "Service \"{name}\" uses {to} in cell \"{cell}\" already; leave that cell out, or say `to: {}`",
                shift.to.other().as_str()
            )
        })
    })
}

/// What is to be said of a shift's new track: of the cells that are moving, and of those that have moved already. A fault
/// in a cell that has just begun must not drown among the requests of the others.
pub fn verdict(shift: &model::Shift, ledger: &Ledger, answers: &Answers) -> Verdict {
    let Some(analysis) = &shift.analysis else { return Verdict::Good };
    let (before, now) = shift.waves.split_at(shift.state.wave.min(shift.waves.len()));
    let moving = now.iter().take(1).flat_map(|wave| &wave.cells);
    let moved = before.iter().flat_map(|wave| &wave.cells);
    let seen = |seen: Seen| Seen { answers: answers.clone(), ..seen };
    match judge(analysis, &seen(ledger.seen(shift, moved))) {
        bad @ Verdict::Bad(_) => bad,
        Verdict::Good | Verdict::Unclear(_) => judge(analysis, &seen(ledger.seen(shift, moving))),
    }
}

/// What Prometheus answered, query by query.
pub type Answers = Vec<Result<f64, String>>;

/// What Prometheus says of a shift under way. It is asked anew when a step begins and every few seconds.
fn answers<'a>(
    observer: &Observer,
    known: &'a mut BTreeMap<Name, (u64, Answers)>,
    shift: &model::Shift,
    now: u64,
) -> &'a Answers {
    let (asked, answers) = known.entry(shift.name.clone()).or_default();
    let queries = shift.analysis.as_ref().and_then(|analysis| analysis.prometheus.as_ref());
    let due = *asked < shift.state.since || now.saturating_sub(*asked) >= ASKING;
    if let Some(prometheus) = queries.filter(|_| due && shift.is_under_way()) {
        (*asked, *answers) = (now, observer.ask(prometheus));
    }
    answers
}

/// Whether a shift has ended so lately that its last requests may not have been in its report, and so long ago that they
/// are over.
fn is_closing(shift: &model::Shift, now: u64) -> bool {
    let ago = shift.state.stopped.map(|stopped| now.saturating_sub(stopped));
    shift.has_ended() && shift.state.started > 0 && ago.is_some_and(|ago| CLOSING.contains(&ago))
}

/// The closing report, where it says more than what was written.
fn close(shift: &model::Shift, ledger: &Ledger) -> Option<Next> {
    let report = ledger.report(shift);
    let (to, from) = (shift.to.as_str(), shift.to.other().as_str());
    let fell_back = match report.fallbacks {
        0 => String::new(),
        fallbacks => format!(", {fallbacks} more fell back to {from}"),
    };
    let what = format!("closing report: {} of {} requests on {to} failed{fell_back}", report.failed, report.requests);
    let state = model::ShiftState { report: Some(report), ..shift.state.clone() };
    (shift.state.report != Some(report)).then_some(Next { state, active: None, what })
}

/// With what the tracks did so far; where the shift has just begun, nothing was done yet.
fn reported(next: Next, shift: &model::Shift, ledger: &Ledger) -> Next {
    if !shift.is_under_way() {
        return next;
    }
    let state = model::ShiftState { report: Some(ledger.report(shift)), ..next.state };
    Next { state, ..next }
}

#[cfg(test)]
mod tests;
