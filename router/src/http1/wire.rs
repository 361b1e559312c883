//! A socket with what was received and not used yet.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::tls::stream::{Stream, TlsStream};

/// How much is read at once: a piece of 64 KiB together with a head. Larger reads gain nothing for answers of that size, and half
/// of it costs a quarter more.
const READ: usize = 72 * 1024;
/// How much is read at once of a request's body that is long and comes fast: a third less is spent on a mebibyte, as whoever sends it is
/// woken less often. Not of an answer's, as what is written at once to a client is paced by the kernel: see `listener::socket`.
const READ_OF_MUCH: usize = 264 * 1024;
/// How much room there must be behind what is there already.
const LITTLE: usize = 1024;
/// What bounds how much those hold who wait for the other side to take something: each holds what was read last, and the more of them
/// a thread has the less is read at once, this divided by their number. As those that waited before hold more, a thousand of them hold
/// some 12 MiB. Over HTTP/2 a client has many of them, and opens them by a few bytes.
const HELD: usize = 2 * 1024 * 1024;
const LEAST_READ: usize = 2 * 1024;
/// Buffers of one thread that are kept while they are not in use.
const MAX_SPARE: usize = 16;
/// A buffer that grew larger than this is not kept.
const MAX_KEPT: usize = 2 * READ;

/// One thread's unused buffers, the one used last on top: it is still in the processor's cache. Connections have a
/// buffer only while there is something in it.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    input: RefCell<Vec<BytesMut>>,
    output: RefCell<Vec<Vec<u8>>>,
    /// Messages that wait for the other side to take something.
    stalled: Rc<Cell<u32>>,
}

impl Spare {
    /// How much is read at once where so much is wanted.
    fn read(&self, wanted: usize) -> usize {
        match self.stalled.get() {
            0 => wanted,
            stalled => wanted.min(HELD / stalled as usize).max(LEAST_READ),
        }
    }

    pub(crate) fn input(&self) -> BytesMut {
        let mut buffer = self.input.borrow_mut().pop().unwrap_or_default();
        buffer.reserve(READ);
        buffer
    }

