//! What a limit makes of a row of arrivals: the data plane's own code in virtual time, in which nobody waits.
//!
//! Events come one by one, from a file ([`trace`]) or made up ([`generate`]). [`Simulation`] decides on each; what is
//! said of all of them ([`summary`], [`series`], [`chart`]) is gathered in memory that does not grow with them.

pub mod busiest;
pub mod chart;
mod explain;
pub mod generate;
pub mod series;
pub mod summary;
pub mod tally;
pub mod trace;

use gridrouter::limit::key::{KeyHash, KeySeed};
use gridrouter::limit::table::LimitTable;
use gridrouter::limit::{Answered, NEVER, Outcome, Prepared};
use gridrouter_config::model::Algorithm;
use serde::Serialize;

/// Bytes that the table of keys may grow to: twenty million keys, so that none is forgotten as in a router whose budget is
/// used up.
const BUDGET_BYTES: usize = 1 << 30;

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// When, in nanoseconds.
    pub at: u64,
    /// What is counted apart.
    pub key: &'a str,
    /// How much it counts, at least 1; none: as much as the limit says.
    pub cost: Option<u32>,
    /// What it is.
    pub what: What,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A request comes.
    Arrival,
    /// A request that holds a permit is over.
    Release(Answered),
}

/// What the limit says of one arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// When it came.
    pub at_ns: u64,
    /// Whether it may go on.
    pub verdict: Says,
    /// After which time, if it has to wait.
    pub wait_ns: u64,
    /// When it could come again, if it was refused; none: no time helps.
    pub retry_after_ns: Option<u64>,
}

/// Whether an arrival may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Says {
    /// At once.
    Pass,
    /// Later.
    Wait,
    /// Not.
    Refuse,
}

impl Decision {
    /// When it goes on, if it does.
    pub fn admitted_at(&self) -> Option<u64> {
        match self.verdict {
            Says::Pass | Says::Wait => Some(self.at_ns.saturating_add(self.wait_ns)),
            Says::Refuse => None,
        }
    }
}

/// A limit, and what it has counted.
#[derive(Debug)]
pub struct Simulation {
    limit: Prepared,
    table: LimitTable,
    keys: KeySeed,
    /// What all keys begin with.
    begin: KeyHash,
    /// What an arrival costs that does not say.
    cost: u32,
}

impl Simulation {
    /// A limit that has counted nothing yet, and what an arrival costs that does not say.
    pub fn new(algorithm: &Algorithm, cost: u32) -> Self {
        let (table, keys) = (LimitTable::new(BUDGET_BYTES), KeySeed::default());
        Self { limit: Prepared::new(algorithm), table, begin: keys.limit(0), keys, cost: cost.max(1) }
    }

    /// Lets something happen. What arrives is decided on.
    pub fn play(&mut self, event: &Event<'_>) -> Option<Decision> {
        let key = self.key(event.key);
        let cost = event.cost.unwrap_or(self.cost);
        match event.what {
            What::Arrival => Some(self.decide(key, event.at, cost)),
            What::Release(answered) => {
                self.table.release(key, &self.limit, cost, answered, event.at);
                None
            }
        }
    }

    fn key(&self, key: &str) -> KeyHash {
        self.begin.plus(self.keys.part(key.as_bytes()))
    }

    fn decide(&self, key: KeyHash, at_ns: u64, cost: u32) -> Decision {
        let verdict = self.table.check_one(key, &self.limit, cost, at_ns);
        match verdict.outcome {
            Outcome::Pass => Decision { at_ns, verdict: Says::Pass, wait_ns: 0, retry_after_ns: Some(0) },
            Outcome::Wait(wait_ns) => Decision { at_ns, verdict: Says::Wait, wait_ns, retry_after_ns: Some(0) },
            Outcome::Refuse => {
                let retry_after_ns = Some(verdict.retry_after_nanos).filter(|nanos| *nanos != NEVER);
                Decision { at_ns, verdict: Says::Refuse, wait_ns: 0, retry_after_ns }
            }
        }
    }

    /// Whether what a request took comes back when it is over.
    pub fn holds_permits(&self) -> bool {
        self.limit.holds_permits()
    }

    /// Keys that something was admitted for.
    pub fn keys(&self) -> u64 {
        self.table.usage().keys as u64
    }

    /// Keys that had something counted and were forgotten, for want of room.
    pub fn forgotten(&self) -> u64 {
        self.table.usage().evictions
    }
}

#[cfg(test)]
mod tests;
