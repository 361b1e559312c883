//! What routers counted of the tracks of shifts: what their `/tracks` says, and whoever analyses a shift reads.
//!
//! All numbers grow from when the run of the shift began in that process, and begin again at zero in one that was
//! restarted, which `routerStarted` tells. Fields that this version does not know are left alone, and one that is missing
//! has its default: routers may be newer, or older.

pub mod mirror;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::mirror::MirrorCounts;
use crate::track::Track;

/// What one router says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tracks {
    /// The generation in force in it.
    pub generation: u64,
    /// When the router was started, in milliseconds since 1970: of another start, all numbers are others.
    pub router_started: u64,
    /// The router's id in etcd, where it has one.
    pub router: String,
    /// A random number of the process: two answers with the same one come from the same router. 0 of older routers.
    pub process: u64,
    /// The shifts that are under way in that generation, and those that have ended of which something was counted.
    pub shifts: Vec<ShiftTracks>,
}

/// One run of a shift in one cell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShiftTracks {
    /// The shift.
    pub shift: String,
    /// When it was started, in milliseconds since 1970: one that was started again is another run.
    pub started: u64,
    /// The service.
    pub service: String,
    /// The cell.
    pub cell: String,
    /// The track that the traffic moves to.
    pub to: Track,
    /// How much of it is there, such as `10%`; that of the last state where the shift has ended.
    pub share: String,
    /// Both tracks.
    pub tracks: BTreeMap<Track, TrackCounts>,
    /// What became of the copies that the new track got, where the shift asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorCounts>,
}

/// What was counted of one track.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrackCounts {
    /// Requests that went to the track and are over. Those are not counted that say nothing of it: whose client left within
    /// a second and before there was an answer, or did not send what it should, or that the router itself was too short of
    /// something to send.
    pub requests: u64,
    /// Those of them that failed: answered with a status of 500 and above, not answered, or not to the end.
    pub failed: u64,
    /// Requests that should have gone to the track, and went to the other one because it had no endpoint; they are counted
    /// there.
    pub fallbacks: u64,
    /// Requests whose answer is not over.
    pub in_flight: u64,
    /// Those of them that would be on the other track now, and are closed when their time to drain is over.
    pub leaving: u64,
    /// From when the request could be sent on until the head of its answer had come, of those that an endpoint answered; of
    /// those whose client left, having waited for a second at the least, until then.
    pub latency_micros: Latencies,
}

/// How many durations lay between which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Latencies {
    /// Upper bounds in microseconds, each the last duration of its bucket.
    pub bounds: Vec<u64>,
    /// Durations in each bucket; one bucket more than there are bounds, for longer ones.
    pub counts: Vec<u64>,
}

/// Below this, in microseconds, all durations are one bucket: 2^6.
const FIRST_OCTAVE: u32 = 6;
/// The octaves, up to 2^26 microseconds, which is 67 s.
const OCTAVES: u32 = 20;
/// Buckets of an octave, as a power of two: each is at most an eighth wider than the one before.
const STEPS_LOG2: u32 = 3;

/// Buckets that a router counts in.
pub const BUCKETS: usize = 2 + (OCTAVES << STEPS_LOG2) as usize;

/// The bucket of a duration in microseconds: 0 to [`BUCKETS`] - 1.
pub const fn bucket_of(micros: u64) -> usize {
    if micros < 1 << FIRST_OCTAVE {
        return 0;
    }
    let octave = micros.ilog2();
    if octave >= FIRST_OCTAVE + OCTAVES {
        return BUCKETS - 1;
    }
    // The bits behind the leading one.
    let step = (micros >> (octave - STEPS_LOG2)) as u32 & ((1 << STEPS_LOG2) - 1);
    1 + (((octave - FIRST_OCTAVE) << STEPS_LOG2) + step) as usize
}

/// The last duration of a bucket, in microseconds; none of the last one, which is without end.
pub const fn last_of(bucket: usize) -> Option<u64> {
    if bucket + 1 >= BUCKETS {
        return None;
    }
    // How many steps the next bucket begins above the first octave.
    let (octave, step) = (bucket >> STEPS_LOG2, bucket as u64 & ((1 << STEPS_LOG2) - 1));
    let begins = ((1 << STEPS_LOG2) + step) << (FIRST_OCTAVE as usize + octave - STEPS_LOG2 as usize);
    Some(begins - 1)
}

impl Default for Latencies {
    fn default() -> Self {
        Self::of(vec![0; BUCKETS])
    }
}

impl Latencies {
    /// Those counted in the buckets of [`bucket_of`].
    pub fn of(counts: Vec<u64>) -> Self {
        Self { bounds: (0..BUCKETS).filter_map(last_of).collect(), counts }
    }

    /// How many there are. What routers say is not trusted to have a sum: numbers end at the greatest there is.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds those of another router. Returns whether that could be done: not if its bounds are others.
    pub fn add(&mut self, other: &Latencies) -> bool {
        let fits = self.bounds == other.bounds && self.counts.len() == other.counts.len();
        if fits {
            for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
                *sum = sum.saturating_add(*count);
            }
        }
        fits
    }

    /// Those that came since an earlier reading of the same router; all of them if that one does not fit.
    #[must_use]
    pub fn since(&self, earlier: &Latencies) -> Latencies {
        let mut since = self.clone();
        if self.bounds == earlier.bounds && self.counts.len() == earlier.counts.len() {
            for (count, before) in since.counts.iter_mut().zip(&earlier.counts) {
                *count = count.saturating_sub(*before);
            }
        }
        since
    }

    /// The duration in microseconds within which this share of them lies, 0.0 to 1.0: the upper bound of its bucket, at most
    /// an eighth too long. None if there are none; [`u64::MAX`] if it is longer than all bounds.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let wanted = ((share.clamp(0.0, 1.0) * total as f64).ceil() as u64).clamp(1, total);
        let mut below = 0_u64;
        let bucket = self.counts.iter().position(|count| {
            below = below.saturating_add(*count);
            below >= wanted
        });
        bucket.map(|bucket| self.bounds.get(bucket).copied().unwrap_or(u64::MAX))
    }
}

