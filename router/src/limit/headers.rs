//! How clients are told of limits.

use std::time::Duration;

use http::HeaderValue;

use super::{Quota, Verdict};

/// The value of `RateLimit-Policy` for a limit; built once when a snapshot is compiled.
pub fn policy(name: &str, quota: Quota) -> Option<HeaderValue> {
    let _ = (name, quota);
    None
}

/// The value of `RateLimit` after a request.
pub fn remaining(name: &str, verdict: &Verdict) -> Option<HeaderValue> {
    let _ = (name, verdict);
    None
}

/// The value of `Retry-After` for a refused request.
pub fn retry_after(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_secs())
}
