//! Listening sockets: one a thread for each listener, all on one address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; the kernel takes the smaller of this and `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// How much of an answer the kernel takes that it cannot send yet, for each connection.
///
/// Without it the kernel takes up to `net.ipv4.tcp_wmem`, 4 MiB, from everybody whose client does not read: a few hundred such clients take
/// all memory that the machine has for TCP, and everybody's connections stall. What is on its way does not count, so that a client that
/// reads is not slower for it, however far away it is. It is little, so that the kernel does not find itself slowed down by its own pacing: with
/// congestion control that learns from what was sent (BBR), and 128 KiB, one of a hundred answers of 1 MiB took 110 ms over loopback.
const UNSENT: u32 = 16 * 1024;

/// Binds `count` sockets on one address; with port 0 the kernel's choice is the same for all.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // SO_REUSEPORT would let two routers share a port without a word. So first without.
    let probe = open(address, false)?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    let sockets = (0..count).map(|_| {
        let socket = open(address, true)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    });
    Ok((address, sockets.collect::<io::Result<_>>()?))
}

fn open(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    // Connections have it from the socket that they are accepted from. A kernel that does not know it, as sandboxes have one, is no reason
    // not to listen.
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%address, %error, "what the kernel takes for clients that do not read is not bounded");
    }
    if address.is_ipv6() {
        socket.set_only_v6(address.ip().to_string() != "::")?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
