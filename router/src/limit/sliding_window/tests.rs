use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::super::NEVER;
use super::*;

const VECTORS: &str = include_str!("../../../tests/fixtures/sliding.json");
const MILLI: u64 = 1_000_000;

fn window(limit: u32, millis: u64, method: SlidingWindowMethod) -> SlidingWindow {
    SlidingWindow::new(model::SlidingWindow { limit, window: Duration::from_millis(millis), method })
}

fn log(limit: u32, millis: u64) -> SlidingWindow {
    window(limit, millis, SlidingWindowMethod::Log)
}

fn counter(limit: u32, millis: u64) -> SlidingWindow {
    window(limit, millis, SlidingWindowMethod::Counter)
}

fn check(window: &SlidingWindow, state: &mut State, now: u64, cost: u32) -> Verdict {
    let verdict = window.ask(state, now, cost);
    if verdict.admits() {
        window.take(state, now, cost);
    }
    verdict
}

/// Units of those in `(until - window, until]`.
fn within(passed: &[(u64, u32)], until: u64, window: u64) -> u64 {
    let counts = |at: u64| at <= until && until - at < window;
    passed.iter().filter(|(at, _)| counts(*at)).map(|(_, cost)| u64::from(*cost)).sum()
}

#[test]
fn vectors_to_the_digit() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let number = |key: &str| vectors[key].as_u64().unwrap();
    for (method, key) in
        [(SlidingWindowMethod::Log, "sliding_log"), (SlidingWindowMethod::Counter, "two_bucket_weighted")]
    {
        let window = window(u32::try_from(number("limit")).unwrap(), number("window_ms"), method);
        let mut state = window.fresh(0);
        let expected = vectors[key].as_array().unwrap();
        for (number, (at, expected)) in vectors["arrivals"].as_array().unwrap().iter().zip(expected).enumerate() {
            let verdict = check(&window, &mut state, at.as_u64().unwrap() * MILLI, 1);
            assert_eq!(Some(verdict.admits()), expected.as_bool(), "{key}, {number} at {at}");
        }
    }
}

/// Who comes after one that was undone is counted with those that it came with, and no longer.
#[test]
fn an_undone_request_leaves_nothing_behind() {
    // Told apart by 10 ms.
    let (window, mut state) = (log(1_000, 1_280), State::Log(None));
    check(&window, &mut state, 0, 1);
    check(&window, &mut state, 9 * MILLI, 1);
    let (left, before) = window.pass(&mut state, 12 * MILLI, 3).unwrap();
    assert_eq!(left.remaining, 995);
    state.restore(before, 3);
    assert_eq!((state.used(12 * MILLI), state.heap_bytes() > 0), (2, true));
    check(&window, &mut state, 15 * MILLI, 1);
    assert_eq!([1_288, 1_289, 1_294, 1_295].map(|at| state.used(at * MILLI)), [3, 1, 1, 0]);
    // One that was counted with others.
    let (_, before) = window.pass(&mut state, 18 * MILLI, 5).unwrap();
    state.restore(before, 5);
    assert_eq!([1_289, 1_295].map(|at| state.used(at * MILLI)), [1, 0]);
}

/// A log that is full puts its two oldest entries together, which nothing undoes.
#[test]
fn what_cannot_be_undone_is_not_taken() {
    let (window, longer, mut state) = (log(1_000, 1_280), log(1_000, 2_560), State::Log(None));
    (0..129).for_each(|number| window.charge(&mut state, number * 10 * MILLI, 1));
    assert!(longer.pass(&mut state, 1_310 * MILLI, 1).is_none());
    assert_eq!(check(&longer, &mut state, 1_310 * MILLI, 1).remaining, 1_000 - 130, "nothing was taken, nor lost");
}

