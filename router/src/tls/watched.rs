//! Files that are looked at now and then: read when they change, the last good ones kept.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// The most bytes that a file of certificates or keys may have.
const MAX_BYTES: u64 = 1 << 20;
/// How often in a row something must be wrong until that is told, while there is a last good one: two files that belong
/// together are rarely replaced at the same moment.
const TOLD_AFTER: u32 = 2;

/// What tells that a file may be another one. The time of its last change of any kind is in it, permissions among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        Some(Self {
            device: about.dev(),
            inode: about.ino(),
            bytes: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    }
}

/// Something that is read from files, as a document says.
#[derive(Debug)]
pub(super) struct Watched<D, T> {
    /// What says where it is.
    pub(super) document: D,
    /// The files as they were when they were last read; `None` when they have to be read in any case.
    stamps: Option<Vec<Option<Stamp>>>,
    /// What was good last.
    pub(super) good: Option<Arc<T>>,
    /// What is wrong with what is there now.
    pub(super) fault: Option<String>,
    failures: u32,
}

/// What a look brought.
pub(super) struct Looked<T> {
    /// What was read anew.
    pub(super) fresh: Option<Arc<T>>,
    /// What is newly wrong, to be told.
    pub(super) fault: Option<String>,
    /// What was wrong is so no more.
    pub(super) is_healed: bool,
}

impl<D, T> Watched<D, T> {
    pub(super) fn new(document: D) -> Self {
        Self { document, stamps: None, good: None, fault: None, failures: 0 }
    }

    /// Reads it anew with the next look: its document has changed.
    pub(super) fn says(&mut self, document: D) {
        self.document = document;
        self.stamps = None;
    }

    /// Looks at the files, and reads them if they are not those that were read. What is wrong is read again each time.
    pub(super) fn look(&mut self, files: &[&Path], read: impl FnOnce() -> Result<T, String>) -> Looked<T> {
        let stamps = files.iter().map(|path| Stamp::of(path)).collect();
        if self.failures == 0 && self.stamps.as_ref() == Some(&stamps) {
            return Looked { fresh: None, fault: None, is_healed: false };
        }
        self.stamps = Some(stamps);
        match read() {
            Ok(fresh) => {
                self.failures = 0;
                let fresh = Arc::new(fresh);
                self.good = Some(Arc::clone(&fresh));
                Looked { fresh: Some(fresh), fault: None, is_healed: self.fault.take().is_some() }
            }
            Err(why) => {
                self.failures += 1;
                let is_told = self.good.is_none() || self.failures >= TOLD_AFTER;
                let fault = (is_told && self.fault.as_ref() != Some(&why)).then_some(why);
                if fault.is_some() {
                    self.fault.clone_from(&fault);
                }
                Looked { fresh: None, fault, is_healed: false }
            }
        }
    }
}

/// Reads a file that is not too large.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("{}: it has more than {MAX_BYTES} bytes", path.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_good_one_stays_and_a_fault_is_told_once() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("f");
        let mut watched: Watched<(), Vec<u8>> = Watched::new(());
        let look = |watched: &mut Watched<(), Vec<u8>>| {
            watched.look(&[&file], || match read(&file)? {
                bytes if bytes.starts_with(b"good") => Ok(bytes),
                _ => Err("bad".to_owned()),
            })
        };
        let first = look(&mut watched);
        assert!(first.fresh.is_none() && first.fault.unwrap().contains("No such file"));
        std::fs::write(&file, "good 1").unwrap();
        assert!(look(&mut watched).is_healed);
        assert!(look(&mut watched).fresh.is_none(), "nothing has changed");
        std::fs::write(&file, "bad").unwrap();
        assert!(look(&mut watched).fault.is_none(), "it may be about to change");
        assert_eq!(look(&mut watched).fault.as_deref(), Some("bad"));
        assert_eq!(look(&mut watched).fault, None);
        assert_eq!(watched.good.as_deref().unwrap(), b"good 1");
        std::fs::write(&file, "good 22").unwrap();
        let healed = look(&mut watched);
        assert!(healed.is_healed && watched.fault.is_none());
        assert_eq!(*healed.fresh.unwrap(), b"good 22");
    }
}
