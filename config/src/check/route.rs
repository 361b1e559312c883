//! Routes by themselves.

mod action;
pub(super) mod matches;
mod tenancy;
mod upgrade;

use super::Check;
use crate::model::Route;
use crate::path::Path;
use crate::raw;
use crate::units::parse_bytes;

/// The most hosts times paths of a route. Each pair is an entry in the table that requests are looked up in.
const MOST_PLACES: usize = 100_000;
/// The most regular expressions of a route. They are tried one after the other, and each may take 1 MiB.
const MOST_EXPRESSIONS: usize = 100;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Route) -> Option<Route> {
    let root = Path::Root;
    // Before anything of it is compiled.
    is_small(check, raw).then_some(())?;
    let listeners = check.references(&root.key("listeners"), &raw.listeners);
    let hosts = matches::hosts(check, &raw.hosts);
    let paths = matches::paths(check, &raw.paths);
    let methods = matches::methods(check, &raw.methods);
    let headers = matches::headers(check, &raw.headers);
    let query = matches::query(check, &raw.query);
    let tenant = tenancy::rule(check, raw);
    let limits = check.references(&root.key("limits"), &raw.limits);
    let max_body = match &raw.max_body {
        Some(text) => check.take(&root.key("maxBody"), parse_bytes(text)).map(Some),
        None => Some(None),
    };
    let response_headers = check.header_edits(&root.key("responseHeaders"), raw.response_headers.as_ref());
    let action = action::action(check, raw);
    Some(Route {
        name: check.source.id.name.clone(),
        listeners: listeners?,
        hosts: hosts?,
        paths: paths?,
        methods: methods?,
        headers: headers?,
        query: query?,
        action: action?,
        response_headers: response_headers?,
        limits: limits?,
        tenant: tenant?,
        max_body: max_body?,
    })
}

/// Whether a route takes no more room than a router can spare for one.
fn is_small(check: &mut Check<'_>, raw: &raw::Route) -> bool {
    let (hosts, paths) = (raw.hosts.len(), raw.paths.len());
    let places = hosts.max(1).saturating_mul(paths.max(1));
    if places > MOST_PLACES {
        let message = format!("{hosts} hosts times {paths} paths are more than the {MOST_PLACES} of one route");
        check.wrong_but(&Path::Root.key("paths"), message, "make several routes of it, each with some of the hosts");
    }
    let expressions = matches::expressions(raw);
    if expressions > MOST_EXPRESSIONS {
        let message = format!("{expressions} regular expressions are more than the {MOST_EXPRESSIONS} of one route");
        check.wrong_but(&Path::Root, message, "make several routes of it, or join some expressions with `|`");
    }
    places <= MOST_PLACES && expressions <= MOST_EXPRESSIONS
}
