//! Where a side of a tunnel is: a connection of its own, or a stream of HTTP/2 (RFC 8441 §5).

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};

use super::relay::Side;
use crate::http1::wire::{Spare, Wire};
use crate::http2::guard::Guard;
use crate::upstream::http2::hub::Place;

/// The most that is given to a stream at once.
const PIECE: usize = 16 * 1024;

/// One side of a tunnel.
#[derive(Debug)]
pub(crate) enum End {
    /// A connection that speaks the other protocol from its first byte behind the heads.
    Wire(Wire),
    /// A stream of HTTP/2, whose `DATA` the other protocol is in.
    Stream(Box<StreamEnd>),
}

/// A stream of HTTP/2 that has become a side of a tunnel. `END_STREAM` ends a way as closing a socket does, and `RST_STREAM` is
/// for what broke off.
///
/// What has come is taken from h2 at once, because there each frame costs as much as a large one would; room for more is given only
/// for what was sent on. So a stream's window bounds what is held here.
#[derive(Debug)]
pub(crate) struct StreamEnd {
    /// Before the place, so that the stream has ended when that is given to another.
    receive: Option<RecvStream>,
    send: SendStream<Bytes>,
    input: BytesMut,
    /// Nothing more will come.
    ended: bool,
    /// The other end was told of the end, or of a break.
    finished: bool,
    /// Who counts the frames of the client whose stream this is.
    guard: Option<Rc<RefCell<Guard>>>,
    _place: Option<Place>,
}

impl StreamEnd {
    /// A client's stream, whose request was agreed to.
    pub(crate) fn of_client(receive: RecvStream, send: SendStream<Bytes>, guard: Rc<RefCell<Guard>>) -> Self {
        let (input, receive, guard) = (BytesMut::new(), Some(receive), Some(guard));
        Self { receive, send, input, ended: false, finished: false, guard, _place: None }
    }

    /// An endpoint's stream, on which `first` has come already, and nothing more will without `receive`.
    pub(crate) fn of_endpoint(
        receive: Option<RecvStream>,
        send: SendStream<Bytes>,
        first: Option<Bytes>,
        place: Place,
    ) -> Self {
        let input = first.map(BytesMut::from).unwrap_or_default();
        let ended = receive.is_none();
        Self { receive, send, input, ended, finished: false, guard: None, _place: Some(place) }
    }

    /// Takes what has come. Returns how much that was.
    fn absorb(&mut self, cx: &mut Context<'_>, spare: &Spare) -> io::Result<usize> {
        let before = self.input.len();
        while !self.ended
            && let Some(receive) = &mut self.receive
        {
            match receive.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    if self.input.capacity() == 0 {
                        self.input = spare.input();
                    }
                    self.input.extend_from_slice(&data);
                }
                Poll::Ready(Some(Err(error))) => self.ended = is_end(&error)?,
                Poll::Ready(None) => match receive.poll_trailers(cx) {
                    Poll::Ready(Ok(None)) => self.ended = true,
                    // RFC 9113 §8.5: nothing but DATA may come.
                    Poll::Ready(Ok(Some(_))) => return Err(io::ErrorKind::InvalidData.into()),
                    Poll::Ready(Err(error)) => self.ended = is_end(&error)?,
                    Poll::Pending => break,
                },
                Poll::Pending => break,
            }
        }
        Ok(self.input.len() - before)
    }

    /// Gives room back that what was received does not need.
    fn settle(&mut self, spare: &Spare) {
        if self.input.is_empty() {
            spare.keep_input(std::mem::take(&mut self.input));
        } else if self.input.len() < self.input.capacity() / 8 {
            let mut small = BytesMut::with_capacity(self.input.len() * 2);
            small.extend_from_slice(&self.input);
            spare.keep_input(std::mem::replace(&mut self.input, small));
        }
    }

    /// Lets the other end send so much more.
    fn gives_room(&mut self, bytes: usize) {
        if let Some(receive) = &mut self.receive {
            // Fails only for more than was taken, or when the stream has ended.
            let _released: Result<(), h2::Error> = receive.flow_control().release_capacity(bytes);
        }
    }

    fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            // If the stream has ended, whoever receives learns of it.
            let _sent: Result<(), h2::Error> = self.send.send_data(Bytes::new(), true);
        }
    }
}

/// Whether what ends a stream is only that the other end wants nothing more (RFC 9113 §8.1): it has said all of its own by then.
fn is_end(error: &h2::Error) -> io::Result<bool> {
    if error.is_reset() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR) {
        return Ok(true);
    }
    Err(io::ErrorKind::ConnectionReset.into())
}

