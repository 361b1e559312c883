//! The balance stage: which endpoint of a service gets the request.
//!
//! A balancer belongs to one list of endpoints on one thread, and knows them by their index in the list. A new
//! algorithm is a file beside `smooth_weighted_round_robin.rs`, and a variant in [`Balancer`].

pub mod smooth_weighted_round_robin;

use self::smooth_weighted_round_robin::{Outcome, PeerView, SmoothWeightedRoundRobin, Tried};

/// One of the balancing algorithms, with its state.
#[derive(Debug, Clone)]
pub enum Balancer {
    /// Smooth weighted round robin, as nginx has it.
    SmoothWeightedRoundRobin(SmoothWeightedRoundRobin),
}

impl Balancer {
    /// Goes to another point of the cycle, so that threads do not all begin with the same peer. For a balancer that
    /// nothing was carried over to.
    pub fn start_at_random_phase(&mut self, seed: u64) {
        match self {
            Self::SmoothWeightedRoundRobin(balancer) => balancer.start_at_random_phase(seed),
        }
    }

    /// Takes over what was learned of the peers that stay; `mapping` gives the old index of a new index.
    pub fn carry_over(&mut self, old: &Self, mapping: impl Fn(usize) -> Option<usize>) {
        match (self, old) {
            (Self::SmoothWeightedRoundRobin(balancer), Self::SmoothWeightedRoundRobin(old)) => {
                balancer.carry_over(old, mapping);
            }
        }
    }

    /// Picks a peer, which [`done`](Self::done) must be told of later.
    pub fn pick(&mut self, now_secs: u64, tried: &mut Tried) -> Option<usize> {
        match self {
            Self::SmoothWeightedRoundRobin(balancer) => balancer.pick(now_secs, tried),
        }
    }

    /// The peer that [`pick`](Self::pick) would pick; changes nothing.
    pub fn peek(&self, now_secs: u64, tried: &Tried) -> Option<usize> {
        match self {
            Self::SmoothWeightedRoundRobin(balancer) => balancer.peek(now_secs, tried),
        }
    }

    /// Tells how a request sent to a picked peer went.
    pub fn done(&mut self, index: usize, outcome: Outcome, now_secs: u64) {
        match self {
            Self::SmoothWeightedRoundRobin(balancer) => balancer.done(index, outcome, now_secs),
        }
    }

    /// The state of a peer, for people.
    pub fn view(&self, index: usize, now_secs: u64) -> Option<PeerView> {
        match self {
            Self::SmoothWeightedRoundRobin(balancer) => balancer.view(index, now_secs),
        }
    }
}
