//! What is wrong with a document, where, and what to write instead.

mod render;
mod suggest;

pub use render::SourceText;
pub use suggest::did_you_mean;
pub(crate) use suggest::nearest;

use std::cmp::Ordering;
use std::sync::Arc;

use serde::Serialize;

use crate::ids::DocumentId;
use crate::node::Mark;

/// One thing that is wrong. Its texts are lower case, without a full stop, and name the thing and the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as the store names it.
    pub file: Arc<str>,
    /// The line, starting at 1.
    pub line: u32,
    /// The column in characters, starting at 1.
    pub column: u32,
    /// How many characters the wrong text has on its line, at least 1.
    pub length: u32,
    /// The field, such as `cells.eu-1.blue[0].address`; empty for the document as a whole.
    pub path: String,
    /// The document, when its kind and name could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentId>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The document that is referred to and does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<DocumentId>,
}

impl Problem {
    /// A problem of a file as a whole, at its beginning.
    pub fn of_file(file: &Arc<str>, message: impl Into<String>) -> Problem {
        Problem::at(file, Mark::START, message)
    }

    pub(crate) fn at(file: &Arc<str>, at: Mark, message: impl Into<String>) -> Problem {
        Problem {
            file: Arc::clone(file),
            line: at.line,
            column: at.column,
            length: at.length,
            path: String::new(),
            document: None,
            message: message.into(),
            help: None,
            missing: None,
        }
    }

    /// The same problem with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// The order in which people read: by file, then from top to bottom.
    pub fn reading_order(&self, other: &Problem) -> Ordering {
        let key = |p: &Problem| (p.line, p.column);
        self.file
            .cmp(&other.file)
            .then_with(|| key(self).cmp(&key(other)))
            .then_with(|| self.path.cmp(&other.path))
            .then_with(|| self.message.cmp(&other.message))
    }
}

/// The most problems that are told of one document by one check: nobody reads more, and each takes time to place and
/// memory to keep.
const MOST: usize = 1_000;

/// What one check finds wrong with a document.
#[derive(Debug, Default)]
pub(crate) struct Found {
    problems: Vec<Problem>,
    more: usize,
}

impl Found {
    /// One more. It is made only if it is told.
    pub(crate) fn add(&mut self, problem: impl FnOnce() -> Problem) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.problems.push(problem());
        }
    }

    /// Whether no more are told.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.len() >= MOST
    }

    /// How many there are, told or not.
    pub(crate) fn count(&self) -> usize {
        self.problems.len() + self.more
    }

    /// What is told.
    pub(crate) fn into_told(mut self) -> Vec<Problem> {
        if let (Some(last), 1..) = (self.problems.last(), self.more) {
            let message = "more problems of this document are not told".to_owned();
            self.problems.push(Problem { message, help: None, missing: None, ..last.clone() });
        }
        self.problems
    }
}

/// A value as messages show it: in quotes, escaped, and cut when it is long.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// Names as messages list them: `"a", "b" and 3 more`.
pub(crate) fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 5;
    let all: Vec<&str> = names.into_iter().collect();
    let shown: Vec<String> = all.iter().take(MOST).map(|name| quoted(name)).collect();
    match (shown.as_slice(), all.len().saturating_sub(MOST)) {
        ([one], 0) => one.clone(),
        ([first @ .., last], 0) => format!("{} and {last}", first.join(", ")),
        (_, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Messages of small checks read `what is wrong; what to write instead`: the two parts.
pub(crate) fn split_advice(message: String) -> (String, Option<String>) {
    match message.rsplit_once("; ") {
        Some((wrong, advice)) => (wrong.to_owned(), Some(advice.to_owned())),
        None => (message, None),
    }
}
