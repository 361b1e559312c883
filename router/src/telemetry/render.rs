//! Renders the metrics, on the admin thread: adds up what each thread counted.

mod calls;
mod mirrors;
mod names;
mod tls;
mod tunnels;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Error;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use gridrouter_config::store::etcd::live::Standing;
use gridrouter_config::track::Track;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::connections::Ended;
use super::counters::{BUCKET_MICROS, LimitCounters, RequestCounters, ThreadCounters};
use super::tracks::{self, RunSum, TrackSum, octaves};
use crate::http::reject::Reject;
use crate::lifecycle::View;
use crate::presence::Presence;
use crate::snapshot::CANDIDATE;
use crate::snapshot::split::RunPlan;
use crate::source::{Origin, Status};

/// The metrics as text.
pub(crate) fn render(view: &View) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("gridrouter");
    registry.register_collector(Box::new(Everything(view.clone())));
    let mut out = String::new();
    prometheus_client::encoding::text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Everything(View);

impl Collector for Everything {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let view = &self.0;
        let threads: Vec<&ThreadCounters> = view.shared.threads.iter().map(|thread| &*thread.counters).collect();
        let labels = view.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Out(&mut encoder);
        out.totals(&threads)?;
        out.rejects(&threads)?;
        out.handshakes(&threads)?;
        out.tunnels(&threads)?;
        out.certificates(&view.shared.tls.load())?;
        out.names(&view.board.names())?;
        out.requests("route", "route", &labels.routes, &merge(&threads, |t| &t.routes, Requests::add))?;
        out.calls(&labels.routes, &threads)?;
        out.requests("upstream", "group", &labels.groups, &merge(&threads, |t| &t.groups, Requests::add))?;
        out.limits(&labels.limits, &merge(&threads, |t| &t.limits, Limits::add))?;
        out.refusals(&labels.limits, &threads)?;
        let snapshot = view.shared.snapshot.load();
        let sums = tracks::sums(&snapshot.runs, &threads);
        out.tracks(&sums)?;
        out.mirrors(&sums)?;
        out.gauges(view)?;
        let status = view.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        out.configuration(&status)?;
        match view.presence.get().map(Presence::standing) {
            Some(standing) => out.presence(&standing),
            None => Ok(()),
        }
    }
}

/// The sum of one thing's request counters over all threads.
#[derive(Debug, Default)]
struct Requests {
    by_class: [u64; 5],
    bytes: u64,
    buckets: [u64; BUCKET_MICROS.len() + 1],
    sum_nanos: u64,
}

impl Requests {
    fn add(&mut self, counters: &RequestCounters) {
        for (sum, counter) in self.by_class.iter_mut().zip(&counters.by_class) {
            *sum += counter.get();
        }
        for (sum, counter) in self.buckets.iter_mut().zip(&counters.duration.buckets) {
            *sum += counter.get();
        }
        self.bytes += counters.bytes.get();
        self.sum_nanos += counters.duration.sum_nanos.get();
    }
}

/// The sum of one limit's counters over all threads.
#[derive(Debug, Default)]
struct Limits {
    /// By verdict, in the order of [`VERDICTS`].
    verdicts: [u64; VERDICTS.len()],
    queued: u64,
    unqueued: u64,
    buckets: [u64; BUCKET_MICROS.len() + 1],
    sum_nanos: u64,
}

const VERDICTS: [&str; 4] = ["allowed", "delayed", "refused", "shadow_refused"];

/// Series of tenants that are shown at the most.
const MOST_TENANTS: usize = 50;

impl Limits {
    fn add(&mut self, counters: &LimitCounters) {
        let verdicts = [&counters.allowed, &counters.delayed, &counters.refused, &counters.shadow_refused];
        for (sum, counter) in self.verdicts.iter_mut().zip(verdicts) {
            *sum += counter.get();
        }
        // The later of the two first, so that the difference is never below zero.
        self.unqueued += counters.unqueued.get();
        self.queued += counters.queued.get();
        for (sum, counter) in self.buckets.iter_mut().zip(&counters.wait.buckets) {
            *sum += counter.get();
        }
        self.sum_nanos += counters.wait.sum_nanos.get();
    }
}

