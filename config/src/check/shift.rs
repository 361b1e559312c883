//! Shifts by themselves.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use http::{HeaderName, Method};

use super::Check;
use super::route::matches::method;
use super::value::all;
use crate::ids::Name;
use crate::model::{Analysis, Mirror, Prometheus, PrometheusQuery, Shift, ShiftState, ShiftStep, Testers, Wave};
use crate::path::Path;
use crate::problem::quoted;
use crate::raw::{self, OnFailure, OnNoEndpoint, RollbackPace, ShiftBy};
use crate::units::{Percent, parse_bytes, parse_duration, parse_duration_or_zero};

/// How long answers of the old track may go on, unless something else is said.
const DRAIN: Duration = Duration::from_secs(30);
/// Requests below which an analysis says nothing, unless something else is said.
const MIN_REQUESTS: u32 = 100;
/// Of a request that is copied, in bytes.
const MIRRORED_BODY: usize = 64 * 1024;
/// What a router keeps of one body at the most.
const MAX_MIRRORED_BODY: usize = 1024 * 1024;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Shift) -> Option<Shift> {
    let root = Path::Root;
    let service = check.reference(&root.key("service"), &raw.service);
    let waves = waves(check, &raw.waves);
    let steps = steps(check, raw);
    let testers = testers(check, raw.testers.as_ref());
    let analysis = raw.analysis.as_ref().map(|raw| analysis(check, raw));
    let mirror = raw.mirror.as_ref().map(|raw| mirror(check, raw));
    let drain = check.duration(&root.key("drain"), raw.drain.as_ref(), DRAIN);
    let (waves, steps) = (waves?, steps?);
    let state = state(check, raw.state.as_ref(), &waves, &steps);
    let name = check.source.id.name.clone();
    Some(Shift {
        seed: raw.seed.map_or_else(|| xxhash_rust::xxh3::xxh3_64(name.as_str().as_bytes()), u64::from),
        name,
        service: service?,
        to: raw.to,
        by: raw.by.unwrap_or(ShiftBy::Tenant),
        waves,
        steps,
        testers: testers?,
        on_no_endpoint: raw.on_no_endpoint.unwrap_or(OnNoEndpoint::Reject),
        analysis: analysis.map_or(Some(None), |analysis| analysis.map(Some))?,
        mirror: mirror.map_or(Some(None), |mirror| mirror.map(Some))?,
        drain: drain?,
        state: state?,
    })
}

fn waves(check: &mut Check<'_>, raw: &[raw::Wave]) -> Option<Vec<Wave>> {
    let at = Path::Root.key("waves");
    if raw.is_empty() {
        check.wrong_but(&at, "no waves", "write one at least: `waves: [{cells: […]}]`");
        return None;
    }
    let mut seen = BTreeSet::new();
    all(raw.iter().enumerate().map(|(n, raw)| {
        let at = at.index(n);
        let path = at.key("cells");
        if raw.cells.is_empty() {
            check.wrong_but(&path, "no cells", "name the cells that move in this wave, or remove it");
        }
        let cells = all(raw.cells.iter().enumerate().map(|(n, cell)| {
            if !seen.insert(cell) {
                let message = format!("{} is listed twice", quoted(cell));
                check.wrong_but(&path.index(n), message, "a cell moves in one wave; remove one of the two");
            }
            check.reference(&path.index(n), cell)
        }));
        let bake = hold(check, &at.key("bake"), raw.bake.as_ref());
        Some(Wave { cells: cells?, bake: bake? })
    }))
}

/// A time for which something stays as it is; none where it is not written.
fn hold(check: &mut Check<'_>, path: &Path<'_>, text: Option<&String>) -> Option<Duration> {
    text.map_or(Some(Duration::ZERO), |text| check.take(path, parse_duration_or_zero(text)))
}

fn steps(check: &mut Check<'_>, raw: &raw::Shift) -> Option<Vec<ShiftStep>> {
    let at = Path::Root.key("steps");
    let steps = all(raw.steps.iter().enumerate().map(|(n, step)| one_step(check, &at.index(n), step)))?;
    let mut highest = None;
    for (n, step) in steps.iter().enumerate() {
        let at = at.index(n);
        match step {
            ShiftStep::Weight { weight, .. } => {
                if let Some(before) = highest.filter(|before| before > weight) {
                    let message = format!("weight {weight} is below the {before} of an earlier step");
                    check.wrong_but(
                        &at.key("weight"),
                        message,
                        "write weights that rise; a rollback goes back by itself",
                    );
                }
                highest = highest.max(Some(*weight));
            }
            ShiftStep::Analysis { .. } if raw.analysis.is_none() => {
                let message = "a step with `analysis`, and the shift has none";
                check.wrong_but(&at.key("analysis"), message, "add `analysis: {maxErrorRatio: 1%}` to the shift");
            }
            ShiftStep::Analysis { .. } | ShiftStep::Pause { .. } => {}
        }
    }
    if highest != Some(Percent::ALL) {
        let message = if steps.is_empty() { "no steps" } else { "no step has the weight 100%" };
        check.wrong_but(&at, message, "end with `{weight: 100%}`, so that all traffic is moved");
    }
    Some(steps)
}

