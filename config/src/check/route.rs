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

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Route) -> Option<Route> {
    let root = Path::Root;
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
