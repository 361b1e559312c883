//! What the live routers have in force, compared with what they should have.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gridrouter_config::live::{RouterState, RouterStatus};
use gridrouter_config::store::StoreError;
use gridrouter_config::store::etcd::Head;
use gridrouter_config::store::etcd::writer::Writer;
use serde::Serialize;

use crate::output::Output;
use crate::site::in_our_words;
use crate::table::plural;

/// How often routers are looked at while they are waited for.
const PACE: Duration = Duration::from_millis(100);
/// Routers that a line names.
const NAMED: usize = 10;

/// How a router stands to a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It has this generation, and its documents.
    UpToDate,
    /// It has this generation, and refused some of its documents.
    Refuses,
    /// It has a later one.
    Ahead,
    /// It has an earlier one.
    Behind,
    /// It has this generation with other documents.
    Diverged,
    /// It keeps what it has, whatever the store says, because the store was emptied, restored or replaced.
    Held,
    /// What it has belongs to another history, so that its number says nothing.
    AnotherHistory,
}

impl Standing {
    /// The words that people see.
    pub fn text(self, router: &RouterStatus) -> String {
        match self {
            Standing::UpToDate => "up to date".to_owned(),
            Standing::Refuses => format!("refuses {}", router.quarantined),
            Standing::Ahead => "ahead".to_owned(),
            Standing::Behind => "behind".to_owned(),
            Standing::Diverged => "DIVERGED".to_owned(),
            Standing::Held => "HELD".to_owned(),
            Standing::AnotherHistory => "another history".to_owned(),
        }
    }

    /// Whether it has the generation, or a later one, as far as it is good.
    fn is_there(self) -> bool {
        match self {
            Standing::UpToDate | Standing::Refuses | Standing::Ahead => true,
            Standing::Behind | Standing::Diverged | Standing::Held | Standing::AnotherHistory => false,
        }
    }
}

/// What routers should have.
#[derive(Debug, Clone, Default)]
pub struct Goal {
    /// The generation.
    pub generation: u64,
    /// The digest of its documents, where it is known.
    pub digest: Option<String>,
    /// The history that it belongs to, where it is known, and what took its place since.
    pub lineages: Vec<String>,
}

impl Goal {
    /// A generation, of which a head may know more.
    pub fn new(generation: u64, head: Option<&Head>) -> Self {
        let digest = head.filter(|head| head.generation == generation).map(|head| head.digest.to_string());
        Self { generation, digest, lineages: head.map(|head| head.lineage.clone()).into_iter().collect() }
    }

    /// Takes note of a head that came later, in the place of this history.
    fn follow(&mut self, head: &Head) {
        let newer = head.generation > self.generation && !self.lineages.contains(&head.lineage);
        if newer && head.replaces.iter().any(|lineage| self.lineages.contains(lineage)) {
            self.lineages.push(head.lineage.clone());
        }
    }
}

/// How a router stands, by itself.
fn standing(router: &RouterStatus, goal: &Goal) -> Standing {
    if router.state == RouterState::Held {
        return Standing::Held;
    }
    let known = router.lineage.is_empty() || goal.lineages.is_empty();
    if !known && !goal.lineages.contains(&router.lineage) {
        return Standing::AnotherHistory;
    }
    // One that refuses documents has others in force than the store, and has read them all.
    let has = if router.listed.is_empty() { &router.digest } else { &router.listed };
    match router.generation.cmp(&goal.generation) {
        std::cmp::Ordering::Less => Standing::Behind,
        std::cmp::Ordering::Greater => Standing::Ahead,
        std::cmp::Ordering::Equal if goal.digest.as_ref().is_some_and(|digest| digest != has) => Standing::Diverged,
        std::cmp::Ordering::Equal if router.quarantined > 0 => Standing::Refuses,
        std::cmp::Ordering::Equal => Standing::UpToDate,
    }
}

