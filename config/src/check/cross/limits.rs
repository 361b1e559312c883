//! Limits whose key has a part that a route or tenant does not have.

use super::{Cross, id};
use crate::ids::Kind;
use crate::model::{Action, LimitKeyPart, Route};
use crate::path::Path;

pub(super) fn check(cross: &mut Cross<'_>) {
    for route in cross.routes.values().copied().collect::<Vec<_>>() {
        for (n, name) in route.model.limits.iter().enumerate() {
            let Some(limit) = cross.limits.get(name).copied() else { continue };
            for (part, help) in limit.model.key.iter().filter_map(|part| Some((part, without(route.model, part)?))) {
                let message = format!("limit \"{name}\" counts by {}, and this route has none", word(part));
                let path = Path::Root.key("limits");
                cross.conflict(route.entry, &path.index(n), message, help.to_owned(), vec![id(Kind::Limit, name)]);
            }
        }
    }
    overrides(cross);
}

/// A tenant's own values need a count of its own.
fn overrides(cross: &mut Cross<'_>) {
    for tenant in cross.tenants.values().copied().collect::<Vec<_>>() {
        for name in tenant.model.limits.overrides.keys() {
            let Some(limit) = cross.limits.get(name).copied() else { continue };
            if !limit.model.key.contains(&LimitKeyPart::Tenant) {
                let message =
                    format!("limit \"{name}\" does not count by tenant, so that no tenant can have its own values");
                let help = format!("add `tenant` to the key of Limit \"{name}\", or remove this");
                let path = Path::Root.key("limits");
                cross.conflict(tenant.entry, &path.key(name.as_str()), message, help, vec![id(Kind::Limit, name)]);
            }
        }
    }
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
