//! A socket that h2 has, and what others may know of it.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::{self, Millis};
use crate::http1::wire::Wire;
use crate::http2::io::Io;
use crate::listener::worker::Worker;

/// What is shared by the connection, which h2 has, and those who look after it.
pub(super) struct Line {
    io: RefCell<Io>,
    /// When something came last.
    heard: Cell<Millis>,
}

impl Line {
    pub(super) fn new(wire: Wire, worker: &Rc<Worker>) -> Rc<Self> {
        let io = Io::new(wire.stream, wire.input, Rc::clone(worker));
        Rc::new(Self { io: RefCell::new(io), heard: Cell::new(clock::now_millis()) })
    }

    pub(super) fn heard(&self) -> Millis {
        self.heard.get()
    }

    /// Whether the endpoint has closed the connection, though h2 may not have come to see it.
    pub(super) fn is_ended(&self) -> bool {
        self.io.borrow().stream().is_ended()
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("heard", &self.heard).finish_non_exhaustive()
    }
}

/// The socket as h2 reads and writes it.
pub(super) struct Heard(pub(super) Rc<Line>);

impl AsyncRead for Heard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut *self.0.io.borrow_mut()).poll_read(cx, into))?;
        if into.filled().len() > before {
            self.0.heard.set(clock::now_millis());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.io.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.io.borrow_mut()).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.io.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.io.borrow_mut()).poll_shutdown(cx)
    }
}
