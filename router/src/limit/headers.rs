//! How clients are told of limits: `RateLimit-Policy`, `RateLimit` and `Retry-After`.
//!
//! The first two follow draft-ietf-httpapi-ratelimit-headers-10 (§3.1 `q`, `w`; §4.1 `r`, `t`) and stay valid under
//! -11, which says "effective window" where -10 says "reset". Several limits are several items of one list (§3, §4), which
//! need not have all of them.
//! `Retry-After` is RFC 9110 §10.2.3.

use http::HeaderValue;

use super::{NEVER, Policy, Unit, Verdict};

/// The field that states limits' policies.
pub const RATE_LIMIT_POLICY: &str = "ratelimit-policy";
/// The field that states what is left of them.
pub const RATE_LIMIT: &str = "ratelimit";

/// Between the items of a list field (RFC 9651 §3.1).
pub const SEPARATOR: &[u8] = b", ";

/// The largest integer of a structured field, RFC 9651 §3.3.1.
const LARGEST: u64 = 999_999_999_999_999;
const NANOS_IN_SECOND: u64 = 1_000_000_000;

/// The item of `RateLimit-Policy` for a limit: `"name";q=<quota>;w=<seconds>`, where the seconds are what the whole
/// quota takes to come back, rounded up. Built once, when a snapshot is compiled. None when the name cannot be
/// written, which no checked name is.
pub fn policy(name: &str, policy: Policy) -> Option<HeaderValue> {
    Label::new(name)?;
    let mut item = format!("\"{name}\"").into_bytes();
    parameter(*b";q=", policy.quota.min(LARGEST), &mut item);
    if let Some(window) = policy.window_nanos {
        parameter(*b";w=", seconds_rounded_up(window).max(1), &mut item);
    }
    match policy.unit {
        Unit::Requests => {}
        Unit::ConcurrentRequests => item.extend_from_slice(br#";qu="concurrent-requests""#),
        Unit::ContentBytes => item.extend_from_slice(br#";qu="content-bytes""#),
    }
    HeaderValue::from_bytes(&item).ok()
}

/// What every `RateLimit` of a limit begins with, `"name";r=`. Built once, when a snapshot is compiled.
#[derive(Debug, Clone)]
pub struct Label(Box<[u8]>);

impl Label {
    /// None when the name cannot be written, which no checked name is.
    pub fn new(name: &str) -> Option<Self> {
        let plain = name.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
        (plain && name.len() <= 128).then(|| Self(format!("\"{name}\";r=").into_bytes().into()))
    }

    /// As it is written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Writes the item of `RateLimit` after a request: `"name";r=<requests that could follow at once>;t=<seconds>`. The
/// nanoseconds are those of [`window_nanos`].
///
/// `t` is the time until all of the quota is there again, rounded up. -10 would also allow the time until the next single
/// request, but §6 asks not to let the ratio of `r` to `t` promise more than the rate. For a refused request `t` is
/// the time until the next one can pass, because §6 says that `Retry-After` should not point to an earlier time than
/// `t`.
pub fn remaining(label: &Label, remaining: u64, window_nanos: u64, to: &mut Vec<u8>) {
    to.extend_from_slice(&label.0);
    what_is_left(remaining, window_nanos, to);
}

/// What [`remaining`] writes after the label.
#[inline]
pub fn what_is_left(remaining: u64, window_nanos: u64, to: &mut Vec<u8>) {
    number(remaining.min(LARGEST), to);
    if window_nanos != NEVER {
        let seconds = seconds_rounded_up(window_nanos);
        match u8::try_from(seconds) {
            // Most windows have a few.
            Ok(digit @ 0..10) => to.extend_from_slice(&[b';', b't', b'=', b'0' + digit]),
            _ => parameter(*b";t=", seconds, to),
        }
    }
}

/// Nanoseconds until what clients wait for: all of the quota, or the next request that can pass.
pub fn window_nanos(verdict: &Verdict) -> u64 {
    if verdict.admits() { verdict.reset_nanos } else { verdict.retry_after_nanos }
}

/// The most bytes that [`what_is_left`] writes: 15 digits, and a semicolon, a letter, an equals sign and 15 digits.
pub const LONGEST: usize = 33;

#[inline]
fn parameter(name: [u8; 3], value: u64, to: &mut Vec<u8>) {
    to.extend_from_slice(&name);
    number(value, to);
}

#[inline]
fn number(value: u64, to: &mut Vec<u8>) {
    to.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The fields that many clients know from before: how many, how many are left, and in how many seconds all are back.
pub fn legacy(quota: u64, verdict: &Verdict) -> [(&'static str, HeaderValue); 3] {
    let window = window_nanos(verdict);
    [
        ("x-ratelimit-limit", HeaderValue::from(quota)),
        ("x-ratelimit-remaining", HeaderValue::from(verdict.remaining)),
        ("x-ratelimit-reset", HeaderValue::from(if window == NEVER { 0 } else { seconds_rounded_up(window) })),
    ]
}

/// The value of `Retry-After` for a request refused for so many nanoseconds: whole seconds, rounded up, at least 1. None
/// where no time helps.
pub fn retry_after(nanos: u64) -> Option<HeaderValue> {
    (nanos != NEVER).then(|| HeaderValue::from(seconds_rounded_up(nanos).max(1)))
}

fn seconds_rounded_up(nanos: u64) -> u64 {
    nanos.div_ceil(NANOS_IN_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Outcome;

    const SECOND: u64 = NANOS_IN_SECOND;

    fn policy_text(name: &str, quota: u64, window_nanos: Option<u64>, unit: Unit) -> Option<String> {
        let value = policy(name, Policy { quota, window_nanos, unit })?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn policies() {
        let requests = |name: &str, quota, window| policy_text(name, quota, Some(window), Unit::Requests);
        assert_eq!(requests("per-tenant", 200, 2 * SECOND).as_deref(), Some("\"per-tenant\";q=200;w=2"));
        assert_eq!(requests("a", 1, 1).as_deref(), Some("\"a\";q=1;w=1"));
        assert_eq!(requests("a", 1, SECOND + 1).as_deref(), Some("\"a\";q=1;w=2"));
        assert_eq!(requests(&"n".repeat(128), u64::MAX, u64::MAX).map(|text| text.len()), Some(130 + 18 + 14));
        for unwritable in ["a\"b", "a\\b", "ä", "a\n", &"n".repeat(129)] {
            assert_eq!(requests(unwritable, 1, 1), None, "{unwritable:?}");
        }
        let concurrency = policy_text("c", 7, None, Unit::ConcurrentRequests);
        assert_eq!(concurrency.as_deref(), Some("\"c\";q=7;qu=\"concurrent-requests\""));
        let longest = policy_text(&"n".repeat(128), u64::MAX, Some(u64::MAX), Unit::ConcurrentRequests);
        assert_eq!(longest.map(|text| text.len()), Some(130 + 18 + 14 + 25));
    }

    #[test]
    fn what_remains() {
        let verdict = |admitted, remaining, retry_after, reset| Verdict {
            outcome: if admitted { Outcome::Pass } else { Outcome::Refuse },
            remaining,
            retry_after_nanos: retry_after,
            reset_nanos: reset,
        };
        let text = |verdict: Verdict| {
            let (label, mut line) = (Label::new("a").unwrap(), Vec::new());
            remaining(&label, verdict.remaining, window_nanos(&verdict), &mut line);
            assert!(line.len() <= label.as_bytes().len() + LONGEST);
            String::from_utf8(line).unwrap()
        };
        assert_eq!(text(verdict(true, 199, 0, 1)), "\"a\";r=199;t=1");
        assert_eq!(text(verdict(true, 0, 0, 2 * SECOND)), "\"a\";r=0;t=2");
        assert_eq!(text(verdict(true, 10, 0, 0)), "\"a\";r=10;t=0");
        assert_eq!(text(verdict(false, 0, SECOND + 1, 90 * SECOND)), "\"a\";r=0;t=2");
        assert_eq!(text(verdict(false, 0, NEVER, SECOND)), "\"a\";r=0", "no time helps");
        assert_eq!(text(verdict(true, u64::MAX, 0, u64::MAX - 1)), format!("\"a\";r={LARGEST};t=18446744074"));
    }

    #[test]
    fn retries_are_at_least_a_second_away() {
        for (nanos, expected) in [(0, "1"), (1, "1"), (SECOND, "1"), (SECOND + 1, "2"), (3_600 * SECOND, "3600")] {
            assert_eq!(retry_after(nanos).unwrap(), expected);
        }
        assert_eq!(retry_after(NEVER), None);
    }

    #[test]
    fn old_fields_say_the_same() {
        let verdict = Verdict { outcome: Outcome::Pass, remaining: 3, retry_after_nanos: 0, reset_nanos: SECOND + 1 };
        let values = legacy(5, &verdict).map(|(_, value)| value.to_str().unwrap().to_owned());
        assert_eq!(values, ["5", "3", "2"]);
    }
}