impl TrackCounts {
    /// Adds those of another router. Returns whether the latencies could be added, too.
    pub fn add(&mut self, other: &TrackCounts) -> bool {
        self.requests = self.requests.saturating_add(other.requests);
        self.failed = self.failed.saturating_add(other.failed);
        self.fallbacks = self.fallbacks.saturating_add(other.fallbacks);
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
        self.leaving = self.leaving.saturating_add(other.leaving);
        self.latency_micros.add(&other.latency_micros)
    }

    /// What came since an earlier reading of the same router. What is in flight is in flight now.
    #[must_use]
    pub fn since(&self, earlier: &TrackCounts) -> TrackCounts {
        TrackCounts {
            requests: self.requests.saturating_sub(earlier.requests),
            failed: self.failed.saturating_sub(earlier.failed),
            fallbacks: self.fallbacks.saturating_sub(earlier.fallbacks),
            in_flight: self.in_flight,
            leaving: self.leaving,
            latency_micros: self.latency_micros.since(&earlier.latency_micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        let mut first = 0;
        for bucket in 0..BUCKETS - 1 {
            let last = last_of(bucket).unwrap();
            assert!(first <= last, "{bucket}");
            assert_eq!((bucket_of(first), bucket_of(last), bucket_of(last + 1)), (bucket, bucket, bucket + 1));
            if bucket > 0 {
                assert!((last + 1 - first) * 8 <= first, "{bucket}: {first} to {last}");
            }
            first = last + 1;
        }
        assert_eq!((last_of(0), last_of(BUCKETS - 2), last_of(BUCKETS - 1)), (Some(63), Some((1 << 26) - 1), None));
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn quantiles_are_at_most_an_eighth_too_long() {
        let mut counts = vec![0; BUCKETS];
        for micros in 1..=1_000 {
            counts[bucket_of(micros * 1_000)] += 1;
        }
        let latencies = Latencies::of(counts);
        for (share, exact) in [(0.0, 1_000.0), (0.5, 500_000.0), (0.99, 990_000.0), (1.0, 1_000_000.0)] {
            let found = latencies.quantile(share).unwrap() as f64;
            assert!((exact..=exact * 1.125).contains(&found), "{share}: {found}");
        }
        assert_eq!(Latencies::default().quantile(0.5), None);
        let mut slow = Latencies::default();
        slow.counts[BUCKETS - 1] = 1;
        assert_eq!(slow.quantile(0.5), Some(u64::MAX));
    }

    #[test]
    fn readings_are_added_and_told_apart() {
        let reading = |requests: u64, micros: u64| {
            let mut counts = TrackCounts { requests, failed: requests / 2, ..TrackCounts::default() };
            counts.latency_micros.counts[bucket_of(micros)] = requests;
            counts
        };
        let (earlier, later) = (reading(10, 100), reading(30, 100));
        assert_eq!(later.since(&earlier), reading(20, 100));
        let mut sum = earlier.clone();
        assert!(sum.add(&reading(4, 5_000)));
        assert_eq!((sum.requests, sum.latency_micros.total()), (14, 14));
        let other = Latencies { bounds: vec![1], counts: vec![5, 6] };
        assert!(!sum.latency_micros.add(&other));
        assert_eq!(other.since(&sum.latency_micros), other);
    }

    #[test]
    fn numbers_that_no_router_can_mean_are_added_all_the_same() {
        let most = TrackCounts {
            requests: u64::MAX,
            failed: u64::MAX,
            fallbacks: u64::MAX,
            in_flight: u64::MAX,
            leaving: u64::MAX,
            latency_micros: Latencies::of(vec![u64::MAX; BUCKETS]),
        };
        let mut sum = most.clone();
        assert!(sum.add(&most));
        assert_eq!(sum, most);
        assert_eq!((sum.latency_micros.total(), sum.latency_micros.quantile(0.99)), (u64::MAX, Some(63)));
        let more = Latencies { bounds: Vec::new(), counts: vec![u64::MAX, 1] };
        assert_eq!(more.quantile(1.0), Some(u64::MAX));
    }

    #[test]
    fn what_a_router_says_is_read_back_also_from_a_newer_one() {
        let mut said =
            Tracks { generation: 7, router_started: 1, shifts: vec![ShiftTracks::default()], ..Tracks::default() };
        said.shifts[0].tracks.insert(Track::Green, TrackCounts { requests: 3, ..TrackCounts::default() });
        let text = serde_json::to_string(&said).unwrap();
        assert!(
            text.contains(r#""tracks":{"green":{"requests":3,"#) && text.contains(r#""routerStarted":1"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Tracks>(&text).unwrap(), said);
        let newer = text.replace("{\"generation\"", "{\"more\":1,\"generation\"");
        assert_eq!(serde_json::from_str::<Tracks>(&newer).unwrap(), said);
    }
}
