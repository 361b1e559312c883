//! What a client's frames cost beside the requests that they make: floods of them are found here. Pure.
//!
//! The h2 crate bounds what it keeps: streams, resets that nobody has seen yet, frames that continue a list of fields, small
//! pieces of bodies. What it answers at once, or throws away, it takes without end. So frames that are cheap to send and make
//! nobody any richer are paid for here, out of a purse that time and real requests fill.

use crate::clock::Millis;

/// Bytes before the first frame.
const PREFACE: u64 = 24;
/// What a frame's head has: length, type, flags, stream.
const HEAD: usize = 9;
/// What the purse has for frames that only manage the connection, at first and at the most, and gets a second.
const MANAGING: u32 = 1_000;
const MANAGING_A_SECOND: u32 = 100;
/// The same for requests that are taken back.
const RESETS: u32 = 200;
const RESETS_A_SECOND: u32 = 20;
/// What each request, and each frame of an answer, may cost in such frames.
const FOR_A_REQUEST: u32 = 8;
const FOR_A_FRAME: u32 = 4;
/// The most bytes of an answer in one frame, where the client says nothing else.
const FRAME: usize = 16 * 1024;
/// A piece of a body that costs the h2 crate more than its bytes, and how many may come before others have their turn: those who
/// take them, so that they do not lie about.
const SMALL: u64 = 256;
const SMALL_AT_ONCE: u16 = 512;

/// What a frame is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Data,
    /// The first of a list of fields; whether it is the last, too.
    Headers(bool),
    /// Another one; whether it is the last.
    Continuation(bool),
    Reset,
    /// PRIORITY, SETTINGS, PING, `WINDOW_UPDATE` and what is not known.
    Managing,
    GoAway,
}

impl Frame {
    fn of(kind: u8, flags: u8) -> Self {
        const END_HEADERS: u8 = 4;
        let ends = flags & END_HEADERS != 0;
        match kind {
            0 => Self::Data,
            1 => Self::Headers(ends),
            3 => Self::Reset,
            7 => Self::GoAway,
            9 => Self::Continuation(ends),
            _ => Self::Managing,
        }
    }
}

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flood {
    /// Too many frames that only manage the connection.
    Managing,
    /// Too many requests that are taken back.
    Resets,
}

impl Flood {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Managing => "too many frames that ask for nothing",
            Self::Resets => "too many requests that were taken back",
        }
    }
}

/// One client's account.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Bytes that are no frame's head.
    skip: u64,
    head: [u8; HEAD],
    /// How much of the next head has come.
    has: usize,
    /// The frame that the bytes to skip belong to.
    frame: Frame,
    /// Since when a list of fields, or a frame that is no piece of a body, has begun and not come whole.
    unfinished: Option<Millis>,
    managing: u32,
    resets: u32,
    filled: Millis,
    flood: Option<Flood>,
    /// Small pieces of bodies since others had their turn.
    small: u16,
}

impl Guard {
    pub(crate) fn new(now: Millis) -> Self {
        Self {
            skip: PREFACE,
            head: [0; HEAD],
            has: 0,
            frame: Frame::Managing,
            unfinished: None,
            managing: MANAGING,
            resets: RESETS,
            filled: now,
            flood: None,
            small: 0,
        }
    }

    /// Why the connection has to end, if it has to.
    pub(crate) fn flood(&self) -> Option<Flood> {
        self.flood
    }

    /// Since when something has begun that bars everything behind it.
    pub(crate) fn unfinished(&self) -> Option<Millis> {
        self.unfinished
    }

    /// Whether so many small pieces have come that others should have their turn, which is counted anew then.
    pub(super) fn gives_way(&mut self) -> bool {
        let is_much = self.small >= SMALL_AT_ONCE;
        if is_much {
            self.small = 0;
        }
        is_much
    }

