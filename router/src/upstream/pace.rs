//! The pace of an answer's body, where limits of bandwidth say one.
//!
//! The body is cut into pieces of at most the smallest burst. Each is taken of all limits before it is passed on, which
//! makes it wait for its time: so the answers of one key get on in turn, and none is starved.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::time::{Instant, Sleep};

use crate::clock;
use crate::limit::Outcome;
use crate::limit::key::KeyHash;
use crate::limit::table::{Ask, LimitTable};
use crate::pipeline::aftermath::Aftermath;
use crate::snapshot::QuotaPlan;

/// The most that is taken at once, whatever the burst: what others of the same key may have to wait for.
const MAX_PIECE: usize = 64 * 1024;

/// What slows an answer's body down.
#[derive(Debug)]
pub(super) struct Pace {
    limits: SmallVec<[(Arc<QuotaPlan>, KeyHash); 1]>,
    /// What was read and not passed on.
    rest: Bytes,
    piece: usize,
    /// How much of it was taken and waits for its time.
    taken: usize,
    alarm: Pin<Box<Sleep>>,
}

impl Pace {
    /// None for an answer that nothing slows down.
    pub(super) fn new(aftermath: &mut Aftermath) -> Option<Box<Self>> {
        let limits = aftermath.take_pace();
        let burst = limits.iter().filter_map(|(quota, _)| quota.prepared.piece()).min()?;
        let piece = usize::try_from(burst).unwrap_or(MAX_PIECE).clamp(1, MAX_PIECE);
        let alarm = Box::pin(tokio::time::sleep(Duration::ZERO));
        Some(Box::new(Self { limits, rest: Bytes::new(), piece, taken: 0, alarm }))
    }

    /// Whether everything was passed on.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Puts in what comes next.
    pub(super) fn put(&mut self, data: Bytes) {
        self.rest = data;
    }

    /// The next piece, when its time has come.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>, table: &LimitTable) -> Poll<Bytes> {
        if self.taken == 0 {
            let length = self.rest.len().min(self.piece);
            let wait = self.take(length, table);
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
    fn take(&self, bytes: usize, table: &LimitTable) -> u64 {
        let cost = u32::try_from(bytes).unwrap_or(u32::MAX);
        let limits = self.limits.iter();
        let mut asks: SmallVec<[Ask<'_>; 2]> =
            limits.map(|(quota, key)| Ask::new(*key, &quota.prepared, cost, true)).collect();
        table.check(&mut asks, clock::now().0);
        let waits = asks.iter().map(|ask| match ask.verdict.outcome {
            Outcome::Wait(nanos) => nanos,
            Outcome::Pass | Outcome::Refuse => 0,
        });
        waits.max().unwrap_or_default()
    }
}
