//! Being woken when a file changes. Events are a hint and nothing more: they say when to look, never what changed, so
//! a lost one costs a delay and an invented one costs a look.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::scan::Identity;

/// Watches on directories.
pub(super) struct Events {
    bell: Arc<Bell>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Identity>,
    /// Why events cannot be relied on.
    pub(super) trouble: Option<String>,
}

/// Rung by the watcher's thread.
#[derive(Default)]
struct Bell {
    state: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Default)]
struct Rung {
    woken: bool,
    /// Names that were removed or moved away; a watch on one of them is dead.
    gone: Vec<PathBuf>,
    trouble: Option<String>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Rung> {
        // Nothing here can be half done, so a panic elsewhere while the lock was held leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, result: notify::Result<Event>) {
        let mut rung = self.lock();
        match result {
            Ok(event) => {
                if is_departure(event.kind) {
                    rung.gone.extend(event.paths);
                }
            }
            Err(error) => rung.trouble = Some(explain(&error)),
        }
        rung.woken = true;
        drop(rung);
        self.changed.notify_one();
    }
}

impl Events {
    /// Starts a watcher for `root`. The directory above is watched too (see [`Events::follow`]), but of what happens
    /// there only `root`'s own name counts.
    pub(super) fn start(root: &Path) -> Self {
        let bell = Arc::new(Bell::default());
        let above = Above::of(root);
        let ring = Arc::clone(&bell);
        let watcher = notify::recommended_watcher(move |result: notify::Result<Event>| {
            let irrelevant = |event: &Event| is_noise(event.kind) || above.as_ref().is_some_and(|a| a.ignores(event));
            if !result.as_ref().is_ok_and(irrelevant) {
                ring.ring(result);
            }
        });
        match watcher {
            Ok(watcher) => Self { bell, watcher: Some(watcher), watched: BTreeMap::new(), trouble: None },
            Err(error) => Self { bell, watcher: None, watched: BTreeMap::new(), trouble: Some(explain(&error)) },
        }
    }

    /// A watcher that hears nothing.
    #[cfg(test)]
    pub(super) fn deaf(trouble: &str) -> Self {
        let (bell, watched) = (Arc::default(), BTreeMap::new());
        Self { bell, watcher: None, watched, trouble: Some(trouble.to_owned()) }
    }

    /// Brings the watches in line with the directories there are, and says whether any is new: what happened in a new
    /// one before the watch stood went unseen.
    pub(super) fn follow(&mut self, root: &Path, directories: &BTreeMap<PathBuf, Identity>) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        for gone in self.bell.lock().gone.drain(..) {
            self.watched.remove(&gone);
        }
        let mut wanted = directories.clone();
        if let Some((directory, identity)) = Above::of(root).and_then(Above::identify) {
            wanted.entry(directory).or_insert(identity);
        }
        self.watched.retain(|directory, identity| {
            let stays = wanted.get(directory) == Some(identity);
            if !stays {
                // An error here means that the watch went with the directory.
                let _ = watcher.unwatch(directory);
            }
            stays
        });
        let mut trouble = None;
        let before = self.watched.len();
        for (directory, identity) in wanted {
            if self.watched.contains_key(&directory) {
                continue;
            }
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(directory, identity);
                }
                // A directory that went away meanwhile is not a trouble: the next look will not find it.
                Err(error) if !directory.exists() => drop(error),
                Err(error) => trouble = Some(explain(&error)),
            }
        }
        self.trouble = trouble.or_else(|| self.bell.lock().trouble.take());
        self.watched.len() > before
    }

    /// Waits for an event, at most until `deadline`.
    pub(super) fn wait_until(&self, deadline: Instant) -> bool {
        let mut rung = self.bell.lock();
        while !rung.woken {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (rung, _) = self.bell.changed.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner);
        }
        rung.woken = false;
        true
    }

    /// Lets time pass until `deadline`; events until then are covered by the look that follows.
    pub(super) fn absorb_until(&self, deadline: Instant) {
        while self.wait_until(deadline) {}
    }
}

/// The directory that holds the root's name: a root that is replaced, or a link that is turned, changes there.
struct Above {
    directory: PathBuf,
    name: OsString,
}

impl Above {
    fn of(root: &Path) -> Option<Self> {
        let absolute = std::path::absolute(root).ok()?;
        let directory = absolute.parent()?.canonicalize().ok()?;
        Some(Self { directory, name: absolute.file_name()?.to_owned() })
    }

    fn identify(self) -> Option<(PathBuf, Identity)> {
        let metadata = self.directory.metadata().ok()?;
        Some((self.directory, Identity::of(&metadata)))
    }

    fn ignores(&self, event: &Event) -> bool {
        let elsewhere =
            |path: &PathBuf| path.parent() == Some(&self.directory) && path.file_name() != Some(self.name.as_os_str());
        !event.paths.is_empty() && event.paths.iter().all(elsewhere)
    }
}

/// Reading is not changing; without this, every look would cause the next.
fn is_noise(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn is_departure(kind: EventKind) -> bool {
    matches!(kind, EventKind::Remove(_) | EventKind::Modify(notify::event::ModifyKind::Name(_)))
}

fn explain(error: &notify::Error) -> String {
    let exhausted = "the system's limit of file watches is reached; raise fs.inotify.max_user_watches and \
                     fs.inotify.max_user_instances";
    match &error.kind {
        ErrorKind::MaxFilesWatch => exhausted.to_owned(),
        // EMFILE and ENOSPC, as inotify reports its limits.
        ErrorKind::Io(io) if matches!(io.raw_os_error(), Some(24 | 28)) => exhausted.to_owned(),
        ErrorKind::Generic(_)
        | ErrorKind::Io(_)
        | ErrorKind::PathNotFound
        | ErrorKind::WatchNotFound
        | ErrorKind::InvalidConfig(_) => format!("file events fail: {error}"),
    }
}
