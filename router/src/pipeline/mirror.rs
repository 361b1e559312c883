//! Copies of requests: while a shift is under way, a share of what goes to the old track is sent to the new one, too, and
//! the answers are compared.
//!
//! The client must not notice. A copy is a task of its own that begins when the request is on its way, with connections of
//! its own; it takes nothing of limits, balancers and their connections, and says nothing of an endpoint to them. What is
//! left is the time of the thread, which is why the copies in flight are bounded.

mod compare;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gridrouter_config::model::{self, RouteTimeouts};
use gridrouter_config::units::Percent;
use http::Method;

pub(crate) use self::compare::Comparison;
use self::compare::{End, Told};
use super::departure::is_event_stream;
use super::track::OnTrack;
use crate::clock::{self, Nanos};
use crate::http::client_body::ClientBody;
use crate::http::fields::{Fields, Known};
use crate::http::reject::Reject;
use crate::http1::request::Head;
use crate::listener::worker::Worker;
use crate::placement::split::is_within;
use crate::snapshot::{EndpointGroup, EndpointPlan};
use crate::telemetry::mirror::MirrorCounters;
use crate::upstream::copy::{self, Received};
use crate::upstream::journey::Outgoing;
use crate::upstream::pool::Pool;

/// Copies that one thread has in flight at the most: what hangs on the new track costs no more than so many connections.
pub(super) const MOST: usize = 64;
/// What one thread keeps of the bodies of requests that are copied, at the most.
const MOST_KEPT: usize = 4 * 1024 * 1024;
/// How long a copy may take, whatever its route allows.
const LONGEST: Duration = Duration::from_secs(30);

/// One thread's copies.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    in_flight: Cell<usize>,
    /// What may be kept of their bodies.
    kept: Cell<usize>,
    /// Their unused connections.
    pub(crate) pool: Pool,
}

/// Whether a request is copied. The dice are thrown only for those that might be.
pub(super) fn is_copied(on: &OnTrack<'_>, head: &Head, trusted: bool, mut dice: impl FnMut() -> u64) -> Option<Chosen> {
    let mirror = on.split.mirror()?;
    let fits = on.track == on.split.from.track && mirror.methods.contains(&head.method);
    if !fits || !is_within(dice(), mirror.share) {
        return None;
    }
    if trusted && head.fields.has(Known::XGridrouterMirror) {
        // It is a copy already, of a router before this one.
        return None;
    }
    Some(Chosen { bodies: compares_bodies(mirror, &head.method, dice) })
}

/// A request that is copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen {
    /// Whether the bodies are compared.
    pub(super) bodies: bool,
}

fn compares_bodies(mirror: &model::Mirror, method: &Method, dice: impl FnOnce() -> u64) -> bool {
    mirror.bodies > Percent::NONE && method != Method::HEAD && is_within(dice(), mirror.bodies)
}

/// Sends a copy of a request that is about to be sent; of one with a body, when that has come.
pub(super) fn launch(
    comparison: &Rc<Comparison>,
    request: &Outgoing,
    body: Option<&mut ClientBody>,
    timeouts: &RouteTimeouts,
) {
    if comparison.is_over() {
        return;
    }
    let most = comparison.most_of_a_body();
    let fits = body.as_ref().is_none_or(|body| body.may_fit(most));
    let room = if body.is_some() { most } else { 0 };
    let Some(mut flight) = fits.then(|| InFlight::new(comparison, room)).flatten() else {
        return comparison.is_dropped();
    };
    let copy = copy_of(request);
    let kept = body.map(|body| body.keep(most));
    if kept.is_none() {
        flight.begins();
    }
    let timeouts = *timeouts;
    drop(tokio::task::spawn_local(async move {
        let body = match kept {
            None => {
                flight.comparison.is_about(copy);
                Bytes::new()
            }
            Some(kept) => {
                // It is too long, or broke off.
                let Ok(body) = kept.await else { return flight.comparison.is_dropped() };
                flight.comparison.is_about(with_body(copy, &body));
                flight.begins();
                body
            }
        };
        let comparison = &flight.comparison;
        let total = timeouts.request.map_or(LONGEST, |total| total.min(LONGEST));
        if tokio::time::timeout(total, run(comparison, body, &timeouts)).await.is_err() {
            comparison.new_runs_out(Reject::RequestTimeout);
        }
    }));
}