/// How routers stand to a generation. Those that read the same and refuse nothing have to have the same in force.
pub fn standings(routers: &[RouterStatus], goal: &Goal) -> Vec<Standing> {
    let mut found: Vec<Standing> = routers.iter().map(|router| standing(router, goal)).collect();
    let clean = |router: &RouterStatus, standing: Standing| {
        standing == Standing::UpToDate && !router.listed.is_empty() && !router.digest.is_empty()
    };
    let alike = routers.iter().zip(&found).filter(|(router, standing)| clean(router, **standing));
    let digests: BTreeSet<&str> = alike.map(|(router, _)| router.digest.as_str()).collect();
    if digests.len() > 1 {
        // Where one of them is the store's own, it is right; otherwise nobody knows which.
        for (router, standing) in routers.iter().zip(&mut found) {
            if clean(router, *standing) && goal.digest.as_ref() != Some(&router.digest) {
                *standing = Standing::Diverged;
            }
        }
    }
    found
}

/// A router, and how it stands.
pub type Stand = (RouterStatus, Standing);

/// What came of waiting.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every live router has it. How many there are, and those that refuse documents of it.
    All(usize, Vec<Stand>),
    /// These did not acknowledge it, and the time is over or they never will. Those that did are counted.
    Missing(Vec<Stand>, usize),
    /// The store could not be asked at the end.
    Unknown(String),
}

/// Waits until every live router has this generation or a later one in force.
pub fn wait(writer: &mut Writer, generation: u64, timeout: Duration, output: &mut Output) -> Outcome {
    let start = Instant::now();
    let (mut last, mut goal) = (None, None);
    loop {
        let found = look(writer, generation, &mut goal);
        let over = start.elapsed() >= timeout;
        match found {
            Err(error) if over => return Outcome::Unknown(in_our_words(&error.explain())),
            // A member that went away is no reason to give up.
            Err(_) => {}
            Ok(stands) => {
                let total = stands.len();
                let (there, missing): (Vec<Stand>, Vec<Stand>) =
                    stands.into_iter().partition(|(_, standing)| standing.is_there());
                if missing.is_empty() {
                    let refuses = there.into_iter().filter(|(_, standing)| *standing == Standing::Refuses);
                    return Outcome::All(total, refuses.collect());
                }
                // What has the generation and other documents will not change its mind.
                let never = missing.iter().all(|(_, standing)| *standing == Standing::Diverged);
                if over || never {
                    return Outcome::Missing(missing, there.len());
                }
                tell(output, &mut last, (there.len(), total), generation, &missing);
            }
        }
        // Nobody unparks this thread, and one more look would be no harm.
        std::thread::park_timeout(PACE.min(timeout.saturating_sub(start.elapsed())));
    }
}

/// The live routers, and how they stand to a generation. Without its head nobody knows which history it is of.
fn look(writer: &mut Writer, generation: u64, goal: &mut Option<Goal>) -> Result<Vec<Stand>, StoreError> {
    let goal = match goal {
        Some(goal) => goal,
        None => goal.insert(Goal::new(generation, writer.base()?.head())),
    };
    let routers = writer.routers()?;
    let mut found = standings(&routers, goal);
    if found.contains(&Standing::AnotherHistory)
        && let Some(head) = writer.base()?.head()
    {
        // Somebody may have adopted the store since.
        goal.follow(head);
        found = standings(&routers, goal);
    }
    Ok(routers.into_iter().zip(found).collect())
}

/// One line that moves for a person, and a line for each step otherwise.
fn tell(
    output: &mut Output,
    last: &mut Option<(usize, usize)>,
    now: (usize, usize),
    generation: u64,
    missing: &[Stand],
) {
    if last.replace(now) == Some(now) {
        return;
    }
    let (there, total) = now;
    let text = format!(
        "{there} of {} acknowledged generation {generation}; waiting for {}",
        plural(total, "router"),
        names(missing)
    );
    if output.is_live() { output.progress(text) } else { output.note(text) }
}

