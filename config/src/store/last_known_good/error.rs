//! Why a generation could not be saved or loaded.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a generation could not be saved or loaded.
#[derive(Debug)]
pub struct LastKnownGoodError {
    pub(super) path: PathBuf,
    pub(super) kind: ErrorKind,
}

#[derive(Debug)]
pub(super) enum ErrorKind {
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
                let ours = super::VERSION;
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
pub(super) fn doing<T>(doing: &'static str, path: &Path, result: io::Result<T>) -> Result<T, LastKnownGoodError> {
    result.map_err(|source| LastKnownGoodError { path: path.to_owned(), kind: ErrorKind::Io { doing, source } })
}
