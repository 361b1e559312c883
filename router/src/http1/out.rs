//! What is waiting to be written to a socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Up to this size a piece is copied behind what waits already: one write of both is cheaper than two, or than a
/// vectored one.
const SMALL: usize = 4096;
/// When this much waits it is written before more is gathered.
const ENOUGH: usize = 16 * 1024;

/// Bytes on their way to a socket: heads and small pieces, then one large piece, then what ends it.
#[derive(Debug, Default)]
pub(crate) struct Out {
    buffer: Vec<u8>,
    /// How much of the buffer was written.
    written: usize,
    large: Bytes,
    /// What comes behind the large piece; written like the buffer when that is gone.
    behind: Vec<u8>,
}

impl Out {
    /// An empty one with this buffer.
    pub(crate) fn new(buffer: Vec<u8>) -> Self {
        Self { buffer, written: 0, large: Bytes::new(), behind: Vec::new() }
    }

    /// The buffer, to be used again.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.written == self.buffer.len() && self.large.is_empty() && self.behind.is_empty()
    }

    /// Whether it should be written before more is added.
    pub(crate) fn is_full(&self) -> bool {
        !self.large.is_empty() || self.buffer.len() - self.written >= ENOUGH
    }

    /// Where the next bytes go.
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        if self.large.is_empty() { &mut self.buffer } else { &mut self.behind }
    }

    /// Adds a piece. Only while it [is not full](Self::is_full) is a large one not copied.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if piece.len() <= SMALL || !self.large.is_empty() {
            self.end().extend_from_slice(&piece);
        } else {
            self.large = piece;
        }
    }

    /// Writes until nothing waits or the socket takes no more; adds to `count` what was written.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
        count: &mut u64,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            if self.large.is_empty() && !self.behind.is_empty() {
                self.buffer.drain(..self.written);
                self.written = 0;
                self.buffer.append(&mut self.behind);
            }
            let first = self.buffer.get(self.written..).unwrap_or_default();
            let stream = Pin::new(&mut *stream);
            let written = if self.large.is_empty() {
                ready!(stream.poll_write(cx, first))?
            } else {
                let pieces = [first, &self.large, &self.behind].map(io::IoSlice::new);
                ready!(stream.poll_write_vectored(cx, &pieces))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *count += written as u64;
            self.wrote(written, first.len());
        }
        self.buffer.clear();
        self.written = 0;
        // With TLS, what was taken may wait to be sent.
        Pin::new(stream).poll_flush(cx)
    }

    fn wrote(&mut self, written: usize, of_first: usize) {
        let first = written.min(of_first);
        let large = (written - first).min(self.large.len());
        self.written += first;
        self.large.advance(large);
        if self.large.is_empty() {
            // Lets go of the buffer that it was a part of.
            self.large = Bytes::new();
        }
        self.behind.drain(..written - first - large);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes a few bytes at a time, and nothing every now and then.
    #[derive(Default)]
    struct Slow {
        taken: Vec<u8>,
        most: Vec<usize>,
        calls: usize,
    }

    impl AsyncWrite for Slow {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let most = self.most[self.calls % self.most.len()];
            self.calls += 1;
            if most == 0 {
                return Poll::Pending;
            }
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.to_vec()).take(most).collect();
            self.taken.extend_from_slice(&all);
            Poll::Ready(Ok(all.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest::proptest! {
        /// Whatever the socket takes at a time, all of it arrives once and in order.
        #[test]
        fn everything_is_written_in_order(
            pieces in proptest::collection::vec((0_usize..9000, 0_usize..30), 0..8),
            mut most in proptest::collection::vec(0_usize..6000, 1..6),
        ) {
            most.push(1 << 20);
            let mut slow = Slow { most, ..Slow::default() };
            let (mut out, mut wanted, mut count) = (Out::default(), Vec::new(), 0);
            let cx = &mut Context::from_waker(Waker::noop());
            for (at, (large, small)) in pieces.into_iter().enumerate() {
                while out.is_full() {
                    let _more = out.poll_write(cx, &mut slow, &mut count);
                }
                for size in [small, large, small] {
                    let piece: Vec<u8> = (0..size).map(|n| (n * 31 + at) as u8).collect();
                    wanted.extend_from_slice(&piece);
                    if size == small { out.end().extend_from_slice(&piece) } else { out.push(piece.into()) }
                }
            }
            while out.poll_write(cx, &mut slow, &mut count).is_pending() {}
            proptest::prop_assert!(out.is_empty());
            proptest::prop_assert_eq!(count, wanted.len() as u64);
            proptest::prop_assert!(slow.taken == wanted);
        }
    }
}
