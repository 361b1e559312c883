//! The balance stage: which endpoint of a service gets the request.

pub mod smooth_weighted_round_robin;

use self::smooth_weighted_round_robin::{Outcome, PeerView, SmoothWeightedRoundRobin, Tried};

/// One of the balancing algorithms, with its state.
#[derive(Debug, Clone)]
pub enum Balancer {
    /// Smooth weighted round robin, as nginx has it.
    SmoothWeightedRoundRobin(SmoothWeightedRoundRobin),
}

impl Balancer {
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
