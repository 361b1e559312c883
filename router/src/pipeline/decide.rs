//! What happens to a request: route, tenant, cell, track, limits, endpoints. Pure: no await, no I/O, the time and the dice
//! as arguments.
//!
//! The order matters. The route comes first because it says where the tenant is found and what follows. The cell comes
//! before the limits because a limit may be keyed by it, and because a request that has nowhere to go should cost its
//! tenant nothing. The track comes with the cell, once for each request: neither a retry nor a wait changes it. The
//! endpoint comes last: it is the only stage whose choice must be given back.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use gridrouter_config::certificate::Facts as Certificate;
use gridrouter_config::model::{CellState, Otherwise};
use http::{HeaderValue, Method, Uri};
use ipnet::IpNet;

use super::admission::{Admission, Limiter, OnRoute, Who, admit, expect};
use super::track::{self, OnTrack};
use super::upgrade;
use crate::clock::Nanos;
use crate::http::fields::Fields;
use crate::http::forwarded::client_address;
use crate::http::reject::Reject;
use crate::http::target::Target;
use crate::limit::key::KeyPart;
use crate::placement;
use crate::routing::{Match, Request};
use crate::snapshot::fences::{Fence, is_write};
use crate::snapshot::{ActionPlan, EndpointGroup, RoutePlan, Snapshot, TenantPlan, replaced_prefix};
use crate::tenant;

/// What is known of a request.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The listener it came by, by stable number.
    pub listener: u32,
    /// Who is at the other end of the connection.
    pub peer: IpAddr,
    /// What keys of limits have of that address.
    pub peer_network: KeyPart,
    /// Networks whose forwarding headers are believed.
    pub trusted_proxies: &'a [IpNet],
    /// The method.
    pub method: &'a Method,
    /// The headers, as received.
    pub headers: &'a Fields,
    /// What it is addressed to, checked.
    pub target: &'a Target<'a>,
    /// What the client's certificate says, if it has shown one.
    pub certificate: Option<&'a Certificate>,
}

/// What happens to a request.
#[derive(Debug)]
pub struct Decision<'a, 'r> {
    /// The route.
    pub route: &'a Arc<RoutePlan>,
    /// Its position in the snapshot.
    pub index: u32,
    /// Where it goes.
    pub destination: Destination<'a>,
    /// Whose it is, and where that tenant is placed.
    pub placed: Option<Placed<'r>>,
}

/// A tenant and its place.
#[derive(Debug, Clone)]
pub struct Placed<'r> {
    /// The tenant's id.
    pub tenant: Cow<'r, str>,
    /// The hash of the id.
    pub hash: u64,
    /// Its bucket and cell, where the route has a grid.
    pub cell: Option<Place>,
}

/// A tenant's place in a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The bucket.
    pub bucket: u16,
    /// The cell, by stable number.
    pub cell: u32,
    /// Whether a pin says so.
    pub pinned: bool,
}

/// Where a request goes.
#[derive(Debug)]
pub enum Destination<'a> {
    /// Nowhere: the route answers by itself.
    Own {
        /// Bytes of the path that the route's prefix took.
        prefix_len: usize,
    },
    /// To an endpoint of this group.
    Endpoint {
        /// The endpoints, those of the track that it is on.
        group: &'a Arc<EndpointGroup>,
        /// The track, while a shift is under way.
        on: Option<OnTrack<'a>>,
        /// The `Host` to send, where the place is a cell's ingress.
        host: Option<&'a HeaderValue>,
        /// Bytes of the path that the route's prefix took.
        prefix_len: usize,
    },
}

impl Destination<'_> {
    /// Bytes of the path that the route's prefix took.
    pub fn prefix_len(&self) -> usize {
        match self {
            Destination::Own { prefix_len } | Destination::Endpoint { prefix_len, .. } => *prefix_len,
        }
    }
}

