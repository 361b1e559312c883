//! Smooth weighted round robin.

/// What is configured of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerConfig {
    /// Share of the requests, 1 to 10,000.
    pub weight: u32,
    /// Used only when no other can be.
    pub backup: bool,
    /// Taken out of use.
    pub down: bool,
    /// Most requests at a time; 0 means no bound.
    pub max_connections: u32,
}

/// How failures are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Failures after which a peer is left out; 0 means never.
    pub max_fails: u32,
    /// How long, in whole seconds.
    pub fail_timeout_secs: u32,
}

/// How a request to a peer went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The peer answered.
    Ok,
    /// The peer failed.
    Failed,
}

/// The peers that one request has tried.
#[derive(Debug, Clone, Default)]
pub struct Tried {}

/// The state of a peer, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerView {
    /// Its weight, reduced by failures.
    pub effective_weight: i64,
    /// Its position in the cycle.
    pub current_weight: i64,
    /// Failures that count at present.
    pub fails: u32,
    /// Requests it is serving.
    pub connections: u32,
    /// Whether a request could be sent to it now.
    pub available: bool,
}

/// The balancer of one list of peers on one thread.
#[derive(Debug, Clone)]
pub struct SmoothWeightedRoundRobin {}

impl SmoothWeightedRoundRobin {
    /// A balancer at the beginning of its cycle.
    pub fn new(peers: &[PeerConfig], policy: Policy) -> Self {
        let _ = (peers, policy);
        Self {}
    }

    /// Goes to another point of the cycle, so that threads do not all begin with the same peer.
    pub fn start_at_random_phase(&mut self, seed: u64) {
        let _ = (self, seed);
    }

    /// Takes over what was learned of the peers that stay. `mapping` gives the old index of a new index.
    pub fn carry_over(&mut self, old: &Self, mapping: impl Fn(usize) -> Option<usize>) {
        let _ = (self, old, mapping(0));
    }

    /// Picks a peer.
    pub fn pick(&mut self, now_secs: u64, tried: &mut Tried) -> Option<usize> {
        let _ = (self, now_secs, tried);
        None
    }

    /// The peer that [`pick`](Self::pick) would pick; changes nothing.
    pub fn peek(&self, now_secs: u64, tried: &Tried) -> Option<usize> {
        let _ = (self, now_secs, tried);
        None
    }

    /// Tells how a request sent to a picked peer went.
    pub fn done(&mut self, index: usize, outcome: Outcome, now_secs: u64) {
        let _ = (self, index, outcome, now_secs);
    }

    /// The state of a peer, for people.
    pub fn view(&self, index: usize, now_secs: u64) -> Option<PeerView> {
        let _ = (self, index, now_secs);
        None
    }
}
