//! What is agreed on with the endpoints of services: made anew where anything of it has changed, so that sessions are
//! remembered for as long as possible, and never longer than they may be.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gridrouter_config::ids::Name;
use gridrouter_config::model::{self, Authorities, ServiceTls as Document, UpstreamProtocol};
use hashbrown::HashMap;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;

use super::{Trusted, trust};
use crate::tls::upstream::ServiceTls;
use crate::tls::watched::Watched;

/// The services that speak TLS.
#[derive(Debug, Default)]
pub(super) struct Services {
    known: BTreeMap<Name, Service>,
    system: System,
}

/// Whom the system trusts, read when it is first needed, and again from time to time: an authority may come or go while the process runs.
#[derive(Debug, Default)]
struct System {
    found: Option<Found>,
    /// What the log was told of those that cannot be read.
    told: Vec<String>,
}

#[derive(Debug)]
struct Found {
    roots: Arc<RootCertStore>,
    at: Instant,
}

/// How often it is looked whom the system trusts, and how often while that is nobody.
const AGAIN: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(1);

impl System {
    /// The authorities; `read` reads them, and says what of them cannot be read.
    fn get(&mut self, read: impl FnOnce() -> (RootCertStore, Vec<String>)) -> Arc<RootCertStore> {
        if let Some(found) = &self.found {
            return Arc::clone(&found.roots);
        }
        let (roots, faults) = read();
        self.tell(faults);
        let roots = Arc::new(roots);
        self.found = Some(Found { roots: Arc::clone(&roots), at: Instant::now() });
        roots
    }

    /// Tells the log of faults, unless it was told of the same before.
    fn tell(&mut self, faults: Vec<String>) {
        if self.told != faults {
            for fault in &faults {
                tracing::warn!("authorities that the system trusts: {fault}");
            }
            self.told = faults;
        }
    }

    /// Reads them again, if somebody needs them and it is time. Returns whether they are others. Where none are found any more the last ones
    /// stay: a bundle may be just being written.
    fn look(&mut self, now: Instant, read: impl FnOnce() -> (RootCertStore, Vec<String>)) -> bool {
        let Some(found) = &mut self.found else { return false };
        let pause = if found.roots.is_empty() { SOON } else { AGAIN };
        if now.saturating_duration_since(found.at) < pause {
            return false;
        }
        found.at = now;
        let (fresh, faults) = read();
        let is_new = !fresh.is_empty() && fresh.roots != found.roots.roots;
        if is_new {
            tracing::info!(authorities = fresh.len(), "the system trusts others than before");
            found.roots = Arc::new(fresh);
        }
        self.tell(faults);
        is_new
    }
}

#[derive(Debug)]
struct Service {
    authorities: Option<Watched<Authorities, Trusted>>,
    made: Option<Made>,
}

/// What was made of what.
#[derive(Debug)]
struct Made {
    document: Document,
    protocol: UpstreamProtocol,
    roots: Arc<RootCertStore>,
    own: Option<Arc<CertifiedKey>>,
    tls: Result<Arc<ServiceTls>, String>,
}

impl Services {
    /// Looks at the authorities' files. Returns whether anything of them has changed.
    pub(super) fn look(&mut self, services: &model::Map<model::Service>) -> bool {
        let mut changed = self.system.look(Instant::now(), system);
        self.known.retain(|name, _| services.get(name).is_some_and(|one| one.tls.is_some()));
        for (name, document) in services.iter().filter_map(|(name, one)| Some((name, one.tls.as_ref()?))) {
            let one = self.known.entry(name.clone()).or_insert_with(|| Service { authorities: None, made: None });
            let Some(authorities) = &document.authorities else {
                one.authorities = None;
                continue;
            };
            let watched = one.authorities.get_or_insert_with(|| Watched::new(authorities.clone()));
            if watched.document != *authorities {
                // The old ones are believed no longer, even if the new ones cannot be read.
                *watched = Watched::new(authorities.clone());
            }
            let file = match authorities {
                Authorities::File(path) => Some(Path::new(path)),
                Authorities::Inline(_) => None,
            };
            let looked = watched.look(file.as_slice(), || trust(authorities));
            if let Some(fault) = &looked.fault {
                tracing::error!(service = %name, "authorities of endpoints' certificates: {fault}");
            }
            changed |= looked.fresh.is_some() || looked.fault.is_some() || looked.is_healed;
        }
        changed
    }