/// A request refused.
#[derive(Debug)]
pub struct Refusal<'a, 'r> {
    /// Why.
    pub reject: Reject,
    /// The route, where one matched.
    pub route: Option<&'a Arc<RoutePlan>>,
    /// What the log says.
    pub why: &'static str,
    /// Whose it is, as far as that is known.
    pub tenant: Option<Cow<'r, str>>,
    /// The fence that keeps it away, if one does.
    pub fence: Option<&'a Arc<Fence>>,
}

impl Refusal<'_, '_> {
    pub(crate) fn of(reject: Reject, why: &'static str) -> Self {
        Self { reject, route: None, why, tenant: None, fence: None }
    }
}

/// Decides on a request. What the limits said goes into `admission`, which is a new one. `dice` says any number, each as
/// likely as another; it is asked only where chance decides.
pub fn decide<'a: 'r, 'r>(
    snapshot: &'a Snapshot,
    facts: &Facts<'r>,
    limits: &impl Limiter,
    dice: impl FnOnce() -> u64,
    now: Nanos,
    admission: &mut Admission<'a>,
) -> Result<Decision<'a, 'r>, Refusal<'a, 'r>> {
    if let Some(listener) = snapshot.listener(facts.listener)
        && !listener.document.clients.admit_all()
        && !listener.document.clients.admit(client_address(facts.headers, facts.peer, facts.trusted_proxies))
    {
        // It meets no limit: what it may not have it is not to take from others.
        return Err(Refusal::of(Reject::ClientDenied, "the listener does not admit the client's address"));
    }
    let Found { route, index, tenant, place, destination } = match find(snapshot, facts, limits, dice, admission) {
        Ok(found) => found,
        Err(refusal) => {
            // What was expected is not asked.
            *admission = Admission::default();
            if refusal.fence.is_some() {
                // It may come again in a moment, and is not to pay twice.
                return Err(refusal);
            }
            // A request that goes nowhere meets the limits of its listener all the same, and has no tenant for them.
            admit(&Who { snapshot, facts, on: None }, limits, now, admission);
            return Err(if admission.refused {
                Refusal { reject: Reject::LimitExceeded, why: "a limit of the listener refused the request", ..refusal }
            } else {
                refusal
            });
        }
    };
    let on = OnRoute { route, tenant: tenant.as_ref(), place };
    admit(&Who { snapshot, facts, on: Some(on) }, limits, now, admission);
    if admission.refused {
        let tenant = tenant.map(|tenant| tenant.id);
        let refusal = Refusal::of(Reject::LimitExceeded, "a limit refused the request");
        return Err(Refusal { route: Some(route), tenant, ..refusal });
    }
    let placed = tenant.map(|tenant| Placed { tenant: tenant.id, hash: tenant.hash, cell: place });
    Ok(Decision { route, index, destination, placed })
}

/// Where a request goes, before limits were asked.
struct Found<'a, 'r> {
    route: &'a Arc<RoutePlan>,
    index: u32,
    tenant: Option<Tenant<'a, 'r>>,
    place: Option<Place>,
    destination: Destination<'a>,
}

