//! Reads certificates, keeps the last good ones, and publishes what handshakes look into.

mod services;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use gridrouter_config::certificate::{Facts, Pair, read_authorities};
use gridrouter_config::ids::Name;
use gridrouter_config::model::{
    self, Authorities, CertificateSource, CipherPolicy, ClientCertificateMode, HostPattern, ListenerTls as Document,
    Model,
};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;

use self::services::Services;
use super::table::{self, CertificateView, Index, ListenerTls, Table};
use super::tickets::{Scope, Scoped, Tickets};
use super::watched::{self, Watched};
use crate::snapshot::Snapshot;
use crate::source::unix_time;

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long before it expires the log tells of a certificate.
const SOON: u64 = 7 * 24 * 3600;

/// Keeps what handshakes look into up to date.
#[derive(Debug)]
pub(crate) struct Keeper {
    tickets: Arc<Tickets>,
    modern: Arc<CryptoProvider>,
    compatible: Arc<CryptoProvider>,
    certificates: BTreeMap<Name, Certificate>,
    /// By the listener's name.
    authorities: BTreeMap<Name, Watched<Authorities, Trusted>>,
    services: Services,
    /// When files were last looked at.
    looked: Option<Instant>,
    /// The documents that the table was made of.
    made_of: Option<(model::Map<model::Certificate>, model::Map<model::Listener>, model::Map<model::Service>)>,
}

#[derive(Debug)]
struct Certificate {
    watched: Watched<Arc<model::Certificate>, Loaded>,
    age: Age,
}

/// A certificate that can be served.
#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    facts: Facts,
    expires: u64,
}

/// Authorities, and what tells them from others.
#[derive(Debug)]
struct Trusted {
    roots: Arc<RootCertStore>,
    digest: Scope,
}

/// What the log was told of a certificate's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Fine,
    NotYet,
    Soon,
    Expired,
}

impl Age {
    fn of(facts: &Facts, expires: u64, now: u64) -> Self {
        match () {
            () if now >= expires => Self::Expired,
            () if now < facts.not_before => Self::NotYet,
            () if now + SOON >= expires => Self::Soon,
            () => Self::Fine,
        }
    }

    fn tell(self, name: &Name, expires: u64) {
        match self {
            Self::Fine => {}
            Self::NotYet => tracing::warn!(certificate = %name, "the certificate does not count yet"),
            Self::Soon => tracing::warn!(certificate = %name, expires, "the certificate expires within a week"),
            Self::Expired => {
                tracing::error!(certificate = %name, expires, "the certificate has expired, and is served still");
            }
        }
    }
}

impl Keeper {
    /// With session ticket keys from this file, or with keys of its own.
    pub(crate) fn new(ticket_keys: Option<&Path>) -> Self {
        Self {
            tickets: Tickets::new(ticket_keys),
            modern: table::provider(CipherPolicy::Modern),
            compatible: table::provider(CipherPolicy::Compatible),
            certificates: BTreeMap::new(),
            authorities: BTreeMap::new(),
            services: Services::default(),
            looked: None,
            made_of: None,
        }
    }

    /// Makes the table what `snapshot` and the files say. Files are looked at once a second, however often this is called.
    pub(crate) fn follow(&mut self, snapshot: &Snapshot, table: &ArcSwap<Table>) {
        let model = &snapshot.model;
        let is_new = !self.made_of.as_ref().is_some_and(|(certificates, listeners, services)| {
            Arc::ptr_eq(certificates, &model.certificates)
                && Arc::ptr_eq(listeners, &model.listeners)
                && Arc::ptr_eq(services, &model.services)
        });
        if !is_new && self.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        self.tickets.look();
        let mut changed = self.look_at_certificates(&model.certificates);
        changed |= self.look_at_authorities(&model.listeners);
        changed |= self.services.look(&model.services);
        if is_new || changed {
            let Model { certificates, listeners, services, .. } = &**model;
            self.made_of = Some((Arc::clone(certificates), Arc::clone(listeners), Arc::clone(services)));
            table.store(Arc::new(self.table(snapshot)));
        }
    }

    fn look_at_certificates(&mut self, documents: &model::Map<model::Certificate>) -> bool {
        let mut changed = false;
        self.certificates.retain(|name, _| documents.contains_key(name));
        for (name, document) in documents.iter() {
            let one = self
                .certificates
                .entry(name.clone())
                .or_insert_with(|| Certificate { watched: Watched::new(Arc::clone(document)), age: Age::Fine });
            if !Arc::ptr_eq(&one.watched.document, document) {
                one.watched.says(Arc::clone(document));
            }
            let looked = one.watched.look(&files(document), || load(document));
            if let Some(fault) = &looked.fault {
                let stays = if one.watched.good.is_some() { "the last good one stays" } else { "it is not served" };
                tracing::error!(certificate = %name, "{fault}; {stays}");
            }
            if let Some(fresh) = &looked.fresh {
                tracing::info!(certificate = %name, fingerprint = fresh.facts.fingerprint, "certificate in force");
            }
            changed |= looked.fresh.is_some() || looked.fault.is_some() || looked.is_healed;
            if let Some(good) = &one.watched.good {
                let age = Age::of(&good.facts, good.expires, unix_time());
                if std::mem::replace(&mut one.age, age) != age {
                    age.tell(name, good.expires);
                }
            }
        }
        changed
    }

