//! Requests on their tracks while a shift is under way: what becomes of them is counted, and those that would be on the
//! other track by now are closed when their time to drain is over.
//!
//! Each thread knows its own. It looks through them when a snapshot says something new of shifts; meanwhile they cost
//! nothing, and requests of services without a shift are not among them.

mod left;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gridrouter_config::model::Model;
use gridrouter_config::track::Track;
use gridrouter_config::units::Percent;
use http::StatusCode;

use self::left::Left;
use super::mirror::Comparison;
use super::track::OnTrack;
use crate::clock::{Millis, Nanos};
use crate::http::connection::Connection;
use crate::http::reject::Reject;
use crate::listener::worker::Worker;
use crate::placement::split::{is_within, rank};
use crate::snapshot::split::{SplitPlan, UnderWay, share_in, testers_move};
use crate::snapshot::{EndpointGroup, RoutePlan};
use crate::telemetry::tracks::TrackCounters;
use crate::upstream::response_body::BrokenOff;

/// How long an answer has at the least that begins when it should have ended.
const LAST_CALL: Duration = Duration::from_secs(1);
/// How long a client waits at the least whose leaving says that the answer takes long.
const GIVES_UP: Nanos = Nanos(1_000_000_000);

/// A split as requests hold it: counted by a counter of this thread's own.
pub(super) type Split = Rc<Arc<SplitPlan>>;

/// A request on its track, from when it was decided on until its answer is over.
#[derive(Debug)]
pub(crate) struct Flight(Rc<State>);

#[derive(Debug)]
struct State {
    connection: Rc<Connection>,
    split: Split,
    chosen: Track,
    tester: bool,
    tenant: Option<u64>,
    /// The track that it went to: the other one, if the one chosen had no endpoint.
    used: Cell<Track>,
    /// Whether it waits for its turn.
    queued: Cell<bool>,
    /// When it could be sent on.
    began: Cell<Nanos>,
    /// How long the head of its answer took.
    took: Cell<Option<Nanos>>,
    /// When its answer is closed; never, unless it has to leave.
    leaves: Cell<Millis>,
    /// When it has to be over anyway.
    deadline: Cell<Millis>,
    /// What its answer is compared with.
    copy: OnceCell<Rc<Comparison>>,
    /// Its position among the thread's.
    position: Cell<usize>,
}

/// One thread's requests on tracks.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    all: RefCell<Vec<Rc<State>>>,
    /// By the stable number of the new track.
    splits: RefCell<Vec<Option<Split>>>,
    /// The groups that were left by requests that are not among them.
    pub(crate) left: Left,
}

impl Flights {
    fn hold(&self, split: &Arc<SplitPlan>) -> Split {
        let mut splits = self.splits.borrow_mut();
        let index = split.to.counted as usize;
        if splits.len() <= index {
            splits.resize_with(index + 1, || None);
        }
        let fresh = || Rc::new(Arc::clone(split));
        match splits.get_mut(index) {
            Some(Some(known)) if Arc::ptr_eq(known, split) => Rc::clone(known),
            Some(slot) => Rc::clone(slot.insert(fresh())),
            None => fresh(),
        }
    }

    fn add(&self, state: &Rc<State>) {
        let mut all = self.all.borrow_mut();
        state.position.set(all.len());
        all.push(Rc::clone(state));
    }

    fn remove(&self, state: &State) {
        let mut all = self.all.borrow_mut();
        let position = state.position.get();
        if position < all.len() {
            all.swap_remove(position);
        }
        if let Some(moved) = all.get(position) {
            moved.position.set(position);
        }
    }

    /// Finds those that have to leave, now that something new is said of shifts.
    pub(crate) fn review(&self, worker: &Worker) {
        let snapshot = worker.snapshot();
        let now = worker.read_clock().millis();
        let under_way = UnderWay::of(&snapshot.model);
        for state in &*self.all.borrow() {
            state.review(&snapshot.model, &under_way, now);
        }
        if self.left.review(&snapshot, now) {
            // So that every answer that waits looks whether its group was left.
            worker.wheel.ring_all();
        }
        self.splits.borrow_mut().clear();
        let kept: hashbrown::HashSet<u32> =
            snapshot.runs.iter().flat_map(|run| run.tracks().map(|(_, number)| number)).collect();
        worker.counters.keep_tracks(|number| kept.contains(&number));
    }
}

