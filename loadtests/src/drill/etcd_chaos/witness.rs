//! Looks at what every router says of its generation, all the time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::fleet::ready;

/// Between two looks at one router.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The highest generation of each router.
    pub(super) highest: Vec<u64>,
    /// The digest of each generation.
    digests: BTreeMap<u64, String>,
    /// Looks that were answered.
    pub(super) looks: u64,
    /// Generations that went backwards.
    pub(super) backwards: Vec<String>,
    /// Generations that had two digests.
    pub(super) contradictions: Vec<String>,
}

/// Who looks. It ends when dropped.
#[derive(Debug)]
pub(super) struct Witness {
    seen: Arc<Mutex<Seen>>,
    _looking: JoinSet<()>,
}

impl Witness {
    /// Looks at the routers with these admins. One that does not answer is being restarted; whether it answers requests
    /// is not looked at here.
    pub(super) fn start(admins: &[SocketAddr]) -> Self {
        let seen = Arc::new(Mutex::new(Seen { highest: vec![0; admins.len()], ..Seen::default() }));
        let mut looking = JoinSet::new();
        for (router, admin) in admins.iter().copied().enumerate() {
            let seen = Arc::clone(&seen);
            looking.spawn(async move {
                loop {
                    if let Ok(ready) = ready(admin).await {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.note(router, ready.generation, &ready.digest);
                    }
                    sleep(LOOK_AGAIN).await;
                }
            });
        }
        Self { seen, _looking: looking }
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn note(&mut self, router: usize, generation: u64, digest: &str) {
        self.looks += 1;
        if let Some(highest) = self.highest.get_mut(router) {
            if generation < *highest {
                self.backwards.push(format!("router {router} from {highest} to {generation}"));
            }
            *highest = generation.max(*highest);
        }
        let known = self.digests.entry(generation).or_insert_with(|| digest.to_owned());
        if *known != digest {
            self.contradictions.push(format!("generation {generation} is {known}, and {digest} in router {router}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_back_and_two_digests_of_one_generation_are_noted() {
        let mut seen = Seen { highest: vec![0; 2], ..Seen::default() };
        seen.note(0, 3, "a");
        seen.note(1, 2, "b");
        seen.note(1, 3, "a");
        assert!(seen.backwards.is_empty() && seen.contradictions.is_empty());
        seen.note(0, 2, "c");
        assert_eq!((seen.backwards.len(), seen.contradictions.len()), (1, 1));
        assert_eq!(seen.highest, [3, 3]);
    }
}