    fn look_at_authorities(&mut self, listeners: &model::Map<model::Listener>) -> bool {
        let mut changed = false;
        let wanted = |listener: &model::Listener| {
            listener.tls.as_ref()?.client_certificates.as_ref().map(|clients| clients.authorities.clone())
        };
        self.authorities.retain(|name, _| listeners.get(name).is_some_and(|one| wanted(one).is_some()));
        for (name, authorities) in listeners.iter().filter_map(|(name, one)| Some((name, wanted(one)?))) {
            let one = self.authorities.entry(name.clone()).or_insert_with(|| Watched::new(authorities.clone()));
            if one.document != authorities {
                one.says(authorities.clone());
            }
            let file = match &authorities {
                Authorities::File(path) => Some(path.as_path()),
                Authorities::Inline(_) => None,
            };
            let looked = one.look(file.as_slice(), || trust(&authorities));
            if let Some(fault) = &looked.fault {
                let stays = if one.good.is_some() { "the last good ones stay" } else { "its clients are refused" };
                tracing::error!(listener = %name, "authorities of clients' certificates: {fault}; {stays}");
            }
            changed |= looked.fresh.is_some() || looked.fault.is_some() || looked.is_healed;
        }
        changed
    }

    fn table(&mut self, snapshot: &Snapshot) -> Table {
        let mut listeners = Vec::new();
        let mut faults = Vec::new();
        for plan in &snapshot.listeners {
            let document = plan.as_ref().map(|plan| &plan.document);
            // Nobody waits for one that is gone, whose certificates may be gone with it.
            let mut wrong = |fault| {
                if plan.as_ref().is_some_and(|plan| !plan.gone) {
                    faults.push(fault);
                }
            };
            let made = document.and_then(|document| {
                Some(self.listener(&document.name, document.tls.as_ref()?, document.http2.enabled))
            });
            listeners.push(match (made, document) {
                (Some(Ok(made)), Some(document)) => {
                    if made.index.is_empty() {
                        wrong(format!("listener {} has no certificate to show", document.name));
                    }
                    Some(Arc::new(made))
                }
                (Some(Err(why)), Some(document)) => {
                    wrong(format!("listener {} takes no TLS: {why}", document.name));
                    None
                }
                (_, None) | (None, Some(_)) => None,
            });
        }
        let view = |(name, one): (&Name, &Certificate)| {
            let good = one.watched.good.as_ref();
            CertificateView {
                name: name.as_str().into(),
                expires: good.map(|good| good.expires),
                fingerprint: good.map(|good| good.facts.fingerprint.clone()),
                hosts: good
                    .map(|good| hosts(&one.watched.document, good))
                    .unwrap_or_default()
                    .iter()
                    .map(text)
                    .collect(),
                fault: one.watched.fault.clone(),
            }
        };
        for (name, one) in &self.authorities {
            faults.extend(one.fault.iter().map(|why| format!("authorities of listener {name}: {why}")));
        }
        let certificates = &self.certificates;
        let own = |name: &Name| certificates.get(name)?.watched.good.as_ref().map(|good| Arc::clone(&good.key));
        let (services, of_services) = self.services.table(&snapshot.model.services, &self.compatible, own);
        faults.extend(of_services);
        Table { listeners, services, certificates: self.certificates.iter().map(view).collect(), faults }
    }

    fn listener(&self, name: &Name, document: &Document, is_http2: bool) -> Result<ListenerTls, String> {
        let index = Arc::new(self.index(document));
        let provider = match document.ciphers {
            CipherPolicy::Modern => &self.modern,
            CipherPolicy::Compatible => &self.compatible,
        };
        let mut scope = Scope::default();
        let mut verifier = None;
        if let Some(clients) = &document.client_certificates {
            let trusted = self.authorities.get(name).and_then(|one| one.good.as_ref());
            let trusted = trusted.ok_or("the authorities of its clients' certificates are not known")?;
            verifier = Some(verify(provider, trusted, clients.mode)?);
            scope = trusted.scope(clients.mode);
        }
        let asks_clients = document.client_certificates.is_some();
        let tickets = Scoped { tickets: Arc::clone(&self.tickets), scope, asks_clients };
        let config = table::config(provider, document.minimum_version, verifier, &index, tickets, is_http2);
        Ok(ListenerTls {
            config: config.map_err(|error| error.to_string())?,
            index,
            handshake_timeout: document.handshake_timeout,
        })
    }

