//! What one check of a limit costs on one thread.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use gridrouter::limit::table::LimitTable;
use gridrouter::limit::{PreparedQuota, Quota};

fn checks(criterion: &mut Criterion) {
    let table = LimitTable::new(1_000_000);
    let admitting = PreparedQuota::token_bucket(Quota { period_nanos: 1, burst: u32::MAX });
    let refusing = PreparedQuota::token_bucket(Quota { period_nanos: 1 << 50, burst: 1 });
    let tenants: Vec<String> = (0..100_000).map(|number| format!("tenant-{number}")).collect();
    let mut now = 0;
    let mut next = 0;

    criterion.bench_function("limit/key", |bencher| {
        bencher.iter(|| table.key(black_box(7)).part(black_box(b"tenant-12345")).finish());
    });
    let mut check = |name: &str, quota: &PreparedQuota, tenants: &[String]| {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                now += 1;
                next = (next + 1) % tenants.len();
                let key = table.key(black_box(7)).part(tenants[next].as_bytes()).finish();
                table.check(key, quota, black_box(now))
            });
        });
    };
    check("limit/check one key", &admitting, &tenants[..1]);
    check("limit/check 1000 keys", &admitting, &tenants[..1_000]);
    check("limit/check 100000 keys", &admitting, &tenants);
    check("limit/refuse 1000 keys", &refusing, &tenants[..1_000]);
}

fn floods(criterion: &mut Criterion) {
    let table = LimitTable::new(100_000);
    let quota = PreparedQuota::token_bucket(Quota { period_nanos: 1_000_000_000, burst: 10 });
    let mut name = 0_u64;
    criterion.bench_function("limit/new key in a full table", |bencher| {
        bencher.iter(|| {
            name += 1;
            table.check(table.key(7).part(&name.to_le_bytes()).finish(), &quota, black_box(name))
        });
    });
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = settings(); targets = checks, floods }
criterion_main!(benches);
