use proptest::prelude::*;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../../tests/fixtures/nginx_limit_req.json");
const MILLI: u64 = NANOS_IN_MILLI;

/// `rate` is in thousandths of a request a second.
fn meter(rate: i64, burst: u32, delay: Option<u32>) -> LeakyBucketMeter {
    LeakyBucketMeter {
        rate,
        burst: i64::from(burst) * REQUEST,
        delay: delay.map_or(i64::MAX, |delay| i64::from(delay) * REQUEST),
    }
}

fn check(meter: &LeakyBucketMeter, state: &mut State, now: u64, cost: u32) -> Verdict {
    let verdict = meter.ask(state, now, cost);
    if verdict.admits() {
        meter.take(state, now, cost);
    }
    verdict
}

/// When those of a key that never stops asking pass.
fn saturating(meter: &LeakyBucketMeter, millis: u64) -> Vec<u64> {
    let mut state = meter.fresh(0);
    (0..millis).filter(|now| check(meter, &mut state, now * MILLI, 1).admits()).collect()
}

#[test]
fn vectors_to_the_digit() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for (name, case) in vectors["cases"].as_object().unwrap() {
        let number = |key: &str| case["config"][key].as_i64();
        let whole = |key: &str| number(key).map(|number| u32::try_from(number).unwrap());
        // nginx delays all of the burst unless it is told otherwise.
        let meter =
            meter(number("rate_milli").unwrap(), whole("burst").unwrap_or(0), Some(whole("delay").unwrap_or(0)));
        let mut state = meter.fresh(0);
        for row in case["results"].as_array().unwrap() {
            let now = row["t"].as_u64().unwrap() * MILLI;
            let asked = meter.excess(&state, now).0.saturating_add(REQUEST).max(0);
            assert_eq!(Some(asked), row["excess"].as_i64(), "{name} {row}");
            let expected = match row["verdict"].as_str().unwrap() {
                "pass" => Outcome::Pass,
                "delay" => Outcome::Wait(row["delay_ms"].as_u64().unwrap() * MILLI),
                _ => Outcome::Refuse,
            };
            assert_eq!(check(&meter, &mut state, now, 1).outcome, expected, "{name} {row}");
        }
    }
    let rate = |text: &str| gridrouter_config::units::Rate::parse(text).unwrap().thousandths_per_second();
    for (text, expected) in [("10r/s", 10_000), ("1r/m", 16), ("30r/m", 500), ("100r/m", 1_666), ("7r/m", 116)] {
        assert_eq!(vectors["rate_parse"][text], expected);
        assert_eq!(rate(&text.replace('r', "")), expected);
    }
    assert_eq!(saturating(&meter(10_000, 0, None), 60_000).len() as u64, vectors["saturating"]["rate10_60s_passes"]);
    assert_eq!(saturating(&meter(3_000, 0, None), 60_000).len() as u64, vectors["saturating"]["rate3_60s_passes"]);
    let slow = saturating(&meter(16, 0, None), 200_000);
    assert_eq!(Value::from(slow), vectors["saturating"]["one_per_minute_pass_times_ms"]);
}

/// Cases of the same source, computed with it: excess is not delayed, or in part, and the clock goes back by more than
/// it may.
#[test]
fn more_of_nginxs_decisions() {
    let start = 1_000_000;
    let run = |meter: &LeakyBucketMeter, arrivals: &[i64]| -> Vec<Option<u64>> {
        let mut state = meter.fresh(0);
        let outcome = |at: &i64| match check(meter, &mut state, (start + at).unsigned_abs() * MILLI, 1).outcome {
            Outcome::Pass => Some(0),
            Outcome::Wait(nanos) => Some(nanos / MILLI),
            Outcome::Refuse => None,
        };
        arrivals.iter().map(outcome).collect()
    };
    let arrivals = [0, 0, 0, 0, 0, 0, 0, 0, 100, 100, 350];
    let waits = |waits: &[i64]| waits.iter().map(|wait| u64::try_from(*wait).ok()).collect::<Vec<_>>();
    assert_eq!(run(&meter(10_000, 5, None), &arrivals), waits(&[0, 0, 0, 0, 0, 0, -1, -1, 0, -1, 0]));
    assert_eq!(run(&meter(10_000, 5, Some(3)), &arrivals), waits(&[0, 0, 0, 0, 100, 200, -1, -1, 200, -1, 50]));
    let back = [0, 0, -60_001, -60_001, -59_901];
    assert_eq!(run(&meter(10_000, 2, Some(0)), &back), waits(&[0, 100, 199, -1, 199]));
}

#[test]
fn a_refused_request_is_told_when() {
    for (rate, burst, cost) in [(10_000, 5, 1), (3_000, 0, 1), (16, 1, 1), (1_666, 7, 3), (10_000, 5, 6), (999, 3, 4)] {
        let meter = meter(rate, burst, None);
        let mut state = meter.fresh(0);
        let now = 5 * MILLI + 3;
        while check(&meter, &mut state, now, 1).admits() {}
        let retry = meter.ask(&mut state, now, cost).retry_after_nanos;
        assert!(!meter.ask(&mut state, now + retry - 1, cost).admits(), "{rate} {burst} {cost}");
        assert!(!meter.ask(&mut state, now + retry - MILLI, cost).admits(), "{rate} {burst} {cost}");
        assert!(meter.ask(&mut state, now + retry, cost).admits(), "{rate} {burst} {cost}");
        assert_eq!(meter.ask(&mut state, now, burst + 2).retry_after_nanos, NEVER);
        let reset = meter.ask(&mut state, now, 1).reset_nanos;
        assert_eq!((state.used(now + reset), state.used(now + reset - MILLI)), (0, 1), "{rate} {burst} {cost}");
        assert!(meter.ask(&mut state, now + reset, burst + 1).admits());
        assert!(!meter.ask(&mut state, now + reset - 1, burst + 1).admits());
    }
}

