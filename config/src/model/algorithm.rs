use std::time::Duration;

use super::LimitOverride;
use crate::units::{ByteRate, Rate};

/// How a limit admits requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// At a steady rate, with bursts.
    TokenBucket(TokenBucket),
    /// At a steady rate and evenly spaced: who comes too early waits for its turn.
    LeakyBucketQueue(LeakyBucketQueue),
    /// At a steady rate, with bursts part of which may be slowed down to the rate: as nginx's `limit_req`.
    LeakyBucketMeter(LeakyBucketMeter),
    /// So many in any period of a given length.
    SlidingWindow(SlidingWindow),
    /// So many in each period of a given length, of which one begins where another ends.
    FixedWindow(FixedWindow),
    /// At a rate that begins low and rises while it is used.
    WarmUp(WarmUp),
    /// So many at the same time.
    Concurrency(Concurrency),
    /// As many at the same time as can be served without their becoming slower.
    AdaptiveConcurrency(AdaptiveConcurrency),
    /// So many bytes of response bodies over time.
    Bandwidth(Bandwidth),
}

/// At a steady rate, with bursts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenBucket {
    /// Requests admitted over time.
    pub rate: Rate,
    /// The most requests admitted at once, at least 1.
    pub burst: u32,
}

/// At a steady rate and evenly spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeakyBucketQueue {
    /// Requests admitted over time.
    pub rate: Rate,
    /// The longest time that a request waits for its turn. Zero: none waits.
    pub max_queueing: Duration,
}

/// At a steady rate, with bursts part of which may be slowed down to the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeakyBucketMeter {
    /// Requests admitted over time, at least one a minute.
    pub rate: Rate,
    /// Requests above the rate that are not refused.
    pub burst: u32,
    /// Requests above the rate that are not delayed; `None` is nginx's `nodelay`: none is.
    pub delay: Option<u32>,
}

/// So many in any period of a given length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlidingWindow {
    /// Requests admitted in any period of that length, at least 1.
    pub limit: u32,
    /// The length.
    pub window: Duration,
    /// How they are counted.
    pub method: SlidingWindowMethod,
}

/// How the requests of a sliding window are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlidingWindowMethod {
    /// By when they came. Exact up to a limit of 128; above, a request may count for up to 1/128 of the window too long,
    /// so that the limit is never exceeded.
    Log,
    /// By two numbers, as if those of the period before had come evenly. Small, and may admit up to twice the limit when
    /// they did not.
    Counter,
}

/// So many in each period of a given length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FixedWindow {
    /// Requests admitted in each period, at least 1.
    pub limit: u32,
    /// Its length.
    pub window: Duration,
}

/// At a rate that begins low and rises while it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WarmUp {
    /// Requests admitted over time once it is warm.
    pub rate: Rate,
    /// How long it takes to become warm under full load.
    pub period: Duration,
    /// By how much less it admits when cold, at least 2.
    pub cold_factor: u32,
    /// Whose form of it.
    pub form: WarmUpForm,
    /// The longest time that a request waits for its turn; `None`: none waits.
    pub max_queueing: Option<Duration>,
}

/// Whose form of warming up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WarmUpForm {
    /// Sentinel's: in steps of a second.
    Sentinel,
    /// Guava's: from request to request.
    Guava,
}

/// So many at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Concurrency {
    /// Requests whose answer is not over yet, at least 1.
    pub limit: u32,
}

/// As many at the same time as can be served without their becoming slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AdaptiveConcurrency {
    /// How many to begin with, between `min` and `max`.
    pub initial: u32,
    /// The fewest, at least 1.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// How it is found out how many.
    pub by: Adaptation,
}

/// How an adaptive limit is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Adaptation {
    /// By how much slower answers are than they are in the long run.
    Gradient2 {
        /// How much slower they may be before fewer are admitted, in thousandths, at least 1,000.
        tolerance_thousandths: u32,
    },
    /// One more after each answer that came in time, a share fewer after one that did not.
    Aimd {
        /// What remains after a late or failed answer, in thousandths, 500 to 999.
        backoff_thousandths: u32,
        /// When an answer is late.
        latency: Duration,
    },
}

/// So many bytes of response bodies over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bandwidth {
    /// Bytes sent over time.
    pub rate: ByteRate,
    /// The most bytes sent at once, at least 1.
    pub burst: u64,
}

