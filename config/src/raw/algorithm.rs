use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Admit at a steady rate, with bursts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenBucket {
    /// Requests admitted over time, such as `100/s`, `30/m` or `1000/h`.
    pub rate: String,
    /// The most requests admitted at once. Default: what the rate gives in one second, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// Admit at a steady rate and evenly spaced: who comes too early waits for its turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeakyBucketQueue {
    /// Requests admitted over time, such as `100/s`, `30/m` or `1000/h`.
    pub rate: String,
    /// The longest time that a request waits for its turn, at most `60s`; with `0s` none waits. Default `500ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queueing: Option<String>,
}

/// Admit at a steady rate, with bursts part of which may be slowed down to the rate, as nginx's `limit_req` does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeakyBucketMeter {
    /// Requests admitted over time, `1/m` or faster.
    pub rate: String,
    /// Requests above the rate that are not refused, 0 to 1,000,000. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Requests above the rate that are not delayed, at most `burst`. Default 0: all of them are delayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<u32>,
    /// No request is delayed. Default `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodelay: Option<bool>,
}

/// Admit so many in any period of a given length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlidingWindow {
    /// Requests admitted in any period of that length, 1 to 1,000,000.
    pub limit: u32,
    /// The length, `1ms` to `24h`.
    pub window: String,
    /// How they are counted. Default `log`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<SlidingWindowMethod>,
}

/// How the requests of a sliding window are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SlidingWindowMethod {
    /// By when they came; the limit is never exceeded.
    Log,
    /// By two numbers, as if those of the period before had come evenly; small, and not exact.
    Counter,
}

/// Admit so many in each period of a given length, of which one begins where another ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FixedWindow {
    /// Requests admitted in each period, 1 to 1,000,000.
    pub limit: u32,
    /// Its length, `1ms` to `24h`.
    pub window: String,
}

/// Admit at a rate that begins low and rises while it is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WarmUp {
    /// Requests admitted over time once it is warm, such as `100/s`.
    pub rate: String,
    /// How long it takes to become warm under full load, `1s` to `24h`. Default `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    /// By how much less it admits when cold, 2 to 100. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_factor: Option<u32>,
    /// Whose form of it. Default `sentinel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<WarmUpForm>,
    /// Space requests evenly, and let each wait for its turn this long at most, `0s` to `60s`. Default: they are not
    /// spaced, and none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queueing: Option<String>,
}

/// Whose form of warming up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WarmUpForm {
    /// Sentinel's: in steps of a second.
    Sentinel,
    /// Guava's: from request to request.
    Guava,
}

/// Admit so many at the same time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Concurrency {
    /// Requests whose answer is not over yet, 1 to 1,000,000.
    pub limit: u32,
}

/// Admit as many at the same time as can be served without their becoming slower.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdaptiveConcurrency {
    /// How it is found out how many. Default `gradient2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Adaptation>,
    /// How many to begin with, between `min` and `max`. Default 20, or what of `min` and `max` is nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<u32>,
    /// The fewest, 1 to 1,000,000. Default 20, or less where `initial` or `max` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// The most, 1 to 1,000,000. Default 200, or more where `min` or `initial` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Of `gradient2`: how many times slower than in the long run answers may be before fewer are admitted, 1.0 to
    /// 10.0. Default 1.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// Of `aimd`: the share that remains after a late or failed answer, 0.5 to 0.999. Default 0.9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<f64>,
    /// Of `aimd`: when an answer is late. Default `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<String>,
}

/// How an adaptive limit is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Adaptation {
    /// By how much slower answers are than they are in the long run.
    Gradient2,
    /// One more after each answer that came in time, a share fewer after one that did not.
    Aimd,
}

/// Send so many bytes of response bodies over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bandwidth {
    /// Bytes sent over time, such as `10MiB/s`: `1B/s` to `10GiB/s`, in `B`, `kB`, `MB`, `GB`, `KiB`, `MiB` or `GiB`.
    pub rate: String,
    /// The most bytes sent at once, such as `1MiB`, at most `1GiB`. Default: what the rate gives in 100 ms, at least
    /// `16KiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<String>,
}
