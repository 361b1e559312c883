//! What the live routers have in force, compared with what they should have.

use std::time::{Duration, Instant};

use gridrouter_config::digest::Digest;
use gridrouter_config::live::{RouterState, RouterStatus};
use gridrouter_config::store::etcd::writer::Writer;
use serde::Serialize;

use crate::output::Output;
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
    /// It has a later one.
    Ahead,
    /// It has an earlier one.
    Behind,
    /// It has this generation with other documents.
    Diverged,
}

impl Standing {
    /// The word that people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::UpToDate => "up to date",
            Standing::Ahead => "ahead",
            Standing::Behind => "behind",
            Standing::Diverged => "DIVERGED",
        }
    }
}

/// How a router stands to a generation.
pub fn standing(router: &RouterStatus, generation: u64, digest: Option<Digest>) -> Standing {
    match router.generation.cmp(&generation) {
        std::cmp::Ordering::Less => Standing::Behind,
        std::cmp::Ordering::Greater => Standing::Ahead,
        std::cmp::Ordering::Equal if digest.is_some_and(|digest| digest.to_string() != router.digest) => {
            Standing::Diverged
        }
        std::cmp::Ordering::Equal => Standing::UpToDate,
    }
}

/// What came of waiting.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every live router has it. How many there are.
    All(usize),
    /// These did not acknowledge it, and the time is over or they never will. Those that did are counted.
    Missing(Vec<RouterStatus>, usize),
    /// The store could not be asked at the end.
    Unknown(String),
}

/// Waits until every live router has this generation or a later one in force.
pub fn wait(
    writer: &mut Writer,
    generation: u64,
    digest: Option<Digest>,
    timeout: Duration,
    output: &mut Output,
) -> Outcome {
    let start = Instant::now();
    let mut last = None;
    loop {
        let found = writer.routers();
        let over = start.elapsed() >= timeout;
        match found {
            Err(error) if over => return Outcome::Unknown(error.explain()),
            // A member that went away is no reason to give up.
            Err(_) => {}
            Ok(routers) => {
                let total = routers.len();
                let missing = not_there(routers, generation, digest);
                if missing.is_empty() {
                    return Outcome::All(total);
                }
                let there = total - missing.len();
                // What has the generation and other documents will not change its mind.
                let never = missing.iter().all(|router| router.generation >= generation);
                if over || never {
                    return Outcome::Missing(missing, there);
                }
                tell(output, &mut last, (there, total), generation, &missing);
            }
        }
        // Nobody unparks this thread, and one more look would be no harm.
        std::thread::park_timeout(PACE.min(timeout.saturating_sub(start.elapsed())));
    }
}

fn not_there(routers: Vec<RouterStatus>, generation: u64, digest: Option<Digest>) -> Vec<RouterStatus> {
    let missing = |router: &RouterStatus| match standing(router, generation, digest) {
        Standing::UpToDate | Standing::Ahead => false,
        Standing::Behind | Standing::Diverged => true,
    };
    routers.into_iter().filter(missing).collect()
}

/// One line that moves for a person, and a line for each step otherwise.
fn tell(
    output: &mut Output,
    last: &mut Option<(usize, usize)>,
    now: (usize, usize),
    generation: u64,
    missing: &[RouterStatus],
) {
    if last.replace(now) == Some(now) {
        return;
    }
    let (there, total) = now;
    let text = format!(
        "{there} of {} acknowledged generation {generation}; waiting for {}",
        plural(total, "router"),
        names(missing, generation)
    );
    if output.has_person() { output.progress(text) } else { output.note(text) }
}

/// Routers that do not have a generation as it should be, and how they are.
pub fn names(routers: &[RouterStatus], generation: u64) -> String {
    let shown = routers.iter().take(NAMED).map(|router| {
        let other = if router.generation >= generation { " with other documents" } else { "" };
        let mut how = format!("at {}{other}", router.generation);
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

    #[test]
    fn a_router_stands_by_generation_and_digest() {
        let digest = Digest::default();
        let of = |generation, text: &str| standing(&router(generation, text), 5, Some(digest));
        assert_eq!(of(5, &digest.to_string()), Standing::UpToDate);
        assert_eq!(of(5, "other"), Standing::Diverged);
        assert_eq!((of(4, "x"), of(6, "x")), (Standing::Behind, Standing::Ahead));
        assert_eq!(standing(&router(5, "other"), 5, None), Standing::UpToDate);
    }

    #[test]
    fn names_are_cut() {
        let many: Vec<_> = (0..12).map(|_| router(1, "")).collect();
        assert!(names(&many, 2).ends_with(" and 2 more"));
        assert_eq!(names(&many[..1], 2), "a (at 1)");
        let odd = RouterStatus { quarantined: 3, state: RouterState::Ready, ..router(2, "") };
        assert_eq!(names(&[odd], 2), "a (at 2 with other documents, 3 quarantined, ready)");
    }
}
