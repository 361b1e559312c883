//! The two answers to a request and its copy, as they come, and what the comparison says.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use gridrouter_config::tracks::mirror::{Bodies, Difference};
use http::StatusCode;
use xxhash_rust::xxh3::Xxh3Default;

use crate::clock::Nanos;
use crate::http::fields::Known;
use crate::http::reject::Reject;
use crate::listener::worker::{Worker, unix_millis};
use crate::pipeline::flight::Split;
use crate::snapshot::{EndpointGroup, RoutePlan};
use crate::telemetry::mirror::MirrorCounters;
use crate::upstream::journey::Outgoing;

/// How much of two bodies is compared.
pub(super) const MOST: usize = 1 << 20;
/// How much of a path is kept of a difference, in characters.
const MAX_PATH: usize = 200;

/// A request of which a copy is sent, with both answers as far as they have come.
#[derive(Debug)]
pub(crate) struct Comparison {
    worker: Rc<Worker>,
    split: Split,
    route: Arc<RoutePlan>,
    tenant: Option<Box<str>>,
    bodies: bool,
    request: OnceCell<Outgoing>,
    sides: RefCell<Sides>,
}

#[derive(Debug)]
struct Sides {
    old: Side,
    new: Side,
    /// Nothing more is compared.
    over: bool,
}

/// What a track answered.
#[derive(Debug, Default)]
struct Side {
    told: Option<Told>,
    /// None if the bodies are not compared.
    body: Option<Box<Body>>,
}

/// The head of an answer, or the router's in its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    status: StatusCode,
    took: Option<Nanos>,
    reject: Option<Reject>,
}

impl Told {
    pub(super) fn answered(status: StatusCode, took: Nanos) -> Self {
        Self { status, took: Some(took), reject: None }
    }

    pub(super) fn rejected(reject: Reject) -> Self {
        Self { status: reject.status(), took: None, reject: Some(reject) }
    }
}

/// A body as far as it has come, of its beginning.
#[derive(Default)]
struct Body {
    hash: Xxh3Default,
    length: usize,
    end: Option<End>,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("length", &self.length).field("end", &self.end).finish_non_exhaustive()
    }
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is whole.
    Whole,
    /// There is more of it than is compared.
    Long,
    /// It broke off, or nobody reads it any more.
    Cut,
}

impl Body {
    fn passes(&mut self, data: &[u8]) {
        if self.end.is_some() {
            return;
        }
        let room = MOST.saturating_sub(self.length);
        let part = data.get(..room).unwrap_or(data);
        self.hash.update(part);
        self.length += part.len();
        if data.len() > room {
            self.end = Some(End::Long);
        }
    }

    fn ends(&mut self, end: End) {
        self.end.get_or_insert(end);
    }
}

impl Side {
    fn passes(&mut self, data: &[u8]) {
        if let Some(body) = &mut self.body {
            body.passes(data);
        }
    }

    fn ends(&mut self, end: End) {
        if let Some(body) = &mut self.body {
            body.ends(end);
        }
    }
}

/// What two bodies say of each other; nothing while they are on their way.
fn compare(old: Option<&Body>, new: Option<&Body>) -> Option<Bodies> {
    let (Some(old), Some(new)) = (old, new) else { return Some(Bodies::NotCompared) };
    match (old.end, new.end) {
        (Some(End::Cut), _) | (_, Some(End::Cut)) => Some(Bodies::NotCompared),
        (Some(old_end), Some(new_end)) => {
            let same = (old.length, old_end, old.hash.digest()) == (new.length, new_end, new.hash.digest());
            Some(if same { Bodies::Same } else { Bodies::Differ })
        }
        (None, _) | (_, None) => None,
    }
}

impl Comparison {
    pub(in crate::pipeline) fn new(
        worker: &Rc<Worker>,
        split: Split,
        route: &Arc<RoutePlan>,
        tenant: Option<&str>,
        bodies: bool,
    ) -> Rc<Self> {
        let side = || Side { told: None, body: bodies.then(Box::default) };
        Rc::new(Self {
            worker: Rc::clone(worker),
            split,
            route: Arc::clone(route),
            tenant: tenant.map(Into::into),
            bodies,
            request: OnceCell::new(),
            sides: RefCell::new(Sides { old: side(), new: side(), over: false }),
        })
    }

    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The endpoints of the new track.
    pub(super) fn group(&self) -> &Arc<EndpointGroup> {
        &self.split.to.group
    }

    pub(super) fn count(&self, count: impl FnOnce(&MirrorCounters)) {
        self.worker.counters.mirror(self.split.to.counted, count);
    }

    /// The copy as it is sent.
    pub(super) fn is_about(&self, request: Outgoing) {
        self.request.get_or_init(|| request);
    }

    pub(super) fn request(&self) -> Option<&Outgoing> {
        self.request.get()
    }

    pub(super) fn is_over(&self) -> bool {
        self.sides.borrow().over
    }

    /// There is no copy after all.
    pub(super) fn is_dropped(&self) {
        self.count(MirrorCounters::dropped);
        self.abandon();
    }

    /// How long a body may be that is sent with the copy.
    pub(super) fn most_of_a_body(&self) -> usize {
        self.split.mirror().map_or(0, |mirror| mirror.max_request_body)
    }

