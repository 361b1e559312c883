//! What a document says, in a few words for a table.

use gridrouter_config::raw::{Cell, CellState, Document, Grid, Limit, PathMatch, Route, Service, Tenant};

use crate::table::plural;

/// Names that are listed; the others are counted.
const NAMED: usize = 4;

/// What matters most in a document.
pub fn summary(document: &Document) -> String {
    match document {
        Document::Listener(listener) => listener.address.clone(),
        Document::Grid(grid) => of_grid(grid),
        Document::Cell(cell) => of_cell(cell),
        Document::Service(service) => of_service(service),
        Document::Route(route) => of_route(route),
        Document::Limit(limit) => of_limit(limit),
        Document::Tenant(tenant) => of_tenant(tenant),
    }
}

fn list(names: &[String]) -> String {
    let shown = names.get(..NAMED).unwrap_or(names).join(", ");
    match names.len().checked_sub(NAMED).filter(|more| *more > 0) {
        Some(more) => format!("{shown} and {more} more"),
        None => shown,
    }
}

fn of_grid(grid: &Grid) -> String {
    format!("{}: {}", plural(grid.cells.len(), "cell"), list(&grid.cells))
}

fn of_cell(cell: &Cell) -> String {
    let state = match cell.state {
        None | Some(CellState::Active) => "active",
        Some(CellState::Draining) => "draining",
        Some(CellState::Offline) => "offline",
    };
    format!("{state}, weight {}", cell.weight.unwrap_or(100))
}

fn of_service(service: &Service) -> String {
    match (service.cells.len(), &service.endpoints) {
        (0, None) => "through each cell's ingress".to_owned(),
        (0, Some(tracks)) => plural(tracks.blue.iter().flatten().count() + tracks.green.len(), "endpoint"),
        (cells, _) => format!("endpoints in {}", plural(cells, "cell")),
    }
}

fn of_route(route: &Route) -> String {
    let hosts = if route.hosts.is_empty() { "any host".to_owned() } else { list(&route.hosts) };
    let path = |path: &PathMatch| match path {
        PathMatch::Exact(text) => text.clone(),
        PathMatch::Prefix(text) => format!("{text}…"),
        PathMatch::Regex(text) => format!("~{text}"),
    };
    let paths: Vec<String> = route.paths.iter().map(path).collect();
    let to = match (&route.service, &route.grid) {
        (Some(service), Some(grid)) => format!(" → {service} in {grid}"),
        (Some(service), None) => format!(" → {service}"),
        (None, _) => String::new(),
    };
    format!("{hosts} {}{to}", list(&paths))
}

fn of_limit(limit: &Limit) -> String {
    let bucket = limit.token_bucket.iter().map(|bucket| match bucket.burst {
        Some(burst) => format!("{}, burst {burst}", bucket.rate),
        None => bucket.rate.clone(),
    });
    bucket.collect()
}

fn of_tenant(tenant: &Tenant) -> String {
    let pin = match (&tenant.grid, &tenant.cell) {
        (Some(grid), Some(cell)) => format!("{cell} in {grid}"),
        (Some(_), None) | (None, Some(_) | None) => String::new(),
    };
    match tenant.limits.len() {
        0 => pin,
        limits if pin.is_empty() => plural(limits, "limit"),
        limits => format!("{pin}, {}", plural(limits, "limit")),
    }
}