/// A limit's name, and which of its values are meant.
fn limit_labels(names: &[Arc<str>], id: u32) -> [(&'static str, &str); 2] {
    let name = names.get(id as usize).map_or("", |name| &**name);
    match name.strip_suffix(CANDIDATE) {
        Some(name) => [("limit", name), ("values", "candidate")],
        None => [("limit", name), ("values", "live")],
    }
}

/// The name of a metric of tracks, what it says, and its value.
type Series = (&'static str, &'static str, fn(&TrackSum) -> u64);

fn track_labels(run: &RunPlan, track: Track) -> [(&'static str, &str); 3] {
    [("shift", run.document.name.as_str()), ("cell", run.cell.as_str()), ("track", track.as_str())]
}

type Shared<T> = Mutex<Vec<(u32, Arc<T>)>>;

fn merge<T, S: Default>(
    threads: &[&ThreadCounters],
    of: impl Fn(&ThreadCounters) -> &Shared<T>,
    add: impl Fn(&mut S, &T),
) -> BTreeMap<u32, S> {
    let mut sums: BTreeMap<u32, S> = BTreeMap::new();
    for thread in threads {
        // Copied out, so that a thread that meets a route for the first time waits for nothing.
        let known = of(thread).lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (id, counters) in known {
            add(sums.entry(id).or_default(), &counters);
        }
    }
    sums
}

struct Out<'a, 'b>(&'a mut DescriptorEncoder<'b>);

fn counter(metric: &mut MetricEncoder<'_>, value: u64) -> Result<(), Error> {
    metric.encode_counter::<[(&str, &str); 0], _, f64>(&value, None)
}

/// A histogram of durations, with counts by bucket.
fn histogram(
    metric: &mut MetricEncoder<'_>,
    sum_nanos: u64,
    counts: [u64; BUCKET_MICROS.len() + 1],
) -> Result<(), Error> {
    let bounds = BUCKET_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
    let (seconds, count) = (sum_nanos as f64 / 1e9, counts.iter().sum());
    metric.encode_histogram::<[(&str, &str); 0]>(seconds, count, &buckets, None)
}

impl Out<'_, '_> {
    fn metric<'s>(&'s mut self, name: &'s str, help: &str, kind: MetricType) -> Result<MetricEncoder<'s>, Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        counter(&mut self.0.encode_descriptor(name, help, None, MetricType::Counter)?, value)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn totals(&mut self, threads: &[&ThreadCounters]) -> Result<(), Error> {
        let sum = |of: fn(&ThreadCounters) -> u64| threads.iter().map(|thread| of(thread)).sum();
        self.counter("requests", "Requests, however they ended", sum(|t| t.requests.get()))?;
        self.counter("connections_accepted", "Client connections accepted", sum(|t| t.accepted.get()))?;
        self.counter("http2_connections", "Client connections that speak HTTP/2", sum(|t| t.http2.get()))?;
        self.counter(
            "http2_floods",
            "Client connections ended for asking nothing all the time",
            sum(|t| t.http2_floods.get()),
        )?;
        let refused = [
            ("denied", sum(|t| t.denied.get())),
            ("too_many", sum(|t| t.too_many.get())),
            ("proxy_header_missing", sum(|t| t.unannounced.get())),
            ("proxy_header_bad", sum(|t| t.misannounced.get())),
            ("proxy_header_late", sum(|t| t.late.get())),
        ];
        let help = "Client connections closed at once, by reason";
        let mut metric = self.metric("connections_refused", help, MetricType::Counter)?;
        for (reason, value) in refused {
            counter(&mut metric.encode_family(&[("reason", reason)])?, value)?;
        }
        let help = "Client connections that ended and were not upgraded, by reason";
        let mut metric = self.metric("connections_closed", help, MetricType::Counter)?;
        for why in Ended::ALL {
            counter(
                &mut metric.encode_family(&[("reason", why.as_str())])?,
                threads.iter().map(|thread| thread.connections.get(*why)).sum(),
            )?;
        }
        let handed = sum(|t| t.handed_over.get());
        self.counter("connections_handed_over", "Client connections handed to a thread with fewer", handed)?;
        self.counter("responses_broken_off", "Responses that broke off after their head", sum(|t| t.broken_off.get()))
    }

    fn rejects(&mut self, threads: &[&ThreadCounters]) -> Result<(), Error> {
        let mut metric = self.metric("rejects", "Requests refused by the router itself", MetricType::Counter)?;
        for reject in Reject::ALL {
            let sum = threads.iter().filter_map(|t| t.rejects.of(*reject)).map(super::counters::Counter::get).sum();
            counter(&mut metric.encode_family(&[("code", reject.code())])?, sum)?;
        }
        Ok(())
    }

    fn requests(
        &mut self,
        prefix: &str,
        label: &str,
        names: &[Arc<str>],
        sums: &BTreeMap<u32, Requests>,
    ) -> Result<(), Error> {
        let series = || sums.iter().map(|(id, sum)| (names.get(*id as usize).map_or("", |name| &**name), sum));
        let name = format!("{prefix}_requests");
        let mut metric = self.metric(&name, "Requests by the class of their status", MetricType::Counter)?;
        for (name, sum) in series() {
            for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(sum.by_class) {
                if count > 0 {
                    counter(&mut metric.encode_family(&[(label, name), ("status", class)])?, count)?;
                }
            }
        }
        let name = format!("{prefix}_response_bytes");
        let mut metric = self.metric(&name, "Bytes of response bodies", MetricType::Counter)?;
        for (name, sum) in series() {
            counter(&mut metric.encode_family(&[(label, name)])?, sum.bytes)?;
        }
        let name = format!("{prefix}_request_duration_seconds");
        let help = "From the request's head received to the last byte of the response handed over";
        let mut metric = self.metric(&name, help, MetricType::Histogram)?;
        for (name, sum) in series() {
            histogram(&mut metric.encode_family(&[(label, name)])?, sum.sum_nanos, sum.buckets)?;
        }
        Ok(())
    }

    fn limits(&mut self, names: &[Arc<str>], sums: &BTreeMap<u32, Limits>) -> Result<(), Error> {
        let mut metric = self.metric("limit_requests", "Requests that a limit looked at", MetricType::Counter)?;
        for (id, sum) in sums {
            for (verdict, count) in VERDICTS.iter().zip(sum.verdicts) {
                let [name, values] = limit_labels(names, *id);
                counter(&mut metric.encode_family(&[name, values, ("verdict", verdict)])?, count)?;
            }
        }
        let help = "Requests that wait for their turn";
        let mut metric = self.metric("limit_queue_depth", help, MetricType::Gauge)?;
        for (id, sum) in sums {
            metric.encode_family(&limit_labels(names, *id))?.encode_gauge(&sum.queued.saturating_sub(sum.unqueued))?;
        }
        let help = "How long requests that a limit let pass later were made to wait";
        let mut metric = self.metric("limit_wait_seconds", help, MetricType::Histogram)?;
        for (id, sum) in sums.iter().filter(|(_, sum)| sum.buckets.iter().any(|count| *count > 0)) {
            histogram(&mut metric.encode_family(&limit_labels(names, *id))?, sum.sum_nanos, sum.buckets)?;
        }
        Ok(())
    }

    fn refusals(&mut self, names: &[Arc<str>], threads: &[&ThreadCounters]) -> Result<(), Error> {
        let mut sums = HashMap::new();
        for thread in threads {
            thread.refusals.add_to(&mut sums);
        }
        let mut most: Vec<_> = sums.into_iter().collect();
        most.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        most.truncate(MOST_TENANTS);
        let help = "Refusals of the tenants that were refused most, at most 50 of them; never too low, but those of a \
                    tenant that others made room for begin too high";
        let mut metric = self.metric("limit_top_refusals", help, MetricType::Gauge)?;
        for ((id, tenant), count) in &most {
            let [name, _] = limit_labels(names, *id);
            metric.encode_family(&[name, ("tenant", tenant)])?.encode_gauge(count)?;
        }
        Ok(())
    }

    fn tracks(&mut self, sums: &[RunSum<'_>]) -> Result<(), Error> {
        let series = || {
            sums.iter().flat_map(|RunSum { run, tracks, .. }| {
                let known = |((track, _), sum)| Some((track_labels(run, track), Option::as_ref(sum)?));
                run.tracks().into_iter().zip(tracks).filter_map(known)
            })
        };
        let counters: [Series; 3] = [
            ("track_requests", "Requests on a track of a shift", |sum| sum.counts.requests),
            ("track_failed_requests", "Those that failed because of the track", |sum| sum.counts.failed),
            ("track_fallbacks", "Requests that went to the other track for want of an endpoint", |sum| {
                sum.counts.fallbacks
            }),
        ];
        for (name, help, of) in counters {
            let mut metric = self.metric(name, help, MetricType::Counter)?;
            for (labels, sum) in series() {
                counter(&mut metric.encode_family(&labels)?, of(sum))?;
            }
        }
        let gauges: [Series; 2] = [
            ("track_requests_in_flight", "Requests on a track whose answer is not over", |sum| sum.counts.in_flight),
            ("track_requests_leaving", "Those that would be on the other track now", |sum| sum.counts.leaving),
        ];
        for (name, help, of) in gauges {
            let mut metric = self.metric(name, help, MetricType::Gauge)?;
            for (labels, sum) in series() {
                metric.encode_family(&labels)?.encode_gauge(&of(sum))?;
            }
        }
        let help = "From when a request could be sent on until the head of its answer had come";
        let mut metric = self.metric("track_response_seconds", help, MetricType::Histogram)?;
        for (labels, sum) in series() {
            let buckets = octaves(&sum.counts.latency_micros);
            let (seconds, count) = (sum.latency_nanos as f64 / 1e9, sum.counts.latency_micros.total());
            let mut series = metric.encode_family(&labels)?;
            series.encode_histogram::<[(&str, &str); 0]>(seconds, count, &buckets, None)?;
        }
        Ok(())
    }

    fn gauges(&mut self, view: &View) -> Result<(), Error> {
        let live: usize = view.shared.threads.iter().map(|t| t.live.load(Ordering::Relaxed)).sum();
        self.gauge("connections", "Client connections open", live as f64)?;
        let pooled: u64 = view.shared.threads.iter().map(|t| t.counters.pooled.load(Ordering::Relaxed)).sum();
        self.gauge("upstream_connections_idle", "Unused connections to endpoints", pooled as f64)?;
        let usage = view.shared.limits.usage();
        self.gauge("limit_keys", "Keys that limits count", usage.keys as f64)?;
        self.gauge("limit_bytes", "Bytes that the counts of limits take", usage.bytes as f64)?;
        let mut metric = self.metric(
            "limit_evictions",
            "Keys that limits forgot for want of room, by whether they said more than fresh ones",
            MetricType::Counter,
        )?;
        for (state, count) in [("idle", usage.idle_evictions), ("counting", usage.evictions)] {
            counter(&mut metric.encode_family(&[("state", state)])?, count)?;
        }
        Ok(())
    }

    fn configuration(&mut self, status: &Status) -> Result<(), Error> {
        let mut metric = self.metric("config_origin", "Where the generation in force came from", MetricType::Gauge)?;
        for origin in [Origin::Store, Origin::LastKnownGood] {
            let value = u64::from(origin == status.origin);
            metric.encode_family(&[("origin", origin.as_str())])?.encode_gauge(&value)?;
        }
        self.gauge("config_age_seconds", "Time since it came into force", status.age_seconds() as f64)?;
        if let Some(silent) = status.silent_seconds() {
            self.gauge("config_store_silent_seconds", "Time since the store was last heard of", silent)?;
        }
        let held = f64::from(u8::from(status.held));
        self.gauge("config_store_held", "Whether the store is not followed on purpose", held)?;
        let registered = status.registered_endpoints as f64;
        self.gauge("registered_endpoints", "Endpoints that registered themselves", registered)?;
        let faults = status.registration_faults.len() as f64;
        self.gauge("registration_faults", "Registrations that are not in force", faults)?;
        let from_store = status.store_reachable;
        self.gauge("config_generation", "The generation in force", status.generation as f64)?;
        self.gauge("config_since_timestamp_seconds", "When it came into force", status.since as f64)?;
        self.gauge("config_store_reachable", "Whether the store could be read", f64::from(u8::from(from_store)))?;
        self.gauge("config_documents", "Documents in force", status.documents as f64)?;
        self.gauge("config_quarantined_documents", "Documents refused", status.quarantined.len() as f64)?;
        self.gauge("config_reload_seconds", "How long the last change took", status.reload_micros as f64 / 1e6)?;
        self.counter("config_reloads", "Changes taken over", status.reloads)
    }

    fn presence(&mut self, standing: &Standing) -> Result<(), Error> {
        let registered = f64::from(u8::from(standing.registered));
        self.gauge("presence_registered", "Whether the router's own key is in etcd", registered)?;
        self.counter("presence_leases", "Leases that the router's own key was put under", standing.leases)
    }
}
