//! The pace of an answer's body, where limits of bandwidth say one.
//!
//! The body is cut into pieces of at most the smallest burst. Each is taken of all limits before it is passed on, which
//! makes it wait for its time: so the answers of one key get on in turn, and none is starved. A limit that is not
//! enforced counts what passes at its pace, and how long the answer would have had to wait.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::clock::{self, Nanos};
use crate::limit::Outcome;
use crate::limit::key::KeyHash;
use crate::limit::table::{Ask, LimitTable};
use crate::listener::worker::Worker;
use crate::pipeline::admission;
use crate::pipeline::aftermath::Aftermath;
use crate::snapshot::QuotaPlan;

/// The most that is taken at once, whatever the burst: what others of the same key may have to wait for.
const MAX_PIECE: usize = 64 * 1024;

/// What slows an answer's body down.
#[derive(Debug)]
pub(crate) struct Pace {
    worker: Rc<Worker>,
    limits: Vec<Paced>,
    /// What was read and not passed on.
    rest: Bytes,
    piece: usize,
    /// How much of it was taken and waits for its time.
    taken: usize,
    alarm: Pin<Box<Sleep>>,
}

/// One limit of bandwidth, and how long it made the answer wait.
#[derive(Debug)]
pub(crate) struct Paced {
    quota: Arc<QuotaPlan>,
    key: KeyHash,
    /// The stable number that it is counted under.
    limit: u32,
    enforced: bool,
    waited_nanos: u64,
}

impl Paced {
    pub(crate) fn new(of: &admission::Paced<'_>) -> Self {
        let admission::Paced { quota, key, enforced, .. } = *of;
        Self { quota: Arc::clone(quota), key, limit: of.id(), enforced, waited_nanos: 0 }
    }

    fn ask(&self, bytes: u32) -> Ask<'_> {
        Ask::new(self.key, &self.quota.prepared, bytes, self.enforced)
    }
}

impl Pace {
    /// None for an answer that no limit looks at.
    pub(super) fn new(aftermath: &mut Aftermath) -> Option<Box<Self>> {
        let (worker, limits) = aftermath.take_pace()?;
        let burst = limits.iter().filter_map(|limit| limit.quota.prepared.piece()).min()?;
        let piece = usize::try_from(burst).unwrap_or(MAX_PIECE).clamp(1, MAX_PIECE);
        let alarm = Box::pin(tokio::time::sleep(Duration::ZERO));
        Some(Box::new(Self { worker, limits, rest: Bytes::new(), piece, taken: 0, alarm }))
    }

    /// Whether everything was passed on.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Puts in what comes next.
    pub(crate) fn put(&mut self, data: Bytes) {
        self.rest = data;
    }

    /// The next piece, when its time has come.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if self.taken == 0 {
            let length = self.rest.len().min(self.piece);
            let wait = self.take(length);
            self.taken = length;
            if wait == 0 {
                return Poll::Ready(self.pass());
            }
            self.alarm.as_mut().reset(Instant::now() + Duration::from_nanos(wait));
        }
        match self.alarm.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(self.pass()),
            Poll::Pending => Poll::Pending,
        }
    }

    fn pass(&mut self) -> Bytes {
        let piece = self.rest.split_to(self.taken.min(self.rest.len()));
        self.taken = 0;
        piece
    }

    /// Takes bytes of every limit, and says how many nanoseconds they have to wait.
    fn take(&mut self, bytes: usize) -> u64 {
        let (cost, now) = (u32::try_from(bytes).unwrap_or(u32::MAX), clock::now().0);
        let table = &self.worker.shared.limits;
        let mut longest = 0;
        for limit in &mut self.limits {
            let nanos =
                if limit.enforced { enforced(table, limit, cost, now) } else { looked(table, limit, cost, now) };
            limit.waited_nanos = limit.waited_nanos.saturating_add(nanos);
            if limit.enforced {
                longest = longest.max(nanos);
            }
        }
        longest
    }
}

fn enforced(table: &LimitTable, limit: &Paced, cost: u32, now: u64) -> u64 {
    wait(table.check_one(limit.key, &limit.quota.prepared, cost, now).outcome)
}

/// What does not wait must not be taken either: it would wait ever longer.
fn looked(table: &LimitTable, limit: &Paced, cost: u32, now: u64) -> u64 {
    let mut ask = [limit.ask(cost)];
    table.peek(&mut ask, now);
    let [ask] = ask;
    match wait(ask.verdict.outcome) {
        0 => enforced(table, limit, cost, now),
        nanos => nanos,
    }
}

fn wait(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Wait(nanos) => nanos,
        Outcome::Pass | Outcome::Refuse => 0,
    }
}

/// Counts the answer.
impl Drop for Pace {
    fn drop(&mut self) {
        for limit in &self.limits {
            self.worker.counters.limit(limit.limit, |counters| {
                if limit.waited_nanos == 0 {
                    counters.allowed.add(1);
                } else {
                    counters.delayed.add(1);
                    counters.wait.observe(Nanos(limit.waited_nanos));
                }
            });
        }
    }
}
