//! Keeps the listening sockets as the snapshot says.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::listener::socket;
use crate::listener::worker::{Message, Shared};
use crate::snapshot::Snapshot;

/// The sockets that are open.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    open: BTreeMap<u32, Open>,
}

#[derive(Debug)]
struct Open {
    name: String,
    /// As the document says.
    wanted: SocketAddr,
    /// As the kernel bound it.
    bound: SocketAddr,
}

impl Sockets {
    /// Opens and closes sockets so that they are what `snapshot` says. Returns what could not be opened; that is tried
    /// again with the next change.
    pub(crate) fn follow(&mut self, shared: &Shared, snapshot: &Snapshot) -> Vec<String> {
        let gone: Vec<u32> = self
            .open
            .iter()
            .filter(|(id, open)| snapshot.listener(**id).is_none_or(|plan| plan.document.address != open.wanted))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.close_one(shared, id);
        }
        let mut refused = Vec::new();
        for (id, plan) in (0_u32..).zip(&snapshot.listeners) {
            let Some(plan) = plan else { continue };
            if self.open.contains_key(&id) {
                continue;
            }
            let (name, wanted) = (plan.document.name.to_string(), plan.document.address);
            match socket::bind(wanted, shared.threads.len()) {
                Err(error) => refused.push(format!("listener {name} cannot listen on {wanted}: {error}")),
                Ok((bound, sockets)) => {
                    tracing::info!(listener = name, address = %bound, "listening");
                    for (thread, socket) in shared.threads.iter().zip(sockets) {
                        thread.tell(Message::Listen { listener: id, socket });
                    }
                    self.open.insert(id, Open { name, wanted, bound });
                }
            }
        }
        refused
    }

    fn close_one(&mut self, shared: &Shared, id: u32) {
        if let Some(open) = self.open.remove(&id) {
            tracing::info!(listener = open.name, address = %open.bound, "no longer listening");
            for thread in &shared.threads {
                thread.tell(Message::Unlisten { listener: id });
            }
        }
    }

    /// Closes them all.
    pub(crate) fn close(&mut self, shared: &Shared) {
        for id in self.open.keys().copied().collect::<Vec<_>>() {
            self.close_one(shared, id);
        }
    }

    pub(crate) fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.open.values().find(|open| open.name == listener).map(|open| open.bound)
    }

    pub(crate) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.open.values().map(|open| (open.name.clone(), open.bound)).collect()
    }

    /// The listener of this name, or else the first one.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<u32> {
        match name {
            Some(name) => self.open.iter().find(|(_, open)| open.name == name).map(|(id, _)| *id),
            None => self.open.keys().next().copied(),
        }
    }
}