#[test]
fn no_cost_takes_more_than_the_burst() {
    let meter = meter(10_000, 5, None);
    let mut state = meter.fresh(0);
    assert!(check(&meter, &mut state, 0, 1).admits());
    let later = 3_600_000 * MILLI;
    assert!(!check(&meter, &mut state, later, 7).admits(), "an hour earns one request more than the burst");
    assert_eq!(check(&meter, &mut state, later, 6).remaining, 0);
}

#[test]
fn a_charge_counts_as_requests_do() {
    let meter = meter(10_000, 5, None);
    let (mut charged, mut asked) = (meter.fresh(0), meter.fresh(0));
    meter.charge(&mut charged, 0, 4);
    (0..4).for_each(|_| assert!(check(&meter, &mut asked, 0, 1).admits()));
    assert_eq!((charged.used(0), asked.used(0)), (4, 4));
    assert_eq!(meter.ask(&mut charged, 0, 1), meter.ask(&mut asked, 0, 1));
    meter.charge(&mut charged, 0, -4);
    assert_eq!(charged.used(0), 0);
    assert_eq!(meter.ask(&mut charged, 0, 1).remaining, 5);
    meter.charge(&mut charged, 0, i64::MAX);
    assert_eq!(charged.used(0), 12 + 1, "a debt of one burst");
}

#[test]
fn thousand_a_second_to_ten_and_back() {
    let [fast, slow] = [meter(1_000_000, 100, None), meter(10_000, 5, None)];
    let mut state = fast.fresh(0);
    let mut passed = [0; 3];
    for tick in 0..30_000 {
        let now = tick * MILLI / 10;
        let second = (tick / 10_000) as usize;
        passed[second] += u64::from(check(if second == 1 { &slow } else { &fast }, &mut state, now, 1).admits());
    }
    // The excess of 101 requests takes ten seconds at the slow rate; one of them has gone by when the edit is undone.
    assert_eq!(passed, [1_100, 0, 1_000 + 10], "the burst was used, and no edit gives it back");
}

#[test]
fn extremes_do_not_overflow() {
    let all =
        [meter(1, u32::MAX, None), meter(i64::MAX, 0, Some(0)), meter(i64::MAX, u32::MAX, Some(1)), meter(16, 1, None)];
    let mut kept = all[0].fresh(0);
    for meter in &all {
        meter.policy();
        for now in [0, 1, u64::MAX / 2, u64::MAX, 3] {
            for state in [&mut meter.fresh(now), &mut kept] {
                for cost in [0, 1, u32::MAX] {
                    check(meter, state, now, cost);
                    meter.take(state, now, cost);
                    for charge in [i64::MIN, -1, 0, 1, i64::MAX] {
                        meter.charge(state, now, charge);
                        meter.ask(state, now, cost);
                        state.used(now);
                    }
                }
            }
        }
    }
}

proptest! {
    /// Against a leaky bucket in exact fractions that is filled with what the meter admits: the meter never admits what
    /// would flow over there, and refuses nothing that would not, but for the thousandth that each one admitted may lose.
    #[test]
    fn decides_as_an_exact_bucket_does(
        rate in 1_i64..20_000,
        burst in 0_u32..8,
        steps in prop::collection::vec((0_u64..600, 1_u32..4), 1..200),
    ) {
        let meter = meter(rate, burst, None);
        let mut state = meter.fresh(0);
        // In millionths of a request.
        let (mut level, mut lost, mut now) = (0_i64, 0_i64, 0_u64);
        for (step, cost) in steps {
            let step = step.saturating_sub(300);
            now += step;
            level = (level - rate * i64::try_from(step).unwrap()).max(0);
            lost = lost.min(level);
            let asked = meter.ask(&mut state, now * MILLI, cost);
            prop_assert_eq!(asked, meter.ask(&mut state, now * MILLI, cost));
            let full = (i64::from(burst) + 1) * 1_000_000;
            let filled = level + i64::from(cost) * 1_000_000;
            if check(&meter, &mut state, now * MILLI, cost).admits() {
                prop_assert!(filled <= full);
                level = filled;
                lost += 1_000;
            } else {
                prop_assert!(filled + lost + 1_000 > full);
            }
            prop_assert!(state.used(now * MILLI) > 0 || level == 0);
        }
    }

    /// Edits back and forth admit in no time more than the larger burst and what the larger rate gives.
    #[test]
    fn edits_hand_out_no_burst(
        a in (1_i64..2_000_000, 0_u32..20),
        b in (1_i64..2_000_000, 0_u32..20),
        steps in prop::collection::vec((0_u64..60, any::<bool>()), 1..300),
    ) {
        let meters = [meter(a.0, a.1, None), meter(b.0, b.1, None)];
        let mut state = meters[0].fresh(0);
        let (mut at, mut now, mut passed) = (0, 0, Vec::new());
        for (step, edit) in steps {
            now += step.saturating_sub(30);
            at ^= usize::from(edit);
            while check(&meters[at], &mut state, now * MILLI, 1).admits() {
                passed.push(now);
            }
        }
        let (rate, burst) = (u128::try_from(a.0.max(b.0)).unwrap(), usize::try_from(a.1.max(b.1)).unwrap() + 1);
        for (first, since) in passed.iter().enumerate() {
            for (last, until) in passed.iter().enumerate().skip(first) {
                let given = (rate * u128::from(until - since)).div_ceil(1_000_000);
                prop_assert!((last - first + 1) as u128 <= burst as u128 + given);
            }
        }
    }
}