impl Flight {
    pub(super) fn new(connection: &Rc<Connection>, on: &OnTrack<'_>, now: Nanos) -> Self {
        let worker = connection.worker();
        let state = Rc::new(State {
            connection: Rc::clone(connection),
            split: worker.flights.hold(on.split),
            chosen: on.track,
            tester: on.is_tester,
            tenant: on.tenant,
            used: Cell::new(on.track),
            queued: Cell::default(),
            began: Cell::new(now),
            took: Cell::default(),
            leaves: Cell::new(Millis::NEVER),
            deadline: Cell::new(Millis::NEVER),
            copy: OnceCell::new(),
            position: Cell::default(),
        });
        worker.flights.add(&state);
        state.counters(TrackCounters::begins);
        Self(state)
    }

    /// The endpoints of the track that the request went to.
    pub(crate) fn group(&self) -> &Arc<EndpointGroup> {
        &self.0.split.side(self.0.used.get()).group
    }

    /// The endpoints of the other track, if the request may go there now.
    pub(crate) fn fallback(&self) -> Option<&Arc<EndpointGroup>> {
        let State { split, chosen, used, .. } = &*self.0;
        let may = split.falls_back() && used.get() == *chosen;
        may.then(|| &split.side(chosen.other()).group)
    }

    /// The request goes to the other track.
    pub(crate) fn falls_back(&self) {
        let state = &self.0;
        let had_to_leave = state.leaves.replace(Millis::NEVER) != Millis::NEVER;
        state.counters(|counters| {
            counters.falls_back();
            counters.ends();
            if had_to_leave {
                counters.leaves(false);
            }
        });
        state.used.set(state.chosen.other());
        state.counters(TrackCounters::begins);
        if let Some(copy) = self.copy() {
            // It is on the track of its copy now.
            copy.abandon();
        }
    }

    /// A copy of the request is sent to the new track.
    pub(super) fn is_copied(&self, route: &Arc<RoutePlan>, tenant: Option<&str>, bodies: bool) {
        let State { connection, split, copy, .. } = &*self.0;
        copy.get_or_init(|| Comparison::new(connection.worker(), Rc::clone(split), route, tenant, bodies));
    }

    /// What the answer is compared with.
    pub(super) fn copy(&self) -> Option<&Rc<Comparison>> {
        self.0.copy.get()
    }

    /// A piece of the answer's body is passed on.
    pub(crate) fn passes(&self, data: &[u8]) {
        if let Some(copy) = self.copy() {
            copy.old_passes(data);
        }
    }

    /// All of the answer's body has come.
    pub(crate) fn body_ends(&self) {
        if let Some(copy) = self.copy() {
            copy.old_ends();
        }
    }

    /// The request waits for its turn, which says nothing about the track.
    pub(super) fn waits(&self) {
        self.0.queued.set(true);
    }

    /// The request has waited for its turn.
    pub(super) fn begins(&self, now: Nanos) {
        self.0.queued.set(false);
        self.0.began.set(now);
    }

    /// The head of the answer has come.
    pub(super) fn answer_begins(&self, status: StatusCode) {
        let state = &self.0;
        let now = state.connection.worker().read_clock();
        let took = Nanos(now.0.saturating_sub(state.began.get().0));
        state.took.set(Some(took));
        if let Some(copy) = self.copy() {
            copy.old_answers(status, took);
        }
        state.deadline.set(state.connection.request_deadline.get());
        if state.leaves.get() != Millis::NEVER {
            state.leaves.set(state.leaves.get().max(now.millis().after(LAST_CALL)));
            state.close_when_due();
        }
    }

