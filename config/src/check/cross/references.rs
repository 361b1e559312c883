//! References that lead nowhere.

use std::collections::BTreeMap;

use super::{All, Conflict, Cross, id};
use crate::generation::Entry;
use crate::ids::{Kind, Name};
use crate::model::{Action, LimitOverride};
use crate::path::Path;
use crate::problem::{Problem, did_you_mean, quoted, quoted_list};
use crate::raw;

/// Checks the kinds that refer to something, where they or what they refer to have changed.
pub(super) fn check(cross: &mut Cross<'_>, any: impl Fn(&[Kind]) -> bool) {
    let mut dangling = Vec::new();
    if any(&[Kind::Route, Kind::Listener, Kind::Limit, Kind::Grid, Kind::Service]) {
        routes(cross, &mut dangling);
    }
    if any(&[Kind::Grid, Kind::Cell]) {
        grids(cross, &mut dangling);
    }
    if any(&[Kind::Listener, Kind::Limit, Kind::Certificate]) {
        listeners(cross, &mut dangling);
    }
    if any(&[Kind::Service, Kind::Cell, Kind::Limit, Kind::Certificate]) {
        services(cross, &mut dangling);
    }
    if any(&[Kind::Plan, Kind::Limit]) {
        plans(cross, &mut dangling);
    }
    if any(&[Kind::Shift, Kind::Service, Kind::Cell]) {
        shifts(cross, &mut dangling);
    }
    if any(&[Kind::Move, Kind::Grid, Kind::Cell]) {
        moves(cross, &mut dangling);
    }
    if any(&[Kind::Tenant, Kind::Grid, Kind::Cell, Kind::Limit, Kind::Plan]) {
        tenants(cross, &mut dangling);
    }
    cross.conflicts.append(&mut dangling);
}

fn routes(cross: &Cross<'_>, out: &mut Vec<Conflict>) {
    let root = Path::Root;
    for route in cross.routes.values() {
        for (n, listener) in route.model.listeners.iter().enumerate() {
            look_up(&cross.listeners, Kind::Listener, listener, route.entry, &root.key("listeners").index(n), out);
        }
        limits(cross, &route.model.limits, route.entry, &root.key("limits"), out);
        if let Action::Forward(forward) = &route.model.action {
            if let Some(grid) = &forward.grid {
                look_up(&cross.grids, Kind::Grid, grid, route.entry, &root.key("grid"), out);
            }
            look_up(&cross.services, Kind::Service, &forward.service, route.entry, &root.key("service"), out);
        }
    }
}

fn grids(cross: &Cross<'_>, out: &mut Vec<Conflict>) {
    let at = Path::Root.key("cells");
    for grid in cross.grids.values() {
        for cell in &grid.model.cells {
            look_up(&cross.cells, Kind::Cell, cell, grid.entry, &at.index(written_index(grid.entry, cell)), out);
        }
    }
}

/// Where a cell is in the grid's list as written; the model's is sorted.
pub(super) fn written_index(grid: &Entry, cell: &Name) -> usize {
    match &grid.source.raw {
        raw::Document::Grid(raw) => raw.cells.iter().position(|name| name == cell.as_str()).unwrap_or_default(),
        raw::Document::Listener(_)
        | raw::Document::Certificate(_)
        | raw::Document::Cell(_)
        | raw::Document::Service(_)
        | raw::Document::Route(_)
        | raw::Document::Limit(_)
        | raw::Document::Plan(_)
        | raw::Document::Shift(_)
        | raw::Document::Move(_)
        | raw::Document::Tenant(_) => 0,
    }
}

fn services(cross: &Cross<'_>, out: &mut Vec<Conflict>) {
    let at = Path::Root.key("cells");
    for service in cross.services.values() {
        for cell in service.model.cells.keys() {
            look_up(&cross.cells, Kind::Cell, cell, service.entry, &at.key(cell.as_str()), out);
        }
        limits(cross, &service.model.limits, service.entry, &Path::Root.key("limits"), out);
        if let Some(name) = service.model.tls.as_ref().and_then(|tls| tls.client_certificate.as_ref()) {
            let path = Path::Root.key("tls");
            let path = path.key("clientCertificate");
            look_up(&cross.certificates, Kind::Certificate, name, service.entry, &path, out);
        }
    }
}

