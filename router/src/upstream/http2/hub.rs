//! One thread's connections over HTTP/2 to one endpoint, and the places for requests on them.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use gridrouter_config::model::{RouteTimeouts, UpstreamProtocol};
use h2::client::ResponseFuture;
use h2::{Reason, SendStream};
use http::Request;
use tokio::sync::Notify;

use super::session::{Driver, Session};
use crate::clock::{self, Millis};
use crate::http::reject::Reject;
use crate::http1::wire::Wire;
use crate::listener::worker::Worker;
use crate::snapshot::EndpointPlan;
use crate::tls::upstream::has_no_common_protocol;
use crate::upstream::connect::{open, open_for_http1, reject_for};

/// Connections to one endpoint that take requests. With so many, requests wait for one another.
const MAX_SESSIONS: usize = 16;
/// How long opening one may take: those who wait for it have less patience, or more.
const OPENING: Duration = Duration::from_secs(10);
/// How long an endpoint that takes requests and no more connections is not asked for another one.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// One thread's connections over HTTP/2 to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    sessions: RefCell<Vec<Rc<Session>>>,
    /// Those that take no more requests: the last of them are under way.
    leaving: RefCell<Vec<Weak<Session>>>,
    is_opening: Cell<bool>,
    /// How many connections could not be opened, and why the last one.
    failures: Cell<(u64, Option<Reject>)>,
    /// Until when no more are opened beside those that there are.
    enough_until: Cell<Option<Millis>>,
    /// A place is free, or there may be one soon, or never.
    news: Notify,
    /// The same for tunnels, which have fewer places.
    news_for_tunnels: Notify,
    /// The endpoint was asked, and wants HTTP/1.1.
    wants_http1: Cell<bool>,
    /// The connection that it was asked on.
    asked_on: RefCell<Option<Wire>>,
}

/// What a connection is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) enum Purpose {
    Request,
    /// One that becomes a tunnel (RFC 8441), if the endpoint lets it.
    Tunnel,
    /// The same, of which HTTP/2 has no form.
    OwnTunnel,
}

/// A request's place on a connection.
#[derive(Debug)]
pub(crate) struct Place {
    session: Rc<Session>,
    hub: Rc<Hub>,
    purpose: Purpose,
    /// How long the connection is kept when it is unused.
    idle: Duration,
}

impl Place {
    pub(super) fn is_secure(&self) -> bool {
        self.session.is_secure()
    }

    /// Whether there has been a request on the connection before.
    pub(in crate::upstream) fn is_reused(&self) -> bool {
        self.session.is_used()
    }

    pub(super) fn send(
        &self,
        head: Request<()>,
        is_all: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.session.send(head, is_all)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.session.leave(self.purpose, clock::now_millis().after(self.idle));
        // Who waits for a place of the other kind may have no use for it, and would not tell.
        self.hub.news.notify_one();
        self.hub.news_for_tunnels.notify_one();
    }
}

/// How a request can be sent.
pub(in crate::upstream) enum Way {
    /// On a connection that others use, too.
    Shared(Place),
    /// The endpoint speaks HTTP/1.1.
    Own(Wire),
}

