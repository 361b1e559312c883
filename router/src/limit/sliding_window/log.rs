//! Requests by when they came. One that comes at `t` counts with those in `(t - window, t]`.
//!
//! Up to a limit of 128 the log is exact. Above, a request joins the newest entry if that one's first came less than
//! 1/128 of the window before it; and an entry counts until the window has passed since its *last* request. So a log has
//! at most 129 entries and the limit is never exceeded, and a request counts for at most 1/128 of the window too long.
//!
//! An edited limit is compared with what was counted. An edited window counts from when the kept requests came; those
//! that a shorter window has dropped do not come back when it becomes longer.

use std::collections::VecDeque;

use super::super::NEVER;
use super::{Before, Left, Outcome, Verdict, Window};

/// The largest limit that is counted exactly, and the parts of a window that are told apart above it.
const EXACT: u32 = 128;
const MOST_ENTRIES: usize = EXACT as usize + 1;

#[derive(Debug, Clone, Default)]
pub(in super::super) struct Log {
    /// In order of time.
    entries: VecDeque<Entry>,
    /// When the first request of the newest entry came.
    newest_since: u64,
    /// Requests of all entries.
    total: u64,
    /// The window asked about last: only to know what is over by now.
    window_nanos: u64,
}

/// Packed: many a log has 129 of them.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed(4))]
struct Entry {
    last: u64,
    count: u32,
}

/// What a window says of the first request.
pub(super) fn of_nothing(window: Window, cost: u32) -> Verdict {
    verdict(window, 0, 0, cost, || NEVER)
}

fn verdict(window: Window, used: u64, reset_nanos: u64, cost: u32, retry_after: impl FnOnce() -> u64) -> Verdict {
    let left = u64::from(window.limit).saturating_sub(used);
    if let Some(remaining) = left.checked_sub(u64::from(cost)) {
        return Verdict { outcome: Outcome::Pass, remaining, retry_after_nanos: 0, reset_nanos: window.nanos };
    }
    let retry_after_nanos = if cost > window.limit { NEVER } else { retry_after() };
    Verdict { outcome: Outcome::Refuse, remaining: left, retry_after_nanos, reset_nanos }
}

impl Log {
    pub(super) fn expire(&mut self, window: Window, now: u64) {
        self.window_nanos = window.nanos;
        while let Some(oldest) = self.entries.front()
            && now.saturating_sub(oldest.last) >= window.nanos
        {
            self.total -= u64::from(oldest.count);
            self.entries.pop_front();
        }
    }

    pub(super) fn ask(&self, window: Window, now: u64, cost: u32) -> Verdict {
        let over = |entry: &Entry| entry.last.saturating_add(window.nanos).saturating_sub(now);
        let reset_nanos = self.entries.back().map_or(0, over);
        verdict(window, self.total, reset_nanos, cost, || {
            let mut used = self.total;
            let enough = self.entries.iter().find(|entry| {
                used -= u64::from(entry.count);
                used + u64::from(cost) <= u64::from(window.limit)
            });
            enough.map_or(NEVER, over)
        })
    }

    /// Takes a request that passes, and says what is left and what undoes it. Nothing is taken where it does not pass, more
    /// memory would be needed, or two entries would be put together, which nothing undoes.
    #[inline]
    pub(super) fn pass(&mut self, window: Window, now: u64, cost: u32) -> Option<(Left, Before)> {
        self.expire(window, now);
        let remaining = u64::from(window.limit).saturating_sub(self.total).checked_sub(u64::from(cost))?;
        let last = self.entries.back().map_or(0, |newest| newest.last);
        let (before, now) = (Before([last, self.newest_since]), now.max(last));
        if self.begins_another(window, now) {
            if self.entries.len() >= self.entries.capacity().min(MOST_ENTRIES) {
                return None;
            }
            self.entries.push_back(Entry { last: now, count: 0 });
            self.newest_since = now;
        }
        let newest = self.entries.back_mut()?;
        *newest = Entry { last: now, count: newest.count.checked_add(cost)? };
        self.total += u64::from(cost);
        Some((Left { remaining, reset_nanos: window.nanos }, before))
    }

    /// Whether a request has an entry of its own.
    fn begins_another(&self, window: Window, now: u64) -> bool {
        let granularity = if window.limit <= EXACT { 1 } else { window.nanos.div_ceil(u64::from(EXACT)) };
        self.entries.is_empty() || now - self.newest_since >= granularity
    }

    pub(super) fn add(&mut self, window: Window, now: u64, number: u64) {
        if number == 0 {
            return;
        }
        self.window_nanos = window.nanos;
        // A clock that went back goes on from where it was.
        let now = self.entries.back().map_or(now, |newest| now.max(newest.last));
        if self.begins_another(window, now) {
            self.entries.push_back(Entry { last: now, count: 0 });
            self.newest_since = now;
        }
        if let Some(newest) = self.entries.back_mut() {
            let count = u32::try_from(u64::from(newest.count).saturating_add(number)).unwrap_or(u32::MAX);
            self.total += u64::from(count - newest.count);
            *newest = Entry { last: now, count };
        }
        // Only charges and edits make more entries. The two oldest become one, which counts until both are over.
        if self.entries.len() > MOST_ENTRIES
            && let Some(oldest) = self.entries.pop_front()
            && let Some(next) = self.entries.front_mut()
        {
            let count = oldest.count.saturating_add(next.count);
            self.total -= u64::from(oldest.count) + u64::from(next.count) - u64::from(count);
            next.count = count;
        }
    }

    /// Undoes that so much [passed](Self::pass) since.
    pub(super) fn restore(&mut self, Before([last, newest_since]): Before, number: u32) {
        self.newest_since = newest_since;
        self.total -= u64::from(number);
        if let Some(newest) = self.entries.back_mut() {
            *newest = Entry { last, count: newest.count - number };
            if newest.count == 0 {
                self.entries.pop_back();
            }
        }
    }

    /// Gives back what came last.
    pub(super) fn give_back(&mut self, number: u64) {
        let mut left = number;
        while left > 0
            && let Some(newest) = self.entries.back_mut()
        {
            let some = left.min(u64::from(newest.count));
            newest.count -= some as u32;
            self.total -= some;
            left -= some;
            if newest.count == 0 {
                self.entries.pop_back();
                self.newest_since = self.entries.back().map_or(0, |newest| newest.last);
            }
        }
    }

    pub(super) fn used(&self, now: u64) -> u64 {
        let over = |entry: &&Entry| now.saturating_sub(entry.last) >= self.window_nanos;
        let gone: u64 = self.entries.iter().take_while(over).map(|entry| u64::from(entry.count)).sum();
        self.total - gone
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.entries.capacity() * size_of::<Entry>()
    }
}
