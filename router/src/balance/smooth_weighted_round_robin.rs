//! Smooth weighted round robin exactly as nginx has it: `src/http/ngx_http_upstream_round_robin.c`, tree of 1.31.5.
//!
//! At every pick each eligible peer's current weight grows by its effective weight; the largest current weight wins,
//! the first in the list on a tie, and pays the sum of what all of them gained. Weights 5, 1, 1 give `aabacaa`, not
//! `aaaaabc`.
//!
//! A failure lowers the peer's effective weight by `weight / max_fails`; every round that it takes part in gives one
//! back, which is a slow start. After `max_fails` failures the peer is left out for `fail_timeout` seconds inclusive,
//! and then gets one request per `fail_timeout` until a success clears it. Failures need not be consecutive: a
//! success within the same `fail_timeout` does not clear them. A group of exactly one primary without backups is
//! never left out. When no primary can be picked, the backups are a group of their own, and the request stays with
//! it.
//!
//! A pick costs O(n) and does not allocate. Time is in whole seconds on any monotonic clock; a clock that goes back
//! only keeps failed peers out for longer.

/// Longest way to a random phase, in picks: enough to spread threads, and short enough for lists of a thousand peers.
const MAX_PHASE_STEPS: u64 = 10_000;

/// What is configured of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerConfig {
    /// Share of the requests, 1 to 10,000.
    pub weight: u32,
    /// Used only when no primary can be.
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
    /// How long it is left out, in whole seconds, at least 1.
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

/// The peers that one request has tried: a new one for each request, the same one for its retries, else a retry may go
/// to the peer that just failed. Up to 64 peers it does not allocate.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    first: u64,
    beyond: Vec<u64>,
    on_backups: bool,
}

impl Tried {
    /// Whether this peer was tried.
    pub fn contains(&self, index: usize) -> bool {
        let (word, bit) = (index / 64, 1 << (index % 64));
        let bits = if word == 0 { self.first } else { self.beyond.get(word - 1).copied().unwrap_or(0) };
        bits & bit != 0
    }

    fn insert(&mut self, index: usize) {
        let (word, bit) = (index / 64, 1 << (index % 64));
        if word == 0 {
            self.first |= bit;
            return;
        }
        if self.beyond.len() < word {
            self.beyond.resize(word, 0);
        }
        if let Some(bits) = self.beyond.get_mut(word - 1) {
            *bits |= bit;
        }
    }
}

/// The state of a peer, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerView {
    /// Its weight, reduced by recent failures.
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

#[derive(Debug, Clone)]
struct Peer {
    weight: i64,
    backup: bool,
    down: bool,
    max_connections: u32,
    /// Of the peer and not of the group, as in nginx.
    max_fails: u32,
    effective_weight: i64,
    current_weight: i64,
    fails: u32,
    /// When it last failed.
    accessed: u64,
    /// When it last failed or was last given a chance.
    checked: u64,
    connections: u32,
}

impl Peer {
    fn new(config: PeerConfig, max_fails: u32) -> Self {
        let weight = i64::from(config.weight.max(1));
        Self {
            weight,
            backup: config.backup,
            down: config.down,
            max_connections: config.max_connections,
            max_fails,
            effective_weight: weight,
            current_weight: 0,
            fails: 0,
            accessed: 0,
            checked: 0,
            connections: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.max_connections > 0 && self.connections >= self.max_connections
    }

    /// A clock that went back counts as no time passed, so `saturating_sub` is nginx's signed comparison.
    fn is_out(&self, now_secs: u64, fail_timeout: u64) -> bool {
        self.max_fails > 0 && self.fails >= self.max_fails && now_secs.saturating_sub(self.checked) <= fail_timeout
    }

    fn failed(&mut self, now_secs: u64) {
        self.fails = self.fails.saturating_add(1);
        self.accessed = now_secs;
        self.checked = now_secs;
        if self.max_fails > 0 {
            let lost = self.weight / i64::from(self.max_fails);
            self.effective_weight = (self.effective_weight - lost).max(0);
        }
    }

    fn learn_from(&mut self, old: &Self) {
        // A healthy peer has its new weight at once; one that recovers goes on from where it was.
        if old.effective_weight < old.weight {
            self.effective_weight = old.effective_weight.min(self.weight);
        }
        if old.backup == self.backup {
            self.current_weight = old.current_weight;
        }
        self.fails = old.fails;
        self.accessed = old.accessed;
        self.checked = old.checked;
        self.connections = old.connections;
    }
}

/// The balancer of one list of peers on one thread. Peers are known by their index in the list.
#[derive(Debug, Clone)]
pub struct SmoothWeightedRoundRobin {
    peers: Vec<Peer>,
    fail_timeout: u64,
    /// Exactly one primary and no backup.
    single: bool,
}

impl SmoothWeightedRoundRobin {
    /// A balancer at the beginning of its cycle.
    pub fn new(peers: &[PeerConfig], policy: Policy) -> Self {
        Self {
            peers: peers.iter().map(|&config| Peer::new(config, policy.max_fails)).collect(),
            fail_timeout: u64::from(policy.fail_timeout_secs),
            single: matches!(peers, [PeerConfig { backup: false, .. }]),
        }
    }

