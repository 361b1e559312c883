use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../../tests/fixtures/sliding.json");
const MILLI: u64 = 1_000_000;

fn window(limit: u32, millis: u64) -> FixedWindow {
    FixedWindow::new(model::FixedWindow { limit, window: Duration::from_millis(millis) })
}

fn check(window: &FixedWindow, state: &mut State, now: u64, cost: u32) -> Verdict {
    let verdict = window.ask(state, now, cost);
    if verdict.admits() {
        window.take(state, now, cost);
    }
    verdict
}

#[test]
fn vectors_to_the_digit() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let number = |key: &str| vectors[key].as_u64().unwrap();
    let window = window(u32::try_from(number("limit")).unwrap(), number("window_ms"));
    let mut state = window.fresh(0);
    let expected = vectors["fixed"].as_array().unwrap();
    for (at, expected) in vectors["arrivals"].as_array().unwrap().iter().zip(expected) {
        let verdict = check(&window, &mut state, at.as_u64().unwrap() * MILLI, 1);
        assert_eq!(Some(verdict.admits()), expected.as_bool(), "at {at}");
    }
}

#[test]
fn a_verdict_says_what_is_left() {
    let window = window(3, 1_000);
    let mut state = window.fresh(0);
    let now = 1_400 * MILLI;
    assert_eq!(check(&window, &mut state, now, 2).remaining, 1);
    let refused = check(&window, &mut state, now, 2);
    assert_eq!((refused.remaining, refused.retry_after_nanos, refused.reset_nanos), (1, 600 * MILLI, 600 * MILLI));
    assert!(!window.ask(&mut state, now + 600 * MILLI - 1, 2).admits());
    assert!(window.ask(&mut state, now + 600 * MILLI, 2).admits());
    assert_eq!(check(&window, &mut state, now, 4).retry_after_nanos, NEVER);
}

#[test]
fn a_clock_that_goes_back_begins_no_period() {
    let window = window(1, 1_000);
    let mut state = window.fresh(0);
    assert!(check(&window, &mut state, 5_000 * MILLI, 1).admits());
    assert!(!check(&window, &mut state, 4_000 * MILLI, 1).admits());
}

#[test]
fn a_charge_counts_in_its_period() {
    let window = window(3, 1_000);
    let mut state = window.fresh(0);
    window.charge(&mut state, 0, 2);
    assert_eq!((state.used(0), check(&window, &mut state, 0, 1).remaining), (2, 0));
    window.charge(&mut state, 0, -1);
    assert!(check(&window, &mut state, 0, 1).admits());
    window.charge(&mut state, 1_000 * MILLI, -5);
    assert_eq!((state.used(1_000 * MILLI), check(&window, &mut state, 1_000 * MILLI, 3).remaining), (0, 0));
}

#[test]
fn thousand_a_second_to_ten_and_back() {
    let [fast, slow] = [window(1_000, 1_000), window(10, 1_000)];
    let mut state = fast.fresh(0);
    let mut passed = [0; 4];
    for (tick, now) in (0..8_000).map(|tick| (tick, tick * MILLI / 2)) {
        let edited = (3_000..6_000).contains(&tick);
        passed[(tick / 2_000) as usize] +=
            u64::from(check(if edited { &slow } else { &fast }, &mut state, now, 1).admits());
    }
    // In the second one 1,000 had passed before the edit; the third one begins with ten, and goes on when it is undone.
    assert_eq!(passed, [1_000, 1_000, 10, 1_000]);
    let mut state = fast.fresh(0);
    for now in 0..2_000 {
        check(if now % 2 == 0 { &fast } else { &slow }, &mut state, now, 1);
    }
    assert_eq!(state.used(2_000), 1_000);
}

#[test]
fn extremes_do_not_overflow() {
    let all = [window(0, 0), window(u32::MAX, u64::MAX), window(1, 1), window(u32::MAX, 86_400_000)];
    let mut kept = all[0].fresh(0);
    for window in &all {
        window.policy();
        for now in [0, 1, u64::MAX / 2, u64::MAX, 3] {
            for state in [&mut window.fresh(now), &mut kept] {
                for cost in [0, 1, u32::MAX] {
                    check(window, state, now, cost);
                    window.take(state, now, cost);
                    for charge in [i64::MIN, -1, 0, 1, i64::MAX] {
                        window.charge(state, now, charge);
                        state.used(now);
                    }
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn decides_as_a_table_of_periods_does(
        limits in prop::collection::vec(1_u32..10, 1..3),
        millis in 1_u64..50,
        steps in prop::collection::vec((0_u64..40, 1_u32..4, any::<prop::sample::Index>()), 1..200),
    ) {
        let windows: Vec<_> = limits.iter().map(|limit| window(*limit, millis)).collect();
        let mut state = windows[0].fresh(0);
        let (mut counts, mut now) = (BTreeMap::<u64, u64>::new(), 0);
        for (step, cost, edit) in steps {
            now += step.saturating_sub(20) * MILLI;
            let (window, limit) = (edit.get(&windows), *edit.get(&limits));
            let count = counts.entry(now / (millis * MILLI)).or_default();
            prop_assert_eq!(window.ask(&mut state, now, 1), window.ask(&mut state, now, 1));
            let admitted = *count + u64::from(cost) <= u64::from(limit);
            prop_assert_eq!(check(window, &mut state, now, cost).admits(), admitted);
            *count += if admitted { u64::from(cost) } else { 0 };
            prop_assert_eq!(state.used(now), *count);
        }
    }

    /// Edits of the length, back and forth: from one edit to the next no more than in two periods that meet.
    #[test]
    fn an_edited_length_hands_out_nothing(
        lengths in prop::collection::vec(20_u64..100, 2..4),
        steps in prop::collection::vec((0_u64..10, any::<prop::sample::Index>()), 1..300),
    ) {
        const LIMIT: u32 = 3;
        let windows: Vec<_> = lengths.iter().map(|millis| window(LIMIT, *millis)).collect();
        let shortest = lengths.iter().min().unwrap() * MILLI;
        let mut state = windows[0].fresh(0);
        let (mut now, mut passed, mut at) = (0, Vec::new(), 0_usize);
        let mut edits = Vec::new();
        for (step, edit) in steps {
            now += step * MILLI;
            if step == 7 {
                at = edit.index(windows.len());
                edits.push(now);
                let used = state.used(now);
                windows[at].ask(&mut state, now, 1);
                prop_assert!(state.used(now) >= used);
            }
            while check(&windows[at], &mut state, now, 1).admits() {
                passed.push(now);
            }
        }
        for (first, since) in passed.iter().enumerate() {
            let within = passed[first..].iter().filter(|at| **at < since + shortest).count();
            let edits = edits.iter().filter(|at| (*since..since + shortest).contains(at)).count();
            prop_assert!(within <= LIMIT as usize * (2 + edits), "{} from {} on", within, since);
        }
    }
}

/// Who came before an edit is charged after it, by the values that it came under.
#[test]
fn a_late_charge_counts_where_others_are_counted() {
    let (short, long) = (window(5, 1_000), window(5, 60_000));
    let mut state = short.fresh(0);
    check(&short, &mut state, 500 * MILLI, 1);
    (0..3).for_each(|_| assert!(check(&long, &mut state, 600 * MILLI, 1).admits()));
    short.charge(&mut state, 10_000 * MILLI, 1);
    assert!(!check(&long, &mut state, 11_000 * MILLI, 1).admits(), "one, three, and one charged");
    assert!(check(&long, &mut state, 60_000 * MILLI, 1).admits());
}
