//! The limits that are put under load, and what each must let through.

use super::super::stand::Limited;

/// What every rate here is, in requests a second.
pub(super) const RATE: f64 = 200.0;
/// The permits of the limit of requests at the same time: with answers after a second, 200 a second. The next request
/// for a permit comes 1 to 3 ms after it is free, which must be next to nothing.
pub(super) const PERMITS: u32 = 200;
/// Between which the adaptive limit adapts: with answers after 200 ms, at most 200 a second.
pub(super) const ADAPTIVE: (u32, u32) = (10, 40);
/// Bytes a second and at once, and those of one body.
pub(super) const BANDWIDTH: (u64, u64, u64) = (2_000_000, 128_000, 16_384);
/// The longest time in the queue, in milliseconds.
pub(super) const QUEUEING: u64 = 250;

/// What a limit bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bounds {
    /// [`RATE`], and in a period of any length so many more: its burst, or what it can add where one of its own periods
    /// begins or ends within.
    Rate {
        /// So many more.
        more: f64,
    },
    /// [`PERMITS`].
    Permits,
    /// Something between the two of [`ADAPTIVE`].
    Adaptive,
    /// [`BANDWIDTH`].
    Bandwidth,
}

/// A limit under load.
#[derive(Debug, Clone)]
pub(super) struct Course {
    pub(super) limited: Limited,
    pub(super) bounds: Bounds,
    /// What is asked for below the limit's path.
    pub(super) asks: String,
    /// Seconds of load before anything is counted: bursts are used up then, and what has to be warm is.
    pub(super) lead: f64,
    /// Users that k6 begins with; as many wait at the same time.
    pub(super) users: usize,
    /// So many clients, each with one request at a time, in the place of a rate.
    pub(super) clients: Option<usize>,
    /// Whether those above the rate wait, [`QUEUEING`] at most, one after the other.
    pub(super) queues: bool,
    /// The share of the rate that even a cold start lets through.
    pub(super) at_least: f64,
}

impl Course {
    fn new(name: &'static str, algorithm: impl Into<String>, more: f64) -> Self {
        let limited = Limited { name, algorithm: algorithm.into() };
        let (bounds, asks) = (Bounds::Rate { more }, "/k6".to_owned());
        Self { limited, bounds, asks, lead: 2.0, users: 30, clients: None, queues: false, at_least: 0.5 }
    }

    /// Requests wait, so that there are more at a time.
    fn waiting(self) -> Self {
        Self { users: 220, ..self }
    }

    fn queueing(self) -> Self {
        Self { queues: true, ..self.waiting() }
    }

    /// Begins cold, at a third of the rate, and is warm after a second under load: three times that is enough.
    fn warming(self) -> Self {
        Self { lead: 6.0, at_least: 0.2, ..self }
    }
}

/// So many at a time that load generator and router have time to spare.
pub(super) const GROUPS: [fn() -> Vec<Course>; 3] = [by_count, by_turn, by_permit];

fn by_count() -> Vec<Course> {
    vec![
        // A burst is 0.3 % of what half a minute admits, and enough for the generator to be late by 90 ms.
        Course::new("tb", "tokenBucket: {rate: 200/s, burst: 18}", 18.0),
        Course::new("meter", "leakyBucketMeter: {rate: 200/s, burst: 18, delay: 9}", 19.0).waiting(),
        // A period of any length meets as many whole windows, and one more; for fixed ones, one more at either end.
        Course::new("log", "slidingWindow: {limit: 100, window: 500ms, method: log}", 100.0),
        Course::new("counter", "slidingWindow: {limit: 200, window: 1s, method: counter}", 400.0),
        Course::new("fixed", "fixedWindow: {limit: 200, window: 1s}", 400.0),
    ]
}

fn by_turn() -> Vec<Course> {
    let warm_up = |form: &str| format!("warmUp: {{rate: 200/s, period: 1s, coldFactor: 3{form}}}");
    let queueing = format!(", maxQueueing: {QUEUEING}ms");
    vec![
        Course::new("queue", format!("leakyBucketQueue: {{rate: 200/s{queueing}}}"), 1.0).queueing(),
        // Counted in windows of a second.
        Course::new("sentinel", warm_up(", form: sentinel"), 400.0).warming(),
        Course::new("sentinel-queue", warm_up(&format!(", form: sentinel{queueing}")), 400.0).waiting().warming(),
        // What it has stored while nobody came: half of its period at the rate, and as much again when cold.
        Course::new("guava", warm_up(&format!(", form: guava{queueing}")), 400.0).waiting().warming(),
    ]
}

fn by_permit() -> Vec<Course> {
    let (least, most) = ADAPTIVE;
    let (rate, burst, body) = BANDWIDTH;
    let adaptive = format!("adaptiveConcurrency: {{algorithm: gradient2, initial: 20, min: {least}, max: {most}}}");
    let bandwidth = format!("bandwidth: {{rate: {rate}B/s, burst: {burst}B}}");
    let with =
        |name, algorithm: String, bounds, asks: String| Course { bounds, asks, ..Course::new(name, algorithm, 0.0) };
    vec![
        with("concurrency", format!("concurrency: {{limit: {PERMITS}}}"), Bounds::Permits, "/delay/1000".into())
            .waiting(),
        with("adaptive", adaptive, Bounds::Adaptive, "/delay/200".into()).waiting(),
        Course { clients: Some(6), ..with("bandwidth", bandwidth, Bounds::Bandwidth, format!("/bytes/{body}")) },
    ]
}
