use std::time::Duration;

use gridrouter_config::model;
use gridrouter_config::units::{ByteRate, Rate};

use super::*;

const MS: u64 = 1_000_000;

fn rate(text: &str) -> Rate {
    Rate::parse(text).unwrap()
}

fn arrival(at: u64) -> Event<'static> {
    Event { at, key: "", cost: None, what: What::Arrival }
}

/// What is said of events, as the lines that are printed.
fn lines(algorithm: &Algorithm, events: &[Event<'_>]) -> Vec<String> {
    let mut simulation = Simulation::new(algorithm, 1);
    let decisions = events.iter().filter_map(|event| simulation.play(event));
    decisions.map(|decision| serde_json::to_string(&decision).unwrap()).collect()
}

/// At 10/s and with a burst of 2: two pass, then one each 100 ms.
#[test]
fn a_token_bucket_worked_by_hand() {
    let bucket = Algorithm::TokenBucket(model::TokenBucket { rate: rate("10/s"), burst: 2 });
    let dear = |cost| Event { cost: Some(cost), ..arrival(150 * MS) };
    let other = Event { key: "b", ..arrival(0) };
    let events = [arrival(0), arrival(0), arrival(0), other, arrival(30 * MS), arrival(100 * MS), dear(2), dear(3)];
    let wanted = [
        r#"{"at_ns":0,"verdict":"pass","wait_ns":0,"retry_after_ns":0}"#,
        r#"{"at_ns":0,"verdict":"pass","wait_ns":0,"retry_after_ns":0}"#,
        r#"{"at_ns":0,"verdict":"refuse","wait_ns":0,"retry_after_ns":100000000}"#,
        r#"{"at_ns":0,"verdict":"pass","wait_ns":0,"retry_after_ns":0}"#,
        r#"{"at_ns":30000000,"verdict":"refuse","wait_ns":0,"retry_after_ns":70000000}"#,
        r#"{"at_ns":100000000,"verdict":"pass","wait_ns":0,"retry_after_ns":0}"#,
        r#"{"at_ns":150000000,"verdict":"refuse","wait_ns":0,"retry_after_ns":150000000}"#,
        r#"{"at_ns":150000000,"verdict":"refuse","wait_ns":0,"retry_after_ns":null}"#,
    ];
    assert_eq!(lines(&bucket, &events), wanted);
}

#[test]
fn a_queue_makes_wait_and_refuses_who_would_wait_too_long() {
    let queueing = model::LeakyBucketQueue { rate: rate("10/s"), max_queueing: Duration::from_millis(150) };
    let wanted = [
        r#"{"at_ns":0,"verdict":"pass","wait_ns":0,"retry_after_ns":0}"#,
        r#"{"at_ns":0,"verdict":"wait","wait_ns":100000000,"retry_after_ns":0}"#,
        r#"{"at_ns":0,"verdict":"refuse","wait_ns":0,"retry_after_ns":50000000}"#,
    ];
    assert_eq!(lines(&Algorithm::LeakyBucketQueue(queueing), &[arrival(0); 3]), wanted);
}

#[test]
fn permits_come_back_by_releases_and_those_that_nobody_holds_do_no_harm() {
    let two = Algorithm::Concurrency(model::Concurrency { limit: 2 });
    let release = |cost| Event {
        cost,
        what: What::Release(Answered { took_nanos: None, served: true, counts: true }),
        ..arrival(7)
    };
    let stranger = Event { key: "x", ..release(None) };
    let events = [
        release(None),
        stranger,
        arrival(0),
        arrival(0),
        arrival(1),
        release(None),
        arrival(2),
        arrival(3),
        release(Some(9)),
    ];
    let verdicts: Vec<Says> = {
        let mut simulation = Simulation::new(&two, 1);
        events.iter().filter_map(|event| simulation.play(event)).map(|decision| decision.verdict).collect()
    };
    assert_eq!(verdicts, [Says::Pass, Says::Pass, Says::Refuse, Says::Pass, Says::Refuse]);
}

#[test]
fn made_up_requests_give_back_their_permits() {
    let shape = generate::Shape::Constant(rate("100/s"));
    let trace = generate::Generated {
        shape,
        length: Duration::from_secs(1),
        keys: vec!["a".to_owned()],
        cost: None,
        hold: Duration::from_millis(50),
    };
    let passed = |limit| {
        let mut simulation = Simulation::new(&Algorithm::Concurrency(model::Concurrency { limit }), 1);
        let mut passed = 0;
        trace.play(&mut simulation, |decision| {
            passed += u32::from(decision.verdict == Says::Pass);
            true
        });
        passed
    };
    // Five come while one lasts, and the sixth comes when the first is over.
    assert_eq!((passed(5), passed(1)), (100, 20));
}

#[test]
fn any_times_and_costs_are_decided_on() {
    use model::SlidingWindowMethod::{Counter, Log};
    let second = Duration::from_secs(1);
    let warm_up = |form| {
        let (rate, max_queueing) = (rate("1/h"), Some(second));
        Algorithm::WarmUp(model::WarmUp { rate, period: second, cold_factor: 3, form, max_queueing })
    };
    let adaptive =
        |by| Algorithm::AdaptiveConcurrency(model::AdaptiveConcurrency { initial: 20, min: 1, max: u32::MAX, by });
    let algorithms = [
        Algorithm::TokenBucket(model::TokenBucket { rate: rate("1/s"), burst: u32::MAX }),
        Algorithm::LeakyBucketQueue(model::LeakyBucketQueue { rate: rate("1/h"), max_queueing: second }),
        Algorithm::LeakyBucketMeter(model::LeakyBucketMeter { rate: rate("1/m"), burst: u32::MAX, delay: Some(1) }),
        Algorithm::FixedWindow(model::FixedWindow { limit: 1, window: second }),
        Algorithm::SlidingWindow(model::SlidingWindow { limit: 100, window: second, method: Log }),
        Algorithm::SlidingWindow(model::SlidingWindow { limit: u32::MAX, window: second, method: Counter }),
        warm_up(model::WarmUpForm::Sentinel),
        warm_up(model::WarmUpForm::Guava),
        Algorithm::Concurrency(model::Concurrency { limit: u32::MAX }),
        adaptive(model::Adaptation::Gradient2 { tolerance_thousandths: 1_500 }),
        adaptive(model::Adaptation::Aimd { backoff_thousandths: 900, latency: second }),
        Algorithm::Bandwidth(model::Bandwidth { rate: ByteRate { per_second: 1 }, burst: u64::MAX }),
    ];
    let released = What::Release(Answered { took_nanos: Some(u64::MAX), served: false, counts: true });
    for algorithm in &algorithms {
        let mut simulation = Simulation::new(algorithm, 0);
        let mut random = 7_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = match random >> 61 {
                0 => u64::MAX,
                1 => 0,
                2 => random,
                _ => random >> 30,
            };
            let cost = if random & 8 == 0 { Some(u32::MAX) } else { None };
            let what = if random & 16 == 0 { released } else { What::Arrival };
            if let Some(decision) = simulation.play(&Event { at, key: "", cost, what }) {
                assert_eq!(decision.verdict == Says::Wait, decision.wait_ns > 0);
            }
        }
    }
}