    /// What connections to endpoints look into, and what is wrong.
    pub(super) fn table(
        &mut self,
        services: &model::Map<model::Service>,
        provider: &Arc<CryptoProvider>,
        own: impl Fn(&Name) -> Option<Arc<CertifiedKey>>,
    ) -> (HashMap<Arc<str>, Arc<ServiceTls>>, Vec<String>) {
        let (mut table, mut faults) = (HashMap::new(), Vec::new());
        for (name, service) in services.iter() {
            let Some(document) = &service.tls else { continue };
            match self.make(name, (document, service.protocol), provider, &own) {
                Ok(tls) => drop(table.insert(Arc::from(name.as_str()), tls)),
                Err(why) => faults.push(format!("service {name} reaches no endpoint by TLS: {why}")),
            }
            let watched = self.known.get(name).and_then(|one| one.authorities.as_ref());
            faults.extend(
                watched.and_then(|one| one.fault.as_ref()).map(|why| format!("authorities of service {name}: {why}")),
            );
        }
        (table, faults)
    }

    fn make(
        &mut self,
        name: &Name,
        (document, protocol): (&Document, UpstreamProtocol),
        provider: &Arc<CryptoProvider>,
        own: &impl Fn(&Name) -> Option<Arc<CertifiedKey>>,
    ) -> Result<Arc<ServiceTls>, String> {
        let own = match &document.client_certificate {
            Some(certificate) => {
                Some(own(certificate).ok_or_else(|| format!("there is no good certificate {certificate} to show"))?)
            }
            None => None,
        };
        let system = if document.verify && document.authorities.is_none() {
            self.system.get(system)
        } else {
            Arc::new(RootCertStore::empty())
        };
        let Some(one) = self.known.get_mut(name) else { return Err("it was not looked at".to_owned()) };
        let roots = match &one.authorities {
            Some(watched) => match &watched.good {
                Some(trusted) => Arc::clone(&trusted.roots),
                None => return Err("its authorities are not known".to_owned()),
            },
            None => system,
        };
        let is_same = |made: &Made| {
            let same_own = match (&made.own, &own) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            // Without authorities of its own the roots may be empty, and new each time.
            same_own
                && made.document == *document
                && made.protocol == protocol
                && (Arc::ptr_eq(&made.roots, &roots) || roots.is_empty())
        };
        if let Some(made) = one.made.as_ref().filter(|made| is_same(made)) {
            return made.tls.clone();
        }
        let tls = ServiceTls::new(document, protocol, provider, Arc::clone(&roots), own.clone()).map(Arc::new);
        one.made = Some(Made { document: document.clone(), protocol, roots, own, tls: tls.clone() });
        tls
    }
}

/// Whom the system trusts, and what of it cannot be read.
fn system() -> (RootCertStore, Vec<String>) {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, passed_over) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, passed_over, "authorities that the system trusts");
    (roots, found.errors.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(count: usize) -> (RootCertStore, Vec<String>) {
        let mut roots = RootCertStore::empty();
        for _ in 0..count {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            roots.add(params.self_signed(&key).unwrap().der().clone()).unwrap();
        }
        (roots, if count == 0 { vec!["no file".to_owned()] } else { Vec::new() })
    }

    #[test]
    fn whom_the_system_trusts_is_read_again() {
        let (mut system, start) = (System::default(), Instant::now());
        assert!(!system.look(start + AGAIN, || unreachable!("nobody needs it")));
        assert!(system.get(|| store(0)).is_empty());
        // Somebody is found soon, when nobody was.
        let now = start + AGAIN;
        assert!(!system.look(now, || store(0)));
        assert_eq!(system.told, ["no file"]);
        assert!(system.look(now + SOON, || store(1)));
        let one = system.get(|| unreachable!("it is known"));
        // Then more seldom, and only what is new is.
        assert!(!system.look(now + 2 * SOON, || unreachable!("it is too soon")));
        let same = RootCertStore { roots: one.roots.clone() };
        assert!(!system.look(now + SOON + AGAIN, || (same, Vec::new())));
        assert!(!system.look(now + SOON + 2 * AGAIN, || store(0)));
        assert_eq!(system.get(|| unreachable!()).roots, one.roots);
        assert!(system.look(now + SOON + 3 * AGAIN, || store(2)));
        assert_eq!(system.get(|| unreachable!()).len(), 2);
    }
}
