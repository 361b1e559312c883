use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::check::{ModelDocument, convert};
use crate::codec::parse;
use crate::model::{
    Bandwidth, Concurrency, FixedWindow, LeakyBucketMeter, LeakyBucketQueue, LimitKeyPart, LimitOverride,
    SlidingWindow, SlidingWindowMethod, TokenBucket, WarmUp, WarmUpForm,
};
use crate::units::{ByteRate, Rate};

/// A limit with these fields, which are good.
fn limit(fields: &str) -> Arc<Limit> {
    let parsed = parse("a.yaml", format!("kind: Limit\nname: l\n{fields}\n").as_bytes());
    assert!(parsed.broken.is_empty(), "{fields}: {:?}", parsed.broken);
    match convert(&parsed.documents[0]) {
        Ok(ModelDocument::Limit(limit)) => limit,
        other => panic!("{fields}: {other:?}"),
    }
}

/// The algorithm of a limit with these fields.
pub(super) fn algorithm(fields: &str) -> Algorithm {
    limit(fields).algorithm
}

fn rate(text: &str) -> Rate {
    Rate::parse(text).unwrap()
}

#[test]
fn every_algorithm_has_its_values_and_defaults() {
    let millis = Duration::from_millis;
    let meter = |burst, delay| Algorithm::LeakyBucketMeter(LeakyBucketMeter { rate: rate("5/s"), burst, delay });
    let warm = WarmUp {
        rate: rate("5/s"),
        period: millis(10_000),
        cold_factor: 3,
        form: WarmUpForm::Sentinel,
        max_queueing: None,
    };
    let log = SlidingWindow { limit: 5, window: millis(1), method: SlidingWindowMethod::Log };
    let queue = LeakyBucketQueue { rate: rate("5/s"), max_queueing: millis(500) };
    let of_bytes = |text: &str, burst| Algorithm::Bandwidth(Bandwidth { rate: ByteRate::parse(text).unwrap(), burst });
    for (fields, wanted) in [
        ("tokenBucket: {rate: 5/s}", Algorithm::TokenBucket(TokenBucket { rate: rate("5/s"), burst: 5 })),
        ("tokenBucket: {rate: 30/m}", Algorithm::TokenBucket(TokenBucket { rate: rate("30/m"), burst: 1 })),
        ("leakyBucketQueue: {rate: 5/s}", Algorithm::LeakyBucketQueue(queue)),
        (
            "leakyBucketQueue: {rate: 5/s, maxQueueing: 0ms}",
            Algorithm::LeakyBucketQueue(LeakyBucketQueue { max_queueing: Duration::ZERO, ..queue }),
        ),
        ("leakyBucketMeter: {rate: 5/s}", meter(0, Some(0))),
        ("leakyBucketMeter: {rate: 5/s, burst: 9, delay: 4}", meter(9, Some(4))),
        ("leakyBucketMeter: {rate: 5/s, burst: 9, nodelay: true}", meter(9, None)),
        ("leakyBucketMeter: {rate: 5/s, burst: 9, nodelay: false}", meter(9, Some(0))),
        ("slidingWindow: {limit: 5, window: 1ms}", Algorithm::SlidingWindow(log)),
        (
            "slidingWindow: {limit: 5, window: 1ms, method: counter}",
            Algorithm::SlidingWindow(SlidingWindow { method: SlidingWindowMethod::Counter, ..log }),
        ),
        (
            "fixedWindow: {limit: 7, window: 24h}",
            Algorithm::FixedWindow(FixedWindow { limit: 7, window: Duration::from_hours(24) }),
        ),
        ("warmUp: {rate: 5/s}", Algorithm::WarmUp(warm)),
        (
            "warmUp: {rate: 5/s, period: 1m, coldFactor: 5, form: guava, maxQueueing: 0s}",
            Algorithm::WarmUp(WarmUp {
                period: millis(60_000),
                cold_factor: 5,
                form: WarmUpForm::Guava,
                max_queueing: Some(Duration::ZERO),
                ..warm
            }),
        ),
        ("concurrency: {limit: 3}", Algorithm::Concurrency(Concurrency { limit: 3 })),
        ("bandwidth: {rate: 1B/s}", of_bytes("1B/s", 16 << 10)),
        ("bandwidth: {rate: 10MB/s}", of_bytes("10MB/s", 1_000_000)),
        ("bandwidth: {rate: 10GiB/s}", of_bytes("10GiB/s", 1 << 30)),
        ("bandwidth: {rate: 10MiB/s, burst: 1B}", of_bytes("10MiB/s", 1)),
    ] {
        let found = algorithm(fields);
        assert_eq!(found, wanted, "{fields}");
        assert!(fields.starts_with(&format!("{}:", found.as_str())), "{fields}");
    }
}