    fn index(&self, document: &Document) -> Index {
        let mut index = Index::default();
        let is_wanted = |name: &Name| document.certificates.is_empty() || document.certificates.contains(name);
        for (name, one) in &self.certificates {
            let Some(good) = &one.watched.good else { continue };
            if is_wanted(name) {
                for host in hosts(&one.watched.document, good) {
                    index.add(&host, &good.key);
                }
            }
            if document.default.as_ref() == Some(name) {
                index.set_default(Arc::clone(&good.key));
            }
        }
        index
    }
}

impl Trusted {
    fn scope(&self, mode: ClientCertificateMode) -> Scope {
        let mode = match mode {
            ClientCertificateMode::Required => b"required",
            ClientCertificateMode::Optional => b"optional",
        };
        sha256(&[&self.digest[..], mode].concat())
    }
}

fn sha256(bytes: &[u8]) -> Scope {
    let mut scope = Scope::default();
    let digest = digest::digest(&digest::SHA256, bytes);
    scope.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    scope
}

fn verify(
    provider: &Arc<CryptoProvider>,
    trusted: &Trusted,
    mode: ClientCertificateMode,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&trusted.roots), Arc::clone(provider));
    let builder = match mode {
        ClientCertificateMode::Required => builder,
        ClientCertificateMode::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| error.to_string())
}

/// The hosts that a certificate is chosen for.
fn hosts(document: &model::Certificate, loaded: &Loaded) -> Vec<HostPattern> {
    if !document.hosts.is_empty() {
        return document.hosts.clone();
    }
    let host = |name: &String| match name.strip_prefix("*.") {
        Some(suffix) => HostPattern::Wildcard(suffix.to_owned()),
        None => HostPattern::Exact(name.clone()),
    };
    loaded.facts.dns.iter().map(host).collect()
}

fn text(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
    }
}

fn files(document: &model::Certificate) -> Vec<&Path> {
    match &document.source {
        CertificateSource::Files { chain, key, ocsp } => {
            [chain, key].into_iter().chain(ocsp).map(std::path::PathBuf::as_path).collect()
        }
        CertificateSource::Inline { .. } => Vec::new(),
    }
}

fn load(document: &model::Certificate) -> Result<Loaded, String> {
    let (pair, ocsp) = match &document.source {
        CertificateSource::Files { chain, key, ocsp } => {
            let pair = Pair::read(&watched::read(chain)?, &watched::read(key)?).map_err(|fault| {
                let file = match fault.part {
                    gridrouter_config::certificate::Part::Chain => chain,
                    gridrouter_config::certificate::Part::Key => key,
                };
                format!("{}: {fault}", file.display())
            })?;
            (pair, ocsp.as_ref().map(|path| ocsp_response(path)).transpose()?)
        }
        CertificateSource::Inline { chain, key } => {
            (Pair::read(chain.as_bytes(), key.reveal().as_bytes()).map_err(|fault| fault.to_string())?, None)
        }
    };
    let mut key = pair.certified();
    key.ocsp = ocsp;
    Ok(Loaded { key: Arc::new(key), facts: pair.leaf().clone(), expires: pair.expires() })
}

/// An OCSP response as it is shown to clients. Whether it is good they find out.
fn ocsp_response(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = watched::read(path)?;
    // A sequence that begins with the status "successful" (RFC 6960 §4.2.1), behind a length of one to three bytes.
    let body = match bytes.get(1) {
        Some(0..=0x7f) => bytes.get(2..),
        Some(0x81) => bytes.get(3..),
        Some(0x82) => bytes.get(4..),
        _ => None,
    };
    if bytes.first() != Some(&0x30) || !body.is_some_and(|body| body.starts_with(&[0x0a, 0x01, 0x00])) {
        let help = "write the answer that the authority gave, in DER: openssl ocsp -respout FILE";
        return Err(format!("{}: it is no good OCSP response; {help}", path.display()));
    }
    Ok(bytes)
}

fn trust(authorities: &Authorities) -> Result<Trusted, String> {
    let pem = match authorities {
        Authorities::File(path) => &watched::read(path)?,
        Authorities::Inline(pem) => pem.as_bytes(),
    };
    let roots = read_authorities(pem).map_err(|why| match authorities {
        Authorities::File(path) => format!("{}: {why}", path.display()),
        Authorities::Inline(_) => why,
    })?;
    Ok(Trusted { roots: Arc::new(roots), digest: sha256(pem) })
}

#[cfg(test)]
mod tests;
