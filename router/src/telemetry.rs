//! What the router counts, and how it is shown.
//!
//! Each thread counts for itself, in counters that only it writes; whoever renders the metrics adds them up. So a
//! request touches no counter that another thread writes.

pub mod calls;
pub mod connections;
pub mod counters;
pub mod handshakes;
pub(crate) mod limits;
pub mod mirror;
pub(crate) mod render;
pub mod tracks;
pub mod tunnels;

use std::rc::Rc;

use http::HeaderMap;

use crate::clock::Nanos;
use crate::grpc::outcome::{self, Outcome};
use crate::http::reject::Reject;
use crate::listener::worker::Worker;
use crate::pipeline::aftermath::Aftermath;
use crate::pipeline::flight::Flight;
use crate::upstream::response_body::BrokenOff;

/// What will be recorded of one request when it is over: exactly once, however it ends.
#[derive(Debug)]
pub(crate) struct Record {
    /// When its head had been received.
    pub(crate) began: Nanos,
    /// The route, by stable number.
    pub(crate) route: Option<u32>,
    /// The endpoint group, by stable number.
    pub(crate) group: Option<u32>,
    pub(crate) status: u16,
    pub(crate) reject: Option<Reject>,
    bytes: u64,
    broken_off: Option<BrokenOff>,
    /// How it ends, if it is a call of gRPC.
    pub(crate) call: Option<Outcome>,
    /// What it owes its limits until it is over.
    pub(crate) aftermath: Option<Box<Aftermath>>,
    /// The track that it is on, while a shift is under way.
    pub(crate) flight: Option<Flight>,
}

impl Record {
    pub(crate) fn new(began: Nanos) -> Self {
        Self {
            began,
            route: None,
            group: None,
            status: 0,
            reject: None,
            bytes: 0,
            broken_off: None,
            call: None,
            aftermath: None,
            flight: None,
        }
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Bytes have passed through a tunnel.
    pub(crate) fn passed_through(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// A piece of an endpoint's body is passed on.
    pub(crate) fn passed(&mut self, data: &[u8]) {
        self.sent(data.len());
        if let Some(flight) = &self.flight {
            flight.passes(data);
        }
    }

    pub(crate) fn broken_off(&mut self, why: BrokenOff) {
        self.broken_off = Some(why);
        self.call = self.call.map(|_| Outcome::Over(outcome::code_of(why)));
    }

    /// An endpoint's answer is over.
    pub(crate) fn answer_ends(&mut self, trailers: Option<&HeaderMap>) {
        self.call = self.call.map(|call| call.ends(trailers));
    }

    /// Whether an endpoint has ended a call with a status that says that something is wrong with it.
    fn has_failed(&self) -> bool {
        let ended = self.call.filter(|_| self.broken_off.is_none() && self.reject.is_none());
        ended.is_some_and(|call| call.code().is_of_the_server())
    }

    /// Counts the request.
    pub(crate) fn write(&self, worker: &Rc<Worker>, now: Nanos) {
        let counters = &worker.counters;
        let took = Nanos(now.0.saturating_sub(self.began.0));
        if let Some(route) = self.route {
            counters.route(route, |route| route.request(self.status, took, self.bytes));
        }
        if let (Some(call), Some(route)) = (self.call, self.route) {
            counters.calls(route, |calls| calls.ended(call.code()));
        }
        if let Some(group) = self.group {
            counters.group(group, |group| group.request(self.status, took, self.bytes));
        }
        if let Some(flight) = &self.flight {
            flight.count(self.status, self.reject, self.broken_off, self.has_failed());
        }
        if let Some(reject) = self.reject {
            counters.shared.reject(reject);
        }
        if self.broken_off.is_some() {
            counters.shared.broken_off();
        }
        counters.shared.request();
    }
}
