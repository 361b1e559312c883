//! Accepting connections, and spreading them evenly over the threads.
//!
//! Each thread has a listening socket of its own (SO_REUSEPORT), and the kernel spreads connections over them by hash:
//! a few long-lived ones may all meet on one thread. So the thread that accepts looks at how many connections another
//! one has, chosen by chance, and hands the new one over when that has clearly fewer.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gridrouter_config::model;
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::clients::{self, Seat, Unwelcome};
use super::introduction;
use super::unix;
use super::worker::{Message, Thread, Worker};
use crate::http::connection::{self, Connection, Origin};
use crate::http2;
use crate::proxy_protocol::Told;
use crate::telemetry::handshakes::Failed;
use crate::tls::handshake::{self, Accepted};
use crate::tls::stream::Stream;

/// How many more connections this thread must have than another for the other to get the new one.
const CLEARLY_MORE: usize = 2;
/// How long to wait after accepting failed, for want of file descriptors usually.
const PAUSE: Duration = Duration::from_millis(500);

/// Accepts connections of one listener on this thread.
pub(super) async fn accept(worker: Rc<Worker>, listener: Rc<Cell<u32>>, socket: TcpListener) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                worker.counters.shared.accepted.add(1);
                take_or_hand_over(&worker, listener.get(), stream, peer);
            }
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(listener = listener.get(), %error, "cannot accept connections");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Accepts connections of a socket in the file system, for all threads: there is only one of it. Those of the others are
/// handed over.
pub(super) async fn accept_at_path(worker: Rc<Worker>, listener: Rc<Cell<u32>>, socket: UnixListener) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                worker.counters.shared.accepted.add(1);
                match unix::as_tcp(stream) {
                    Ok(stream) => take_or_hand_over(&worker, listener.get(), stream, unix::PEER),
                    Err(error) => tracing::warn!(listener = listener.get(), %error, "a connection cannot be served"),
                }
            }
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(listener = listener.get(), %error, "cannot accept connections");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether an error of `accept` tells of the connection, not of the process.
fn is_of_the_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted)
}

fn take_or_hand_over(worker: &Rc<Worker>, listener: u32, stream: TcpStream, peer: SocketAddr) {
    let threads = &worker.shared.threads;
    let Some(own) = threads.get(worker.index) else { return };
    if let Some(other) = other_thread(worker)
        && own.live.load(Ordering::Relaxed) >= other.live.load(Ordering::Relaxed) + CLEARLY_MORE
    {
        // Fails only when the socket is broken.
        if let Ok(stream) = stream.into_std() {
            worker.counters.shared.handed_over.add(1);
            other.live.fetch_add(1, Ordering::Relaxed);
            other.tell(Message::Connection { listener, stream, peer });
        }
        return;
    }
    own.live.fetch_add(1, Ordering::Relaxed);
    serve(worker, listener, stream, peer);
}

/// Another thread, chosen by chance.
fn other_thread(worker: &Worker) -> Option<&Thread> {
    let threads = &worker.shared.threads;
    let others = threads.len().checked_sub(1).filter(|others| *others > 0)?;
    let step = 1 + (worker.random() as usize) % others;
    threads.get((worker.index + step) % threads.len())
}

/// Serves a connection that another thread accepted and counted here.
pub(super) fn adopt(worker: &Rc<Worker>, listener: u32, stream: std::net::TcpStream, peer: SocketAddr) {
    match TcpStream::from_std(stream) {
        Ok(stream) => serve(worker, listener, stream, peer),
        Err(_) => gone(worker),
    }
}

