//! Who publishes all the time, and remembers what must be in force in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use gridrouter_config::store::etcd::writer::Change;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::dice::Dice;
use crate::error::Result;
use crate::etcd::documents;
use crate::etcd::publisher::{Attempt, Publisher};
use crate::site::Site;

/// Between a failure and the next try.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// How fast to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// One generation in this time, or as fast as etcd takes them, with so many changes each.
    Every(Duration, usize),
    /// No more.
    Stop,
}

/// What must be in force, and what happened on the way.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The cell that each tenant is pinned to; nothing where the last change took the pin away.
    pub(super) pins: BTreeMap<String, Option<String>>,
    /// The site, with the stamp that is in force.
    pub(super) site: Site,
    /// The last generation that is known to be committed.
    pub(super) generation: u64,
    /// Changes that were committed.
    pub(super) committed: u64,
    /// Tries that failed, by what was said.
    pub(super) failures: BTreeMap<String, u64>,
    /// Tries of which nobody could say whether they were committed, all of them found out later.
    pub(super) unknown: u64,
    /// What must not be.
    pub(super) contradictions: Vec<String>,
    /// Whether the last try may have been committed all the same.
    in_doubt: bool,
}

/// A small change.
#[derive(Debug, Clone)]
enum Edit {
    Pin { tenant: String, cell: String },
    Unpin { tenant: String },
    Stamp(usize),
}

impl Edit {
    /// Whose pin it changes; nobody's where it is the route that it changes.
    fn tenant(&self) -> Option<String> {
        match self {
            Edit::Pin { tenant, .. } | Edit::Unpin { tenant } => Some(tenant.clone()),
            Edit::Stamp(_) => None,
        }
    }
}

impl Ledger {
    pub(super) fn new(site: Site, tenants: &[String], generation: u64) -> Self {
        let pins = tenants.iter().map(|tenant| (tenant.clone(), site.pinned(tenant).map(str::to_owned))).collect();
        Self {
            pins,
            site,
            generation,
            committed: 0,
            failures: BTreeMap::new(),
            unknown: 0,
            contradictions: Vec::new(),
            in_doubt: false,
        }
    }

    /// A change that changes something.
    fn next(&self, dice: &mut Dice) -> Edit {
        let stamp = Edit::Stamp(self.site.stamp.unwrap_or(0) + 1);
        let tenants: Vec<&String> = self.pins.keys().collect();
        let Some(tenant) = dice.choose(&tenants).map(|tenant| (*tenant).clone()) else { return stamp };
        let now = self.pins.get(&tenant).cloned().flatten();
        match dice.below(10) {
            0 | 1 => stamp,
            2 if now.is_some() => Edit::Unpin { tenant },
            _ => {
                let others: Vec<&String> = self.site.cells.iter().filter(|cell| now.as_ref() != Some(*cell)).collect();
                dice.choose(&others).map_or(stamp, |cell| Edit::Pin { tenant, cell: (*cell).clone() })
            }
        }
    }

    /// Some changes of different documents, fewer where there are not so many.
    fn some(&self, count: usize, dice: &mut Dice) -> Vec<Edit> {
        let mut edits: BTreeMap<Option<String>, Edit> = BTreeMap::new();
        for _ in 0..count * 4 {
            if edits.len() < count {
                let edit = self.next(dice);
                edits.entry(edit.tenant()).or_insert(edit);
            }
        }
        edits.into_values().collect()
    }

    fn change(&self, edit: &Edit) -> Result<Change> {
        match edit {
            Edit::Pin { tenant, cell } => documents::pin(tenant, cell),
            Edit::Unpin { tenant } => documents::unpin(tenant),
            Edit::Stamp(stamp) => documents::route(&Site { stamp: Some(*stamp), ..self.site.clone() }),
        }
    }

    fn done(&mut self, edit: Edit) {
        self.committed += 1;
        match edit {
            Edit::Pin { tenant, cell } => drop(self.pins.insert(tenant, Some(cell))),
            Edit::Unpin { tenant } => drop(self.pins.insert(tenant, None)),
            Edit::Stamp(stamp) => self.site.stamp = Some(stamp),
        }
    }

    /// Notes the generation that a try found in force. This is the only writer: it has to be the one that it left, or
    /// the one of a try whose outcome was not known.
    fn found(&mut self, before: u64) {
        if before == self.generation {
            return;
        }
        if self.in_doubt && before == self.generation + 1 {
            self.in_doubt = false;
        } else {
            self.contradictions.push(format!("generation {before} was in force, not {}", self.generation));
        }
        self.generation = before;
    }

