//! A socket as the h2 crate reads and writes it.

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::guard::Guard;
use crate::listener::worker::Worker;
use crate::tls::stream::Stream;

/// A socket as the h2 crate reads and writes it.
pub(crate) struct Io {
    stream: Stream,
    /// What was received and not read yet.
    early: BytesMut,
    worker: Rc<Worker>,
    /// Sees what comes from a client.
    guard: Option<Rc<RefCell<Guard>>>,
    /// Bytes that came since others had their turn.
    taken: usize,
}

/// How much is taken of one client before others have their turn. A hundred heads of the greatest size are 4 MiB, which take
/// milliseconds to read.
const TURN: usize = 64 * 1024;

/// Has the task polled again when the thread has looked what came for others, and they had their turn.
pub(super) fn after_others<T>(cx: &mut Context<'_>) -> Poll<T> {
    // Polled once it puts the waker behind all that comes until then; it is not needed for more.
    let _pending: Poll<()> = pin!(tokio::task::yield_now()).poll(cx);
    Poll::Pending
}

impl Io {
    /// `early` was received from it already.
    pub(crate) fn new(stream: Stream, early: BytesMut, worker: Rc<Worker>) -> Self {
        Self { stream, early, worker, guard: None, taken: 0 }
    }

    /// The same, with everything seen by a guard that comes. When there is a flood, nothing more is read.
    pub(super) fn guarded(self, guard: Rc<RefCell<Guard>>) -> Self {
        Self { guard: Some(guard), ..self }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Hands out what was received already.
    fn take_early(&mut self, into: &mut ReadBuf<'_>) {
        let length = self.early.len().min(into.remaining());
        into.put_slice(self.early.get(..length).unwrap_or_default());
        self.early.advance(length);
        if self.early.is_empty() {
            self.worker.spare.keep_input(std::mem::take(&mut self.early));
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(guard) = &this.guard {
            let mut guard = guard.borrow_mut();
            if guard.flood().is_some() {
                return Poll::Pending;
            }
            if guard.gives_way() || this.taken >= TURN {
                this.taken = 0;
                return after_others(cx);
            }
        }
        let before = into.filled().len();
        let Poll::Ready(received) = this.receive(cx, into) else {
            this.taken = 0;
            return Poll::Pending;
        };
        received?;
        this.taken += into.filled().len() - before;
        if let Some(guard) = &this.guard {
            let came = into.filled().get(before..).unwrap_or_default();
            guard.borrow_mut().came(came, this.worker.now_millis());
        }
        Poll::Ready(Ok(()))
    }
}

impl Io {
    fn receive(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            self.take_early(into);
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_read(cx, into),
            Stream::Tls(tls) => {
                // Asked first: mostly there is nothing, and then no buffer is needed.
                if !tls.holds_something() {
                    ready!(tls.socket().poll_read_ready(cx))?;
                }
                let spare = &self.worker.spare;
                let (mut scratch, mut received) = (spare.input(), spare.input());
                let polled = tls.poll_receive(cx, &mut scratch, &mut received);
                spare.keep_input(scratch);
                self.early = received;
                // At the end nothing is there to be taken.
                ready!(polled)?;
                self.take_early(into);
                Poll::Ready(Ok(()))
            }
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