    /// Nothing is compared: the client has left, or there is no copy, or the request itself went to the new track.
    pub(crate) fn abandon(&self) {
        self.sides.borrow_mut().over = true;
    }

    /// The head of the old track's answer has come.
    pub(in crate::pipeline) fn old_answers(&self, status: StatusCode, took: Nanos) {
        self.then(|sides| sides.old.told = Some(Told::answered(status, took)));
    }

    /// More of the old track's body has come.
    pub(in crate::pipeline) fn old_passes(&self, data: &[u8]) {
        if self.bodies {
            self.then(|sides| sides.old.passes(data));
        }
    }

    /// All of the old track's body has come.
    pub(in crate::pipeline) fn old_ends(&self) {
        self.then(|sides| sides.old.ends(End::Whole));
    }

    /// The request is over: with the router's own answer, if the old track gave none.
    pub(in crate::pipeline) fn old_is_over(&self, reject: Option<Reject>) {
        self.then(|sides| {
            sides.old.ends(End::Cut);
            if sides.old.told.is_none() {
                sides.old.told = reject.filter(|reject| !reject.is_of_the_client()).map(Told::rejected);
                // Its client has left.
                sides.over |= sides.old.told.is_none();
            }
        });
    }

    pub(super) fn new_answers(&self, told: Told) {
        self.then(|sides| sides.new.told = Some(told));
    }

    pub(super) fn new_passes(&self, data: &[u8]) {
        if self.bodies {
            self.then(|sides| sides.new.passes(data));
        }
    }

    pub(super) fn new_ends(&self, end: End) {
        self.then(|sides| sides.new.ends(end));
    }

    /// The copy's time is over.
    pub(super) fn new_runs_out(&self, reject: Reject) {
        self.then(|sides| {
            sides.new.ends(End::Cut);
            sides.new.told.get_or_insert(Told::rejected(reject));
        });
    }

    /// Takes note of something, and compares once there is enough.
    fn then(&self, note: impl FnOnce(&mut Sides)) {
        let mut sides = self.sides.borrow_mut();
        if sides.over {
            return;
        }
        note(&mut sides);
        if let (false, Some(old), Some(new)) = (sides.over, sides.old.told, sides.new.told)
            && let Some(bodies) = bodies(&sides, old, new)
        {
            sides.over = true;
            let lengths = [&sides.old, &sides.new].map(|side| side.body.as_ref().map(|body| body.length as u64));
            // Not needed any more, while the request may go on for long.
            (sides.old.body, sides.new.body) = (None, None);
            drop(sides);
            self.settle(old, new, bodies, lengths);
        }
    }

    fn settle(&self, old: Told, new: Told, bodies: Bodies, lengths: [Option<u64>; 2]) {
        let status_differs = new.reject.is_none() && old.status != new.status;
        self.count(|counters| {
            if new.reject.is_some() {
                counters.failed();
                return;
            }
            counters.compared(status_differs);
            if let (Some(old), Some(new)) = (old.took, new.took) {
                counters.took(old, new);
            }
            match bodies {
                Bodies::NotCompared => {}
                Bodies::Same | Bodies::Differ => counters.bodies(bodies == Bodies::Differ),
            }
        });
        if status_differs || new.reject.is_some() || bodies == Bodies::Differ {
            let difference = self.difference(old, new, bodies, lengths);
            self.count(|counters| counters.keep(difference));
        }
    }

    #[cold]
    fn difference(&self, old: Told, new: Told, bodies: Bodies, lengths: [Option<u64>; 2]) -> Difference {
        let request = self.request.get();
        let id = request.and_then(|request| request.fields.known(Known::XRequestId).next());
        let [old_length, new_length] = lengths.map(|length| length.filter(|_| bodies != Bodies::NotCompared));
        let micros = |told: Told| told.took.map(|took| took.0 / 1_000);
        Difference {
            at: unix_millis(),
            route: self.route.document.name.to_string(),
            method: request.map(|request| request.method.to_string()).unwrap_or_default(),
            path: request.map(|request| cut(&request.target.to_string())).unwrap_or_default(),
            tenant: self.tenant.as_ref().map(ToString::to_string),
            request_id: id.map(|id| String::from_utf8_lossy(id).into_owned()).unwrap_or_default(),
            old_status: old.status.as_u16(),
            new_status: new.reject.is_none().then(|| new.status.as_u16()),
            failure: new.reject.map(|reject| reject.code().to_owned()),
            old_micros: micros(old),
            new_micros: micros(new),
            bodies,
            old_length,
            new_length,
        }
    }
}

/// What the bodies say, where they have anything to say; nothing while they have to be waited for.
fn bodies(sides: &Sides, old: Told, new: Told) -> Option<Bodies> {
    if old.reject.is_some() || new.reject.is_some() || old.status != new.status {
        return Some(Bodies::NotCompared);
    }
    compare(sides.old.body.as_deref(), sides.new.body.as_deref())
}

fn cut(path: &str) -> String {
    match path.char_indices().nth(MAX_PATH) {
        Some((at, _)) => format!("{}…", path.get(..at).unwrap_or_default()),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests;