impl Algorithm {
    /// The same with values of one's own in the place of those that are given. What the algorithm does not have is not
    /// looked at, and a value that would be none of its own (a rate below one a minute for a meter) is left out.
    #[must_use]
    pub fn with(self, own: &LimitOverride) -> Self {
        let rate = |rate: Rate| own.rate.unwrap_or(rate);
        let limit = |limit: u32| own.limit.unwrap_or(limit);
        match self {
            Self::TokenBucket(a) => {
                Self::TokenBucket(TokenBucket { rate: rate(a.rate), burst: own.burst.unwrap_or(a.burst) })
            }
            Self::LeakyBucketQueue(a) => Self::LeakyBucketQueue(LeakyBucketQueue {
                rate: rate(a.rate),
                max_queueing: own.max_queueing.unwrap_or(a.max_queueing),
            }),
            Self::LeakyBucketMeter(a) => Self::LeakyBucketMeter(LeakyBucketMeter {
                rate: own.rate.filter(|rate| LeakyBucketMeter::takes(*rate)).unwrap_or(a.rate),
                burst: own.burst.unwrap_or(a.burst),
                ..a
            }),
            Self::SlidingWindow(a) => Self::SlidingWindow(SlidingWindow { limit: limit(a.limit), ..a }),
            Self::FixedWindow(a) => Self::FixedWindow(FixedWindow { limit: limit(a.limit), ..a }),
            Self::WarmUp(a) => Self::WarmUp(WarmUp {
                rate: rate(a.rate),
                max_queueing: a.max_queueing.map(|queueing| own.max_queueing.unwrap_or(queueing)),
                ..a
            }),
            Self::Concurrency(a) => Self::Concurrency(Concurrency { limit: limit(a.limit) }),
            Self::AdaptiveConcurrency(a) => {
                let max = limit(a.max);
                Self::AdaptiveConcurrency(AdaptiveConcurrency {
                    max,
                    min: a.min.min(max),
                    initial: a.initial.min(max),
                    ..a
                })
            }
            Self::Bandwidth(a) => Self::Bandwidth(Bandwidth { rate: own.byte_rate.unwrap_or(a.rate), burst: a.burst }),
        }
    }

    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenBucket(_) => "tokenBucket",
            Self::LeakyBucketQueue(_) => "leakyBucketQueue",
            Self::LeakyBucketMeter(_) => "leakyBucketMeter",
            Self::SlidingWindow(_) => "slidingWindow",
            Self::FixedWindow(_) => "fixedWindow",
            Self::WarmUp(_) => "warmUp",
            Self::Concurrency(_) => "concurrency",
            Self::AdaptiveConcurrency(_) => "adaptiveConcurrency",
            Self::Bandwidth(_) => "bandwidth",
        }
    }

    /// The highest cost of a request that it can ever admit; nothing where any can be.
    pub fn most_at_once(self) -> Option<u32> {
        match self {
            Self::TokenBucket(a) => Some(a.burst),
            // One is at the rate, the burst is above it.
            Self::LeakyBucketMeter(a) => Some(a.burst.saturating_add(1)),
            Self::SlidingWindow(a) => Some(a.limit),
            Self::FixedWindow(a) => Some(a.limit),
            Self::Concurrency(a) => Some(a.limit),
            Self::AdaptiveConcurrency(a) => Some(a.max),
            // What is spaced out takes a turn that is as long as it costs, whatever that is.
            Self::LeakyBucketQueue(_) | Self::WarmUp(_) | Self::Bandwidth(_) => None,
        }
    }

    /// Whether it counts what is being answered, rather than what comes.
    pub fn is_concurrency(self) -> bool {
        matches!(self, Self::Concurrency(_) | Self::AdaptiveConcurrency(_))
    }

    /// Whether it slows bodies down, rather than looking at requests.
    pub fn is_bandwidth(self) -> bool {
        matches!(self, Self::Bandwidth(_))
    }
}

impl LeakyBucketMeter {
    /// Whether a rate can be counted: in thousandths of a request a second, as nginx does, of which the slowest rate has
    /// 16.
    pub fn takes(rate: Rate) -> bool {
        rate.thousandths_per_second() >= 16
    }
}
