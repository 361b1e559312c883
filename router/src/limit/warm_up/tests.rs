use std::time::Duration;

use gridrouter_config::units::Rate;
use proptest::prelude::*;
use serde_json::Value;

use super::leap_array::LeapArray;
use super::*;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn warm_up(rate: &str, period_millis: u64, cold_factor: u32, form: WarmUpForm, queueing: Option<u64>) -> WarmUp {
    WarmUp::new(model::WarmUp {
        rate: Rate::parse(rate).unwrap(),
        period: Duration::from_millis(period_millis),
        cold_factor,
        form,
        max_queueing: queueing.map(Duration::from_millis),
    })
}

fn sentinel(rate: &str, period_millis: u64, cold_factor: u32) -> WarmUp {
    warm_up(rate, period_millis, cold_factor, WarmUpForm::Sentinel, None)
}

fn check(limit: &WarmUp, state: &mut State, now: u64, cost: u32) -> Verdict {
    let verdict = limit.ask(state, now, cost);
    if verdict.admits() {
        limit.take(state, now, cost);
    }
    verdict
}

/// How many pass in each second, if one comes in every millisecond.
fn saturated(limit: &WarmUp, state: &mut State, from: u64, seconds: u64) -> Vec<u64> {
    let in_second = |second: u64| {
        let at = |millis| from + second * SECOND + millis * MILLI;
        (0..1_000).filter(|millis| check(limit, state, at(*millis), 1).admits()).count() as u64
    };
    (0..seconds).map(in_second).collect()
}

/// The criterion that it is known by.
#[test]
fn a_hundred_a_second_warm_up_in_ten_seconds_as_sentinels_do() {
    let limit = sentinel("100/s", 10_000, 3);
    for start in [0, 1_700_000_000 * SECOND] {
        let mut state = limit.fresh(start);
        assert_eq!(
            saturated(&limit, &mut state, start, 14),
            [33, 34, 36, 38, 41, 44, 47, 52, 58, 68, 83, 100, 100, 100]
        );
        let later = start + 30 * SECOND;
        assert_eq!(saturated(&limit, &mut state, later, 3), [33, 34, 36], "cold again");
    }
}

mod sentinels_vectors {
    use super::super::sentinel::Curve;
    use super::*;

    const WARM_UP: &str = include_str!("../../../tests/fixtures/sentinel_warmup.json");
    const LEAP_ARRAY: &str = include_str!("../../../tests/fixtures/sentinel_leaparray.json");
    const MISCELLANEOUS: &str = include_str!("../../../tests/fixtures/sentinel_misc.json");

    /// Requests a second that are offered, and in which seconds not.
    fn offered(name: &str) -> (u64, std::ops::Range<usize>) {
        match name {
            "half_load_50rps" => (50, 0..0),
            "below_cold_30rps" => (30, 0..0),
            "exact_full_load_100rps" => (100, 0..0),
            "count1000_period10_saturating" => (4_000, 0..0),
            "warm_then_idle_10s_then_saturate" => (1_000, 15..25),
            "warm_then_idle_3s_then_saturate" => (1_000, 15..18),
            _ => (1_000, 0..0),
        }
    }

    #[test]
    fn warming_up() {
        let vectors = vectors(WARM_UP);
        for (name, case) in vectors["cases"].as_object().unwrap() {
            let number = |key: &str| case[key].as_u64().unwrap();
            let curve = Curve::new(number("count") as f64, number("warmUpPeriodSec") as f64, 3);
            // Sentinel's own beginning: of a clock at zero it makes a warm key.
            let mut steps = Steps::empty(curve);
            let (rate, idle) = offered(name);
            let tokens = case["stored_tokens_after_first_request_of_second"].as_array().unwrap();
            for (second, expected) in case["passed_per_second"].as_array().unwrap().iter().enumerate() {
                let mut passed = 0;
                for request in (0..rate).filter(|_| !idle.contains(&second)) {
                    let millis = number("t0_ms") + second as u64 * 1_000 + request * 1_000 / rate;
                    let (before, rate) = steps.rates(millis);
                    if (before + 1) as f64 <= rate {
                        steps.add(millis, 1);
                        passed += 1;
                    }
                    if request == 0 {
                        assert_eq!(tokens[second], steps.stored, "{name}, second {second}");
                    }
                }
                assert_eq!(*expected, passed, "{name}, second {second}");
            }
        }
    }

