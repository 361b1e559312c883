//! What lies below `live/endpoints/`, key by key, and what is registered because of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Fault, Place, Registrations};
use crate::address::EndpointAddress;
use crate::check;
use crate::keys::Keys;
use crate::live::LiveId;
use crate::model::Endpoint;
use crate::problem::quoted;
use crate::raw;

/// No registration is longer; what is longer is not looked at.
const MAX_VALUE_BYTES: usize = 4096;
/// How many faults are told in full.
const TOLD_FAULTS: usize = 100;

/// The registrations as etcd has them. Many changes are noted at the price of one each, and settled at once.
#[derive(Debug, Default)]
pub struct Book {
    places: BTreeMap<Place, BTreeMap<LiveId, Registered>>,
    /// What is wrong, by key.
    faults: BTreeMap<Vec<u8>, String>,
    /// Where something changed since it was settled.
    changed: BTreeSet<Place>,
    faults_changed: bool,
    /// Whether everything has to be compared.
    all: bool,
}

/// A registration.
#[derive(Debug)]
struct Registered {
    endpoint: Endpoint,
    /// The revision that it was written at.
    revision: i64,
}

impl Book {
    /// Takes in one key, with its value or none when it was deleted. A value that is bad is a fault of that key alone, and
    /// what was good under the key before stays until the key goes.
    pub fn note(&mut self, keys: &Keys, key: &[u8], value: Option<&[u8]>, revision: i64) {
        let outcome = match (keys.endpoint_of(key), value) {
            (Ok((place, id)), None) => {
                self.remove(place, &id);
                Ok(())
            }
            (Err(_), None) => Ok(()),
            (Ok((place, id)), Some(value)) => endpoint(value).map(|endpoint| self.put(place, id, endpoint, revision)),
            (Err(why), Some(_)) => Err(why),
        };
        match outcome {
            Ok(()) => self.faults_changed |= self.faults.remove(key).is_some(),
            Err(why) => self.faults_changed |= self.faults.insert(key.to_vec(), why.clone()) != Some(why),
        }
    }

    /// Takes in everything there is, and forgets what is not there any more.
    pub fn replace<'a>(&mut self, keys: &Keys, all: impl Iterator<Item = (&'a [u8], &'a [u8], i64)> + Clone) {
        let there: BTreeSet<(Place, LiveId)> = all.clone().filter_map(|(key, ..)| keys.endpoint_of(key).ok()).collect();
        self.places.retain(|place, registered| {
            registered.retain(|id, _| there.contains(&(place.clone(), id.clone())));
            !registered.is_empty()
        });
        self.faults.clear();
        for (key, value, revision) in all {
            self.note(keys, key, Some(value), revision);
        }
        (self.all, self.faults_changed) = (true, true);
    }

    fn put(&mut self, place: Place, id: LiveId, endpoint: Endpoint, revision: i64) {
        self.places.entry(place.clone()).or_default().insert(id, Registered { endpoint, revision });
        self.changed.insert(place);
    }

    fn remove(&mut self, place: Place, id: &LiveId) {
        let Some(registered) = self.places.get_mut(&place) else { return };
        if registered.remove(id).is_some() {
            if registered.is_empty() {
                self.places.remove(&place);
            }
            self.changed.insert(place);
        }
    }

    /// What is registered now, unless that is what was registered last.
    pub fn settle(&mut self, last: &Registrations) -> Option<Registrations> {
        let mut changed = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.all) {
            changed.extend(self.places.keys().chain(last.groups.keys()).cloned());
        }
        let mut groups: Option<BTreeMap<_, _>> = None;
        for place in changed {
            let now = self.group(&place);
            if now.as_deref() == last.groups.get(&place).map(|group| &**group) {
                continue;
            }
            let groups = groups.get_or_insert_with(|| last.groups.clone());
            match now {
                Some(now) => groups.insert(place, now.into()),
                None => groups.remove(&place),
            };
        }
        let faults: Option<Vec<Fault>> = std::mem::take(&mut self.faults_changed).then(|| self.faults());
        let faults = faults.filter(|faults| *faults != last.faults || self.faults.len() != last.faulty);
        if groups.is_none() && faults.is_none() {
            return None;
        }
        Some(Registrations {
            groups: groups.unwrap_or_else(|| last.groups.clone()),
            faults: faults.unwrap_or_else(|| last.faults.clone()),
            faulty: self.faults.len(),
        })
    }

    /// The endpoints at a place, sorted. A backend that came back under another id is there twice for a while: what was
    /// said last of an address holds.
    fn group(&self, place: &Place) -> Option<Vec<Endpoint>> {
        let mut newest: HashMap<&EndpointAddress, &Registered> = HashMap::new();
        for registered in self.places.get(place)?.values() {
            let known = newest.entry(&registered.endpoint.address).or_insert(registered);
            if known.revision < registered.revision {
                *known = registered;
            }
        }
        let mut endpoints: Vec<Endpoint> = newest.into_values().map(|registered| registered.endpoint.clone()).collect();
        endpoints.sort_by(|a, b| a.address.cmp(&b.address));
        Some(endpoints)
    }

    fn faults(&self) -> Vec<Fault> {
        let told = self.faults.iter().take(TOLD_FAULTS);
        told.map(|(key, why)| Fault { key: String::from_utf8_lossy(key).escape_debug().to_string(), why: why.clone() })
            .collect()
    }
}

/// Reads the value of a registration. The error says what is wrong with it, and what to write instead.
pub fn endpoint(value: &[u8]) -> Result<Endpoint, String> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(format!("its value has {} bytes; {MAX_VALUE_BYTES} are the most", value.len()));
    }
    let raw: raw::Endpoint = serde_json::from_slice(value).map_err(|error| {
        let shown = quoted(&String::from_utf8_lossy(value));
        format!("its value {shown} is no endpoint: {error}; write such as {{\"address\": \"10.0.0.7:8080\"}}")
    })?;
    check::registered(&raw)
}
