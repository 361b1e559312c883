//! What holds of every algorithm.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gridrouter_config::model::{Adaptation, Algorithm, SlidingWindowMethod, WarmUpForm};
use gridrouter_config::units::{ByteRate, Rate};
use proptest::prelude::*;

use super::key::KeySeed;
use super::table::LimitTable;
use super::*;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

fn rate(count: u32) -> Rate {
    Rate { count, per: Duration::from_secs(1) }
}

/// Every algorithm that counts requests over time, in each of its forms, at so many a second.
fn over_time(per_second: u32) -> Vec<(&'static str, Algorithm)> {
    let (rate, limit, window) = (rate(per_second), per_second, Duration::from_secs(1));
    let queueing = Duration::from_millis(200);
    let warm_up = |form, max_queueing| {
        let period = Duration::from_secs(4);
        Algorithm::WarmUp(model::WarmUp { rate, period, cold_factor: 3, form, max_queueing })
    };
    let sliding = |method| Algorithm::SlidingWindow(model::SlidingWindow { limit, window, method });
    vec![
        ("token bucket", Algorithm::TokenBucket(model::TokenBucket { rate, burst: limit })),
        ("queue", Algorithm::LeakyBucketQueue(model::LeakyBucketQueue { rate, max_queueing: queueing })),
        ("meter", Algorithm::LeakyBucketMeter(model::LeakyBucketMeter { rate, burst: limit, delay: None })),
        ("log", sliding(SlidingWindowMethod::Log)),
        ("counter", sliding(SlidingWindowMethod::Counter)),
        ("fixed window", Algorithm::FixedWindow(model::FixedWindow { limit, window })),
        ("sentinel", warm_up(WarmUpForm::Sentinel, None)),
        ("sentinel, queueing", warm_up(WarmUpForm::Sentinel, Some(queueing))),
        ("guava", warm_up(WarmUpForm::Guava, None)),
        ("guava, queueing", warm_up(WarmUpForm::Guava, Some(queueing))),
    ]
}

/// All of them, and those that count what is being answered.
fn all(number: u32) -> Vec<(&'static str, Algorithm)> {
    let adaptive = |by| {
        let (initial, min, max) = (number, number.min(2), number);
        Algorithm::AdaptiveConcurrency(model::AdaptiveConcurrency { initial, min, max, by })
    };
    let mut all = over_time(number);
    all.extend([
        ("concurrency", Algorithm::Concurrency(model::Concurrency { limit: number })),
        ("gradient2", adaptive(Adaptation::Gradient2 { tolerance_thousandths: 1_500 })),
        ("aimd", adaptive(Adaptation::Aimd { backoff_thousandths: 900, latency: Duration::from_millis(100) })),
        (
            "bandwidth",
            Algorithm::Bandwidth(model::Bandwidth {
                rate: ByteRate { per_second: u64::from(number) },
                burst: u64::from(number),
            }),
        ),
    ]);
    all
}

fn check(limit: &Prepared, state: &mut State, now: u64, cost: u32) -> Verdict {
    let verdict = limit.ask(state, &mut 0, now, cost);
    if verdict.admits() {
        limit.take(state, &mut 0, now, cost);
    }
    verdict
}

/// When it passes.
fn passes_at(verdict: Verdict, now: u64) -> Option<u64> {
    match verdict.outcome {
        Outcome::Pass => Some(now),
        Outcome::Wait(wait) => Some(now + wait),
        Outcome::Refuse => None,
    }
}

const ANSWERED: Answered = Answered { took_nanos: Some(MILLI), served: true, counts: true };

#[test]
fn a_state_is_24_bytes() {
    assert_eq!(size_of::<State>(), 24);
}

