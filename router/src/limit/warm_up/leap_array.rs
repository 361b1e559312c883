//! What passed in about the last second: Sentinel's sliding statistic of two buckets of 500 ms (`LeapArray`). A bucket
//! is taken anew when its time comes round again, so that between 501 and 1,000 ms are looked back on.

const BUCKET_MILLIS: u64 = 500;
const INTERVAL_MILLIS: u64 = 1_000;

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    starts: u64,
    count: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LeapArray {
    buckets: [Bucket; 2],
}

impl LeapArray {
    /// The bucket of a time. None if a newer one is in its place: the clock went back, and what is counted is lost.
    fn current(&mut self, millis: u64) -> Option<&mut Bucket> {
        let starts = millis - millis % BUCKET_MILLIS;
        let [even, odd] = &mut self.buckets;
        let bucket = if (millis / BUCKET_MILLIS).is_multiple_of(2) { even } else { odd };
        if starts > bucket.starts {
            *bucket = Bucket { starts, count: 0 };
        }
        (bucket.starts == starts).then_some(bucket)
    }

    pub(super) fn sum(&mut self, millis: u64) -> u64 {
        self.current(millis);
        let counts = |bucket: &&Bucket| millis.saturating_sub(bucket.starts) <= INTERVAL_MILLIS;
        self.buckets.iter().filter(counts).map(|bucket| bucket.count).fold(0, u64::saturating_add)
    }

    pub(super) fn add(&mut self, millis: u64, count: u64) {
        if let Some(bucket) = self.current(millis) {
            bucket.count = bucket.count.saturating_add(count);
        }
    }

    /// Takes back what was counted last.
    pub(super) fn take_back(&mut self, count: u64) {
        let [even, odd] = &mut self.buckets;
        let (newer, older) = if even.starts > odd.starts { (even, odd) } else { (odd, even) };
        let rest = count.saturating_sub(newer.count);
        newer.count = newer.count.saturating_sub(count);
        older.count = older.count.saturating_sub(rest);
    }

    /// When a bucket ends next, after `millis`.
    pub(super) fn next_change(millis: u64) -> u64 {
        (millis - millis % BUCKET_MILLIS).saturating_add(BUCKET_MILLIS)
    }

    /// When nothing of what was counted is left.
    pub(super) fn empty_at(&self) -> u64 {
        let newest = self.buckets.iter().filter(|bucket| bucket.count > 0).map(|bucket| bucket.starts).max();
        newest.map_or(0, |starts| starts.saturating_add(INTERVAL_MILLIS))
    }
}
