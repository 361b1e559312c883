//! One look over a directory tree: which files there are and how they looked, without reading them.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::store::StoreError;

/// The largest file that is read. A million pins take about 60 MiB, and belong into several files.
pub(super) const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// The most files that are read: beyond this, somebody pointed the router at the wrong directory.
const MAX_FILES: usize = 100_000;
/// The deepest nesting that is followed.
const MAX_DEPTH: usize = 32;

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Every document file, by its path relative to the root.
    pub(super) files: BTreeMap<PathBuf, Look>,
    /// Directories that could not be read, relative to the root, and why. What is below them is unknown, not gone.
    pub(super) blind: BTreeMap<PathBuf, String>,
    /// Every directory that a change can happen in, by its canonical path.
    pub(super) directories: BTreeMap<PathBuf, Identity>,
}

/// How one file looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// A file that can be tried.
    File(Stamp),
    /// Something that cannot be read, and why.
    Fault(String),
}

/// What changes when a file's content does. The time of the last status change cannot be set back by a copying program,
/// and moves when permissions do; the inode moves when another file takes the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: (u64, u64),
}

/// What tells a directory from another one that later takes its name. Inode numbers alone are reused at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    inode: (u64, u64),
    born: Option<SystemTime>,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }

    /// Whether the file was last touched over a second before `now`, by the clock of this machine.
    pub(super) fn is_old(&self, now: SystemTime) -> bool {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
        self.changed.0.max(self.modified.0) < seconds - 1
    }
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { inode: (metadata.dev(), metadata.ino()), born: metadata.created().ok() }
    }
}

/// Looks over the tree below `root`.
pub(super) fn scan(root: &Path) -> Result<Scan, StoreError> {
    let unreadable = |error: io::Error| {
        StoreError::new(
            format!("cannot read directory {}", root.display()),
            "create it, or make it readable for the user this program runs as",
        )
        .caused_by(error)
    };
    let mut walk = Walk { root, scan: Scan::default(), seen: HashSet::new() };
    let listing = fs::read_dir(root).map_err(unreadable)?;
    walk.remember_directory(root);
    walk.directory(listing, Path::new(""), 0)?;
    Ok(walk.scan)
}

struct Walk<'a> {
    root: &'a Path,
    scan: Scan,
    /// Directories already walked, by inode: a symbolic link back up the tree, or a second one to the same place,
    /// leads nowhere new.
    seen: HashSet<(u64, u64)>,
}

impl Walk<'_> {
    fn directory(&mut self, listing: fs::ReadDir, relative: &Path, depth: usize) -> Result<(), StoreError> {
        let mut names: Vec<_> = listing.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
        // The order decides which of two links to one directory is followed, so it must not be left to chance.
        names.sort();
        for name in names.iter().filter(|name| !is_leftover(name)) {
            self.item(relative.join(name), depth)?;
        }
        Ok(())
    }

    fn item(&mut self, relative: PathBuf, depth: usize) -> Result<(), StoreError> {
        let path = self.root.join(&relative);
        let metadata = fs::metadata(&path);
        match metadata {
            Ok(metadata) if metadata.is_dir() => self.subdirectory(&path, &relative, depth),
            _ if !is_document(&relative) => Ok(()),
            Ok(metadata) => self.file(relative, &path, look_at(&metadata)),
            // Gone since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => Ok(()),
            Err(error) => self.file(relative, &path, Look::Fault(explain(&path, &error))),
        }
    }

    fn subdirectory(&mut self, path: &Path, relative: &Path, depth: usize) -> Result<(), StoreError> {
        if depth >= MAX_DEPTH {
            let why = format!("is nested more than {MAX_DEPTH} directories deep; what is below it is not read");
            self.scan.blind.insert(relative.to_owned(), why);
            return Ok(());
        }
        if !self.remember_directory(path) {
            return Ok(());
        }
        match fs::read_dir(path) {
            Ok(listing) => self.directory(listing, relative, depth + 1)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.scan.blind.insert(relative.to_owned(), explain(path, &error));
            }
        }
        Ok(())
    }

    fn file(&mut self, relative: PathBuf, path: &Path, look: Look) -> Result<(), StoreError> {
        if self.scan.files.len() >= MAX_FILES {
            let what = format!("more than {MAX_FILES} documents below {}: {} is one too many", self.root.display(), {
                relative.display()
            });
            return Err(StoreError::new(what, "is this the right directory? if so, put more documents into each file"));
        }
        // A link's target is written to elsewhere: without a watch there, only the slow poll would notice.
        if path.is_symlink()
            && let Some(home) = fs::canonicalize(path).ok().as_deref().and_then(Path::parent)
            && let Ok(metadata) = fs::metadata(home)
        {
            self.scan.directories.insert(home.to_owned(), Identity::of(&metadata));
        }
        self.scan.files.insert(relative, look);
        Ok(())
    }

    /// Notes a directory as one to watch; `false` when it was walked before.
    fn remember_directory(&mut self, path: &Path) -> bool {
        let (Ok(canonical), Ok(metadata)) = (fs::canonicalize(path), fs::metadata(path)) else { return true };
        self.scan.directories.insert(canonical, Identity::of(&metadata));
        self.seen.insert((metadata.dev(), metadata.ino()))
    }
}

pub(super) fn look_at(metadata: &Metadata) -> Look {
    if !metadata.is_file() {
        return Look::Fault("is not a regular file; put the documents into one, or rename this".to_owned());
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Look::Fault(too_large(metadata.len()));
    }
    Look::File(Stamp::of(metadata))
}

pub(super) fn too_large(size: u64) -> String {
    let mebibytes = MAX_FILE_BYTES / (1024 * 1024);
    format!("is too large: {size} bytes, at most {mebibytes} MiB are read; split it into several files")
}

pub(super) fn explain(path: &Path, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound && path.is_symlink() {
        return "is a symbolic link to nothing; create what it points to, or remove it".to_owned();
    }
    if error.kind() == io::ErrorKind::NotFound {
        return "does not exist; is the name right?".to_owned();
    }
    format!("cannot be read: {error}; make it readable for the user this program runs as")
}

/// Hidden names (`.git`, vim's `.x.swp`, a ConfigMap's `..data` and `..2026_…`) and what editors leave beside a file.
pub(super) fn is_leftover(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let ends = |suffix: &[u8]| name.ends_with(suffix);
    name.starts_with(b".") || ends(b"~") || ends(b".swp") || ends(b".tmp") || (name.starts_with(b"#") && ends(b"#"))
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}