fn find<'a: 'r, 'r>(
    snapshot: &'a Snapshot,
    facts: &Facts<'r>,
    limits: &impl Limiter,
    dice: impl FnOnce() -> u64,
    admission: &mut Admission<'a>,
) -> Result<Found<'a, 'r>, Refusal<'a, 'r>> {
    let (route, Match { route: index, prefix_len }) = route(snapshot, facts)?;
    let refuse = |(reject, why)| Refusal { route: Some(route), ..Refusal::of(reject, why) };
    let mut tenant = tenant_of(route, facts).map_err(refuse)?;
    let on = OnRoute { route, tenant: tenant.as_ref(), place: None };
    expect(&Who { snapshot, facts, on: Some(on) }, limits, admission);
    if let Some(tenant) = &mut tenant {
        tenant.plan = snapshot.tenants.get(tenant.hash, &tenant.id);
    }
    let (destination, place) = match &route.action {
        ActionPlan::Redirect | ActionPlan::Respond { .. } => (Destination::Own { prefix_len }, None),
        ActionPlan::Forward(plan) => {
            let place = match plan.grid {
                Some(grid) => Some(place(snapshot, grid, tenant.as_ref()).map_err(refuse)?),
                None => None,
            };
            if let Some(fence) = fence(snapshot, (plan.grid, route), tenant.as_ref(), facts) {
                let refusal = refuse((Reject::TenantFenced, "the tenant is on its way to another cell"));
                return Err(Refusal { tenant: tenant.map(|tenant| tenant.id), fence: Some(fence), ..refusal });
            }
            let target = plan.targets.of(place.map(|place| place.cell));
            let none = (Reject::NoEndpoint, "the service has no endpoints in the cell");
            let target = target.ok_or_else(|| refuse(none))?;
            let split = target.split.as_ref();
            let on = split.map(|split| track::choose(split, tenant.as_ref(), facts.headers, dice));
            let group = on.as_ref().map_or(&target.group, OnTrack::group);
            (Destination::Endpoint { group, on, host: target.host.as_ref(), prefix_len }, place)
        }
    };
    Ok(Found { route, index, tenant, place, destination })
}

/// The fence that keeps a request away. There is none, mostly, and this is one look at the snapshot.
fn fence<'a>(
    snapshot: &'a Snapshot,
    (grid, route): (Option<u32>, &RoutePlan),
    tenant: Option<&Tenant<'_, '_>>,
    facts: &Facts<'_>,
) -> Option<&'a Arc<Fence>> {
    let (fences, grid, tenant) = (snapshot.fences.as_ref()?, grid?, tenant?);
    // What passes through a tunnel may change anything.
    let may_change = is_write(facts.method) || upgrade::is_asked_for(facts, route);
    fences.find(tenant.hash, &tenant.id, grid, may_change)
}

/// The cell that this snapshot has a tenant on.
pub(crate) fn cell_of<'a>(snapshot: &'a Snapshot, fence: &Fence) -> Option<&'a str> {
    let id = fence.document.tenant.as_str();
    let plan = snapshot.tenants.get(fence.hash, id);
    let place = place(snapshot, fence.grid, Some(&Tenant { id: id.into(), hash: fence.hash, plan })).ok()?;
    Some(snapshot.cell(place.cell)?.name.as_str())
}

fn route<'a, 'r>(snapshot: &'a Snapshot, facts: &Facts<'r>) -> Result<(&'a Arc<RoutePlan>, Match), Refusal<'a, 'r>> {
    let target = facts.target;
    let request = Request {
        host: &target.host,
        path: &target.path,
        query: target.query,
        method: facts.method,
        headers: facts.headers,
    };
    snapshot
        .listener(facts.listener)
        .and_then(|listener| listener.table.find(&request))
        .and_then(|found| snapshot.routes.get(found.route as usize).map(|route| (route, found)))
        .ok_or_else(|| Refusal::of(Reject::NoRoute, "no route matches"))
}

/// A request's tenant.
pub(super) struct Tenant<'a, 'r> {
    pub(super) id: Cow<'r, str>,
    pub(super) hash: u64,
    /// What its document says, once that was looked up.
    pub(super) plan: Option<TenantPlan<'a>>,
}

