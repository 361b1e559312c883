//! Counters that one thread writes and others read.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::calls::CallCounters;
use super::connections::ConnectionCounters;
use super::handshakes::HandshakeCounters;
use super::limits::Refusals;
use super::mirror::MirrorCounters;
use super::tracks::TrackCounters;
use super::tunnels::TunnelCounters;
use crate::clock::Nanos;
use crate::http::reject::Reject;
use crate::listener::clients::Unwelcome;

/// A counter with a single writer: adding needs no locked instruction, and readers see a recent value.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One at zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds. Only the owning thread may call it.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the latency histogram's buckets, in microseconds; the last bucket has none.
pub const BUCKET_MICROS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Counts by bucket, not cumulated.
    pub buckets: [Counter; BUCKET_MICROS.len() + 1],
    /// The sum in nanoseconds.
    pub sum_nanos: Counter,
}

impl Histogram {
    pub(crate) fn observe(&self, took: Nanos) {
        let micros = took.0 / 1_000;
        let index = BUCKET_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BUCKET_MICROS.len());
        if let Some(bucket) = self.buckets.get(index) {
            bucket.add(1);
        }
        self.sum_nanos.add(took.0);
    }
}

/// What is counted of the requests of one route, or of one endpoint group.
#[derive(Debug, Default)]
pub struct RequestCounters {
    /// Responses by the first digit of their status, 1 to 5.
    pub by_class: [Counter; 5],
    /// Bytes of response bodies.
    pub bytes: Counter,
    /// From the head of the request received to the last byte of the response handed over.
    pub duration: Histogram,
}

impl RequestCounters {
    /// Counts one request.
    pub fn request(&self, status: u16, took: Nanos, bytes: u64) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        if let Some(counter) = self.by_class.get(class) {
            counter.add(1);
        }
        self.bytes.add(bytes);
        self.duration.observe(took);
    }
}

/// What is counted of the requests that one limit looked at. A request that another limit refused is none of them.
#[derive(Debug, Default)]
pub struct LimitCounters {
    /// Requests it let pass at once.
    pub allowed: Counter,
    /// Requests it let pass later.
    pub delayed: Counter,
    /// Requests it refused.
    pub refused: Counter,
    /// Requests it would have refused, were it enforced.
    pub shadow_refused: Counter,
    /// Requests that began to wait for their turn.
    pub queued: Counter,
    /// Requests that waited no longer: their turn came, or their client went.
    pub unqueued: Counter,
    /// How long those that it let pass later were to wait.
    pub wait: Histogram,
}

/// What one thread counts, as others see it.
#[derive(Debug, Default)]
pub struct ThreadCounters {
    /// Routes that had a request, by stable number.
    pub routes: Mutex<Vec<(u32, Arc<RequestCounters>)>>,
    /// Routes that had a call of gRPC, by stable number.
    pub calls: Mutex<Vec<(u32, Arc<CallCounters>)>>,
    /// Endpoint groups that had a request, by stable number.
    pub groups: Mutex<Vec<(u32, Arc<RequestCounters>)>>,
    /// Limits that looked at a request, by stable number.
    pub limits: Mutex<Vec<(u32, Arc<LimitCounters>)>>,
    /// Tracks of shifts that had a request, by stable number.
    pub tracks: Mutex<Vec<(u32, Arc<TrackCounters>)>>,
    /// Copies that the new tracks of shifts got, by the track's stable number.
    pub mirrors: Mutex<Vec<(u32, Arc<MirrorCounters>)>>,
    /// The tenants that limits refused most.
    pub refusals: Refusals,
    /// Requests, however they ended.
    pub requests: Counter,
    /// Answers that broke off.
    pub broken_off: Counter,
    /// Rejects, by [`Reject::index`].
    pub rejects: RejectCounters,
    /// TLS handshakes.
    pub handshakes: HandshakeCounters,
    /// Connections that were upgraded.
    pub tunnels: TunnelCounters,
    /// Connections that ended, but for those.
    pub connections: ConnectionCounters,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections that speak HTTP/2.
    pub http2: Counter,
    /// Those that were ended because they asked for nothing all the time.
    pub http2_floods: Counter,
    /// Connections closed at once, because the listener does not admit their address.
    pub denied: Counter,
    /// Connections closed at once, because their address had as many as it may.
    pub too_many: Counter,
    /// Connections closed because nothing was said of whose they are.
    pub unannounced: Counter,
    /// Connections closed because what was said of whose they are is not the PROXY protocol.
    pub misannounced: Counter,
    /// Connections closed because that was not said in time.
    pub late: Counter,
    /// Connections handed over to a thread with fewer.
    pub handed_over: Counter,
    /// Unused connections to endpoints.
    pub pooled: AtomicU64,
}

impl ThreadCounters {
    pub(crate) fn unwelcome(&self, why: Unwelcome) -> &Counter {
        match why {
            Unwelcome::Denied => &self.denied,
            Unwelcome::TooMany => &self.too_many,
            Unwelcome::Unannounced => &self.unannounced,
            Unwelcome::Misannounced => &self.misannounced,
            Unwelcome::Late => &self.late,
        }
    }
}