/// Two threads hammer one key of a table, in lock step through a minute of virtual time. They are admitted as often in
/// each tick as one thread is that asks as often.
#[test]
fn two_threads_on_one_key_admit_what_one_would() {
    const TICK: u64 = 20 * MILLI;
    const TICKS: u64 = 60 * SECOND / TICK;
    const ASKED: u32 = 3;
    for (name, algorithm) in all(40).into_iter().filter(|(_, algorithm)| !algorithm.is_bandwidth()) {
        let limit = Prepared::new(&algorithm);
        let run = |threads: u32| -> Vec<u64> {
            let table = LimitTable::new(1 << 20);
            let key = KeySeed::default().limit(1);
            let admitted: Vec<AtomicU64> = (0..TICKS).map(|_| AtomicU64::new(0)).collect();
            let barrier = Barrier::new(threads as usize);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        for (tick, admitted) in (0..TICKS).zip(&admitted) {
                            let now = SECOND + tick * TICK;
                            barrier.wait();
                            for _ in 0..2 * ASKED / threads {
                                let verdict = table.check_one(key, &limit, 1, now);
                                admitted.fetch_add(u64::from(verdict.admits()), Ordering::Relaxed);
                            }
                            barrier.wait();
                            // What is held ends with the tick, by one thread's hand or the other's.
                            let held =
                                if limit.holds_permits() && tick % 20 == 19 { 0..2 * ASKED / threads } else { 0..0 };
                            held.for_each(|_| table.release(key, &limit, 1, ANSWERED, now));
                        }
                    });
                }
            });
            admitted.iter().map(|admitted| admitted.load(Ordering::Relaxed)).collect()
        };
        let (one, two) = (run(1), run(2));
        assert_eq!(one, two, "{name}");
        let all = one.iter().sum::<u64>();
        assert!(all > 40 && all < 2 * u64::from(ASKED) * TICKS, "{name}: some of them, and not all: {all}");
    }
}

/// What a limit of `most` a second allows in a period of `nanos`, whichever of the values that it had:
///
/// * token bucket, meter: the burst, and the rate for the period (and the meter the first request);
/// * queue, Guava: one, and the rate for the period;
/// * log: the limit in each window that the period begins;
/// * counter, fixed window: twice the limit in the first window of it, and the limit in each further one;
/// * Sentinel: the rate in each second of the clock that it touches; with queueing as a queue.
fn allowed(name: &str, most: u32, nanos: u64) -> f64 {
    let (most, seconds) = (f64::from(most), nanos as f64 / SECOND as f64);
    match name {
        "token bucket" => most + most * seconds,
        "meter" => most + 1.0 + most * seconds,
        // An eighth of a millionth for what rounding to nanoseconds gives.
        "queue" | "guava" | "guava, queueing" | "sentinel, queueing" => 1.0 + most * seconds * (1.0 + 1.25e-7),
        "log" => most * (seconds.floor() + 1.0),
        "counter" | "fixed window" | "sentinel" => most * (seconds.floor() + 2.0),
        _ => panic!("{name}"),
    }
}

/// When requests pass under full load, while the limit is edited from one of two values to the other.
fn saturated_with_edits(limits: &[Prepared; 2], ticks: impl Iterator<Item = (u64, usize)>) -> Vec<u64> {
    let mut state = limits[0].fresh(SECOND);
    let mut passed = Vec::new();
    for (now, which) in ticks {
        while let Some(at) = passes_at(check(&limits[which], &mut state, now, 1), now) {
            passed.push(at);
        }
    }
    passed.sort_unstable();
    passed
}

fn assert_allowed(name: &str, most: u32, passed: &[u64]) -> Result<(), TestCaseError> {
    for (first, since) in passed.iter().enumerate() {
        // Pairs further and further apart are all those that can be the worst.
        for (count, until) in passed[first..].iter().enumerate().step_by(1 + passed.len() / 300) {
            let (count, nanos) = ((count + 1) as f64, until - since);
            let allowed = allowed(name, most, nanos);
            prop_assert!(count <= allowed + 1e-9, "{}: {} in {} ns, and {} are allowed", name, count, nanos, allowed);
        }
    }
    Ok(())
}

#[test]
fn an_edit_from_a_thousand_to_ten_and_back_hands_out_nothing() {
    for ((name, fast), (_, slow)) in over_time(1_000).iter().zip(&over_time(10)) {
        let limits = [Prepared::new(fast), Prepared::new(slow)];
        for edited in [1_001_u64, 1_300, 1_999, 2_000] {
            let ticks = (1_000..4_000).map(|tick| (tick * MILLI, usize::from(tick >= edited && tick < edited + 700)));
            let passed = saturated_with_edits(&limits, ticks);
            assert_allowed(name, 1_000, &passed).unwrap();
        }
        // Back and forth in no time: no more than the larger of them has.
        let both = saturated_with_edits(&limits, (0..1_000).map(|turn| (SECOND, turn % 2)));
        let one = saturated_with_edits(&limits, [(SECOND, 0)].into_iter());
        assert!(both.len() <= one.len(), "{name}: {} and {}", both.len(), one.len());
    }
}