impl Hub {
    /// A place on a connection, opened if need be; for a service that is [`UpstreamProtocol::Auto`] a connection of its own where the
    /// endpoint speaks HTTP/1.1, or lets no request become a tunnel over HTTP/2. How long this may take is the caller's to say.
    pub(in crate::upstream) async fn way(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        endpoint: &EndpointPlan,
        timeouts: &RouteTimeouts,
        purpose: Purpose,
    ) -> Result<Way, Reject> {
        let (failures, _) = self.failures.get();
        loop {
            // Before looking, so that nothing is missed in between.
            let news = match purpose {
                Purpose::Request => self.news.notified(),
                Purpose::Tunnel | Purpose::OwnTunnel => self.news_for_tunnels.notified(),
            };
            if let Some(session) = self.session_with_room(purpose) {
                session.enter(purpose, worker.now_millis());
                let (hub, idle) = (Rc::clone(self), timeouts.upstream_idle);
                return Ok(Way::Shared(Place { session, hub, purpose, idle }));
            }
            if self.lets_none(purpose) {
                return match endpoint.protocol {
                    UpstreamProtocol::Auto => greet_over_http1(worker, endpoint).await.map(Way::Own),
                    UpstreamProtocol::H2 | UpstreamProtocol::Http1 => Err(Reject::UpstreamNoUpgrade),
                };
            }
            if endpoint.protocol == UpstreamProtocol::Auto && self.wants_http1.get() {
                if let Some(wire) = self.asked_on.take() {
                    return Ok(Way::Own(wire));
                }
                match greet(worker, endpoint, timeouts).await? {
                    Greeted::Http1(wire) => return Ok(Way::Own(wire)),
                    Greeted::Http2(session, driver) => {
                        // As many as ask at the same time find out at the same time: one connection is enough for them.
                        let has_room = self.session_with_room(Purpose::Request).is_some();
                        self.adopt(session, driver, !has_room);
                    }
                }
                continue;
            }
            if let (count, Some(reject)) = self.failures.get()
                && count > failures
                && !self.has_sessions()
            {
                return Err(reject);
            }
            self.open_one(worker, endpoint, timeouts);
            news.await;
        }
    }

    /// The first with room: so that those opened for a burst become unused and close.
    fn session_with_room(&self, purpose: Purpose) -> Option<Rc<Session>> {
        self.sort_out();
        self.sessions.borrow().iter().find(|session| session.has_room(purpose)).cloned()
    }

    /// Whether the endpoint was asked, and lets no request of this kind pass over HTTP/2.
    fn lets_none(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Request => false,
            Purpose::Tunnel => self.has_sessions() && self.sessions.borrow().iter().all(|one| !one.lets_connect()),
            Purpose::OwnTunnel => !self.wants_http1.get(),
        }
    }

    /// Tells all who wait.
    fn tell_all(&self) {
        self.news.notify_waiters();
        self.news_for_tunnels.notify_waiters();
    }

    /// Whether there are connections that take requests, full or not.
    pub(in crate::upstream) fn has_sessions(&self) -> bool {
        !self.sessions.borrow().is_empty()
    }

    /// Sets those aside that take no more requests. Returns whether there were any.
    fn sort_out(&self) -> bool {
        let before = self.sessions.borrow().len();
        let mut leaving = self.leaving.borrow_mut();
        self.sessions.borrow_mut().retain(|session| {
            let is_open = session.is_open();
            if !is_open {
                leaving.push(Rc::downgrade(session));
            }
            is_open
        });
        self.sessions.borrow().len() < before
    }

    /// Opens one more connection in a task of its own, unless that is being done or there are enough: whoever waits for it may leave.
    fn open_one(self: &Rc<Self>, worker: &Rc<Worker>, endpoint: &EndpointPlan, timeouts: &RouteTimeouts) {
        let failed = || self.enough_until.get().is_some_and(|until| clock::now_millis() < until);
        let is_enough = self.sessions.borrow().len() >= MAX_SESSIONS || (self.has_sessions() && failed());
        if self.is_opening.get() || is_enough {
            return;
        }
        self.is_opening.set(true);
        let (hub, worker, endpoint, timeouts) = (Rc::clone(self), Rc::clone(worker), endpoint.clone(), *timeouts);
        drop(tokio::task::spawn_local(async move {
            let time = timeouts.connect.max(OPENING);
            let greeted = tokio::time::timeout(time, greet(&worker, &endpoint, &timeouts)).await;
            hub.is_opening.set(false);
            match greeted.unwrap_or(Err(Reject::UpstreamConnectTimeout)) {
                Ok(Greeted::Http2(session, driver)) => hub.adopt(session, driver, true),
                // One of those who wait takes it, and the others open one for themselves.
                Ok(Greeted::Http1(wire)) => {
                    hub.wants_http1.set(true);
                    hub.asked_on.replace(Some(wire));
                }
                Err(reject) => {
                    hub.failures.set((hub.failures.get().0 + 1, Some(reject)));
                    hub.enough_until.set(Some(clock::now_millis().after(AGAIN_AFTER)));
                }
            }
            hub.tell_all();
        }));
    }

    /// Keeps a connection that was opened, unless it is not wanted or there are enough: then it is ended as one that is unused.
    fn adopt(self: &Rc<Self>, session: Rc<Session>, driver: Box<Driver>, is_wanted: bool) {
        self.wants_http1.set(false);
        if is_wanted && self.sessions.borrow().len() < MAX_SESSIONS {
            self.sessions.borrow_mut().push(session);
        } else {
            drop(session);
        }
        let hub = Rc::clone(self);
        drop(tokio::task::spawn_local(async move {
            driver.drive().await;
            // Whoever waits for a place on it opens another one.
            hub.tell_all();
        }));
    }

    /// Closes what has been unused for too long or was ended by the endpoint, and asks whether endpoints that are silent are
    /// still there.
    pub(crate) fn sweep(&self, now: Millis) {
        if self.sort_out() {
            // Others may be opened in their place.
            self.tell_all();
        }
        // Nobody has waited for it.
        self.asked_on.take();
        self.sessions.borrow_mut().retain(|session| !session.is_expired(now));
        let mut leaving = self.leaving.borrow_mut();
        leaving.retain(|session| session.upgrade().is_some_and(|session| !session.is_idle()));
        for session in self.sessions.borrow().iter() {
            session.look(now);
        }
        for session in leaving.iter().filter_map(Weak::upgrade) {
            session.look(now);
        }
    }

    /// How many connections are unused.
    pub(crate) fn unused(&self) -> usize {
        self.sessions.borrow().iter().filter(|session| session.is_idle()).count()
    }
}

