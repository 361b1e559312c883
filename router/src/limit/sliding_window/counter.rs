//! Requests by two numbers: those of this period, and those of the period before, of which as large a share counts as of
//! it lies within one window from now. Periods begin at multiples of their length on the clock handed in.
//!
//! In whole numbers, `elapsed` being how much of this period has passed, a request of cost `n` is admitted iff
//! `before * (window - elapsed) + (current + n) * window <= limit * window`.
//!
//! An edited limit is compared with what was counted. An edited window counts what counted in the old one as if it had
//! come in the new one's current period.

use super::super::NEVER;
use super::{Before, Outcome, Verdict, Window};

const NANOS_IN_MILLI: u64 = 1_000_000;

/// Packed, because an entry of the table has 20 bytes for a state.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed(4))]
pub(in super::super) struct Counter {
    /// When this period began.
    begins: u64,
    /// The window that it was counted in, rounded up.
    window_millis: u32,
    before: u32,
    current: u32,
}

impl Counter {
    pub(super) fn new(window: Window, now: u64) -> Self {
        let begins = now - now % window.nanos;
        Self { begins, window_millis: millis(window), before: 0, current: 0 }
    }

    pub(super) fn turn_over(&mut self, window: Window, now: u64) {
        if self.window_millis != millis(window) {
            let used = self.used(now);
            *self = Self::new(window, now);
            self.add(used);
        }
        let passed = now.saturating_sub(self.begins) / window.nanos;
        if passed > 0 {
            let before = if passed == 1 { self.current } else { 0 };
            *self = Self { before, ..Self::new(window, now) };
        }
    }

    pub(super) fn ask(&self, window: Window, now: u64, cost: u32) -> Verdict {
        let nanos = u128::from(window.nanos);
        let elapsed = u128::from(now.saturating_sub(self.begins)).min(nanos);
        let counted = u128::from(self.before) * (nanos - elapsed) + u128::from(self.current) * nanos;
        let left = (u128::from(window.limit) * nanos).saturating_sub(counted) / nanos;
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        let ends = self.begins.saturating_add(window.nanos);
        let empty_at = |used| if used { ends.saturating_add(window.nanos) } else { ends };
        if let Some(remaining) = left.checked_sub(u64::from(cost)) {
            let reset_nanos = empty_at(cost > 0 || self.current > 0).saturating_sub(now);
            return Verdict { outcome: Outcome::Pass, remaining, retry_after_nanos: 0, reset_nanos };
        }
        let retry_after_nanos = match self.admits_at(window, cost) {
            _ if cost > window.limit => NEVER,
            at => at.saturating_sub(now).max(1),
        };
        let reset_nanos = empty_at(self.current > 0).saturating_sub(now);
        Verdict { outcome: Outcome::Refuse, remaining: left, retry_after_nanos, reset_nanos }
    }

    /// When a request that does not pass now would.
    fn admits_at(&self, window: Window, cost: u32) -> u64 {
        let ends = self.begins.saturating_add(window.nanos);
        // When `counted` in the period before leave room for `room` in this one.
        let elapsed = |counted: u32, room: u32| {
            let rest = (u128::from(room) * u128::from(window.nanos)).checked_div(u128::from(counted));
            window.nanos.saturating_sub(rest.and_then(|rest| u64::try_from(rest).ok()).unwrap_or(u64::MAX))
        };
        let room = window.limit.saturating_sub(cost);
        match room.checked_sub(self.current) {
            Some(room) if room > 0 => self.begins.saturating_add(elapsed(self.before, room)),
            _ => ends.saturating_add(elapsed(self.current, room)),
        }
    }

    pub(super) fn add(&mut self, number: u64) {
        self.current = u32::try_from(u64::from(self.current).saturating_add(number)).unwrap_or(u32::MAX);
    }

    /// What is added in this period changes no more than this.
    #[inline]
    pub(super) fn before(&self) -> Before {
        Before([self.current.into(), 0])
    }

    pub(super) fn restore(&mut self, Before([current, _]): Before) {
        self.current = current as u32;
    }

    /// Gives back what came last.
    pub(super) fn give_back(&mut self, number: u64) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let of_before = number.saturating_sub(self.current);
        self.current = self.current.saturating_sub(number);
        self.before = self.before.saturating_sub(of_before);
    }

    pub(super) fn used(&self, now: u64) -> u64 {
        let window = u64::from(self.window_millis).max(1) * NANOS_IN_MILLI;
        let elapsed = now.saturating_sub(self.begins);
        let (before, current, elapsed) = match elapsed / window {
            0 => (self.before, self.current, elapsed),
            1 => (self.current, 0, elapsed - window),
            _ => (0, 0, 0),
        };
        let share = (u128::from(before) * u128::from(window - elapsed)).div_ceil(u128::from(window));
        u64::from(current) + u64::try_from(share).unwrap_or(u64::MAX)
    }
}

fn millis(window: Window) -> u32 {
    u32::try_from(window.nanos.div_ceil(NANOS_IN_MILLI)).unwrap_or(u32::MAX)
}
