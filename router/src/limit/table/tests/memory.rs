//! How much memory a table takes, and who goes when there is no more.

use super::*;

#[test]
fn memory_is_bounded_under_a_flood_of_keys() {
    let table = LimitTable::with_shards(MIB, 16);
    let limit = slow(10);
    for name in 0..200_000 {
        assert!(passes(&table, key(name), &limit, name));
    }
    let usage = table.usage();
    assert_eq!(usage.keys as u64 + usage.evictions, 200_000);
    assert!(usage.bytes <= MIB, "{} bytes", usage.bytes);
    assert!(usage.keys >= MIB / 41 / 6, "{} keys", usage.keys);
}

/// Bytes that are there, counted anew.
fn bytes_there(table: &LimitTable) -> usize {
    let of_shard = |shard: &Shard| {
        let entries = shard.lock();
        entries.slots.bytes() + entries.slots.from(0).map(|(_, entry)| entry.state.heap_bytes()).sum::<usize>()
    };
    table.shards.iter().map(of_shard).sum()
}

/// The states of some algorithms are partly outside of the table.
#[test]
fn memory_is_bounded_where_states_have_more_than_an_entry() {
    let table = LimitTable::with_shards(MIB, 16);
    let window = log(100);
    for name in 0..20_000 {
        let key = key(name);
        (0..20).for_each(|number| assert!(passes(&table, key, &window, name * 1_000 + number)));
    }
    let usage = table.usage();
    assert_eq!(usage.bytes, bytes_there(&table), "what is added up is what is there");
    assert!(usage.bytes <= MIB, "{} bytes", usage.bytes);
}

/// Who passes all limits at once takes no memory: a state that has to grow for it is asked in the other way.
#[test]
fn who_passes_at_once_takes_no_memory() {
    let table = LimitTable::with_shards(MIB, 4);
    let (window, other, bucket) = (log(128), log(1_000), slow(1_000));
    let mut at_once = 0;
    for number in 0..129 {
        // Far enough apart for entries of their own.
        let (now, before) = (number * 60 * SECOND, table.usage().bytes);
        let mut asks =
            [(1, &window), (2, &other), (3, &bucket)].map(|(name, limit)| Ask::new(key(name), limit, 1, true));
        if passes_all(&table, &mut asks, now) {
            at_once += 1;
            assert_eq!(table.usage().bytes, before);
        } else {
            table.check(&mut asks, now);
        }
        assert_eq!(table.usage().bytes, bytes_there(&table), "request {number}");
    }
    assert!((100..127).contains(&at_once), "{at_once} passed at once");
}

/// Keys that are there already take more and more.
#[test]
fn memory_is_bounded_while_states_grow() {
    let table = LimitTable::with_shards(MIB, 16);
    let window = log(128);
    let mut highest = 0;
    for round in 0..128 {
        for name in 0..2_000 {
            table.check_one(key(name), &window, 1, round * 1_000 + name);
        }
        highest = highest.max(table.usage().bytes);
    }
    // Each shard may be above its share by what its last states grew by.
    assert!(highest <= MIB + 16 * 4_096, "{highest} bytes");
    assert!(table.usage().evictions > 0);
}

/// A window becomes a bucket: what the window kept outside of its entry is free again.
#[test]
fn what_a_limit_of_another_kind_kept_is_given_back() {
    let window = log(100);
    let bucket = bucket(1_000, 1_000);
    for others in [0, 3] {
        let table = LimitTable::with_shards(MIB, 16);
        for name in 0..1_000 {
            (0..20).for_each(|number| assert!(passes(&table, key(name), &window, number)));
        }
        let empty = |table: &LimitTable| table.shards.iter().map(|shard| shard.lock().slots.bytes()).sum();
        assert!(table.usage().bytes > empty(&table));
        for name in 0..1_000 {
            let mut asks: Vec<Ask<'_>> =
                (0..=others).map(|other| Ask::new(key(name + other * 10_000), &bucket, 1, true)).collect();
            admits(&table, &mut asks, 1_000);
        }
        assert_eq!(table.usage().bytes, empty(&table));
    }
}

/// Keys in use, of 100, whose limit a flood of keys makes forget that they are used up.
fn freed_by_a_flood(in_use: &Prepared, flood: &Prepared) -> usize {
    let table = LimitTable::with_shards(MIB / 8, 4);
    let keys: Vec<KeyHash> = (0..100).map(key).collect();
    for &key in &keys {
        while passes(&table, key, in_use, 0) {}
    }
    for name in 1_000..41_000 {
        table.check_one(key(name), flood, 1, 1);
    }
    let usage = table.usage();
    assert!(usage.evictions + usage.idle_evictions > 9 * usage.keys as u64, "{usage:?}");
    keys.iter().filter(|&&key| passes(&table, key, in_use, 1)).count()
}

