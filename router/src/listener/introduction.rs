//! What a proxy says ahead of a connection that it passes on.
//!
//! Not one byte beyond the header is taken: what follows belongs to TLS or to HTTP. So bytes are looked at first, and taken
//! when it is known that they belong to the header.

use std::io;
use std::time::Duration;

use gridrouter_config::model;
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::clients::Unwelcome;
use crate::proxy_protocol::{self, Bad, Told};

/// Why nothing becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// It was closed before its header was there, as those are that only ask whether somebody listens.
    Gone,
    /// Its header did not come in time.
    Late,
    /// It begins with something else.
    Bad(Bad),
}

impl Failed {
    /// What it is counted as.
    pub(super) fn unwelcome(self) -> Option<Unwelcome> {
        match self {
            Self::Gone => None,
            Self::Late => Some(Unwelcome::Late),
            Self::Bad(Bad::Missing) => Some(Unwelcome::Unannounced),
            Self::Bad(Bad::Malformed | Bad::TooLong | Bad::Checksum) => Some(Unwelcome::Misannounced),
        }
    }
}

/// Whether connections from this address are introduced by a header.
pub(super) fn is_due(document: &model::Listener, peer: std::net::IpAddr) -> bool {
    let Some(proxy_protocol) = &document.proxy_protocol else { return false };
    let peer = peer.to_canonical();
    proxy_protocol.from.iter().any(|network| network.contains(&peer))
}

/// Receives a header, and nothing of what follows it.
pub(super) async fn receive(socket: &TcpStream, within: Duration) -> Result<Told, Failed> {
    tokio::time::timeout(within, read(socket)).await.unwrap_or(Err(Failed::Late))
}

async fn read(socket: &TcpStream) -> Result<Told, Failed> {
    let mut header = Vec::new();
    loop {
        // Nothing is held for somebody who says nothing.
        socket.readable().await.map_err(|_| Failed::Gone)?;
        let taken = header.len();
        header.resize(proxy_protocol::MAX, 0);
        let room = header.get_mut(taken..).unwrap_or_default();
        let more = match receive_some(socket, room, RecvFlags::PEEK) {
            Ok(0) => return Err(Failed::Gone),
            Ok(more) => more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Err(Failed::Gone),
        };
        header.truncate(taken + more);
        let parsed = proxy_protocol::parse(&header).map_err(Failed::Bad)?;
        let end = parsed.map_or(header.len(), |(end, _)| end);
        let mine = header.get_mut(taken..end).unwrap_or_default();
        // They were there a moment ago.
        if !mine.is_empty() && receive_some(socket, mine, RecvFlags::empty()).ok() != Some(mine.len()) {
            return Err(Failed::Gone);
        }
        if let Some((_, told)) = parsed {
            return Ok(told);
        }
    }
}

fn receive_some(socket: &TcpStream, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    socket.try_io(Interest::READABLE, || Ok(rustix::net::recv(socket, into, flags)?.1))
}
