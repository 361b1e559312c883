//! The last good generation on disk, so that a router comes up when its store cannot be reached.
//!
//! A file is one header line and a JSON payload. The header says how long the payload is and what it hashes to, so a
//! file that was torn, cut or damaged is refused as a whole: half a configuration is worse than an older one. One older
//! file is kept beside it for that case.

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::raw::Document;

const FILE: &str = "last-known-good";
const PREVIOUS: &str = "last-known-good.previous";
const MAGIC: &str = "gridrouter-last-known-good";
/// Grows when a reader of the old form could misunderstand the new one.
const VERSION: u32 = 1;
/// No header is longer than this.
const MAX_HEADER_BYTES: usize = 128;
/// Beyond this a file cannot be ours; reading it would only fill the memory.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// A generation as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Saved {
    /// The generation's number.
    pub generation: u64,
    /// The digest of its documents, in hexadecimal.
    pub digest: String,
    /// When it came into force, in seconds since 1970.
    pub time: u64,
    /// Its documents.
    pub documents: Vec<SavedDocument>,
}

/// A document, and where people wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedDocument {
    /// The file or key that it came from.
    pub file: String,
    /// The line that it begins on, counted from 1.
    pub line: u32,
    /// The document itself.
    pub document: Document,
}

/// What [`load`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The newest generation that is intact.
    pub saved: Saved,
    /// Why the newest file was passed over for the one before it, when it was; worth a warning.
    pub passed_over: Option<LastKnownGoodError>,
}

/// Why a generation could not be saved or loaded.
#[derive(Debug)]
pub struct LastKnownGoodError {
    path: PathBuf,
    kind: ErrorKind,
}

#[derive(Debug)]
enum ErrorKind {
    Io {
        doing: &'static str,
        source: io::Error,
    },
    Foreign,
    Version(String),
    Damaged(&'static str),
    Payload(serde_json::Error),
    /// Neither the newest file nor the one before it is usable.
    Both(Box<LastKnownGoodError>, Box<LastKnownGoodError>),
}

impl fmt::Display for LastKnownGoodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.kind {
            ErrorKind::Io { doing, .. } => {
                write!(f, "cannot {doing} {path}; is there space, and may this user write there?")
            }
            ErrorKind::Foreign => {
                write!(f, "{path} is not a last-known-good file; remove it, or name another state directory")
            }
            ErrorKind::Version(version) => {
                let ours = VERSION;
                write!(
                    f,
                    "{path} has format version {version}, this program reads {ours}; use the version that wrote it"
                )
            }
            ErrorKind::Damaged(how) => write!(f, "{path} is damaged: {how}; remove it"),
            ErrorKind::Payload(_) => write!(f, "{path} is intact but cannot be understood; remove it"),
            ErrorKind::Both(newest, previous) => write!(f, "no usable generation: {newest}; {previous}"),
        }
    }
}

impl std::error::Error for LastKnownGoodError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::Io { source, .. } => Some(source),
            ErrorKind::Payload(source) => Some(source),
            ErrorKind::Foreign | ErrorKind::Version(_) | ErrorKind::Damaged(_) | ErrorKind::Both(..) => None,
        }
    }
}

/// Adds what was being done, and to which path, to an error of the system.
fn doing<T>(doing: &'static str, path: &Path, result: io::Result<T>) -> Result<T, LastKnownGoodError> {
    result.map_err(|source| LastKnownGoodError { path: path.to_owned(), kind: ErrorKind::Io { doing, source } })
}

/// Writes a generation into `directory`, which is created when missing. What was there becomes the previous one. When
/// this returns without an error, the generation survives a power failure; when it does not, the old files still stand.
pub fn save(directory: &Path, saved: &Saved) -> Result<(), LastKnownGoodError> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    doing("create directory", directory, created)?;
    // The process id keeps two routers apart that share a directory while one takes over from the other.
    let temporary = directory.join(format!("{FILE}.{}.tmp", std::process::id()));
    let outcome = write(&temporary, saved).and_then(|()| replace(directory, &temporary));
    if outcome.is_err() {
        // The disk may be full, so the half file must not stay. That it is gone already is just as good.
        let _ = fs::remove_file(&temporary);
    }
    outcome
}

