use std::task::Waker;

use bytes::BytesMut;

use super::*;
use crate::http::tunnel::frames::Goodbye;

/// A side that takes so many bytes and no more, and gives what a test says.
#[derive(Default)]
struct Fake {
    received: BytesMut,
    gives: Vec<Vec<u8>>,
    ends: bool,
    room: usize,
    taken: Vec<u8>,
    finished: bool,
    breaks: bool,
}

impl Side for Fake {
    fn received(&self) -> &[u8] {
        &self.received
    }

    fn take(&mut self, bytes: usize) {
        self.received.advance(bytes);
    }

    fn take_all(&mut self) -> Bytes {
        self.received.split().freeze()
    }

    fn poll_receive(&mut self, _: &mut Context<'_>, _: &Spare) -> Poll<io::Result<usize>> {
        assert!(self.received.is_empty(), "received before the last was sent");
        if self.gives.is_empty() {
            return if self.ends { Poll::Ready(Ok(0)) } else { Poll::Pending };
        }
        let piece = self.gives.remove(0);
        self.received.extend_from_slice(&piece);
        Poll::Ready(Ok(piece.len()))
    }

    fn wait(&mut self, _: &mut Context<'_>, _: &Spare) -> io::Result<()> {
        Ok(())
    }

    fn poll_send(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        self.taken.extend_from_slice(&bytes[..taken]);
        if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(taken)) }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        Poll::Ready(Ok(()))
    }

    fn can_break(&self) -> bool {
        self.breaks
    }
}

const PATIENCE: Patience = Patience { pause: Duration::from_mins(1), min_rate: 0 };

fn pass(way: &mut Way, from: &mut Fake, to: &mut Fake) -> u64 {
    way.poll(&mut Context::from_waker(Waker::noop()), (from, to), None, &Spare::default()).unwrap()
}

#[test]
fn nothing_is_received_before_what_came_was_sent_and_the_end_comes_last() {
    let mut from = Fake { gives: vec![b"abc".into(), b"def".into()], ends: true, ..Fake::default() };
    let mut to = Fake { room: 6, ..Fake::default() };
    let mut way = Way::new(Bytes::from_static(b"head"), PATIENCE, None);
    assert_eq!(way.gives_up(), Millis::NEVER);
    assert_eq!(pass(&mut way, &mut from, &mut to), 2, "the head does not count");
    assert_eq!((&*to.taken, from.gives.len()), (&b"headab"[..], 1));
    assert!(way.gives_up() != Millis::NEVER && !to.finished);
    to.room = 100;
    assert_eq!(pass(&mut way, &mut from, &mut to), 4);
    assert_eq!((&*to.taken, way.gives_up()), (&b"headabcdef"[..], Millis::NEVER));
    assert!(way.is_over() && to.finished);
}

/// The last frame comes behind the one at hand, wherever that was cut, and nothing behind it.
#[test]
fn the_last_frame_stands_between_two() {
    let frames: Vec<u8> = [&[0x81, 3][..], b"one", &[0x81, 3], b"two", &[0x81, 5], b"three"].concat();
    let goodbye = Goodbye::GoingAway.frame();
    for cut in 0..frames.len() {
        for room in [1, 3, 100] {
            let (first, rest) = frames.split_at(cut);
            let mut from = Fake { gives: vec![first.into()], ..Fake::default() };
            from.gives.retain(|piece| !piece.is_empty());
            let mut to = Fake { room: usize::MAX, ..Fake::default() };
            let mut way = Way::new(Bytes::new(), PATIENCE, Some(Frames::default()));
            pass(&mut way, &mut from, &mut to);
            assert!(way.may_end());
            way.end_with(goodbye.clone());
            from.gives = rest.chunks(4).map(<[u8]>::to_vec).collect();
            from.ends = true;
            for _ in 0..100 {
                to.room = room;
                pass(&mut way, &mut from, &mut to);
            }
            let end = [0, 5, 10, 17].into_iter().find(|end| *end >= cut).unwrap();
            assert_eq!(to.taken, [&frames[..end], &goodbye].concat(), "{cut} {room}");
            assert!(way.is_over() && !way.may_end());
        }
    }
}

#[test]
fn who_has_said_goodbye_is_not_interrupted() {
    let mut from = Fake { gives: vec![Goodbye::ServiceRestart.frame().to_vec()], ..Fake::default() };
    let mut to = Fake { room: 100, ..Fake::default() };
    let mut way = Way::new(Bytes::new(), PATIENCE, Some(Frames::default()));
    pass(&mut way, &mut from, &mut to);
    assert!(!way.may_end());
    let mut unknown = Way::new(Bytes::new(), PATIENCE, None);
    unknown.end_with(Goodbye::GoingAway.frame());
    pass(&mut unknown, &mut from, &mut to);
    assert_eq!(to.taken, Goodbye::ServiceRestart.frame());
}

/// Where the other side can be told, what ends in the middle of a frame has broken off.
#[test]
fn what_ends_within_a_frame_is_not_whole() {
    for (bytes, is_whole) in [(&b"\x82\x03one"[..], true), (b"\x82\x03on", false), (b"\x82", false), (b"", true)] {
        for breaks in [false, true] {
            let mut from = Fake { gives: vec![bytes.into()], ends: true, ..Fake::default() };
            from.gives.retain(|piece| !piece.is_empty());
            let mut to = Fake { room: 100, breaks, ..Fake::default() };
            let mut way = Way::new(Bytes::new(), PATIENCE, Some(Frames::default()));
            let cx = &mut Context::from_waker(Waker::noop());
            let passed = way.poll(cx, (&mut from, &mut to), None, &Spare::default());
            assert_eq!(passed.is_ok(), is_whole || !breaks, "{bytes:?}");
            assert_eq!(to.finished, is_whole || !breaks, "{bytes:?}");
        }
    }
}
