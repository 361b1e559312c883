//! The limit stage: whether a request is admitted, and when.
//!
//! A [`Prepared`] is one limit's algorithm with its values, prepared when a snapshot is compiled. A
//! [`LimitTable`](table::LimitTable) outlives snapshots and holds what was counted, by [`KeyHash`](key::KeyHash).
//! Time is handed in, in nanoseconds since an epoch of the process; nothing here reads a clock.
//!
//! Every algorithm is a file of its own with two types: its values, prepared, and the state of one key. To ask takes
//! nothing, so that a request may ask several limits and take from all of them or from none. A new algorithm is a new
//! file, a variant of [`Prepared`] and of `State`, and a line in each `match` below.
//!
//! A state carries the values that it was counted under. Asked under others, it is rescaled once: what was used stays
//! used. A state of another algorithm, which the limit had before, is replaced by a fresh one from which as much was
//! used.

mod adaptive_concurrency;
mod bandwidth;
mod concurrency;
mod fixed_window;
pub mod headers;
pub mod key;
mod leaky_bucket_meter;
mod leaky_bucket_queue;
mod sliding_window;
pub mod table;
mod token_bucket;
mod warm_up;

use gridrouter_config::model;

use self::adaptive_concurrency::AdaptiveConcurrency;
use self::bandwidth::Bandwidth;
use self::concurrency::Concurrency;
use self::fixed_window::FixedWindow;
use self::leaky_bucket_meter::LeakyBucketMeter;
use self::leaky_bucket_queue::LeakyBucketQueue;
use self::sliding_window::SlidingWindow;
use self::token_bucket::TokenBucket;
use self::warm_up::WarmUp;

/// What a limit says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request may pass, and when.
    pub outcome: Outcome,
    /// Requests of cost 1 that could follow at once.
    pub remaining: u64,
    /// Nanoseconds until a refused request could be admitted: 0 when it was, [`NEVER`] when no time helps.
    pub retry_after_nanos: u64,
    /// Nanoseconds until all that the limit can give is there again, if no further request comes.
    pub reset_nanos: u64,
}

/// No time is long enough: a request that costs more than the limit ever gives.
pub const NEVER: u64 = u64::MAX;

/// Whether a request may pass, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// At once.
    Pass,
    /// After this many nanoseconds, at least 1.
    Wait(u64),
    /// Not.
    Refuse,
}

impl Verdict {
    /// Whether the request may pass, be it later.
    pub fn admits(&self) -> bool {
        !matches!(self.outcome, Outcome::Refuse)
    }
}

/// What is left of a limit that let a request pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Requests of cost 1 that could follow.
    pub remaining: u64,
    /// Nanoseconds until all of it is there again.
    pub reset_nanos: u64,
}

/// How a request that held a permit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Nanoseconds from when it was admitted until its answer began; none if there was no answer to learn from.
    pub took_nanos: Option<u64>,
    /// Whether it was served, rather than failed or timed out.
    pub served: bool,
    /// Whether its answer had to do with the load at all: `false` for one that its client gave up.
    pub counts: bool,
}

/// What clients are told that a limit gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How many units.
    pub quota: u64,
    /// In how many nanoseconds all of it comes back; none where it is not a matter of time.
    pub window_nanos: Option<u64>,
    /// What is counted.
    pub unit: Unit,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Requests.
    Requests,
    /// Requests at the same time.
    ConcurrentRequests,
    /// Bytes of response bodies.
    ContentBytes,
}

