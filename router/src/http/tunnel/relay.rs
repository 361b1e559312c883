//! Bytes from one side of a tunnel to the other, as fast as that takes them.
//!
//! What was received and not sent is all that is held: nothing more is received before, so that whoever does not read stops
//! whoever sends. A way through which nothing passes holds no buffer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::frames::Frames;
use crate::clock::{self, Millis};
use crate::http::tempo::Tempo;
use crate::http1::wire::{Spare, Wire};
use crate::upstream::pace::Pace;

/// How many times something is received or sent one way before others of the thread have their turn.
const TURNS: usize = 32;

/// One side of a tunnel: a stream of bytes both ways.
pub(crate) trait Side {
    /// What was received and not taken.
    fn received(&self) -> &[u8];

    /// Takes so many bytes of that, which were sent on.
    fn take(&mut self, bytes: usize);

    /// Takes all of it.
    fn take_all(&mut self) -> Bytes;

    /// Receives more behind that. Zero: nothing more will come.
    fn poll_receive(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Poll<io::Result<usize>>;

    /// Looks after this side while the other one takes nothing, and gives room back that what was received does not need. The
    /// error: it has broken off.
    fn wait(&mut self, cx: &mut Context<'_>, spare: &Spare) -> io::Result<()>;

    /// Sends some.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Sends what it has taken and holds.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Tells the other end that nothing more will be sent.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether it has other words for what broke off than for an end.
    fn can_break(&self) -> bool;
}

impl Side for Wire {
    fn received(&self) -> &[u8] {
        &self.input
    }

    fn take(&mut self, bytes: usize) {
        self.input.advance(bytes);
    }

    fn take_all(&mut self) -> Bytes {
        self.input.split().freeze()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Poll<io::Result<usize>> {
        self.poll_fill(cx, spare)
    }

    fn wait(&mut self, _: &mut Context<'_>, spare: &Spare) -> io::Result<()> {
        self.settle(spare);
        self.shrink(spare);
        Ok(())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_shutdown(cx)
    }

    fn can_break(&self) -> bool {
        false
    }
}

/// How patient the tunnel is with the side that is sent to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The longest time in which it takes nothing.
    pub(crate) pause: Duration,
    /// Bytes that it has to take for each second beyond that it was waited for.
    pub(crate) min_rate: u64,
}

/// Why a way ended such that the tunnel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// One of the two sides has gone.
    Gone,
    /// What is sent is not taken, or too slowly.
    Stalled,
}

/// How far a way has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// Nothing more will come; what came is being sent.
    Ending,
    /// The other side was told.
    Over,
}

/// What became of sending.
enum Sent {
    /// So many bytes of what passes, or some of what does not count.
    Some(u64),
    /// Nothing: the other side, or a limit of bandwidth, takes none at the moment.
    Held,
    /// Nothing: there is none.
    Empty,
}

/// One of the two ways through a tunnel.
#[derive(Debug)]
pub(crate) struct Way {
    state: State,
    /// What is sent first, and is none of what passes.
    front: Bytes,
    /// What a limit of bandwidth has let pass.
    paced: Bytes,
    tempo: Tempo,
    patience: Patience,
    /// What passes, where it is known how that is divided.
    frames: Option<Frames>,
    /// What is sent behind the frame at hand, after which the rest is thrown away.
    last: Bytes,
    is_muted: bool,
}

impl Way {
    /// One that begins with these bytes, which do not count.
    pub(crate) fn new(front: Bytes, patience: Patience, frames: Option<Frames>) -> Self {
        Self {
            state: State::default(),
            front,
            paced: Bytes::new(),
            tempo: Tempo::default(),
            patience,
            frames,
            last: Bytes::new(),
            is_muted: false,
        }
    }

    /// Whether all of it has come and was sent.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether the side that is sent to does not take it.
    pub(crate) fn is_held(&self) -> bool {
        self.tempo.since().is_some()
    }

    /// Until when it waits for the side that is sent to; never, if it does not.
    pub(crate) fn gives_up(&self) -> Millis {
        self.tempo.since().map_or(Millis::NEVER, |since| since.after(self.patience.pause))
    }

    /// Puts a last frame behind the one at hand, and throws away what comes later. Not where it is unknown how that is divided.
    /// A sender that has said goodbye by itself is not interrupted.
    pub(crate) fn end_with(&mut self, frame: Bytes) {
        if self.may_end() {
            self.last = frame;
        }
    }

    /// Whether that would do anything.
    pub(crate) fn may_end(&self) -> bool {
        self.has_frames() && !self.has_closed() && !self.is_muted
    }

    /// Whether it is known how what passes is divided.
    pub(crate) fn has_frames(&self) -> bool {
        self.frames.is_some()
    }

