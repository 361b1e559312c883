//! A generation compiled into the immutable structure that requests read.
//!
//! Documents refer to each other by name; a snapshot by small numbers. Numbers of things that requests learn about
//! (routes, cells, endpoint groups, limits) are given once for each name and outlive the snapshot, so that counters,
//! balancer positions and limit counts belong to names and survive every edit: see [`names::Names`].

pub mod compile;
mod expand;
pub mod fences;
mod limits;
pub mod names;
pub mod split;
mod targets;
mod tenants;

use std::sync::Arc;

use gridrouter_config::address::Address;
use gridrouter_config::ids::Name;
use gridrouter_config::model::{self, UpstreamProtocol};
use gridrouter_config::registrations::Registrations;
use gridrouter_config::resolved::Resolved;
use gridrouter_config::track::Track;
use http::{HeaderName, HeaderValue, StatusCode};

use self::fences::Fences;
use self::split::{RunPlan, SplitPlan};
use crate::balance::smooth_weighted_round_robin::{PeerConfig, Policy};
use crate::http::fields::TwoLines;
use crate::limit::Prepared;
use crate::limit::headers::Label;
use crate::limit::key::{KeyHash, KeySeed};
use crate::placement::Assignment;
use crate::proxy_protocol::Version;
use crate::routing::RouteTable;
pub use limits::CANDIDATE;
pub use tenants::{TenantPlan, Tenants};

/// Everything that requests of one generation are decided on.
#[derive(Debug)]
pub struct Snapshot {
    /// The generation's number; it never goes backwards.
    pub generation: u64,
    /// The digest of the documents in force.
    pub digest: Arc<str>,
    /// The model it was compiled from.
    pub model: Arc<model::Model>,
    /// The endpoints that registered themselves, beside those of the model.
    pub registrations: Arc<Registrations>,
    /// What names of endpoints were resolved to.
    pub resolved: Arc<Resolved>,
    /// What keys of limits are made with.
    pub keys: Arc<KeySeed>,
    /// The listeners, by their stable number.
    pub listeners: Vec<Option<ListenerPlan>>,
    /// The routes, by their position in this snapshot.
    pub routes: Arc<[Arc<RoutePlan>]>,
    /// The grids, by their stable number.
    pub grids: Vec<Option<Arc<GridPlan>>>,
    /// The cells, by their stable number.
    pub cells: Vec<Option<CellPlan>>,
    /// The shifts that were begun, in each of their cells.
    pub runs: Arc<[RunPlan]>,
    /// The tenants that have a document.
    pub tenants: Tenants,
    /// The fences that are up, if there are any.
    pub fences: Option<Arc<Fences>>,
    /// Headers that tell of clients' certificates on any listener: what clients say by these names is removed.
    pub reserved_headers: Option<Arc<[HeaderName]>>,
    /// How long reading and compiling it took.
    pub compiled_in: std::time::Duration,
}

/// What requests of one listener go by.
#[derive(Debug, Clone)]
pub struct ListenerPlan {
    /// The document.
    pub document: Arc<model::Listener>,
    /// The routes served on it.
    pub table: Arc<RouteTable>,
    /// The limits that every request must pass.
    pub limits: Arc<LimitPlans>,
    /// It is in force no more: connections that came by it are served until they end, which they are asked to.
    pub gone: bool,
}

/// A grid.
#[derive(Debug)]
pub struct GridPlan {
    /// The document.
    pub document: Arc<model::Grid>,
    /// Its stable number.
    pub id: u32,
    /// The cells that take part in placement, by stable number, in the order of the assignment's indices.
    pub placed: Box<[u32]>,
    /// Which of them each bucket belongs to.
    pub assignment: Arc<Assignment>,
}

/// A cell.
#[derive(Debug, Clone)]
pub struct CellPlan {
    /// The cell's name.
    pub name: Name,
    /// Who may be placed on it.
    pub state: model::CellState,
}

/// A route: two cache lines with all that deciding on a request reads of it. What many routes say alike is the same
/// object for all of them, which stays in the processor's cache.
#[derive(Debug)]
#[repr(align(64))]
pub struct RoutePlan {
    /// The document.
    pub document: Arc<model::Route>,
    /// Its stable number.
    pub id: u32,
    /// Whether it has a [`replaced_prefix`].
    pub rewrites: bool,
    /// Where the tenant's id is found, if the route has tenants.
    pub tenant: Option<Arc<model::TenantRule>>,
    /// What happens to a request.
    pub action: ActionPlan,
    /// Its limits and those of its service, all of which must admit a request. None is there twice.
    pub limits: Arc<LimitPlans>,
}

