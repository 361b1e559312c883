//! model + the snapshot before → a new snapshot. Pure, and its cost follows the change: what did not change is the same
//! `Arc` in the model, and what was compiled from it is taken over.

use std::sync::Arc;
use std::time::Duration;

use gridrouter_config::ids::Name;
use gridrouter_config::model::{self, Model, Placement};
use gridrouter_config::registrations::Registrations;
use gridrouter_config::resolved::{self, Resolved};

use super::fences::Fences;
use super::limits::{Limits, QuotaCache, quotas_of};
use super::names::Names;
use super::split;
use super::targets::TargetCache;
use super::{
    ActionPlan, CellPlan, ForwardPlan, GridPlan, LimitPlans, ListenerPlan, RoutePlan, Snapshot, Tenants,
    replaced_prefix,
};
use crate::placement::ring::{self, Candidate};
use crate::routing::RouteTable;

/// Compiles a checked model, with the endpoints that registered themselves and what names of others were resolved to.
pub fn compile(
    model: Arc<Model>,
    registrations: Arc<Registrations>,
    resolved: Arc<Resolved>,
    generation: u64,
    digest: Arc<str>,
    old: Option<&Snapshot>,
    names: &mut Names,
) -> Snapshot {
    let same = Unchanged::between(old, &model);
    let tenants = tenants(&model, old.filter(|_| same.limits && same.plans), names);
    let compiled_in = Duration::ZERO;
    let same_moves = old.filter(|old| Arc::ptr_eq(&old.model.moves, &model.moves));
    let fences = same_moves.map_or_else(|| Fences::of(&model, names), |old| old.fences.clone());
    let same_live =
        |old: &&Snapshot| Arc::ptr_eq(&old.registrations, &registrations) && Arc::ptr_eq(&old.resolved, &resolved);
    if let Some(old) = old.filter(|_| same.all()).filter(same_live) {
        let (listeners, routes, grids) = (old.listeners.clone(), Arc::clone(&old.routes), old.grids.clone());
        let (cells, runs) = (old.cells.clone(), Arc::clone(&old.runs));
        return Snapshot {
            generation,
            digest,
            model,
            registrations,
            resolved,
            keys: Arc::clone(&names.keys),
            listeners,
            routes,
            grids,
            cells,
            runs,
            tenants,
            fences,
            reserved_headers: old.reserved_headers.clone(),
            compiled_in,
        };
    }
    let cells = cells(&model, names);
    let grids = grids(&model, old, same.cells, names);
    let limits = Limits::prepare(&model, names);
    let routes: Arc<[_]> = routes(&model, (&registrations, &resolved), old, &same, &limits, names).into();
    let listeners = listeners(&model, old, &routes, &limits, names);
    let runs = old.filter(|_| same.shifts && same.services).map(|old| Arc::clone(&old.runs));
    let runs = runs.unwrap_or_else(|| split::runs(&model, names));
    let reserved_headers = reserved_headers(&model);
    Snapshot {
        generation,
        digest,
        model,
        registrations,
        resolved,
        keys: Arc::clone(&names.keys),
        listeners,
        routes,
        grids,
        cells,
        runs,
        tenants,
        fences,
        reserved_headers,
        compiled_in,
    }
}

/// The headers that tell of clients' certificates on any listener.
fn reserved_headers(model: &Model) -> Option<Arc<[http::HeaderName]>> {
    let tls = model.listeners.values().filter_map(|listener| listener.tls.as_ref()?.client_certificates.as_ref());
    let mut names: Vec<_> = tls.flat_map(|clients| clients.forward.names()).cloned().collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    (!names.is_empty()).then(|| names.into())
}

/// Which kinds are the same as in the snapshot before, to the pointer.
#[allow(clippy::struct_excessive_bools, reason = "they are independent facts, one a kind")]
struct Unchanged {
    grids: bool,
    cells: bool,
    services: bool,
    limits: bool,
    plans: bool,
    routes: bool,
    shifts: bool,
    listeners: bool,
}

impl Unchanged {
    /// Whether nothing differs but tenants.
    fn all(&self) -> bool {
        self.grids && self.cells && self.services && self.limits && self.routes && self.shifts && self.listeners
    }

    fn between(old: Option<&Snapshot>, new: &Model) -> Self {
        let Some(old) = old.map(|old| &old.model) else {
            return Self {
                grids: false,
                cells: false,
                services: false,
                limits: false,
                plans: false,
                routes: false,
                shifts: false,
                listeners: false,
            };
        };
        Self {
            grids: Arc::ptr_eq(&old.grids, &new.grids),
            cells: Arc::ptr_eq(&old.cells, &new.cells),
            services: Arc::ptr_eq(&old.services, &new.services),
            limits: Arc::ptr_eq(&old.limits, &new.limits),
            plans: Arc::ptr_eq(&old.plans, &new.plans),
            routes: Arc::ptr_eq(&old.routes, &new.routes),
            shifts: Arc::ptr_eq(&old.shifts, &new.shifts),
            listeners: Arc::ptr_eq(&old.listeners, &new.listeners),
        }
    }
}

