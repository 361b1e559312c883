use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::{Quota as GovernorQuota, RateLimiter};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../../tests/fixtures/gcra.json");
const SECOND: u64 = 1_000_000_000;

fn bucket(period_nanos: u64, burst: u32) -> TokenBucket {
    TokenBucket::of(period_nanos, burst)
}

fn check_n(bucket: &TokenBucket, state: &mut State, now: u64, cost: u32) -> Verdict {
    let verdict = bucket.ask(state, now, cost);
    if verdict.admits() {
        bucket.take(state, now, cost);
    }
    verdict
}

fn check(bucket: &TokenBucket, state: &mut State, now: u64) -> Verdict {
    check_n(bucket, state, now, 1)
}

/// Also what a smaller burst set aside, of which a request that is taken forgives some.
#[test]
fn an_undone_request_leaves_everything_as_it_was() {
    let (wide, narrow) = (bucket(SECOND, 9), bucket(SECOND, 2));
    let mut state = wide.fresh(0);
    (0..9).for_each(|_| assert!(check(&wide, &mut state, 0).admits()));
    assert!(!check(&narrow, &mut state, 0).admits());
    let now = 5 * SECOND;
    assert!(narrow.ask(&mut state, now, 1).admits());
    let (mut undone, before) = (state, state.before());
    narrow.take(&mut undone, now, 1);
    assert_ne!({ undone.aside }, { state.aside });
    undone.restore(before);
    assert_eq!((undone.uncut(), undone.used(now)), (state.uncut(), state.used(now)));
    let again = [&mut undone, &mut state].map(|state| wide.ask(state, now, 1).remaining);
    assert_eq!(again[0], again[1]);
}

#[test]
fn vectors_to_the_digit() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for (name, case) in vectors["cases"].as_object().unwrap() {
        let bucket =
            bucket(case["period_ns"].as_u64().unwrap(), u32::try_from(case["burst"].as_u64().unwrap()).unwrap());
        let mut state = bucket.fresh(0);
        for row in case["rows_t_n_verdict_value_tat"].as_array().unwrap() {
            let number = |at: usize| row[at].as_u64().unwrap();
            let verdict = check_n(&bucket, &mut state, number(0), u32::try_from(number(1)).unwrap());
            match row[2].as_str().unwrap() {
                "ok" => assert_eq!((verdict.outcome, verdict.retry_after_nanos), (Outcome::Pass, 0), "{name} {row}"),
                "wait" => assert_eq!(
                    (verdict.outcome, verdict.retry_after_nanos),
                    (Outcome::Refuse, number(3)),
                    "{name} {row}"
                ),
                "capacity" => {
                    assert_eq!((verdict.outcome, verdict.retry_after_nanos), (Outcome::Refuse, NEVER), "{name} {row}");
                    assert_eq!(bucket.policy().quota, number(3), "{name} {row}");
                }
                other => panic!("{name}: {other}"),
            }
            assert_eq!({ state.tat }, number(4), "{name} {row}");
        }
    }
    let period = |text| gridrouter_config::units::Rate::parse(text).unwrap().period().as_nanos();
    for (text, key) in [("3/s", "per_second_3"), ("7/s", "per_second_7"), ("7/m", "per_minute_7")] {
        assert_eq!(period(text), u128::from(vectors["quota_truncation"][key].as_u64().unwrap()));
    }
}

#[test]
fn a_verdict_says_what_is_left() {
    let bucket = bucket(SECOND, 3);
    let mut state = bucket.fresh(0);
    let verdict = |admitted, remaining, retry: u64, reset: u64| Verdict {
        outcome: if admitted { Outcome::Pass } else { Outcome::Refuse },
        remaining,
        retry_after_nanos: retry * 1_000_000,
        reset_nanos: reset * 1_000_000,
    };
    assert_eq!(check(&bucket, &mut state, SECOND), verdict(true, 2, 0, 1_000));
    assert_eq!(check(&bucket, &mut state, SECOND), verdict(true, 1, 0, 2_000));
    assert_eq!(check(&bucket, &mut state, SECOND * 3 / 2), verdict(true, 0, 0, 2_500));
    assert_eq!(check(&bucket, &mut state, SECOND * 3 / 2), verdict(false, 0, 500, 2_500));
    assert_eq!(check(&bucket, &mut state, SECOND), verdict(false, 0, 1_000, 3_000), "a clock that goes back");
}

