//! Who of many acts: one key, there under the lease of the one who leads.
//!
//! A candidate has a thread of its own (`election/campaign.rs`). It claims the key when nobody has it and keeps its lease
//! alive. The key's create revision is what tells one leadership from every other: no two ever have the same. Whoever
//! writes compares it in the very transaction of the write (`About::fence`), so that a leader that slept and does not know yet
//! that another one leads changes nothing any more.

mod campaign;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use self::campaign::Campaign;
use super::backoff::Random;
use super::options::EtcdOptions;
use super::runtime;
use crate::live::LiveId;
use crate::store::StoreError;

/// How long the next leader waits for one that died: long enough for a short stall not to cost the leadership, and with the
/// time that etcd takes to notice well below ten seconds.
pub const LEASE: Duration = Duration::from_secs(5);

/// Who wants to lead, and under which terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidacy {
    /// Its name, for people.
    pub id: LiveId,
    /// Where it runs, for people.
    pub host: String,
    /// How long the key outlives this process when it cannot give it up, in whole seconds. etcd's servers may grant more.
    pub lease: Duration,
}

impl Candidacy {
    /// With the usual lease.
    pub fn new(id: LiveId, host: String) -> Self {
        Self { id, host, lease: LEASE }
    }
}

/// What proves that somebody leads: to be compared in the transaction of every write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// The leader's key.
    pub key: String,
    /// The revision at which this leader created it.
    pub create_revision: i64,
}

/// Who leads. Fields that this version does not know are left alone, and one that is missing has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Leader {
    /// Its name.
    pub id: String,
    /// Where it runs.
    pub host: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
}

impl Leader {
    /// Somebody leads even if what it wrote cannot be read.
    pub(super) fn read(value: &[u8]) -> Self {
        serde_json::from_slice(value).unwrap_or_default()
    }
}

/// How a candidate stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its leadership, while its lease certainly lives. Where somebody deletes the key by hand, that shows within a second, and in
    /// the fence at once.
    pub leadership: Option<Leadership>,
    /// Who leads, itself or another one, as far as is known.
    pub leader: Option<Leader>,
    /// Why it cannot take part.
    pub trouble: Option<String>,
}

/// Takes part in the election until it is stopped or dropped.
pub struct Candidate {
    board: Arc<Board>,
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl Candidate {
    /// Begins to take part. That etcd cannot be reached is no error here: it is tried again for ever.
    pub fn start(options: EtcdOptions, candidacy: Candidacy, random: Random) -> Result<Self, StoreError> {
        let board = Arc::new(Board { state: Mutex::default(), news: Condvar::new() });
        let (stop, stopped) = oneshot::channel();
        let runtime = runtime()?;
        let campaign = Campaign::new(options, candidacy, Arc::clone(&board), random);
        let run = move || {
            runtime.block_on(campaign.run(stopped));
            // A name that is still being looked up must not hold up whoever waits for the end.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("election".to_owned()).spawn(run).map_err(|error| {
            StoreError::new("cannot start the thread that takes part in the election", "raise the limit of processes")
                .caused_by(error)
        })?;
        Ok(Self { board, running: Mutex::new(Some((stop, thread))) })
    }

    /// What proves that this candidate leads. Nothing as soon as its lease may have ended, whatever the thread that keeps it
    /// is doing.
    pub fn leadership(&self) -> Option<Leadership> {
        self.standing().leadership
    }

    /// Who leads, as far as is known.
    pub fn leader(&self) -> Option<Leader> {
        self.standing().leader
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.board.lock().standing(Instant::now())
    }

    /// Waits until it stands differently, or the time is over.
    pub fn wait(&self, known: &Standing, timeout: Duration) -> Standing {
        let deadline = Instant::now() + timeout;
        let mut state = self.board.lock();
        loop {
            let now = Instant::now();
            let standing = state.standing(now);
            if standing != *known || now >= deadline {
                return standing;
            }
            // A leadership that nobody prolongs ends without news.
            let end = state.held.as_ref().map(|held| held.until).filter(|until| *until > now);
            let left = end.map_or(deadline, |end| end.min(deadline)).saturating_duration_since(now);
            state = self.board.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes part no more. A leadership is given up, so that the next one takes over at once; that takes a second at the most.
    /// Where etcd cannot be reached, it ends with its lease.
    pub fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = running {
            drop(stop);
            // Had it panicked, the lease would end by itself.
            let _ended: Result<(), _> = thread.join();
        }
        // Nothing is certain once nobody keeps the lease alive.
        self.board.change(|state| state.held = None);
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate").field("standing", &self.standing()).finish_non_exhaustive()
    }
}

/// Where the campaign says how it stands.
struct Board {
    state: Mutex<State>,
    news: Condvar,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.news.notify_all();
    }
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    leader: Option<Leader>,
    trouble: Option<String>,
}

/// A leadership, and until when it certainly is one.
struct Held {
    leadership: Leadership,
    until: Instant,
}

impl State {
    fn standing(&self, now: Instant) -> Standing {
        let held = self.held.as_ref().filter(|held| now < held.until);
        let leadership = held.map(|held| held.leadership.clone());
        // One that is over by this clock may have passed to anybody.
        let over = self.held.is_some() && held.is_none();
        let leader = self.leader.clone().filter(|_| !over);
        Standing { leadership, leader, trouble: self.trouble.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leadership_ends_by_the_clock_alone() {
        let start = Instant::now();
        let leadership = Leadership { key: "k".to_owned(), create_revision: 7 };
        let held = Held { leadership: leadership.clone(), until: start + Duration::from_secs(4) };
        let state = State { held: Some(held), leader: Some(Leader::default()), trouble: None };
        let at = |seconds| state.standing(start + Duration::from_secs(seconds));
        assert_eq!((at(3).leadership, at(3).leader), (Some(leadership), Some(Leader::default())));
        assert_eq!(at(4), Standing::default());
    }

    #[test]
    fn a_leader_is_one_whatever_it_wrote() {
        assert_eq!(Leader::read(b"\xff{"), Leader::default());
        let newer = br#"{"id":"a:1","host":"a","since":5,"zone":{"name":"z"}}"#;
        assert_eq!(Leader::read(newer), Leader { id: "a:1".to_owned(), host: "a".to_owned(), since: 5 });
    }
}