#[test]
fn a_flood_of_keys_does_not_free_those_in_use() {
    let fast = bucket(100, 10);
    assert_eq!(freed_by_a_flood(&fast, &fast), 0);
    assert_eq!(freed_by_a_flood(&fast, &slow(10)), 0);
    assert_eq!(freed_by_a_flood(&slow(10), &fast), 0);
    assert_eq!(freed_by_a_flood(&slow(1), &slow(1)), 0, "one request each, as the keys of the flood");
    assert_eq!(freed_by_a_flood(&concurrency(1), &fast), 0);
}

#[test]
fn what_is_full_again_goes_first() {
    let table = LimitTable::with_shards(64 << 10, 1);
    let (limit, half) = (bucket(1, 2), table.shards[0].lock().slots.most() as u64 / 2);
    (0..half).for_each(|name| assert!(passes(&table, key(name), &limit, 0)));
    (half..2 * half).for_each(|name| assert!(passes(&table, key(name), &limit, 10 * SECOND)));
    (2 * half..2 * half + half / 2).for_each(|name| assert!(passes(&table, key(name), &limit, 10 * SECOND)));
    let counts = |name: &u64| peek(&table, key(*name), &limit, 10 * SECOND).remaining == 0;
    let kept = (half..2 * half).filter(counts).count() as u64;
    assert!(kept * 100 >= half * 97, "{kept} of {half} that counted something were kept");
    let usage = table.usage();
    assert!(usage.idle_evictions > 20 * usage.evictions, "{usage:?}");
}

#[test]
fn a_table_of_no_budget_keeps_one_key_a_shard() {
    let (table, limit) = (LimitTable::with_shards(0, 1), bucket(1, 1));
    for name in 0..10 {
        assert!(passes(&table, key(name), &limit, 0));
        assert!(!passes(&table, key(name), &limit, 0));
    }
    assert_eq!(table.usage().keys, 1);
}

/// A state that grows, and one that is new, have to fit also where they are asked for together.
#[test]
fn memory_is_bounded_where_several_limits_are_asked() {
    let table = LimitTable::with_shards(MIB, 64);
    let (window, bucket) = (log(128), slow(1_000));
    let mut highest = 0;
    for name in 0..60_000 {
        let keys = [key(name % 3_000), key(1_000_000 + name)];
        let mut asks = [Ask::new(keys[0], &window, 1, true), Ask::new(keys[1], &bucket, 1, true)];
        admits(&table, &mut asks, name * 1_000);
        highest = highest.max(table.usage().bytes);
    }
    assert!(highest <= MIB + 64 * 4_096, "{highest} bytes");
    assert!(table.usage().evictions > 0);
}

/// What has to grow is counted once: what was taken before it was found is given back, and taken again when room was made.
#[test]
fn what_grows_where_there_is_no_room_is_counted_once() {
    let table = LimitTable::with_shards(32 << 10, 1);
    let (window, idle, bucket) = (log(128), bucket(1_000, 1), slow(1_000));
    for name in 10..2_000 {
        assert!(passes(&table, key(name), &idle, 0));
    }
    let before = table.usage();
    for number in 0..120 {
        let now = SECOND + number;
        // Others come all the time, so that there is never much room.
        assert!(passes(&table, key(10_000 + number), &idle, now));
        let mut asks = [Ask::new(key_of(2, 1), &bucket, 1, true), Ask::new(key_of(3, 1), &window, 1, true)];
        assert!(admits(&table, &mut asks, now));
        assert_eq!(asks.map(|ask| ask.verdict.remaining), [999 - number, 127 - number]);
    }
    assert!(table.usage().idle_evictions > before.idle_evictions + 10, "{before:?} {:?}", table.usage());
}

/// Tables and states share what there is: more places are not had at the price of the states that are there. And however
/// long a flood lasts, nobody in use goes for it, wherever keys are.
#[test]
fn a_shard_does_not_grow_where_its_states_have_the_room() {
    for seed in [1, 2, 4, 42] {
        let seed = KeySeed::new(seed);
        let key = |name: u64| seed.limit(1).plus(seed.part(&name.to_le_bytes()));
        let table = LimitTable::with_shards(MIB, 1);
        let (window, bucket) = (log(100), slow(10));
        for name in 0..1_000 {
            (0..40).for_each(|number| assert!(passes(&table, key(name), &window, number)));
        }
        let before = table.usage();
        assert!(before.bytes > MIB / 2, "{before:?}");
        for name in 10_000..60_000 {
            assert!(passes(&table, key(name), &bucket, 100));
        }
        let kept = (0..1_000).filter(|name| peek(&table, key(*name), &window, 100).remaining < 99).count();
        let usage = table.usage();
        assert!(usage.bytes <= MIB && usage.evictions > 0, "{usage:?}");
        assert_eq!(kept, 1_000, "a flood puts out its own");
    }
}