fn one_step(check: &mut Check<'_>, at: &Path<'_>, raw: &raw::ShiftStep) -> Option<ShiftStep> {
    let given =
        [("weight", raw.weight.is_some()), ("pause", raw.pause.is_some()), ("analysis", raw.analysis.is_some())];
    let given: Vec<&str> = given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect();
    if given.len() != 1 {
        let message = match given.as_slice() {
            [] => "a step without `weight`, `pause` or `analysis`".to_owned(),
            _ => format!("a step with {}", given.join(" and ")),
        };
        check.wrong_but(at, message, "write one of `weight`, `pause` and `analysis`; make a step of each");
        return None;
    }
    if raw.hold.is_some() && raw.weight.is_none() {
        check.wrong_but(
            &at.key("hold"),
            "`hold` without `weight`",
            "a pause waits for somebody; an analysis has its own time",
        );
    }
    match (&raw.weight, &raw.pause, &raw.analysis) {
        (Some(weight), _, _) => {
            let weight = check.take(&at.key("weight"), Percent::parse(weight));
            let hold = hold(check, &at.key("hold"), raw.hold.as_ref());
            Some(ShiftStep::Weight { weight: weight?, hold: hold? })
        }
        (None, Some(reason), _) => Some(ShiftStep::Pause { reason: reason.clone() }),
        (None, None, text) => {
            let hold = check.take(&at.key("analysis"), parse_duration(text.as_deref().unwrap_or_default()))?;
            Some(ShiftStep::Analysis { hold })
        }
    }
}

fn testers(check: &mut Check<'_>, raw: Option<&raw::Testers>) -> Option<Testers> {
    let Some(raw) = raw else { return Some(Testers::default()) };
    let at = Path::Root.key("testers");
    let path = at.key("headers");
    let headers = all(raw.headers.iter().enumerate().map(|(n, header)| {
        let at = path.index(n);
        let name: Option<HeaderName> = check.header_name(&at.key("name"), &header.name);
        let value = check.header_value(&at.key("value"), &header.value);
        Some((name?, value?))
    }));
    let path = at.key("tenants");
    check.unique(&path, &raw.tenants, |text| quoted(text), String::clone);
    let tenants = raw.tenants.iter().enumerate();
    let tenants = all(tenants.map(|(n, tenant)| check.take(&path.index(n), Name::tenant(tenant))));
    let mut tenants = tenants?;
    tenants.sort();
    Some(Testers { headers: headers?, tenants })
}

fn mirror(check: &mut Check<'_>, raw: &raw::Mirror) -> Option<Mirror> {
    let at = Path::Root.key("mirror");
    let share = check.take(&at.key("share"), Percent::parse(&raw.share));
    let bodies = raw.bodies.as_ref();
    let bodies = bodies.map_or(Some(Percent::NONE), |text| check.take(&at.key("bodies"), Percent::parse(text)));
    let path = at.key("methods");
    check.unique(&path, &raw.methods, |text| format!("method {}", quoted(text)), String::clone);
    let methods = all(raw.methods.iter().enumerate().map(|(n, text)| {
        let path = path.index(n);
        check.take(&path, method(text))
    }));
    let methods = methods?;
    let methods = if methods.is_empty() { vec![Method::GET, Method::HEAD] } else { methods };
    let max_request_body = raw
        .max_request_body
        .as_ref()
        .map_or(Some(MIRRORED_BODY), |text| check.take(&at.key("maxRequestBody"), mirrored_body(text)));
    Some(Mirror { share: share?, bodies: bodies?, methods, max_request_body: max_request_body? })
}

fn mirrored_body(text: &str) -> Result<usize, String> {
    let bytes = parse_bytes(text)?;
    let fits = usize::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_MIRRORED_BODY);
    fits.ok_or_else(|| format!("{} is too much; at most 1MiB of a body is copied", quoted(text)))
}

fn analysis(check: &mut Check<'_>, raw: &raw::Analysis) -> Option<Analysis> {
    let at = Path::Root.key("analysis");
    let min_requests =
        check.number(&at.key("minRequests"), "minRequests", raw.min_requests, 1..=1_000_000, MIN_REQUESTS);
    let mut percent = |name: &str, text: Option<&String>| {
        text.map_or(Some(None), |text| check.take(&at.key(name), Percent::parse(text)).map(Some))
    };
    let max_error_ratio = percent("maxErrorRatio", raw.max_error_ratio.as_ref());
    let max_error_increase = percent("maxErrorIncrease", raw.max_error_increase.as_ref());
    let text = raw.max_p99.as_ref();
    let max_p99 = text.map_or(Some(None), |text| check.take(&at.key("maxP99"), parse_duration(text)).map(Some));
    let max_p99_factor = match raw.max_p99_factor {
        Some(factor) if !(1.0..=100.0).contains(&factor) => {
            check.wrong_but(
                &at.key("maxP99Factor"),
                format!("maxP99Factor is {factor}"),
                "write 1.0 to 100.0, such as 1.5",
            );
            None
        }
        factor => Some(factor),
    };
    let prometheus = raw.prometheus.as_ref().map(|raw| prometheus(check, raw));
    let none = raw.max_error_ratio.is_none() && raw.max_error_increase.is_none() && raw.prometheus.is_none();
    if none && raw.max_p99.is_none() && raw.max_p99_factor.is_none() {
        let help = "add one at least of `maxErrorRatio`, `maxErrorIncrease`, `maxP99`, `maxP99Factor` and `prometheus`";
        check.wrong_but(&at, "an analysis that looks at nothing", help);
    }
    Some(Analysis {
        min_requests: min_requests?,
        max_error_ratio: max_error_ratio?,
        max_error_increase: max_error_increase?,
        max_p99: max_p99?,
        max_p99_factor: max_p99_factor?,
        prometheus: prometheus.map_or(Some(None), |prometheus| prometheus.map(Some))?,
        on_failure: raw.on_failure.unwrap_or(OnFailure::Rollback),
        rollback: raw.rollback.unwrap_or(RollbackPace::AtOnce),
    })
}

