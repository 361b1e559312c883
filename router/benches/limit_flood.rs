//! An attack on the table of limits: random keys by the million, while some keys are in use. It must change neither the
//! memory nor what those in use are told. Run with the number of keys, 2,000,000 unless said:
//! `cargo bench -p gridrouter --bench limit_flood -- 50000000`.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use gridrouter::limit::Prepared;
use gridrouter::limit::key::KeySeed;
use gridrouter::limit::table::LimitTable;
use gridrouter_config::model::{Algorithm, Concurrency, FixedWindow, TokenBucket};
use gridrouter_config::units::Rate;

const BUDGET: usize = 64 << 20;
const IN_USE: u32 = 3_000;
const SECOND: u64 = 1_000_000_000;

/// Every key in use asks once in this time, all of them one after another.
const EVERY: u64 = SECOND / 10;
/// Random keys that come in the same time.
const FLOOD: u64 = 20_000;

fn main() -> ExitCode {
    let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(2_000_000);
    let (flooded, alone) = (LimitTable::new(BUDGET), LimitTable::new(BUDGET));
    let (limits, seed) = (limits(), KeySeed::default());
    let [of_users, of_flood] = [1, 7].map(|id| seed.limit(id));
    let (mut came, mut now, mut asked, mut different, mut highest) = (0_u64, 0_u64, 0_u64, 0_u64, 0);
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut flood_took = Duration::ZERO;
    while came < number {
        now += EVERY;
        for user in 0..IN_USE {
            let key = of_users.plus(seed.part(&user.to_le_bytes()));
            let limit = &limits[user as usize % limits.len()];
            let (a, b) = (flooded.check_one(key, limit, 1, now), alone.check_one(key, limit, 1, now));
            asked += 1;
            different += u64::from(a.admits() != b.admits());
        }
        let began = Instant::now();
        for _ in 0..FLOOD.min(number - came) {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            flooded.check_one(of_flood.plus(seed.part(&dice.to_le_bytes())), &limits[0], 1, now);
            came += 1;
        }
        flood_took += began.elapsed();
        highest = highest.max(flooded.usage().bytes);
    }
    let usage = flooded.usage();
    let nanos = flood_took.as_nanos() / u128::from(number.max(1));
    let (in_use, bytes, keys) = (IN_USE, usage.bytes, usage.keys);
    let report = format!(
        "{came} random keys, {nanos} ns each; {in_use} keys in use asked {asked} times\n\
         different verdicts: {different}\n\
         most bytes: {highest} of {BUDGET}; at the end {bytes} in {keys} keys\n\
         forgotten: {} idle, {} counting\n",
        usage.idle_evictions, usage.evictions,
    );
    let holds = different == 0 && highest <= BUDGET;
    // Where there is nobody to read it, the exit code says enough.
    let _gone = std::io::stdout().write_all(report.as_bytes());
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What keys in use are limited by: most are at their limit all the time.
fn limits() -> Vec<Prepared> {
    let rate = |count| Rate { count, per: Duration::from_secs(1) };
    [
        Algorithm::TokenBucket(TokenBucket { rate: rate(1), burst: 10 }),
        Algorithm::TokenBucket(TokenBucket { rate: rate(1), burst: 1 }),
        Algorithm::FixedWindow(FixedWindow { limit: 5, window: Duration::from_secs(1) }),
        Algorithm::Concurrency(Concurrency { limit: 3 }),
    ]
    .iter()
    .map(Prepared::new)
    .collect()
}
