//! Who acts: the one with the leader's key in etcd, or with the lock of a directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gridrouter_config::store::etcd::Random;
use gridrouter_config::store::etcd::election::{Candidacy, Candidate, Leader, Leadership};

use crate::directory::lock::{Lock, signed_by_leader};
use crate::target::{Target, Where};

/// A place in the election.
pub(super) enum Seat {
    Etcd(Candidate),
    Directory(Bench),
}

/// The same in a directory.
pub(super) struct Bench {
    root: PathBuf,
    candidacy: Candidacy,
    /// The lock, and what it is signed with.
    lock: Option<(Lock, Leader)>,
    /// How often it got the lock.
    terms: u64,
}

/// What is shown with every write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// Compared in the transaction.
    Etcd(Leadership),
    /// The lock of a directory, and how often it was taken. The kernel keeps it for as long as the process lives.
    Lock(u64),
}

/// How it stands.
#[derive(Debug, Default)]
pub(super) struct Position {
    pub(super) proof: Option<Proof>,
    pub(super) leader: Option<Leader>,
    pub(super) trouble: Option<String>,
}

impl Seat {
    pub(super) fn take(target: &Target, candidacy: Candidacy) -> Result<Self, String> {
        Ok(match &target.place {
            Where::Etcd(options) => {
                let candidate = Candidate::start((**options).clone(), candidacy, Random::new());
                Seat::Etcd(candidate.map_err(|error| error.explain())?)
            }
            Where::Directory(root) => Seat::Directory(Bench { root: root.clone(), candidacy, lock: None, terms: 0 }),
        })
    }

    /// Looks how it stands. In a directory, this is what tries to take the lock.
    pub(super) fn look(&mut self, now: u64) -> Position {
        match self {
            Seat::Etcd(candidate) => {
                let standing = candidate.standing();
                let proof = standing.leadership.map(Proof::Etcd);
                Position { proof, leader: standing.leader, trouble: standing.trouble }
            }
            Seat::Directory(bench) => {
                let stuck = |trouble| Position { trouble: Some(trouble), ..Position::default() };
                bench.look(now).unwrap_or_else(stuck)
            }
        }
    }

    /// Whether a lock is still one. In etcd, the transaction finds out.
    pub(super) fn holds(&self) -> bool {
        match self {
            Seat::Etcd(_) => true,
            Seat::Directory(bench) => bench.holds(),
        }
    }

    /// Waits, at the most until it stands differently.
    pub(super) fn wait(&self, timeout: Duration) {
        match self {
            Seat::Etcd(candidate) => drop(candidate.wait(&candidate.standing(), timeout)),
            // The kernel tells nobody that a lock is free. Nobody unparks this thread, and to wake early does no harm.
            Seat::Directory(_) => std::thread::park_timeout(timeout),
        }
    }

    /// Gives it up, so that somebody else can have it at once.
    pub(super) fn resign(&mut self) {
        match self {
            Seat::Etcd(candidate) => candidate.stop(),
            Seat::Directory(bench) => bench.lock = None,
        }
    }
}

impl Bench {
    fn holds(&self) -> bool {
        self.lock.as_ref().is_some_and(|(lock, _)| lock.holds())
    }

    fn look(&mut self, now: u64) -> Result<Position, String> {
        if !self.holds() {
            self.lock = None;
            if let Some(lock) = Lock::of_leader(&self.root)? {
                let own = self.own(now);
                lock.sign(&serde_json::to_string(&own).unwrap_or_default())?;
                self.terms += 1;
                self.lock = Some((lock, own));
            }
        }
        let (proof, leader) = match &self.lock {
            Some((_, own)) => (Some(Proof::Lock(self.terms)), Some(own.clone())),
            None => (None, leader(&self.root)?),
        };
        Ok(Position { proof, leader, trouble: None })
    }

    fn own(&self, now: u64) -> Leader {
        Leader { id: self.candidacy.id.to_string(), host: self.candidacy.host.clone(), since: now / 1000 }
    }
}

/// Who acts in a directory; one that has not said so yet, or not well, has no name.
pub(super) fn leader(root: &Path) -> Result<Option<Leader>, String> {
    Ok(signed_by_leader(root)?.map(|text| serde_json::from_str(&text).unwrap_or_default()))
}
