//! The endpoints registered last, on disk: for a router that starts while etcd is away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::registrations::Registrations;

/// The least time from one writing to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// The file, if there is one.
pub(super) struct File {
    path: Option<PathBuf>,
    /// What is not written yet.
    unwritten: Option<Arc<Registrations>>,
    /// When it may be.
    due: Instant,
}

impl File {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path, unwritten: None, due: Instant::now() }
    }

    /// What a process before this one wrote. What cannot be read is nothing, and a warning.
    pub(super) fn load(&self) -> Registrations {
        let Some(path) = &self.path else { return Registrations::default() };
        let read = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Registrations::default(),
            Err(error) => Err(error.to_string()),
            Ok(bytes) => Registrations::from_json(&bytes),
        };
        read.unwrap_or_else(|why| {
            tracing::warn!("the endpoints registered last, in {}, cannot be used: {why}", path.display());
            Registrations::default()
        })
    }

    pub(super) fn changed(&mut self, now: &Arc<Registrations>) {
        self.unwritten = self.path.is_some().then(|| Arc::clone(now));
    }

    pub(super) fn is_due(&self) -> bool {
        self.unwritten.is_some()
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn save(&mut self) {
        self.due = Instant::now() + PAUSE;
        if let (Some(path), Some(now)) = (&self.path, self.unwritten.take())
            && let Err(error) = write(path, &now)
        {
            tracing::warn!("cannot keep the registered endpoints in {}: {error}", path.display());
        }
    }
}

/// Whole or not at all. It is not forced onto the disk: after a power failure it may be missing, and etcd has it.
fn write(path: &Path, now: &Registrations) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let temporary = path.with_extension("new");
    fs::write(&temporary, now.to_json()?)?;
    fs::rename(temporary, path)
}

impl Drop for File {
    fn drop(&mut self) {
        if self.is_due() {
            self.save();
        }
    }
}