/// What happens to a request that matched.
#[derive(Debug)]
pub enum ActionPlan {
    /// It is sent to a service.
    Forward(ForwardPlan),
    /// The client is sent elsewhere.
    Redirect,
    /// The client gets a fixed answer.
    Respond {
        /// The status.
        status: StatusCode,
        /// The body.
        body: bytes::Bytes,
        /// The body's type.
        content_type: HeaderValue,
    },
}

/// Where a request is sent.
#[derive(Debug)]
pub struct ForwardPlan {
    /// The grid, by its stable number; direct without one.
    pub grid: Option<u32>,
    /// The service's name.
    pub service: Name,
    /// The `Host` to send instead of the client's.
    pub host: Option<HeaderValue>,
    /// Where the service is reached.
    pub targets: Targets,
}

/// Where a service is reached.
#[derive(Debug, Clone)]
pub enum Targets {
    /// In each cell, by the cell's stable number.
    Cells(Arc<[Option<Target>]>),
    /// At endpoints outside of any cell.
    Direct(Arc<Target>),
}

/// A service in one place.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its endpoints: those of the track in use, or of the old one while a shift is under way.
    pub group: Arc<EndpointGroup>,
    /// The `Host` to send, where the place is a cell's ingress.
    pub host: Option<HeaderValue>,
    /// Both tracks, while a shift is under way.
    pub split: Option<Arc<SplitPlan>>,
}

/// The endpoints of one service in one cell on one track, among which requests are balanced.
#[derive(Debug, PartialEq, Eq)]
pub struct EndpointGroup {
    /// Its stable number: that of the name service, cell and track.
    pub id: u32,
    /// `<service>/<cell>/<track>`, for people and metrics.
    pub label: Arc<str>,
    /// The track.
    pub track: Track,
    /// The endpoints, in the document's order.
    pub endpoints: Box<[EndpointPlan]>,
    /// The same for the balancer.
    pub peers: Box<[PeerConfig]>,
    /// How failures are handled.
    pub policy: Policy,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointPlan {
    /// The address.
    pub address: Address,
    /// The stable number of the address, of what is agreed on by TLS, of what is said ahead of it,
    /// and of the protocol: what connections are pooled under.
    pub id: u32,
    /// The service whose settings of TLS apply; in clear without.
    pub tls: Option<Arc<str>>,
    /// The version of the PROXY protocol by which it is told of the client.
    pub(crate) proxy_protocol: Option<Version>,
    /// The name that has the address.
    pub(crate) name: Option<Arc<str>>,
    /// What is spoken; in clear never `Auto`.
    pub protocol: UpstreamProtocol,
}

/// Limits that are asked together.
#[derive(Debug, Default)]
pub struct LimitPlans {
    /// The limits, none of them twice.
    pub plans: Box<[Arc<LimitPlan>]>,
    /// Whether clients are told of all of them, always, and in the new fields only.
    pub(crate) always_told: bool,
    /// Whether a request may [pass](crate::limit::table::LimitTable::pass) them all at once.
    pub(crate) may_pass: bool,
    /// Which of them holds a permit while the request lasts, where they may be passed so.
    pub(crate) permit: Option<usize>,
    /// What their keys are made of, together.
    pub(crate) key: KeyPlan,
}

/// A limit. What every request needs of it comes first and is one cache line: limits are many, and what is not used for
/// long is in no cache.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct LimitPlan {
    /// Its own quota.
    pub quota: Arc<QuotaPlan>,
    /// Values that are tried beside those in force.
    pub candidate: Option<Box<CandidatePlan>>,
    /// What its keys begin with.
    pub begin: KeyHash,
    /// Its stable number: what its counts are kept under.
    pub id: u32,
    /// How much a request costs when it comes.
    pub cost: u32,
    /// What its keys are made of.
    pub key: KeyPlan,
    /// What follows from a refusal.
    pub mode: model::LimitMode,
    /// Whether it slows answers down, rather than looking at requests.
    pub is_bandwidth: bool,
    /// Whether something has to be seen to after a request was admitted: a permit given back, a cost charged.
    pub owes: bool,
    /// When clients are told of it.
    pub headers: model::HeadersWhen,
    /// Whether they are told in the old fields as well.
    pub legacy_headers: bool,
    /// What clients are told of it, up to what is left; if they are told of it always, and in the new fields only.
    pub(crate) told: Option<Box<TwoLines>>,
    /// The document.
    pub document: Arc<model::Limit>,
    /// What is left of it begins with.
    pub label: Option<Label>,
}

