//! Limits and those who use them: keys with a part that a request does not have, and values that a limit cannot do with.

use std::collections::BTreeMap;

use super::{Cross, id};
use crate::check::limit::tenant_misfits;
use crate::generation::Entry;
use crate::ids::{Kind, Name};
use crate::model::{Action, LimitKeyPart, LimitOverride, Route};
use crate::path::Path;

/// Checks those who use limits, where they or what they refer to have changed.
pub(super) fn check(cross: &mut Cross<'_>, any: impl Fn(&[Kind]) -> bool) {
    if any(&[Kind::Listener, Kind::Limit]) {
        listeners(cross);
    }
    if any(&[Kind::Route, Kind::Service, Kind::Limit]) {
        routes(cross);
    }
    if any(&[Kind::Plan, Kind::Limit]) {
        for plan in cross.plans.values().copied().collect::<Vec<_>>() {
            overrides(cross, plan.entry, &plan.model.limits);
        }
    }
    if any(&[Kind::Tenant, Kind::Limit]) {
        for tenant in cross.tenants.values().copied().collect::<Vec<_>>() {
            overrides(cross, tenant.entry, &tenant.model.limits.overrides);
        }
    }
}

/// A listener's limits are asked before a route is known.
fn listeners(cross: &mut Cross<'_>) {
    for listener in cross.listeners.values().copied().collect::<Vec<_>>() {
        for (n, name) in listener.model.limits.iter().enumerate() {
            let Some(limit) = cross.limits.get(name).copied() else { continue };
            for part in limit.model.key.iter().filter(|part| !part.is_of_the_request()) {
                let word = word(part);
                let message = format!("limit \"{name}\" counts by {word}, which is not known before a route is");
                let help = format!(
                    "give Limit \"{name}\" a key of clientIp, header, cookie, query or constant alone, such as \
                     [clientIp], or name it in a route"
                );
                let path = Path::Root.key("limits");
                cross.conflict(listener.entry, &path.index(n), message, help, vec![id(Kind::Limit, name)]);
            }
        }
    }
}

fn routes(cross: &mut Cross<'_>) {
    let root = Path::Root;
    for route in cross.routes.values().copied().collect::<Vec<_>>() {
        for (n, name) in route.model.limits.iter().enumerate() {
            for (part, help) in missing(cross, route.model, name) {
                let message = format!("limit \"{name}\" counts by {part}, and this route has none");
                let path = root.key("limits");
                cross.conflict(route.entry, &path.index(n), message, help.to_owned(), vec![id(Kind::Limit, name)]);
            }
        }
        let Action::Forward(forward) = &route.model.action else { continue };
        let service = &forward.service;
        let Some(found) = cross.services.get(service).copied() else { continue };
        for name in &found.model.limits {
            for (part, help) in missing(cross, route.model, name) {
                let message =
                    format!("limit \"{name}\" of service \"{service}\" counts by {part}, and this route has none");
                let involved = vec![id(Kind::Service, service), id(Kind::Limit, name)];
                cross.conflict(route.entry, &root.key("service"), message, help.to_owned(), involved);
            }
        }
    }
}

/// Values of one's own that limits cannot do with.
fn overrides(cross: &mut Cross<'_>, of: &Entry, own: &BTreeMap<Name, LimitOverride>) {
    let root = Path::Root;
    let at = root.key("limits");
    for (name, own) in own {
        let Some(limit) = cross.limits.get(name).copied() else { continue };
        for misfit in tenant_misfits(limit.model, own) {
            let path = at.key(name.as_str());
            let field = path.key(misfit.field);
            let path = if misfit.field.is_empty() { &path } else { &field };
            cross.conflict(of, path, misfit.message, misfit.help, vec![id(Kind::Limit, name)]);
        }
    }
}

/// The parts of a limit's key that this route's requests do not have, and what to do about it.
fn missing(cross: &Cross<'_>, route: &Route, limit: &Name) -> Vec<(&'static str, &'static str)> {
    let limit = cross.limits.get(limit);
    let key = limit.into_iter().flat_map(|limit| &limit.model.key);
    key.filter_map(|part| Some((word(part), without(route, part)?))).collect()
}

/// What to do about a part of a key that this route's requests do not have.
fn without(route: &Route, part: &LimitKeyPart) -> Option<&'static str> {
    let (grid, service) = match &route.action {
        Action::Forward(forward) => (forward.grid.is_some(), true),
        Action::Redirect(_) | Action::Respond(_) => (false, false),
    };
    match part {
        LimitKeyPart::Tenant if route.tenant.is_none() => {
            Some("add `tenant: {from: […]}` to the route, or use a limit with another key")
        }
        LimitKeyPart::Cell if !grid => Some("add `grid:` to the route, or use a limit with another key"),
        LimitKeyPart::Service if !service => Some("use a limit with another key, such as [route]"),
        LimitKeyPart::Tenant
        | LimitKeyPart::Cell
        | LimitKeyPart::Service
        | LimitKeyPart::Route
        | LimitKeyPart::ClientIp
        | LimitKeyPart::Header(_)
        | LimitKeyPart::Cookie(_)
        | LimitKeyPart::Query(_)
        | LimitKeyPart::Constant(_) => None,
    }
}

fn word(part: &LimitKeyPart) -> &'static str {
    match part {
        LimitKeyPart::Tenant => "tenant",
        LimitKeyPart::Route => "route",
        LimitKeyPart::Service => "service",
        LimitKeyPart::Cell => "cell",
        LimitKeyPart::ClientIp => "client address",
        LimitKeyPart::Header(_) => "header",
        LimitKeyPart::Cookie(_) => "cookie",
        LimitKeyPart::Query(_) => "query parameter",
        LimitKeyPart::Constant(_) => "constant",
    }
}
