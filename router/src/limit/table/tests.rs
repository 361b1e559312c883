use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::limit::Quota;

const SECOND: u64 = 1_000_000_000;

fn quota(period_nanos: u64, burst: u32) -> PreparedQuota {
    PreparedQuota::token_bucket(Quota { period_nanos, burst })
}

fn key(table: &LimitTable, name: u64) -> KeyHash {
    table.key(1).part(&name.to_le_bytes()).finish()
}

#[test]
fn an_entry_is_40_bytes() {
    assert_eq!(size_of::<Entry>(), 40);
}

#[test]
fn keys_are_counted_apart() {
    let (table, quota) = (LimitTable::new(100), quota(SECOND, 1));
    let [a, b] = [key(&table, 1), key(&table, 2)];
    assert!(table.check(a, &quota, 0).admitted);
    assert!(!table.check(a, &quota, 0).admitted);
    assert!(table.check(b, &quota, 0).admitted);
    assert_eq!((table.live_keys(), table.evictions()), (2, 0));
}

#[test]
fn a_look_counts_nothing() {
    let (table, quota) = (LimitTable::new(100), quota(SECOND, 2));
    let key = key(&table, 1);
    for _ in 0..3 {
        let looked = table.peek(key, &quota, 7);
        assert_eq!(looked, table.peek(key, &quota, 7));
        assert_eq!(looked, table.check(key, &quota, 7));
    }
    assert_eq!(table.peek(self::key(&table, 2), &quota, 7).remaining, 1);
    assert_eq!(table.live_keys(), 1);
}

#[test]
fn a_refund_gives_back_one_request() {
    let (table, quota) = (LimitTable::new(100), quota(SECOND, 1));
    let key = key(&table, 1);
    table.refund(key, &quota, 0);
    assert!(table.check(key, &quota, 0).admitted);
    table.refund(key, &quota, 0);
    assert!(table.check(key, &quota, 0).admitted);
    assert!(!table.check(key, &quota, 0).admitted);
}

#[test]
fn counts_outlive_the_quota() {
    let table = LimitTable::new(100);
    let key = key(&table, 1);
    (0..10).for_each(|_| assert!(table.check(key, &quota(SECOND, 10), 0).admitted));
    assert!(!table.check(key, &quota(SECOND / 100, 10), 0).admitted);
    assert!(table.check(key, &quota(SECOND / 100, 10), SECOND / 100).admitted);
}

#[test]
fn memory_is_bounded_under_a_flood_of_keys() {
    let table = LimitTable::with_shards(10_000, 16, 42);
    let quota = quota(SECOND, 10);
    for name in 0..200_000 {
        assert!(table.check(key(&table, name), &quota, name).admitted);
    }
    assert!(table.live_keys() <= 10_000);
    assert_eq!(table.live_keys() as u64 + table.evictions(), 200_000);
    let bytes: usize = table.shards.iter().map(|shard| shard.lock().table.allocation_size()).sum();
    assert!(bytes <= 10_000 * 188, "{bytes} bytes");
}

/// Keys in use, of 100, whose limit a flood of keys of another limit makes forget that they are used up.
fn freed_by_a_flood(in_use: &PreparedQuota, flood: &PreparedQuota) -> usize {
    let table = LimitTable::with_shards(4_096, 16, 42);
    let keys: Vec<KeyHash> = (0..100).map(|name| key(&table, name)).collect();
    for &key in &keys {
        (0..10).for_each(|_| assert!(table.check(key, in_use, 0).admitted));
    }
    for name in 1_000..300_000 {
        table.check(key(&table, name), flood, 1);
    }
    assert!(table.evictions() > 200_000);
    keys.iter().filter(|&&key| table.check(key, in_use, 1).admitted).count()
}

#[test]
fn a_flood_of_keys_does_not_free_those_in_use() {
    let (fast, slow) = (quota(SECOND / 100, 10), quota(3_600 * SECOND, 10));
    assert_eq!(freed_by_a_flood(&fast, &fast), 0);
    assert_eq!(freed_by_a_flood(&fast, &slow), 0);
    assert_eq!(freed_by_a_flood(&slow, &fast), 0);
}

#[test]
fn what_is_full_again_goes_first() {
    let table = LimitTable::with_shards(1_000, 1, 42);
    let quota = quota(SECOND, 2);
    (0..500).for_each(|name| assert!(table.check(key(&table, name), &quota, 0).admitted));
    (500..1_000).for_each(|name| assert!(table.check(key(&table, name), &quota, 10 * SECOND).admitted));
    (1_000..1_250).for_each(|name| assert!(table.check(key(&table, name), &quota, 10 * SECOND).admitted));
    let kept = (500..1_000).filter(|&name| table.peek(key(&table, name), &quota, 10 * SECOND).remaining == 0).count();
    assert!(kept >= 485, "{kept} of 500 that counted something were kept");
}

#[test]
fn a_table_of_no_capacity_keeps_one_key_a_shard() {
    let (table, quota) = (LimitTable::with_shards(0, 1, 1), quota(SECOND, 1));
    for name in 0..10 {
        assert!(table.check(key(&table, name), &quota, 0).admitted);
        assert!(!table.check(key(&table, name), &quota, 0).admitted);
    }
    assert_eq!(table.live_keys(), 1);
}

#[test]
fn a_poisoned_shard_goes_on() {
    let table = Arc::new(LimitTable::with_shards(10, 1, 1));
    let quota = quota(SECOND, 1);
    let poisoner = Arc::clone(&table);
    let panicked = std::thread::spawn(move || {
        let _held = poisoner.shards[0].lock();
        panic!("with the lock held");
    });
    assert!(panicked.join().is_err());
    assert!(table.check(key(&table, 1), &quota, 0).admitted);
}

/// Virtual time passes with every request of either thread, so that what one thread would admit is known.
#[test]
fn two_threads_on_one_key_admit_what_one_would() {
    const REQUESTS: u64 = 100_000;
    let table = Arc::new(LimitTable::new(1_000));
    let quota = Arc::new(quota(1_000, 50));
    let admitted = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (table, quota, admitted) = (Arc::clone(&table), Arc::clone(&quota), Arc::clone(&admitted));
            std::thread::spawn(move || {
                let key = key(&table, 1);
                for now in 0..REQUESTS {
                    admitted.fetch_add(u64::from(table.check(key, &quota, now).admitted), Ordering::Relaxed);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    // The burst, and one for each period that passed. Both threads end at the same time, so the last period is seen.
    assert_eq!(admitted.load(Ordering::Relaxed), 50 + (REQUESTS - 1) / 1_000);
}
