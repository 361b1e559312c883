//! Everything that a store has in force, as documents. No other module looks into a listing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridrouter_config::codec::{Parsed, SourceDocument, parse_entry};
use gridrouter_config::generation::{Advanced, advance};
use gridrouter_config::ids::DocumentId;
use gridrouter_config::keys::Keys;
use gridrouter_config::store::directory::DirectoryStore;
use gridrouter_config::store::etcd::writer::{Base, Writer};
use gridrouter_config::store::etcd::{Head, Random};
use gridrouter_config::store::{Entry, Key, Listing, Store};
use gridrouter_config::tenants::TenantTable;

use crate::contexts::Context;
use crate::target::{Target, Where};

/// A store that was opened. Nothing is asked of it before the first call.
pub struct Place {
    /// The store.
    pub store: Opened,
    /// The context that names it.
    pub context: Option<Context>,
    /// What said that it is this one.
    source: String,
}

/// A store that was opened, as what it is.
pub enum Opened {
    /// In etcd.
    Etcd {
        /// Reads and publishes.
        writer: Box<Writer>,
        /// Its keys.
        keys: Keys,
        /// Whether a head that cannot be read is replaced.
        adopting: bool,
    },
    /// In files below a directory.
    Directory(PathBuf),
}

impl Place {
    /// Opens a store.
    pub fn open(target: &Target) -> Result<Self, String> {
        let store = match &target.place {
            Where::Etcd(options) => {
                let writer = Writer::new((**options).clone(), Random::new()).map_err(|error| error.explain())?;
                Opened::Etcd { writer: Box::new(writer), keys: options.keys().clone(), adopting: false }
            }
            Where::Directory(path) => Opened::Directory(path.clone()),
        };
        Ok(Self { store, context: target.context.clone(), source: target.source.clone() })
    }

    /// What said that the store is this one, to be put behind an error.
    pub fn named_by(&self) -> String {
        format!(" (the store is named by {})", self.source)
    }

    /// The writer of a store that has generations; `what` is what a directory has not.
    pub fn writer(&mut self, what: &str) -> Result<&mut Writer, String> {
        match &mut self.store {
            Opened::Etcd { writer, .. } => Ok(writer),
            Opened::Directory(path) => Err(format!("directory {} {what}", path.display())),
        }
    }

    /// From here on, a head that cannot be read is replaced: an operator says that the store is right.
    #[must_use]
    pub fn adopted(mut self) -> Self {
        if let Opened::Etcd { adopting, .. } = &mut self.store {
            *adopting = true;
        }
        self
    }

    /// Everything that is in force.
    pub fn read(&mut self) -> Result<Site, String> {
        let named_by = self.named_by();
        let said = |why: String| why + &named_by;
        match &mut self.store {
            Opened::Etcd { writer, keys, adopting } => {
                let view = if *adopting { writer.read_adopting() } else { writer.read() };
                let view = view.map_err(|error| said(in_our_words(&error.explain())))?;
                Ok(Site::of_listing(view.listing, Some(keys), Some(view.base)))
            }
            Opened::Directory(path) => Site::of_directory(path).map_err(said),
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
    /// Documents that can be read and are not written as gridctl writes them.
    pub odd: BTreeSet<DocumentId>,
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

/// Whether a document is written as gridctl writes it.
fn is_canonical(document: &SourceDocument, bytes: &[u8]) -> bool {
    serde_json::to_vec(&document.raw).is_ok_and(|canonical| canonical == bytes)
}

impl Site {
    /// What the files below a directory have.
    pub fn of_directory(root: &Path) -> Result<Self, String> {
        let listing = DirectoryStore::new(root).list().map_err(|error| error.explain())?;
        Ok(Site::of_files(listing))
    }

    /// Of what a directory lists.
    pub fn of_files(listing: Listing) -> Self {
        Self::of_listing(listing, None, None)
    }

    fn of_listing(listing: Listing, keys: Option<&Keys>, base: Option<Base>) -> Self {
        let mut site = Site {
            documents: BTreeMap::new(),
            broken: Vec::new(),
            foreign: BTreeMap::new(),
            odd: BTreeSet::new(),
            complaint: None,
            faults: Vec::new(),
            base,
        };
        for entry in &*listing.entries {
            site.take(entry);
        }
        // Where documents are files, they are as people write them.
        let foreign = site.base.as_ref().map(|base| base.foreign().clone()).unwrap_or_default();
        for (id, one) in foreign {
            let done = if one.now.is_some() { "written" } else { "deleted" };
            site.foreign.insert(id, format!("was {done} without a head, and this is not in force; use gridctl"));
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
            if self.base.is_some() && !is_canonical(&document, &entry.bytes) {
                self.odd.insert(document.id.clone());
            }
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

    /// What somebody wrote without gridctl, and what of it is written differently from how gridctl writes it: to be put
    /// into force as if it were applied. The text of a document that cannot be read is among it. Also what was deleted.
    pub fn taken_in(&self, keys: &Keys, leave: impl Fn(&DocumentId) -> bool) -> (Vec<Parsed>, BTreeSet<DocumentId>) {
        let (mut files, mut deleted) = (Vec::new(), BTreeSet::new());
        for (id, foreign) in self.base.iter().flat_map(Base::foreign).filter(|(id, _)| !leave(id)) {
            let Some(bytes) = &foreign.now else {
                deleted.insert(id.clone());
                continue;
            };
            let key = Some(Key { id: id.clone(), revision: 0 });
            files.push(parse_entry(&Entry { path: keys.document(id).into(), bytes: Arc::clone(bytes), key }));
        }
        let odd = self.odd.iter().filter(|id| !leave(id)).filter_map(|id| self.documents.get(id));
        files.extend(odd.map(|document| Parsed::from_documents(&document.file, vec![Arc::clone(document)])));
        (files, deleted)
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