/// A connection that was opened.
enum Greeted {
    Http1(Wire),
    Http2(Rc<Session>, Box<Driver>),
}

/// Opens a connection to an endpoint that prefers HTTP/2, to speak HTTP/1.1 with it.
async fn greet_over_http1(worker: &Rc<Worker>, endpoint: &EndpointPlan) -> Result<Wire, Reject> {
    match open_for_http1(worker, endpoint).await {
        Err(error) if has_no_common_protocol(&error) => Err(Reject::UpstreamNoUpgrade),
        Err(error) => Err(reject_for(&endpoint.address, &error)),
        Ok(wire) if wire.stream.agreed_on_http2() => Err(Reject::UpstreamNoUpgrade),
        Ok(wire) => Ok(wire),
    }
}

/// Opens a connection, and finds out what is spoken on it.
async fn greet(worker: &Rc<Worker>, endpoint: &EndpointPlan, timeouts: &RouteTimeouts) -> Result<Greeted, Reject> {
    let no_http2 = |why: &dyn std::fmt::Display| {
        tracing::warn!(address = %endpoint.address, "an endpoint does not speak HTTP/2: {why}");
        Reject::UpstreamNoHttp2
    };
    let wire = match open(worker, endpoint, None).await {
        Err(error) if has_no_common_protocol(&error) => return Err(no_http2(&error)),
        Err(error) => return Err(reject_for(&endpoint.address, &error)),
        Ok(wire) => wire,
    };
    let is_secure = endpoint.tls.is_some();
    if is_secure && !wire.stream.agreed_on_http2() {
        return match endpoint.protocol {
            UpstreamProtocol::Auto | UpstreamProtocol::Http1 => Ok(Greeted::Http1(wire)),
            UpstreamProtocol::H2 => Err(no_http2(&"it did not agree to it in the handshake")),
        };
    }
    let expires = clock::now_millis().after(timeouts.upstream_idle);
    match Session::open(worker, wire, is_secure, expires).await {
        Ok((session, driver)) => Ok(Greeted::Http2(session, Box::new(driver))),
        Err(error) if error.is_io() || error.reason() == Some(Reason::NO_ERROR) => Err(Reject::UpstreamClosed),
        Err(error) => Err(no_http2(&error)),
    }
}
