//! The last good generation on disk, so that a router comes up when its store cannot be reached.
//!
//! A file is a row of records (`record.rs`): a whole generation first, and then what each later one changed, so that one
//! pin among a million costs a line. A file is begun anew when the changes weigh as much as what they change, and for as
//! long as it is small. What is damaged counts for nothing, and neither does what comes after it: half a configuration is
//! worse than an older one. One older file is kept beside it for that case.

mod error;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::error::{ErrorKind, doing};
use self::record::Kind;
use crate::digest::Digest;
use crate::generation::{Entry, InForce, join};
use crate::ids;
use crate::raw::Document;
use crate::tenants::{Tenant, TenantTable};

pub use self::error::LastKnownGoodError;

const FILE: &str = "last-known-good";
const PREVIOUS: &str = "last-known-good.previous";
const MAGIC: &str = "gridrouter-last-known-good";
/// Grows when a reader of the old form could misunderstand the new one.
const VERSION: u32 = 2;
/// A file below this size is written anew for each generation.
const SMALL: u64 = 1024 * 1024;
/// About how much goes into one record.
const RECORD_BYTES: usize = 256 * 1024;

/// A generation as it was kept on disk.
#[derive(Debug, Clone, Default)]
pub struct Saved {
    /// The generation's number.
    pub generation: u64,
    /// The digest of its documents.
    pub digest: Digest,
    /// When it came into force, in seconds since 1970.
    pub time: u64,
    /// Its documents, but for those in `tenants`.
    pub documents: Vec<SavedDocument>,
    /// Tenants that were listed as a table.
    pub tenants: TenantTable,
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

/// The record that ends a generation.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    generation: u64,
    digest: Digest,
    time: u64,
}

/// A document that is no more, or no more where it was.
#[derive(Debug, Serialize, Deserialize)]
struct Removed {
    kind: String,
    name: String,
    /// Whether it was a tenant of the table.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    table: bool,
}

/// What was found on disk.
#[derive(Debug)]
pub struct Loaded {
    /// The newest generation that is intact.
    pub saved: Saved,
    /// Why something newer was passed over, when it was; worth a warning.
    pub passed_over: Option<LastKnownGoodError>,
}

/// Keeps the last good generation in a directory.
#[derive(Debug)]
pub struct Keeper {
    directory: PathBuf,
    /// The file that ends with what was saved last, if this process wrote it.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    saved: InForce,
    /// Bytes of the generation that the file begins with, and of all changes after it.
    whole: u64,
    changes: u64,
}

impl Keeper {
    /// A keeper of this directory, which is created when something is saved.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), open: None }
    }

    /// Saves a generation. When this returns without an error, it survives a power failure; when it does not, an earlier
    /// one still stands.
    pub fn save(&mut self, in_force: &InForce, generation: u64, time: u64) -> Result<(), LastKnownGoodError> {
        let mark = Mark { generation, digest: in_force.digest(), time };
        let open = self.open.take().filter(|open| open.whole >= SMALL && open.changes <= open.whole);
        if let Some(mut open) = open.filter(|open| self.is_in_place(&open.file)) {
            let mut bytes = Vec::new();
            let written = changes(&mut bytes, &open.saved, in_force).and_then(|()| end(&mut bytes, &mark));
            let written = written.and_then(|()| open.file.write_all(&bytes)).and_then(|()| open.file.sync_data());
            doing("write", &self.directory.join(FILE), written)?;
            open.changes += bytes.len() as u64;
            open.saved = in_force.clone();
            self.open = Some(open);
            return Ok(());
        }
        let file = self.begin(in_force, &mark)?;
        let whole = doing("write", &self.directory.join(FILE), file.metadata())?.len();
        self.open = Some(Open { file, saved: in_force.clone(), whole, changes: 0 });
        Ok(())
    }

    /// Whether a file is still the one in the directory: it may have been removed, or replaced by another process.
    fn is_in_place(&self, file: &File) -> bool {
        match (file.metadata(), fs::metadata(self.directory.join(FILE))) {
            (Ok(own), Ok(there)) => (own.dev(), own.ino()) == (there.dev(), there.ino()),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// Writes a whole generation. The file that was there becomes the previous one.
    fn begin(&self, in_force: &InForce, mark: &Mark) -> Result<File, LastKnownGoodError> {
        let directory = &self.directory;
        let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        doing("create directory", directory, created)?;
        // The process id keeps two routers apart that share a directory while one takes over from the other.
        let temporary = directory.join(format!("{FILE}.{}.tmp", std::process::id()));
        let written = doing("write", &temporary, create(&temporary).and_then(|file| fill(file, in_force, mark)));
        let outcome = written.and_then(|file| replace(directory, &temporary).map(|()| file));
        if outcome.is_err() {
            // The disk may be full, so the half file must not stay. That it is gone already is just as good.
            let _ = fs::remove_file(&temporary);
        }
        outcome
    }
}

fn create(path: &Path) -> io::Result<File> {
    // A file that was left behind may have other permissions; a new one has ours.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn fill(file: File, in_force: &InForce, mark: &Mark) -> io::Result<File> {
    let mut file = BufWriter::new(file);
    writeln!(file, "{MAGIC} {VERSION}")?;
    put(&mut file, in_force.documents().values())?;
    put_tenants(&mut file, in_force.tenants().place(), in_force.tenants().iter())?;
    end(&mut file, mark)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file)
}

