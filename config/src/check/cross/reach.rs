//! Whether every service that a route names can be reached wherever the route may send a request.
//!
//! The problem is the route's: the service may be all right for others, and leaving the route out harms nobody else.

use hashbrown::HashMap;

use super::{Cross, id};
use crate::generation::Entry;
use crate::ids::{Kind, Name};
use crate::model::{Action, CellState, UpstreamProtocol};
use crate::path::Path;
use crate::problem::quoted_list;
use crate::raw;

/// Why a service cannot be reached in some cells of a grid.
#[derive(Default)]
struct Unreached<'a> {
    /// They have no ingress and the service has no endpoints there.
    nothing: Vec<&'a Name>,
    /// They have an ingress and the service has no `host`.
    no_host: Vec<&'a Name>,
}

pub(super) fn check(cross: &mut Cross<'_>) {
    // Thousands of routes share a few pairs of grid and service.
    let mut known: HashMap<(&Name, &Name), Unreached<'_>> = HashMap::new();
    for route in cross.routes.values().copied().collect::<Vec<_>>() {
        let Action::Forward(forward) = &route.model.action else { continue };
        let service = &forward.service;
        let Some(found) = cross.services.get(service).copied() else { continue };
        if forward.grpc_web && found.model.protocol == UpstreamProtocol::Http1 {
            let message = format!("service \"{service}\" speaks HTTP/1.1, over which there is no gRPC");
            let help = format!("write `protocol: h2` in Service \"{service}\", or leave `grpcWeb` out");
            let at = Path::Root.key("grpcWeb");
            cross.conflict(route.entry, &at, message, help, vec![id(Kind::Service, service)]);
            continue;
        }
        let Some(grid) = &forward.grid else {
            if !lists_endpoints(found.entry) {
                let message = format!("service \"{service}\" has no `endpoints` for a route without a grid");
                let help = format!("add `endpoints: {{blue: […]}}` to Service \"{service}\", or `grid:` to the route");
                cross.conflict(
                    route.entry,
                    &Path::Root.key("service"),
                    message,
                    help,
                    vec![id(Kind::Service, service)],
                );
            }
            continue;
        };
        let unreached = known.entry((grid, service)).or_insert_with(|| unreached(cross, grid, service));
        let Some((message, help)) = explain(unreached, grid, service) else { continue };
        let cells = unreached.nothing.iter().chain(&unreached.no_host).map(|cell| id(Kind::Cell, cell));
        let involved = [id(Kind::Grid, grid), id(Kind::Service, service)].into_iter().chain(cells).collect();
        cross.conflict(route.entry, &Path::Root.key("service"), message, help, involved);
    }
}

/// Whether a service says what routes without a grid reach it by. An empty list does: its endpoints register themselves.
fn lists_endpoints(service: &Entry) -> bool {
    match &service.source.raw {
        raw::Document::Service(raw) => raw.endpoints.is_some(),
        raw::Document::Listener(_)
        | raw::Document::Certificate(_)
        | raw::Document::Grid(_)
        | raw::Document::Cell(_)
        | raw::Document::Route(_)
        | raw::Document::Limit(_)
        | raw::Document::Plan(_)
        | raw::Document::Shift(_)
        | raw::Document::Move(_)
        | raw::Document::Tenant(_) => false,
    }
}

/// An offline cell serves nobody, so that it may lack a service.
fn unreached<'a>(cross: &Cross<'a>, grid: &Name, service: &Name) -> Unreached<'a> {
    let mut unreached = Unreached::default();
    let (Some(grid), Some(service)) = (cross.grids.get(grid), cross.services.get(service)) else { return unreached };
    for name in &grid.model.cells {
        let Some(cell) = cross.cells.get(name) else { continue };
        let own = service.model.cells.contains_key(name);
        let ingress = !cell.model.ingress.is_empty();
        match (own || cell.model.state == CellState::Offline, ingress, service.model.host.is_some()) {
            (true, _, _) | (false, true, true) => {}
            (false, true, false) => unreached.no_host.push(name),
            (false, false, _) => unreached.nothing.push(name),
        }
    }
    unreached
}

fn explain(unreached: &Unreached<'_>, grid: &Name, service: &Name) -> Option<(String, String)> {
    let names = |cells: &[&Name]| {
        let word = if cells.len() == 1 { "cell" } else { "cells" };
        format!("{word} {}", quoted_list(cells.iter().map(|cell| cell.as_str())))
    };
    let all: Vec<&Name> = unreached.nothing.iter().chain(&unreached.no_host).copied().collect();
    let example = all.first()?;
    let message = format!("service \"{service}\" cannot be reached in {} of grid \"{grid}\"", names(&all));
    let help = if unreached.nothing.is_empty() {
        format!(
            "add `host:` to Service \"{service}\", as the ingress knows it by, or its endpoints under `cells: {{{example}: …}}`"
        )
    } else {
        format!(
            "add `cells: {{{example}: {{blue: […]}}}}` to Service \"{service}\", or an `ingress` to Cell \"{example}\" and a \
             `host` to the service"
        )
    };
    Some((message, help))
}
