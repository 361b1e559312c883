//! What is counted of the copies that the new track of a shift gets, and which answers differed.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use gridrouter_config::tracks::mirror::{Difference, KEPT, MirrorCounts};

use super::counters::Counter;
use super::tracks::Durations;
use crate::clock::Nanos;

/// A copy's answer counts as slower if it took more than twice as long, and by so much longer.
const SLOWER: u64 = 10_000_000;

/// Differences that are told of one run in one cell, the latest: controllers read them every second.
const MOST_TOLD: usize = 500;

/// What one thread counts of the copies of one run of a shift in one cell. See [`MirrorCounts`] for what the numbers mean.
#[derive(Debug, Default)]
pub struct MirrorCounters {
    copies: Counter,
    over: Counter,
    dropped: Counter,
    failed: Counter,
    compared: Counter,
    status_differs: Counter,
    bodies_compared: Counter,
    bodies_differ: Counter,
    slower: Counter,
    old: Durations,
    new: Durations,
    /// Taken for each difference by one thread, and by whoever lists them: hardly ever by both.
    differences: Mutex<VecDeque<Difference>>,
}

impl MirrorCounters {
    /// A copy is sent.
    pub(crate) fn begins(&self) {
        self.copies.add(1);
    }

    /// It is over, whatever became of it.
    pub(crate) fn ends(&self) {
        self.over.add(1);
    }

    /// A copy could not be made.
    pub(crate) fn dropped(&self) {
        self.dropped.add(1);
    }

    /// A copy got no answer.
    pub(crate) fn failed(&self) {
        self.failed.add(1);
    }

    /// Both answers are there.
    pub(crate) fn compared(&self, status_differs: bool) {
        self.status_differs.add(u64::from(status_differs));
        self.compared.add(1);
    }

    /// Both bodies are there.
    pub(crate) fn bodies(&self, differ: bool) {
        self.bodies_differ.add(u64::from(differ));
        self.bodies_compared.add(1);
    }

    /// How long both answers took.
    pub(crate) fn took(&self, old: Nanos, new: Nanos) {
        let slower = new.0 > old.0.saturating_mul(2) && new.0 > old.0.saturating_add(SLOWER);
        self.slower.add(u64::from(slower));
        self.old.observe(old);
        self.new.observe(new);
    }

    /// Keeps a difference, in place of the oldest if there are many.
    pub(crate) fn keep(&self, difference: Difference) {
        let mut kept = self.differences.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(difference);
    }
}

/// The sum over all threads.
#[derive(Debug, Default)]
pub(crate) struct MirrorSum {
    pub(crate) counts: MirrorCounts,
    pub(crate) old_nanos: u64,
    pub(crate) new_nanos: u64,
}

impl MirrorSum {
    pub(super) fn add(&mut self, counters: &MirrorCounters) {
        let counts = &mut self.counts;
        // The later of two first, so that no part is larger than its whole.
        let over = counters.over.get();
        counts.status_differs += counters.status_differs.get();
        counts.bodies_differ += counters.bodies_differ.get();
        counts.bodies_compared += counters.bodies_compared.get();
        counts.slower += counters.slower.get();
        counts.compared += counters.compared.get();
        counts.failed += counters.failed.get();
        counts.dropped += counters.dropped.get();
        let copies = counters.copies.get();
        counts.copies += copies;
        counts.in_flight += copies.saturating_sub(over);
        self.old_nanos += counters.old.add_to(&mut counts.old_latency_micros);
        self.new_nanos += counters.new.add_to(&mut counts.new_latency_micros);
        let kept = counters.differences.lock().unwrap_or_else(PoisonError::into_inner);
        counts.differences.extend(kept.iter().cloned());
    }

    /// As it is told: the differences of all threads in order.
    pub(super) fn told(mut self) -> MirrorCounts {
        let differences = &mut self.counts.differences;
        differences.sort_by_key(|difference| difference.at);
        differences.drain(..differences.len().saturating_sub(MOST_TOLD));
        self.counts
    }
}
