//! How clients are told of limits: `RateLimit-Policy`, `RateLimit` and `Retry-After`.
//!
//! The first two follow draft-ietf-httpapi-ratelimit-headers-10 (§3.1 `q`, `w`; §4.1 `r`, `t`) and stay valid under
//! -11, which says "effective window" where -10 says "reset". Several limits are several lines of the same field (§3,
//! §4).
//! `Retry-After` is RFC 9110 §10.2.3.

use http::HeaderValue;

use super::{NEVER, Policy, Unit, Verdict};

/// The largest integer of a structured field, RFC 9651 §3.3.1.
const LARGEST: u64 = 999_999_999_999_999;
const NANOS_IN_SECOND: u64 = 1_000_000_000;

/// The item of `RateLimit-Policy` for a limit: `"name";q=<quota>;w=<seconds>`, where the seconds are what the whole
/// quota takes to come back, rounded up. Built once, when a snapshot is compiled. None when the name cannot be
/// written, which no checked name is.
pub fn policy(name: &str, policy: Policy) -> Option<HeaderValue> {
    let mut line = Line::new();
    match policy.unit {
        Unit::Requests => {}
        Unit::ConcurrentRequests => line.put(br#";qu="concurrent-requests""#),
        Unit::ContentBytes => line.put(br#";qu="content-bytes""#),
    }
    if let Some(window) = policy.window_nanos {
        line.parameter(*b";w=", seconds_rounded_up(window).max(1));
    }
    line.parameter(*b";q=", policy.quota.min(LARGEST));
    line.put(&Label::new(name)?.0);
    HeaderValue::from_bytes(line.as_ref()).ok()
}

/// What every `RateLimit` of a limit begins with: its name in quotes. Built once, when a snapshot is compiled.
#[derive(Debug, Clone)]
pub struct Label(Box<[u8]>);

impl Label {
    /// None when the name cannot be written, which no checked name is.
    pub fn new(name: &str) -> Option<Self> {
        let plain = name.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
        (plain && name.len() <= 128).then(|| Self(format!("\"{name}\"").into_bytes().into()))
    }
}

/// The value of `RateLimit` after a request: `"name";r=<requests that could follow at once>;t=<seconds>`.
///
/// `t` is the time until the whole burst is there again, rounded up. -10 would also allow the time until the next single
/// request, but §6 asks not to let the ratio of `r` to `t` promise more than the rate. For a refused request `t` is
/// the time until the next one can pass, because §6 says that `Retry-After` should not point to an earlier time than
/// `t`.
pub fn remaining(label: &Label, verdict: &Verdict) -> Line {
    let window = if verdict.admits() { verdict.reset_nanos } else { verdict.retry_after_nanos };
    let mut line = Line::new();
    if window != NEVER {
        line.parameter(*b";t=", seconds_rounded_up(window));
    }
    line.parameter(*b";r=", verdict.remaining.min(LARGEST));
    line.put(&label.0);
    line
}

/// The value of `Retry-After` for a request refused for so many nanoseconds: whole seconds, rounded up, at least 1. None
/// where no time helps.
pub fn retry_after(nanos: u64) -> Option<HeaderValue> {
    (nanos != NEVER).then(|| HeaderValue::from(seconds_rounded_up(nanos).max(1)))
}

fn seconds_rounded_up(nanos: u64) -> u64 {
    nanos.div_ceil(NANOS_IN_SECOND)
}

/// A short line on the stack, written from its end, because that is how the digits of a number come. The longest: a
/// name of 128 bytes in quotes, and two parameters of 18 bytes.
#[derive(Debug)]
pub struct Line {
    bytes: [u8; 192],
    begins: usize,
}

impl Line {
    fn new() -> Self {
        let bytes = [0; 192];
        Self { begins: bytes.len(), bytes }
    }

    /// Puts this before what is there.
    fn put(&mut self, bytes: &[u8]) {
        let begins = self.begins - bytes.len();
        self.bytes[begins..self.begins].copy_from_slice(bytes);
        self.begins = begins;
    }

    /// Puts a parameter before what is there.
    fn parameter(&mut self, name: [u8; 3], value: u64) {
        let mut rest = value;
        loop {
            self.begins -= 1;
            self.bytes[self.begins] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.put(&name);
    }
}

impl AsRef<[u8]> for Line {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.begins..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy_text(name: &str, period_nanos: u64, burst: u32) -> Option<String> {
        policy(name, Quota { period_nanos, burst }).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn policies() {
        assert_eq!(policy_text("per-tenant", 10_000_000, 200).as_deref(), Some("\"per-tenant\";q=200;w=2"));
        assert_eq!(policy_text("a", 1, 1).as_deref(), Some("\"a\";q=1;w=1"));
        assert_eq!(policy_text("a", 1_000_000_001, 1).as_deref(), Some("\"a\";q=1;w=2"));
        assert_eq!(policy_text(&"n".repeat(128), u64::MAX, u32::MAX).map(|text| text.len()), Some(130 + 13 + 14));
        for unwritable in ["a\"b", "a\\b", "ä", "a\n", &"n".repeat(129)] {
            assert_eq!(policy_text(unwritable, 1, 1), None, "{unwritable:?}");
        }
    }

    #[test]
    fn what_remains() {
        let verdict = |admitted, remaining, retry_after, reset| Verdict {
            admitted,
            remaining,
            retry_after: Duration::from_millis(retry_after),
            reset: Duration::from_millis(reset),
        };
        let text = |verdict| {
            let line = remaining(&Label::new("a").unwrap(), &verdict);
            str::from_utf8(line.as_ref()).unwrap().to_owned()
        };
        assert_eq!(text(verdict(true, 199, 0, 10)), "\"a\";r=199;t=1");
        assert_eq!(text(verdict(true, 0, 0, 2_000)), "\"a\";r=0;t=2");
        assert_eq!(text(verdict(true, 10, 0, 0)), "\"a\";r=10;t=0");
        assert_eq!(text(verdict(false, 0, 1_001, 90_000)), "\"a\";r=0;t=2");
        let longest = Verdict { reset: Duration::MAX, ..verdict(true, u32::MAX, 0, 0) };
        assert_eq!(text(longest), format!("\"a\";r={};t={LARGEST}", u32::MAX));
    }

    #[test]
    fn retries_are_at_least_a_second_away() {
        for (millis, expected) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (3_600_000, "3600")] {
            assert_eq!(retry_after(Duration::from_millis(millis)), expected);
        }
    }
}