/// A counter for each reject.
#[derive(Debug)]
pub struct RejectCounters(Box<[Counter]>);

impl Default for RejectCounters {
    fn default() -> Self {
        Self(Reject::ALL.iter().map(|_| Counter::default()).collect())
    }
}

impl RejectCounters {
    /// The counter of a reject.
    pub fn of(&self, reject: Reject) -> Option<&Counter> {
        self.0.get(reject.index())
    }
}

impl ThreadCounters {
    pub(crate) fn reject(&self, reject: Reject) {
        if let Some(counter) = self.rejects.of(reject) {
            counter.add(1);
        }
    }

    pub(crate) fn broken_off(&self) {
        self.broken_off.add(1);
    }

    pub(crate) fn request(&self) {
        self.requests.add(1);
    }
}

type Known<T> = RefCell<Vec<Option<Arc<T>>>>;

/// One thread's own view of its counters: found by index, without a lock.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) shared: Arc<ThreadCounters>,
    routes: Known<RequestCounters>,
    calls: Known<CallCounters>,
    groups: Known<RequestCounters>,
    limits: Known<LimitCounters>,
    tracks: Known<TrackCounters>,
    mirrors: Known<MirrorCounters>,
}

impl Counters {
    pub(crate) fn new(shared: Arc<ThreadCounters>) -> Self {
        Self { shared, ..Self::default() }
    }

    pub(crate) fn route(&self, id: u32, count: impl FnOnce(&RequestCounters)) {
        with(&self.routes, &self.shared.routes, id, count);
    }

    pub(crate) fn calls(&self, route: u32, count: impl FnOnce(&CallCounters)) {
        with(&self.calls, &self.shared.calls, route, count);
    }

    pub(crate) fn group(&self, id: u32, count: impl FnOnce(&RequestCounters)) {
        with(&self.groups, &self.shared.groups, id, count);
    }

    pub(crate) fn limit(&self, id: u32, count: impl FnOnce(&LimitCounters)) {
        with(&self.limits, &self.shared.limits, id, count);
    }

    /// Counts a request that each of these limits let pass at once.
    #[inline]
    pub(crate) fn limits_allow(&self, ids: impl Iterator<Item = u32>) {
        let mut known = self.limits.borrow_mut();
        for id in ids {
            count_in(&mut known, &self.shared.limits, id, |counters| counters.allowed.add(1));
        }
    }

    pub(crate) fn track(&self, id: u32, count: impl FnOnce(&TrackCounters)) {
        with(&self.tracks, &self.shared.tracks, id, count);
    }

    pub(crate) fn mirror(&self, id: u32, count: impl FnOnce(&MirrorCounters)) {
        with(&self.mirrors, &self.shared.mirrors, id, count);
    }

    /// Forgets what was counted of tracks, but for some: there is one with every run of every shift in every cell.
    pub(crate) fn keep_tracks(&self, is_kept: impl Fn(u32) -> bool) {
        keep(&self.tracks, &self.shared.tracks, &is_kept);
        keep(&self.mirrors, &self.shared.mirrors, &is_kept);
    }
}

fn keep<T>(known: &Known<T>, shared: &Mutex<Vec<(u32, Arc<T>)>>, is_kept: impl Fn(u32) -> bool) {
    for (id, slot) in (0..).zip(known.borrow_mut().iter_mut()) {
        if slot.is_some() && !is_kept(id) {
            *slot = None;
        }
    }
    shared.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _)| is_kept(*id));
}

/// Counts in the counters of `id`.
fn with<T: Default>(known: &Known<T>, shared: &Mutex<Vec<(u32, Arc<T>)>>, id: u32, count: impl FnOnce(&T)) {
    count_in(&mut known.borrow_mut(), shared, id, count);
}

/// Counts in the counters of `id`, which are made and shown to others when it is first used.
#[inline]
fn count_in<T: Default>(
    known: &mut Vec<Option<Arc<T>>>,
    shared: &Mutex<Vec<(u32, Arc<T>)>>,
    id: u32,
    count: impl FnOnce(&T),
) {
    match known.get(id as usize) {
        Some(Some(counters)) => count(counters),
        Some(None) | None => count(&make(known, shared, id)),
    }
}

#[cold]
fn make<T: Default>(known: &mut Vec<Option<Arc<T>>>, shared: &Mutex<Vec<(u32, Arc<T>)>>, id: u32) -> Arc<T> {
    let (index, made) = (id as usize, Arc::<T>::default());
    if known.len() <= index {
        known.resize_with(index + 1, || None);
    }
    if let Some(slot) = known.get_mut(index) {
        shared.lock().unwrap_or_else(PoisonError::into_inner).push((id, Arc::clone(&made)));
        *slot = Some(Arc::clone(&made));
    }
    made
}