#[test]
fn what_is_not_written_has_its_default() {
    let plain = limit("tokenBucket: {rate: 5/s}");
    let wanted = Limit {
        name: plain.name.clone(),
        key: vec![LimitKeyPart::Tenant],
        algorithm: plain.algorithm,
        candidate: None,
        mode: LimitMode::Enforce,
        cost: Cost { constant: 1, response_header: None },
        status: StatusCode::TOO_MANY_REQUESTS,
        headers: HeadersWhen::Always,
        legacy_headers: false,
    };
    assert_eq!(*plain, wanted);
    let full = limit(
        "key: [{cookie: session}, {query: Key}, {constant: a b}]\ntokenBucket: {rate: 5/s}\nmode: shadow\n\
         cost: {constant: 2, responseHeader: X-Cost}\nstatus: 503\nheaders: never\nlegacyHeaders: true\n\
         candidate: {rate: 3/s, burst: 2}",
    );
    let own = LimitOverride { rate: Some(rate("3/s")), burst: Some(2), ..LimitOverride::default() };
    let wanted = Limit {
        key: vec![
            LimitKeyPart::Cookie("session".to_owned()),
            LimitKeyPart::Query("Key".to_owned()),
            LimitKeyPart::Constant("a b".to_owned()),
        ],
        candidate: Some(own),
        mode: LimitMode::Shadow,
        cost: Cost { constant: 2, response_header: Some(http::HeaderName::from_static("x-cost")) },
        status: StatusCode::SERVICE_UNAVAILABLE,
        headers: HeadersWhen::Never,
        legacy_headers: true,
        ..wanted
    };
    assert_eq!(*full, wanted);
    let short = limit("tokenBucket: {rate: 5/s}\ncost: 5");
    assert_eq!(short.cost, Cost { constant: 5, response_header: None });
}

/// Whatever is in force of values of one's own is what an algorithm with exactly these values would be.
#[test]
fn own_values_are_taken_over_where_they_are_allowed() {
    for (fields, own, wanted) in [
        ("tokenBucket: {rate: 5/s}", "{rate: 9/s, burst: 3}", "tokenBucket: {rate: 9/s, burst: 3}"),
        ("leakyBucketQueue: {rate: 5/s}", "{maxQueueing: 0s}", "leakyBucketQueue: {rate: 5/s, maxQueueing: 0s}"),
        ("leakyBucketMeter: {rate: 5/s}", "{rate: 1/m, burst: 3}", "leakyBucketMeter: {rate: 1/m, burst: 3}"),
        ("slidingWindow: {limit: 5, window: 1s}", "{limit: 6}", "slidingWindow: {limit: 6, window: 1s}"),
        ("fixedWindow: {limit: 5, window: 1s}", "{limit: 6}", "fixedWindow: {limit: 6, window: 1s}"),
        ("warmUp: {rate: 5/s}", "{rate: 6/s}", "warmUp: {rate: 6/s}"),
        ("warmUp: {rate: 5/s, maxQueueing: 1s}", "{maxQueueing: 2s}", "warmUp: {rate: 5/s, maxQueueing: 2s}"),
        ("concurrency: {limit: 5}", "{limit: 6}", "concurrency: {limit: 6}"),
        ("adaptiveConcurrency: {}", "{limit: 6}", "adaptiveConcurrency: {max: 6}"),
        ("bandwidth: {rate: 5MB/s}", "{rate: 6MB/s}", "bandwidth: {rate: 6MB/s, burst: 500kB}"),
    ] {
        let limit = limit(&format!("{fields}\ncandidate: {own}"));
        let own = limit.candidate.unwrap();
        assert_eq!(limit.algorithm.with(&own), algorithm(wanted), "{fields} with {own:?}");
    }
}