impl Side for StreamEnd {
    fn received(&self) -> &[u8] {
        &self.input
    }

    fn take(&mut self, bytes: usize) {
        self.input.advance(bytes);
        self.gives_room(bytes);
    }

    fn take_all(&mut self) -> Bytes {
        self.gives_room(self.input.len());
        self.input.split().freeze()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Poll<io::Result<usize>> {
        match self.absorb(cx, spare)? {
            0 if !self.ended => Poll::Pending,
            came => Poll::Ready(Ok(came)),
        }
    }

    fn wait(&mut self, cx: &mut Context<'_>, spare: &Spare) -> io::Result<()> {
        self.absorb(cx, spare)?;
        self.settle(spare);
        Ok(())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let most = bytes.len().min(PIECE);
        if self.send.capacity() < most {
            self.send.reserve_capacity(most);
        }
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let length = most.min(self.send.capacity());
        let piece = Bytes::copy_from_slice(bytes.get(..length).unwrap_or(bytes));
        let sent = self.send.send_data(piece, false);
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        if let Some(guard) = &self.guard {
            guard.borrow_mut().sent(length);
        }
        Poll::Ready(Ok(length))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What h2 has taken is bounded, and its connection's task sends it.
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }

    fn can_break(&self) -> bool {
        true
    }
}

impl End {
    /// Whether the other end has taken its stream back, or its connection has ended. Of a connection of its own, who reads or writes
    /// learns of it.
    pub(super) fn has_gone(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Wire(_) => false,
            Self::Stream(stream) => match stream.send.poll_reset(cx) {
                // It only wants nothing more (RFC 9113 §8.1).
                Poll::Ready(Ok(Reason::NO_ERROR)) | Poll::Pending => false,
                Poll::Ready(Ok(_) | Err(_)) => true,
            },
        }
    }

    /// Ends such that the other end takes what came for all.
    pub(super) fn say_goodbye(&mut self) {
        match self {
            Self::Wire(wire) => wire.stream.say_goodbye(),
            Self::Stream(stream) => stream.finish(),
        }
    }

    /// Ends at once, where the other side does not take what is sent: the kernel would keep that for a while, for nobody, and the end
    /// behind it.
    pub(super) fn reset(&mut self) {
        match self {
            Self::Wire(wire) => wire.stream.reset_on_close(),
            Self::Stream(_) => self.omit_goodbye(),
        }
    }

    /// Ends such that it does not.
    pub(super) fn omit_goodbye(&mut self) {
        match self {
            Self::Wire(wire) => wire.stream.omit_goodbye(),
            Self::Stream(stream) => {
                stream.finished = true;
                // RFC 8441 §5: what would be a reset of a connection.
                stream.send.send_reset(Reason::CANCEL);
            }
        }
    }
}

impl Side for End {
    fn received(&self) -> &[u8] {
        match self {
            Self::Wire(wire) => wire.received(),
            Self::Stream(stream) => stream.received(),
        }
    }

    fn take(&mut self, bytes: usize) {
        match self {
            Self::Wire(wire) => wire.take(bytes),
            Self::Stream(stream) => stream.take(bytes),
        }
    }

    fn take_all(&mut self) -> Bytes {
        match self {
            Self::Wire(wire) => wire.take_all(),
            Self::Stream(stream) => stream.take_all(),
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Poll<io::Result<usize>> {
        match self {
            Self::Wire(wire) => wire.poll_receive(cx, spare),
            Self::Stream(stream) => stream.poll_receive(cx, spare),
        }
    }

    fn wait(&mut self, cx: &mut Context<'_>, spare: &Spare) -> io::Result<()> {
        match self {
            Self::Wire(wire) => wire.wait(cx, spare),
            Self::Stream(stream) => stream.wait(cx, spare),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Wire(wire) => wire.poll_send(cx, bytes),
            Self::Stream(stream) => stream.poll_send(cx, bytes),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Wire(wire) => wire.poll_flush(cx),
            Self::Stream(stream) => stream.poll_flush(cx),
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Wire(wire) => wire.poll_finish(cx),
            Self::Stream(stream) => stream.poll_finish(cx),
        }
    }

    fn can_break(&self) -> bool {
        match self {
            Self::Wire(wire) => wire.can_break(),
            Self::Stream(stream) => stream.can_break(),
        }
    }
}
