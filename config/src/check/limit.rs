//! Limits by themselves.

use http::StatusCode;

use super::Check;
use super::value::all;
use crate::model::{Algorithm, Cost, HeadersWhen, Limit, LimitKeyPart, LimitMode, TokenBucket};
use crate::path::Path;
use crate::raw;
use crate::units::Rate;

/// The biggest burst. At the slowest rate, one an hour, its time still fits into 64 bits of nanoseconds.
const MAX_BURST: u32 = 1_000_000;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Limit) -> Option<Limit> {
    let key = key(check, &raw.key);
    let algorithm = if let Some(raw) = &raw.token_bucket {
        token_bucket(check, raw).map(Algorithm::TokenBucket)
    } else {
        let message = format!("limit \"{}\" has no algorithm", check.source.id.name);
        check.wrong_but(&Path::Root, message, "add `tokenBucket: {rate: 100/s}`");
        None
    };
    let headers = match raw.headers.unwrap_or(raw::HeadersWhen::Always) {
        raw::HeadersWhen::Always => HeadersWhen::Always,
        raw::HeadersWhen::Refused => HeadersWhen::Refused,
        raw::HeadersWhen::Never => HeadersWhen::Never,
    };
    Some(Limit {
        name: check.source.id.name.clone(),
        key: key?,
        algorithm: algorithm?,
        candidate: None,
        mode: LimitMode::Enforce,
        cost: Cost::default(),
        status: StatusCode::TOO_MANY_REQUESTS,
        headers,
        legacy_headers: false,
    })
}

fn key(check: &mut Check<'_>, raw: &[raw::LimitKeyPart]) -> Option<Vec<LimitKeyPart>> {
    if raw.is_empty() {
        return Some(vec![LimitKeyPart::Tenant]);
    }
    let at = Path::Root.key("key");
    check.unique(&at, raw, word, |part| word(part).to_ascii_lowercase());
    all(raw.iter().enumerate().map(|(n, part)| match part {
        raw::LimitKeyPart::Tenant => Some(LimitKeyPart::Tenant),
        raw::LimitKeyPart::Route => Some(LimitKeyPart::Route),
        raw::LimitKeyPart::Service => Some(LimitKeyPart::Service),
        raw::LimitKeyPart::Cell => Some(LimitKeyPart::Cell),
        raw::LimitKeyPart::ClientIp => Some(LimitKeyPart::ClientIp),
        raw::LimitKeyPart::Header(name) => {
            check.header_name(&at.index(n).key("header"), name).map(LimitKeyPart::Header)
        }
    }))
}

fn word(part: &raw::LimitKeyPart) -> String {
    match part {
        raw::LimitKeyPart::Tenant => "`tenant`".to_owned(),
        raw::LimitKeyPart::Route => "`route`".to_owned(),
        raw::LimitKeyPart::Service => "`service`".to_owned(),
        raw::LimitKeyPart::Cell => "`cell`".to_owned(),
        raw::LimitKeyPart::ClientIp => "`clientIp`".to_owned(),
        raw::LimitKeyPart::Header(name) => format!("header \"{}\"", name.escape_debug()),
    }
}

fn token_bucket(check: &mut Check<'_>, raw: &raw::TokenBucket) -> Option<TokenBucket> {
    let at = Path::Root.key("tokenBucket");
    let rate = check.take(&at.key("rate"), Rate::parse(&raw.rate));
    let burst = burst(check, &at.key("burst"), raw.burst);
    let rate = rate?;
    Some(TokenBucket { rate, burst: burst?.unwrap_or_else(|| rate.per_second_at_least_one()) })
}

/// A burst, if there is one; nothing if it is bad.
#[expect(clippy::option_option, reason = "bad, absent and given are three cases")]
pub(super) fn burst(check: &mut Check<'_>, path: &Path<'_>, raw: Option<u32>) -> Option<Option<u32>> {
    let Some(burst) = raw else { return Some(None) };
    if burst == 0 {
        check.wrong_but(path, "burst is 0, which admits nothing", format!("write 1 to {MAX_BURST}"));
        return None;
    }
    check.number(path, "burst", Some(burst), 1..=MAX_BURST, burst).map(Some)
}
