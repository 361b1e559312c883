//! Opening a connection to an endpoint.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use gridrouter_config::address::Address;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};

use super::owner::Owner;
use super::turns;
use crate::clock;
use crate::http::connection::Connection;
use crate::http::reject::Reject;
use crate::http1::wire::Wire;
use crate::listener::unix;
use crate::listener::worker::Worker;
use crate::snapshot::EndpointPlan;
use crate::tls::stream::Stream;
use crate::tls::upstream::Offer;

/// The longest time between two attempts to connect to a Unix socket on which too many wait.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Opens a connection within `time`, and before the request's deadline.
pub(super) async fn connect(
    connection: &Connection,
    endpoint: &EndpointPlan,
    owner: Option<&Owner>,
    time: Duration,
) -> Result<Wire, Reject> {
    // Boxed: connecting is rare, and its state would make every request's future larger.
    let mut waiting = Box::pin(turns::wait(connection.worker(), endpoint.id));
    // That takes no time from connecting: it is not the endpoint who is slow.
    within(connection, Duration::MAX, |cx| waiting.as_mut().poll(cx).map(Ok)).await?;
    drop(waiting);
    let mut connecting = Box::pin(open(connection.worker(), endpoint, owner));
    let reject = |error| reject_for(&endpoint.address, &error);
    within(connection, time, |cx| connecting.as_mut().poll(cx).map(|opened| opened.map_err(reject))).await
}

/// Waits for a connection no longer than `time`, nor beyond the request's deadline.
pub(super) async fn within<T>(
    connection: &Connection,
    time: Duration,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T, Reject>>,
) -> Result<T, Reject> {
    let give_up = clock::now_millis().after(time);
    poll_fn(|cx| {
        if let Poll::Ready(opened) = poll(cx) {
            return Poll::Ready(opened);
        }
        let (now, deadline) = (connection.worker().now_millis(), connection.request_deadline.get());
        if now >= deadline {
            return Poll::Ready(Err(Reject::RequestTimeout));
        }
        if now >= give_up {
            return Poll::Ready(Err(Reject::UpstreamConnectTimeout));
        }
        connection.arm(give_up.min(deadline));
        Poll::Pending
    })
    .await
}

/// Opens a connection, and shakes hands where the service speaks TLS. An error of the kind `InvalidData` is of the handshake.
/// `owner` is whose it will be, where endpoints are told; without one it is told that it is nobody's.
pub(super) async fn open(worker: &Worker, endpoint: &EndpointPlan, owner: Option<&Owner>) -> io::Result<Wire> {
    open_offering(worker, endpoint, owner, Offer::All).await
}

/// The same, nobody's, to speak HTTP/1.1 on it, whatever the endpoint would prefer.
pub(super) async fn open_for_http1(worker: &Worker, endpoint: &EndpointPlan) -> io::Result<Wire> {
    open_offering(worker, endpoint, None, Offer::Http1).await
}

async fn open_offering(
    worker: &Worker,
    endpoint: &EndpointPlan,
    owner: Option<&Owner>,
    offer: Offer,
) -> io::Result<Wire> {
    let mut stream = match &endpoint.address {
        Address::Ip(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            stream
        }
        Address::Unix(path) => unix::as_tcp(connect_unix(path).await?)?,
    };
    if let Some(version) = endpoint.proxy_protocol {
        stream.write_all(&Owner::header(owner, version)).await?;
    }
    let Some(service) = &endpoint.tls else { return Ok(Wire::new(Stream::Plain(stream))) };
    let tls = worker.shared.tls.load().services.get(service).cloned();
    let not_ready = || io::Error::new(io::ErrorKind::InvalidData, "what to agree on is not known; see /ready");
    let tls = tls.ok_or_else(not_ready)?;
    let shaking = Box::pin(tls.connect(stream, endpoint, offer)).await;
    match shaking {
        Ok(tls) => Ok(Wire::new(Stream::Tls(Box::new(tls)))),
        Err(error) => {
            tracing::warn!(service = &**service, address = %endpoint.address, %error, "no TLS with an endpoint");
            Err(io::Error::new(io::ErrorKind::InvalidData, error))
        }
    }
}

/// Connects to a Unix socket. One with as many waiting as it lets wait says so at once, where by TCP the kernel would try again: so it is asked
/// again, until whoever wants the connection gives up.
async fn connect_unix(path: &str) -> io::Result<UnixStream> {
    let mut pause = Duration::from_millis(1);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            connected => return connected,
        }
    }
}

pub(super) fn reject_for(address: &Address, error: &io::Error) -> Reject {
    if error.kind() == io::ErrorKind::TimedOut {
        return Reject::UpstreamConnectTimeout;
    }
    if error.kind() == io::ErrorKind::InvalidData {
        return Reject::UpstreamTlsFailed;
    }
    if is_own_shortage(error) {
        tracing::warn!(%address, %error, "no connection could be opened");
        return Reject::RouterOverloaded;
    }
    Reject::UpstreamConnectFailed
}

/// Whether this process is short of something: no fault of the endpoint's.
fn is_own_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.raw_os_error().map(Errno::from_raw_os_error).is_some_and(|errno| {
        matches!(errno, Errno::MFILE | Errno::NFILE | Errno::ADDRNOTAVAIL | Errno::NOBUFS | Errno::NOMEM)
    })
}