    /// Takes in what became of a try. Whether the change is in force now.
    fn take(&mut self, attempt: Attempt) -> bool {
        let (before, why) = match attempt {
            Attempt::Committed { before, published, .. } => {
                self.found(before);
                self.in_doubt = false;
                if published.changed > 0 && published.generation != before + 1 {
                    self.contradictions.push(format!("generation {} was published on {before}", published.generation));
                }
                self.generation = published.generation;
                return true;
            }
            Attempt::Unreadable(why) => (None, why),
            Attempt::Refused(why) => {
                self.contradictions.push(format!("refused: {why}"));
                (None, why)
            }
            Attempt::Failed { before, why } => (Some(before), why),
            Attempt::Unknown { before, why } => {
                self.found(before);
                self.unknown += 1;
                self.in_doubt = true;
                (None, why)
            }
            Attempt::Lost { before, why } => {
                if !self.in_doubt {
                    self.contradictions.push(format!("the only writer heard: {why}"));
                }
                (Some(before), why)
            }
        };
        if let Some(before) = before {
            self.found(before);
        }
        *self.failures.entry(gist(&why)).or_default() += 1;
        false
    }
}

/// What failed, without what is different every time.
fn gist(why: &str) -> String {
    let words = why.split_ascii_whitespace().map(|word| if word.contains("127.0.0.1") { "MEMBER" } else { word });
    words.map(|word| if word.parse::<u64>().is_ok() { "N" } else { word }).collect::<Vec<_>>().join(" ")
}

/// Publishes until told to stop. `progress` is the last generation that is known to be committed, `count` the number of
/// changes.
pub(super) async fn edit(
    publisher: Publisher,
    mut ledger: Ledger,
    mut dice: Dice,
    mut pace: watch::Receiver<Pace>,
    progress: Arc<AtomicU64>,
    count: Arc<AtomicU64>,
) -> Result<Ledger> {
    loop {
        let Pace::Every(interval, at_once) = *pace.borrow_and_update() else { return Ok(ledger) };
        let began = Instant::now();
        let edits = ledger.some(at_once, &mut dice);
        let changes = edits.iter().map(|edit| ledger.change(edit)).collect::<Result<Vec<_>>>()?;
        // A change whose outcome is not known is made again: when it is in force, nothing is left to change.
        while !ledger.take(publisher.attempt(changes.clone()).await?) {
            sleep(TRY_AGAIN).await;
        }
        for edit in edits {
            ledger.done(edit);
        }
        count.fetch_add(changes.len() as u64, Relaxed);
        progress.store(ledger.generation, Relaxed);
        let left = interval.saturating_sub(began.elapsed());
        if !left.is_zero() {
            // Another pace counts at once. That the time is over is what is waited for.
            let _ = timeout(left, pace.changed()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use gridrouter_config::store::etcd::writer::Published;

    use super::*;

    fn ledger() -> Ledger {
        Ledger::new(Site::new(2, &["checkout"], 1).unwrap(), &["a".to_owned(), "b".to_owned()], 5)
    }

    fn committed(before: u64, changed: usize) -> Attempt {
        let published = Published { generation: before + u64::from(changed > 0), revision: 1, changed };
        Attempt::Committed { before, published, at: Instant::now() }
    }

    #[test]
    fn a_change_in_doubt_may_have_been_committed_and_others_may_not() {
        let why = String::new;
        let mut ledger = ledger();
        assert!(ledger.take(committed(5, 1)));
        assert!(!ledger.take(Attempt::Unknown { before: 6, why: why() }));
        assert!(ledger.take(committed(7, 0)));
        assert_eq!((ledger.generation, ledger.contradictions.len()), (7, 0));
        assert!(!ledger.take(Attempt::Failed { before: 7, why: why() }));
        assert!(ledger.take(committed(8, 1)));
        assert_eq!((ledger.generation, ledger.contradictions.len()), (9, 1));
        assert!(!ledger.take(Attempt::Lost { before: 9, why: why() }));
        assert_eq!(ledger.contradictions.len(), 2);
    }

    #[test]
    fn changes_at_once_are_of_different_documents() {
        let mut dice = Dice::new(1);
        for count in 1..6 {
            let edits = ledger().some(count, &mut dice);
            let mut whose: Vec<_> = edits.iter().map(Edit::tenant).collect();
            whose.sort();
            whose.dedup();
            assert!(whose.len() == edits.len() && (1..=count.min(3)).contains(&edits.len()), "{edits:?}");
        }
    }

    #[test]
    fn every_edit_changes_something() {
        let (mut ledger, mut dice) = (ledger(), Dice::new(1));
        for _ in 0..200 {
            let edit = ledger.next(&mut dice);
            let before = (ledger.pins.clone(), ledger.site.stamp);
            ledger.done(edit);
            assert_ne!(before, (ledger.pins.clone(), ledger.site.stamp));
        }
    }
}