    /// Counts what became of the request. `has_failed` says that it did, whatever its answer's head said.
    pub(crate) fn count(&self, status: u16, reject: Option<Reject>, broken_off: Option<BrokenOff>, has_failed: bool) {
        if let Some(copy) = self.copy() {
            copy.old_is_over(reject);
        }
        let took = self.0.took.get();
        let failed = match (reject, took) {
            (Some(reject), _) if reject.is_of_the_client() => return,
            (Some(_), _) => true,
            (None, None) => return self.count_given_up(),
            (None, Some(_)) => {
                has_failed
                    || status >= StatusCode::INTERNAL_SERVER_ERROR.as_u16()
                    || matches!(broken_off, Some(BrokenOff::Upstream | BrokenOff::Stalled))
            }
        };
        self.0.counters(|counters| counters.request(failed, took));
    }

    /// Counts a request whose client left before there was an answer. One that left soon says nothing. One that had waited
    /// says that the answer takes longer than that: of a track that hangs, nothing else would ever be heard.
    fn count_given_up(&self) {
        let state = &self.0;
        let waited = Nanos(state.connection.worker().read_clock().0.saturating_sub(state.began.get().0));
        if !state.queued.get() && waited >= GIVES_UP {
            state.counters(|counters| counters.request(false, Some(waited)));
        }
    }
}

impl State {
    fn counters(&self, count: impl FnOnce(&TrackCounters)) {
        let number = self.split.side(self.used.get()).counted;
        self.connection.worker().counters.track(number, count);
    }

    fn review(&self, model: &Model, under_way: &UnderWay<'_>, now: Millis) {
        let leaves = self.has_to_leave(model, under_way);
        if leaves == (self.leaves.get() != Millis::NEVER) {
            return;
        }
        self.counters(|counters| counters.leaves(leaves));
        if leaves {
            let known = model.shifts.get(&self.split.document.name);
            self.leaves.set(now.after(known.unwrap_or(&self.split.document).drain));
        } else {
            self.leaves.set(Millis::NEVER);
        }
        self.close_when_due();
    }

    /// Makes the answer end when it has to, once it has begun. What has not begun is waited for: it may be short.
    fn close_when_due(&self) {
        if self.took.get().is_none() {
            return;
        }
        self.connection.leave(self.leaves.get(), self.deadline.get());
    }

    /// Whether a request like this one would be on the other track now, for certain.
    fn has_to_leave(&self, model: &Model, under_way: &UnderWay<'_>) -> bool {
        let used = self.used.get();
        match self.track_now(model, under_way) {
            None => false,
            Some(Now::InUse(track)) => track != used,
            // One that fell back is where it is because of its track's endpoints, not of the share.
            Some(Now::Split(track)) => track != used && track != self.chosen,
        }
    }

    fn track_now(&self, model: &Model, under_way: &UnderWay<'_>) -> Option<Now> {
        let (service, cell) = (&self.split.document.service, &self.split.cell);
        let Some(shift) = under_way.find(service, cell) else {
            return Some(Now::InUse(model.services.get(service)?.cells.get(cell)?.active));
        };
        let old = &self.split.document;
        let same = (&shift.name, shift.state.started) == (&old.name, old.state.started);
        let share = share_in(shift, cell);
        let moves = match self.tenant.filter(|_| shift.by == old.by) {
            _ if same && self.tester && testers_move(shift) => true,
            Some(tenant) => is_within(rank(tenant, shift.seed), share),
            None if share == Percent::ALL => true,
            None if share == Percent::NONE => false,
            None => return None,
        };
        Some(Now::Split(if moves { shift.to } else { shift.to.other() }))
    }
}

/// Where a request would go now.
enum Now {
    /// To the only track in use.
    InUse(Track),
    /// To one of two.
    Split(Track),
}

impl Drop for Flight {
    fn drop(&mut self) {
        let state = &self.0;
        state.counters(TrackCounters::ends);
        if state.leaves.get() != Millis::NEVER {
            state.counters(|counters| counters.leaves(false));
        }
        state.connection.worker().flights.remove(state);
    }
}