    pub(crate) fn keep_input(&self, mut buffer: BytesMut) {
        let mut spare = self.input.borrow_mut();
        if spare.len() < MAX_SPARE && (1..=MAX_KEPT).contains(&buffer.capacity()) {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// An empty buffer to write into.
    pub(crate) fn output(&self) -> Vec<u8> {
        self.output.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(crate) fn keep_output(&self, mut buffer: Vec<u8>) {
        let mut spare = self.output.borrow_mut();
        if spare.len() < MAX_SPARE && (1..=MAX_KEPT).contains(&buffer.capacity()) {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// Counts a message for as long as it waits for the other side to take something.
#[derive(Debug)]
pub(crate) struct Stalled(Rc<Cell<u32>>);

impl Stalled {
    pub(crate) fn new(spare: &Spare) -> Self {
        spare.stalled.set(spare.stalled.get() + 1);
        Self(Rc::clone(&spare.stalled))
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A socket with what was received and not used yet.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: Stream,
    pub(crate) input: BytesMut,
    /// Whether there was as much as could be read when it was read last.
    was_full: bool,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, input: BytesMut::new(), was_full: false }
    }

    /// Receives more behind what is there. Zero: the other side will send nothing more.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Poll<io::Result<usize>> {
        self.poll_fill_with(cx, spare, READ)
    }

    /// Receives more of a request's body, and more at once if it is long and comes fast: `left` is what is to come, where that is known.
    pub(crate) fn poll_fill_body(
        &mut self,
        cx: &mut Context<'_>,
        spare: &Spare,
        left: Option<u64>,
    ) -> Poll<io::Result<usize>> {
        self.poll_fill_with(cx, spare, self.wanted(left))
    }

    fn wanted(&self, left: Option<u64>) -> usize {
        if !self.was_full {
            return READ;
        }
        let left = left.and_then(|left| usize::try_from(left).ok());
        left.map_or(READ_OF_MUCH, |left| left.clamp(READ, READ_OF_MUCH))
    }

    fn poll_fill_with(&mut self, cx: &mut Context<'_>, spare: &Spare, wanted: usize) -> Poll<io::Result<usize>> {
        // Asked first: mostly there is nothing, and then no buffer is needed. Nor is one kept while waiting.
        let Poll::Ready(ready) = self.stream.poll_read_ready(cx) else {
            self.settle(spare);
            return Poll::Pending;
        };
        ready?;
        if self.input.is_empty() {
            // What is decrypted comes in records.
            let read = if matches!(self.stream, Stream::Tls(_)) { READ } else { spare.read(wanted) };
            if self.input.capacity() == 0 {
                self.input = if read == READ { spare.input() } else { BytesMut::with_capacity(read) };
            } else {
                self.input.reserve(read);
            }
        } else if self.input.capacity() - self.input.len() < LITTLE {
            // Not by much: what comes slowly should not hold a large buffer.
            self.input.reserve(self.input.len().max(LITTLE));
        }
        let polled = match &mut self.stream {
            Stream::Plain(socket) => pin!(socket.read_buf(&mut self.input)).poll(cx),
            Stream::Tls(tls) => receive(tls, cx, &mut self.input, spare),
            Stream::Gone => Poll::Ready(Ok(0)),
        };
        self.was_full = self.input.len() == self.input.capacity();
        self.settle(spare);
        polled
    }

    /// Gives the buffer back if nothing is in it.
    pub(crate) fn settle(&mut self, spare: &Spare) {
        if self.input.is_empty() {
            spare.keep_input(std::mem::take(&mut self.input));
        }
    }

    /// Moves the beginning of something that came in part to a buffer of its size: whoever sends slowly, or sends
    /// nothing more, should not hold a large one.
    pub(crate) fn shrink(&mut self, spare: &Spare) {
        let length = self.input.len();
        // What is saved has to be worth a copy, and more than what is left free, or it would be done each time.
        if self.input.capacity() - length > READ / 4 {
            let mut small = BytesMut::with_capacity(length + length.min(READ / 8));
            small.extend_from_slice(&self.input);
            spare.keep_input(std::mem::replace(&mut self.input, small));
        }
    }

    /// Tells the other side that nothing more will be sent.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Receives what is in the records that come. They themselves are in a buffer of the thread's only meanwhile.
fn receive(tls: &mut TlsStream, cx: &mut Context<'_>, input: &mut BytesMut, spare: &Spare) -> Poll<io::Result<usize>> {
    let mut scratch = spare.input();
    let polled = tls.poll_receive(cx, &mut scratch, input);
    spare.keep_input(scratch);
    polled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_less_is_read_at_once_where_many_do_not_take_their_answers() {
        let spare = Spare::default();
        let mut stalled = Vec::new();
        let reads = [0, 7, 1, 20, 100, 384, 1_536].map(|more| {
            stalled.extend((0..more).map(|_| Stalled::new(&spare)));
            (spare.read(READ_OF_MUCH), spare.read(READ))
        });
        let kib = reads.map(|(most, usual)| (most / 1024, usual / 1024));
        assert_eq!(kib, [(264, 72), (264, 72), (256, 72), (73, 72), (16, 16), (4, 4), (2, 2)]);
        stalled.clear();
        assert_eq!(spare.read(READ), READ);
    }

    #[test]
    fn long_bodies_that_come_fast_are_read_in_large_pieces() {
        let mut wire = Wire::new(Stream::Gone);
        let kib = |wire: &Wire| [Some(0), Some(80 * 1024), Some(u64::MAX), None].map(|left| wire.wanted(left) / 1024);
        assert_eq!(kib(&wire), [72; 4]);
        wire.was_full = true;
        assert_eq!(kib(&wire), [72, 80, 264, 264]);
    }

    /// A thousand heads of the greatest size that never end are a thousand times what one of them holds.
    #[test]
    fn what_came_in_part_holds_little_more_than_itself() {
        let spare = Spare::default();
        for length in [1, 100, 9_000, 20_000, 32_000] {
            let mut wire = Wire::new(Stream::Gone);
            wire.input = spare.input();
            wire.input.extend_from_slice(&vec![b'x'; length]);
            // Byte by byte it grows, and is made small again.
            for _ in 0..1_000 {
                wire.shrink(&spare);
                let capacity = wire.input.capacity();
                assert!(capacity <= wire.input.len() + READ / 4, "{length}: {capacity}");
                wire.input.extend_from_slice(b"x");
            }
            assert_eq!(wire.input.len(), length + 1_000);
            assert!(wire.input.iter().all(|byte| *byte == b'x'));
        }
    }
}