/// What a limit's key is made of: the parts that are most in use, and whether there are others.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "a set of parts, each looked at alone")]
pub struct KeyPlan {
    /// The tenant.
    pub tenant: bool,
    /// The route.
    pub route: bool,
    /// The client's address.
    pub client_ip: bool,
    /// Others, the cell among them.
    pub others: bool,
    /// The cell, which is known later than all else.
    pub cell: bool,
}

impl LimitPlan {
    /// The stable number that it is counted under, or its candidate.
    pub fn number(&self, is_candidate: bool) -> u32 {
        self.candidate.as_ref().filter(|_| is_candidate).map_or(self.id, |own| own.id)
    }

    /// What its keys begin with, or its candidate's.
    pub fn begin(&self, is_candidate: bool) -> KeyHash {
        self.candidate.as_ref().filter(|_| is_candidate).map_or(self.begin, |own| own.begin)
    }
}

/// Values of a limit that are tried beside those in force.
#[derive(Debug)]
pub struct CandidatePlan {
    /// The stable number that their counts are kept under.
    pub id: u32,
    /// What their keys begin with.
    pub begin: KeyHash,
    /// What they admit.
    pub quota: Arc<QuotaPlan>,
}

/// What a limit admits, with what clients are told of it.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct QuotaPlan {
    /// The algorithm and its values.
    pub prepared: Prepared,
    /// The limit's item of `RateLimit-Policy`.
    pub policy: Option<HeaderValue>,
}

impl Snapshot {
    /// The listener of this stable number.
    pub fn listener(&self, id: u32) -> Option<&ListenerPlan> {
        self.listeners.get(id as usize)?.as_ref()
    }

    /// The grid of this stable number.
    pub fn grid(&self, id: u32) -> Option<&GridPlan> {
        self.grids.get(id as usize)?.as_deref()
    }

    /// The cell of this stable number.
    pub fn cell(&self, id: u32) -> Option<&CellPlan> {
        self.cells.get(id as usize)?.as_ref()
    }
}

/// What a route puts in place of the prefix that matched, if it does.
pub fn replaced_prefix(action: &model::Action) -> Option<&str> {
    match action {
        model::Action::Forward(forward) => forward.prefix_rewrite.as_deref(),
        model::Action::Redirect(redirect) => match &redirect.path {
            model::RedirectPath::ReplacePrefix(prefix) => Some(prefix),
            model::RedirectPath::Keep | model::RedirectPath::Replace(_) => None,
        },
        model::Action::Respond(_) => None,
    }
}

impl Target {
    fn keep(&mut self, before: &Target) {
        let split = before.split.as_ref();
        let sides = split.map(|split| [&split.to.group, &split.from.group]);
        let known = || std::iter::once(&before.group).chain(sides.into_iter().flatten());
        let keep = |group: &mut Arc<EndpointGroup>| {
            if let Some(known) = known().find(|known| *known == group) {
                *group = Arc::clone(known);
            }
        };
        keep(&mut self.group);
        if let Some(split) = self.split.as_mut().and_then(Arc::get_mut) {
            keep(&mut split.to.group);
            keep(&mut split.from.group);
        }
    }
}

impl Targets {
    /// The same, with every group that is equal to one before taken over, so that nobody has to compare it again.
    #[must_use]
    pub(crate) fn keeping(self, before: &Targets) -> Targets {
        let keep = Target::keep;
        match (self, before) {
            (Targets::Direct(mut target), Targets::Direct(before)) => {
                keep(Arc::make_mut(&mut target), before);
                Targets::Direct(target)
            }
            (Targets::Cells(mut cells), Targets::Cells(before)) => {
                for (target, before) in Arc::make_mut(&mut cells).iter_mut().zip(&**before) {
                    if let (Some(target), Some(before)) = (target, before) {
                        keep(target, before);
                    }
                }
                Targets::Cells(cells)
            }
            (targets @ Targets::Cells(_), Targets::Direct(_)) | (targets @ Targets::Direct(_), Targets::Cells(_)) => {
                targets
            }
        }
    }

    /// Where the service is reached for requests of this cell.
    pub fn of(&self, cell: Option<u32>) -> Option<&Target> {
        match (self, cell) {
            (Targets::Cells(cells), Some(cell)) => cells.get(cell as usize)?.as_ref(),
            (Targets::Direct(target), None) => Some(target),
            (Targets::Cells(_), None) | (Targets::Direct(_), Some(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_takes_two_cache_lines() {
        assert_eq!((size_of::<RoutePlan>(), align_of::<RoutePlan>()), (128, 64));
    }
}