fn gone(worker: &Worker) {
    if let Some(thread) = worker.shared.threads.get(worker.index) {
        thread.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection that is counted here.
fn serve(worker: &Rc<Worker>, listener: u32, stream: TcpStream, peer: SocketAddr) {
    let counted = Counted(Rc::clone(worker));
    let snapshot = worker.snapshot();
    let Some(plan) = snapshot.listener(listener) else { return };
    let document = &plan.document;
    let origin = Origin::new(peer, listener, &snapshot.keys);
    if introduction::is_due(document, peer.ip()) {
        let (worker, document) = (Rc::clone(worker), Arc::clone(document));
        drop(tokio::task::spawn_local(async move {
            // Boxed, so that a connection's task is small afterwards.
            if let Some((spoken, seat)) = Box::pin(introduce(worker, stream, origin, document)).await {
                spoken.serve().await;
                drop(seat);
            }
            drop(counted);
        }));
        return;
    }
    let Ok(seat) = welcome(worker, document, &origin) else { return };
    if send_at_once(&stream, peer).is_err() {
        return;
    }
    let worker = Rc::clone(worker);
    if document.tls.is_some() {
        let document = Arc::clone(document);
        drop(tokio::task::spawn_local(async move {
            // Boxed, so that a connection's task is small afterwards.
            if let Some(spoken) = Box::pin(shake_hands(worker, stream, origin, document)).await {
                spoken.serve().await;
            }
            drop((counted, seat));
        }));
        return;
    }
    let connection = Connection::new(worker, Stream::Plain(stream), None, origin, document);
    drop(tokio::task::spawn_local(async move {
        connection::serve::run(connection).await;
        drop((counted, seat));
    }));
}

/// A connection, and the protocol that was agreed on for it.
enum Spoken {
    Http1(Rc<Connection>),
    Http2(Rc<Connection>),
}

impl Spoken {
    async fn serve(self) {
        match self {
            Self::Http1(connection) => connection::serve::run(connection).await,
            Self::Http2(connection) => Box::pin(http2::session::run(connection)).await,
        }
    }
}

/// Without it answers in several writes wait for the client's delayed acknowledgement. Sockets in the file system know of no
/// such thing.
fn send_at_once(stream: &TcpStream, peer: SocketAddr) -> std::io::Result<()> {
    if peer == unix::PEER { Ok(()) } else { stream.set_nodelay(true) }
}

/// Seats a client, unless it is unwelcome. Who is, is told nothing, which costs nothing.
fn welcome(worker: &Worker, document: &model::Listener, origin: &Origin) -> Result<Option<Seat>, Unwelcome> {
    let seated = clients::welcome(&worker.shared, document, origin.listener, origin.peer.ip());
    seated.inspect_err(|unwelcome| turn_away(worker, origin.peer, *unwelcome))
}

fn turn_away(worker: &Worker, peer: SocketAddr, unwelcome: Unwelcome) {
    worker.counters.shared.unwelcome(unwelcome).add(1);
    tracing::debug!(client = %peer, ?unwelcome, "connection refused");
}

/// Hears from a proxy whose connection it passes on, and then does as with that client's own. What the proxy does not
/// pass on for an address is its own: it may always come, as a trusted proxy may, and its requests are looked at.
async fn introduce(
    worker: Rc<Worker>,
    stream: TcpStream,
    mut origin: Origin,
    document: Arc<model::Listener>,
) -> Option<(Spoken, Option<Seat>)> {
    let peer = origin.peer;
    let seat = match introduction::receive(&stream, document.timeouts.head).await {
        // Nobody comes from there, and whoever says so must not pass for one who comes by a socket in the file system.
        Ok(Told::Client { client, .. }) if client.ip().to_canonical().is_unspecified() => None,
        Ok(Told::Client { client, .. }) => {
            origin = Origin::new(client, origin.listener, &worker.snapshot().keys);
            welcome(&worker, &document, &origin).ok()?
        }
        Ok(Told::Unknown | Told::Local) => None,
        Err(failed) => {
            if let Some(unwelcome) = failed.unwelcome() {
                turn_away(&worker, origin.peer, unwelcome);
            }
            return None;
        }
    };
    send_at_once(&stream, peer).ok()?;
    let spoken = if document.tls.is_some() {
        shake_hands(worker, stream, origin, document).await?
    } else {
        Spoken::Http1(Connection::new(worker, Stream::Plain(stream), None, origin, &document))
    };
    Some((spoken, seat))
}

/// Shakes hands. There is a connection if that goes well.
async fn shake_hands(
    worker: Rc<Worker>,
    stream: TcpStream,
    origin: Origin,
    document: Arc<model::Listener>,
) -> Option<Spoken> {
    let counters = &worker.counters.shared.handshakes;
    let listener = worker.shared.tls.load().listener(origin.listener).cloned();
    let Some(listener) = listener else {
        counters.has_failed(Failed::NotReady);
        return None;
    };
    counters.begun.add(1);
    let accepted = handshake::accept(stream, &listener).await;
    counters.ended.add(1);
    drop(listener);
    match accepted {
        Ok(Accepted { stream, secure }) => {
            counters.is_done(secure.version, secure.is_resumed);
            let (stream, is_http2) = (Stream::Tls(Box::new(stream)), secure.is_http2);
            let connection = Connection::new(Rc::clone(&worker), stream, Some(Rc::new(secure)), origin, &document);
            Some(if is_http2 { Spoken::Http2(connection) } else { Spoken::Http1(connection) })
        }
        Err(failed) => {
            tracing::debug!(client = %origin.peer, reason = failed.as_str(), "handshake failed");
            counters.has_failed(failed);
            None
        }
    }
}

/// Uncounts a connection when it ends, however it ends.
struct Counted(Rc<Worker>);

impl Drop for Counted {
    fn drop(&mut self) {
        gone(&self.0);
    }
}
