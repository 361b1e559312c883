//! What is counted of the tracks of shifts.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use gridrouter_config::tracks::{BUCKETS, Latencies, ShiftTracks, TrackCounts, bucket_of};

use super::counters::{Counter, ThreadCounters};
use super::mirror::MirrorSum;
use crate::clock::Nanos;
use crate::snapshot::split::{RunPlan, share_in};

/// What one thread counts of one track in one run of a shift in one cell. See [`TrackCounts`] for what the numbers mean.
#[derive(Debug, Default)]
pub struct TrackCounters {
    requests: Counter,
    failed: Counter,
    fallbacks: Counter,
    begun: Counter,
    over: Counter,
    told_to_leave: Counter,
    leave_no_more: Counter,
    took: Durations,
}

/// How many durations lay in which bucket, and their sum.
#[derive(Debug)]
pub(super) struct Durations {
    buckets: Box<[Counter; BUCKETS]>,
    nanos: Counter,
}

impl Default for Durations {
    fn default() -> Self {
        Self { buckets: Box::new([const { Counter::new() }; BUCKETS]), nanos: Counter::default() }
    }
}

impl Durations {
    pub(super) fn observe(&self, took: Nanos) {
        if let Some(bucket) = self.buckets.get(bucket_of(took.0 / 1_000)) {
            bucket.add(1);
        }
        self.nanos.add(took.0);
    }

    /// Adds the counts to a sum, and returns how many nanoseconds they are together.
    pub(super) fn add_to(&self, sum: &mut Latencies) -> u64 {
        for (sum, counter) in sum.counts.iter_mut().zip(&*self.buckets) {
            *sum += counter.get();
        }
        self.nanos.get()
    }
}

impl TrackCounters {
    /// A request went to the track.
    pub(crate) fn begins(&self) {
        self.begun.add(1);
    }

    /// It is over, or it went to the other track.
    pub(crate) fn ends(&self) {
        self.over.add(1);
    }

    /// It went to the other track, for want of an endpoint.
    pub(crate) fn falls_back(&self) {
        self.fallbacks.add(1);
    }

    /// A request of the track has to leave, or has to no more.
    pub(crate) fn leaves(&self, leaves: bool) {
        if leaves { &self.told_to_leave } else { &self.leave_no_more }.add(1);
    }

    /// What became of a request; `took` is how long the head of its answer took, if that came.
    pub(crate) fn request(&self, failed: bool, took: Option<Nanos>) {
        if let Some(took) = took {
            self.took.observe(took);
        }
        self.failed.add(u64::from(failed));
        self.requests.add(1);
    }
}

/// The sum over all threads.
#[derive(Debug, Default)]
pub(crate) struct TrackSum {
    pub(crate) counts: TrackCounts,
    pub(crate) latency_nanos: u64,
}

impl TrackSum {
    fn add(&mut self, counters: &TrackCounters) {
        let counts = &mut self.counts;
        // The later of two first, so that no difference is below zero, and none of a whole is missing in it.
        let over = counters.over.get();
        counts.in_flight += counters.begun.get().saturating_sub(over);
        let left = counters.leave_no_more.get();
        counts.leaving += counters.told_to_leave.get().saturating_sub(left);
        counts.failed += counters.failed.get();
        counts.requests += counters.requests.get();
        counts.fallbacks += counters.fallbacks.get();
        self.latency_nanos += counters.took.add_to(&mut counts.latency_micros);
    }
}

/// What was counted of one run of a shift in one cell.
#[derive(Debug)]
pub(crate) struct RunSum<'a> {
    pub(crate) run: &'a RunPlan,
    /// Both tracks in the order of [`RunPlan::tracks`]; none where nothing was counted.
    pub(crate) tracks: [Option<TrackSum>; 2],
    /// The copies that the new track got; none where there was none.
    pub(crate) mirror: Option<MirrorSum>,
}

/// What was counted of runs, over all threads: of those that are under way, and of others that anything was counted of.
pub(crate) fn sums<'a>(runs: &'a [RunPlan], threads: &[&ThreadCounters]) -> Vec<RunSum<'a>> {
    let mut tracks: BTreeMap<u32, TrackSum> = BTreeMap::new();
    let mut mirrors: BTreeMap<u32, MirrorSum> = BTreeMap::new();
    for thread in threads {
        // Copied out, so that a thread that meets a track for the first time waits for nothing.
        let known = thread.tracks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (number, counters) in known {
            tracks.entry(number).or_default().add(&counters);
        }
        let known = thread.mirrors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (number, counters) in known {
            mirrors.entry(number).or_default().add(&counters);
        }
    }
    let of = |run: &'a RunPlan| RunSum {
        run,
        tracks: run.tracks().map(|(_, number)| tracks.remove(&number)),
        mirror: mirrors.remove(&run.side(run.document.to).counted),
    };
    let shown = |sum: &RunSum<'_>| sum.run.document.is_under_way() || sum.tracks.iter().any(Option::is_some);
    runs.iter().map(of).filter(shown).collect()
}

/// The same, as it is told.
pub(crate) fn told(sum: RunSum<'_>) -> ShiftTracks {
    let RunSum { run, tracks, mirror } = sum;
    let shift = &run.document;
    let counts = tracks.into_iter().map(|sum| sum.unwrap_or_default().counts);
    ShiftTracks {
        shift: shift.name.to_string(),
        started: shift.state.started,
        service: shift.service.to_string(),
        cell: run.cell.to_string(),
        to: shift.to,
        share: share_in(shift, &run.cell).to_string(),
        tracks: run.tracks().into_iter().map(|(track, _)| track).zip(counts).collect(),
        mirror: mirror.or_else(|| shift.mirror.as_ref().map(|_| MirrorSum::default())).map(MirrorSum::told),
    }
}

/// Upper bounds in seconds, an octave apart, and how many durations lie between them: for whoever wants few series.
pub(crate) fn octaves(latencies: &Latencies) -> Vec<(f64, u64)> {
    let bounds = latencies.bounds.iter().map(|bound| (*bound + 1) as f64 / 1e6).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(latencies.counts.iter().copied()).collect();
    let (first, rest) = buckets.split_at(buckets.len().min(1));
    let octave = |octave: &[(f64, u64)]| {
        let bound = octave.last().map_or(f64::INFINITY, |(bound, _)| *bound);
        (bound, octave.iter().map(|(_, count)| count).sum())
    };
    first.iter().copied().chain(rest.chunks(8).map(octave)).collect()
}