#[test]
fn a_verdict_says_what_is_left_and_when_there_is_more() {
    let window = log(3, 1_000);
    let mut state = window.fresh(0);
    assert_eq!((state.heap_bytes(), window.ask(&mut state, 0, 4).retry_after_nanos), (0, NEVER));
    for (at, remaining) in [(0, 2), (10, 1), (500, 0)] {
        let verdict = check(&window, &mut state, at * MILLI, 1);
        assert_eq!((verdict.remaining, verdict.reset_nanos), (remaining, 1_000 * MILLI));
    }
    for (cost, free_at) in [(1, 1_000), (2, 1_010), (3, 1_500)] {
        let refused = window.ask(&mut state, 900 * MILLI, cost);
        assert_eq!((refused.retry_after_nanos, refused.reset_nanos), ((free_at - 900) * MILLI, 600 * MILLI));
    }
    assert!(state.heap_bytes() >= size_of::<Log>() + 3 * 12);
}

#[test]
fn a_log_is_bounded() {
    for limit in [128, 129, 1_000, 1_000_000] {
        let window = log(limit, 1_000);
        let mut state = window.fresh(0);
        for now in (0..100_000).map(|tick| tick * MILLI / 40) {
            check(&window, &mut state, now, 1);
            // Charges are not asked for, and come at any time.
            window.charge(&mut state, now, i64::from(now % 7 == 0));
        }
        assert!(state.heap_bytes() <= size_of::<Log>() + 256 * 12, "{limit}: {}", state.heap_bytes());
    }
}

#[test]
fn a_charge_counts_and_comes_back() {
    for window in [log(10, 1_000), counter(10, 1_000)] {
        let mut state = window.fresh(0);
        (0..4).for_each(|at| assert!(check(&window, &mut state, at * MILLI, 1).admits()));
        window.charge(&mut state, 5 * MILLI, 6);
        assert_eq!((state.used(5 * MILLI), window.ask(&mut state, 5 * MILLI, 1).admits()), (10, false));
        window.charge(&mut state, 5 * MILLI, -7);
        assert_eq!((state.used(5 * MILLI), check(&window, &mut state, 5 * MILLI, 1).remaining), (3, 6));
        window.charge(&mut state, 5 * MILLI, i64::MIN);
        assert_eq!((state.used(5 * MILLI), window.ask(&mut state, 5 * MILLI, 1).remaining), (0, 9));
    }
}

#[test]
fn an_edited_window_or_method_keeps_what_was_used() {
    let [long, short] = [log(10, 10_000), log(10, 1_000)];
    let mut state = long.fresh(0);
    (0..10).for_each(|at| assert!(check(&long, &mut state, at * 100 * MILLI, 1).admits()));
    let now = 1_500 * MILLI;
    assert!(!check(&long, &mut state, now, 1).admits());
    assert_eq!(short.ask(&mut state, now, 1).remaining, 5, "shorter: the last second's four count");
    assert_eq!(long.ask(&mut state, now, 1).remaining, 5, "longer again: what was dropped does not come back");
    for (from, to) in [(log(10, 1_000), counter(10, 1_000)), (counter(10, 1_000), log(10, 1_000))] {
        let mut state = from.fresh(now);
        (0..7).for_each(|_| assert!(check(&from, &mut state, now, 1).admits()));
        assert_eq!((to.ask(&mut state, now, 1).remaining, state.used(now)), (2, 7));
    }
    let [minute, second] = [counter(10, 60_000), counter(10, 1_000)];
    let mut state = minute.fresh(0);
    (0..7).for_each(|_| assert!(check(&minute, &mut state, now, 1).admits()));
    assert_eq!((second.ask(&mut state, now, 1).remaining, minute.ask(&mut state, now, 1).remaining), (2, 2));
}