    /// Whether the sender has said goodbye.
    pub(crate) fn has_closed(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::has_closed)
    }

    /// Lets pass what there is. Returns how many bytes that were.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&mut impl Side, &mut impl Side),
        mut pace: Option<&mut Pace>,
        spare: &Spare,
    ) -> Result<u64, Broken> {
        let mut passed = 0;
        for _ in 0..TURNS {
            if self.is_over() {
                return Ok(passed);
            }
            match self.send(cx, from, to, pace.as_deref_mut())? {
                Sent::Some(bytes) => {
                    passed += bytes;
                    continue;
                }
                Sent::Held => {
                    from.wait(cx, spare).map_err(|_| Broken::Gone)?;
                    return Ok(passed);
                }
                Sent::Empty => {}
            }
            if !self.is_flushed(cx, to)? {
                return Ok(passed);
            }
            if self.state == State::Ending {
                if to.can_break() && !self.is_muted && self.frames.as_ref().is_some_and(|all| !all.is_between()) {
                    // In the middle of a frame.
                    return Err(Broken::Gone);
                }
                if to.poll_finish(cx).is_ready() {
                    self.state = State::Over;
                }
                return Ok(passed);
            }
            match from.poll_receive(cx, spare) {
                Poll::Ready(Ok(0)) => self.state = State::Ending,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Err(Broken::Gone),
                Poll::Pending => {
                    from.wait(cx, spare).map_err(|_| Broken::Gone)?;
                    return Ok(passed);
                }
            }
        }
        cx.waker().wake_by_ref();
        Ok(passed)
    }

    /// Sends a piece of what there is.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Side,
        to: &mut impl Side,
        pace: Option<&mut Pace>,
    ) -> Result<Sent, Broken> {
        if self.front.is_empty() && !self.last.is_empty() && self.frames.as_ref().is_some_and(Frames::is_between) {
            self.front = std::mem::take(&mut self.last);
            self.paced = Bytes::new();
            self.is_muted = true;
        }
        if !self.front.is_empty() {
            let sent = self.sent(&to.poll_send(cx, &self.front))?;
            return Ok(sent.map_or(Sent::Held, |sent| {
                advance(&mut self.front, sent);
                Sent::Some(0)
            }));
        }
        if self.is_muted {
            drop(from.take_all());
            return Ok(Sent::Empty);
        }
        if let Some(pace) = pace
            && self.paced.is_empty()
        {
            if pace.is_empty() {
                pace.put(from.take_all());
            }
            if !pace.is_empty() {
                let Poll::Ready(piece) = pace.poll_piece(cx) else { return Ok(Sent::Held) };
                self.paced = piece;
            }
        }
        let is_paced = !self.paced.is_empty();
        let bytes = if is_paced { &*self.paced } else { from.received() };
        if bytes.is_empty() {
            return Ok(Sent::Empty);
        }
        let most = match &self.frames {
            Some(frames) if !self.last.is_empty() => frames.to_end(bytes),
            Some(_) | None => bytes.len(),
        };
        let bytes = bytes.get(..most).unwrap_or(bytes);
        let polled = to.poll_send(cx, bytes);
        if let (Poll::Ready(Ok(sent)), Some(frames)) = (&polled, &mut self.frames) {
            frames.pass(bytes.get(..*sent).unwrap_or(bytes));
        }
        let Some(sent) = self.sent(&polled)? else { return Ok(Sent::Held) };
        if is_paced {
            advance(&mut self.paced, sent);
        } else {
            from.take(sent);
        }
        Ok(Sent::Some(sent as u64))
    }

    /// What was sent; nothing while the other side takes none.
    fn sent(&mut self, polled: &Poll<io::Result<usize>>) -> Result<Option<usize>, Broken> {
        match polled {
            Poll::Ready(Ok(0) | Err(_)) => Err(Broken::Gone),
            Poll::Ready(Ok(sent)) => self.gets_on(*sent as u64).map(|()| Some(*sent)),
            Poll::Pending => {
                self.tempo.waits(clock::now_millis);
                Ok(None)
            }
        }
    }

    /// Whether the other side has everything that it took.
    fn is_flushed(&mut self, cx: &mut Context<'_>, to: &mut impl Side) -> Result<bool, Broken> {
        match to.poll_flush(cx) {
            Poll::Ready(Ok(())) => self.gets_on(0).map(|()| true),
            Poll::Ready(Err(_)) => Err(Broken::Gone),
            Poll::Pending => {
                self.tempo.waits(clock::now_millis);
                Ok(false)
            }
        }
    }

    fn gets_on(&mut self, sent: u64) -> Result<(), Broken> {
        let Patience { pause, min_rate } = self.patience;
        if self.tempo.gets_on(sent, pause, min_rate, clock::now_millis) { Ok(()) } else { Err(Broken::Stalled) }
    }
}

/// Takes from the beginning of a piece, and lets go of one that is used up, which would keep its room.
fn advance(piece: &mut Bytes, by: usize) {
    piece.advance(by);
    if piece.is_empty() {
        *piece = Bytes::new();
    }
}

#[cfg(test)]
mod tests;