#[test]
fn what_was_given_back_can_be_had_again() {
    let bucket = bucket(SECOND, 2);
    let mut state = bucket.fresh(0);
    bucket.charge(&mut state, 0, -1);
    assert_eq!(check(&bucket, &mut state, 0).remaining, 1, "nothing was counted, nothing comes back");
    assert_eq!(check(&bucket, &mut state, 0).remaining, 0);
    bucket.charge(&mut state, 0, -1);
    assert_eq!(check(&bucket, &mut state, 0).remaining, 0);
    assert!(!check(&bucket, &mut state, 0).admits());
}

#[test]
fn a_charge_makes_a_debt_of_one_burst_at_the_most() {
    let bucket = bucket(SECOND, 2);
    let mut state = bucket.fresh(0);
    bucket.charge(&mut state, 0, 3);
    assert_eq!(check(&bucket, &mut state, 0).retry_after_nanos, 2 * SECOND);
    bucket.charge(&mut state, 0, i64::MAX);
    assert_eq!(check(&bucket, &mut state, 0).retry_after_nanos, 3 * SECOND);
    assert!(check(&bucket, &mut state, 3 * SECOND).admits());
}

#[test]
fn extremes_do_not_overflow() {
    for (period, burst) in [(0, 0), (1, u32::MAX), (u64::MAX, u32::MAX), (3_600 * SECOND, u32::MAX), (u64::MAX, 1)] {
        let bucket = bucket(period, burst);
        let mut kept = bucket.fresh(0);
        for now in [0, 1, u64::MAX / 2, u64::MAX, 0] {
            for state in [&mut bucket.fresh(now), &mut kept] {
                for cost in [0, 1, 2, u32::MAX] {
                    check_n(&bucket, state, now, cost);
                    bucket.take(state, now, cost);
                    for charge in [i64::MIN, -1, 0, 1, i64::MAX] {
                        bucket.charge(state, now, charge);
                    }
                    self::bucket(7, 5).ask(&mut state.clone(), now, cost);
                    state.used(now);
                }
            }
        }
    }
}

/// Requests used before the edit, the edit, and then how many pass at once.
fn admitted_after_edit(used: u32, old: (u64, u32), new: (u64, u32)) -> usize {
    let (old, new) = (bucket(old.0, old.1), bucket(new.0, new.1));
    let (mut state, now) = (old.fresh(0), 50 * SECOND);
    (0..used).for_each(|_| assert!(check(&old, &mut state, now).admits()));
    std::iter::repeat_with(|| check(&new, &mut state, now)).take_while(Verdict::admits).count()
}

#[test]
fn an_edited_quota_keeps_what_was_used() {
    let (fast, slow) = (SECOND / 1_000, SECOND / 10);
    assert_eq!(admitted_after_edit(1_000, (fast, 1_000), (slow, 1_000)), 0, "slower: no fresh burst");
    assert_eq!(admitted_after_edit(1_000, (slow, 1_000), (fast, 1_000)), 0, "faster: no fresh burst");
    assert_eq!(admitted_after_edit(400, (fast, 1_000), (slow, 1_000)), 600);
    assert_eq!(admitted_after_edit(400, (fast, 1_000), (fast, 2_000)), 1_600, "more burst: all that was not used");
    assert_eq!(admitted_after_edit(900, (fast, 1_000), (fast, 10)), 0, "less burst");
    assert_eq!(admitted_after_edit(4, (fast, 1_000), (fast, 10)), 6);
}

#[test]
fn an_edited_quota_makes_nobody_wait_longer_than_for_one_request() {
    let mut state = bucket(SECOND, 1_000).fresh(0);
    let old = bucket(SECOND, 1_000);
    (0..1_000).for_each(|_| assert!(check(&old, &mut state, 0).admits()));
    let verdict = check(&bucket(SECOND, 5), &mut state, 0);
    assert_eq!((verdict.retry_after_nanos, verdict.reset_nanos), (SECOND, 5 * SECOND));
}

