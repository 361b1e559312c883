//! References that lead nowhere.

use super::{All, Conflict, Cross, id};
use crate::generation::Entry;
use crate::ids::{Kind, Name};
use crate::model::Action;
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
    if any(&[Kind::Service, Kind::Cell]) {
        services(cross, &mut dangling);
    }
    if any(&[Kind::Tenant, Kind::Grid, Kind::Cell, Kind::Limit]) {
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
        for (n, limit) in route.model.limits.iter().enumerate() {
            look_up(&cross.limits, Kind::Limit, limit, route.entry, &root.key("limits").index(n), out);
        }
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
        | raw::Document::Cell(_)
        | raw::Document::Service(_)
        | raw::Document::Route(_)
        | raw::Document::Limit(_)
        | raw::Document::Tenant(_) => 0,
    }
}

fn services(cross: &Cross<'_>, out: &mut Vec<Conflict>) {
    let at = Path::Root.key("cells");
    for service in cross.services.values() {
        for cell in service.model.cells.keys() {
            look_up(&cross.cells, Kind::Cell, cell, service.entry, &at.key(cell.as_str()), out);
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
        for limit in tenant.model.limits.overrides.keys() {
            look_up(&cross.limits, Kind::Limit, limit, tenant.entry, &root.key("limits").key(limit.as_str()), out);
        }
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