/// Another algorithm under the same name: what was used is used of that one too.
#[test]
fn an_edited_algorithm_hands_out_no_more_than_one_more_limit() {
    let algorithms = over_time(100);
    for (from_name, from) in &algorithms {
        for (to_name, to) in &algorithms {
            let (from, to) = (Prepared::new(from), Prepared::new(to));
            let mut state = from.fresh(SECOND);
            let before = std::iter::from_fn(|| check(&from, &mut state, SECOND, 1).admits().then_some(())).count();
            let after = std::iter::from_fn(|| check(&to, &mut state, SECOND, 1).admits().then_some(())).count();
            let fresh = {
                let mut state = to.fresh(SECOND);
                std::iter::from_fn(|| check(&to, &mut state, SECOND, 1).admits().then_some(())).count()
            };
            // What one cannot hold it cannot know of; the meter has one above its burst.
            assert!(
                after <= fresh.saturating_sub(before.min(fresh)) + 1,
                "{from_name} to {to_name}: {before}, {after} of {fresh}"
            );
        }
    }
}

#[test]
fn no_time_and_no_cost_overflows() {
    let times = [0, 1, SECOND, 1 << 62, u64::MAX - 1, u64::MAX, 5 * SECOND, 0];
    for number in [1, 3, 1_000, u32::MAX] {
        for (_, algorithm) in all(number) {
            let limit = Prepared::new(&algorithm);
            let mut state = limit.fresh(0);
            for now in times {
                for cost in [1, 2, 129, u32::MAX] {
                    check(&limit, &mut state, now, cost);
                    limit.take(&mut state, &mut 0, now, cost);
                    for charge in [1, -1, i64::MAX, i64::MIN] {
                        limit.charge(&mut state, now, charge);
                    }
                    limit.leave(&mut state, now, now.saturating_add(5), cost);
                    limit.release(&mut state, now, cost, ANSWERED);
                    state.used(now);
                    // Bounded: below 4 KiB for the largest log.
                    assert!(state.heap_bytes() < 4_096);
                }
            }
            for (_, other) in all(7) {
                Prepared::new(&other).ask(&mut state.clone(), &mut 0, 3, 1);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn edits_back_and_forth_hand_out_nothing(
        a in 5_u32..120,
        b in 5_u32..120,
        steps in prop::collection::vec((0_u64..20, 0..4_u8), 50..300),
    ) {
        for ((name, a_of), (_, b_of)) in over_time(a).iter().zip(&over_time(b)) {
            let limits = [Prepared::new(a_of), Prepared::new(b_of)];
            let (mut now, mut which) = (SECOND, 0);
            let ticks = steps.iter().map(|(step, edit)| {
                now += step * MILLI;
                which ^= usize::from(*edit == 0);
                (now, which)
            });
            assert_allowed(name, a.max(b), &saturated_with_edits(&limits, ticks))?;
        }
    }

    /// To ask, of any cost, changes nothing that is said later; and what is said to be unused is as good as forgotten. That
    /// is said for requests of cost 1: a fresh queue gives a turn at once to any cost, because nothing was before it.
    #[test]
    fn to_ask_takes_nothing_and_what_is_unused_may_be_forgotten(
        number in 1_u32..60,
        steps in prop::collection::vec((0_u64..4_000, 1_u32..3, 1_u32..100), 1..80),
    ) {
        for (name, algorithm) in all(number) {
            let limit = Prepared::new(&algorithm);
            let mut now = SECOND;
            let [mut asked, mut not, mut kept, mut forgetful] = [(); 4].map(|()| limit.fresh(now));
            for (step, cost, other) in &steps {
                now += step.saturating_sub(2_000) * MILLI;
                limit.ask(&mut asked, &mut 0, now, *other);
                if forgetful.used(now) == 0 {
                    forgetful = limit.fresh(now);
                }
                let verdict = check(&limit, &mut not, now, *cost);
                prop_assert_eq!(check(&limit, &mut asked, now, *cost), verdict, "{}", name);
                if limit.holds_permits() && verdict.admits() {
                    limit.release(&mut asked, now, *cost, ANSWERED);
                    limit.release(&mut not, now, *cost, ANSWERED);
                }
                let verdict = check(&limit, &mut kept, now, 1);
                let forgot = check(&limit, &mut forgetful, now, 1);
                prop_assert_eq!(forgot.outcome, verdict.outcome, "{} at {}", name, now);
                prop_assert!(forgetful.used(now) > 0 || !verdict.admits(), "{}", name);
                if limit.holds_permits() && verdict.admits() {
                    limit.release(&mut kept, now, 1, ANSWERED);
                    limit.release(&mut forgetful, now, 1, ANSWERED);
                }
            }
        }
    }
}
