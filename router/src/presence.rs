//! What a router says of itself in etcd, for as long as it lives: `live/routers/<id>`.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use gridrouter_config::live::{LiveId, MoveSeen, RouterState, RouterStatus};
use gridrouter_config::store::etcd::live::{Entry, Holder, Standing, Terms};
use gridrouter_config::store::etcd::{EtcdOptions, Random};

use crate::lifecycle::Options;
use crate::listener::worker::Shared;
use crate::pipeline::decide::cell_of;
use crate::snapshot::fences::Fence;
use crate::source::{Origin, SharedStatus, unix_time};

/// Where the number is kept that tells routers of one host apart.
const NUMBER: &str = "router-id";
/// Where the lease is kept, by which a router that starts again knows its own key.
const LEASE: &str = "router-lease";

/// A router's presence.
#[derive(Debug)]
pub struct Presence {
    holder: Holder,
    address: Option<SocketAddr>,
    started: u64,
    status: SharedStatus,
    shared: Arc<Shared>,
}

impl Presence {
    /// Begins to tell of the router. That etcd cannot be reached is no error: it is tried again for ever.
    pub(crate) fn start(
        etcd: &EtcdOptions,
        options: &Options,
        admin: Option<SocketAddr>,
        status: SharedStatus,
        shared: Arc<Shared>,
    ) -> Result<Self, String> {
        let started = unix_time();
        let id = options.id.clone().unwrap_or_else(|| default_id(options.state.as_deref()));
        let memory = options.state.as_ref().map(|state| state.join(LEASE));
        let entry = Entry::Router(say(&status, &shared, admin, started));
        let terms = Terms { id, lease: etcd.lease(), memory };
        let holder = Holder::start(etcd.clone(), entry, terms, Random::new()).map_err(|error| error.explain())?;
        Ok(Self { holder, address: admin, started, status, shared })
    }

    /// Tells how the router is now, if that is not what was told last. A generation that came into force is told at once:
    /// somebody may be waiting for it.
    pub(crate) fn tell(&self) {
        self.holder.tell(Entry::Router(say(&self.status, &self.shared, self.address, self.started)));
    }

    /// How the registration stands.
    pub fn standing(&self) -> Standing {
        self.holder.standing()
    }

    /// Takes the key back, within a second.
    pub(crate) fn stop(&self) {
        self.holder.stop();
    }
}

fn say(status: &SharedStatus, shared: &Shared, address: Option<SocketAddr>, started: u64) -> RouterStatus {
    let status = status.lock().unwrap_or_else(PoisonError::into_inner);
    let state = match (shared.draining.load(Ordering::Relaxed), status.held, status.origin) {
        (true, _, _) => RouterState::Draining,
        (false, true, _) => RouterState::Held,
        (false, false, Origin::LastKnownGood) => RouterState::LastKnownGood,
        (false, false, Origin::Store) => RouterState::Ready,
    };
    RouterStatus {
        // The holder knows which one it got.
        id: String::new(),
        address: address.map(|address| address.to_string()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        // Whoever publishes the first generation waits for its number, which this router gives to having nothing.
        generation: if status.numbered || status.origin == Origin::LastKnownGood { status.generation } else { 0 },
        digest: status.digest.clone(),
        lineage: status.lineage.clone(),
        listed: status.listed.clone(),
        state,
        quarantined: status.quarantined.len(),
        since: status.since,
        started,
        moves: moves(shared),
    }
}

/// The moves under way, as the snapshot in force has them.
pub(crate) fn moves(shared: &Shared) -> Vec<MoveSeen> {
    let snapshot = shared.snapshot.load();
    let seen = |fence: &Arc<Fence>| MoveSeen {
        name: fence.document.name.to_string(),
        started: fence.document.state.started,
        phase: fence.document.state.phase,
        cell: cell_of(&snapshot, fence).map(str::to_owned),
        clean: shared.fenced.is_clean(fence, shared.threads.len()),
    };
    snapshot.fences.iter().flat_map(|fences| fences.iter()).map(seen).collect()
}

/// The host's name and a number: the same after a restart where there is a state directory to keep it, and other than
/// that of a router beside it.
fn default_id(state: Option<&Path>) -> LiveId {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    LiveId::resembling(&host).other(number(state))
}

fn number(state: Option<&Path>) -> u32 {
    let fresh = RandomState::new().hash_one(NUMBER) as u32;
    let Some(state) = state else { return fresh };
    let file = state.join(NUMBER);
    let known = fs::read_to_string(&file).ok().and_then(|text| u32::from_str_radix(text.trim(), 16).ok());
    if let Some(known) = known {
        return known;
    }
    let kept = fs::create_dir_all(state).and_then(|()| fs::write(&file, format!("{fresh:08x}\n")));
    if let Err(error) = kept {
        tracing::warn!("the router's number cannot be kept in {}: {error}", file.display());
    }
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_keeps_its_id_where_it_has_a_place_to_keep_it() {
        let state = tempfile::tempdir().unwrap();
        let nested = state.path().join("a/b");
        assert_eq!(default_id(Some(&nested)), default_id(Some(&nested)));
        assert_ne!(default_id(None), default_id(None));
        fs::write(nested.join(NUMBER), "nonsense").unwrap();
        assert_eq!(default_id(Some(&nested)), default_id(Some(&nested)));
    }
}
