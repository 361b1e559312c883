//! What one check of a limit costs: on one thread, on all of them at once, and of several limits at once.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use gridrouter::limit::Prepared;
use gridrouter::limit::key::KeySeed;
use gridrouter::limit::table::{Ask, LimitTable};
use gridrouter_config::model::{
    Adaptation, AdaptiveConcurrency, Algorithm, Concurrency, FixedWindow, LeakyBucketMeter, LeakyBucketQueue,
    SlidingWindow, SlidingWindowMethod, TokenBucket, WarmUp, WarmUpForm,
};
use gridrouter_config::units::Rate;

const BUDGET: usize = 256 << 20;

fn rate(per_second: u32) -> Rate {
    Rate { count: per_second, per: Duration::from_secs(1) }
}

/// Every algorithm that looks at requests, with values that admit most of what the benchmark asks.
fn algorithms() -> Vec<(&'static str, Algorithm)> {
    let window = Duration::from_secs(1);
    let warm_up = |form| WarmUp {
        rate: rate(1_000_000),
        period: Duration::from_secs(10),
        cold_factor: 3,
        form,
        max_queueing: None,
    };
    let log = SlidingWindowMethod::Log;
    let by = Adaptation::Gradient2 { tolerance_thousandths: 1_500 };
    vec![
        ("token bucket", Algorithm::TokenBucket(TokenBucket { rate: rate(1_000_000), burst: 1_000_000 })),
        (
            "leaky bucket queue",
            Algorithm::LeakyBucketQueue(LeakyBucketQueue {
                rate: rate(1_000_000),
                max_queueing: Duration::from_secs(1),
            }),
        ),
        (
            "leaky bucket meter",
            Algorithm::LeakyBucketMeter(LeakyBucketMeter { rate: rate(1_000_000), burst: 1_000, delay: None }),
        ),
        ("sliding window of 100", Algorithm::SlidingWindow(SlidingWindow { limit: 100, window, method: log })),
        (
            "sliding window of 1000000",
            Algorithm::SlidingWindow(SlidingWindow { limit: 1_000_000, window, method: log }),
        ),
        (
            "sliding window counter",
            Algorithm::SlidingWindow(SlidingWindow { limit: 1_000_000, window, method: SlidingWindowMethod::Counter }),
        ),
        ("fixed window", Algorithm::FixedWindow(FixedWindow { limit: 1_000_000, window })),
        ("warm-up, sentinel", Algorithm::WarmUp(warm_up(WarmUpForm::Sentinel))),
        ("warm-up, guava", Algorithm::WarmUp(warm_up(WarmUpForm::Guava))),
        ("concurrency", Algorithm::Concurrency(Concurrency { limit: 1_000_000_000 })),
        (
            "adaptive concurrency",
            Algorithm::AdaptiveConcurrency(AdaptiveConcurrency { initial: 20, min: 20, max: 1_000_000, by }),
        ),
    ]
}

fn checks(criterion: &mut Criterion) {
    let (table, seed) = (LimitTable::new(BUDGET), KeySeed::default());
    let mut now = 0;
    let seven = seed.limit(7);
    criterion.bench_function("limit/key", |bencher| {
        bencher.iter(|| seven.plus(seed.part(black_box(b"tenant-12345"))));
    });
    for (number, (name, algorithm)) in (10..).zip(algorithms()) {
        let (limit, of_limit) = (Prepared::new(&algorithm), seed.limit(number));
        criterion.bench_function(&format!("limit/check {name}"), |bencher| {
            bencher.iter(|| {
                now += 1_000;
                let key = of_limit.plus(seed.part(black_box(b"tenant-12345")));
                table.check_one(key, &limit, 1, black_box(now))
            });
        });
    }
    let limit = Prepared::new(&Algorithm::TokenBucket(TokenBucket { rate: rate(1), burst: 1 }));
    let tenants: Vec<String> = (0..100_000).map(|number| format!("tenant-{number}")).collect();
    for many in [1_000, 100_000] {
        let mut next = 0;
        criterion.bench_function(&format!("limit/check token bucket, {many} keys"), |bencher| {
            bencher.iter(|| {
                now += 1_000;
                next = (next + 1) % many;
                let key = seven.plus(seed.part(tenants[next].as_bytes()));
                table.check_one(key, &limit, 1, black_box(now))
            });
        });
    }
}

fn several(criterion: &mut Criterion) {
    let (table, seed) = (LimitTable::new(BUDGET), KeySeed::default());
    let limit = Prepared::new(&Algorithm::TokenBucket(TokenBucket { rate: rate(1_000_000), burst: 1_000_000 }));
    let limits = [1, 2, 3, 4].map(|id| seed.limit(id));
    let mut now = 0;
    criterion.bench_function("limit/check four at once", |bencher| {
        bencher.iter(|| {
            now += 1_000;
            let tenant = seed.part(black_box(b"tenant-12345"));
            let mut asks = limits.map(|of_limit| Ask::new(of_limit.plus(tenant), &limit, 1, true));
            table.check(&mut asks, black_box(now))
        });
    });
}

/// The time, read once for many checks: a request reads it once for many things.
struct Clock {
    began: Instant,
    now: u64,
    uses: u32,
}

impl Clock {
    fn new() -> Self {
        Self { began: Instant::now(), now: 0, uses: 0 }
    }

    fn now(&mut self) -> u64 {
        self.uses = self.uses.wrapping_add(1);
        if self.uses % 64 == 1 {
            self.now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(0);
        }
        self.now
    }
}

/// All cores ask about one key, without a pause.
fn contended(criterion: &mut Criterion) {
    let cores = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    for (name, algorithm) in algorithms() {
        let (table, limit) = (Arc::new(LimitTable::new(BUDGET)), Arc::new(Prepared::new(&algorithm)));
        let seed = Arc::new(KeySeed::default());
        let seven = seed.limit(7);
        let over = Arc::new(AtomicBool::new(false));
        let others: Vec<_> = (1..cores)
            .map(|_| {
                let (table, limit, over) = (Arc::clone(&table), Arc::clone(&limit), Arc::clone(&over));
                let seed = Arc::clone(&seed);
                std::thread::spawn(move || {
                    let mut clock = Clock::new();
                    while !over.load(Ordering::Relaxed) {
                        let key = seven.plus(seed.part(black_box(b"tenant-12345")));
                        table.check_one(key, &limit, 1, clock.now());
                    }
                })
            })
            .collect();
        let mut clock = Clock::new();
        criterion.bench_function(&format!("limit/hot key on {cores} cores, {name}"), |bencher| {
            bencher.iter(|| {
                let key = seven.plus(seed.part(black_box(b"tenant-12345")));
                table.check_one(key, &limit, 1, clock.now())
            });
        });
        over.store(true, Ordering::Relaxed);
        for other in others {
            drop(other.join());
        }
    }
}

fn floods(criterion: &mut Criterion) {
    let (table, seed) = (LimitTable::new(16 << 20), KeySeed::default());
    let seven = seed.limit(7);
    let limit = Prepared::new(&Algorithm::TokenBucket(TokenBucket { rate: rate(1), burst: 10 }));
    let mut name = 0_u64;
    criterion.bench_function("limit/new key in a full table", |bencher| {
        bencher.iter(|| {
            name += 1;
            table.check_one(seven.plus(seed.part(&name.to_le_bytes())), &limit, 1, black_box(name))
        });
    });
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = settings(); targets = checks, several, contended, floods }
criterion_main!(benches);
