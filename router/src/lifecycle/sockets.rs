//! Keeps the listening sockets as the snapshot says.
//!
//! A socket belongs to its address: a listener that is renamed, or two that exchange their addresses, keep the sockets
//! that are open, and no connection is refused meanwhile.

use std::io;
use std::net::SocketAddr;

use gridrouter_config::address::Address;
use gridrouter_config::model;

use crate::listener::socket;
use crate::listener::unix::{self, FileId};
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

/// What a listener asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    address: Address,
    /// Of no meaning but in the file system.
    mode: u32,
}

impl Wanted {
    fn of(listener: &model::Listener) -> Self {
        Self { address: listener.address.clone(), mode: listener.socket_mode }
    }

    /// Whether the kernel chooses the port.
    fn is_any_port(&self) -> bool {
        self.address.socket().is_some_and(|address| address.port() == 0)
    }
}

#[derive(Debug)]
struct Open {
    /// What the threads know the socket by.
    socket: u32,
    listener: u32,
    name: String,
    /// As the document says.
    wanted: Wanted,
    /// As the kernel bound it.
    bound: Address,
    /// The file, where it is in the file system.
    file: Option<FileId>,
}

impl Sockets {
    /// Opens, hands over and closes sockets so that they are what `snapshot` says. What cannot be opened is tried again
    /// with the next call; returns whether anything is newly refused.
    pub(crate) fn follow(&mut self, shared: &Shared, snapshot: &Snapshot) -> bool {
        let wanted: Vec<(u32, String, Wanted)> = (0_u32..)
            .zip(&snapshot.listeners)
            .filter_map(|(id, plan)| plan.as_ref().map(|plan| (id, plan)))
            .filter(|(_, plan)| !plan.gone)
            .map(|(id, plan)| (id, plan.document.name.to_string(), Wanted::of(&plan.document)))
            .collect();
        let (kept, left): (Vec<Open>, Vec<Open>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| wanted.iter().any(|(id, _, wanted)| *id == open.listener && *wanted == open.wanted));
        self.open = kept;
        let mut spare = left;
        let mut refused = Vec::new();
        for (id, name, wanted) in wanted {
            if self.open.iter().any(|open| open.listener == id) {
                continue;
            }
            let is_bound = |open: &Open| open.bound == wanted.address && open.wanted.mode == wanted.mode;
            let same = |open: &Open| is_bound(open) || (open.wanted == wanted && !wanted.is_any_port());
            if let Some(at) = spare.iter().position(same) {
                self.hand_over(shared, spare.swap_remove(at), id, name);
                continue;
            }
            // Its own socket would stand in the way of one with other permissions.
            let in_the_way = |open: &Open| open.file.is_some() && open.bound == wanted.address;
            if let Some(at) = spare.iter().position(in_the_way) {
                close_one(shared, &spare.swap_remove(at));
            }
            match self.open_one(shared, id, &name, wanted) {
                Ok(open) => self.open.push(open),
                Err(error) => refused.push(error),
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

    fn open_one(&mut self, shared: &Shared, listener: u32, name: &str, wanted: Wanted) -> Result<Open, String> {
        let id = self.next + 1;
        let opened = match &wanted.address {
            Address::Ip(address) => listen(shared, id, listener, *address).map(|bound| (bound.into(), None)),
            Address::Unix(path) => {
                listen_at(shared, id, listener, path, wanted.mode).map(|file| (wanted.address.clone(), Some(file)))
            }
        };
        let (bound, file) =
            opened.map_err(|error| format!("listener {name} cannot listen on {}: {error}", wanted.address))?;
        tracing::info!(listener = name, address = %bound, "listening");
        self.next = id;
        Ok(Open { socket: id, listener, name: name.to_owned(), wanted, bound, file })
    }

    /// Closes them all.
    pub(crate) fn close(&mut self, shared: &Shared) {
        for open in self.open.drain(..) {
            close_one(shared, &open);
        }
    }

    pub(crate) fn address(&self, listener: &str) -> Option<Address> {
        self.open.iter().find(|open| open.name == listener).map(|open| open.bound.clone())
    }

    pub(crate) fn addresses(&self) -> Vec<(String, Address)> {
        let mut addresses: Vec<_> = self.open.iter().map(|open| (open.name.clone(), open.bound.clone())).collect();
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

/// Opens sockets for all threads.
fn listen(shared: &Shared, id: u32, listener: u32, address: SocketAddr) -> io::Result<SocketAddr> {
    let (bound, sockets) = socket::bind(address, shared.threads.len())?;
    for (thread, socket) in shared.threads.iter().zip(sockets) {
        thread.tell(Message::Listen { id, listener, socket });
    }
    Ok(bound)
}

/// Opens a socket in the file system, which one thread accepts from. Which one, its number says, so that several sockets do
/// not all keep the same one busy.
fn listen_at(shared: &Shared, id: u32, listener: u32, path: &str, mode: u32) -> io::Result<FileId> {
    let (socket, file) = unix::bind(path, mode)?;
    if let Some(thread) = shared.threads.get(id as usize % shared.threads.len()) {
        thread.tell(Message::ListenAtPath { id, listener, socket });
    }
    Ok(file)
}

fn close_one(shared: &Shared, open: &Open) {
    tracing::info!(listener = open.name, address = %open.bound, "no longer listening");
    for thread in &shared.threads {
        thread.tell(Message::Unlisten { socket: open.socket });
    }
    if let (Address::Unix(path), Some(file)) = (&open.bound, open.file) {
        unix::remove(path, file);
    }
}
