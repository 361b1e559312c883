use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::super::{NEVER, Outcome};
use super::*;

const VECTORS: &str = include_str!("../../../tests/fixtures/balancing.json");
const MILLI: u64 = 1_000_000;

fn gradient2(initial: u32, min: u32, max: u32) -> AdaptiveConcurrency {
    let by = Adaptation::Gradient2 { tolerance_thousandths: 1_500 };
    AdaptiveConcurrency::new(model::AdaptiveConcurrency { initial, min, max, by })
}

fn aimd(initial: u32, min: u32, max: u32) -> AdaptiveConcurrency {
    let by = Adaptation::Aimd { backoff_thousandths: 900, latency: Duration::from_millis(100) };
    AdaptiveConcurrency::new(model::AdaptiveConcurrency { initial, min, max, by })
}

fn served(took_millis: u64) -> Answered {
    Answered { took_nanos: Some(took_millis * MILLI), served: true, counts: true }
}

const FAILED: Answered = Answered { took_nanos: Some(MILLI), served: false, counts: true };
const TIMED_OUT: Answered = Answered { took_nanos: None, served: false, counts: true };
const GIVEN_UP: Answered = Answered { took_nanos: Some(MILLI), served: false, counts: false };

fn check(limit: &AdaptiveConcurrency, state: &mut State, cost: u32) -> Verdict {
    let verdict = limit.ask(state, 0, cost);
    if verdict.admits() {
        limit.take(state, 0, cost);
    }
    verdict
}

/// As many as pass are held at once, and then all of them end in the same way.
fn round(limit: &AdaptiveConcurrency, state: &mut State, answered: Answered) -> u32 {
    let held = std::iter::from_fn(|| check(limit, state, 1).admits().then_some(())).count() as u32;
    (0..held).for_each(|_| limit.release(state, 0, 1, answered));
    held
}

#[test]
fn gradient2_to_the_digit() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let limit = gradient2(20, 20, 200);
    let mut state = limit.fresh(0);
    for row in vectors["gradient2"]["rows_rtt_inflight_limit_est_long"].as_array().unwrap() {
        state.0.held = u32::try_from(row[1].as_u64().unwrap()).unwrap();
        limit.release(&mut state, 0, 1, served(row[0].as_u64().unwrap()));
        assert_eq!(row[2], state.0.limit as u64, "{row}");
        assert!((state.0.limit - row[3].as_f64().unwrap()).abs() < 5.1e-7, "{row} {}", state.0.limit);
        // The vector's long run is in its own units, after it came down.
        assert!((state.0.long / MILLI as f64 - row[4].as_f64().unwrap()).abs() < 5.1e-7, "{row} {}", state.0.long);
    }
}

#[test]
fn gradient2_gives_way_while_answers_are_slower() {
    let limit = gradient2(20, 1, 100);
    let mut state = limit.fresh(0);
    (0..20).for_each(|_| assert!(round(&limit, &mut state, served(10)) <= 100));
    assert_eq!(round(&limit, &mut state, served(10)), 100);
    assert_eq!(round(&limit, &mut state, served(14)), 100, "within the tolerance");
    assert_eq!(round(&limit, &mut state, served(50)), 100);
    assert!(state.0.limit < 20.0, "{}", state.0.limit);
    (0..20).for_each(|_| assert!(round(&limit, &mut state, served(10)) > 0));
    assert_eq!(round(&limit, &mut state, served(10)), 100);
}

#[test]
fn gradient2_learns_nothing_of_failures() {
    let limit = gradient2(20, 1, 200);
    let mut state = limit.fresh(0);
    for answered in [FAILED, TIMED_OUT, GIVEN_UP, Answered { took_nanos: None, ..served(1) }] {
        assert_eq!(round(&limit, &mut state, answered), 20);
    }
    assert_eq!(state.used(0), 0);
    round(&limit, &mut state, served(1));
    assert_eq!(state.used(0), 1);
}

#[test]
fn aimd_adds_and_multiplies() {
    let limit = aimd(10, 2, 30);
    let mut state = limit.fresh(0);
    let release = |state: &mut State, held, answered| {
        state.0.held = held;
        limit.release(state, 0, 1, answered);
        state.0.limit as u32
    };
    assert_eq!(release(&mut state, 10, served(100)), 11, "in time");
    assert_eq!(release(&mut state, 6, served(1)), 12);
    assert_eq!(release(&mut state, 5, served(1)), 12, "not half of it is used");
    assert_eq!(release(&mut state, 12, served(101)), 10, "late");
    assert_eq!(release(&mut state, 1, TIMED_OUT), 9);
    assert_eq!(release(&mut state, 1, FAILED), 8);
    assert_eq!(release(&mut state, 8, GIVEN_UP), 8);
    assert_eq!(release(&mut state, 8, Answered { took_nanos: None, ..served(1) }), 8);
    (0..50).for_each(|_| assert!(release(&mut state, 1, FAILED) >= 2));
    assert_eq!(release(&mut state, 1, FAILED), 2, "not below the least");
    (0..50).for_each(|_| assert!(release(&mut state, 30, served(1)) <= 30));
    assert_eq!(release(&mut state, 30, served(1)), 30, "not above the most");
}

