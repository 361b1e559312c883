//! What a document says, in a few words for a table.

use gridrouter_config::raw::{
    Cell, CellState, Certificate, Document, Grid, Limit, Listener, Move, PathMatch, Plan, Route, Service, Shift,
    ShiftPhase, Tenant,
};

use crate::table::plural;

/// Names that are listed; the others are counted.
const NAMED: usize = 4;

/// What matters most in a document.
pub fn summary(document: &Document) -> String {
    match document {
        Document::Listener(listener) => of_listener(listener),
        Document::Certificate(certificate) => of_certificate(certificate),
        Document::Grid(grid) => of_grid(grid),
        Document::Cell(cell) => of_cell(cell),
        Document::Service(service) => of_service(service),
        Document::Route(route) => of_route(route),
        Document::Limit(limit) => of_limit(limit),
        Document::Plan(plan) => of_plan(plan),
        Document::Shift(shift) => of_shift(shift),
        Document::Move(one) => of_move(one),
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

fn of_listener(listener: &Listener) -> String {
    let tls = if listener.tls.is_some() { ", TLS" } else { "" };
    format!("{}{tls}", listener.address)
}

fn of_certificate(certificate: &Certificate) -> String {
    let hosts = if certificate.hosts.is_empty() { "its own names".to_owned() } else { list(&certificate.hosts) };
    let from = certificate.files.as_ref().map_or("inline", |files| &files.chain);
    format!("{hosts}: {from}")
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
        (0, Some(tracks)) => plural(tracks.blue.iter().chain(&tracks.green).flatten().count(), "endpoint"),
        (cells, _) => format!("endpoints in {}", plural(cells, "cell")),
    }
}

fn of_shift(shift: &Shift) -> String {
    let cells = shift.waves.iter().map(|wave| wave.cells.len()).sum();
    let (to, cells) = (shift.to.as_str(), plural(cells, "cell"));
    let phase = shift.state.as_ref().map_or(ShiftPhase::Pending, |state| state.phase);
    format!("{} → {to} in {cells}: {}", shift.service, phase.as_str())
}

fn of_move(one: &Move) -> String {
    format!("{} from {} to {}: {}", one.tenant, one.from, one.to, one.state.phase.as_str())
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

/// The algorithm's main values, as written. A good limit has one algorithm.
fn of_limit(limit: &Limit) -> String {
    let window = |limit: u32, window: &str| format!("{limit} in {window}");
    let adaptive =
        |max: Option<u32>| max.map_or("adaptive".to_owned(), |max| format!("adaptive, {max} at once at most"));
    let all = [
        limit.token_bucket.as_ref().map(|one| with_burst(&one.rate, one.burst)),
        limit.leaky_bucket_queue.as_ref().map(|one| format!("{}, evenly", one.rate)),
        limit.leaky_bucket_meter.as_ref().map(|one| with_burst(&one.rate, one.burst)),
        limit.sliding_window.as_ref().map(|one| window(one.limit, &one.window)),
        limit.fixed_window.as_ref().map(|one| window(one.limit, &one.window)),
        limit.warm_up.as_ref().map(|one| format!("{} when warm", one.rate)),
        limit.concurrency.as_ref().map(|one| format!("{} at once", one.limit)),
        limit.adaptive_concurrency.as_ref().map(|one| adaptive(one.max)),
        limit.bandwidth.as_ref().map(|one| with_burst(&one.rate, one.burst.as_ref())),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn with_burst(rate: &str, burst: Option<impl std::fmt::Display>) -> String {
    burst.map_or_else(|| rate.to_owned(), |burst| format!("{rate}, burst {burst}"))
}

fn of_plan(plan: &Plan) -> String {
    plural(plan.limits.len() + plan.extra_limits.len(), "limit")
}

fn of_tenant(tenant: &Tenant) -> String {
    let pin = tenant.grid.as_ref().zip(tenant.cell.as_ref()).map(|(grid, cell)| format!("{cell} in {grid}"));
    let plan = tenant.plan.as_ref().map(|plan| format!("plan {plan}"));
    let limits = tenant.limits.len() + tenant.extra_limits.len();
    let limits = (limits > 0).then(|| plural(limits, "limit"));
    [pin, plan, limits].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