fn prometheus(check: &mut Check<'_>, raw: &raw::Prometheus) -> Option<Prometheus> {
    let root = Path::Root;
    let analysis = root.key("analysis");
    let at = analysis.key("prometheus");
    let place = check.take(&at.key("url"), place(&raw.url));
    let path = at.key("queries");
    if raw.queries.is_empty() {
        check.wrong_but(&path, "no queries", "write one at least, or remove `prometheus`");
    }
    check.unique(&path, &raw.queries, |query| format!("query {}", quoted(&query.name)), |query| query.name.clone());
    let queries = raw.queries.iter().enumerate().map(|(n, raw)| query(check, &path.index(n), raw)).collect();
    let (authority, path) = place?;
    Some(Prometheus { authority, path, queries })
}

/// Host, port and path of a URL without TLS.
fn place(url: &str) -> Result<(String, String), String> {
    let wrong = |what: &str| format!("url {} {what}; write http://HOST:PORT", quoted(url));
    let rest = url.strip_prefix("http://").ok_or_else(|| wrong("does not begin with http://"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let authority: http::uri::Authority = host.parse().map_err(|_| wrong("has no host"))?;
    if authority.host().is_empty() || host.contains('@') || path.contains(['?', '#', ' ']) {
        return Err(wrong("has more than host, port and path"));
    }
    let authority = if authority.port().is_some() { host.to_owned() } else { format!("{host}:80") };
    let path = path.trim_end_matches('/');
    Ok((authority, if path.is_empty() { String::new() } else { format!("/{path}") }))
}

fn query(check: &mut Check<'_>, at: &Path<'_>, raw: &raw::PrometheusQuery) -> PrometheusQuery {
    for (name, text) in [("name", &raw.name), ("query", &raw.query)] {
        if text.trim().is_empty() {
            check.wrong_but(&at.key(name), format!("{name} is empty"), "write one");
        }
    }
    let bounds = raw.min.into_iter().chain(raw.max);
    if bounds.clone().any(|bound| !bound.is_finite()) || raw.min.zip(raw.max).is_some_and(|(min, max)| min > max) {
        check.wrong_but(at, "`min` is above `max`, or one of them is no number", "write them so that min <= max");
    } else if bounds.count() == 0 {
        check.wrong_but(at, "a query with neither `max` nor `min`", "write how far its number may go");
    }
    PrometheusQuery { name: raw.name.clone(), query: raw.query.clone(), max: raw.max, min: raw.min }
}

fn state(
    check: &mut Check<'_>,
    raw: Option<&raw::ShiftState>,
    waves: &[Wave],
    steps: &[ShiftStep],
) -> Option<ShiftState> {
    let Some(raw) = raw else { return Some(ShiftState::default()) };
    let at = Path::Root.key("state");
    let (wave, step) = (raw.wave as usize, raw.step as usize);
    let help = "`state` is written by gridctl and its controller; leave it out of what you apply";
    if wave >= waves.len() || step > steps.len() {
        let (wave, waves, step, steps) = (wave + 1, waves.len(), step + 1, steps.len());
        check.wrong_but(&at, format!("it is at wave {wave} of {waves}, step {step} of {steps}"), help);
        return None;
    }
    let path = at.key("shares");
    let cells: HashSet<&str> = waves.iter().flat_map(|wave| &wave.cells).map(Name::as_str).collect();
    let shares = all(raw.shares.iter().map(|(cell, text)| {
        let path = path.key(cell);
        let share = check.take(&path, Percent::parse(text));
        if !cells.contains(cell.as_str()) {
            check.wrong_but(&path, format!("{} is in no wave", quoted(cell)), help);
        }
        Some((check.reference(&path, cell)?, share?))
    }));
    Some(ShiftState {
        phase: raw.phase,
        wave,
        step,
        shares: shares?.into_iter().collect(),
        started: raw.started,
        since: raw.since,
        stopped: raw.stopped,
        reason: raw.reason.clone(),
        report: raw.report,
    })
}