    #[test]
    fn curves() {
        let vectors = vectors(WARM_UP);
        for row in vectors["derived"].as_array().unwrap() {
            let number = |key: &str| row[key].as_f64().unwrap();
            let curve = Curve::new(number("count"), number("warmUpPeriodSec"), number("coldFactor") as u32);
            assert_eq!(
                (row["warningToken"].as_i64(), row["maxToken"].as_i64()),
                (Some(curve.warning), Some(curve.max))
            );
            assert!((number("slope") - curve.slope).abs() < f64::EPSILON * number("slope"), "{row}");
        }
        let curve = Curve::new(100.0, 10.0, 3);
        for row in vectors["warning_qps_at_tokens"].as_array().unwrap() {
            let rate = curve.rate_at(row[0].as_i64().unwrap());
            // As read: serde_json may be one off in the last place.
            assert!((rate - row[1].as_f64().unwrap()).abs() <= f64::EPSILON * rate, "{row} {rate}");
        }
    }

    #[test]
    fn the_statistic() {
        let vectors = vectors(LEAP_ARRAY);
        for (name, case) in vectors["cases"].as_object().unwrap() {
            let mut array = LeapArray::default();
            for row in case["results_t_qps_pass"].as_array().unwrap() {
                let millis = vectors["t0_ms"].as_u64().unwrap() + row[0].as_u64().unwrap();
                let sum = array.sum(millis);
                assert_eq!(row[1], sum, "{name} {row}");
                let passes = sum < case["count"].as_u64().unwrap();
                assert_eq!(row[2], passes, "{name} {row}");
                array.add(millis, u64::from(passes));
            }
        }
    }

    #[test]
    fn waiting_for_turns() {
        let vectors = vectors(MISCELLANEOUS);
        let limit = warm_up("10/s", 10_000, 3, WarmUpForm::Sentinel, Some(500));
        let start = vectors["t0_ms"].as_u64().unwrap();
        let mut state = limit.fresh(start * MILLI);
        for row in vectors["cases"]["warmup_throttle_count10_period10_q500"]["rows_t_wait"].as_array().unwrap() {
            let waited = match check(&limit, &mut state, (start + row[0].as_u64().unwrap()) * MILLI, 1).outcome {
                Outcome::Pass => Some(0),
                Outcome::Wait(nanos) => Some((nanos + MILLI / 2) / MILLI),
                Outcome::Refuse => None,
            };
            assert_eq!(waited, row[1].as_u64(), "{row}");
        }
    }
}

mod guavas_vectors {
    use super::super::guava::Curve;
    use super::*;

    const VECTORS: &str = include_str!("../../../tests/fixtures/guava.json");

    #[test]
    fn curves() {
        for row in vectors(VECTORS)["derived"].as_array().unwrap() {
            let number = |key: &str| row[key].as_f64().unwrap();
            let curve = Curve::new(number("qps"), number("warmup_s"), number("cold"));
            for (ours, key) in [
                (curve.stable / 1e3, "stable_us"),
                (curve.threshold, "thresholdPermits"),
                (curve.max, "maxPermits"),
                (curve.slope / 1e3, "slope_us_per_permit"),
            ] {
                assert!((ours - number(key)).abs() <= number(key) * 1e-12, "{key} {row}");
            }
        }
    }

    #[test]
    fn waits() {
        for (name, case) in vectors(VECTORS)["cases"].as_object().unwrap() {
            let mut permits = match name.as_str() {
                "warmup_2qps_4s_cold3" => Permits::cold(Curve::new(2.0, 4.0, 3.0)),
                "warmup_5qps_4s_cold10" => Permits::cold(Curve::new(5.0, 4.0, 10.0)),
                _ => Permits { stored: 0.0, ..Permits::cold(Curve::bursty(5.0, 1.0)) },
            };
            let mut now = 0;
            let mut waits = Vec::new();
            for step in case["script"].as_array().unwrap() {
                match step[0].as_str().unwrap() {
                    "acq" => {
                        let at = permits.acquire(now, step[1].as_u64().unwrap());
                        waits.push((at.saturating_sub(now)) / 1_000);
                        now = now.max(at);
                    }
                    "sleep" => now += step[1].as_u64().unwrap() * MILLI,
                    _ => permits.adopt(Curve::bursty(step[1].as_f64().unwrap(), 1.0), now),
                }
            }
            assert_eq!(Value::from(waits), case["waits_us"], "{name}");
        }
    }

