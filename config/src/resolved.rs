//! What names of endpoints were resolved to. It is in force beside the documents, without a generation of its own. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::address::EndpointAddress;
use crate::ids::Name;
use crate::model::{Endpoint, Model, Service};

/// The addresses of names, each sorted and none twice. A name that was never resolved is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    names: BTreeMap<Arc<str>, Arc<[IpAddr]>>,
}

impl FromIterator<(Arc<str>, Arc<[IpAddr]>)> for Resolved {
    fn from_iter<T: IntoIterator<Item = (Arc<str>, Arc<[IpAddr]>)>>(names: T) -> Self {
        Self { names: names.into_iter().collect() }
    }
}

impl Resolved {
    /// The addresses of a name; none while it has not been resolved.
    #[must_use]
    pub fn of(&self, name: &str) -> &[IpAddr] {
        self.names.get(name).map_or(&[], |addresses| addresses)
    }

    /// Takes the addresses of a name out.
    pub fn take(&mut self, name: &str) -> Option<Arc<[IpAddr]>> {
        self.names.remove(name)
    }

    /// All names with their addresses.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[IpAddr])> {
        self.names.iter().map(|(name, addresses)| (&**name, &**addresses))
    }

    /// The names whose addresses are not the same in both.
    #[must_use]
    pub fn differing<'a>(&'a self, other: &'a Resolved) -> BTreeSet<&'a str> {
        let names = self.names.keys().chain(other.names.keys());
        names.filter(|name| self.of(name) != other.of(name)).map(|name| &**name).collect()
    }
}

fn name_of(endpoint: &Endpoint) -> Option<&Arc<str>> {
    match &endpoint.address {
        EndpointAddress::Name(name, _) => Some(name),
        EndpointAddress::Socket(_) => None,
    }
}

fn own(service: &Service) -> impl Iterator<Item = &Endpoint> {
    let tracks = std::iter::once(&service.endpoints).chain(service.cells.values());
    tracks.flat_map(|tracks| tracks.blue.iter().chain(&tracks.green))
}

/// The names of all endpoints and ingresses.
#[must_use]
pub fn names(model: &Model) -> BTreeSet<Arc<str>> {
    let endpoints = model.services.values().flat_map(|service| own(service));
    let ingresses = model.cells.values().flat_map(|cell| &cell.ingress);
    endpoints.chain(ingresses).filter_map(name_of).cloned().collect()
}

/// The services that are reached by one of these names, through a cell's ingress too.
#[must_use]
pub fn reached_by<'a>(model: &'a Model, names: &BTreeSet<&str>) -> BTreeSet<&'a Name> {
    if names.is_empty() {
        return BTreeSet::new();
    }
    let is_one = |endpoint: &Endpoint| name_of(endpoint).is_some_and(|name| names.contains(&**name));
    let cells: Vec<&Name> =
        model.cells.values().filter(|cell| cell.ingress.iter().any(is_one)).map(|cell| &cell.name).collect();
    let services = model.services.values();
    services
        .filter(|service| own(service).any(is_one) || cells.iter().any(|cell| !service.cells.contains_key(*cell)))
        .map(|service| &service.name)
        .collect()
}
