//! An endpoint's socket as hyper sees it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Up to this size, pieces are copied together and written at once: that is cheaper than a vectored write.
const SMALL: usize = 2048;

/// Writes pieces: small ones copied together, large ones as they are.
pub(crate) fn write_pieces(
    stream: Pin<&mut TcpStream>,
    cx: &mut Context<'_>,
    pieces: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    match pieces {
        [one] => stream.poll_write(cx, one),
        _ if pieces.iter().map(|piece| piece.len()).sum::<usize>() <= SMALL => {
            let mut together = [0; SMALL];
            let mut end = 0;
            for piece in pieces {
                if let Some(room) = together.get_mut(end..end + piece.len()) {
                    room.copy_from_slice(piece);
                    end += piece.len();
                }
            }
            stream.poll_write(cx, together.get(..end).unwrap_or_default())
        }
        _ => stream.poll_write_vectored(cx, pieces),
    }
}

/// An endpoint's socket.
#[derive(Debug)]
pub(crate) struct EndpointIo(pub(crate) TcpStream);

impl AsyncRead for EndpointIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for EndpointIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        write_pieces(Pin::new(&mut self.0), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
