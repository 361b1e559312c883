//! Values of one's own for a limit: those of a tenant, of a plan, and those that are tried out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::MOST;
use crate::check::Check;
use crate::check::value::all;
use crate::ids::Name;
use crate::model::{Algorithm, LeakyBucketMeter, Limit, LimitKeyPart, LimitOverride, WarmUp};
use crate::path::Path;
use crate::raw;
use crate::units::{ByteRate, Rate, parse_duration_or_zero};

/// The longest time that a request may wait for its turn. A client that waits longer has gone.
const MAX_QUEUEING: Duration = Duration::from_mins(1);

/// A value of one's own that a limit cannot do with.
pub(crate) struct Misfit {
    /// The field; empty where it is all of them.
    pub(crate) field: &'static str,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: String,
}

/// Values of one's own, by limit.
pub(in crate::check) fn overrides(
    check: &mut Check<'_>,
    raw: &BTreeMap<String, raw::LimitOverride>,
) -> Option<BTreeMap<Name, LimitOverride>> {
    let at = Path::Root.key("limits");
    let own = all(raw.iter().map(|(limit, raw)| {
        let path = at.key(limit);
        let (name, own) = (check.reference(&path, limit), limit_override(check, &path, raw));
        Some((name?, own?))
    }));
    Some(own?.into_iter().collect())
}

/// Values of one's own for one limit, whatever its algorithm.
pub(in crate::check) fn limit_override(
    check: &mut Check<'_>,
    path: &Path<'_>,
    raw: &raw::LimitOverride,
) -> Option<LimitOverride> {
    let bytes = raw.rate.as_deref().is_some_and(ByteRate::is_meant);
    let (of_bytes, of_requests) = if bytes { (raw.rate.as_ref(), None) } else { (None, raw.rate.as_ref()) };
    let byte_rate = of_bytes.map(|text| check.take(&path.key("rate"), ByteRate::parse(text)));
    let rate = of_requests.map(|text| check.take(&path.key("rate"), Rate::parse(text)));
    let burst = burst(check, &path.key("burst"), raw.burst);
    let limit = raw.limit.map(|limit| size(check, &path.key("limit"), "limit", limit));
    let max_queueing = queueing(check, &path.key("maxQueueing"), raw.max_queueing.as_ref());
    if *raw == raw::LimitOverride::default() {
        let message = "none of `rate`, `burst`, `limit` and `maxQueueing`";
        check.wrong_but(path, message, "write at least one of them, such as {rate: 1000/s}");
    }
    Some(LimitOverride {
        rate: rate.map_or(Some(None), |rate| rate.map(Some))?,
        byte_rate: byte_rate.map_or(Some(None), |rate| rate.map(Some))?,
        burst: burst?,
        limit: limit.map_or(Some(None), |limit| limit.map(Some))?,
        max_queueing: max_queueing?,
    })
}

/// A rate of requests. Whoever writes bytes is told where they belong.
pub(super) fn request_rate(check: &mut Check<'_>, path: &Path<'_>, text: &str) -> Option<Rate> {
    if ByteRate::parse(text).is_ok() {
        let message = format!("rate \"{text}\" is of bytes, and requests are counted here");
        check.wrong_but(path, message, "write 100/s, 30/m or 1000/h, or use `bandwidth`");
        return None;
    }
    check.take(path, Rate::parse(text))
}

/// A burst, if there is one; nothing if it is bad.
#[expect(clippy::option_option, reason = "bad, absent and given are three cases")]
pub(super) fn burst(check: &mut Check<'_>, path: &Path<'_>, raw: Option<u32>) -> Option<Option<u32>> {
    let Some(burst) = raw else { return Some(None) };
    size(check, path, "burst", burst).map(Some)
}

/// How many requests, at least one.
pub(super) fn size(check: &mut Check<'_>, path: &Path<'_>, what: &str, number: u32) -> Option<u32> {
    if number == 0 {
        check.wrong_but(path, format!("{what} is 0, which admits nothing"), format!("write 1 to {MOST}"));
        return None;
    }
    check.number(path, what, Some(number), 1..=MOST, number)
}

/// How long a request waits for its turn, if that is given; nothing if it is bad.
#[expect(clippy::option_option, reason = "bad, absent and given are three cases")]
pub(super) fn queueing(check: &mut Check<'_>, path: &Path<'_>, text: Option<&String>) -> Option<Option<Duration>> {
    let Some(text) = text else { return Some(None) };
    let waits = parse_duration_or_zero(text).and_then(|waits| {
        let too_long = || format!("maxQueueing \"{text}\" is more than 60s; write 0s to 60s");
        if waits > MAX_QUEUEING { Err(too_long()) } else { Ok(waits) }
    });
    check.take(path, waits).map(Some)
}

/// What a limit cannot do with these values of a tenant or a plan.
pub(crate) fn tenant_misfits(limit: &Limit, own: &LimitOverride) -> Vec<Misfit> {
    if limit.key.contains(&LimitKeyPart::Tenant) {
        return misfits(limit, own);
    }
    let name = &limit.name;
    let message = format!("limit \"{name}\" does not count by tenant, so that no tenant can have its own values");
    let help = format!("add `tenant` to the key of Limit \"{name}\", or remove this");
    vec![Misfit { field: "", message, help }]
}

