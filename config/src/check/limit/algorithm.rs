//! How a limit admits requests: exactly one of nine algorithms.

use std::time::Duration;

use super::MOST;
use super::adaptive::adaptive_concurrency;
use super::own::{burst, queueing, request_rate, size};
use crate::check::Check;
use crate::model::{
    Algorithm, Bandwidth, Concurrency, FixedWindow, LeakyBucketMeter, LeakyBucketQueue, SlidingWindow,
    SlidingWindowMethod, TokenBucket, WarmUp, WarmUpForm,
};
use crate::path::Path;
use crate::raw;
use crate::units::{ByteRate, parse_bytes, parse_duration_or_zero};

/// How long requests wait for their turn when nothing else is said: as in Sentinel.
const QUEUEING: Duration = Duration::from_millis(500);
/// How long warming up takes when nothing else is said, and by how much less is admitted before: as in Sentinel.
const WARM_UP: (Duration, u32) = (Duration::from_secs(10), 3);
/// The least and the most bytes that are sent at once when nothing else is said. A read of a body has up to 16 KiB.
const DEFAULT_BYTES: (u64, u64) = (16 << 10, MAX_BYTES);
/// The most bytes that may be sent at once.
const MAX_BYTES: u64 = 1 << 30;

pub(super) fn algorithm(check: &mut Check<'_>, raw: &raw::Limit) -> Option<Algorithm> {
    let all = [
        ("tokenBucket", raw.token_bucket.as_ref().map(|raw| token_bucket(check, raw))),
        ("leakyBucketQueue", raw.leaky_bucket_queue.as_ref().map(|raw| leaky_bucket_queue(check, raw))),
        ("leakyBucketMeter", raw.leaky_bucket_meter.as_ref().map(|raw| leaky_bucket_meter(check, raw))),
        ("slidingWindow", raw.sliding_window.as_ref().map(|raw| sliding_window(check, raw))),
        ("fixedWindow", raw.fixed_window.as_ref().map(|raw| fixed_window(check, raw))),
        ("warmUp", raw.warm_up.as_ref().map(|raw| warm_up(check, raw))),
        ("concurrency", raw.concurrency.as_ref().map(|raw| concurrency(check, raw))),
        ("adaptiveConcurrency", raw.adaptive_concurrency.as_ref().map(|raw| adaptive_concurrency(check, raw))),
        ("bandwidth", raw.bandwidth.as_ref().map(|raw| bandwidth(check, raw))),
    ];
    let ticked = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let known = all.map(|(name, _)| name);
    let given: Vec<(&str, Option<Algorithm>)> =
        all.into_iter().filter_map(|(name, algorithm)| Some((name, algorithm?))).collect();
    if let [(_, algorithm)] = given.as_slice() {
        return *algorithm;
    }
    let (names, root) = (given.iter().map(|(name, _)| *name).collect::<Vec<&str>>(), Path::Root);
    let name = &check.source.id.name;
    let (message, help) = if names.is_empty() {
        let help = format!("add `tokenBucket: {{rate: 100/s}}`, or another of {}", ticked(&known));
        (format!("limit \"{name}\" has no algorithm"), help)
    } else {
        let help = "keep one, and make a limit of its own of each other; a route may have many";
        (format!("limit \"{name}\" has {} algorithms: {}", names.len(), ticked(&names)), help.to_owned())
    };
    // At the one that is too many.
    let at = names.get(1).map_or(Path::Root, |name| root.key(name));
    check.wrong_but(&at, message, help);
    None
}

fn token_bucket(check: &mut Check<'_>, raw: &raw::TokenBucket) -> Option<Algorithm> {
    let at = Path::Root.key("tokenBucket");
    let rate = request_rate(check, &at.key("rate"), &raw.rate);
    let burst = burst(check, &at.key("burst"), raw.burst);
    let rate = rate?;
    let burst = burst?.unwrap_or_else(|| rate.per_second_at_least_one());
    Some(Algorithm::TokenBucket(TokenBucket { rate, burst }))
}

fn leaky_bucket_queue(check: &mut Check<'_>, raw: &raw::LeakyBucketQueue) -> Option<Algorithm> {
    let at = Path::Root.key("leakyBucketQueue");
    let rate = request_rate(check, &at.key("rate"), &raw.rate);
    let max_queueing = queueing(check, &at.key("maxQueueing"), raw.max_queueing.as_ref());
    let max_queueing = max_queueing?.unwrap_or(QUEUEING);
    Some(Algorithm::LeakyBucketQueue(LeakyBucketQueue { rate: rate?, max_queueing }))
}

