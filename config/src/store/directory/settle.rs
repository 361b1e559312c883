//! When a changed file may be read: not while somebody is still writing it. Decides from looks and times given to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::scan::Look;

/// A file must look the same for this long. Programs that write a file in pieces pause for far less.
const SETTLED: Duration = Duration::from_millis(80);
/// A file that is gone must stay gone for this long: editors delete, then create. Below what a person notices.
const GONE: Duration = Duration::from_millis(200);
/// A file that was emptied is mostly about to be filled: `>` in a shell truncates long before the program writes.
const EMPTIED: Duration = Duration::from_secs(1);
/// A file that never keeps still is read all the same after this time, so that nobody is shut out.
const OVERDUE: Duration = Duration::from_secs(2);

/// Files that look different from when they were last read, by path.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: BTreeMap<PathBuf, Waiting>,
}

/// `None` is a file that is gone.
pub(super) type Seen = Option<Look>;

#[derive(Debug)]
struct Waiting {
    seen: Seen,
    first: Instant,
    same_since: Instant,
    old: bool,
}

impl Waiting {
    fn is_settled(&self, now: Instant) -> bool {
        let needed = match &self.seen {
            _ if self.old => return true,
            None => GONE,
            Some(Look::File(stamp)) if stamp.size == 0 => EMPTIED,
            Some(Look::File(_) | Look::Fault(_)) => SETTLED,
        };
        now.saturating_duration_since(self.same_since) >= needed
    }

    fn is_overdue(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.first) >= OVERDUE
    }

    fn may_be_read(&self, now: Instant) -> bool {
        self.is_settled(now) || self.is_overdue(now)
    }
}

impl Pending {
    /// Takes in one look: everything that differs from what was last read.
    pub(super) fn observe(&mut self, mut changes: BTreeMap<PathBuf, Seen>, now: Instant, clock: SystemTime) {
        self.waiting.retain(|path, waiting| match changes.remove(path) {
            None => false,
            Some(seen) => {
                if seen != waiting.seen {
                    *waiting = Waiting { seen, first: waiting.first, same_since: now, old: false };
                }
                true
            }
        });
        for (path, seen) in changes {
            let old = matches!(&seen, Some(Look::File(stamp)) if stamp.is_old(clock));
            self.waiting.insert(path, Waiting { seen, first: now, same_since: now, old });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether it is time to read: when everything keeps still, so that an edit of many files is taken as one; or when
    /// something is overdue.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.waiting.values().all(|waiting| waiting.is_settled(now))
            || self.waiting.values().any(|waiting| waiting.is_overdue(now))
    }

    /// Removes and returns what may be read now. What still changes stays.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(PathBuf, Seen)> {
        let ripe: Vec<PathBuf> =
            self.waiting.iter().filter(|(_, w)| w.may_be_read(now)).map(|(path, _)| path.clone()).collect();
        ripe.into_iter().filter_map(|path| self.waiting.remove(&path).map(|waiting| (path, waiting.seen))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Looks at one file `a` that is gone, or has so many bytes, at so many milliseconds; says what may be read then.
    fn watch(looks: &[(u64, Option<usize>)]) -> Vec<u64> {
        let home = tempfile::tempdir().unwrap();
        let (start, mut pending, mut ready) = (Instant::now(), Pending::default(), Vec::new());
        for (at, bytes) in looks {
            let seen = bytes.map(|bytes| {
                let path = home.path().join(format!("{bytes}"));
                if !path.exists() {
                    std::fs::write(&path, vec![b'x'; bytes]).unwrap();
                }
                Look::File(super::super::scan::Stamp::of(&path.metadata().unwrap()))
            });
            let now = start + Duration::from_millis(*at);
            pending.observe(BTreeMap::from([("a".into(), seen)]), now, SystemTime::now());
            if pending.is_ready(now) {
                ready.push(*at);
            }
        }
        ready
    }

    #[test]
    fn a_file_is_ready_when_two_looks_80_ms_apart_agree() {
        assert_eq!(watch(&[(0, Some(1)), (79, Some(1)), (80, Some(1))]), [80]);
        assert_eq!(watch(&[(0, Some(1)), (79, Some(2)), (100, Some(2)), (159, Some(2))]), [159]);
    }

    #[test]
    fn absence_and_emptiness_take_longer_to_believe() {
        assert_eq!(watch(&[(0, None), (199, None), (200, None)]), [200]);
        assert_eq!(watch(&[(0, None), (150, Some(1)), (229, Some(1)), (230, Some(1))]), [230]);
        assert_eq!(watch(&[(0, Some(0)), (999, Some(0)), (1000, Some(0))]), [1000]);
    }

    #[test]
    fn what_never_keeps_still_is_read_after_two_seconds() {
        let looks: Vec<_> = (0..50).map(|n| (n * 50, Some(usize::try_from(n).unwrap()))).collect();
        assert_eq!(watch(&looks).first(), Some(&2000));
    }

    #[test]
    fn a_change_taken_back_is_none_and_only_what_is_ripe_is_taken() {
        let fault = |text: &str| Some(Look::Fault(text.to_owned()));
        let (start, clock, mut pending) = (Instant::now(), SystemTime::now(), Pending::default());
        pending.observe(BTreeMap::from([("a".into(), fault("a")), ("b".into(), fault("b"))]), start, clock);
        let later = start + Duration::from_millis(80);
        pending.observe(BTreeMap::from([("a".into(), fault("a")), ("c".into(), fault("c"))]), later, clock);
        assert!(!pending.is_ready(later));
        assert_eq!(pending.take(later), [("a".into(), fault("a"))]);
        assert_eq!(pending.waiting.keys().collect::<Vec<_>>(), [Path::new("c")]);
    }
}