    /// Bytes have come from the client.
    pub(crate) fn came(&mut self, mut bytes: &[u8], now: Millis) {
        self.fill(now);
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
            } else {
                if self.has == 0 && !self.is_in_list() {
                    // What was begun before has come whole.
                    self.unfinished = None;
                }
                let taken = (HEAD - self.has).min(bytes.len());
                let (of_head, rest) = bytes.split_at(taken);
                if let Some(into) = self.head.get_mut(self.has..self.has + taken) {
                    into.copy_from_slice(of_head);
                }
                self.has += taken;
                bytes = rest;
                if self.has == HEAD {
                    self.begins();
                }
            }
        }
        self.note_unfinished(now);
    }

    /// A frame's head has come.
    fn begins(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.skip = u64::from(u32::from_be_bytes([0, a, b, c]));
        self.has = 0;
        self.frame = Frame::of(kind, flags);
        match self.frame {
            Frame::Headers(_) => self.managing = (self.managing + FOR_A_REQUEST).min(MANAGING),
            Frame::Reset => pay(&mut self.resets, &mut self.flood, Flood::Resets),
            Frame::Managing | Frame::Continuation(_) => pay(&mut self.managing, &mut self.flood, Flood::Managing),
            Frame::Data => self.small = self.small.saturating_add(u16::from(self.skip < SMALL)),
            Frame::GoAway => {}
        }
    }

    /// Whether the last frame was a part of a list of fields that goes on.
    fn is_in_list(&self) -> bool {
        matches!(self.frame, Frame::Headers(false) | Frame::Continuation(false))
    }

    fn note_unfinished(&mut self, now: Millis) {
        let in_frame = self.skip > 0 && self.frame != Frame::Data;
        if in_frame || self.is_in_list() || self.has > 0 {
            self.unfinished.get_or_insert(now);
        } else {
            self.unfinished = None;
        }
    }

    /// So many bytes of an answer were sent to the client, who may have to say that it has taken them.
    pub(crate) fn sent(&mut self, bytes: usize) {
        let frames = u32::try_from(bytes / FRAME).unwrap_or(MANAGING).saturating_add(1);
        self.managing = frames.saturating_mul(FOR_A_FRAME).saturating_add(self.managing).min(MANAGING);
    }

    /// Next to nothing was sent, because the client has made room for no more.
    pub(crate) fn squeezed(&mut self) {
        pay(&mut self.managing, &mut self.flood, Flood::Managing);
    }

    /// A request was taken back because its client did something wrong.
    pub(crate) fn taken_back(&mut self) {
        pay(&mut self.resets, &mut self.flood, Flood::Resets);
    }

    /// A request was answered to its end. Who has so much answered may take some back.
    pub(crate) fn answered(&mut self) {
        self.resets = (self.resets + 1).min(RESETS);
    }

    fn fill(&mut self, now: Millis) {
        let seconds = u32::try_from(now.0.saturating_sub(self.filled.0) / 1_000).unwrap_or(u32::MAX);
        if seconds > 0 {
            let more =
                |purse: u32, a_second: u32, most: u32| purse.saturating_add(a_second.saturating_mul(seconds)).min(most);
            self.managing = more(self.managing, MANAGING_A_SECOND, MANAGING);
            self.resets = more(self.resets, RESETS_A_SECOND, RESETS);
            self.filled = now;
        }
    }
}