/// What differs from one generation to the next.
fn changes(to: &mut impl Write, before: &InForce, now: &InForce) -> io::Result<()> {
    let mut removed = Vec::new();
    if !now.same_documents(before) {
        let same = |one: &Entry, other: &Entry| {
            let (one, other) = (&one.source, &other.source);
            (one.digest, &one.file, one.line) == (other.digest, &other.file, other.line)
        };
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for (id, before, now) in join(before.documents(), now.documents()) {
            match (before, now) {
                (Some(before), Some(now)) if same(before, now) => {}
                (_, Some(now)) => changed.push(now),
                (_, None) => gone.push(id),
            }
        }
        put(to, changed.into_iter())?;
        removed.extend(gone.into_iter().map(|id| Removed {
            kind: id.kind.to_string(),
            name: id.name.to_string(),
            table: false,
        }));
    }
    let tenants = now.tenants().changes(before.tenants());
    put_tenants(to, now.tenants().place(), tenants.iter().filter_map(|change| change.after))?;
    let gone = tenants.iter().filter(|change| change.after.is_none()).filter_map(|change| change.before);
    removed.extend(gone.map(|tenant| Removed {
        kind: ids::Kind::Tenant.to_string(),
        name: tenant.name().to_owned(),
        table: true,
    }));
    for removed in removed.chunks(RECORD_BYTES / 64) {
        record::write(to, Kind::Removed, &serde_json::to_vec(removed)?)?;
    }
    Ok(())
}

fn put<'a>(to: &mut impl Write, entries: impl Iterator<Item = &'a Entry>) -> io::Result<()> {
    let mut payload = Vec::new();
    for entry in entries {
        let source = &entry.source;
        let saved = Reference { file: &source.file, line: source.line, document: &source.raw };
        payload.extend_from_slice(if payload.is_empty() { b"[" } else { b"," });
        serde_json::to_writer(&mut payload, &saved)?;
        if payload.len() >= RECORD_BYTES {
            payload.push(b']');
            record::write(to, Kind::Documents, &payload)?;
            payload.clear();
        }
    }
    if payload.is_empty() {
        return Ok(());
    }
    payload.push(b']');
    record::write(to, Kind::Documents, &payload)
}

/// A [`SavedDocument`] of what is borrowed.
#[derive(Serialize)]
struct Reference<'a> {
    file: &'a str,
    line: u32,
    document: &'a Document,
}

fn put_tenants<'a>(to: &mut impl Write, place: &str, tenants: impl Iterator<Item = Tenant<'a>>) -> io::Result<()> {
    let (mut payload, mut json) = (Vec::new(), Vec::new());
    for tenant in tenants {
        if payload.is_empty() {
            payload.extend_from_slice(place.as_bytes());
        }
        tenant.json(&mut json);
        payload.push(b'\n');
        payload.extend_from_slice(&json);
        if payload.len() >= RECORD_BYTES {
            record::write(to, Kind::Tenants, &payload)?;
            payload.clear();
        }
    }
    if payload.is_empty() { Ok(()) } else { record::write(to, Kind::Tenants, &payload) }
}

fn end(to: &mut impl Write, mark: &Mark) -> io::Result<()> {
    record::write(to, Kind::Generation, &serde_json::to_vec(mark)?)
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
    let refused = match read(&directory.join(FILE)) {
        Ok(Some(loaded)) => return Ok(Some(loaded)),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    match (read(&directory.join(PREVIOUS)), refused) {
        (Ok(Some(loaded)), Some(newest)) => Ok(Some(Loaded { passed_over: Some(newest), ..loaded })),
        (Ok(loaded), None) => Ok(loaded),
        (Ok(None), Some(error)) | (Err(error), None) => Err(error),
        (Err(previous), Some(newest)) => {
            let kind = ErrorKind::Both(Box::new(newest), Box::new(previous));
            Err(LastKnownGoodError { path: directory.to_owned(), kind })
        }
    }
}

fn read(path: &Path) -> Result<Option<Loaded>, LastKnownGoodError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        outcome => doing("read", path, outcome)?,
    };
    let wrong = |kind| LastKnownGoodError { path: path.to_owned(), kind };
    let (saved, damage) = decode(&mut BufReader::with_capacity(1 << 16, file)).map_err(wrong)?;
    Ok(Some(Loaded { saved, passed_over: damage.map(wrong) }))
}

