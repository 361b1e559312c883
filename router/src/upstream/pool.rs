//! One thread's connections to endpoints, kept for use again.
//!
//! Nothing here is shared between threads: a request finds its connection by an index into a vector, newest first, so
//! that surplus connections age and close. A connection goes back only when the response was read to its end.

use std::cell::RefCell;
use std::rc::Rc;

use super::exchange::Exchange;
use super::http2::hub::Hub;
use super::owner::Owner;
use crate::clock::Millis;

/// Unused connections kept for one endpoint by one thread. More than that were opened by a burst and would only cost
/// the endpoint memory.
const MAX_IDLE: usize = 256;

#[derive(Debug)]
struct Idle {
    connection: Box<Exchange>,
    expires: Millis,
    /// Whose it is, where the endpoint was told.
    owner: Option<Box<Owner>>,
}

/// One thread's unused connections, by the endpoint's stable number.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Vec<Idle>>>,
    /// Connections that are shared, of endpoints that speak HTTP/2.
    hubs: RefCell<Vec<Option<Rc<Hub>>>>,
}

impl Pool {
    /// An unused connection of this owner to the endpoint, if there is one that is not too old and was not closed.
    pub(super) fn take_owned(&self, endpoint: u32, owner: &Owner, now: Millis) -> Option<Box<Exchange>> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(endpoint as usize)?;
        while let Some(at) = connections.iter().rposition(|idle| idle.owner.as_deref() == Some(owner)) {
            let mut newest = connections.remove(at);
            if newest.expires > now && newest.connection.is_open() {
                return Some(newest.connection);
            }
        }
        None
    }

    /// Keeps a connection that may serve another request of its owner. Owners go: one that is new is more likely to come
    /// again than the oldest.
    pub(super) fn put_owned(&self, endpoint: u32, owner: Box<Owner>, connection: Box<Exchange>, expires: Millis) {
        let mut idle = self.idle.borrow_mut();
        let index = endpoint as usize;
        if idle.len() <= index {
            idle.resize_with(index + 1, Vec::new);
        }
        if let Some(connections) = idle.get_mut(index) {
            if connections.len() >= MAX_IDLE {
                connections.remove(0);
            }
            connections.push(Idle { connection, expires, owner: Some(owner) });
        }
    }

    /// An unused connection to the endpoint, if there is one that is not too old and was not closed. For endpoints that are
    /// not told whose connections are.
    pub(crate) fn take(&self, endpoint: u32, now: Millis) -> Option<Box<Exchange>> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(endpoint as usize)?;
        while let Some(mut newest) = connections.pop() {
            if newest.expires > now && newest.connection.is_open() {
                return Some(newest.connection);
            }
        }
        None
    }

    /// Keeps a connection that may serve another request.
    pub(crate) fn put(&self, endpoint: u32, connection: Box<Exchange>, expires: Millis) {
        let mut idle = self.idle.borrow_mut();
        let index = endpoint as usize;
        if idle.len() <= index {
            idle.resize_with(index + 1, Vec::new);
        }
        if let Some(connections) = idle.get_mut(index)
            && connections.len() < MAX_IDLE
        {
            connections.push(Idle { connection, expires, owner: None });
        }
    }

    /// The connections to an endpoint that requests share.
    pub(super) fn hub(&self, endpoint: u32) -> Rc<Hub> {
        let mut hubs = self.hubs.borrow_mut();
        let index = endpoint as usize;
        if hubs.len() <= index {
            hubs.resize(index + 1, None);
        }
        match hubs.get_mut(index) {
            Some(hub) => Rc::clone(hub.get_or_insert_default()),
            None => Rc::default(),
        }
    }

    /// Whether there are any that take requests.
    pub(super) fn is_shared(&self, endpoint: u32) -> bool {
        let hubs = self.hubs.borrow();
        hubs.get(endpoint as usize).is_some_and(|hub| hub.as_ref().is_some_and(|hub| hub.has_sessions()))
    }

    /// Closes what has been unused for too long, and what the endpoint has closed.
    pub(crate) fn sweep(&self, now: Millis) {
        for connections in self.idle.borrow_mut().iter_mut() {
            connections.retain_mut(|idle| idle.expires > now && idle.connection.is_open());
            if connections.is_empty() {
                connections.shrink_to_fit();
            }
        }
        for hub in self.hubs.borrow().iter().flatten() {
            hub.sweep(now);
        }
    }

    /// How many connections are kept.
    pub(crate) fn len(&self) -> usize {
        let shared: usize = self.hubs.borrow().iter().flatten().map(|hub| hub.unused()).sum();
        self.idle.borrow().iter().map(Vec::len).sum::<usize>() + shared
    }
}
