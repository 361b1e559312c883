use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../../tests/fixtures/sentinel_throttling.json");
const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

fn queue(per_second: u32, max_queueing_millis: u64) -> LeakyBucketQueue {
    LeakyBucketQueue::of(Duration::from_secs(1), per_second, Duration::from_millis(max_queueing_millis))
}

fn check(queue: &LeakyBucketQueue, state: &mut State, now: u64, cost: u32) -> Verdict {
    let verdict = queue.ask(state, now, cost);
    if verdict.admits() {
        queue.take(state, now, cost);
    }
    verdict
}

/// Nanoseconds to wait; none if refused.
fn wait(queue: &LeakyBucketQueue, state: &mut State, now: u64, cost: u32) -> Option<u64> {
    match check(queue, state, now, cost).outcome {
        Outcome::Pass => Some(0),
        Outcome::Wait(nanos) => Some(nanos),
        Outcome::Refuse => None,
    }
}

#[test]
fn vectors_to_the_digit() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for (name, case) in vectors["cases"].as_object().unwrap() {
        let unit = if case["unit"] == "ns" { 1 } else { MILLI };
        let number = |key: &str| case[key].as_u64().unwrap();
        let queue = queue(u32::try_from(number("count")).unwrap(), number("maxQueueingTimeMs"));
        let mut state = queue.fresh(0);
        let list = |key: &str| case[key].as_array().unwrap().iter().map(Value::as_u64).collect::<Vec<_>>();
        for ((at, n), expected) in list("arrivals").into_iter().zip(list("acquire")).zip(list("waits")) {
            let waited = wait(&queue, &mut state, at.unwrap() * unit, u32::try_from(n.unwrap()).unwrap());
            assert_eq!(waited, expected.map(|wait| wait * unit), "{name} at {at:?}");
        }
        assert_eq!(state.last(), case["latestPassedTime_end"].as_u64().map(|last| last * unit), "{name}");
    }
}

/// Cases of the same source, computed with it: waits in nanoseconds.
#[test]
fn more_of_sentinels_decisions() {
    let millis = |waits: &[Option<u64>]| waits.iter().map(|wait| wait.map(|ms| ms * MILLI)).collect::<Vec<_>>();
    let check = |count, max_queueing, arrivals: &[u64], waits: &[Option<u64>]| {
        let queue = queue(count, max_queueing);
        let mut state = queue.fresh(0);
        let got: Vec<_> = arrivals.iter().map(|at| wait(&queue, &mut state, SECOND + at * MILLI, 1)).collect();
        assert_eq!(got, waits, "{count}/s, {max_queueing} ms");
    };
    check(10, 0, &[0, 0, 50, 99, 100, 100, 250], &millis(&[Some(0), None, None, None, Some(0), None, Some(0)]));
    check(10, 500, &[0, 100, 200, 300, 1300, 1300, 1350], &millis(&[0, 0, 0, 0, 0, 100, 150].map(Some)));
    let waits = [Some(0), Some(190), Some(380), Some(570), Some(760), Some(950), None, Some(500), Some(0)];
    check(5, 1_000, &[0, 10, 20, 30, 40, 50, 60, 700, 1500], &millis(&waits));
    let waits = [Some(0), Some(333_333_333), None, None, Some(266_666_666), Some(299_999_999)];
    check(3, 500, &[0, 0, 0, 100, 400, 700], &waits);
}

/// Sentinel once rounded the distance to milliseconds, so that rates above 1,000 a second were wrong.
#[test]
fn five_thousand_a_second_are_exact() {
    let queue = queue(5_000, 1_000);
    let mut state = queue.fresh(0);
    let waits: Vec<_> = std::iter::from_fn(|| wait(&queue, &mut state, 7, 1)).collect();
    assert_eq!(waits.len(), 5_001);
    assert!(waits.iter().enumerate().all(|(number, wait)| *wait == number as u64 * 200_000));
}

#[test]
fn a_refused_request_is_told_when() {
    let queue = queue(10, 500);
    let mut state = queue.fresh(0);
    while wait(&queue, &mut state, 0, 1).is_some() {}
    for cost in [1, 2, 5, 20] {
        let retry = queue.ask(&mut state, 3, cost).retry_after_nanos;
        assert!(!queue.ask(&mut state, 3 + retry - 1, cost).admits(), "{cost}");
        assert_eq!(queue.ask(&mut state, 3 + retry, cost).outcome, Outcome::Wait(500 * MILLI), "{cost}");
    }
}

