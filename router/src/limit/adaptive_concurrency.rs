//! stub
use gridrouter_config::model;

use super::{Answered, Outcome, Policy, Unit, Verdict};

/// A adaptive limit's values, prepared.
#[derive(Debug)]
pub struct AdaptiveConcurrency {
    values: model::AdaptiveConcurrency,
}

impl AdaptiveConcurrency {
    pub(super) fn new(values: model::AdaptiveConcurrency) -> Self {
        Self { values }
    }

    pub(super) fn policy(&self) -> Policy {
        Policy { quota: u64::from(self.values.max), window_nanos: None, unit: Unit::Requests }
    }

    pub(super) fn fresh(&self, _now: u64) -> State {
        State
    }

    pub(super) fn ask(&self, _state: &mut State, _now: u64, _cost: u32) -> Verdict {
        Verdict { outcome: Outcome::Pass, remaining: 0, retry_after_nanos: 0, reset_nanos: 0 }
    }

    pub(super) fn take(&self, _state: &mut State, _now: u64, _cost: u32) {}

    pub(super) fn charge(&self, _state: &mut State, _now: u64, _cost: i64) {}

    pub(super) fn release(&self, _state: &mut State, _now: u64, _cost: u32, _answered: Answered) {}
}

/// What was counted for one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct State;

impl State {
    pub(super) fn used(&self, _now: u64) -> u64 {
        0
    }

    pub(super) fn heap_bytes(&self) -> usize {
        0
    }
}