fn leaky_bucket_meter(check: &mut Check<'_>, raw: &raw::LeakyBucketMeter) -> Option<Algorithm> {
    let at = Path::Root.key("leakyBucketMeter");
    let rate = request_rate(check, &at.key("rate"), &raw.rate);
    if let Some(rate) = rate.filter(|rate| !LeakyBucketMeter::takes(*rate)) {
        let (message, help) = super::own::too_slow(rate);
        check.wrong_but(&at.key("rate"), message, help);
        return None;
    }
    let burst = check.number(&at.key("burst"), "burst", raw.burst, 0..=MOST, 0);
    let delay_at = at.key("delay");
    if raw.nodelay == Some(true) {
        if raw.delay.is_some() {
            check.wrong_but(&delay_at, "both `delay` and `nodelay`", "keep one of the two");
        }
        return Some(Algorithm::LeakyBucketMeter(LeakyBucketMeter { rate: rate?, burst: burst?, delay: None }));
    }
    let (delay, burst) = (raw.delay.unwrap_or(0), burst?);
    if delay > burst && check.are_written(&[&delay_at, &at.key("burst")]) {
        let message = format!("delay is {delay}, and the burst {burst}: what is above the burst is refused");
        check.wrong_but(&delay_at, message, format!("write 0 to {burst}, or `nodelay: true`"));
    }
    Some(Algorithm::LeakyBucketMeter(LeakyBucketMeter { rate: rate?, burst, delay: Some(delay) }))
}

fn sliding_window(check: &mut Check<'_>, raw: &raw::SlidingWindow) -> Option<Algorithm> {
    let at = Path::Root.key("slidingWindow");
    let limit = size(check, &at.key("limit"), "limit", raw.limit);
    let window = check.take(&at.key("window"), window(&raw.window));
    let method = match raw.method.unwrap_or(raw::SlidingWindowMethod::Log) {
        raw::SlidingWindowMethod::Log => SlidingWindowMethod::Log,
        raw::SlidingWindowMethod::Counter => SlidingWindowMethod::Counter,
    };
    Some(Algorithm::SlidingWindow(SlidingWindow { limit: limit?, window: window?, method }))
}

fn fixed_window(check: &mut Check<'_>, raw: &raw::FixedWindow) -> Option<Algorithm> {
    let at = Path::Root.key("fixedWindow");
    let limit = size(check, &at.key("limit"), "limit", raw.limit);
    let window = check.take(&at.key("window"), window(&raw.window));
    Some(Algorithm::FixedWindow(FixedWindow { limit: limit?, window: window? }))
}

/// The length of a window. There is no default of it.
fn window(text: &str) -> Result<Duration, String> {
    let window = parse_duration_or_zero(text)?;
    if window.is_zero() { Err(format!("window \"{text}\" is zero; write 1ms to 24h")) } else { Ok(window) }
}

fn warm_up(check: &mut Check<'_>, raw: &raw::WarmUp) -> Option<Algorithm> {
    let at = Path::Root.key("warmUp");
    let rate = request_rate(check, &at.key("rate"), &raw.rate);
    let period = check.duration(&at.key("period"), raw.period.as_ref(), WARM_UP.0);
    let cold_factor = check.number(&at.key("coldFactor"), "coldFactor", raw.cold_factor, 2..=100, WARM_UP.1);
    let max_queueing = queueing(check, &at.key("maxQueueing"), raw.max_queueing.as_ref());
    let form = match raw.form.unwrap_or(raw::WarmUpForm::Sentinel) {
        raw::WarmUpForm::Sentinel => WarmUpForm::Sentinel,
        raw::WarmUpForm::Guava => WarmUpForm::Guava,
    };
    let (cold_factor, max_queueing) = (cold_factor?, max_queueing?);
    Some(Algorithm::WarmUp(WarmUp { rate: rate?, period: period?, cold_factor, form, max_queueing }))
}

fn concurrency(check: &mut Check<'_>, raw: &raw::Concurrency) -> Option<Algorithm> {
    let limit = size(check, &Path::Root.key("concurrency").key("limit"), "limit", raw.limit);
    Some(Algorithm::Concurrency(Concurrency { limit: limit? }))
}

fn bandwidth(check: &mut Check<'_>, raw: &raw::Bandwidth) -> Option<Algorithm> {
    let at = Path::Root.key("bandwidth");
    let rate = check.take(&at.key("rate"), ByteRate::parse(&raw.rate));
    let burst = raw.burst.as_ref().map(|text| check.take(&at.key("burst"), burst_bytes(text)));
    let rate = rate?;
    let burst = burst.unwrap_or_else(|| Some((rate.per_second / 10).clamp(DEFAULT_BYTES.0, DEFAULT_BYTES.1)));
    Some(Algorithm::Bandwidth(Bandwidth { rate, burst: burst? }))
}

fn burst_bytes(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    if bytes > MAX_BYTES { Err(format!("burst \"{text}\" is more than 1GiB")) } else { Ok(bytes) }
}
