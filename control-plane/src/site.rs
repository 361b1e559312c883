//! Everything that a store has in force, as documents. No other module looks into a listing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gridrouter_config::codec::{Parsed, SourceDocument, parse_entry};
use gridrouter_config::generation::{Advanced, advance};
use gridrouter_config::ids::DocumentId;
use gridrouter_config::keys::Keys;
use gridrouter_config::store::directory::DirectoryStore;
use gridrouter_config::store::etcd::writer::{Base, Writer};
use gridrouter_config::store::etcd::{Head, Random};
use gridrouter_config::store::{Entry, Listing, Store};
use gridrouter_config::tenants::TenantTable;

use crate::target::Target;

/// A store that was opened. Nothing is asked of it before the first call.
pub enum Place {
    /// In etcd.
    Etcd {
        /// Reads and publishes.
        writer: Box<Writer>,
        /// Its keys.
        keys: Keys,
    },
    /// In files below a directory.
    Directory(PathBuf),
}

impl Place {
    /// Opens a store.
    pub fn open(target: &Target) -> Result<Self, String> {
        Ok(match target {
            Target::Etcd(options) => {
                let writer = Writer::new((**options).clone(), Random::new()).map_err(|error| error.explain())?;
                Place::Etcd { writer: Box::new(writer), keys: options.keys().clone() }
            }
            Target::Directory(path) => Place::Directory(path.clone()),
        })
    }

    /// The writer of a store that has generations; `what` is what a directory has not.
    pub fn writer(&mut self, what: &str) -> Result<&mut Writer, String> {
        match self {
            Place::Etcd { writer, .. } => Ok(writer),
            Place::Directory(path) => Err(format!("directory {} {what}", path.display())),
        }
    }

    /// Everything that is in force.
    pub fn read(&mut self) -> Result<Site, String> {
        match self {
            Place::Etcd { writer, keys } => {
                let view = writer.read().map_err(|error| in_our_words(&error.explain()))?;
                Ok(Site::of_listing(view.listing, Some(keys), Some(view.base)))
            }
            Place::Directory(path) => {
                let listing = DirectoryStore::new(path.as_path()).list().map_err(|error| error.explain())?;
                Ok(Site::of_listing(listing, None, None))
            }
        }
    }
}

/// An error of the store as a command says it: a router tries again, a command ends.
pub fn in_our_words(text: &str) -> String {
    // A server that wants TLS, or a certificate, ends the connection without a word.
    let hung_up = text.contains("connection error") || text.contains("broken pipe");
    let what = if hung_up {
        "; does etcd want TLS (etcds://), or a client certificate (--etcd-cert)?"
    } else {
        "; is --store right, and is etcd running?"
    };
    text.replace("; it is tried again", what)
        .replace("publish with the option that adopts it, and routers follow it", "say --adopt, and routers follow it")
}

/// Everything that a store has in force at one moment.
pub struct Site {
    /// The documents that can be read.
    pub documents: BTreeMap<DocumentId, Arc<SourceDocument>>,
    /// Files and values with something that cannot be read.
    pub broken: Vec<Broken>,
    /// Documents that somebody wrote without gridctl. They are not in force, and the next generation would have them.
    pub foreign: BTreeMap<DocumentId, String>,
    /// What the store holds is not what its head says.
    pub complaint: Option<String>,
    /// What else is wrong with the store: where, and what.
    pub faults: Vec<(String, String)>,
    /// What a change starts from, where there are generations.
    pub base: Option<Base>,
}

/// A file or value with something that cannot be read.
pub struct Broken {
    /// The documents in it that have a name.
    pub ids: Vec<DocumentId>,
    /// The bytes.
    pub entry: Arc<Entry>,
}

impl Site {
    fn of_listing(listing: Listing, keys: Option<&Keys>, base: Option<Base>) -> Self {
        let mut site = Site {
            documents: BTreeMap::new(),
            broken: Vec::new(),
            foreign: BTreeMap::new(),
            complaint: None,
            faults: Vec::new(),
            base,
        };
        for entry in &*listing.entries {
            site.take(entry);
        }
        let tenants = listing.tenants.iter().filter_map(|tenant| tenant.source());
        site.documents.extend(tenants.map(|source| (source.id.clone(), source)));
        for (path, why) in listing.faults {
            match keys.map(|keys| (keys.head() == *path, keys.document_of(path.as_bytes()))) {
                Some((true, _)) => site.complaint = Some(why),
                Some((false, Ok(id))) => drop(site.foreign.insert(id, why)),
                Some((false, Err(_))) | None => site.faults.push((path.to_string(), why)),
            }
        }
        site
    }

    fn take(&mut self, entry: &Arc<Entry>) {
        let parsed = parse_entry(entry);
        for document in parsed.documents {
            if let Some(other) = self.documents.get(&document.id) {
                let why = format!("{} is defined twice, here and at {}", document.id, other.place());
                self.faults.push((document.place(), why));
            } else {
                self.documents.insert(document.id.clone(), document);
            }
        }
        if !parsed.broken.is_empty() {
            let ids = parsed.broken.into_iter().filter_map(|broken| broken.id).collect();
            self.broken.push(Broken { ids, entry: Arc::clone(entry) });
        }
    }

    /// The generation; 0 where nothing was published or there are none.
    pub fn generation(&self) -> u64 {
        self.base.as_ref().map_or(0, Base::generation)
    }

    /// What says which generation is in force.
    pub fn head(&self) -> Option<&Head> {
        self.base.as_ref().and_then(Base::head)
    }

    /// The bytes of a document that is there and cannot be read.
    pub fn broken(&self, id: &DocumentId) -> Option<&Broken> {
        self.broken.iter().find(|broken| broken.ids.contains(id))
    }

    /// Everything that is there but for some documents, to be checked together with others.
    pub fn without(&self, left_out: impl Fn(&DocumentId) -> bool) -> Vec<Parsed> {
        let kept = self.documents.iter().filter(|(id, _)| !left_out(id)).map(|(_, document)| Arc::clone(document));
        let mut files = vec![Parsed::from_documents("", kept.collect())];
        for broken in &self.broken {
            let mut parsed = parse_entry(&broken.entry);
            // The good ones are among the documents.
            parsed.documents.clear();
            parsed.broken.retain(|broken| broken.id.as_ref().is_none_or(|id| !left_out(id)));
            if !parsed.broken.is_empty() {
                files.push(parsed);
            }
        }
        files
    }

    /// What a router puts in force of this when it starts.
    pub fn advance(&self) -> Advanced {
        advance(None, &self.without(|_| false), &TenantTable::default())
    }
}
