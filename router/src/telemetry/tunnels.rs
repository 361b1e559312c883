//! What is counted of connections that were upgraded.

use super::connections::reasons;
use super::counters::Counter;

reasons! {
    /// Why a tunnel ended.
    Closed
    /// Both sides have said all they had to say.
    Ended "ended";
    /// One side has gone.
    Broken "broken";
    /// Nothing passed for too long.
    Idle "idle";
    /// One side did not take what was sent.
    Stalled "stalled";
    /// Its requests would be on the other track by now.
    Left "left";
    /// Its tenant is moving.
    Fenced "fenced";
    /// The process ends.
    Drained "drained";
}

/// What one thread counts of tunnels.
#[derive(Debug, Default)]
pub struct TunnelCounters {
    /// Tunnels that were opened.
    pub opened: Counter,
    /// Those that were closed, by reason.
    pub closed: [Counter; Closed::ALL.len()],
    /// Bytes that endpoints sent.
    pub to_clients: Counter,
    /// Bytes that clients sent.
    pub to_endpoints: Counter,
}

impl TunnelCounters {
    pub(crate) fn closed(&self, why: Closed) {
        if let Some(counter) = self.closed.get(why as usize) {
            counter.add(1);
        }
    }
}