/// The last generation before the end, or before the first damage. The error says why there is none.
fn decode(from: &mut impl BufRead) -> Result<(Saved, Option<ErrorKind>), ErrorKind> {
    let mut head = Vec::new();
    let reading = from.by_ref().take(64).read_until(b'\n', &mut head);
    reading.map_err(|source| ErrorKind::Io { doing: "read", source })?;
    let words = std::str::from_utf8(&head).ok().and_then(|head| head.strip_suffix('\n')?.strip_prefix(MAGIC));
    // One space and nothing else: a head that is written in two ways is one whose damage goes unnoticed.
    match words.and_then(|words| words.strip_prefix(' ')) {
        None => return Err(ErrorKind::Foreign),
        Some(version) if version != VERSION.to_string() => {
            return Err(ErrorKind::Version(version.split(' ').next().unwrap_or_default().to_owned()));
        }
        Some(_) => {}
    }
    let mut state = State::default();
    let damage = loop {
        match record::read(from).and_then(|record| record.map(|(kind, payload)| state.take(kind, &payload)).transpose())
        {
            Ok(Some(())) => {}
            Ok(None) => break None,
            Err(damage) => break Some(damage),
        }
    };
    let cut = || ErrorKind::Damaged("its last record is cut off");
    let Some(mark) = state.mark else { return Err(damage.unwrap_or_else(cut)) };
    let documents = state.documents.into_values().collect();
    let (Mark { generation, digest, time }, tenants) = (mark, state.tenants);
    let damage = damage.or_else(|| state.begun.then(cut));
    Ok((Saved { generation, digest, time, documents, tenants }, damage))
}

/// What was read so far.
#[derive(Default)]
struct State {
    mark: Option<Mark>,
    documents: BTreeMap<(ids::Kind, String), SavedDocument>,
    tenants: TenantTable,
    /// Whether there are records behind the last generation's end, and what they say.
    begun: bool,
    put: Vec<SavedDocument>,
    removed: Vec<Removed>,
    next_tenants: TenantTable,
}

impl State {
    fn take(&mut self, kind: Kind, payload: &[u8]) -> Result<(), ErrorKind> {
        self.begun = kind != Kind::Generation;
        match kind {
            Kind::Documents => {
                let put: Vec<SavedDocument> = serde_json::from_slice(payload).map_err(ErrorKind::Payload)?;
                self.put.extend(put);
            }
            Kind::Tenants => self.take_tenants(payload)?,
            Kind::Removed => {
                let removed: Vec<Removed> = serde_json::from_slice(payload).map_err(ErrorKind::Payload)?;
                self.removed.extend(removed);
            }
            Kind::Generation => {
                let mark = serde_json::from_slice(payload).map_err(ErrorKind::Payload)?;
                for Removed { kind, name, table } in self.removed.drain(..) {
                    if table {
                        self.next_tenants.remove(&name);
                    } else if let Some(kind) = ids::Kind::parse(&kind) {
                        self.documents.remove(&(kind, name));
                    }
                }
                for put in self.put.drain(..) {
                    self.documents.insert((put.document.kind(), put.document.name().to_owned()), put);
                }
                self.tenants = self.next_tenants.clone();
                self.mark = Some(mark);
            }
        }
        Ok(())
    }

    fn take_tenants(&mut self, payload: &[u8]) -> Result<(), ErrorKind> {
        let mut lines = payload.split(|byte| *byte == b'\n');
        let place = lines.next().and_then(|place| std::str::from_utf8(place).ok()).unwrap_or_default();
        if self.next_tenants.is_empty() {
            self.next_tenants = TenantTable::below(place);
        }
        for json in lines {
            if self.next_tenants.put_any_json(json) {
                continue;
            }
            // Another version of this program wrote it, and took for good what this one does not: it is checked with the
            // documents.
            let document: Document = serde_json::from_slice(json).map_err(ErrorKind::Payload)?;
            self.put.push(SavedDocument { file: format!("{place}{}", document.name()), line: 1, document });
        }
        Ok(())
    }
}