    #[test]
    fn who_comes_pays_for_who_came() {
        let limit = warm_up("100/s", 10_000, 3, WarmUpForm::Guava, None);
        let mut state = limit.fresh(0);
        assert_eq!(check(&limit, &mut state, 0, 10).outcome, Outcome::Pass);
        let refused = check(&limit, &mut state, 0, 1);
        assert_eq!((refused.outcome, refused.retry_after_nanos / MILLI), (Outcome::Refuse, 298));
        assert!(!limit.ask(&mut state, refused.retry_after_nanos - 1, 1).admits());
        assert!(limit.ask(&mut state, refused.retry_after_nanos, 1).admits());
        let waiting = warm_up("100/s", 10_000, 3, WarmUpForm::Guava, Some(298));
        assert_eq!(waiting.ask(&mut state, 0, 1).outcome, Outcome::Wait(refused.retry_after_nanos));
        assert!(!warm_up("100/s", 10_000, 3, WarmUpForm::Guava, Some(297)).ask(&mut state, 0, 1).admits());
    }
}

/// Passes under full load from `from` for `nanos`: who is refused comes again when told, and at least once in 50 ms; who
/// has to wait passes when it may.
fn passes(limit: &WarmUp, state: &mut State, from: u64, nanos: u64) -> Vec<u64> {
    let longest = if nanos > 600 * SECOND { u64::MAX } else { 50 * MILLI };
    let (mut now, mut passed) = (from, Vec::new());
    while now < from + nanos {
        let verdict = check(limit, state, now, 1);
        match verdict.outcome {
            Outcome::Pass => passed.push(now),
            Outcome::Wait(wait) => passed.push(now + wait),
            Outcome::Refuse => now += verdict.retry_after_nanos.min(longest),
        }
    }
    passed
}

fn is_safe(name: &str, limit: &WarmUp, rate: f64, period: u64, cold_factor: u32) {
    let start = 1_234_567 * SECOND + 100 * MILLI;
    let start = start - start % SECOND;
    let mut state = limit.fresh(start);
    let period = period * MILLI;
    // Long enough for ten requests and for the curve.
    let slowest = (f64::from(cold_factor) / rate * 1e9) as u64;
    let warming = 3 * period + 2 * SECOND + 3 * slowest;
    let window = (10 * SECOND).max(slowest * 10);
    let all = passes(limit, &mut state, start, warming + window);
    let seconds = (warming + window) / SECOND;
    let mut of_seconds = vec![0_u32; usize::try_from(seconds).unwrap() + 100];
    for at in &all {
        of_seconds[usize::try_from((at - start) / SECOND).unwrap()] += 1;
    }
    for (second, passed) in of_seconds.iter().take(usize::try_from(seconds).unwrap()).enumerate() {
        let passed = f64::from(*passed);
        assert!(passed <= rate + 1.0, "{name}: {passed} in second {second}");
        assert!(passed + 1.0 >= rate / f64::from(cold_factor), "{name}: only {passed} in second {second}");
    }
    let cold = f64::from(cold_factor);
    for (number, at) in all.iter().enumerate() {
        let nanos = (at - start) as f64;
        assert!(
            (number + 1) as f64 + 1.0 >= (nanos / SECOND as f64).floor() * (rate / cold).floor().max(rate / cold - 1.0),
            "{name}"
        );
    }
    let warm = all.iter().filter(|at| (start + warming..start + warming + window).contains(at)).count() as f64;
    let full = rate * window as f64 / SECOND as f64;
    assert!(warm + 1.0 >= full * 0.95 && warm <= full + rate + 1.0, "{name}: {warm} of {full} when warm");
    assert!(state.used(start + warming + window) > 0);
    // Two periods of nothing, and what was booked: cold again, as a fresh one.
    let idle = all.last().unwrap().max(&(start + warming + window)) + 2 * period + 4 * slowest + 3 * SECOND;
    let idle = idle - idle % SECOND;
    assert_eq!(state.used(idle), 0, "{name}");
    let (mut again, mut fresh) = (state, limit.fresh(idle));
    let span = (2 * SECOND).max(slowest * 2);
    assert_eq!(passes(limit, &mut again, idle, span), passes(limit, &mut fresh, idle, span), "{name}");
}

#[test]
fn no_rate_or_period_locks_up() {
    for rate in ["1/s", "2/s", "3/s", "4/s", "7/s", "19/s", "100/s", "999/s", "90/m", "500/m", "2501/m", "100/m"] {
        for period in [1, 500, 1_000, 3_000, 20_000] {
            for cold_factor in [2, 3, 5, 17] {
                for (form, queueing) in [
                    (WarmUpForm::Sentinel, None),
                    (WarmUpForm::Sentinel, Some(300)),
                    (WarmUpForm::Guava, None),
                    (WarmUpForm::Guava, Some(300)),
                ] {
                    let limit = warm_up(rate, period, cold_factor, form, queueing);
                    let name = format!("{rate} in {period} ms from 1/{cold_factor}, {form:?}, {queueing:?}");
                    let parsed = Rate::parse(rate).unwrap();
                    is_safe(&name, &limit, f64::from(parsed.count) / parsed.per.as_secs_f64(), period, cold_factor);
                }
            }
        }
    }
}

