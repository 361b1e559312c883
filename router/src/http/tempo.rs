//! Whether a client that keeps the router waiting gets on all the same.
//!
//! A pause has a bound of its own. That alone would let a client send, or take, one byte just before each time it runs
//! out, and hold a connection to an endpoint for as long as it likes.

use std::time::Duration;

use crate::clock::Millis;

/// How long a client has kept the router waiting, and how much came of it since the first time.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tempo {
    since: Option<Millis>,
    /// Milliseconds.
    waited: u64,
    bytes: u64,
}

impl Tempo {
    /// The router waits for the client. Returns since when; `now` is asked for if it begins to.
    pub(crate) fn waits(&mut self, now: impl FnOnce() -> Millis) -> Millis {
        *self.since.get_or_insert_with(now)
    }

    /// Since when the router waits, if it does.
    pub(crate) fn since(&self) -> Option<Millis> {
        self.since
    }

    /// Bytes have come, or were taken. Returns whether that is fast enough: the router has waited for `grace` at the most, or
    /// there were at least `rate` bytes for each second that it did. `now` is asked for only if it was waiting.
    pub(crate) fn gets_on(&mut self, bytes: u64, grace: Duration, rate: u64, now: impl FnOnce() -> Millis) -> bool {
        let Some(since) = self.since.take() else {
            // Before the first wait there is nothing to make up for.
            self.bytes += if self.waited == 0 { 0 } else { bytes };
            return true;
        };
        self.bytes += bytes;
        self.waited += now().0.saturating_sub(since.0);
        let due = u128::from(self.waited) * u128::from(rate) / 1000;
        u128::from(self.waited) <= grace.as_millis() || u128::from(self.bytes) >= due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    /// Waits and bytes in turn; returns how many of them were fine.
    fn fine(steps: &[(u64, u64)]) -> usize {
        let (mut tempo, mut now) = (Tempo::default(), Millis(1000));
        let mut gets_on = |(wait, bytes): &(u64, u64)| {
            if *wait > 0 {
                tempo.waits(|| now);
                now = Millis(now.0 + wait);
            }
            tempo.gets_on(*bytes, GRACE, 64, || now)
        };
        steps.iter().take_while(|step| gets_on(step)).count()
    }

    #[test]
    fn a_slow_client_is_given_a_grace_and_then_has_to_get_on() {
        assert_eq!(fine(&[(29_000, 1); 10]), 1, "one byte before each pause runs out");
        assert_eq!(fine(&[(1000, 64); 100]), 100);
        assert_eq!(fine(&[(1000, 63); 100]), 30);
        assert_eq!(fine(&[(30_000, 0), (1, 1)]), 1);
        assert_eq!(fine(&[(29_000, 1), (29_000, 10_000), (29_000, 1)]), 3, "what came once makes up for a while");
        assert_eq!(fine(&[(0, 1_000_000), (29_000, 1), (2_000, 1)]), 2, "not what came before anybody waited");
        assert_eq!(fine(&[(0, 1); 1000]), 1000);
    }
}
