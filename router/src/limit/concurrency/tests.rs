use proptest::prelude::*;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../../tests/fixtures/sliding.json");

fn limit(limit: u32) -> Concurrency {
    Concurrency::new(model::Concurrency { limit })
}

fn check(limit: &Concurrency, state: &mut State, cost: u32) -> Verdict {
    let verdict = limit.ask(state, 0, cost);
    if verdict.admits() {
        limit.take(state, 0, cost);
    }
    verdict
}

/// As the table does it.
fn give_back(state: &mut State, permits: u32) {
    let mut any = crate::limit::State::Concurrency(*state);
    any.give_back(permits);
    state.held = any.held().copied().unwrap_or_default();
}

#[test]
fn vectors_to_the_digit() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let limit = limit(3);
    let mut state = limit.fresh(0);
    for row in vectors["concurrency_max3"].as_array().unwrap() {
        if row[0] == "+" {
            assert_eq!(check(&limit, &mut state, 1).admits(), row[1], "{row}");
        } else {
            // One that is not matched is told so there, and floors at 0 here.
            give_back(&mut state, 1);
        }
        assert_eq!(u64::from(state.held), row[2], "{row}");
    }
}

#[test]
fn a_request_holds_what_it_costs() {
    let limit = limit(5);
    let mut state = limit.fresh(0);
    assert_eq!(check(&limit, &mut state, 3).remaining, 2);
    let refused = check(&limit, &mut state, 3);
    assert_eq!((refused.admits(), refused.remaining, refused.retry_after_nanos), (false, 2, RETRY_NANOS));
    assert_eq!(check(&limit, &mut state, 6).retry_after_nanos, NEVER);
    give_back(&mut state, 3);
    assert!(check(&limit, &mut state, 5).admits());
    limit.charge(&mut state, 0, -5);
    assert!(state.used(0) > u64::from(u32::MAX), "what is held is kept before anything else");
}

#[test]
fn an_edit_interrupts_nobody() {
    let (wide, narrow) = (limit(1_000), limit(10));
    let mut state = wide.fresh(0);
    (0..1_000).for_each(|_| assert!(check(&wide, &mut state, 1).admits()));
    assert!(!check(&narrow, &mut state, 1).admits());
    (0..991).for_each(|_| give_back(&mut state, 1));
    assert!(check(&narrow, &mut state, 1).admits());
    assert!(!check(&narrow, &mut state, 1).admits());
    assert_eq!(check(&wide, &mut state, 1).remaining, 989);
}

#[test]
fn extremes_do_not_overflow() {
    for limit in [limit(0), limit(1), limit(u32::MAX)] {
        let mut state = limit.fresh(u64::MAX);
        for cost in [0, 1, u32::MAX, u32::MAX] {
            limit.take(&mut state, 0, cost);
            limit.charge(&mut state, u64::MAX, i64::MIN);
            check(&limit, &mut state, cost);
            give_back(&mut state, 7);
            state.used(0);
        }
    }
}

proptest! {
    /// At no time more than the largest limit are out, and as many come back as went.
    #[test]
    fn never_more_than_the_limit(
        limits in prop::collection::vec(1_u32..20, 1..4),
        steps in prop::collection::vec((any::<bool>(), 1_u32..4, any::<prop::sample::Index>()), 1..200),
    ) {
        let mut state = limit(1).fresh(0);
        let mut out = Vec::new();
        for (come, cost, index) in steps {
            let most = *index.get(&limits);
            if come {
                let held = out.iter().sum::<u32>();
                prop_assert_eq!(limit(most).ask(&mut state, 0, cost), limit(most).ask(&mut state, 0, cost));
                prop_assert_eq!(check(&limit(most), &mut state, cost).admits(), held + cost <= most);
                out.extend((held + cost <= most).then_some(cost));
            } else if !out.is_empty() {
                let cost = out.swap_remove(index.index(out.len()));
                give_back(&mut state, cost);
            }
            prop_assert_eq!(state.used(0) == 0, out.is_empty());
        }
    }
}
