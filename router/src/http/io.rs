//! The client's socket as hyper sees it: every byte read passes the [`FramingGuard`] first, and every write that stalls
//! is noticed.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection::Connection;
use super::framing::Fed;
use crate::upstream::io::write_pieces;

/// A client's socket with the state of its connection.
#[derive(Debug)]
pub(crate) struct ClientIo {
    pub(crate) stream: TcpStream,
    pub(crate) connection: Rc<Connection>,
}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.connection.deaf.get() {
            // Nothing behind an ambiguous head may be read as another message, and what has a broken body gets no end.
            return if self.connection.broken.get() {
                Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
            } else {
                Poll::Pending
            };
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if matches!(polled, Poll::Ready(Ok(()))) {
            let fresh = buf.filled().get(before..).unwrap_or_default();
            if !fresh.is_empty() {
                match self.connection.received(fresh) {
                    Fed::Fine => {}
                    Fed::BadHead { end, .. } => buf.set_filled(before + end),
                    Fed::BadBody { end, .. } => {
                        buf.set_filled(before + end);
                        if end == 0 {
                            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                        }
                    }
                }
            }
        }
        polled
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.connection.swallow_refusal(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.connection.wrote(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = bufs.first()
            && self.connection.swallow_refusal(first)
        {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let polled = write_pieces(Pin::new(&mut self.stream), cx, bufs);
        self.connection.wrote(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when it has nothing left to write.
        self.connection.flushed();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.aborted.get() {
            // The caller closes with a reset: a clean end would pass for a whole response.
            return Poll::Ready(Ok(()));
        }
        if self.connection.is_refused() {
            // The answer is written when hyper has let go of the socket.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
