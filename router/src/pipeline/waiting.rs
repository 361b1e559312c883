//! Requests that wait for their turn. They hold no thread and no endpoint meanwhile.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::admission::Admission;
use super::departure::CLIENT_LEFT;
use crate::clock::{self, Nanos};
use crate::http::connection::Connection;
use crate::limit::Outcome;
use crate::limit::key::KeyHash;
use crate::listener::worker::Worker;
use crate::snapshot::QuotaPlan;
use crate::telemetry::Record;

/// A request's places in the queues of its limits. Dropped before its turn has come, because its client went away, it
/// gives them back.
#[derive(Debug)]
pub(super) struct Waiting {
    worker: Rc<Worker>,
    until: Nanos,
    turns: SmallVec<[Turn; 1]>,
    came: bool,
}

/// A turn that one limit gave.
#[derive(Debug)]
struct Turn {
    /// The limit, by stable number.
    limit: u32,
    quota: Arc<QuotaPlan>,
    key: KeyHash,
    at: Nanos,
    cost: u32,
}

impl Waiting {
    /// The waiting of a request that has to.
    #[cold]
    pub(super) fn new(worker: &Rc<Worker>, admission: &Admission<'_>, now: Nanos) -> Self {
        let mut turns = SmallVec::new();
        for notice in admission.taken().filter(|notice| notice.ask.enforced) {
            if let Outcome::Wait(nanos) = notice.ask.verdict.outcome {
                let limit = notice.id();
                worker.counters.limit(limit, |counters| counters.queued.add(1));
                let (quota, at) = (Arc::clone(notice.quota), Nanos(now.0.saturating_add(nanos)));
                turns.push(Turn { limit, quota, key: notice.ask.key, at, cost: notice.limit.cost });
            }
        }
        let until = Nanos(now.0.saturating_add(admission.wait_nanos));
        Self { worker: Rc::clone(worker), until, turns, came: false }
    }

    /// Waits for the turn. Whose client leaves meanwhile is counted by the record, which is given back otherwise.
    pub(super) async fn turn(mut self, connection: &Connection, record: Record) -> Record {
        let began = record.began;
        let mut counted = Counted { worker: Rc::clone(&self.worker), record: Some(record) };
        connection.waits.set(true);
        let left = self.until.0.saturating_sub(clock::now().0);
        tokio::time::sleep(Duration::from_nanos(left)).await;
        connection.waits.set(false);
        self.worker.read_clock();
        self.came = true;
        // It was put there above.
        counted.record.take().unwrap_or_else(|| Record::new(began))
    }
}

/// The record of a request while it waits.
pub(super) struct Counted {
    worker: Rc<Worker>,
    record: Option<Record>,
}

impl Counted {
    pub(super) fn new(worker: &Rc<Worker>, record: Record) -> Self {
        Self { worker: Rc::clone(worker), record: Some(record) }
    }

    /// It waits no more: it is counted elsewhere.
    pub(super) fn done(mut self) {
        self.record = None;
    }
}

/// Counts a request whose client left before its turn came.
impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.status = CLIENT_LEFT;
            record.write(&self.worker, clock::now());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let now = clock::now().0;
        for turn in &self.turns {
            self.worker.counters.limit(turn.limit, |counters| counters.unqueued.add(1));
            if !self.came {
                self.worker.shared.limits.leave(turn.key, &turn.quota.prepared, turn.at.0, turn.cost, now);
            }
        }
    }
}