#[test]
fn what_remains_is_what_follows() {
    for (rate, max_queueing) in [(10, 500), (3, 500), (10, 0), (1, 999), (1_000, 7)] {
        let queue = queue(rate, max_queueing);
        let mut state = queue.fresh(0);
        let mut before = queue.policy().quota;
        for now in [0, 0, 0, 1, 50 * MILLI, 420 * MILLI, 421 * MILLI, 2 * SECOND, 2 * SECOND] {
            let verdict = check(&queue, &mut state, now, 1);
            let mut copy = state.clone();
            let follow = std::iter::from_fn(|| wait(&queue, &mut copy, now, 1)).count() as u64;
            assert_eq!(verdict.remaining, follow, "{rate}/s, {max_queueing} ms at {now}");
            assert!(verdict.remaining <= before || now > 0);
            before = verdict.remaining;
        }
    }
}

#[test]
fn a_turn_given_back_is_the_next_ones() {
    let queue = queue(10, 500);
    let mut state = queue.fresh(0);
    let turns: Vec<_> = std::iter::from_fn(|| wait(&queue, &mut state, 0, 1)).collect();
    assert_eq!(turns, [0, 1, 2, 3, 4, 5].map(|turn| turn * 100 * MILLI));
    queue.leave(&mut state, 0, turns[2], 1);
    queue.leave(&mut state, 0, turns[4], 1);
    queue.leave(&mut state, 0, turns[4], 1);
    assert!(state.heap_bytes() > 0);
    assert_eq!(queue.ask(&mut state, 0, 1).remaining, 1);
    assert_eq!(wait(&queue, &mut state, 0, 1), Some(turns[2]));
    queue.leave(&mut state, 0, turns[5], 1);
    assert_eq!(state.last(), Some(turns[3]), "the gap before the last one goes with it");
    assert_eq!(state.heap_bytes(), 0);
    assert_eq!(wait(&queue, &mut state, 0, 2), Some(turns[5]));
    queue.leave(&mut state, 100 * MILLI, turns[0], 1);
    assert_eq!(wait(&queue, &mut state, 100 * MILLI, 1), Some(500 * MILLI), "a turn that was used is gone");
}

/// Who waits gives up long before the turn, and everybody does. Their turns must go to those who come, or a queue of a
/// full load would serve nobody.
#[test]
fn turns_of_those_who_gave_up_are_not_wasted() {
    let queue = queue(1_000, 500);
    let mut state = queue.fresh(0);
    let (mut waiting, mut served) = (Vec::new(), 0);
    for now in (0..4_000).map(|half| half * MILLI / 2) {
        waiting.retain(|(since, turn)| {
            let (gone, arrived) = (now - since >= 300 * MILLI, *turn <= now);
            served += u64::from(arrived && now >= SECOND);
            if gone && !arrived {
                queue.leave(&mut state, now, *turn, 1);
            }
            !gone && !arrived
        });
        for _ in 0..2 {
            if let Some(wait) = wait(&queue, &mut state, now, 1) {
                waiting.push((now, now + wait));
            }
        }
    }
    assert!(served > 600, "{served} of 1000 turns of the last second");
}

#[test]
fn gaps_are_bounded() {
    let queue = queue(10_000, 60_000);
    let mut state = queue.fresh(0);
    let turns: Vec<_> = (0..10_000).filter_map(|_| wait(&queue, &mut state, 0, 1)).collect();
    turns.iter().step_by(2).for_each(|turn| queue.leave(&mut state, 0, *turn, 1));
    assert!(state.heap_bytes() < 2_000, "{}", state.heap_bytes());
}

#[test]
fn a_charge_moves_the_turns_to_come() {
    let queue = queue(10, 500);
    let mut state = queue.fresh(0);
    queue.charge(&mut state, SECOND, 3);
    assert_eq!(state.used(SECOND), 3);
    assert_eq!(wait(&queue, &mut state, SECOND, 1), Some(300 * MILLI));
    queue.charge(&mut state, SECOND, -2);
    assert_eq!(wait(&queue, &mut state, SECOND, 1), Some(400 * MILLI), "nobody gets a turn that another has");
    queue.charge(&mut state, SECOND, i64::MAX);
    assert_eq!(wait(&queue, &mut state, SECOND, 1), None);
    assert_eq!(wait(&queue, &mut state, SECOND + 200 * MILLI, 1), Some(500 * MILLI));
}

#[test]
fn thousand_a_second_to_ten_and_back() {
    let [fast, slow] = [queue(1_000, 100), queue(10, 100)];
    let mut state = fast.fresh(0);
    let mut turns = Vec::new();
    for now in (0..3_000).map(|millis| millis * MILLI) {
        let queue = if (SECOND..2 * SECOND).contains(&now) { &slow } else { &fast };
        while let Some(wait) = wait(queue, &mut state, now, 1) {
            turns.push(now + wait);
        }
    }
    assert!(turns.windows(2).all(|pair| pair[1] - pair[0] >= MILLI));
    // Those that were given before the edit are kept, and from then on it is one in 100 ms.
    let in_between = turns.iter().filter(|turn| (SECOND + 100 * MILLI..2 * SECOND).contains(turn)).count();
    assert_eq!(in_between, 9);
}