/// Declares the algorithms in one table: each has a variant of `Prepared` and of `State`, and the same functions.
macro_rules! algorithms {
    ($($(#[$doc:meta])* $name:ident in $module:ident),* $(,)?) => {
        /// A limit's algorithm and its values, prepared once when a snapshot is compiled.
        #[derive(Debug)]
        pub enum Prepared { $($(#[$doc])* $name($name),)* }

        impl Prepared {
            /// Prepares an algorithm.
            pub fn new(algorithm: &model::Algorithm) -> Self {
                match algorithm { $(model::Algorithm::$name(values) => Self::$name($name::new(*values)),)* }
            }

            /// What clients are told.
            pub fn policy(&self) -> Policy {
                match self { $(Self::$name(limit) => limit.policy(),)* }
            }

            fn fresh(&self, now: u64) -> State {
                match self { $(Self::$name(limit) => State::$name(limit.fresh(now)),)* }
            }

            /// Brings a state up to date and says what the limit would say of a request. Takes nothing. What the state
            /// has outside of itself is counted in `heap_bytes`.
            #[inline]
            fn ask(&self, state: &mut State, heap_bytes: &mut usize, now: u64, cost: u32) -> Verdict {
                match (self, &mut *state) {
                    $((Self::$name(limit), State::$name(state)) => {
                        counted(state, $module::State::heap_bytes, heap_bytes, |state| limit.ask(state, now, cost))
                    })*
                    (_, _) => {
                        self.replace(state, heap_bytes, now);
                        self.ask(state, heap_bytes, now, cost)
                    }
                }
            }

            /// Takes what [`ask`](Self::ask) has just admitted.
            #[inline]
            fn take(&self, state: &mut State, heap_bytes: &mut usize, now: u64, cost: u32) {
                match (self, state) {
                    $((Self::$name(limit), State::$name(state)) => {
                        counted(state, $module::State::heap_bytes, heap_bytes, |state| limit.take(state, now, cost));
                    })*
                    (_, _) => {}
                }
            }

            /// Asks, and takes what is admitted.
            #[inline]
            fn check(&self, state: &mut State, heap_bytes: &mut usize, now: u64, cost: u32) -> Verdict {
                match (self, &mut *state) {
                    $((Self::$name(limit), State::$name(state)) => {
                        counted(state, $module::State::heap_bytes, heap_bytes, |state| {
                            let verdict = limit.ask(state, now, cost);
                            if verdict.admits() {
                                limit.take(state, now, cost);
                            }
                            verdict
                        })
                    })*
                    (_, _) => {
                        self.replace(state, heap_bytes, now);
                        self.check(state, heap_bytes, now, cost)
                    }
                }
            }

            /// Takes more, unasked, or gives back.
            fn charge(&self, state: &mut State, now: u64, cost: i64) {
                match (self, state) {
                    $((Self::$name(limit), State::$name(state)) => limit.charge(state, now, cost),)*
                    (_, _) => {}
                }
            }
        }

        /// What was counted for one key.
        #[derive(Debug, Clone)]
        enum State { $($name($module::State),)* }

        impl State {
            /// Requests that would be handed out once more if this state were forgotten; 0 when it says no more than a
            /// fresh one.
            fn used(&self, now: u64) -> u64 {
                match self { $(Self::$name(state) => state.used(now),)* }
            }

            /// Bytes that it has outside of itself.
            fn heap_bytes(&self) -> usize {
                match self { $(Self::$name(state) => state.heap_bytes(),)* }
            }
        }
    };
}

/// Does something to a state, and counts what it has outside of itself: nothing is left of that where it has nothing.
#[inline]
fn counted<S, T>(state: &mut S, of: impl Fn(&S) -> usize, bytes: &mut usize, what: impl FnOnce(&mut S) -> T) -> T {
    let before = of(state);
    let done = what(state);
    *bytes = (*bytes + of(state)).saturating_sub(before);
    done
}

algorithms! {
    /// At a steady rate, with bursts.
    TokenBucket in token_bucket,
    /// At a steady rate and evenly spaced.
    LeakyBucketQueue in leaky_bucket_queue,
    /// At a steady rate, with bursts part of which may be slowed down.
    LeakyBucketMeter in leaky_bucket_meter,
    /// So many in any period.
    SlidingWindow in sliding_window,
    /// So many in each period.
    FixedWindow in fixed_window,
    /// At a rate that rises while it is used.
    WarmUp in warm_up,
    /// So many at the same time.
    Concurrency in concurrency,
    /// As many at the same time as do not become slower.
    AdaptiveConcurrency in adaptive_concurrency,
    /// So many bytes over time.
    Bandwidth in bandwidth,
}

/// What undoes that something was taken of a state under the same lock: what there was before, in the state's own terms.
#[derive(Debug, Clone, Copy, Default)]
struct Before([u64; 2]);

impl Prepared {
    /// Whether what is taken can be undone under the same lock, mostly: a few words hold what there was before.
    #[inline]
    pub fn is_undoable(&self) -> bool {
        match self {
            Self::TokenBucket(_)
            | Self::LeakyBucketMeter(_)
            | Self::SlidingWindow(_)
            | Self::FixedWindow(_)
            | Self::Concurrency(_) => true,
            Self::LeakyBucketQueue(_) | Self::WarmUp(_) | Self::AdaptiveConcurrency(_) | Self::Bandwidth(_) => false,
        }
    }

    /// Takes a request that passes at once, and says what is left and what undoes it. Nothing is taken where it does not pass at
    /// once, that could not be undone, the state would take more memory, or is another algorithm's. To ask and to take later costs
    /// as much again.
    #[inline]
    fn pass(&self, state: &mut State, now: u64, cost: u32) -> Option<(Left, Before)> {
        macro_rules! pass {
            ($limit:ident, $state:ident) => {{
                let Verdict { outcome: Outcome::Pass, remaining, reset_nanos, .. } = $limit.ask($state, now, cost)
                else {
                    return None;
                };
                let before = $state.before();
                $limit.take($state, now, cost);
                Some((Left { remaining, reset_nanos }, before))
            }};
        }
        match (self, state) {
            (Self::TokenBucket(limit), State::TokenBucket(state)) => limit.pass(state, now, cost),
            (Self::LeakyBucketMeter(limit), State::LeakyBucketMeter(state)) => pass!(limit, state),
            (Self::FixedWindow(limit), State::FixedWindow(state)) => pass!(limit, state),
            (Self::Concurrency(limit), State::Concurrency(state)) => pass!(limit, state),
            (Self::SlidingWindow(limit), State::SlidingWindow(state)) => limit.pass(state, now, cost),
            (_, _) => None,
        }
    }
}

impl State {
    /// Undoes that so much was taken since.
    fn restore(&mut self, before: Before, cost: u32) {
        match self {
            Self::TokenBucket(state) => state.restore(before),
            Self::LeakyBucketMeter(state) => state.restore(before),
            Self::FixedWindow(state) => state.restore(before),
            Self::Concurrency(state) => state.restore(before),
            Self::SlidingWindow(state) => state.restore(before, cost),
            // Nothing of these is taken in that way.
            Self::LeakyBucketQueue(_) | Self::WarmUp(_) | Self::AdaptiveConcurrency(_) | Self::Bandwidth(_) => {}
        }
    }

    /// Permits that are out, of those who count them.
    fn held(&mut self) -> Option<&mut u32> {
        match self {
            Self::Concurrency(state) => Some(&mut state.held),
            Self::AdaptiveConcurrency(state) => Some(state.held()),
            Self::TokenBucket(_)
            | Self::LeakyBucketQueue(_)
            | Self::LeakyBucketMeter(_)
            | Self::SlidingWindow(_)
            | Self::FixedWindow(_)
            | Self::WarmUp(_)
            | Self::Bandwidth(_) => None,
        }
    }

    /// Gives back permits, if it counts them.
    fn give_back(&mut self, permits: u32) {
        if let Some(held) = self.held() {
            *held = held.saturating_sub(permits);
        }
    }
}

impl Prepared {
    /// What it would say of the first request.
    fn ask_anew(&self, now: u64, cost: u32) -> Verdict {
        self.ask(&mut self.fresh(now), &mut 0, now, cost)
    }

    #[cold]
    fn replace(&self, state: &mut State, heap_bytes: &mut usize, now: u64) {
        counted(state, State::heap_bytes, heap_bytes, |state| *state = self.instead_of(state, now));
    }

    /// A state in place of one of another algorithm. What was used of that is used of this one too, as far as it goes, and
    /// permits stay out; but what is no permit was not held.
    fn instead_of(&self, other: &mut State, now: u64) -> State {
        let mut state = self.fresh(now);
        if let (Some(held), Some(before)) = (state.held(), other.held()) {
            *held = *before;
        }
        match (self, other) {
            (Self::Concurrency(_) | Self::AdaptiveConcurrency(_) | Self::Bandwidth(_), _)
            | (_, State::Concurrency(_) | State::AdaptiveConcurrency(_) | State::Bandwidth(_)) => {}
            (_, other) => {
                let most = self.policy().quota.min(other.used(now));
                // Bounded by what a policy can be.
                self.charge(&mut state, now, i64::try_from(most).unwrap_or(i64::MAX));
            }
        }
        state
    }

    /// Ends a request that was counted while it lasted.
    fn release(&self, state: &mut State, now: u64, cost: u32, answered: Answered) {
        match (self, state) {
            (Self::AdaptiveConcurrency(limit), State::AdaptiveConcurrency(state)) => {
                limit.release(state, now, cost, answered);
            }
            // It does not learn, or has become one of another kind since.
            (_, state) => state.give_back(cost),
        }
    }

    /// Gives back the turn, at `turn` nanoseconds, of a request that waited for it and has gone.
    fn leave(&self, state: &mut State, now: u64, turn: u64, cost: u32) {
        if let (Self::LeakyBucketQueue(limit), State::LeakyBucketQueue(state)) = (self, state) {
            limit.leave(state, now, turn, cost);
        }
    }

    /// The most bytes of a body that may be taken at once, of a limit of bandwidth.
    pub fn piece(&self) -> Option<u64> {
        match self {
            Self::Bandwidth(limit) => Some(limit.piece()),
            Self::TokenBucket(_)
            | Self::LeakyBucketQueue(_)
            | Self::LeakyBucketMeter(_)
            | Self::SlidingWindow(_)
            | Self::FixedWindow(_)
            | Self::WarmUp(_)
            | Self::Concurrency(_)
            | Self::AdaptiveConcurrency(_) => None,
        }
    }

    /// Whether its states have something outside of themselves, which grows and shrinks.
    #[inline]
    fn keeps_more(&self) -> bool {
        match self {
            Self::LeakyBucketQueue(_) | Self::SlidingWindow(_) | Self::WarmUp(_) | Self::AdaptiveConcurrency(_) => true,
            Self::TokenBucket(_)
            | Self::LeakyBucketMeter(_)
            | Self::FixedWindow(_)
            | Self::Concurrency(_)
            | Self::Bandwidth(_) => false,
        }
    }

    /// Whether it learns from how long answers take.
    pub fn learns(&self) -> bool {
        matches!(self, Self::AdaptiveConcurrency(_))
    }

    /// Whether it counts requests while they last, and nothing else.
    #[inline]
    pub fn only_holds_permits(&self) -> bool {
        matches!(self, Self::Concurrency(_))
    }

    /// Whether what a request took is to be given back when it is over.
    pub fn holds_permits(&self) -> bool {
        matches!(self, Self::Concurrency(_) | Self::AdaptiveConcurrency(_))
    }
}

#[cfg(test)]
mod tests;
