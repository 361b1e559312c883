use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::{Quota as GovernorQuota, RateLimiter};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../../tests/fixtures/gcra.json");
const SECOND: u64 = 1_000_000_000;

fn bucket(period_nanos: u64, burst: u32) -> TokenBucket {
    TokenBucket::new(Quota { period_nanos, burst })
}

/// The vectors are replayed in single requests: one for n is admitted iff n more can follow at once.
#[test]
fn vectors_to_the_digit() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for (name, case) in vectors["cases"].as_object().unwrap() {
        let bucket =
            bucket(case["period_ns"].as_u64().unwrap(), u32::try_from(case["burst"].as_u64().unwrap()).unwrap());
        let mut state = bucket.fresh();
        for row in case["rows_t_n_verdict_value_tat"].as_array().unwrap() {
            let number = |at: usize| row[at].as_u64().unwrap();
            let (now, n) = (number(0), number(1));
            match row[2].as_str().unwrap() {
                "ok" => (0..n).for_each(|_| assert!(bucket.check(&mut state, now).admitted, "{name} {row}")),
                "wait" if n == 1 => {
                    let wait = bucket.check(&mut state, now).retry_after;
                    assert_eq!(wait, Duration::from_nanos(number(3)), "{name} {row}");
                }
                "wait" => {
                    let mut copy = state;
                    assert!((0..n).any(|_| !bucket.check(&mut copy, now).admitted), "{name} {row}");
                }
                "capacity" => assert_eq!(u64::from(bucket.quota().burst), number(3), "{name} {row}"),
                other => panic!("{name}: {other}"),
            }
            assert_eq!(state.tat, number(4), "{name} {row}");
        }
    }
}

#[test]
fn a_verdict_says_what_is_left() {
    let bucket = bucket(SECOND, 3);
    let mut state = bucket.fresh();
    let verdict = |admitted, remaining, retry, reset| Verdict {
        admitted,
        remaining,
        retry_after: Duration::from_millis(retry),
        reset: Duration::from_millis(reset),
    };
    assert_eq!(bucket.check(&mut state, SECOND), verdict(true, 2, 0, 1_000));
    assert_eq!(bucket.check(&mut state, SECOND), verdict(true, 1, 0, 2_000));
    assert_eq!(bucket.check(&mut state, SECOND * 3 / 2), verdict(true, 0, 0, 2_500));
    assert_eq!(bucket.check(&mut state, SECOND * 3 / 2), verdict(false, 0, 500, 2_500));
    assert_eq!(bucket.check(&mut state, SECOND), verdict(false, 0, 1_000, 3_000), "a clock that goes back");
}

#[test]
fn what_was_refunded_can_be_had_again() {
    let bucket = bucket(SECOND, 2);
    let mut state = bucket.fresh();
    bucket.refund(&mut state, 0);
    assert_eq!(bucket.check(&mut state, 0).remaining, 1, "nothing was counted, nothing comes back");
    assert_eq!(bucket.check(&mut state, 0).remaining, 0);
    bucket.refund(&mut state, 0);
    assert_eq!(bucket.check(&mut state, 0).remaining, 0);
    assert!(!bucket.check(&mut state, 0).admitted);
}

#[test]
fn extremes_do_not_overflow() {
    for (period, burst) in [(0, 0), (1, u32::MAX), (u64::MAX, u32::MAX), (3_600 * SECOND, u32::MAX), (u64::MAX, 1)] {
        let bucket = bucket(period, burst);
        for now in [0, 1, u64::MAX / 2, u64::MAX] {
            let mut state = bucket.fresh();
            for _ in 0..3 {
                bucket.check(&mut state, now);
            }
            bucket.refund(&mut state, now);
        }
    }
}

/// Requests used before the edit, the edit, and then how many pass at once.
fn admitted_after_edit(used: u32, old: (u64, u32), new: (u64, u32)) -> usize {
    let (old, new) = (bucket(old.0, old.1), bucket(new.0, new.1));
    let (mut state, now) = (old.fresh(), 50 * SECOND);
    (0..used).for_each(|_| assert!(old.check(&mut state, now).admitted));
    std::iter::repeat_with(|| new.check(&mut state, now)).take_while(|verdict| verdict.admitted).count()
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
    let mut state = bucket(SECOND, 1_000).fresh();
    let old = bucket(SECOND, 1_000);
    (0..1_000).for_each(|_| assert!(old.check(&mut state, 0).admitted));
    let verdict = bucket(SECOND, 5).check(&mut state, 0);
    assert_eq!((verdict.retry_after, verdict.reset), (Duration::from_secs(1), Duration::from_secs(5)));
}

#[test]
fn rescaling_happens_once() {
    let (old, new) = (bucket(1_000, 10), bucket(3_000, 10));
    let mut state = old.fresh();
    (0..5).for_each(|_| assert!(old.check(&mut state, 100).admitted));
    new.adopt(&mut state, 100);
    assert_eq!(state.tat, 100 + 15_000);
    new.adopt(&mut state, 200);
    assert_eq!(state.tat, 100 + 15_000);
}

/// A token bucket as the textbook has it, in whole nanoseconds of credit.
struct Model {
    period: u64,
    capacity: u64,
    credit: u64,
    last: u64,
}

impl Model {
    fn check(&mut self, now: u64) -> bool {
        self.credit = (self.credit + (now - self.last)).min(self.capacity);
        self.last = now;
        let admitted = self.credit >= self.period;
        if admitted {
            self.credit -= self.period;
        }
        admitted
    }
}

proptest! {
    #[test]
    fn decides_as_governor_and_as_a_model_do(
        period in 1_u64..2_000,
        burst in 1_u32..20,
        steps in prop::collection::vec(0_u64..3_000, 1..300),
    ) {
        let ours = bucket(period, burst);
        let mut state = ours.fresh();
        let clock = FakeRelativeClock::default();
        let quota = GovernorQuota::with_period(Duration::from_nanos(period)).unwrap();
        let quota = quota.allow_burst(burst.try_into().unwrap());
        let theirs = RateLimiter::direct_with_clock(quota, clock.clone());
        let theirs = theirs.with_middleware::<StateInformationMiddleware>();
        let capacity = period * u64::from(burst);
        let mut model = Model { period, capacity, credit: capacity, last: 0 };
        let mut now = 0;
        for step in steps {
            let step = step.saturating_sub(1_500);
            now += step;
            clock.advance(Duration::from_nanos(step));
            let verdict = ours.check(&mut state, now);
            match theirs.check() {
                Ok(after) => prop_assert_eq!(after.remaining_burst_capacity(), verdict.remaining),
                Err(until) => prop_assert_eq!(until.wait_time_from(clock.now()), verdict.retry_after),
            }
            prop_assert_eq!(model.check(now), verdict.admitted);
            prop_assert_eq!(u128::from(model.capacity - model.credit), verdict.reset.as_nanos());
            prop_assert_eq!(model.credit / period, u64::from(verdict.remaining));
            prop_assert_eq!(verdict.admitted, verdict.retry_after.is_zero());
        }
    }
}
