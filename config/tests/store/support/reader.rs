//! A router without its sockets: follows a store and keeps what is in force.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use gridrouter_config::codec::{Parsed, parse_entry};
use gridrouter_config::generation::{InForce, advance};
use gridrouter_config::store::etcd::{EtcdOptions, EtcdStore, Random};
use gridrouter_config::store::{Listing, Store};

use super::PATIENCE;

pub(crate) struct Reader {
    pub(crate) store: Box<dyn Store>,
    pub(crate) listing: Listing,
    pub(crate) in_force: InForce,
    /// What is wrong with the store, if it is.
    pub(crate) error: Option<String>,
    /// Called with every listing that is taken over.
    pub(crate) on_listing: Box<dyn FnMut(&Listing)>,
}

impl Reader {
    pub(crate) fn new(store: Box<dyn Store>) -> Self {
        let (listing, in_force) = (Listing::default(), InForce::default());
        Self { store, listing, in_force, error: None, on_listing: Box::new(|_| ()) }
    }

    pub(crate) fn etcd(options: &EtcdOptions) -> Self {
        Self::new(Box::new(EtcdStore::start(options.clone(), Random::new()).unwrap()))
    }

    /// Takes over what the store has now, as the router does.
    pub(crate) fn look(&mut self) {
        match self.store.list() {
            Err(error) => self.error = Some(error.explain()),
            Ok(listing) => {
                (self.on_listing)(&listing);
                let mut parsed: Vec<Parsed> = listing.entries.iter().map(|entry| parse_entry(entry)).collect();
                parsed.extend(listing.unreadable().map(|(path, why)| Parsed::unreadable(path, why)));
                let first = self.listing.revision == 0;
                self.in_force = advance((!first).then_some(&self.in_force), &parsed, &listing.tenants).in_force;
                self.listing = listing;
                self.error = None;
            }
        }
    }

    /// Follows the store until it is as wanted.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        if self.listing.revision == 0 {
            self.look();
        }
        while !wanted(self) {
            let left = PATIENCE.saturating_sub(start.elapsed());
            assert!(
                !left.is_zero(),
                "{what} did not happen in time; error {:?}, generation {:?}, faults {:?}, {} documents",
                self.error,
                self.listing.generation,
                self.listing.faults,
                self.listing.entries.len()
            );
            if self.store.wait(left).unwrap() {
                self.look();
            }
        }
    }

    #[track_caller]
    pub(crate) fn until_generation(&mut self, generation: u64) {
        self.until(&format!("generation {generation}"), |reader| reader.listing.generation >= Some(generation));
        assert_eq!(self.listing.generation, Some(generation));
    }

    #[track_caller]
    pub(crate) fn until_error(&mut self, text: &str) {
        self.until(&format!("an error with \"{text}\""), |reader| {
            reader.error.as_ref().is_some_and(|error| error.contains(text))
        });
    }

    #[track_caller]
    pub(crate) fn until_fine(&mut self) {
        self.until("recovery", |reader| reader.error.is_none());
    }

    /// What the documents in force say in their bodies.
    pub(crate) fn bodies(&self) -> BTreeMap<String, String> {
        let documents = self.in_force.documents().iter();
        let body = |json: &serde_json::Value| json["respond"]["body"].as_str().unwrap_or_default().to_owned();
        documents
            .map(|(id, entry)| (id.name.to_string(), body(&serde_json::to_value(&entry.source.raw).unwrap())))
            .collect()
    }

    /// Addresses of the bytes: equal ones were not touched.
    pub(crate) fn addresses(&self) -> BTreeMap<Arc<str>, usize> {
        self.listing.entries.iter().map(|entry| (Arc::clone(&entry.path), Arc::as_ptr(entry) as usize)).collect()
    }
}

pub(crate) fn bodies(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, body)| ((*name).to_owned(), (*body).to_owned())).collect()
}
