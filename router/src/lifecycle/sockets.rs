//! Keeps the listening sockets as the snapshot says.
//!
//! A socket belongs to its address: a listener that is renamed, or two that exchange their addresses, keep the sockets
//! that are open, and no connection is refused meanwhile.

use std::net::SocketAddr;

use crate::listener::socket;
use crate::listener::worker::{Message, Shared};
use crate::snapshot::Snapshot;

/// The sockets that are open.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    open: Vec<Open>,
    /// What could not be opened last time, and why.
    refused: Vec<String>,
    next: u32,
}

#[derive(Debug)]
struct Open {
    /// What the threads know the socket by.
    socket: u32,
    listener: u32,
    name: String,
    /// As the document says.
    wanted: SocketAddr,
    /// As the kernel bound it.
    bound: SocketAddr,
}

impl Sockets {
    /// Opens, hands over and closes sockets so that they are what `snapshot` says. What cannot be opened is tried again
    /// with the next call; returns whether anything is newly refused.
    pub(crate) fn follow(&mut self, shared: &Shared, snapshot: &Snapshot) -> bool {
        let wanted: Vec<(u32, String, SocketAddr)> = (0_u32..)
            .zip(&snapshot.listeners)
            .filter_map(|(id, plan)| plan.as_ref().map(|plan| (id, plan)))
            .filter(|(_, plan)| !plan.gone)
            .map(|(id, plan)| (id, plan.document.name.to_string(), plan.document.address))
            .collect();
        let (kept, left): (Vec<Open>, Vec<Open>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| wanted.iter().any(|(id, _, address)| *id == open.listener && *address == open.wanted));
        self.open = kept;
        let mut spare = left;
        let mut refused = Vec::new();
        for (id, name, address) in wanted {
            if self.open.iter().any(|open| open.listener == id) {
                continue;
            }
            let same = |open: &Open| open.bound == address || (open.wanted == address && address.port() != 0);
            match spare.iter().position(same).map(|at| spare.swap_remove(at)) {
                Some(open) => self.hand_over(shared, open, id, name),
                None => match self.open_one(shared, id, &name, address) {
                    Ok(open) => self.open.push(open),
                    Err(error) => refused.push(format!("listener {name} cannot listen on {address}: {error}")),
                },
            }
        }
        for open in &spare {
            close_one(shared, open);
        }
        let news = refused.iter().any(|text| !self.refused.contains(text));
        self.refused = refused;
        news
    }

    /// What could not be opened.
    pub(crate) fn refused(&self) -> &[String] {
        &self.refused
    }

    fn hand_over(&mut self, shared: &Shared, mut open: Open, listener: u32, name: String) {
        tracing::info!(listener = name, address = %open.bound, "listening in place of {}", open.name);
        for thread in &shared.threads {
            thread.tell(Message::HandOver { socket: open.socket, listener });
        }
        (open.listener, open.name) = (listener, name);
        self.open.push(open);
    }

    fn open_one(&mut self, shared: &Shared, listener: u32, name: &str, wanted: SocketAddr) -> std::io::Result<Open> {
        let (bound, sockets) = socket::bind(wanted, shared.threads.len())?;
        tracing::info!(listener = name, address = %bound, "listening");
        self.next += 1;
        for (thread, socket) in shared.threads.iter().zip(sockets) {
            thread.tell(Message::Listen { id: self.next, listener, socket });
        }
        Ok(Open { socket: self.next, listener, name: name.to_owned(), wanted, bound })
    }

    /// Closes them all.
    pub(crate) fn close(&mut self, shared: &Shared) {
        for open in self.open.drain(..) {
            close_one(shared, &open);
        }
    }

    pub(crate) fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.open.iter().find(|open| open.name == listener).map(|open| open.bound)
    }

    pub(crate) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let mut addresses: Vec<_> = self.open.iter().map(|open| (open.name.clone(), open.bound)).collect();
        addresses.sort();
        addresses
    }

    /// The listener of this name, or else the first one.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<u32> {
        match name {
            Some(name) => self.open.iter().find(|open| open.name == name).map(|open| open.listener),
            None => self.open.iter().min_by(|a, b| a.name.cmp(&b.name)).map(|open| open.listener),
        }
    }
}

fn close_one(shared: &Shared, open: &Open) {
    tracing::info!(listener = open.name, address = %open.bound, "no longer listening");
    for thread in &shared.threads {
        thread.tell(Message::Unlisten { socket: open.socket });
    }
}
