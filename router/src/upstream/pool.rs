//! One thread's connections to endpoints, kept for use again.
//!
//! Nothing here is shared between threads: a request finds its connection by an index into a vector, newest first, so
//! that surplus connections age and close. A connection goes back only when the response was read to its end.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Waker};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::io::EndpointIo;
use super::request_body::RequestBody;
use crate::clock::Millis;

/// Unused connections kept for one endpoint by one thread. More than that were opened by a burst and would only cost
/// the endpoint memory.
const MAX_IDLE: usize = 256;
/// Bytes hyper buffers for one connection at the most.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

type Driver = http1::Connection<TokioIo<EndpointIo>, RequestBody>;

/// A connection to an endpoint.
///
/// It is driven by whoever waits for its answer, inside that request's own task: a task of its own for each connection
/// would cost two more wake-ups a request.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) sender: SendRequest<RequestBody>,
    /// `None` once the connection is over.
    driver: Option<Box<Driver>>,
}

impl Upstream {
    /// Opens a connection.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_BUFFER_BYTES);
        let io = TokioIo::new(EndpointIo(stream));
        let (sender, driver) = builder.handshake(io).await.map_err(io::Error::other)?;
        Ok(Self { sender, driver: Some(Box::new(driver)) })
    }

    /// Lets the connection write what it has to and read what there is.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && Pin::new(&mut **driver).poll(cx).is_ready()
        {
            // Whoever waits for an answer learns from the dropped driver how it ended.
            self.driver = None;
        }
    }

    /// Whether the connection could serve a request now.
    fn is_open(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }
}

#[derive(Debug)]
struct Idle {
    upstream: Upstream,
    expires: Millis,
}

/// One thread's unused connections, by the endpoint's stable number.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Vec<Idle>>>,
}

impl Pool {
    /// An unused connection to the endpoint, if there is one that is not too old.
    pub(crate) fn take(&self, endpoint: u32, now: Millis) -> Option<Upstream> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(endpoint as usize)?;
        while let Some(newest) = connections.pop() {
            if newest.expires > now {
                return Some(newest.upstream);
            }
        }
        None
    }

    /// Keeps a connection whose response was read to its end, if it can serve another request.
    pub(crate) fn put(&self, endpoint: u32, upstream: Upstream, expires: Millis) {
        if upstream.driver.is_none() || !upstream.sender.is_ready() {
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
            connections.push(Idle { upstream, expires });
        }
    }

    /// Closes what has been unused for too long, and what the endpoint has closed.
    pub(crate) fn sweep(&self, now: Millis) {
        for connections in self.idle.borrow_mut().iter_mut() {
            connections.retain_mut(|idle| idle.expires > now && idle.upstream.is_open());
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