fn write(path: &Path, saved: &Saved) -> Result<(), LastKnownGoodError> {
    let payload = serde_json::to_vec(saved)
        .map_err(|source| LastKnownGoodError { path: path.to_owned(), kind: ErrorKind::Payload(source) })?;
    let attempt = || -> io::Result<()> {
        // A file that was left behind may have other permissions; a new one has ours.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        fill(&mut file, &payload)
    };
    doing("write", path, attempt())
}

fn fill(file: &mut File, payload: &[u8]) -> io::Result<()> {
    file.write_all(header(payload).as_bytes())?;
    file.write_all(payload)?;
    file.sync_all()
}

fn replace(directory: &Path, temporary: &Path) -> Result<(), LastKnownGoodError> {
    let (newest, previous) = (directory.join(FILE), directory.join(PREVIOUS));
    // Between the two renames there is no newest file, and a crash there leaves the previous one to boot from.
    match fs::rename(&newest, &previous) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return doing("replace", &previous, Err(error)),
        Ok(()) | Err(_) => {}
    }
    doing("replace", &newest, fs::rename(temporary, &newest))?;
    doing("synchronize", directory, File::open(directory).and_then(|directory| directory.sync_all()))
}

/// Reads the newest generation in `directory` that is intact: `None` when none was ever saved there.
pub fn load(directory: &Path) -> Result<Option<Loaded>, LastKnownGoodError> {
    let newest = read(&directory.join(FILE));
    let refused = match newest {
        Ok(Some(saved)) => return Ok(Some(Loaded { saved, passed_over: None })),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    match (read(&directory.join(PREVIOUS)), refused) {
        (Ok(Some(saved)), passed_over) => Ok(Some(Loaded { saved, passed_over })),
        (Ok(None), None) => Ok(None),
        (Ok(None), Some(error)) | (Err(error), None) => Err(error),
        (Err(previous), Some(newest)) => {
            let kind = ErrorKind::Both(Box::new(newest), Box::new(previous));
            Err(LastKnownGoodError { path: directory.to_owned(), kind })
        }
    }
}

fn read(path: &Path) -> Result<Option<Saved>, LastKnownGoodError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        outcome => doing("read", path, outcome)?,
    };
    decode(&bytes).map(Some).map_err(|kind| LastKnownGoodError { path: path.to_owned(), kind })
}

fn header(payload: &[u8]) -> String {
    format!("{MAGIC} {VERSION} {} {:032x}\n", payload.len(), xxh3_128(payload))
}

fn decode(bytes: &[u8]) -> Result<Saved, ErrorKind> {
    let start = bytes.get(..MAX_HEADER_BYTES).unwrap_or(bytes);
    let end = start.iter().position(|byte| *byte == b'\n').ok_or(ErrorKind::Foreign)?;
    let (head, payload) = bytes.split_at(end + 1);
    let head = std::str::from_utf8(head).map_err(|_| ErrorKind::Foreign)?;
    let mut words = head.trim_end().split(' ');
    if words.next() != Some(MAGIC) {
        return Err(ErrorKind::Foreign);
    }
    let version = words.next().unwrap_or_default();
    if version != VERSION.to_string() {
        return Err(ErrorKind::Version(version.to_owned()));
    }
    if words.next() != Some(payload.len().to_string().as_str()) {
        return Err(ErrorKind::Damaged("its length is not the one in its header"));
    }
    // Comparing the whole line leaves no two ways of writing the same header.
    if head != header(payload) {
        return Err(ErrorKind::Damaged("its checksum is wrong"));
    }
    serde_json::from_slice(payload).map_err(ErrorKind::Payload)
}