#[test]
fn thousand_a_second_to_ten_and_back() {
    let logs = (log(1_000, 1_000), log(10, 1_000), 1_000);
    // Two numbers know no better: all may come at the end of one period and, by its share, in the next.
    let counters = (counter(1_000, 1_000), counter(10, 1_000), 2_000);
    for (fast, slow, most) in [logs, counters] {
        let mut state = fast.fresh(0);
        let mut passed = Vec::new();
        for now in (0..10_000).map(|tick| tick * MILLI / 2) {
            let window = if (1_500 * MILLI..3_500 * MILLI).contains(&now) { &slow } else { &fast };
            passed.extend(check(window, &mut state, now, 1).admits().then_some((now, 1)));
        }
        for (at, _) in &passed {
            assert!(within(&passed, *at, 1_000 * MILLI) <= most);
        }
        assert!(within(&passed, 3_500 * MILLI - 1, 1_000 * MILLI) <= most / 100);
        assert!(within(&passed, 4_600 * MILLI - 1, 1_000 * MILLI) >= 980, "the edit is undone");
    }
}

#[test]
fn a_clock_that_goes_back_gives_nothing_back() {
    for window in [log(2, 1_000), counter(2, 1_000), log(200, 1_000)] {
        let mut state = window.fresh(0);
        while check(&window, &mut state, 5_000 * MILLI, 1).admits() {}
        assert!(!check(&window, &mut state, 4_999 * MILLI, 1).admits());
        assert!(!check(&window, &mut state, 100 * MILLI, 1).admits());
        assert!(check(&window, &mut state, 7_000 * MILLI, 1).admits());
    }
}

#[test]
fn extremes_do_not_overflow() {
    let sizes = [(0, 0), (1, 1), (u32::MAX, u64::MAX), (129, u64::MAX), (u32::MAX, 1), (1_000, 86_400_000)];
    let all: Vec<_> =
        sizes.iter().flat_map(|(limit, millis)| [log(*limit, *millis), counter(*limit, *millis)]).collect();
    let mut kept = all[2].fresh(0);
    for window in &all {
        window.policy();
        for now in [0, 1, u64::MAX / 2, u64::MAX, 3] {
            for state in [&mut window.fresh(now), &mut kept] {
                for cost in [0, 1, u32::MAX] {
                    check(window, state, now, cost);
                    window.take(state, now, cost);
                    for charge in [i64::MAX, i64::MAX, -1, 0, 1, i64::MIN] {
                        window.charge(state, now, charge);
                        window.ask(state, now, cost);
                        state.used(now);
                        state.used(0);
                    }
                }
            }
        }
    }
}

