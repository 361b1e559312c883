//! A socket, in clear or with TLS over it.
//!
//! An enum and no generic parameter: a connection's type stays one, and what TLS costs those in clear is one comparison for
//! each read and write.

use std::io::{self, BufRead as _, Read, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use rustls::Connection;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// A socket, in clear or with TLS over it.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    /// Boxed: it is large, and rarer.
    Tls(Box<TlsStream>),
    /// None: it was handed over to what speaks another protocol on it, or there never was one, as with one stream of HTTP/2.
    Gone,
}

impl Stream {
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(tls) => Some(&tls.socket),
            Self::Gone => None,
        }
    }

    /// Whether there may be something to read. Nothing is held for that.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(cx),
            Self::Tls(tls) if tls.holds_something() => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.socket.poll_read_ready(cx),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    /// Writes what the socket takes at once. With TLS, what it does not take goes with what is written next.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(bytes),
            Self::Tls(tls) => {
                let taken = tls.tls.writer().write(bytes)?;
                tls.send_some()?;
                Ok(taken)
            }
            Self::Gone => Err(gone()),
        }
    }

    /// Whether something was taken that waits to be sent.
    pub(crate) fn owes(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Gone => false,
            Self::Tls(tls) => tls.tls.wants_write(),
        }
    }

    /// Whether the other side has sent nothing and has not closed the connection: it can be used again.
    pub(crate) fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(socket) => {
                socket.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(tls) => tls.is_quiet(),
            Self::Gone => false,
        }
    }

    /// Whether the other side has closed the connection, as far as that shows without reading anything.
    pub(crate) fn is_ended(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let Some(socket) = self.socket() else { return true };
        match recv(socket, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, received)) => received == 0,
            Err(error) => error != rustix::io::Errno::AGAIN,
        }
    }

    /// Whether HTTP/2 was agreed on.
    pub(crate) fn agreed_on_http2(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Gone => false,
            Self::Tls(tls) => tls.tls.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Says that nothing more will be sent, if that needs words and the socket takes them at once. For connections that end
    /// without an answer being sent.
    pub(crate) fn say_goodbye(&mut self) {
        match self {
            Self::Plain(_) | Self::Gone => {}
            Self::Tls(tls) => tls.say_goodbye(),
        }
    }

    /// Ends without such words: what came is not to be taken for all.
    pub(crate) fn omit_goodbye(&mut self) {
        match self {
            Self::Plain(_) | Self::Gone => {}
            Self::Tls(tls) => tls.is_closing = true,
        }
    }

    /// Lets nothing pass any more, either way.
    pub(crate) fn cut(&mut self) {
        self.omit_goodbye();
        if let Some(socket) = self.socket() {
            // If it cannot be shut down it is broken already.
            let _cut = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Both);
        }
    }

    /// Makes closing reset the connection instead of ending it cleanly.
    pub(crate) fn reset_on_close(&mut self) {
        if let Self::Tls(tls) = self {
            tls.is_closing = true;
        }
        if let Some(socket) = self.socket() {
            // If the option cannot be set the connection is broken already.
            let _set = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// TLS over a socket, the handshake over.
#[derive(Debug)]
pub(crate) struct TlsStream {
    socket: TcpStream,
    tls: Connection,
    /// The end was announced, or must not be.
    is_closing: bool,
}

/// A socket as rustls writes to it.
struct Sink<'a>(&'a TcpStream);

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsStream {
    pub(crate) fn new(socket: TcpStream, tls: Connection) -> Self {
        Self { socket, tls, is_closing: false }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether something was decrypted that nobody has taken, the end among it.
    pub(crate) fn holds_something(&self) -> bool {
        !self.tls.wants_read()
    }

    /// Receives records and puts what is in them behind `into`. Zero: the other side will send nothing more. `scratch` is for
    /// records as they come, and is empty afterwards.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut BytesMut,
        into: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(taken) = self.take(into)? {
                return Poll::Ready(Ok(taken));
            }
            ready!(self.socket.poll_read_ready(cx))?;
            scratch.clear();
            match self.socket.try_read_buf(scratch) {
                Ok(0) => self.end()?,
                Ok(_) => {
                    let before = into.len();
                    self.decrypt(scratch, into)?;
                    if into.len() > before {
                        return Poll::Ready(Ok(into.len() - before));
                    }
                }
                // The next look at the socket waits for it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// The socket has come to its end.
    fn end(&mut self) -> io::Result<()> {
        self.tls.read_tls(&mut io::empty())?;
        Ok(())
    }

    /// Takes what was decrypted: zero at the end, nothing where more has to come.
    fn take(&mut self, into: &mut BytesMut) -> io::Result<Option<usize>> {
        let before = into.len();
        loop {
            let mut reader = self.tls.reader();
            let taken = match reader.fill_buf() {
                Ok([]) => return Ok(Some(into.len() - before)),
                Ok(piece) => {
                    into.extend_from_slice(piece);
                    piece.len()
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Some(into.len() - before).filter(|taken| *taken > 0));
                }
                // What came before is good.
                Err(_) if into.len() > before => return Ok(Some(into.len() - before)),
                Err(error) => return Err(error),
            };
            reader.consume(taken);
        }
    }

    /// Decrypts records, puts what is in them behind `into`, and sends what they ask for.
    fn decrypt(&mut self, records: &mut BytesMut, into: &mut BytesMut) -> io::Result<()> {
        while records.has_remaining() {
            let mut rest: &[u8] = records;
            let fed = self.tls.read_tls(&mut rest)?;
            if fed == 0 {
                // The other side has announced the end: what follows is not looked at.
                break;
            }
            records.advance(fed);
            let processed = self.tls.process_new_packets();
            if self.tls.wants_write() {
                // An alert, or the answer to a change of keys. What the socket does not take goes with what is written next.
                let _sent: io::Result<()> = self.send_some();
            }
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.take(into)?;
        }
        records.clear();
        Ok(())
    }

    /// Sends what waits to be sent, as far as the socket takes it at once.
    fn send_some(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Sink(&self.socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends all that waits to be sent.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.send_some()?;
            if !self.tls.wants_write() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.socket.poll_write_ready(cx))?;
        }
    }

    /// Encrypts what `write` gives and sends it, as far as the socket takes it. Only what is left of the piece before is waited
    /// for.
    fn poll_encrypt(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut rustls::Writer<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let taken = write(&mut self.tls.writer())?;
        // If that fails, so does the next piece. The socket may have taken some of this one, so that it counts as written.
        let _sent: Poll<io::Result<()>> = self.poll_send(cx);
        Poll::Ready(Ok(taken))
    }

    fn is_quiet(&mut self) -> bool {
        // Session tickets come behind the handshake, unasked.
        let (mut scratch, mut into) = (BytesMut::new(), BytesMut::new());
        loop {
            scratch.reserve(4096);
            match self.socket.try_read_buf(&mut scratch) {
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock && !self.holds_something(),
                Ok(0) => return false,
                Ok(_) if self.decrypt(&mut scratch, &mut into).is_err() || !into.is_empty() => return false,
                Ok(_) => {}
            }
        }
    }

    fn say_goodbye(&mut self) {
        if !std::mem::replace(&mut self.is_closing, true) {
            self.tls.send_close_notify();
            // The connection ends anyway.
            let _sent: io::Result<()> = self.send_some();
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.is_closing, true) {
            self.tls.send_close_notify();
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(tls) => tls.poll_encrypt(cx, |writer| writer.write(bytes)),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, pieces),
            Self::Tls(tls) => tls.poll_encrypt(cx, |writer| writer.write_vectored(pieces)),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(_) | Self::Gone => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_send(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => tls.poll_shutdown(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

/// Reads from what was received, and says that nothing more is there where that ends.
pub(super) struct Received<'a>(pub(super) &'a mut BytesMut);

impl Read for Received<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(self.0.len());
        if let (Some(into), Some(from)) = (into.get_mut(..length), self.0.get(..length)) {
            into.copy_from_slice(from);
        }
        self.0.advance(length);
        Ok(length)
    }
}
