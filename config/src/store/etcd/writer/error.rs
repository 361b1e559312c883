//! Why something was not published.

use std::fmt;

use super::record::History;
use crate::store::StoreError;
use crate::store::etcd::client::{Kind, Trouble};
use crate::store::etcd::head::Head;

/// Why something was not published.
#[derive(Debug)]
pub enum PublishError {
    /// Somebody else published meanwhile. Nothing was changed: read again, and see whether the change is still right.
    Lost(Box<Lost>),
    /// The leadership that the change was to be made under is over: somebody else leads, or nobody. Nothing was changed.
    Deposed,
    /// The change cannot be published as it is.
    Refused(String),
    /// etcd could not be used. Nothing was changed.
    Store(StoreError),
    /// etcd took the change and did not say what became of it, and cannot be asked either.
    Unknown(StoreError),
}

/// Who was faster.
#[derive(Debug)]
pub struct Lost {
    /// The generation that the change started from.
    pub base: u64,
    /// The head in force now; nothing when it was deleted.
    pub head: Option<Head>,
    /// What was published since the base, as far as the history knows, the newest first; ten generations at most.
    pub since: Vec<History>,
}

impl From<Trouble> for PublishError {
    fn from(trouble: Trouble) -> Self {
        match trouble.kind {
            Kind::Deposed => PublishError::Deposed,
            Kind::Compacted | Kind::Denied | Kind::Held | Kind::Broken | Kind::Moved | Kind::Failed | Kind::Foreign => {
                PublishError::Store(trouble.into())
            }
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Lost(lost) => lost.fmt(f),
            PublishError::Deposed => f.write_str("nothing was published: this is not the leader any more"),
            PublishError::Refused(why) => f.write_str(why),
            PublishError::Store(error) => write!(f, "nothing was published: {error}"),
            PublishError::Unknown(error) => write!(f, "it is not known whether the change was published: {error}"),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PublishError::Store(error) | PublishError::Unknown(error) => error.source(),
            PublishError::Lost(_) | PublishError::Deposed | PublishError::Refused(_) => None,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Documents that the text names.
        const NAMED: usize = 5;
        write!(f, "nothing was published: the change starts from generation {}, and ", self.base)?;
        match &self.head {
            None => write!(f, "the head was deleted meanwhile")?,
            Some(head) => {
                write!(f, "{} published generation {} meanwhile", head.author, head.generation)?;
                if !head.message.is_empty() {
                    write!(f, " ({})", head.message)?;
                }
            }
        }
        let mut names: Vec<&str> = Vec::new();
        for name in self.since.iter().flat_map(|one| &one.documents) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let shown = names.get(..NAMED).unwrap_or(&names);
        let all = self.since.iter().map(|one| one.changed).sum::<usize>().max(shown.len());
        match (shown, all - shown.len()) {
            ([], _) => {}
            (shown, 0) => write!(f, ", which changed {}", shown.join(", "))?,
            (shown, more) => write!(f, ", which changed {} and {more} more", shown.join(", "))?,
        }
        write!(f, "; read it again and repeat the change")
    }
}
