//! Latencies, counted in buckets that are at most 1.6 % wide, so that a run of any length costs the same memory.

use std::time::Duration;

/// Buckets for each power of two.
const FINE: usize = 64;
const FINE_BITS: u32 = 6;
/// Enough powers of two for 2^40 ns, which is 18 minutes; what is longer counts as that.
const POWERS: usize = 35;

/// A histogram of durations.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; POWERS * FINE], total: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let index = Self::index(nanos).min(self.counts.len() - 1);
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
        self.total += 1;
    }

    /// How many were counted.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The duration that `percent` of all durations do not exceed (to the width of a bucket); zero if there are none.
    pub fn percentile(&self, percent: f64) -> Duration {
        let wanted = ((self.total as f64 * percent / 100.0).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(Self::upper_bound(index));
            }
        }
        Duration::ZERO
    }

    /// Values below 64 have a bucket each; above, the six bits after the leading one choose the bucket.
    fn index(nanos: u64) -> usize {
        let power = nanos.checked_ilog2().unwrap_or(0);
        if power < FINE_BITS {
            return nanos as usize;
        }
        let shift = power - FINE_BITS;
        (shift as usize + 1) * FINE + ((nanos >> shift) as usize - FINE)
    }

    fn upper_bound(index: usize) -> u64 {
        if index < FINE {
            return index as u64;
        }
        let shift = (index / FINE - 1) as u32;
        let within = (index % FINE + FINE) as u64;
        ((within + 1) << shift) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_found_again_and_is_narrow() {
        for nanos in [0, 1, 63, 64, 65, 127, 128, 1_000, 123_456, 1_000_000_000, 1 << 39] {
            let upper = Histogram::upper_bound(Histogram::index(nanos));
            assert!(upper >= nanos, "{nanos}: {upper}");
            assert!(upper - nanos <= nanos / 64 + 1, "{nanos}: {upper}");
        }
    }

    #[test]
    fn percentiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(99.0), Duration::ZERO);
        for micros in 1..=1_000 {
            histogram.record(Duration::from_micros(micros));
        }
        let near = |got: Duration, micros: f64| (got.as_secs_f64() * 1e6 / micros - 1.0).abs() < 0.02;
        assert!(near(histogram.percentile(50.0), 500.0));
        assert!(near(histogram.percentile(99.0), 990.0));
        assert!(near(histogram.percentile(100.0), 1_000.0));
        histogram.record(Duration::from_secs(100_000));
        assert_eq!(histogram.len(), 1_001);
    }
}