#[test]
fn rates_of_minutes_and_hours_do_not_lock_up() {
    for rate in ["30/m", "1/m", "7/h", "1/h"] {
        for period in [1, 10_000, 600_000, 86_400_000] {
            for (form, queueing) in [(WarmUpForm::Sentinel, None), (WarmUpForm::Guava, None)] {
                let limit = warm_up(rate, period, 3, form, queueing);
                let parsed = Rate::parse(rate).unwrap();
                let name = format!("{rate} in {period} ms, {form:?}");
                is_safe(&name, &limit, f64::from(parsed.count) / parsed.per.as_secs_f64(), period, 3);
            }
        }
    }
}

#[test]
fn a_cost_above_the_rate_of_the_moment_passes_in_its_time() {
    for limit in [sentinel("100/s", 10_000, 3), sentinel("2/s", 1_000, 3)] {
        let mut state = limit.fresh(0);
        assert!(check(&limit, &mut state, 0, 1).admits());
        let refused = check(&limit, &mut state, 0, 50);
        assert!(!refused.admits());
        assert!(check(&limit, &mut state, refused.retry_after_nanos, 50).admits());
    }
}

#[test]
fn a_clock_that_goes_back_hands_out_nothing() {
    for form in [WarmUpForm::Sentinel, WarmUpForm::Guava] {
        for rate in ["100/s", "2/s"] {
            let limit = warm_up(rate, 10_000, 3, form, None);
            let mut state = limit.fresh(100 * SECOND);
            while check(&limit, &mut state, 100 * SECOND, 1).admits() {}
            for back in [1, 400 * MILLI, 99 * SECOND] {
                assert!(!check(&limit, &mut state, 100 * SECOND - back, 1).admits(), "{rate} {form:?} {back}");
            }
        }
    }
}

#[test]
fn thousand_a_second_to_ten_and_back() {
    for (form, after) in [(WarmUpForm::Sentinel, 8), (WarmUpForm::Guava, 9)] {
        let [fast, slow] = ["1000/s", "10/s"].map(|rate| warm_up(rate, 1_000, 3, form, None));
        let mut state = fast.fresh(0);
        let mut in_seconds = vec![0; 15];
        for now in (0..30_000).map(|tick| tick * MILLI / 2) {
            let limit = if (5 * SECOND..8 * SECOND).contains(&now) { &slow } else { &fast };
            in_seconds[(now / SECOND) as usize] += u64::from(check(limit, &mut state, now, 1).admits());
        }
        assert!(in_seconds.iter().all(|passed| *passed <= 1_001), "{form:?} {in_seconds:?}");
        assert!(in_seconds[5..8].iter().all(|passed| *passed <= 11), "{form:?} {in_seconds:?}");
        assert!(in_seconds[after..].iter().all(|passed| *passed >= 900), "warm it stays {form:?} {in_seconds:?}");
        // Back and forth, at once: nothing more than one of them has.
        let mut state = fast.fresh(0);
        let both =
            (0..4_000).filter(|turn| check(if turn % 2 == 0 { &fast } else { &slow }, &mut state, 0, 1).admits());
        assert!(both.count() <= 334);
    }
}

#[test]
fn an_edited_form_is_as_cold_and_hands_out_nothing() {
    let limits = [
        sentinel("100/s", 10_000, 3),
        warm_up("100/s", 10_000, 3, WarmUpForm::Guava, None),
        sentinel("2/s", 10_000, 3),
    ];
    for from in &limits {
        for to in &limits {
            let mut state = from.fresh(0);
            while check(from, &mut state, 0, 1).admits() {}
            let passed = (0..100).filter(|_| check(to, &mut state, 0, 1).admits()).count();
            // From 19 of 20 tokens to 950 of 1,000, at which 36 a second pass.
            assert!(passed <= 35, "{passed}");
        }
    }
}

