use gridrouter_config::units::ByteRate;
use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn bandwidth(per_second: u64, burst: u64) -> Bandwidth {
    Bandwidth::new(model::Bandwidth { rate: ByteRate { per_second }, burst })
}

/// Nanoseconds until a piece may be sent.
fn wait(bandwidth: &Bandwidth, state: &mut State, now: u64, bytes: u32) -> u64 {
    let verdict = bandwidth.ask(state, now, bytes);
    assert!(verdict.admits());
    bandwidth.take(state, now, bytes);
    match verdict.outcome {
        Outcome::Wait(nanos) => nanos,
        Outcome::Pass | Outcome::Refuse => 0,
    }
}

#[test]
fn a_burst_and_then_the_rate() {
    let bandwidth = bandwidth(1_000, 500);
    let mut state = bandwidth.fresh(0);
    assert_eq!(wait(&bandwidth, &mut state, 0, 300), 0);
    assert_eq!(bandwidth.ask(&mut state, 0, 0).remaining, 200);
    assert_eq!(wait(&bandwidth, &mut state, 0, 300), SECOND / 10);
    assert_eq!(wait(&bandwidth, &mut state, 0, 300), SECOND * 4 / 10, "after those that wait already");
    assert_eq!((state.used(0), state.used(9 * SECOND / 10)), (1, 0));
    assert_eq!(
        wait(&bandwidth, &mut state, SECOND, 2_000),
        0,
        "a piece larger than the burst, when all of it is there"
    );
    assert_eq!(wait(&bandwidth, &mut state, SECOND, 500), 2 * SECOND);
}

#[test]
fn a_charge_counts_and_comes_back() {
    let bandwidth = bandwidth(1_000, 500);
    let mut state = bandwidth.fresh(0);
    bandwidth.charge(&mut state, 0, 700);
    assert_eq!(bandwidth.ask(&mut state, 0, 0).outcome, Outcome::Wait(SECOND / 5));
    bandwidth.charge(&mut state, 0, -700);
    assert_eq!(state.used(0), 0);
}

#[test]
fn a_tenth_of_the_rate_and_back() {
    let [fast, slow] = [bandwidth(10_000, 1_000), bandwidth(1_000, 100)];
    let mut state = fast.fresh(0);
    assert_eq!(wait(&fast, &mut state, 0, 1_000), 0);
    assert_eq!(
        slow.ask(&mut state, 0, 100).outcome,
        Outcome::Wait(SECOND),
        "1000 bytes sent, 100 of which may be owed"
    );
    assert_eq!(fast.ask(&mut state, 0, 100).outcome, Outcome::Wait(SECOND / 100));
}

#[test]
fn extremes_do_not_overflow() {
    let all = [bandwidth(0, 0), bandwidth(1, u64::MAX), bandwidth(u64::MAX, 1), bandwidth(u64::MAX, u64::MAX)];
    let mut kept = all[1].fresh(0);
    for bandwidth in &all {
        bandwidth.policy();
        for now in [0, 1, u64::MAX / 2, u64::MAX, 3] {
            for state in [&mut bandwidth.fresh(now), &mut kept] {
                for bytes in [0, 1, u32::MAX] {
                    wait(bandwidth, state, now, bytes);
                    for charge in [i64::MIN, -1, 0, 1, i64::MAX] {
                        bandwidth.charge(state, now, charge);
                        state.used(now);
                    }
                }
            }
        }
    }
}

proptest! {
    /// One who sends piece after piece sends in no time more than the larger burst and what the larger rate gives, and
    /// under one rate also no less.
    #[test]
    fn sends_what_the_rate_gives(
        rates in prop::collection::vec((1_000_u64..100_000, 500_u64..5_000), 1..3),
        pieces in prop::collection::vec((1_u32..500, any::<prop::sample::Index>(), 0_u64..SECOND), 1..100),
    ) {
        let limits: Vec<_> = rates.iter().map(|(rate, burst)| bandwidth(*rate, *burst)).collect();
        let mut state = limits[0].fresh(0);
        let (mut now, mut sent) = (0, Vec::new());
        for (bytes, index, idle) in pieces {
            let limit = index.get(&limits);
            now += idle.saturating_sub(SECOND / 2);
            prop_assert_eq!(limit.ask(&mut state, now, bytes), limit.ask(&mut state, now, bytes));
            let wait = wait(limit, &mut state, now, bytes);
            now += wait;
            sent.push((now, u64::from(bytes)));
            if let ([(rate, burst)], true) = (rates.as_slice(), wait > 0) {
                // The bucket is just empty enough: as much was sent since it was full last as there was.
                let all: u64 = sent.iter().map(|(_, bytes)| bytes).sum();
                prop_assert!(all <= burst + rate * now / SECOND + 1);
            }
        }
        let (rate, burst) = (rates.iter().map(|r| r.0).max().unwrap(), rates.iter().map(|r| r.1).max().unwrap());
        for (first, (since, _)) in sent.iter().enumerate() {
            let mut sum = 0;
            for (until, bytes) in &sent[first..] {
                sum += bytes;
                let given = u128::from(rate) * u128::from(until - since) / u128::from(SECOND);
                prop_assert!(u128::from(sum) <= u128::from(burst) + given + 1, "{} in {}", sum, until - since);
            }
        }
    }

    /// A key that always wants more gets the rate, to the byte, whatever the pieces are.
    #[test]
    fn a_full_load_gets_the_rate(rate in 1_000_u64..1_000_000_000, piece in 1_u32..5_000) {
        let limit = bandwidth(rate, 5_000);
        let mut state = limit.fresh(0);
        let (mut now, mut sent) = (0, 0);
        for _ in 0..1_000 {
            now += wait(&limit, &mut state, now, piece);
            sent += u64::from(piece);
        }
        let given = u128::from(rate) * u128::from(now) / u128::from(SECOND) + 5_000;
        let lost = u128::from(rate) * 1_000 / u128::from(SECOND) + u128::from(piece) + 1;
        prop_assert!(u128::from(sent) <= given + 1 && (now == 0 || u128::from(sent) + lost >= given));
    }
}
