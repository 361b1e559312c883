//! What became of the copies of requests that the new track of a shift got: how its answers compare to those of the old one.

use serde::{Deserialize, Serialize};

use super::Latencies;

/// Differences that each thread of a router keeps, the latest.
pub const KEPT: usize = 100;

/// What one router counted of the copies of one run of a shift in one cell.
///
/// A copy is compared when the heads of both answers have come. One whose client left before is neither compared nor failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MirrorCounts {
    /// Copies that were sent, or tried to.
    pub copies: u64,
    /// Requests that were to be copied and were not, because too many copies were in flight or the router was short of
    /// something else.
    pub dropped: u64,
    /// Copies that are on their way.
    pub in_flight: u64,
    /// Copies that got no answer: nobody listened, it took too long, or was no HTTP.
    pub failed: u64,
    /// Copies whose answer was compared.
    pub compared: u64,
    /// Those of them with another status than the client was told.
    pub status_differs: u64,
    /// Those of them of which the bodies were compared, too.
    pub bodies_compared: u64,
    /// Those of them with another body.
    pub bodies_differ: u64,
    /// Compared copies whose answer took more than twice as long as that of the old track, and more than 10 ms longer.
    pub slower: u64,
    /// How long the old track took for the requests of compared copies, as [`TrackCounts`](super::TrackCounts) has it; those are
    /// left out that the router answered in its place.
    pub old_latency_micros: Latencies,
    /// How long the new track took for the same.
    pub new_latency_micros: Latencies,
    /// The latest differences, in order of time.
    pub differences: Vec<Difference>,
}

/// A copy whose answer was another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Difference {
    /// When that was seen, in milliseconds since 1970.
    pub at: u64,
    /// The route.
    pub route: String,
    /// The request's method.
    pub method: String,
    /// Its target, as it was sent on; cut where it is long.
    pub path: String,
    /// Its tenant, if it has one.
    pub tenant: Option<String>,
    /// Its id, as endpoints and logs have it.
    pub request_id: String,
    /// What the client was told.
    pub old_status: u16,
    /// What the copy was told; nothing if it got no answer.
    pub new_status: Option<u16>,
    /// Why it got none: the code of the reject that a client would have been told.
    pub failure: Option<String>,
    /// How long the head of the old track's answer took, in microseconds; nothing if the router answered in its place.
    pub old_micros: Option<u64>,
    /// How long that of the new track took.
    pub new_micros: Option<u64>,
    /// What the comparison of the bodies said.
    pub bodies: Bodies,
    /// How long the old track's body was, in bytes, if both were compared: as far as they were.
    pub old_length: Option<u64>,
    /// How long that of the new track was.
    pub new_length: Option<u64>,
}

/// What the comparison of two bodies said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bodies {
    /// They were not compared.
    #[default]
    NotCompared,
    /// They are the same, as far as they were compared.
    Same,
    /// They are not.
    Differ,
}

impl Bodies {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Bodies::NotCompared => "not-compared",
            Bodies::Same => "same",
            Bodies::Differ => "differ",
        }
    }
}

impl MirrorCounts {
    /// Adds those of another router. Returns whether the latencies could be added, too.
    pub fn add(&mut self, other: &MirrorCounts) -> bool {
        self.copies = self.copies.saturating_add(other.copies);
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
        self.failed = self.failed.saturating_add(other.failed);
        self.compared = self.compared.saturating_add(other.compared);
        self.status_differs = self.status_differs.saturating_add(other.status_differs);
        self.bodies_compared = self.bodies_compared.saturating_add(other.bodies_compared);
        self.bodies_differ = self.bodies_differ.saturating_add(other.bodies_differ);
        self.slower = self.slower.saturating_add(other.slower);
        self.differences.extend_from_slice(&other.differences);
        self.differences.sort_by_key(|difference| difference.at);
        let old = self.old_latency_micros.add(&other.old_latency_micros);
        self.new_latency_micros.add(&other.new_latency_micros) && old
    }

    /// Whether the new track answered otherwise, or not at all, at least once.
    pub fn differs(&self) -> bool {
        self.failed > 0 || self.status_differs > 0 || self.bodies_differ > 0
    }
}