fn pay(purse: &mut u32, flood: &mut Option<Flood>, why: Flood) {
    match purse.checked_sub(1) {
        Some(left) => *purse = left,
        None => drop(flood.get_or_insert(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = vec![a, b, c, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEAD + length, 0xff);
        bytes
    }

    fn begun() -> Guard {
        let mut guard = Guard::new(Millis(0));
        guard.came(&[b'P'; 24], Millis(0));
        guard
    }

    #[test]
    fn many_small_pieces_let_others_have_their_turn() {
        let mut guard = begun();
        for _ in 0..3 {
            for _ in 0..SMALL_AT_ONCE {
                assert!(!guard.gives_way());
                guard.came(&frame(0, 0, 1), Millis(0));
                guard.came(&frame(0, 0, 256), Millis(0));
            }
            assert!(guard.gives_way());
        }
        assert_eq!(guard.flood(), None);
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let frames = [frame(4, 0, 6), frame(1, 4, 40), frame(0, 0, 300), frame(3, 0, 4), frame(6, 0, 8)].concat();
        let mut whole = begun();
        whole.came(&frames, Millis(0));
        assert_eq!((whole.managing, whole.resets, whole.unfinished), (MANAGING - 1, RESETS - 1, None));
        for piece in 1..30 {
            let mut pieces = begun();
            frames.chunks(piece).for_each(|bytes| pieces.came(bytes, Millis(0)));
            assert_eq!((pieces.managing, pieces.resets), (whole.managing, whole.resets), "{piece}");
        }
    }

    #[test]
    fn what_is_answered_by_itself_pays_for_nothing() {
        let mut guard = begun();
        let ping = frame(6, 0, 8);
        // Who takes an answer now and then, and pings in between.
        (0..=MANAGING).for_each(|_| guard.came(&ping, Millis(0)));
        assert_eq!(guard.flood(), Some(Flood::Managing));
        let mut guard = begun();
        for _ in 0..1_000 {
            guard.sent(64 * 1024);
            (0..8).for_each(|_| guard.came(&frame(8, 0, 4), Millis(0)));
        }
        assert_eq!(guard.flood(), None);
    }

    #[test]
    fn next_to_nothing_sent_pays_for_nothing() {
        let mut guard = begun();
        let more = [frame(8, 0, 4), frame(8, 0, 4)].concat();
        let sent = (0..MANAGING).find(|_| {
            guard.came(&more, Millis(0));
            guard.squeezed();
            guard.flood().is_some()
        });
        assert_eq!(sent, Some(MANAGING / 3));
    }

    #[test]
    fn floods_are_found_and_use_is_not() {
        for (kind, why, most) in [
            (2, Flood::Managing, MANAGING),
            (3, Flood::Resets, RESETS),
            (4, Flood::Managing, MANAGING),
            (6, Flood::Managing, MANAGING),
            (8, Flood::Managing, MANAGING),
            (9, Flood::Managing, MANAGING),
            (77, Flood::Managing, MANAGING),
        ] {
            let mut guard = begun();
            let one = frame(kind, 4, 4);
            (0..most).for_each(|_| guard.came(&one, Millis(0)));
            assert_eq!(guard.flood(), None, "{kind}");
            guard.came(&one, Millis(0));
            assert_eq!(guard.flood(), Some(why), "{kind}");
        }
        let mut guard = begun();
        for second in 0..1_000 {
            (0..50).for_each(|_| guard.came(&frame(6, 0, 8), Millis(second * 1_000)));
            (0..20).for_each(|_| guard.came(&frame(3, 0, 4), Millis(second * 1_000)));
        }
        for _ in 0..10_000 {
            // A client that takes its answers, and takes back every second request.
            guard.came(&[frame(1, 4, 30), frame(1, 4, 30), frame(8, 0, 4), frame(8, 0, 4)].concat(), Millis(0));
            guard.came(&frame(3, 0, 4), Millis(0));
            guard.sent(10);
            guard.answered();
        }
        (0..10_000).for_each(|_| guard.came(&frame(0, 0, 1), Millis(0)));
        assert_eq!(guard.flood(), None);
    }

    #[test]
    fn what_has_begun_is_known_until_it_has_ended() {
        let mut guard = begun();
        assert_eq!(guard.unfinished(), None);
        let headers = frame(1, 0, 10);
        guard.came(&headers[..5], Millis(7));
        assert_eq!(guard.unfinished(), Some(Millis(7)));
        guard.came(&headers[5..], Millis(9));
        assert_eq!(guard.unfinished(), Some(Millis(7)), "it has no end yet");
        guard.came(&frame(9, 0, 10), Millis(10));
        assert_eq!(guard.unfinished(), Some(Millis(7)));
        guard.came(&frame(9, 4, 10), Millis(11));
        assert_eq!(guard.unfinished(), None);
        guard.came(&frame(0, 0, 100)[..50], Millis(12));
        assert_eq!(guard.unfinished(), None, "a body has bounds of its own");
        // Each piece ends in the middle of a frame, and none is late.
        let mut guard = begun();
        let (one, cut) = (frame(1, 4, 10), 5);
        guard.came(&one[..cut], Millis(0));
        for n in 1..100 {
            guard.came(&[&one[cut..], &one[..cut]].concat(), Millis(n));
            assert_eq!(guard.unfinished(), Some(Millis(n)));
        }
    }
}