/// Puts `value` at `index` of a sparse table.
pub(super) fn put<T>(table: &mut Vec<Option<T>>, index: u32, value: T) {
    let index = index as usize;
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
    if let Some(slot) = table.get_mut(index) {
        *slot = Some(value);
    }
}

pub(super) fn text(name: &Name) -> Arc<str> {
    name.as_str().into()
}

fn cells(model: &Model, names: &mut Names) -> Vec<Option<CellPlan>> {
    let mut cells = Vec::new();
    for cell in model.cells.values() {
        put(&mut cells, names.cells.of(text(&cell.name)), CellPlan { name: cell.name.clone(), state: cell.state });
    }
    cells
}

fn grids(model: &Model, old: Option<&Snapshot>, same_cells: bool, names: &mut Names) -> Vec<Option<Arc<GridPlan>>> {
    let mut grids = Vec::new();
    for grid in model.grids.values() {
        let id = names.grids.of(text(&grid.name));
        let before = old.and_then(|old| old.grids.get(id as usize)?.as_ref());
        let plan = match before {
            Some(plan) if same_cells && Arc::ptr_eq(&plan.document, grid) => Arc::clone(plan),
            _ => Arc::new(place(model, grid, id, before.map(|plan| &**plan), names)),
        };
        put(&mut grids, id, plan);
    }
    grids
}

/// Computes a grid's assignment, unless nothing that it depends on changed.
fn place(model: &Model, grid: &Arc<model::Grid>, id: u32, before: Option<&GridPlan>, names: &mut Names) -> GridPlan {
    let Placement::Ring(parameters) = grid.placement;
    let active: Vec<&model::Cell> = grid
        .cells
        .iter()
        .filter_map(|name| model.cells.get(name).map(|cell| &**cell))
        .filter(|cell| cell.state == model::CellState::Active)
        .collect();
    let candidates: Vec<Candidate<'_>> =
        active.iter().map(|cell| Candidate { name: cell.name.as_str(), weight: cell.weight }).collect();
    let placed: Box<[u32]> = active.iter().map(|cell| names.cells.of(text(&cell.name))).collect();
    let _ = before;
    let assignment = Arc::new(ring::assign(&candidates, parameters.virtual_nodes, parameters.bounded_load));
    GridPlan { document: Arc::clone(grid), id, placed, assignment }
}

fn routes(
    model: &Model,
    (registrations, resolved): (&Registrations, &Resolved),
    old: Option<&Snapshot>,
    same: &Unchanged,
    limits: &Limits,
    names: &mut Names,
) -> Vec<Arc<RoutePlan>> {
    let reusable = same.grids && same.cells && same.services && same.limits;
    let before: hashbrown::HashMap<*const model::Route, &Arc<RoutePlan>> = old
        .filter(|_| reusable)
        .map(|old| old.routes.iter().map(|plan| (Arc::as_ptr(&plan.document), plan)).collect())
        .unwrap_or_default();
    let mut targets = TargetCache::new(model, registrations, resolved);
    // Of a service whose endpoints come and go by themselves, or whose traffic moves, only the routes to it are compiled
    // again.
    let mut moved = old.map(|old| registrations.differing(&old.registrations)).unwrap_or_default();
    if let Some(old) = old {
        moved.extend(resolved::reached_by(model, &resolved.differing(&old.resolved)));
    }
    if let Some(old) = old.filter(|_| !same.shifts) {
        moved.extend(split::moved(&old.model, model));
    }
    let stays = |route: &model::Route| match &route.action {
        model::Action::Forward(forward) => !moved.contains(&forward.service),
        model::Action::Redirect(_) | model::Action::Respond(_) => true,
    };
    let mut shared = Shared::default();
    model
        .routes
        .values()
        .filter_map(|route| match before.get(&Arc::as_ptr(route)) {
            Some(plan) if stays(route) => Some(Arc::clone(plan)),
            before => {
                let before = before.map(|plan| &plan.action);
                route_plan(route, before, limits, &mut targets, &mut shared, names).map(Arc::new)
            }
        })
        .collect()
}

/// Compiles one route. `None` only where a reference does not resolve, which the check has excluded.
fn route_plan(
    route: &Arc<model::Route>,
    before: Option<&ActionPlan>,
    limits: &Limits,
    targets: &mut TargetCache<'_>,
    shared: &mut Shared,
    names: &mut Names,
) -> Option<RoutePlan> {
    let action = match &route.action {
        model::Action::Forward(forward) => ActionPlan::Forward(ForwardPlan {
            grid: forward.grid.as_ref().map(|grid| names.grids.of(text(grid))),
            service: forward.service.clone(),
            host: forward.host_rewrite.clone(),
            targets: targets.of(&forward.service, forward.grid.as_ref(), before, names)?,
        }),
        model::Action::Redirect(_) => ActionPlan::Redirect,
        model::Action::Respond(fixed) => ActionPlan::Respond {
            status: fixed.status,
            body: bytes::Bytes::copy_from_slice(fixed.body.as_bytes()),
            content_type: fixed.content_type.clone(),
        },
    };
    Some(RoutePlan {
        document: Arc::clone(route),
        id: names.routes.of(text(&route.name)),
        rewrites: replaced_prefix(&route.action).is_some(),
        tenant: route.tenant.as_ref().map(|rule| shared.rule(rule)),
        action,
        limits: shared.limits(route, targets.model(), limits),
    })
}