/// Whose a request is. What the tenant's document says is not looked up yet.
fn tenant_of<'a: 'r, 'r>(
    route: &'a RoutePlan,
    facts: &Facts<'r>,
) -> Result<Option<Tenant<'a, 'r>>, (Reject, &'static str)> {
    let Some(rule) = &route.tenant else { return Ok(None) };
    let target = facts.target;
    let asked = tenant::Asked {
        host: &target.host,
        path: &target.path,
        query: target.query,
        headers: facts.headers,
        certificate: facts.certificate,
    };
    let id = match (tenant::find(rule, &asked), &rule.otherwise) {
        (tenant::Found::Tenant(id), _) => id,
        (tenant::Found::Invalid, _) => return Err((Reject::BadTenant, "the tenant id is invalid or ambiguous")),
        (tenant::Found::Missing, Otherwise::Tenant(name)) => name.as_str().into(),
        (tenant::Found::Missing, Otherwise::Reject) => return Err((Reject::NoTenant, "the request names no tenant")),
    };
    let hash = placement::hash_of(id.as_bytes());
    Ok(Some(Tenant { id, hash, plan: None }))
}

/// Where a tenant is placed: where it is pinned, or where its bucket is assigned to.
fn place(snapshot: &Snapshot, grid: u32, tenant: Option<&Tenant<'_, '_>>) -> Result<Place, (Reject, &'static str)> {
    let tenant = tenant.ok_or((Reject::NoTenant, "the route has a grid and no tenant"))?;
    let bucket = placement::bucket_of_hash(tenant.hash);
    if let Some(cell) = tenant.plan.and_then(|plan| plan.pinned_to(grid)) {
        return match snapshot.cell(cell).map(|cell| cell.state) {
            Some(CellState::Active | CellState::Draining) => Ok(Place { bucket, cell, pinned: true }),
            Some(CellState::Offline) | None => Err((Reject::CellOffline, "the tenant is pinned to an offline cell")),
        };
    }
    let assigned = snapshot.grid(grid).and_then(|grid| {
        let index = grid.assignment.cell_of(bucket)?;
        grid.placed.get(usize::from(index)).copied()
    });
    match assigned {
        Some(cell) => Ok(Place { bucket, cell, pinned: false }),
        None => Err((Reject::NoCell, "no cell of the grid takes tenants")),
    }
}

/// The target to send on, where it differs from the one received: the path in normal form, with the prefix replaced.
///
/// The error is of a target that is none after the rewrite; the one received must not be sent on in its place.
pub fn outgoing_target(
    route: &RoutePlan,
    target: &Target<'_>,
    received: &Uri,
    prefix_len: usize,
) -> Result<Option<Uri>, http::uri::InvalidUri> {
    let normal = matches!(target.path, Cow::Borrowed(_));
    if !route.rewrites && normal && received.scheme().is_none() {
        return Ok(None);
    }
    let path = match replaced_prefix(&route.document.action) {
        Some(prefix) => replace_prefix(&target.path, prefix_len, prefix),
        None => target.path.clone().into_owned(),
    };
    let whole = match target.query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    Uri::try_from(whole).map(Some)
}

/// `/a/b` with the prefix `/a` replaced by `/x` is `/x/b`.
fn replace_prefix(path: &str, prefix_len: usize, with: &str) -> String {
    let rest = path.get(prefix_len..).unwrap_or_default();
    let (with, rest) = (with.strip_suffix('/').unwrap_or(with), rest.strip_prefix('/').unwrap_or(rest));
    if rest.is_empty() && !path.ends_with('/') && !with.is_empty() { with.to_owned() } else { format!("{with}/{rest}") }
}

#[cfg(test)]
mod tests {
    use super::replace_prefix;

    #[test]
    fn prefixes_are_replaced_by_segment() {
        for (path, prefix_len, with, wanted) in [
            ("/a/b", 2, "/x", "/x/b"),
            ("/a/b", 2, "/", "/b"),
            ("/a/b", 2, "/x/", "/x/b"),
            ("/a", 2, "/x", "/x"),
            ("/a", 2, "/", "/"),
            ("/a/", 2, "/x", "/x/"),
            ("/b", 0, "/x", "/x/b"),
            ("/", 0, "/x", "/x/"),
        ] {
            assert_eq!(replace_prefix(path, prefix_len, with), wanted, "{path} {with}");
        }
    }
}
