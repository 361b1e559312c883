//! What an endpoint writes down where a drill asks it to: who came when, and when it was answered.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// One request at the endpoint.
#[derive(Debug, Clone)]
pub struct Visit {
    /// The path that was asked for.
    pub path: Box<str>,
    /// Whether it was made to fail.
    pub failed: bool,
    /// When the request had come whole.
    pub came: Instant,
    /// Just before its answer was sent, so that nobody who waits for this answer can have come yet; nothing until then.
    pub left: Option<Instant>,
}

/// Every request of one endpoint, in the order in which they came.
#[derive(Debug, Default)]
pub struct Journal {
    visits: Mutex<Vec<Visit>>,
}

impl Journal {
    /// Notes a request that has come. It has left when the result is dropped.
    pub(super) fn came(self: &Arc<Self>, path: Box<str>, failed: bool) -> Stay {
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        visits.push(Visit { path, failed, came: Instant::now(), left: None });
        Stay { journal: Arc::clone(self), number: visits.len() - 1 }
    }

    /// How many visits there were.
    pub fn count(&self) -> usize {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// When the last visit came.
    pub fn last(&self) -> Option<Instant> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner).last().map(|visit| visit.came)
    }

    /// The visits to this path and to what is below it.
    pub fn visits(&self, below: &str) -> Vec<Visit> {
        let visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        let is_below =
            |path: &str| path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        visits.iter().filter(|visit| is_below(&visit.path)).cloned().collect()
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Stay {
    journal: Arc<Journal>,
    number: usize,
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut visits = self.journal.visits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(visit) = visits.get_mut(self.number) {
            visit.left = Some(Instant::now());
        }
    }
}
