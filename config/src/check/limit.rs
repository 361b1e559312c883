//! Limits by themselves.

mod adaptive;
mod algorithm;
mod key;
mod own;

pub(crate) use own::tenant_misfits;
pub(super) use own::{limit_override, overrides};

use http::StatusCode;

use super::Check;
use crate::model::{Algorithm, Cost, HeadersWhen, Limit, LimitMode};
use crate::path::Path;
use crate::raw;

/// The biggest burst, limit or cost. At the slowest rate, one an hour, its time still fits into 64 bits of nanoseconds.
const MOST: u32 = 1_000_000;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Limit) -> Option<Limit> {
    let key = key::key(check, &raw.key);
    let algorithm = algorithm::algorithm(check, raw);
    let candidate = raw.candidate.as_ref().map(|raw| limit_override(check, &Path::Root.key("candidate"), raw));
    let mode = match raw.mode.unwrap_or(raw::LimitMode::Enforce) {
        raw::LimitMode::Enforce => LimitMode::Enforce,
        raw::LimitMode::Shadow => LimitMode::Shadow,
    };
    let cost = cost(check, raw.cost.as_ref());
    let status = status(check, raw.status);
    let headers = match raw.headers.unwrap_or(raw::HeadersWhen::Always) {
        raw::HeadersWhen::Always => HeadersWhen::Always,
        raw::HeadersWhen::Refused => HeadersWhen::Refused,
        raw::HeadersWhen::Never => HeadersWhen::Never,
    };
    if let (Some(algorithm), Some(cost)) = (algorithm, &cost) {
        cost_fits(check, raw, algorithm, cost);
        refuses(check, raw, algorithm);
    }
    let limit = Limit {
        name: check.source.id.name.clone(),
        key: key?,
        algorithm: algorithm?,
        candidate: candidate.map_or(Some(None), |candidate| candidate.map(Some))?,
        mode,
        cost: cost?,
        status: status?,
        headers,
        legacy_headers: raw.legacy_headers.unwrap_or(false),
    };
    candidate_fits(check, &limit);
    Some(limit)
}

fn cost(check: &mut Check<'_>, raw: Option<&raw::Cost>) -> Option<Cost> {
    let default = Cost::default();
    let root = Path::Root;
    let at = root.key("cost");
    match raw {
        None => Some(default),
        Some(raw::Cost::Constant(constant)) => {
            let constant = check.number(&at, "cost", Some(*constant), 1..=MOST, default.constant);
            Some(Cost { constant: constant?, ..default })
        }
        Some(raw::Cost::Parts(parts)) => {
            let constant = check.number(&at.key("constant"), "cost", parts.constant, 1..=MOST, default.constant);
            let name = parts.response_header.as_ref();
            let header = name.map(|name| check.header_name(&at.key("responseHeader"), name));
            let response_header = header.map_or(Some(None), |header| header.map(Some));
            Some(Cost { constant: constant?, response_header: response_header? })
        }
    }
}

fn status(check: &mut Check<'_>, raw: Option<u16>) -> Option<StatusCode> {
    let Some(code) = raw else { return Some(StatusCode::TOO_MANY_REQUESTS) };
    let refusal = StatusCode::from_u16(code).ok().filter(|_| (400..=599).contains(&code));
    if refusal.is_none() {
        let help = "a refusal is an error: write 400 to 599, such as 429 or 503";
        check.wrong_but(&Path::Root.key("status"), format!("status is {code}"), help);
    }
    refusal
}

/// Whether nothing is said of refusals where there are none.
fn refuses(check: &mut Check<'_>, raw: &raw::Limit, algorithm: Algorithm) {
    if raw.status.is_some() && algorithm.is_bandwidth() {
        let message = "`status` is of refusals, and `bandwidth` slows responses down";
        check.wrong_but(&Path::Root.key("status"), message, "remove it");
    }
}

/// Whether requests of this cost can be counted, and can pass at all.
fn cost_fits(check: &mut Check<'_>, raw: &raw::Limit, algorithm: Algorithm, cost: &Cost) {
    let (root, word) = (Path::Root, algorithm.as_str());
    let at = root.key("cost");
    if raw.cost.is_some() && algorithm.is_bandwidth() {
        let message = "`cost` is of requests, and `bandwidth` counts the bytes of their responses";
        check.wrong_but(&at, message, "remove it");
        return;
    }
    if cost.response_header.is_some() && algorithm.is_concurrency() {
        let message = format!("`responseHeader` comes too late for `{word}`: a request holds its place until then");
        check.wrong_but(&at.key("responseHeader"), message, "remove it, or use an algorithm with a rate or a window");
    }
    let Some((most, field)) = algorithm.most_at_once().zip(own::size_field(algorithm)) else { return };
    let (constant, of) = (at.key("constant"), root.key(word));
    if cost.constant > most && check.are_written(&[&at, &constant, &of.key(field)]) {
        let path = if matches!(raw.cost, Some(raw::Cost::Parts(_))) { &constant } else { &at };
        let (message, help) = own::too_dear(cost.constant, most, &format!("{word}.{field}"));
        check.wrong_but(path, message, help);
    }
}

/// Whether the values that are tried out are such as the algorithm has.
fn candidate_fits(check: &mut Check<'_>, limit: &Limit) {
    let root = Path::Root;
    let Some(candidate) = &limit.candidate else { return };
    let at = root.key("candidate");
    for misfit in own::misfits(limit, candidate) {
        let path = at.key(misfit.field);
        if check.are_written(&[&path, &root.key("cost"), &root.key("cost").key("constant")]) {
            check.wrong_but(&path, misfit.message, misfit.help);
        }
    }
}

#[cfg(test)]
mod tests;