    /// Goes to another point of the cycle, so that threads do not all begin with the same peer: as if `seed` modulo
    /// the length of the cycle picks (at most 10,000) had been made while all was well.
    pub fn start_at_random_phase(&mut self, seed: u64) {
        for backup in [false, true] {
            let in_turn = |peer: &&mut Peer| peer.backup == backup && !peer.down;
            let (mut total, mut divisor) = (0, 0);
            for peer in self.peers.iter_mut().filter(in_turn) {
                total += peer.weight;
                divisor = greatest_common_divisor(divisor, peer.weight);
            }
            if total == 0 {
                continue;
            }
            let cycle = (total / divisor).unsigned_abs();
            for _ in 0..seed % cycle.min(MAX_PHASE_STEPS) {
                let mut best: Option<&mut Peer> = None;
                for peer in self.peers.iter_mut().filter(in_turn) {
                    peer.current_weight += peer.weight;
                    if best.as_ref().is_none_or(|best| peer.current_weight > best.current_weight) {
                        best = Some(peer);
                    }
                }
                if let Some(best) = best {
                    best.current_weight -= total;
                }
            }
        }
    }

    /// Takes over what was learned of the peers that stay; `mapping` gives the old index of a new index. Requests in
    /// flight stay counted, under the new index.
    ///
    /// nginx forgets everything on a reload. Here weights change in place: the position in the cycle is kept, unless
    /// a peer left its group. What it leaves behind would then favour the others until the end of time, because the
    /// sum of the positions never changes, so the group starts a new cycle.
    pub fn carry_over(&mut self, old: &Self, mapping: impl Fn(usize) -> Option<usize>) {
        let mut kept = [0_usize; 2];
        for (index, peer) in self.peers.iter_mut().enumerate() {
            if let Some(was) = mapping(index).and_then(|index| old.peers.get(index)) {
                peer.learn_from(was);
                if was.backup == peer.backup {
                    kept[usize::from(peer.backup)] += 1;
                }
            }
        }
        for backup in [false, true] {
            let were = old.peers.iter().filter(|peer| peer.backup == backup).count();
            if were != kept[usize::from(backup)] {
                self.peers.iter_mut().filter(|peer| peer.backup == backup).for_each(|peer| peer.current_weight = 0);
            }
        }
    }

    /// Picks a peer, and counts a request that [`done`](Self::done) takes off again.
    pub fn pick(&mut self, now_secs: u64, tried: &mut Tried) -> Option<usize> {
        let Leader { index, backup, total } = self.leader(now_secs, tried)?;
        if !self.single {
            let fail_timeout = self.fail_timeout;
            for (at, peer) in self.peers.iter_mut().enumerate() {
                if is_eligible(peer, backup, now_secs, fail_timeout) && !tried.contains(at) {
                    peer.current_weight += peer.effective_weight;
                    peer.effective_weight = (peer.effective_weight + 1).min(peer.weight);
                }
            }
        }
        let peer = self.peers.get_mut(index)?;
        peer.current_weight -= total;
        if now_secs.saturating_sub(peer.checked) > self.fail_timeout {
            // Shuts a failed peer again behind this one request, until it succeeds.
            peer.checked = now_secs;
        }
        peer.connections = peer.connections.saturating_add(1);
        tried.insert(index);
        tried.on_backups = backup;
        Some(index)
    }

    /// The peer that [`pick`](Self::pick) would pick; changes nothing.
    pub fn peek(&self, now_secs: u64, tried: &Tried) -> Option<usize> {
        self.leader(now_secs, tried).map(|leader| leader.index)
    }

    /// Tells how a request sent to a picked peer went. An index that is not in the list is ignored.
    pub fn done(&mut self, index: usize, outcome: Outcome, now_secs: u64) {
        let single = self.single;
        let Some(peer) = self.peers.get_mut(index) else { return };
        peer.connections = peer.connections.saturating_sub(1);
        match outcome {
            _ if single => peer.fails = 0,
            Outcome::Failed => peer.failed(now_secs),
            Outcome::Ok if peer.accessed < peer.checked => peer.fails = 0,
            Outcome::Ok => {}
        }
    }

    /// The state of a peer, for people.
    pub fn view(&self, index: usize, now_secs: u64) -> Option<PeerView> {
        let peer = self.peers.get(index)?;
        let out = !self.single && peer.is_out(now_secs, self.fail_timeout);
        Some(PeerView {
            effective_weight: peer.effective_weight,
            current_weight: peer.current_weight,
            fails: peer.fails,
            connections: peer.connections,
            available: !peer.down && !out && !peer.is_full(),
        })
    }

    fn leader(&self, now_secs: u64, tried: &Tried) -> Option<Leader> {
        if self.single {
            let usable = self.peers.first().is_some_and(|peer| !peer.down && !peer.is_full());
            return (usable && !tried.contains(0)).then_some(Leader { index: 0, backup: false, total: 0 });
        }
        let primary = if tried.on_backups { None } else { self.leader_of(false, now_secs, tried) };
        primary.or_else(|| self.leader_of(true, now_secs, tried))
    }

    fn leader_of(&self, backup: bool, now_secs: u64, tried: &Tried) -> Option<Leader> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, peer) in self.peers.iter().enumerate() {
            if !is_eligible(peer, backup, now_secs, self.fail_timeout) || tried.contains(index) {
                continue;
            }
            total += peer.effective_weight;
            let current = peer.current_weight + peer.effective_weight;
            if best.is_none_or(|(_, largest)| current > largest) {
                best = Some((index, current));
            }
        }
        best.map(|(index, _)| Leader { index, backup, total })
    }
}

/// Who wins a round, and what it pays.
struct Leader {
    index: usize,
    backup: bool,
    total: i64,
}

fn is_eligible(peer: &Peer, backup: bool, now_secs: u64, fail_timeout: u64) -> bool {
    peer.backup == backup && !peer.down && !peer.is_full() && !peer.is_out(now_secs, fail_timeout)
}

fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests;
