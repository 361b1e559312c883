//! The metrics of copies.

use std::fmt::Error;

use gridrouter_config::tracks::mirror::MirrorCounts;
use prometheus_client::metrics::MetricType;

use super::{Out, RunPlan, RunSum, counter, octaves, track_labels};

type Count = fn(&MirrorCounts) -> u64;

/// The metrics of copies: name, what it says, and its value.
const MIRROR_COUNTERS: [(&str, &str, Count); 8] = [
    ("mirror_copies", "Copies of requests sent to the new track of a shift", |counts| counts.copies),
    ("mirror_dropped", "Copies that were not sent, for want of room", |counts| counts.dropped),
    ("mirror_failed", "Copies that got no answer", |counts| counts.failed),
    ("mirror_compared", "Copies whose answer was compared", |counts| counts.compared),
    ("mirror_status_differs", "Those with another status", |counts| counts.status_differs),
    ("mirror_bodies_compared", "Those of which the bodies were compared", |counts| counts.bodies_compared),
    ("mirror_bodies_differ", "Those with another body", |counts| counts.bodies_differ),
    ("mirror_slower", "Those that took more than twice as long, and 10 ms longer", |counts| counts.slower),
];

fn mirror_labels(run: &RunPlan) -> [(&'static str, &str); 2] {
    [("shift", run.document.name.as_str()), ("cell", run.cell.as_str())]
}

impl Out<'_, '_> {
    pub(super) fn mirrors(&mut self, sums: &[RunSum<'_>]) -> Result<(), Error> {
        let series = || sums.iter().filter_map(|sum| Some((sum.run, sum.mirror.as_ref()?)));
        for (name, help, of) in MIRROR_COUNTERS {
            let mut metric = self.metric(name, help, MetricType::Counter)?;
            for (run, sum) in series() {
                counter(&mut metric.encode_family(&mirror_labels(run))?, of(&sum.counts))?;
            }
        }
        let mut metric = self.metric("mirror_copies_in_flight", "Copies on their way", MetricType::Gauge)?;
        for (run, sum) in series() {
            metric.encode_family(&mirror_labels(run))?.encode_gauge(&sum.counts.in_flight)?;
        }
        let help = "How long both tracks took for the head of their answer to requests that were compared";
        let mut metric = self.metric("mirror_response_seconds", help, MetricType::Histogram)?;
        for (run, sum) in series() {
            let (counts, to) = (&sum.counts, run.document.to);
            let sides = [
                (to.other(), &counts.old_latency_micros, sum.old_nanos),
                (to, &counts.new_latency_micros, sum.new_nanos),
            ];
            for (track, micros, nanos) in sides {
                let labels = track_labels(run, track);
                let mut series = metric.encode_family(&labels)?;
                let (seconds, buckets) = (nanos as f64 / 1e9, octaves(micros));
                series.encode_histogram::<[(&str, &str); 0]>(seconds, micros.total(), &buckets, None)?;
            }
        }
        Ok(())
    }
}