#[test]
fn rescaling_happens_once() {
    let (old, new) = (bucket(1_000, 10), bucket(3_000, 10));
    let mut state = old.fresh(0);
    (0..5).for_each(|_| assert!(check(&old, &mut state, 100).admits()));
    new.adopt(&mut state, 100);
    assert_eq!({ state.tat }, 100 + 15_000);
    new.adopt(&mut state, 200);
    assert_eq!({ state.tat }, 100 + 15_000);
}

#[test]
fn an_edit_that_is_undone_hands_out_no_burst() {
    let (fast, slow) = (bucket(SECOND / 1_000, 1_000), bucket(SECOND / 10, 10));
    let mut state = fast.fresh(0);
    (0..1_000).for_each(|_| assert!(check(&fast, &mut state, 0).admits()));
    assert_eq!(check(&slow, &mut state, 0).retry_after_nanos, SECOND / 10);
    assert!(!check(&fast, &mut state, 0).admits(), "at once");
    let mut later = state;
    assert!(!check(&slow, &mut later, 0).admits());
    let passed = (0..1_000).filter(|_| check(&fast, &mut later, 50 * SECOND).admits()).count();
    assert_eq!(passed, 500, "50 s at 10/s gave back 500");
    assert!(!check(&slow, &mut state, 0).admits());
    assert_eq!(check(&fast, &mut state, 100 * SECOND).remaining, 999, "all of it comes back");
}

#[test]
fn sixteen_bits_never_say_less() {
    for number in (0..100_000).chain((16..41).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1])) {
        let kept = requests(rounded_up(number));
        assert!(kept >= number && kept <= number + number / 1_000, "{number} {kept}");
    }
}

/// A token bucket as the textbook has it, in whole nanoseconds of credit.
struct Model {
    period: u64,
    capacity: u64,
    credit: u64,
    last: u64,
}

impl Model {
    fn check(&mut self, now: u64, cost: u32) -> bool {
        self.credit = (self.credit + (now - self.last)).min(self.capacity);
        self.last = now;
        let needed = self.period * u64::from(cost);
        let admitted = self.credit >= needed;
        if admitted {
            self.credit -= needed;
        }
        admitted
    }
}

proptest! {
    #[test]
    fn decides_as_governor_and_as_a_model_do(
        period in 1_u64..2_000,
        burst in 1_u32..20,
        steps in prop::collection::vec((0_u64..3_000, 1_u32..6), 1..300),
    ) {
        let ours = bucket(period, burst);
        let mut state = ours.fresh(0);
        let clock = FakeRelativeClock::default();
        let quota = GovernorQuota::with_period(Duration::from_nanos(period)).unwrap();
        let quota = quota.allow_burst(burst.try_into().unwrap());
        let theirs = RateLimiter::direct_with_clock(quota, clock.clone());
        let theirs = theirs.with_middleware::<StateInformationMiddleware>();
        let capacity = period * u64::from(burst);
        let mut model = Model { period, capacity, credit: capacity, last: 0 };
        let mut now = 0;
        for (step, cost) in steps {
            let step = step.saturating_sub(1_500);
            now += step;
            clock.advance(Duration::from_nanos(step));
            let cost = cost.saturating_sub(3).max(1);
            ours.ask(&mut state, now, cost + 1);
            let verdict = check_n(&ours, &mut state, now, cost);
            match theirs.check_n(cost.try_into().unwrap()) {
                Ok(Ok(after)) => prop_assert_eq!(u64::from(after.remaining_burst_capacity()), verdict.remaining),
                Ok(Err(until)) => prop_assert_eq!(
                    until.wait_time_from(clock.now()).as_nanos(),
                    u128::from(verdict.retry_after_nanos)
                ),
                Err(_) => prop_assert_eq!(NEVER, verdict.retry_after_nanos),
            }
            prop_assert_eq!(model.check(now, cost), verdict.admits());
            prop_assert_eq!(model.capacity - model.credit, verdict.reset_nanos);
            prop_assert_eq!(model.credit / period, verdict.remaining);
            prop_assert_eq!(verdict.admits(), verdict.retry_after_nanos == 0);
            prop_assert_eq!(state.used(now), (model.capacity - model.credit).div_ceil(period));
        }
    }
}
