mod memory;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gridrouter_config::model;
use gridrouter_config::units::Rate;
use proptest::prelude::*;

use super::*;
use crate::limit::key::KeySeed;
use crate::limit::{Left, Outcome};

const SECOND: u64 = 1_000_000_000;
const MIB: usize = 1 << 20;

/// A token bucket of `per_second` requests and a burst.
fn bucket(per_second: u32, burst: u32) -> Prepared {
    let rate = Rate { count: per_second, per: Duration::from_secs(1) };
    Prepared::new(&model::Algorithm::TokenBucket(model::TokenBucket { rate, burst }))
}

/// One an hour.
fn slow(burst: u32) -> Prepared {
    let rate = Rate { count: 1, per: Duration::from_hours(1) };
    Prepared::new(&model::Algorithm::TokenBucket(model::TokenBucket { rate, burst }))
}

/// So many an hour.
fn log(limit: u32) -> Prepared {
    let method = model::SlidingWindowMethod::Log;
    Prepared::new(&model::Algorithm::SlidingWindow(model::SlidingWindow {
        limit,
        window: Duration::from_hours(1),
        method,
    }))
}

/// So many in 0.7 s.
fn window(limit: u32, method: model::SlidingWindowMethod) -> Prepared {
    let window = Duration::from_millis(700);
    Prepared::new(&model::Algorithm::SlidingWindow(model::SlidingWindow { limit, window, method }))
}

fn concurrency(limit: u32) -> Prepared {
    Prepared::new(&model::Algorithm::Concurrency(model::Concurrency { limit }))
}

/// Whether one request more is admitted, and counted.
fn passes(table: &LimitTable, key: KeyHash, limit: &Prepared, now: u64) -> bool {
    table.check_one(key, limit, 1, now).admits()
}