/// What a limit cannot do with values: such as its algorithm does not have, and such that nothing could ever pass.
pub(super) fn misfits(limit: &Limit, own: &LimitOverride) -> Vec<Misfit> {
    let algorithm = limit.algorithm;
    let mut found = foreign(limit, own);
    if let (Algorithm::LeakyBucketMeter(_), Some(rate)) = (algorithm, own.rate)
        && !LeakyBucketMeter::takes(rate)
    {
        let (message, help) = too_slow(rate);
        found.push(Misfit { field: "rate", message, help });
    }
    let with = algorithm.with(own);
    let Some(most) = with.most_at_once().filter(|most| *most < limit.cost.constant) else { return found };
    let field = match (own.burst, own.limit) {
        (Some(_), _) if has(algorithm).contains(&"burst") => "burst",
        (_, Some(_)) if has(algorithm).contains(&"limit") => "limit",
        // It is as much as the limit itself has.
        (Some(_) | None, Some(_) | None) => return found,
    };
    let (message, help) = too_dear(limit.cost.constant, most, field);
    found.push(Misfit { field, message, help: format!("{help} of Limit \"{}\"", limit.name) });
    found
}

/// Values that the algorithm does not have.
fn foreign(limit: &Limit, own: &LimitOverride) -> Vec<Misfit> {
    let (name, word, has) = (&limit.name, limit.algorithm.as_str(), has(limit.algorithm));
    let given = [
        ("rate", own.rate.is_some() || own.byte_rate.is_some()),
        ("burst", own.burst.is_some()),
        ("limit", own.limit.is_some()),
        ("maxQueueing", own.max_queueing.is_some()),
    ];
    let mut found = Vec::new();
    for (field, _) in given.into_iter().filter(|(field, given)| *given && !has.contains(field)) {
        let message = format!("limit \"{name}\" takes no other `{field}`: its algorithm is `{word}`");
        let fields: Vec<String> = has.iter().map(|field| format!("`{field}`")).collect();
        found.push(Misfit { field, message, help: format!("it takes {}", fields.join(" and ")) });
    }
    if !has.contains(&"rate") {
        return found;
    }
    let bytes = limit.algorithm.is_bandwidth();
    if let (true, Some(rate)) = (bytes, own.rate) {
        let message = format!("rate \"{rate}\" is of requests, and limit \"{name}\" counts bytes");
        found.push(Misfit { field: "rate", message, help: "write 64KiB/s or 10MiB/s".to_owned() });
    }
    if let (false, Some(rate)) = (bytes, own.byte_rate) {
        let message = format!("rate \"{rate}\" is of bytes, and limit \"{name}\" counts requests");
        found.push(Misfit { field: "rate", message, help: "write 100/s, 30/m or 1000/h".to_owned() });
    }
    found
}

/// The values that an algorithm lets others have of their own.
fn has(algorithm: Algorithm) -> &'static [&'static str] {
    match algorithm {
        Algorithm::TokenBucket(_) | Algorithm::LeakyBucketMeter(_) => &["rate", "burst"],
        Algorithm::LeakyBucketQueue(_) | Algorithm::WarmUp(WarmUp { max_queueing: Some(_), .. }) => {
            &["rate", "maxQueueing"]
        }
        Algorithm::WarmUp(WarmUp { max_queueing: None, .. }) | Algorithm::Bandwidth(_) => &["rate"],
        Algorithm::SlidingWindow(_)
        | Algorithm::FixedWindow(_)
        | Algorithm::Concurrency(_)
        | Algorithm::AdaptiveConcurrency(_) => &["limit"],
    }
}

/// The field of an algorithm that says how many there may be at once.
pub(super) fn size_field(algorithm: Algorithm) -> Option<&'static str> {
    match algorithm {
        Algorithm::TokenBucket(_) | Algorithm::LeakyBucketMeter(_) => Some("burst"),
        Algorithm::SlidingWindow(_) | Algorithm::FixedWindow(_) | Algorithm::Concurrency(_) => Some("limit"),
        Algorithm::AdaptiveConcurrency(_) => Some("max"),
        Algorithm::LeakyBucketQueue(_) | Algorithm::WarmUp(_) | Algorithm::Bandwidth(_) => None,
    }
}

/// What is wrong with a rate for a meter, and what to write instead.
pub(super) fn too_slow(rate: Rate) -> (String, String) {
    (
        format!("rate \"{rate}\" is slower than leakyBucketMeter can count: 16 thousandths of a request a second"),
        "write 1/m or faster, or use `tokenBucket` or `leakyBucketQueue`".to_owned(),
    )
}

/// What is wrong with a cost, and what to do about it.
pub(super) fn too_dear(cost: u32, most: u32, field: &str) -> (String, String) {
    (
        format!("a request costs {cost}, and no more than {most} can be taken at once: none could ever pass"),
        format!("raise `{field}`, or lower `cost`"),
    )
}
