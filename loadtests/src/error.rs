//! The one error of these programs: a sentence for the person who ran them.

use std::fmt;

/// What went wrong, in words.
#[derive(Debug)]
pub struct Error(String);

/// A result of these programs.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of these words: lower case, no full stop, naming the thing and the value.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// `what` is the thing that could not be done, as in "cannot start nginx".
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|cause| Error(format!("{what}: {cause}")))
    }
}