fn tenants(cross: &Cross<'_>, out: &mut Vec<Conflict>) {
    let root = Path::Root;
    for tenant in cross.tenants.values() {
        if let Some(pin) = &tenant.model.pin {
            look_up(&cross.grids, Kind::Grid, &pin.grid, tenant.entry, &root.key("grid"), out);
            look_up(&cross.cells, Kind::Cell, &pin.cell, tenant.entry, &root.key("cell"), out);
        }
        let own = &tenant.model.limits;
        if let Some(plan) = &own.plan {
            look_up(&cross.plans, Kind::Plan, plan, tenant.entry, &root.key("plan"), out);
        }
        overrides(cross, &own.overrides, tenant.entry, out);
        limits(cross, &own.extra, tenant.entry, &root.key("extraLimits"), out);
    }
}

fn plans(cross: &Cross<'_>, out: &mut Vec<Conflict>) {
    for plan in cross.plans.values() {
        overrides(cross, &plan.model.limits, plan.entry, out);
        limits(cross, &plan.model.extra_limits, plan.entry, &Path::Root.key("extraLimits"), out);
    }
}

fn shifts(cross: &Cross<'_>, out: &mut Vec<Conflict>) {
    let root = Path::Root;
    let at = root.key("waves");
    // What has ended is a record of what was.
    for shift in cross.shifts.values().filter(|shift| !shift.model.has_ended()) {
        look_up(&cross.services, Kind::Service, &shift.model.service, shift.entry, &root.key("service"), out);
        for (n, wave) in shift.model.waves.iter().enumerate() {
            for (m, cell) in wave.cells.iter().enumerate() {
                look_up(&cross.cells, Kind::Cell, cell, shift.entry, &at.index(n).key("cells").index(m), out);
            }
        }
    }
}

fn moves(cross: &Cross<'_>, out: &mut Vec<Conflict>) {
    let root = Path::Root;
    // What has ended is a record of what was.
    for one in cross.moves.values().filter(|one| !one.model.has_ended()) {
        look_up(&cross.grids, Kind::Grid, &one.model.grid, one.entry, &root.key("grid"), out);
        look_up(&cross.cells, Kind::Cell, &one.model.from, one.entry, &root.key("from"), out);
        look_up(&cross.cells, Kind::Cell, &one.model.to, one.entry, &root.key("to"), out);
    }
}

fn listeners(cross: &Cross<'_>, out: &mut Vec<Conflict>) {
    for listener in cross.listeners.values() {
        limits(cross, &listener.model.limits, listener.entry, &Path::Root.key("limits"), out);
        let Some(tls) = &listener.model.tls else { continue };
        let at = Path::Root.key("tls");
        let mut find = |name: &Name, path: &Path<'_>| {
            look_up(&cross.certificates, Kind::Certificate, name, listener.entry, path, out);
        };
        for (n, name) in tls.certificates.iter().enumerate() {
            find(name, &at.key("certificates").index(n));
        }
        // What is in the list too was said there.
        if let Some(name) = tls.default.as_ref().filter(|name| !tls.certificates.contains(name)) {
            find(name, &at.key("default"));
        }
    }
}

/// A list of limits.
fn limits(cross: &Cross<'_>, names: &[Name], from: &Entry, path: &Path<'_>, out: &mut Vec<Conflict>) {
    for (n, name) in names.iter().enumerate() {
        look_up(&cross.limits, Kind::Limit, name, from, &path.index(n), out);
    }
}

/// Values of one's own for limits.
fn overrides(cross: &Cross<'_>, own: &BTreeMap<Name, LimitOverride>, from: &Entry, out: &mut Vec<Conflict>) {
    for name in own.keys() {
        look_up(&cross.limits, Kind::Limit, name, from, &Path::Root.key("limits").key(name.as_str()), out);
    }
}

/// Notes a reference to something that does not exist.
fn look_up<T>(known: &All<'_, T>, kind: Kind, name: &Name, from: &Entry, path: &Path<'_>, out: &mut Vec<Conflict>) {
    if known.contains_key(name) {
        return;
    }
    let help = advice(kind, name, || known.keys().map(|name| name.as_str()));
    let missing = id(kind, name);
    let problem = Problem {
        help: Some(help),
        missing: Some(missing.clone()),
        ..from.source.problem(path, format!("there is no {kind} {}", quoted(name.as_str())))
    };
    out.push(Conflict { problem, document: from.source.id.clone(), involved: vec![missing] });
}

/// What to do about a name that is none of those that are known.
pub(in crate::check) fn advice<'a, I: Iterator<Item = &'a str>>(
    kind: Kind,
    name: &Name,
    known: impl Fn() -> I,
) -> String {
    did_you_mean(name.as_str(), known()).unwrap_or_else(|| match known().take(6).count() {
        0 => format!("there is no {kind} at all; add a document of this kind and name"),
        1 => format!("there is only {}", quoted_list(known())),
        2..=5 => format!("there are {}", quoted_list(known())),
        _ => format!("add a document of kind {kind} and this name, or correct the reference"),
    })
}
