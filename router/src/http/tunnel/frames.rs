//! Where WebSocket's frames begin and end (RFC 6455 §5.2), and the one that the router itself may put between them.
//!
//! Nothing of what is in them is looked at, and nothing is refused: that is between the two who agreed to speak so.

use bytes::Bytes;

/// The most that a frame's head has: two bytes, a length of eight, a mask of four.
const MOST_HEAD: usize = 14;

/// Where in a stream of frames the next byte is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Frames {
    /// The head of the frame at hand, as far as it has come.
    head: [u8; MOST_HEAD],
    seen: u8,
    /// Bytes behind the head that are still to come.
    left: u64,
    closed: bool,
}

/// Why a WebSocket is closed (RFC 6455 §7.4.1, and what IANA has registered since).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// The router is going away.
    GoingAway,
    /// The other end is: its client should come back.
    ServiceRestart,
}

impl Goodbye {
    /// The frame that says so to a client, which no mask belongs to.
    pub(crate) fn frame(self) -> Bytes {
        Bytes::from_static(match self {
            Self::GoingAway => &[0x88, 2, 0x03, 0xe9],
            Self::ServiceRestart => &[0x88, 2, 0x03, 0xf4],
        })
    }
}

impl Frames {
    /// Whether the last frame is whole and the next has not begun.
    pub(crate) fn is_between(&self) -> bool {
        self.seen == 0 && self.left == 0
    }

    /// Whether a frame has passed that closes.
    pub(crate) fn has_closed(&self) -> bool {
        self.closed
    }

    /// Takes note of bytes that pass.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = self.step(bytes);
        }
    }

    /// How many of these bytes belong to the frame at hand, or the first one.
    pub(crate) fn to_end(self, bytes: &[u8]) -> usize {
        let (mut at, mut rest) = (self, bytes);
        loop {
            rest = at.step(rest);
            if rest.is_empty() || at.is_between() {
                return bytes.len() - rest.len();
            }
        }
    }

    /// Passes over a part of a head, or of what is behind it. Returns the rest.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.left > 0 {
            let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= skipped as u64;
            return bytes.get(skipped..).unwrap_or_default();
        }
        let Some((byte, rest)) = bytes.split_first() else { return bytes };
        if let Some(place) = self.head.get_mut(usize::from(self.seen)) {
            *place = *byte;
        }
        self.seen += 1;
        if usize::from(self.seen) >= self.head_length() {
            self.closed |= self.head[0] & 0x0f == 8;
            self.left = self.payload();
            self.seen = 0;
        }
        rest
    }

    /// How long the head is, as far as that is known.
    fn head_length(&self) -> usize {
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        match (self.seen, self.head[1] & 0x7f) {
            (..2, _) => 2,
            (_, 126) => 4 + mask,
            (_, 127) => 10 + mask,
            (_, _) => 2 + mask,
        }
    }

    fn payload(&self) -> u64 {
        let (short, long) = (self.head[1] & 0x7f, self.head.get(2..).unwrap_or_default());
        match short {
            126 => long.first_chunk().map_or(0, |long| u64::from(u16::from_be_bytes(*long))),
            127 => long.first_chunk().map_or(0, |long| u64::from_be_bytes(*long)),
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = match payload {
            0..126 => vec![first, mask | u8::try_from(payload).unwrap()],
            126..65_536 => [&[first, mask | 0x7e][..], &u16::try_from(payload).unwrap().to_be_bytes()].concat(),
            _ => [&[first, mask | 0x7f][..], &(payload as u64).to_be_bytes()].concat(),
        };
        if masked {
            frame.extend_from_slice(b"mask");
        }
        frame.extend(std::iter::repeat_n(0x88, payload));
        frame
    }

    #[test]
    fn frames_end_where_they_should_however_they_come() {
        let sizes = [0, 1, 5, 125, 126, 127, 1000, 65_535, 65_536, 100_000];
        let all: Vec<Vec<u8>> =
            sizes.into_iter().flat_map(|size| [frame(0x82, size, false), frame(1, size, true)]).collect();
        let (stream, ends): (Vec<u8>, Vec<usize>) =
            all.iter().fold(Default::default(), |(mut stream, mut ends), one| {
                stream.extend_from_slice(one);
                ends.push(stream.len());
                (stream, ends)
            });
        for piece in [1, 2, 3, 7, 100, 65_537, usize::MAX] {
            let (mut frames, mut at) = (Frames::default(), 0);
            assert!(frames.is_between());
            for bytes in stream.chunks(piece.min(stream.len())) {
                let next_end = ends.iter().find(|end| **end > at).unwrap();
                assert_eq!(frames.to_end(bytes), bytes.len().min(next_end - at), "{piece}");
                frames.pass(bytes);
                at += bytes.len();
                assert_eq!(frames.is_between(), ends.contains(&at), "{piece} at {at}");
            }
            assert!(!frames.has_closed());
        }
        let mut frames = Frames::default();
        frames.pass(&Goodbye::GoingAway.frame());
        assert!(frames.has_closed() && frames.is_between());
    }

    #[test]
    fn goodbyes_are_those_of_the_registry() {
        for (goodbye, code) in [(Goodbye::GoingAway, 1001_u16), (Goodbye::ServiceRestart, 1012)] {
            assert_eq!(goodbye.frame()[2..], code.to_be_bytes());
        }
    }
}