/// What many routes say alike, made once for all of them.
#[derive(Default)]
struct Shared {
    rules: Vec<Arc<model::TenantRule>>,
    limits: hashbrown::HashMap<Vec<Name>, Arc<LimitPlans>>,
}

impl Shared {
    /// Different rules that are looked through for one that is the same. People write a few; were there thousands,
    /// looking through them all would take longer than what it saves.
    const RULES: usize = 64;

    fn rule(&mut self, rule: &model::TenantRule) -> Arc<model::TenantRule> {
        if let Some(known) = self.rules.iter().find(|known| ***known == *rule) {
            return Arc::clone(known);
        }
        let made = Arc::new(rule.clone());
        if self.rules.len() < Self::RULES {
            self.rules.push(Arc::clone(&made));
        }
        made
    }

    /// The limits of a route and of the service behind it.
    fn limits(&mut self, route: &model::Route, model: &Model, limits: &Limits) -> Arc<LimitPlans> {
        let service = match &route.action {
            model::Action::Forward(forward) => model.services.get(&forward.service),
            model::Action::Redirect(_) | model::Action::Respond(_) => None,
        };
        let mut names = route.limits.clone();
        let more = service.iter().flat_map(|service| &service.limits).filter(|name| !route.limits.contains(name));
        names.extend(more.cloned());
        let made = || limits.of(&names);
        Arc::clone(self.limits.entry_ref(names.as_slice()).or_insert_with(made))
    }
}

fn listeners(
    model: &Model,
    old: Option<&Snapshot>,
    routes: &[Arc<RoutePlan>],
    limits: &Limits,
    names: &mut Names,
) -> Vec<Option<ListenerPlan>> {
    let mut shared: Vec<(Vec<u32>, Arc<RouteTable>)> = Vec::new();
    let same_routes = old.is_some_and(|old| Arc::ptr_eq(&old.model.routes, &model.routes));
    let mut listeners = Vec::new();
    for listener in model.listeners.values() {
        let id = names.listeners.of(text(&listener.name));
        let before = old.and_then(|old| old.listener(id)).filter(|_| same_routes);
        let table = match before {
            Some(plan) => Arc::clone(&plan.table),
            None => table_for(&listener.name, routes, &mut shared),
        };
        let limits = limits.of(&listener.limits);
        put(&mut listeners, id, ListenerPlan { document: Arc::clone(listener), table, limits, gone: false });
    }
    // Connections that came by a listener that is gone are still there.
    for plan in old.iter().flat_map(|old| old.listeners.iter().flatten()) {
        let id = names.listeners.of(text(&plan.document.name));
        if listeners.get(id as usize).is_none_or(Option::is_none) {
            let table = table_for(&plan.document.name, routes, &mut shared);
            let limits = limits.of(&plan.document.limits);
            put(&mut listeners, id, ListenerPlan { document: Arc::clone(&plan.document), table, limits, gone: true });
        }
    }
    listeners
}

/// The route table of a listener; listeners that serve the same routes share one.
fn table_for(
    listener: &Name,
    routes: &[Arc<RoutePlan>],
    shared: &mut Vec<(Vec<u32>, Arc<RouteTable>)>,
) -> Arc<RouteTable> {
    let serves = |route: &model::Route| route.listeners.is_empty() || route.listeners.contains(listener);
    let own: Vec<u32> =
        (0_u32..).zip(routes).filter(|(_, route)| serves(&route.document)).map(|(index, _)| index).collect();
    if let Some((_, table)) = shared.iter().find(|(indices, _)| *indices == own) {
        return Arc::clone(table);
    }
    let documents = own.iter().filter_map(|&i| routes.get(i as usize).map(|route| (i, &*route.document)));
    let table = Arc::new(RouteTable::build(documents));
    shared.push((own, Arc::clone(&table)));
    table
}

/// The tenants: their table is taken as it is, and what its rows share is compiled if there is any news in it. `old` is
/// the snapshot before, if no limit differs.
fn tenants(model: &Model, old: Option<&Snapshot>, names: &mut Names) -> Tenants {
    let table = model.tenants.clone();
    if let Some(old) = old.filter(|old| old.tenants.table().same_numbers(&table)) {
        return old.tenants.again(table);
    }
    let limits = Limits::prepare(model, names);
    let (mut pins, mut quotas, mut cache) = (Vec::new(), Vec::new(), QuotaCache::default());
    for (number, pin) in table.pins() {
        put(&mut pins, number, (names.grids.of(text(&pin.grid)), names.cells.of(text(&pin.cell))));
    }
    for (number, own) in table.limits() {
        let before = old.and_then(|old| old.tenants.quotas_of(number, own));
        put(
            &mut quotas,
            number,
            before.unwrap_or_else(|| Arc::new(quotas_of(&own.model, &model.plans, &limits, &mut cache))),
        );
    }
    Tenants::new(table, pins.into(), quotas.into())
}