/// Asks as the router does: all at once, if they let it pass, or else in order.
fn admits(table: &LimitTable, asks: &mut [Ask<'_>], now: u64) -> bool {
    passes_all(table, asks, now) || table.check(asks, now)
}

fn passes_all(table: &LimitTable, asks: &mut [Ask<'_>], now: u64) -> bool {
    let each: Vec<_> = asks.iter().map(|ask| (ask.key, ask.limit, ask.cost)).collect();
    table.pass(&each.into_iter(), now, |number, Left { remaining, reset_nanos }| {
        asks[number].verdict = Verdict { outcome: Outcome::Pass, remaining, retry_after_nanos: 0, reset_nanos };
    })
}

fn peek(table: &LimitTable, key: KeyHash, limit: &Prepared, now: u64) -> Verdict {
    let mut ask = [Ask::new(key, limit, 1, true)];
    table.peek(&mut ask, now);
    ask[0].verdict
}

fn key(name: u64) -> KeyHash {
    key_of(1, name)
}

fn key_of(limit: u32, name: u64) -> KeyHash {
    let seed = KeySeed::new(42);
    seed.limit(limit).plus(seed.part(&name.to_le_bytes()))
}

#[test]
fn an_entry_is_half_a_cache_line() {
    assert_eq!((size_of::<entries::Entry>(), align_of::<entries::Entry>()), (32, 32));
}

#[test]
fn a_shard_is_a_cache_line_and_an_empty_one() {
    assert_eq!((size_of::<Shard>(), align_of::<Shard>()), (128, 128));
    assert!(size_of::<Mutex<Entries>>() + size_of::<Whereabouts>() <= 64);
}

#[test]
fn keys_are_counted_apart() {
    let (table, limit) = (LimitTable::new(MIB), bucket(1, 1));
    let [a, b] = [key(1), key(2)];
    assert!(passes(&table, a, &limit, 0));
    assert!(!passes(&table, a, &limit, 0));
    assert!(passes(&table, b, &limit, 0));
    let usage = table.usage();
    assert_eq!((usage.keys, usage.evictions, usage.idle_evictions), (2, 0, 0));
}

#[test]
fn a_look_counts_nothing() {
    let (table, limit) = (LimitTable::new(MIB), bucket(1, 2));
    let key = key(1);
    for _ in 0..3 {
        let looked = peek(&table, key, &limit, 7);
        assert_eq!(looked, peek(&table, key, &limit, 7));
        assert_eq!(looked, table.check_one(key, &limit, 1, 7));
    }
    assert_eq!(peek(&table, self::key(2), &limit, 7).remaining, 1);
    assert_eq!(table.usage().keys, 1);
}

/// Asks two limits, one of which is used up: who refuses is asked first, or last.
#[test]
fn what_one_limit_refuses_costs_the_others_nothing() {
    for (used_up, order) in [(0, [0, 1]), (0, [1, 0]), (1, [0, 1]), (1, [1, 0])] {
        let (table, limits) = (LimitTable::new(MIB), [slow(5), slow(5)]);
        let keys = [key(1), key(2)];
        (0..5).for_each(|_| assert!(passes(&table, keys[used_up], &limits[used_up], 0)));
        let mut asks = order.map(|at| Ask::new(keys[at], &limits[at], 1, true));
        for _ in 0..100 {
            assert!(!admits(&table, &mut asks, 0));
        }
        let other = 1 - used_up;
        assert_eq!(peek(&table, keys[other], &limits[other], 0).remaining, 4, "it would be the first of five");
    }
}

#[test]
fn who_is_not_enforced_refuses_nothing_and_counts_as_if() {
    let (table, live, shadow) = (LimitTable::new(MIB), slow(3), slow(1));
    let keys = [key(1), key(2)];
    let mut asks = [Ask::new(keys[0], &live, 1, true), Ask::new(keys[1], &shadow, 1, false)];
    let said: Vec<(bool, [bool; 2])> = (0..4)
        .map(|_| {
            let admitted = admits(&table, &mut asks, 0);
            (admitted, asks.map(|ask| ask.verdict.admits()))
        })
        .collect();
    let expected = [(true, [true, true]), (true, [true, false]), (true, [true, false]), (false, [false, false])];
    assert_eq!(said, expected);
    assert!(table.check(&mut asks[1..], 0));
    assert!(table.check(&mut [] as &mut [Ask<'_>], 0), "no limit refuses nothing");
}

#[test]
fn many_limits_at_once_and_one_twice() {
    let (table, limit) = (LimitTable::new(MIB), slow(10));
    let keys: Vec<KeyHash> = (0..40).map(key).collect();
    let ask = |key: &KeyHash| Ask::new(*key, &limit, 1, true);
    let mut asks: Vec<Ask<'_>> = keys.iter().map(ask).chain(keys.iter().take(1).map(ask)).collect();
    assert!(admits(&table, &mut asks, 0));
    assert!(asks.iter().all(|ask| ask.verdict.remaining == 9));
    assert_eq!(peek(&table, keys[0], &limit, 0).remaining, 7, "asked twice, it counts twice");
    assert_eq!(peek(&table, keys[1], &limit, 0).remaining, 8);
}

/// A key that is there twice is given back twice, whatever it was counted by.
#[test]
fn what_is_asked_twice_and_refused_elsewhere_is_not_counted() {
    let full = concurrency(1);
    for method in [model::SlidingWindowMethod::Log, model::SlidingWindowMethod::Counter] {
        for limit in [window(20, method), window(1_000, method), slow(20), concurrency(20)] {
            let table = LimitTable::with_shards(MIB, 2);
            assert!(passes(&table, key(9), &full, 0));
            for round in 0..20 {
                let now = round * 10_000_000;
                let mut asks = [(key(1), &limit), (key(1), &limit), (key(9), &full)];
                let mut asks = asks.each_mut().map(|(key, limit)| Ask::new(*key, limit, 1, true));
                assert!(!admits(&table, &mut asks, now));
                if round % 2 == 0 {
                    assert!(passes(&table, key(1), &limit, now));
                }
                let counted = limit.policy().quota - peek(&table, key(1), &limit, now).remaining - 1;
                assert_eq!(counted, round / 2 + 1, "{limit:?}");
            }
        }
    }
}

#[test]
fn counts_outlive_the_quota() {
    let table = LimitTable::new(MIB);
    let key = key(1);
    (0..10).for_each(|_| assert!(passes(&table, key, &bucket(1, 10), 0)));
    assert!(!passes(&table, key, &bucket(100, 10), 0));
    assert!(passes(&table, key, &bucket(100, 10), SECOND / 100));
}

#[test]
fn counts_outlive_the_algorithm() {
    let table = LimitTable::new(MIB);
    let key = key(1);
    let window = model::FixedWindow { limit: 10, window: Duration::from_hours(1) };
    let window = Prepared::new(&model::Algorithm::FixedWindow(window));
    (0..7).for_each(|_| assert!(passes(&table, key, &slow(10), 0)));
    let after: Vec<bool> = (0..5).map(|_| passes(&table, key, &window, 0)).collect();
    assert_eq!(after, [true, true, true, false, false]);
    assert!(!passes(&table, key, &slow(10), 0), "and back again");
    // Nobody has a permit yet, and what the others counted are no permits.
    assert!(passes(&table, key, &concurrency(1), 0));
    assert!(!passes(&table, key, &concurrency(1), 0));
}

#[test]
fn permits_come_back() {
    let (table, limit) = (LimitTable::new(MIB), concurrency(2));
    let key = key(1);
    let answered = Answered { took_nanos: None, served: true, counts: true };
    table.release(key, &limit, 1, answered, 0);
    assert_eq!([0; 3].map(|_| passes(&table, key, &limit, 0)), [true, true, false]);
    table.release(key, &limit, 1, answered, 0);
    assert_eq!([0; 2].map(|_| passes(&table, key, &limit, 0)), [true, false]);
}

#[test]
fn permits_outlive_the_kind_of_limit_that_counts_them() {
    let (table, fixed) = (LimitTable::new(MIB), concurrency(3));
    let by = model::Adaptation::Gradient2 { tolerance_thousandths: 1_500 };
    let adaptive = model::AdaptiveConcurrency { initial: 3, min: 3, max: 3, by };
    let adaptive = Prepared::new(&model::Algorithm::AdaptiveConcurrency(adaptive));
    let key = key(1);
    let answered = Answered { took_nanos: None, served: true, counts: true };
    (0..3).for_each(|_| assert!(passes(&table, key, &fixed, 0)));
    assert!(!passes(&table, key, &adaptive, 0));
    table.release(key, &fixed, 1, answered, 0);
    assert_eq!([0; 2].map(|_| passes(&table, key, &adaptive, 0)), [true, false]);
    assert!(!passes(&table, key, &fixed, 0));
    (0..3).for_each(|_| table.release(key, &adaptive, 1, answered, 0));
    assert_eq!([0; 4].map(|_| passes(&table, key, &fixed, 0)), [true, true, true, false]);
}

/// There is room to note six. Of more nothing is taken, be they known or in one shard.
#[test]
fn more_than_a_few_do_not_pass_at_once() {
    for shards in [1, 64] {
        let (table, limits) = (LimitTable::with_shards(MIB, shards), [(); FEW + 1].map(|()| slow(9)));
        let asks = |count: usize| -> Vec<Ask<'_>> {
            limits.iter().zip(0..).take(count).map(|(limit, name)| Ask::new(key(name), limit, 1, true)).collect()
        };
        assert!(table.check(&mut asks(FEW + 1), 0));
        assert!(!passes_all(&table, &mut asks(FEW + 1), 0));
        let left: Vec<u64> = asks(FEW + 1).iter().map(|ask| peek(&table, ask.key, ask.limit, 0).remaining).collect();
        assert_eq!(left, [7; FEW + 1], "one was counted, and the next would be");
        assert!(passes_all(&table, &mut asks(FEW), 0));
    }
}

#[test]
fn a_poisoned_shard_goes_on() {
    let table = Arc::new(LimitTable::with_shards(4_096, 1));
    let limit = bucket(1, 1);
    let poisoner = Arc::clone(&table);
    let panicked = std::thread::spawn(move || {
        let _held = poisoner.shards[0].lock();
        panic!("with the lock held");
    });
    assert!(panicked.join().is_err());
    assert!(passes(&table, key(1), &limit, 0));
}

/// Threads that ask the same limits in different orders would wait for each other for ever, were the order theirs.
#[test]
fn several_limits_are_locked_in_one_order() {
    let table = Arc::new(LimitTable::with_shards(MIB, 4));
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let table = Arc::clone(&table);
            std::thread::spawn(move || {
                let limit = slow(1_000_000);
                let mut keys: Vec<KeyHash> = (0..6).map(key).collect();
                keys.rotate_left(thread as usize);
                let mut asks: Vec<Ask<'_>> = keys.iter().map(|key| Ask::new(*key, &limit, 1, true)).collect();
                (0..20_000).for_each(|_| assert!(admits(&table, &mut asks, 0)));
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let limit = slow(1_000_000);
    for name in 0..6 {
        let left = peek(&table, key(name), &limit, 0);
        assert_eq!((left.outcome, left.remaining), (Outcome::Pass, 1_000_000 - 80_001), "none was lost");
    }
}

/// Whether all locks are to be had at once or not, what is counted is the same, and all limits have counted it.
#[test]
fn threads_that_meet_at_several_limits_count_together() {
    let table = Arc::new(LimitTable::with_shards(MIB, 64));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let table = Arc::clone(&table);
            std::thread::spawn(move || {
                let limit = slow(40_000);
                let keys: Vec<KeyHash> = (0..3).map(key).collect();
                let mut asks: Vec<Ask<'_>> = keys.iter().map(|key| Ask::new(*key, &limit, 1, true)).collect();
                (0..20_000).filter(|_| admits(&table, &mut asks, 0)).count()
            })
        })
        .collect();
    let admitted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(admitted, 40_000);
    for name in 0..3 {
        assert!(!passes(&table, key(name), &slow(40_000), 0), "limit {name}");
    }
}

/// What limits say and count together is what each would say alone, and is taken of all if they agree or else of none:
/// whatever they are, however many, edited meanwhile or not, and in however few shards.
#[test]
fn several_at_once_are_as_each_alone() {
    let period = Duration::from_millis(700);
    let rate = |count| Rate { count, per: Duration::from_secs(1) };
    let fixed = |limit, window| Prepared::new(&model::Algorithm::FixedWindow(model::FixedWindow { limit, window }));
    let meter = |count, burst, delay| {
        Prepared::new(&model::Algorithm::LeakyBucketMeter(model::LeakyBucketMeter { rate: rate(count), burst, delay }))
    };
    let queue = |count| model::LeakyBucketQueue { rate: rate(count), max_queueing: period };
    let limits = [
        [bucket(3, 4), slow(2)],
        [fixed(4, period), fixed(7, Duration::from_hours(1))],
        [log(9), log(200)],
        [meter(5, 2, None), meter(50, 1, None)],
        [concurrency(40), bucket(9, 9)],
        [queue(5), queue(80)].map(|values| Prepared::new(&model::Algorithm::LeakyBucketQueue(values))),
        [bucket(20, 2), log(11)],
        [window(3, model::SlidingWindowMethod::Log), window(150, model::SlidingWindowMethod::Log)],
        [window(6, model::SlidingWindowMethod::Counter), window(5, model::SlidingWindowMethod::Log)],
        [meter(40, 8, Some(1)), meter(60, 9, Some(2))],
        [bucket(20, 9), bucket(20, 2)],
    ];
    let [refused, admitted, passed] = [const { Cell::new(0) }; 3];
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    // Mostly few at once, in any order: of many together one nearly always refuses.
    let all = 0..1 << limits.len();
    let few =
        prop::collection::vec(0..limits.len(), 0..5).prop_map(|few| few.iter().fold(0, |set, one| set | 1 << one));
    let asked = (prop_oneof![2 => few, 1 => all.clone()], 0..limits.len(), any::<bool>());
    let step = (0..400_000_000_u64, 1..3_u32, asked, all.clone(), 0..3_u64, prop_oneof![9 => Just(0), 1 => all]);
    let steps = prop::collection::vec(step, 1..120);
    let has = |set: i32, number: usize| set & (1 << number) != 0;
    runner
        .run(&(steps, 1..64_usize), |(steps, shards)| {
            let table = LimitTable::with_shards(MIB, shards.next_power_of_two());
            let mut alone: HashMap<(usize, u64), State> = HashMap::new();
            let (mut now, mut edition) = (SECOND, 0);
            for (later, cost, asked, enforced, name, edited) in steps {
                (now, edition) = (now + later, edition ^ edited);
                let (asked, first, backwards) = asked;
                let order = (first..limits.len()).chain(0..first);
                let mut numbers: Vec<usize> = order.filter(|number| has(asked, *number)).collect();
                if backwards {
                    numbers.reverse();
                }
                let limit = |number: usize| &limits[number][usize::from(has(edition, number))];
                let key = |number: usize| key_of(number as u32, name);
                let mut asks: Vec<Ask<'_>> = numbers
                    .iter()
                    .map(|number| Ask::new(key(*number), limit(*number), cost, has(enforced, *number)))
                    .collect();
                let said: Vec<Verdict> = numbers
                    .iter()
                    .map(|number| match alone.get_mut(&(*number, name)) {
                        Some(state) => limit(*number).ask(state, &mut 0, now, cost),
                        None => limit(*number).ask_anew(now, cost),
                    })
                    .collect();
                let agreed = asks.iter().zip(&said).all(|(ask, said)| said.admits() || !ask.enforced);
                for (number, _) in numbers.iter().zip(&said).filter(|(_, said)| agreed && said.admits()) {
                    let state = alone.entry((*number, name)).or_insert_with(|| limit(*number).fresh(now));
                    limit(*number).take(state, &mut 0, now, cost);
                }
                if passes_all(&table, &mut asks, now) {
                    prop_assert!(agreed);
                    passed.update(|count| count + 1);
                } else {
                    // Whatever it had taken is there again.
                    prop_assert_eq!(table.check(&mut asks, now), agreed);
                }
                prop_assert_eq!(asks.iter().map(|ask| ask.verdict).collect::<Vec<_>>(), said);
                (if agreed { &admitted } else { &refused }).update(|count| count + 1);
            }
            Ok(())
        })
        .unwrap();
    assert!(admitted.get() > 1_000 && refused.get() > 1_000, "{admitted:?} {refused:?}");
    assert!(passed.get() > 500, "{passed:?}");
}

/// One lock serves them all.
#[test]
fn limits_of_one_shard_pass_together() {
    let (table, limits) = (LimitTable::with_shards(MIB, 1), [slow(9), log(7), concurrency(8), bucket(1, 6)]);
    let mut asks: Vec<Ask<'_>> =
        limits.iter().zip(0..).map(|(limit, number)| Ask::new(key_of(number, 1), limit, 1, true)).collect();
    assert!(!passes_all(&table, &mut asks, 0), "nothing is known of them yet");
    assert!(table.check(&mut asks, 0));
    for counted in 2..=6 {
        assert!(passes_all(&table, &mut asks, 0));
        let left: Vec<u64> = asks.iter().map(|ask| ask.verdict.remaining).collect();
        assert_eq!(left, [9 - counted, 7 - counted, 8 - counted, 6 - counted]);
    }
    assert!(!passes_all(&table, &mut asks, 0), "the last one is used up");
}