#[test]
fn an_edit_keeps_what_is_held_and_learned() {
    let (wide, narrow) = (gradient2(20, 1, 200), gradient2(5, 1, 10));
    let mut state = wide.fresh(0);
    (0..5).for_each(|_| assert!(round(&wide, &mut state, served(10)) >= 20));
    while check(&wide, &mut state, 1).admits() {}
    let (held, limit) = (state.0.held, state.0.limit);
    assert_eq!(narrow.ask(&mut state, 0, 1).outcome, Outcome::Refuse);
    assert_eq!((state.0.held, limit), (held, state.0.limit));
    (0..held).for_each(|_| narrow.release(&mut state, 0, 1, GIVEN_UP));
    assert_eq!(narrow.ask(&mut state, 0, 1).remaining, 9, "the new most, and not where it would begin");
    assert_eq!(wide.ask(&mut state, 0, 1).remaining + 1, limit as u64, "an edit that is undone");
    assert_eq!(narrow.ask(&mut state, 0, 11).retry_after_nanos, NEVER);
    // In another way of learning it begins where it was.
    assert_eq!(aimd(3, 1, 200).ask(&mut state, 0, 1).remaining + 1, limit as u64);
}

#[test]
fn extremes_do_not_overflow() {
    let values = |initial, min, max, by| AdaptiveConcurrency::new(model::AdaptiveConcurrency { initial, min, max, by });
    let mut all = Vec::new();
    for (initial, min, max) in [(0, 0, 0), (1, 5, 2), (u32::MAX, u32::MAX, u32::MAX), (1, 1, u32::MAX)] {
        for thousandths in [0, 1_000, u32::MAX] {
            all.push(values(initial, min, max, Adaptation::Gradient2 { tolerance_thousandths: thousandths }));
            let latency = Duration::MAX;
            all.push(values(initial, min, max, Adaptation::Aimd { backoff_thousandths: thousandths, latency }));
        }
    }
    let mut kept = all[0].fresh(0);
    for limit in &all {
        limit.policy();
        for state in [&mut limit.fresh(u64::MAX), &mut kept] {
            for took_nanos in [Some(0), Some(1), Some(u64::MAX), None] {
                for cost in [0, 1, u32::MAX] {
                    limit.take(state, 0, cost);
                    limit.charge(state, 0, i64::MIN);
                    check(limit, state, cost);
                    limit.release(state, 0, cost, Answered { took_nanos, served: cost != 1, counts: true });
                    assert!(state.0.limit >= 1.0 && state.0.long.is_finite());
                    assert!(state.heap_bytes() > 0 && state.used(0) > 0 || state.0.held == 0);
                }
            }
        }
    }
}

proptest! {
    /// Whatever was learned: no more are held than the most, and the limit stays within its bounds.
    #[test]
    fn stays_within_its_bounds(
        is_aimd in any::<bool>(),
        bounds in prop::collection::vec((1_u32..20, 0_u32..40), 1..3),
        steps in prop::collection::vec((0..6_u8, 1_u32..4, 0_u64..400, any::<prop::sample::Index>()), 1..300),
    ) {
        let limits: Vec<_> = bounds.iter().map(|(min, more)| {
            if is_aimd { aimd(*min, *min, min + more) } else { gradient2(*min, *min, min + more) }
        }).collect();
        let mut state = limits[0].fresh(0);
        let mut out = Vec::new();
        for (action, cost, took, index) in steps {
            let (limit, (min, more)) = (index.get(&limits), *index.get(&bounds));
            let held: u32 = out.iter().sum();
            if action < 3 {
                let asked = limit.ask(&mut state, 0, 1);
                prop_assert_eq!(asked, limit.ask(&mut state, 0, 1));
                let admitted = check(limit, &mut state, cost).admits();
                prop_assert!(!admitted || held + cost <= min + more);
                prop_assert!(admitted || held + cost > min);
                out.extend(admitted.then_some(cost));
            } else if !out.is_empty() {
                let cost = out.swap_remove(index.index(out.len()));
                let answered = [served(took), FAILED, GIVEN_UP][usize::from(action - 3)];
                limit.release(&mut state, 0, cost, answered);
                prop_assert!(f64::from(min) <= limit.limit(&state.0) && limit.limit(&state.0) <= f64::from(min + more));
            }
            prop_assert_eq!(state.0.held, out.iter().sum::<u32>());
        }
    }
}