#[test]
fn extremes_do_not_overflow() {
    let day = Duration::from_hours(24);
    let all = [
        queue(0, 0),
        queue(u32::MAX, 0),
        LeakyBucketQueue::of(Duration::MAX, 1, Duration::MAX),
        LeakyBucketQueue::of(day, 1, Duration::ZERO),
        LeakyBucketQueue::of(Duration::ZERO, 1, Duration::MAX),
    ];
    let mut kept = all[1].fresh(0);
    for queue in &all {
        queue.policy();
        for now in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX, 3] {
            for state in [&mut queue.fresh(now), &mut kept] {
                for cost in [0, 1, u32::MAX] {
                    check(queue, state, now, cost);
                    queue.take(state, now, cost);
                    for turn in [0, now, u64::MAX, now.saturating_add(1)] {
                        queue.leave(state, now, turn, cost);
                    }
                    for charge in [i64::MIN, -1, 0, 1, i64::MAX] {
                        queue.charge(state, now, charge);
                    }
                    state.used(now);
                    state.used(0);
                }
            }
        }
    }
}

proptest! {
    /// Under edits, charges and departures: who is given a turn keeps the distance, and nobody else has it.
    #[test]
    fn turns_keep_their_distance(
        rates in prop::collection::vec(1_u32..2_000, 1..4),
        max_queueing in 0_u64..400,
        steps in prop::collection::vec((0_u64..30 * MILLI, 0..8_u8, 1_u32..4, any::<prop::sample::Index>()), 1..200),
    ) {
        let queues: Vec<_> = rates.iter().map(|rate| queue(*rate, max_queueing)).collect();
        let fastest = |cost| queues.iter().map(|queue| queue.distance(cost)).min().unwrap();
        let mut queue = &queues[0];
        let mut state = queue.fresh(0);
        // The turns that somebody has or had, and their costs.
        let mut turns: BTreeMap<u64, u32> = BTreeMap::new();
        let mut now = SECOND * 100;
        for (step, action, cost, index) in steps {
            now += if step % 2 == 0 { step } else { 0 };
            match action {
                0 => queue = index.get(&queues),
                1 => queue.charge(&mut state, now, i64::from(cost) - 2),
                2 | 3 => {
                    let waiting: Vec<u64> = turns.range(now..).map(|(turn, _)| *turn).collect();
                    if !waiting.is_empty() {
                        let turn = *index.get(&waiting);
                        queue.leave(&mut state, now, turn, turns.remove(&turn).unwrap());
                    }
                }
                _ => {
                    let before = queue.ask(&mut state, now, cost);
                    prop_assert_eq!(before, queue.ask(&mut state, now, cost));
                    if let Some(wait) = wait(queue, &mut state, now, cost) {
                        let turn = now + wait;
                        prop_assert!(wait <= max_queueing * MILLI);
                        if let Some((before, _)) = turns.range(..=turn).next_back() {
                            prop_assert!(turn - before >= fastest(cost), "{} after {}", turn, before);
                        }
                        if let Some((after, _)) = turns.range(turn..).next() {
                            prop_assert!(after - turn >= fastest(1), "{} before {}", turn, after);
                        }
                        turns.insert(turn, cost);
                    }
                }
            }
            if let Some((last, _)) = turns.last_key_value() && *last >= now {
                prop_assert!(state.used(now) > 0);
            }
        }
    }

    /// Of one rate, without departures: as a list of all turns has it.
    #[test]
    fn decides_as_a_list_of_turns_does(
        rate in 1_u32..5_000,
        max_queueing in 0_u64..1_000,
        steps in prop::collection::vec((0_u64..200 * MILLI, 1_u32..4), 1..100),
    ) {
        let queue = queue(rate, max_queueing);
        let mut state = queue.fresh(0);
        let (mut turns, mut now) = (Vec::<u64>::new(), 5);
        for (step, cost) in steps {
            now += step.saturating_sub(100 * MILLI);
            // Rounded half up, as a fraction.
            let distance = (f64::from(cost) * 1e9 / f64::from(rate)).round() as u64;
            let turn = turns.last().map_or(now, |last| (last + distance).max(now));
            let expected = (turn - now <= max_queueing * MILLI).then_some(turn - now);
            prop_assert_eq!(wait(&queue, &mut state, now, cost), expected);
            turns.extend(expected.map(|wait| now + wait));
            // Nothing is used exactly when a fresh state would give the same turns.
            let fresh = queue.at_the_end(None, now, 1) == queue.at_the_end(state.last(), now, 1);
            prop_assert_eq!(state.used(now) == 0, fresh);
        }
    }
}
