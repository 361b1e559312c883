//! Where services are reached: their endpoints in each cell and on each track, and which tracks requests are split over.

use std::sync::Arc;

use gridrouter_config::ids::Name;
use gridrouter_config::model::{self, Model, UpstreamProtocol};
use gridrouter_config::registrations::Registrations;
use gridrouter_config::resolved::Resolved;
use gridrouter_config::track::Track;

use super::compile::{put, text};
use super::expand::{Expanded, expand};
use super::names::Names;
use super::split::{self, SidePlan, SplitPlan, UnderWay};
use super::{ActionPlan, EndpointGroup, EndpointPlan, Target, Targets};
use crate::balance::smooth_weighted_round_robin::Policy;
use crate::proxy_protocol::Version;

/// The targets of each service in each grid, made once for all routes that share them.
pub(super) struct TargetCache<'a> {
    model: &'a Model,
    registrations: &'a Registrations,
    resolved: &'a Resolved,
    under_way: UnderWay<'a>,
    known: hashbrown::HashMap<(Name, Option<Name>), Targets>,
}

impl<'a> TargetCache<'a> {
    pub(super) fn new(model: &'a Model, registrations: &'a Registrations, resolved: &'a Resolved) -> Self {
        Self { model, registrations, resolved, under_way: UnderWay::of(model), known: hashbrown::HashMap::new() }
    }

    pub(super) fn model(&self) -> &'a Model {
        self.model
    }

    pub(super) fn of(
        &mut self,
        service: &Name,
        grid: Option<&Name>,
        before: Option<&ActionPlan>,
        names: &mut Names,
    ) -> Option<Targets> {
        let key = (service.clone(), grid.cloned());
        if let Some(targets) = self.known.get(&key) {
            return Some(targets.clone());
        }
        let document = self.model.services.get(service)?;
        let targets = match grid {
            None => {
                let group = self.group(document, None, &document.endpoints, document.endpoints.active, names);
                Targets::Direct(Arc::new(Target { group, host: None, split: None }))
            }
            Some(grid) => self.in_cells(document, grid, names)?,
        };
        let targets = match before {
            Some(ActionPlan::Forward(before)) => targets.keeping(&before.targets),
            Some(ActionPlan::Redirect | ActionPlan::Respond { .. }) | None => targets,
        };
        self.known.insert(key, targets.clone());
        Some(targets)
    }

    fn in_cells(&self, service: &model::Service, grid: &Name, names: &mut Names) -> Option<Targets> {
        let mut table = Vec::new();
        for name in &self.model.grids.get(grid)?.cells {
            let Some(cell) = self.model.cells.get(name) else { continue };
            let target = if let Some(tracks) = service.cells.get(name) {
                self.in_cell(service, name, tracks, names)
            } else {
                let group = group(service, Some(name), Track::Blue, &expand(&cell.ingress, self.resolved), names);
                Target { group, host: service.host.clone(), split: None }
            };
            put(&mut table, names.cells.of(text(name)), target);
        }
        Some(Targets::Cells(table.into()))
    }

    /// A service in a cell that it lists endpoints in: on the track in use, or on both while a shift moves its traffic.
    fn in_cell(&self, service: &model::Service, cell: &Name, tracks: &model::Tracks, names: &mut Names) -> Target {
        let Some(shift) = self.under_way.find(&service.name, cell) else {
            let group = self.group(service, Some(cell), tracks, tracks.active, names);
            return Target { group, host: None, split: None };
        };
        let mut side = |track| SidePlan {
            track,
            counted: split::number(shift, cell, track, names),
            group: self.group(service, Some(cell), tracks, track, names),
        };
        let split = SplitPlan::new(shift, cell, side(shift.to), side(shift.to.other()));
        Target { group: Arc::clone(&split.from.group), host: None, split: Some(Arc::new(split)) }
    }

    fn group(
        &self,
        service: &model::Service,
        cell: Option<&Name>,
        tracks: &model::Tracks,
        track: Track,
        names: &mut Names,
    ) -> Arc<EndpointGroup> {
        let endpoints = self.registrations.joined(&service.name, cell, track, tracks.of(track));
        group(service, cell, track, &expand(&endpoints, self.resolved), names)
    }
}

/// The name of a service's endpoints in a cell, or outside of any, on a track.
pub(super) fn label(service: &Name, cell: Option<&Name>, track: Track) -> Arc<str> {
    let place = cell.map_or("direct", Name::as_str);
    format!("{service}/{place}/{}", track.as_str()).into()
}

/// What a connection is opened under, if that is anything but the address: one that was opened under other terms is not
/// used again.
fn terms(service: &model::Service, name: Option<&Arc<str>>) -> Option<Arc<str>> {
    let (tls, proxy_protocol, protocol) = (&service.tls, &service.proxy_protocol, spoken(service));
    if tls.is_none() && proxy_protocol.is_none() {
        return (protocol == UpstreamProtocol::H2).then(|| "h2 in clear".into());
    }
    // Whom a certificate has to be for.
    let name = name.filter(|_| tls.is_some());
    let hash = xxhash_rust::xxh3::xxh3_128(format!("{tls:?} {proxy_protocol:?} {protocol:?} {name:?}").as_bytes());
    Some(format!("{} {hash:032x}", service.name).into())
}

/// The protocol of a service. In clear nobody can be asked which it is.
fn spoken(service: &model::Service) -> UpstreamProtocol {
    match service.protocol {
        UpstreamProtocol::Auto if service.tls.is_none() => UpstreamProtocol::Http1,
        UpstreamProtocol::Http1 | UpstreamProtocol::H2 | UpstreamProtocol::Auto => service.protocol,
    }
}

fn group(
    service: &model::Service,
    cell: Option<&Name>,
    track: Track,
    endpoints: &[Expanded],
    names: &mut Names,
) -> Arc<EndpointGroup> {
    let label = label(&service.name, cell, track);
    let proxy_protocol = service.proxy_protocol.map(|version| match version {
        model::ProxyVersion::V1 => Version::V1,
        model::ProxyVersion::V2 => Version::V2,
    });
    let protocol = spoken(service);
    Arc::new(EndpointGroup {
        id: names.groups.of(Arc::clone(&label)),
        label,
        track,
        endpoints: endpoints
            .iter()
            .map(|e| EndpointPlan {
                address: e.address.clone(),
                id: names.endpoints.of((e.address.clone(), terms(service, e.name.as_ref()))),
                name: e.name.clone(),
                tls: service.tls.as_ref().map(|_| text(&service.name)),
                proxy_protocol,
                protocol,
            })
            .collect(),
        peers: endpoints.iter().map(|e| e.peer).collect(),
        policy: Policy { max_fails: service.balance.max_fails, fail_timeout_secs: service.balance.fail_timeout_secs },
    })
}