#[test]
fn charges_count() {
    let limit = sentinel("100/s", 10_000, 3);
    let mut state = limit.fresh(0);
    limit.charge(&mut state, 0, 30);
    assert_eq!((state.used(0), check(&limit, &mut state, 0, 1).remaining), (30, 2));
    limit.charge(&mut state, 0, -10);
    assert_eq!(check(&limit, &mut state, 0, 1).remaining, 11);
    for limit in [sentinel("2/s", 10_000, 3), warm_up("2/s", 10_000, 3, WarmUpForm::Guava, None)] {
        let (mut state, now) = (limit.fresh(0), 100 * SECOND);
        limit.charge(&mut state, now, 1);
        assert!(!check(&limit, &mut state, now, 1).admits());
        limit.charge(&mut state, now, -2);
        limit.charge(&mut state, now, -2);
        assert!(check(&limit, &mut state, now, 1).admits());
    }
}

#[test]
fn extremes_do_not_overflow() {
    let rates = [(1, 1), (u32::MAX, 1), (1, u64::MAX), (u32::MAX, 3_600)];
    let mut all = Vec::new();
    for (count, per) in rates {
        for period in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
            for cold_factor in [0, 2, u32::MAX] {
                for form in [WarmUpForm::Sentinel, WarmUpForm::Guava] {
                    for max_queueing in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
                        let rate = Rate { count, per: Duration::from_secs(per) };
                        all.push(WarmUp::new(model::WarmUp { rate, period, cold_factor, form, max_queueing }));
                    }
                }
            }
        }
    }
    let mut kept = all[0].fresh(0);
    for limit in &all {
        limit.policy();
        for now in [0, 1, SECOND, u64::MAX / 2, u64::MAX, 3] {
            for state in [&mut limit.fresh(now), &mut kept] {
                for cost in [0, 1, u32::MAX] {
                    check(limit, state, now, cost);
                    limit.take(state, now, cost);
                    for charge in [i64::MAX, -1, 0, 1, i64::MIN] {
                        limit.charge(state, now, charge);
                        limit.ask(state, now, cost);
                        state.used(now);
                        state.used(0);
                    }
                }
                assert!(state.heap_bytes() < 2_000);
            }
        }
    }
}

proptest! {
    /// Whoever is refused passes when it was told to come again, if nobody else comes meanwhile, and never before.
    #[test]
    fn sentinels_refused_are_told_when_they_pass(
        rate in prop::sample::select(vec!["10/s", "33/s", "100/s", "1000/s"]),
        period_seconds in 1_u64..12,
        cold_factor in 2_u32..6,
        arrivals in prop::collection::vec((0_u64..900, 1_u32..150), 1..120),
    ) {
        let limit = sentinel(rate, period_seconds * 1_000, cold_factor);
        let (mut state, mut now) = (limit.fresh(0), 0);
        for (millis, cost) in arrivals {
            now += millis * MILLI;
            let verdict = check(&limit, &mut state, now, cost);
            if !verdict.admits() {
                let passes = |after: u64| limit.ask(&mut state.clone(), now + after, cost).admits();
                prop_assert!(passes(verdict.retry_after_nanos), "too early: {verdict:?}");
                if verdict.retry_after_nanos < 30 * SECOND {
                    prop_assert!(!passes(verdict.retry_after_nanos - 1), "too late: {verdict:?}");
                    prop_assert!(!passes(verdict.retry_after_nanos / 2), "far too late: {verdict:?}");
                }
            }
        }
    }

    /// To ask changes nothing that is said later, and a refused request is admitted when it was told, and not before.
    #[test]
    fn to_ask_takes_nothing(
        rate in 1_u32..200,
        queueing in prop::option::of(0_u64..500),
        guava in any::<bool>(),
        steps in prop::collection::vec((0_u64..900 * MILLI, 1_u32..4), 1..100),
    ) {
        let form = if guava { WarmUpForm::Guava } else { WarmUpForm::Sentinel };
        let limit = warm_up(&format!("{rate}/s"), 2_000, 3, form, queueing);
        let (mut asked, mut not) = (limit.fresh(0), limit.fresh(0));
        let mut now = 0;
        for (step, cost) in steps {
            now += step.saturating_sub(600 * MILLI);
            limit.ask(&mut asked, now, cost + 3);
            limit.ask(&mut asked, now, 1);
            prop_assert_eq!(check(&limit, &mut asked, now, cost), check(&limit, &mut not, now, cost));
            prop_assert_eq!(asked.used(now), not.used(now));
            let one = limit.ask(&mut not, now, 1);
            // A queue in steps tells it by the rate of the moment, which may be another in the next second.
            if !one.admits() && (guava || queueing.is_none()) {
                let at = now + one.retry_after_nanos;
                prop_assert!(limit.ask(&mut not.clone(), at, 1).admits());
                prop_assert!(!limit.ask(&mut not.clone(), at - 1, 1).admits());
            }
        }
    }
}
