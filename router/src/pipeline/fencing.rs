//! Requests that a fence keeps away: those that wait for its end, and those that were on their way when it came.
//!
//! A request that comes after the fence never goes to a cell. One that came before has to end before anybody may say that
//! the fence is up, so each thread looks through its connections when a fence is new, and again every now and then until
//! none is left. What a connection knows for that is one number; it is written once a request.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use gridrouter_config::ids::Name;
use gridrouter_config::raw::MovePhase;
use hashbrown::{HashMap, HashSet};
use tokio::sync::Notify;

use crate::http::connection::Connection;
use crate::listener::worker::Worker;
use crate::snapshot::fences::{Fence, Fences};

/// The most requests that wait for fences on one thread; more are refused. Each is a connection with a head that was read.
const MOST_HELD: usize = 4_096;
/// How often a thread looks again while requests are on their way that a fence keeps away.
const AGAIN: Duration = Duration::from_millis(50);

/// What tells one phase of one fence from all others.
type Key = (Name, u64, MovePhase);

/// Which threads have which fences up and nothing on its way, for whoever tells of it.
#[derive(Debug, Default)]
pub struct Board {
    clean: Mutex<HashMap<Key, HashSet<usize>>>,
    teller: OnceLock<std::thread::Thread>,
}

impl Board {
    /// This thread is woken when a thread has something new to say.
    pub(crate) fn told_by(&self, teller: std::thread::Thread) {
        let _only_once: Result<(), _> = self.teller.set(teller);
    }

    /// Whether all of so many threads have a fence up in the phase that it is in, and nothing on its way.
    pub(crate) fn is_clean(&self, fence: &Fence, threads: usize) -> bool {
        let clean = self.clean.lock().unwrap_or_else(PoisonError::into_inner);
        clean.get(&key(fence)).is_some_and(|those| those.len() >= threads)
    }

    /// Forgets what was known of fences that are there no more. Before the threads are told of a snapshot: one of them may be
    /// ahead of another.
    pub(crate) fn keep(&self, fences: Option<&Fences>) {
        let known: HashSet<Key> = fences.into_iter().flat_map(Fences::iter).map(|fence| key(fence)).collect();
        self.clean.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| known.contains(key));
    }

    /// Notes the fences that a thread has found clean.
    fn note(&self, thread: usize, found: Vec<Key>) {
        let mut clean = self.clean.lock().unwrap_or_else(PoisonError::into_inner);
        let mut news = false;
        for key in found {
            news |= clean.entry(key).or_default().insert(thread);
        }
        drop(clean);
        if let Some(teller) = self.teller.get().filter(|_| news) {
            teller.unpark();
        }
    }
}

fn key(fence: &Fence) -> Key {
    let (name, started) = fence.key();
    (name.clone(), started, fence.document.state.phase)
}

/// What request a connection has on its way to a cell, in one number: the hash of the tenant's id, whose lowest bit says
/// whether the request may change something.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Cell<u64>);

impl UnderWay {
    pub(crate) fn begins(&self, hash: u64, is_write: bool) {
        self.0.set((hash & !1) | u64::from(is_write));
    }

    pub(crate) fn ends(&self) {
        self.0.set(0);
    }

    fn get(&self) -> Option<u64> {
        Some(self.0.get()).filter(|number| *number != 0)
    }
}

/// Whether nothing is on its way that the fence keeps away. A tenant of the same hash counts too, and does no harm.
fn is_clean(fence: &Fence, under_way: &HashSet<u64>) -> bool {
    let is_there = |is_write: bool| under_way.contains(&((fence.hash & !1) | u64::from(is_write)));
    [true, false].into_iter().all(|is_write| !(fence.keeps_away(is_write) && is_there(is_write)))
}

/// One thread's connections, and the requests of theirs that wait for fences.
#[derive(Debug, Default)]
pub(crate) struct Fencing {
    connections: RefCell<Vec<Weak<Connection>>>,
    held: Cell<usize>,
    news: Notify,
    /// Whether it is looked again.
    looks: Cell<bool>,
}

impl Fencing {
    /// Keeps a connection in view.
    pub(crate) fn add(&self, connection: &Rc<Connection>) {
        let mut connections = self.connections.borrow_mut();
        connection.position.set(connections.len());
        connections.push(Rc::downgrade(connection));
    }

    /// The connection that stands here has gone.
    pub(crate) fn remove(&self, position: usize) {
        let mut connections = self.connections.borrow_mut();
        if position < connections.len() {
            connections.swap_remove(position);
        }
        if let Some(moved) = connections.get(position).and_then(Weak::upgrade) {
            moved.position.set(position);
        }
    }

    /// Takes over what the snapshot in force says of fences.
    pub(crate) fn review(&self, worker: &Rc<Worker>) {
        self.news.notify_waiters();
        if !self.look(worker) && !self.looks.replace(true) {
            drop(tokio::task::spawn_local(again(Rc::clone(worker))));
        }
    }

    /// Says which fences are clean. Whether all are.
    fn look(&self, worker: &Worker) -> bool {
        let snapshot = worker.snapshot();
        let fences = snapshot.fences.as_deref();
        let Some(fences) = fences else { return true };
        // Once, however many fences there are.
        let connections = self.connections.borrow();
        let under_way = connections.iter().filter_map(|connection| connection.upgrade()?.under_way.get()).collect();
        end_tunnels(fences, &connections);
        let clean: Vec<Key> =
            fences.iter().filter(|fence| is_clean(fence, &under_way)).map(|fence| key(fence)).collect();
        let all = clean.len() == fences.iter().count();
        worker.shared.fenced.note(worker.index, clean);
        all
    }

    /// A place for a request that waits, unless too many do.
    pub(crate) fn hold(worker: &Rc<Worker>) -> Option<Place> {
        let held = &worker.fencing.held;
        (held.get() < MOST_HELD).then(|| {
            held.set(held.get() + 1);
            Place(Rc::clone(worker))
        })
    }

    /// Waits until the snapshot says something new of fences.
    pub(crate) fn news(&self) -> impl Future<Output = ()> {
        self.news.notified()
    }
}

/// Makes tunnels end of tenants that move: requests end by themselves, they do not. What passes through them may change
/// anything, which every fence is there to keep away.
fn end_tunnels(fences: &Fences, connections: &[Weak<Connection>]) {
    // Once, however many fences there are.
    let kept_away: HashSet<u64> = fences.iter().map(|fence| (fence.hash & !1) | 1).collect();
    for connection in connections.iter().filter_map(Weak::upgrade) {
        if connection.is_tunnel.get() && connection.under_way.get().is_some_and(|number| kept_away.contains(&number)) {
            connection.fence();
        }
    }
}

async fn again(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(AGAIN).await;
        if worker.fencing.look(&worker) {
            worker.fencing.looks.set(false);
            return;
        }
    }
}

/// The place of a request that waits.
#[derive(Debug)]
pub(crate) struct Place(Rc<Worker>);

impl Drop for Place {
    fn drop(&mut self) {
        let held = &self.0.fencing.held;
        held.set(held.get().saturating_sub(1));
    }
}
