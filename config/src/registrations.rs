//! Endpoints that registered themselves. They are in force beside those that documents list, without a generation of
//! their own, for as long as their leases live. Pure.

mod book;

pub use book::{Book, endpoint};

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::check;
use crate::ids::Name;
use crate::model::{Endpoint, Model};
use crate::raw;
use crate::track::Track;

/// In a key, in place of a cell: the service's endpoints for routes without a grid. No cell can be called that.
pub const DIRECT: &str = "-";

/// What an endpoint serves: a service in a cell on a track.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The service.
    pub service: Name,
    /// The cell; none for routes without a grid.
    pub cell: Option<Name>,
    /// The track.
    pub track: Track,
}

impl Place {
    /// Reads `<service>/<cell>/<track>`, with `-` for no cell.
    pub fn parse(text: &str) -> Result<Place, String> {
        let mut words = text.split('/');
        let (Some(service), Some(cell), Some(track), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(format!("\"{}\" is not service/cell/track", text.escape_debug()));
        };
        let cell = if cell == DIRECT { None } else { Some(Name::parse(cell)?) };
        Ok(Place { service: Name::parse(service)?, cell, track: Track::parse(track)? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.service, self.cell.as_ref().map_or(DIRECT, Name::as_str), self.track.as_str())
    }
}

/// A registration that is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its key without the prefix, or the place that it names.
    pub key: String,
    /// Why it is not.
    pub why: String,
}

/// All that is registered at one moment. Groups that did not change from one moment to the next are the same `Arc`.
#[derive(Debug, Clone, Default)]
pub struct Registrations {
    groups: BTreeMap<Place, Arc<[Endpoint]>>,
    faults: Vec<Fault>,
    faulty: usize,
}

impl Registrations {
    /// The endpoints by place, sorted by address.
    pub fn groups(&self) -> impl Iterator<Item = (&Place, &[Endpoint])> {
        self.groups.iter().map(|(place, endpoints)| (place, &**endpoints))
    }

    /// How many endpoints are registered, whether or not the documents know their place.
    pub fn count(&self) -> usize {
        self.groups.values().map(|endpoints| endpoints.len()).sum()
    }

    /// Registrations that cannot be read, the first hundred of them.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How many registrations cannot be read.
    pub fn faulty(&self) -> usize {
        self.faulty
    }

    /// The endpoints listed in a document and those registered at the same place. Where both have an address, the
    /// document says how it is used.
    pub fn joined<'a>(
        &self,
        service: &Name,
        cell: Option<&Name>,
        track: Track,
        listed: &'a [Endpoint],
    ) -> Cow<'a, [Endpoint]> {
        let place = Place { service: service.clone(), cell: cell.cloned(), track };
        let Some(registered) = self.groups.get(&place) else { return Cow::Borrowed(listed) };
        let known: BTreeSet<_> = listed.iter().map(|endpoint| &endpoint.address).collect();
        let more = registered.iter().filter(|endpoint| !known.contains(&endpoint.address));
        listed.iter().chain(more).cloned().collect()
    }

    /// Whether the same endpoints are registered, to the pointer.
    pub fn same_endpoints(&self, other: &Registrations) -> bool {
        self.groups.len() == other.groups.len()
            && self.groups.iter().zip(&other.groups).all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(a.1, b.1))
    }

    /// The services of which not the same endpoints are registered.
    pub fn differing<'a>(&'a self, other: &'a Registrations) -> BTreeSet<&'a Name> {
        let differs = |one: &'a Registrations, two: &'a Registrations| {
            let groups = one.groups.iter();
            groups
                .filter(|(place, group)| two.groups.get(place).is_none_or(|known| !Arc::ptr_eq(group, known)))
                .map(|(place, _)| &place.service)
        };
        differs(self, other).chain(differs(other, self)).collect()
    }

    /// The places that the documents do not know, and why. What is registered there comes into force with the document.
    pub fn aside(&self, model: &Model) -> Vec<Fault> {
        let why = |place: &Place| {
            let service = &place.service;
            let Some(document) = model.services.get(service) else {
                return Some(format!("there is no Service \"{service}\""));
            };
            let cell = place.cell.as_ref()?;
            if !model.cells.contains_key(cell) {
                return Some(format!("there is no Cell \"{cell}\""));
            }
            let help = format!("write `cells: {{{cell}: {{blue: []}}}}` to let its endpoints register there");
            (!document.cells.contains_key(cell))
                .then(|| format!("Service \"{service}\" lists no endpoints in Cell \"{cell}\"; {help}"))
        };
        self.groups.keys().filter_map(|place| Some(Fault { key: place.to_string(), why: why(place)? })).collect()
    }

    /// As it is kept on disk.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let groups = self.groups.iter();
        let groups: BTreeMap<String, Vec<raw::Endpoint>> =
            groups.map(|(place, group)| (place.to_string(), group.iter().map(written).collect())).collect();
        serde_json::to_vec(&groups)
    }

    /// Reads what [`Registrations::to_json`] wrote. It is checked again, because another version of this program may have
    /// written it; the error says what is wrong.
    pub fn from_json(bytes: &[u8]) -> Result<Registrations, String> {
        let read: BTreeMap<String, Vec<raw::Endpoint>> =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let mut groups = BTreeMap::new();
        for (place, endpoints) in read {
            let endpoints: Result<Vec<Endpoint>, String> = endpoints.iter().map(check::registered).collect();
            groups.insert(Place::parse(&place)?, endpoints?.into());
        }
        Ok(Registrations { groups, ..Registrations::default() })
    }
}

/// An endpoint as it is written; what has its default is left out.
fn written(endpoint: &Endpoint) -> raw::Endpoint {
    raw::Endpoint {
        address: endpoint.address.to_string(),
        weight: (endpoint.weight != 1).then_some(endpoint.weight),
        backup: endpoint.backup.then_some(true),
        down: endpoint.down.then_some(true),
        max_connections: (endpoint.max_connections != 0).then_some(endpoint.max_connections),
    }
}

#[cfg(test)]
mod tests;
