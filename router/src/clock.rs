//! Time as the data plane sees it: counted from when the process began, on a monotonic clock.
//!
//! This is the only module that reads a clock on behalf of requests. Everything that decides takes the time as an
//! argument.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the process's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub u64);

/// Milliseconds since the process's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Nanos {
    /// The same time in milliseconds, rounded down.
    pub const fn millis(self) -> Millis {
        Millis(self.0 / 1_000_000)
    }

    /// The same time in seconds, rounded down.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

impl Millis {
    /// Later than every other time.
    pub const NEVER: Millis = Millis(u64::MAX);

    /// This much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Millis {
        Millis(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// The time now.
pub fn now() -> Nanos {
    Nanos(u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// The time now, in milliseconds.
pub fn now_millis() -> Millis {
    now().millis()
}
