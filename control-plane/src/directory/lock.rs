//! Locks of a directory, on files whose names begin with a dot: those who read documents leave them out. The kernel keeps a
//! lock for as long as the process lives that has it, so none outlives its owner, however that ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Held by whoever changes files, while it does.
const WRITERS: &str = ".gridctl-write.lock";
/// Held by the controller that acts, for as long as it does. What is in it says who that is.
const LEADER: &str = ".gridctl-leader.lock";

/// A lock that is held.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Waits until nobody else writes. A writer is done within moments.
    pub(super) fn of_writers(root: &Path) -> Result<Self, String> {
        loop {
            let path = root.join(WRITERS);
            let file = open(&path)?;
            file.lock().map_err(|error| cannot(&path, &error))?;
            let lock = Self { path, file };
            if lock.holds() {
                return Ok(lock);
            }
        }
    }

    /// The lock of the one who acts, unless somebody else has it.
    pub fn of_leader(root: &Path) -> Result<Option<Self>, String> {
        let path = root.join(LEADER);
        // Whoever follows the directory is woken when a file is closed that could have been written to. Those who stand by
        // ask often, and do not open it so.
        if is_taken(&path)? {
            return Ok(None);
        }
        let file = open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { path, file }).filter(Lock::holds)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(cannot(&path, &error)),
        }
    }

    /// Whether it still is one: it is on a file, and somebody may have deleted that and locked another by its name.
    pub fn holds(&self) -> bool {
        let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (self.file.metadata(), fs::metadata(&self.path)) {
            (Ok(own), Ok(there)) => inode(own) == inode(there),
            (Ok(_) | Err(_), _) => false,
        }
    }

    /// Says in the file whose lock it is.
    pub fn sign(&self, text: &str) -> Result<(), String> {
        use std::io::Write;
        let signed = self.file.set_len(0).and_then(|()| (&self.file).write_all(text.as_bytes()));
        signed.map_err(|error| format!("{} cannot be written: {error}", self.path.display()))
    }
}

/// What the one who acts has signed its lock with; nothing while nobody acts.
pub fn signed_by_leader(root: &Path) -> Result<Option<String>, String> {
    let path = root.join(LEADER);
    if !root.is_dir() {
        return Err(format!("cannot read directory {}; is the name right?", root.display()));
    }
    if !is_taken(&path)? {
        return Ok(None);
    }
    fs::read_to_string(&path).map(Some).map_err(|error| cannot(&path, &error))
}

/// Whether somebody has the lock. It is asked for by taking it, shared and for a moment: a candidate that fails because of
/// this tries again.
fn is_taken(path: &Path) -> Result<bool, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(cannot(path, &error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(cannot(path, &error)),
    }
}

fn open(path: &Path) -> Result<File, String> {
    File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(|error| cannot(path, &error))
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be locked: {error}; is the directory there, and writable?", path.display())
}
