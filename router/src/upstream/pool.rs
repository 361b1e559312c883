//! One thread's connections to endpoints, kept for use again.
//!
//! Nothing here is shared between threads: a request finds its connection by an index into a vector, newest first, so
//! that surplus connections age and close. A connection goes back only when the response was read to its end.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::request_body::RequestBody;
use crate::clock::Millis;

/// A connection to an endpoint.
pub(crate) type Sender = SendRequest<RequestBody>;

/// Unused connections kept for one endpoint by one thread. More than that were opened by a burst and would only cost
/// the endpoint memory.
const MAX_IDLE: usize = 256;

#[derive(Debug)]
struct Idle {
    sender: Sender,
    expires: Millis,
}

/// One thread's unused connections, by the endpoint's stable number.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Vec<Idle>>>,
}

impl Pool {
    /// An unused connection to the endpoint, if there is one that is open and not too old.
    pub(crate) fn take(&self, endpoint: u32, now: Millis) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(endpoint as usize)?;
        let mut at = connections.len();
        while at > 0 {
            at -= 1;
            let Some(idle) = connections.get(at) else { break };
            if idle.expires <= now || idle.sender.is_closed() {
                connections.swap_remove(at);
            } else if idle.sender.is_ready() {
                return Some(connections.swap_remove(at).sender);
            }
            // One that is about to become ready stays for the next request.
        }
        None
    }

    /// Keeps a connection whose response was read to its end.
    pub(crate) fn put(&self, endpoint: u32, sender: Sender, expires: Millis) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let index = endpoint as usize;
        if idle.len() <= index {
            idle.resize_with(index + 1, Vec::new);
        }
        if let Some(connections) = idle.get_mut(index)
            && connections.len() < MAX_IDLE
        {
            connections.push(Idle { sender, expires });
        }
    }

    /// Closes what has been unused for too long.
    pub(crate) fn sweep(&self, now: Millis) {
        for connections in self.idle.borrow_mut().iter_mut() {
            connections.retain(|idle| idle.expires > now && !idle.sender.is_closed());
            if connections.is_empty() {
                connections.shrink_to_fit();
            }
        }
    }

    /// How many connections are kept.
    pub(crate) fn len(&self) -> usize {
        self.idle.borrow().iter().map(Vec::len).sum()
    }
}

/// Opens a connection to an endpoint and drives it on this thread.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(64 * 1024).writev(false);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // The task ends with the connection. Its error reaches whoever waits for a response.
    drop(tokio::task::spawn_local(async move {
        let _ended: hyper::Result<()> = connection.await;
    }));
    Ok(sender)
}