/// Routers, and how they are.
pub fn names(routers: &[Stand]) -> String {
    let shown = routers.iter().take(NAMED).map(|(router, standing)| {
        let mut how = match standing {
            Standing::Diverged => format!("at {} with other documents", router.generation),
            Standing::AnotherHistory => format!("at {} of another history, {}", router.generation, router.lineage),
            Standing::Held => {
                format!(
                    "at {} and does not follow the store, which was emptied, restored or replaced",
                    router.generation
                )
            }
            Standing::UpToDate | Standing::Refuses | Standing::Ahead | Standing::Behind => {
                format!("at {}", router.generation)
            }
        };
        if router.quarantined > 0 {
            how = format!("{how}, {} quarantined", router.quarantined);
        }
        if router.state != RouterState::Unknown {
            how = format!("{how}, {}", router.state.as_str());
        }
        format!("{} ({how})", router.id)
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if let Some(more) = routers.len().checked_sub(NAMED).filter(|more| *more > 0) {
        text = format!("{text} and {more} more");
    }
    crate::table::printable(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(generation: u64, digest: &str) -> RouterStatus {
        RouterStatus { id: "a".into(), generation, digest: digest.into(), ..RouterStatus::default() }
    }

    fn goal() -> Goal {
        Goal { generation: 5, digest: Some("d".to_owned()), lineages: vec!["l".to_owned()] }
    }

    #[test]
    fn a_router_stands_by_generation_and_digest() {
        let of = |generation, text: &str| standing(&router(generation, text), &goal());
        assert_eq!((of(5, "d"), of(5, "other")), (Standing::UpToDate, Standing::Diverged));
        assert_eq!((of(4, "x"), of(6, "x")), (Standing::Behind, Standing::Ahead));
        assert_eq!(standing(&router(5, "other"), &Goal { digest: None, ..goal() }), Standing::UpToDate);
    }

    #[test]
    fn a_number_of_another_history_or_of_a_router_that_holds_on_says_nothing() {
        for generation in [4, 5, 6] {
            let other = RouterStatus { lineage: "m".into(), ..router(generation, "d") };
            assert_eq!(standing(&other, &goal()), Standing::AnotherHistory);
            let held = RouterStatus { lineage: "l".into(), state: RouterState::Held, ..router(generation, "d") };
            assert_eq!(standing(&held, &goal()), Standing::Held);
            assert!(!Standing::Held.is_there() && !Standing::AnotherHistory.is_there());
        }
        let mut later = goal();
        later.lineages.push("m".to_owned());
        assert_eq!(standing(&RouterStatus { lineage: "m".into(), ..router(6, "x") }, &later), Standing::Ahead);
    }

    #[test]
    fn what_was_read_counts_and_not_what_of_it_is_good() {
        let read = |listed: &str, digest: &str, quarantined| RouterStatus {
            listed: listed.into(),
            quarantined,
            ..router(5, digest)
        };
        assert_eq!(standing(&read("d", "x", 1), &goal()), Standing::Refuses);
        assert_eq!(standing(&read("y", "d", 0), &goal()), Standing::Diverged);
        let all = [read("d", "x", 0), read("d", "x", 0), read("d", "z", 1)];
        assert_eq!(standings(&all, &goal()), [Standing::UpToDate, Standing::UpToDate, Standing::Refuses]);
        let odd = [read("d", "x", 0), read("d", "d", 0), read("d", "z", 1)];
        assert_eq!(standings(&odd, &goal()), [Standing::Diverged, Standing::UpToDate, Standing::Refuses]);
    }

    #[test]
    fn names_are_cut() {
        let many: Vec<_> = (0..12).map(|_| (router(1, ""), Standing::Behind)).collect();
        assert!(names(&many).ends_with(" and 2 more"));
        assert_eq!(names(&many[..1]), "a (at 1)");
        let odd = RouterStatus { quarantined: 3, state: RouterState::Ready, ..router(2, "") };
        assert_eq!(names(&[(odd, Standing::Diverged)]), "a (at 2 with other documents, 3 quarantined, ready)");
    }
}