proptest! {
    /// Up to 128, as one who remembers every request.
    #[test]
    fn a_log_decides_as_one_who_remembers_all(
        limits in prop::collection::vec(1_u32..12, 1..3),
        millis in 1_u64..100,
        steps in prop::collection::vec((0_u64..30 * MILLI, 1_u32..4, any::<prop::sample::Index>()), 1..200),
    ) {
        let windows: Vec<_> = limits.iter().map(|limit| log(*limit, millis)).collect();
        let (mut state, mut now, mut passed) = (windows[0].fresh(0), 0, Vec::new());
        for (step, cost, index) in steps {
            now += step.saturating_sub(15 * MILLI);
            let (window, limit) = (index.get(&windows), u64::from(*index.get(&limits)));
            let used = within(&passed, now, millis * MILLI);
            prop_assert_eq!(state.used(now), used);
            prop_assert_eq!(window.ask(&mut state, now, 1), window.ask(&mut state, now, 1));
            let verdict = check(window, &mut state, now, cost);
            prop_assert_eq!(verdict.admits(), used + u64::from(cost) <= limit);
            if verdict.admits() {
                passed.push((now, cost));
                prop_assert_eq!(verdict.remaining, limit - used - u64::from(cost));
            } else if u64::from(cost) <= limit {
                let at = now + verdict.retry_after_nanos;
                let admits = |at| within(&passed, at, millis * MILLI) + u64::from(cost) <= limit;
                prop_assert!(admits(at) && !admits(at - 1));
            } else {
                prop_assert_eq!(verdict.retry_after_nanos, NEVER);
            }
        }
    }

    /// Above 128: never more than the limit in a window, also under edits, and no request counts for more than 1/128 of
    /// the window too long.
    #[test]
    fn a_large_limit_is_never_exceeded(
        limits in prop::collection::vec(129_u32..400, 1..3),
        steps in prop::collection::vec((0_u64..100 * MILLI, 1_u32..40, any::<prop::sample::Index>()), 1..300),
    ) {
        const WINDOW: u64 = 1_000 * MILLI;
        let windows: Vec<_> = limits.iter().map(|limit| log(*limit, 1_000)).collect();
        let (mut state, mut now, mut passed) = (windows[0].fresh(0), 0, Vec::new());
        for (step, cost, index) in steps {
            now += step.saturating_sub(50 * MILLI);
            let (window, limit) = (index.get(&windows), u64::from(*index.get(&limits)));
            if check(window, &mut state, now, cost).admits() {
                passed.push((now, cost));
                prop_assert!(within(&passed, now, WINDOW) <= limit);
            } else {
                prop_assert!(within(&passed, now, WINDOW + WINDOW / 128) + u64::from(cost) > limit);
                let retry = window.ask(&mut state, now, cost).retry_after_nanos;
                prop_assert!(window.ask(&mut state.clone(), now + retry, cost).admits());
                prop_assert!(!window.ask(&mut state.clone(), now + retry - 1, cost).admits());
            }
            prop_assert!(state.used(now) >= within(&passed, now, WINDOW));
        }
    }

    /// A counter against its rule in fractions; and it never admits more than twice the larger limit in a window.
    #[test]
    fn a_counter_decides_by_its_rule(
        limits in prop::collection::vec(1_u32..12, 1..3),
        millis in 1_u64..100,
        steps in prop::collection::vec((0_u64..60 * MILLI, 1_u32..4, any::<prop::sample::Index>()), 1..200),
    ) {
        let windows: Vec<_> = limits.iter().map(|limit| counter(*limit, millis)).collect();
        let nanos = millis * MILLI;
        let (mut state, mut now, mut passed) = (windows[0].fresh(0), 0, Vec::<(u64, u32)>::new());
        let most = u64::from(*limits.iter().max().unwrap());
        for (step, cost, index) in steps {
            now += step.saturating_sub(30 * MILLI);
            let (window, limit) = (index.get(&windows), *index.get(&limits));
            let admits = |at: u64| {
                let period = |number: u64| -> u64 {
                    passed.iter().filter(|(at, _)| at / nanos == number).map(|(_, cost)| u64::from(*cost)).sum()
                };
                let before = if at < nanos { 0 } else { period(at / nanos - 1) };
                let (before, rest) = (before as f64, (nanos - at % nanos) as f64);
                let counted = (period(at / nanos) + u64::from(cost)) as f64;
                before * rest + counted * nanos as f64 <= f64::from(limit) * nanos as f64
            };
            prop_assert_eq!(window.ask(&mut state, now, 1), window.ask(&mut state, now, 1));
            let admitted = admits(now);
            let verdict = window.ask(&mut state, now, cost);
            prop_assert_eq!(verdict.admits(), admitted);
            if admitted {
                window.take(&mut state, now, cost);
                passed.push((now, cost));
                prop_assert!(within(&passed, now, nanos) <= 2 * most);
            } else if cost <= limit {
                let at = now + verdict.retry_after_nanos;
                prop_assert!(admits(at) && !admits(at - 1), "at {} of {}", at, nanos);
            }
            prop_assert_eq!(state.used(now) == 0, passed.iter().all(|(at, _)| at / nanos + 2 <= now / nanos));
        }
    }
}

/// Who came before an edit is charged after it, by the values that it came under.
#[test]
fn a_late_charge_counts_where_others_are_counted() {
    for method in [SlidingWindowMethod::Log, SlidingWindowMethod::Counter] {
        let (short, long) = (window(5, 1_000, method), window(5, 60_000, method));
        let mut state = short.fresh(0);
        check(&short, &mut state, 500 * MILLI, 1);
        (0..3).for_each(|_| assert!(check(&long, &mut state, 600 * MILLI, 1).admits()));
        short.charge(&mut state, 10_000 * MILLI, 1);
        assert!(!check(&long, &mut state, 11_000 * MILLI, 1).admits(), "{method:?}: one, three, and one charged");
    }
}
