//! A network that can be cut: a listener before another, and what passes between the two.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::error::{Context, Result};
use crate::http;

/// In this header, members of an etcd cluster tell each other who asks.
const FROM: &str = "x-server-from";

/// What the network does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weather {
    /// Bytes arrive.
    Fair,
    /// Nothing arrives and nobody is told, as when packets are lost: what was sent arrives when the weather clears.
    Silent,
    /// The same, on connections that this member of an etcd cluster opened.
    SilentFrom(String),
    /// Connections are reset, and refused.
    Refused,
}

/// A listener that carries its connections on to another one. Dropping it ends both.
#[derive(Debug)]
pub struct Link {
    weather: watch::Sender<Weather>,
    arrivals: Arc<Mutex<Vec<Instant>>>,
    task: AbortHandle,
}

impl Link {
    /// Listens at `address`, and carries on to `target`. To be called within a runtime.
    pub fn open(address: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener = listen(address).context(format_args!("cannot listen on {address}"))?;
        let (weather, forecast) = watch::channel(Weather::Fair);
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(run(listener, address, target, forecast, Arc::clone(&arrivals))).abort_handle();
        Ok(Self { weather, arrivals, task })
    }

    /// From now on, the network does this.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// When each connection came that was taken since a moment.
    pub fn arrivals_since(&self, moment: Instant) -> Vec<Instant> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.iter().copied().filter(|arrival| *arrival >= moment).collect()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

async fn run(
    first: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut forecast: watch::Receiver<Weather>,
    arrivals: Arc<Mutex<Vec<Instant>>>,
) {
    let mut listener = Some(first);
    // Connections end with the set.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            changed = forecast.changed() => {
                if changed.is_err() {
                    return;
                }
                if *forecast.borrow_and_update() == Weather::Refused {
                    listener = None;
                    connections = JoinSet::new();
                } else if listener.is_none() {
                    listener = listen(address).ok();
                }
            }
            Some(Ok((stream, _))) = accept(listener.as_ref()) => {
                arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                connections.spawn(carry(stream, target, forecast.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    match listener {
        Some(listener) => Some(listener.accept().await),
        None => std::future::pending().await,
    }
}

/// One connection. Whatever fails here is for its two ends to notice.
async fn carry(client: TcpStream, target: SocketAddr, weather: watch::Receiver<Weather>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    let from = Arc::new(OnceLock::new());
    let there = copy(client_reads, server_writes, weather.clone(), Arc::clone(&from), true);
    let back = copy(server_reads, client_writes, weather, from, false);
    // When one side is done, so is the other: nothing that is carried here is half closed.
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    who: Arc<OnceLock<String>>,
    requests: bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer.get(..read).unwrap_or_default();
        if requests
            && who.get().is_none()
            && let Some(name) = http::header(bytes, FROM)
        {
            let _already_known = who.set(name.to_owned());
        }
        let passes = |weather: &Weather| match weather {
            Weather::Fair => true,
            Weather::Silent | Weather::Refused => false,
            Weather::SilentFrom(silent) => who.get() != Some(silent),
        };
        if weather.wait_for(passes).await.is_err() || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::Connection;
    use crate::upstream::{Endpoint, Label};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn request(from: &str) -> Vec<u8> {
        format!("GET /x HTTP/1.1\r\nhost: a\r\nX-Server-From: {from}\r\n\r\n").into_bytes()
    }

    #[tokio::test]
    async fn a_silent_link_delivers_later_and_only_to_whom_it_is_silent() {
        let free = crate::ports::free(2).unwrap();
        let label = Label { address: free[0], service: "s".to_owned(), cell: "c".to_owned() };
        let _endpoint = Endpoint::start(&label).unwrap();
        let link = Link::open(free[1], free[0]).unwrap();
        let start = Instant::now();
        let (mut one, mut two) = (Connection::open(free[1]).await.unwrap(), Connection::open(free[1]).await.unwrap());
        let (to_one, to_two) = (request("1a"), request("2b"));
        assert_eq!(one.exchange(&to_one).await.unwrap().status, 200);
        assert_eq!(two.exchange(&to_two).await.unwrap().status, 200);
        assert_eq!(link.arrivals_since(start).len(), 2);
        link.set(Weather::SilentFrom("1a".to_owned()));
        let waiting = one.exchange(&to_one);
        tokio::pin!(waiting);
        tokio::select! {
            _ = &mut waiting => panic!("it passed"),
            other = two.exchange(&to_two) => assert_eq!(other.unwrap().status, 200),
        }
        link.set(Weather::Fair);
        assert_eq!(tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().status, 200);
        link.set(Weather::Refused);
        assert!(tokio::time::timeout(PATIENCE, two.exchange(&to_two)).await.unwrap().is_err());
    }
}