fn copy_of(request: &Outgoing) -> Outgoing {
    let mut fields: Fields = request.fields.clone();
    fields.set(Known::XGridrouterMirror, b"1");
    Outgoing { method: request.method.clone(), target: request.target.clone(), fields }
}

/// The same with its body, which is not sent in chunks any more.
fn with_body(mut copy: Outgoing, body: &Bytes) -> Outgoing {
    copy.fields.retain(|known, _| known != Known::TransferEncoding);
    copy.fields.set(Known::ContentLength, itoa::Buffer::new().format(body.len()).as_bytes());
    copy
}

/// A copy that is in flight, or waits for its body.
struct InFlight {
    comparison: Rc<Comparison>,
    /// What may be kept of its body.
    room: usize,
    begun: bool,
}

impl InFlight {
    /// One more, if there is room for it.
    fn new(comparison: &Rc<Comparison>, room: usize) -> Option<Self> {
        let Mirrors { in_flight, kept, .. } = &comparison.worker().mirrors;
        if in_flight.get() >= MOST || kept.get() + room > MOST_KEPT {
            return None;
        }
        in_flight.set(in_flight.get() + 1);
        kept.set(kept.get() + room);
        Some(Self { comparison: Rc::clone(comparison), room, begun: false })
    }

    /// It is sent.
    fn begins(&mut self) {
        self.comparison.count(MirrorCounters::begins);
        self.begun = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Mirrors { in_flight, kept, .. } = &self.comparison.worker().mirrors;
        in_flight.set(in_flight.get().saturating_sub(1));
        kept.set(kept.get().saturating_sub(self.room));
        if self.begun {
            self.comparison.count(MirrorCounters::ends);
        }
    }
}

async fn run(comparison: &Comparison, body: Bytes, timeouts: &RouteTimeouts) {
    let began = clock::now();
    let worker = comparison.worker();
    let Some(request) = comparison.request() else { return };
    let received = match endpoint(comparison.group(), worker.random()) {
        Some(endpoint) => copy::send(worker, endpoint, request, &body, timeouts).await,
        None => Err(Reject::NoEndpoint),
    };
    match received {
        Ok(received) => {
            let took = Nanos(clock::now().0.saturating_sub(began.0));
            comparison.new_answers(Told::answered(received.head.status, took));
            read(comparison, worker, received).await;
        }
        // No fault of the endpoint's.
        Err(reject) if reject.is_of_the_client() => comparison.is_dropped(),
        Err(reject) => comparison.new_answers(Told::rejected(reject)),
    }
}

/// Reads the body of an answer as far as it is compared: as far as the other one is, even if it is not.
async fn read(comparison: &Comparison, worker: &Worker, mut received: Received) {
    if is_event_stream(&received.head.fields) {
        // It may never end.
        comparison.new_ends(End::Cut);
        return;
    }
    let mut left = compare::MOST;
    loop {
        match received.next(worker).await {
            Some(Ok(data)) => {
                comparison.new_passes(&data);
                if data.len() > left {
                    return;
                }
                left -= data.len();
            }
            Some(Err(())) => return comparison.new_ends(End::Cut),
            None => {
                comparison.new_ends(End::Whole);
                return received.release(worker);
            }
        }
    }
}

/// The endpoint that a copy is sent to: one of those in use, by their weights. Balancers have no say, and do not learn of it:
/// copies must not take turns from requests, nor fill an endpoint's connections for them.
fn endpoint(group: &Arc<EndpointGroup>, dice: u64) -> Option<&EndpointPlan> {
    let usable = || group.peers.iter().zip(&group.endpoints).filter(|(peer, _)| !peer.down);
    let only_backups = usable().all(|(peer, _)| peer.backup);
    let usable = || usable().filter(move |(peer, _)| peer.backup == only_backups);
    let total: u64 = usable().map(|(peer, _)| u64::from(peer.weight)).sum();
    let mut place = ((u128::from(dice) * u128::from(total)) >> 64) as u64;
    let found = usable().find(|(peer, _)| {
        let weight = u64::from(peer.weight);
        let found = place < weight;
        place = place.saturating_sub(weight);
        found
    });
    found.map(|(_, endpoint)| endpoint)
}

#[cfg(test)]
mod tests;
