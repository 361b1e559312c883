//! A second pair of eyes on the framing of what a client sends.
//!
//! hyper reads heads leniently: it takes bare line feeds, drops a `Content-Length` that stands beside a
//! `Transfer-Encoding`, and folds equal `Content-Length` lines into one, so the handler cannot see what was wrong.
//! This guard looks at the same bytes before hyper does. It keeps no text and copies nothing; it only tracks where one
//! message ends and the next begins, and notices what RFC 9112 §2.2, §6 and §7 make ambiguous. It also knows whether a
//! connection stands between two messages, which is when it may be parked.

use memchr::memchr;

/// What made a message ambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A line of the head or of the chunked framing ended in LF without CR.
    BareLineFeed,
    /// `Content-Length` and `Transfer-Encoding` in one message.
    LengthAndTransferEncoding,
    /// More than one `Content-Length` line, equal or not.
    RepeatedLength,
    /// A `Content-Length` that is not a plain decimal number.
    BadLength,
    /// More than one `Transfer-Encoding` line, or one that is not exactly `chunked`.
    BadTransferEncoding,
    /// A header line that begins with white space, or has white space before its colon.
    BadHeaderLine,
    /// A chunk size that is not a plain hexadecimal number, or chunk data not followed by CRLF.
    BadChunk,
    /// A request line with `#`, which hyper would cut off silently, or with bytes that are not ASCII.
    BadTarget,
}

/// Where in a message the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the request line; empty lines are skipped here.
    Start,
    /// In the request line or a header line.
    Head,
    /// In a body of known length.
    Body(u64),
    /// In a chunk-size line.
    ChunkSize,
    /// In chunk data.
    ChunkData(u64),
    /// At the CRLF after chunk data.
    ChunkEnd,
    /// In the trailer section.
    Trailers,
}

/// Tracks the framing of one connection's incoming bytes.
#[derive(Debug)]
pub struct FramingGuard {
    place: Place,
    /// The part of a line that arrived in an earlier read; bounded by [`MAX_LINE_KEPT`].
    partial: Vec<u8>,
    /// Whether the request line of the current head has been seen.
    seen_request_line: bool,
    /// Its length, as far as it was received.
    request_line: usize,
    length: Option<u64>,
    chunked: bool,
    violation: Option<Violation>,
    heads: u64,
}

/// Bytes of an incomplete line that are kept. Only the beginning of a line matters here: no line whose meaning counts
/// is longer, and longer ones are only looked at for how they end.
const MAX_LINE_KEPT: usize = 256;

/// What one call of [`FramingGuard::feed`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// All of it is fine.
    Fine,
    /// A head turned out to be ambiguous: bytes beyond `end`, where that head ends, must not be used.
    BadHead {
        /// Where the head ends in the bytes fed.
        end: usize,
        /// What is wrong with it.
        violation: Violation,
    },
    /// A body's framing is broken; the connection cannot be used any more.
    BadBody {
        /// Up to where the bytes fed are good. The body is not whole there.
        end: usize,
        /// What is wrong behind it.
        violation: Violation,
    },
}

impl Default for FramingGuard {
    fn default() -> Self {
        Self {
            place: Place::Start,
            partial: Vec::new(),
            seen_request_line: false,
            request_line: 0,
            length: None,
            chunked: false,
            violation: None,
            heads: 0,
        }
    }
}

impl FramingGuard {
    /// How many whole heads have been seen.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the connection stands between two messages, with nothing of the next one received.
    pub fn between_messages(&self) -> bool {
        self.place == Place::Start && self.partial.is_empty()
    }

    /// Whether part of a head has been received.
    pub fn in_head(&self) -> bool {
        self.place == Place::Head || (self.place == Place::Start && !self.partial.is_empty())
    }

    /// Bytes received of the current head's request line.
    pub fn request_line(&self) -> usize {
        self.request_line
    }

    /// Whether part of a body is still to come.
    pub fn in_body(&self) -> bool {
        !matches!(self.place, Place::Start | Place::Head)
    }

    /// Looks at bytes just received. After anything but [`Fed::Fine`] it must not be fed again.
    pub fn feed(&mut self, bytes: &[u8]) -> Fed {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (in_body, end) = (self.in_body(), at);
            match self.place {
                // RFC 9112 §2.2: empty lines before a request line are skipped, however they end.
                Place::Start if self.partial.is_empty() && matches!(rest.first(), Some(b'\r' | b'\n')) => at += 1,
                Place::Start | Place::Head => {
                    if !self.seen_request_line {
                        if self.partial.is_empty() {
                            self.request_line = 0;
                        }
                        self.check_target(rest);
                    }
                    at += self.take_line(rest, Self::head_line);
                    if !self.in_head()
                        && let Some(violation) = self.violation
                    {
                        return Fed::BadHead { end: at, violation };
                    }
                }
                Place::Body(left) => at += self.skip(rest.len(), left, Place::Body, Place::Start),
                Place::ChunkData(left) => at += self.skip(rest.len(), left, Place::ChunkData, Place::ChunkEnd),
                Place::ChunkSize => at += self.take_line(rest, Self::chunk_size_line),
                Place::ChunkEnd => at += self.take_line(rest, Self::chunk_end_line),
                Place::Trailers => at += self.take_line(rest, Self::trailer_line),
            }
            // Asked before: the line that is wrong may have ended the body.
            if in_body && let Some(violation) = self.violation {
                return Fed::BadBody { end, violation };
            }
        }
        Fed::Fine
    }

    /// Skips body bytes; returns how many of `available` they were.
    fn skip(&mut self, available: usize, left: u64, same: fn(u64) -> Place, next: Place) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        let left = left - taken as u64;
        if left == 0 {
            self.enter(next);
        } else {
            self.place = same(left);
        }
        taken
    }

    fn enter(&mut self, place: Place) {
        if place == Place::Start {
            self.seen_request_line = false;
            self.length = None;
            self.chunked = false;
        }
        self.place = place;
    }

    /// Hands one line, without its end, to `handle`; returns how many bytes it took. An incomplete line is kept.
    fn take_line(&mut self, rest: &[u8], handle: fn(&mut Self, &[u8])) -> usize {
        let Some(end) = memchr(b'\n', rest) else {
            let room = MAX_LINE_KEPT.saturating_sub(self.partial.len());
            match rest.get(..room) {
                // The last byte decides whether the line ends in CRLF: keep it in place of the one before.
                Some(head) if !rest.is_empty() => {
                    self.partial.extend_from_slice(head);
                    if let (Some(kept), Some(last)) = (self.partial.last_mut(), rest.last()) {
                        *kept = *last;
                    }
                    self.line_too_long();
                }
                _ => self.partial.extend_from_slice(rest),
            }
            return rest.len();
        };
        let line = rest.get(..end).unwrap_or_default();
        if self.partial.is_empty() {
            let Some(line) = line.strip_suffix(b"\r") else {
                self.note(Violation::BareLineFeed);
                handle(self, line);
                return end + 1;
            };
            handle(self, line);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(line);
            if whole.last() == Some(&b'\r') {
                whole.pop();
            } else {
                self.note(Violation::BareLineFeed);
            }
            handle(self, &whole);
            whole.clear();
            self.partial = whole;
        }
        end + 1
    }

    /// What is said about framing in more bytes than are kept would be read otherwise by hyper, which keeps all.
    fn line_too_long(&mut self) {
        match self.place {
            Place::ChunkSize | Place::ChunkEnd => self.note(Violation::BadChunk),
            Place::Head if strip_name(&self.partial, b"content-length").is_some() => self.note(Violation::BadLength),
            Place::Head if strip_name(&self.partial, b"transfer-encoding").is_some() => {
                self.note(Violation::BadTransferEncoding);
            }
            Place::Start | Place::Head | Place::Body(_) | Place::ChunkData(_) | Place::Trailers => {}
        }
    }

    fn note(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// Looks at what there is of the request line: all of it passes here, however it is cut.
    fn check_target(&mut self, rest: &[u8]) {
        let line = rest.get(..memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
        self.request_line += line.len();
        if !line.is_ascii() || memchr(b'#', line).is_some() {
            self.note(Violation::BadTarget);
        }
    }

    fn head_line(&mut self, line: &[u8]) {
        if !self.seen_request_line {
            if !line.is_empty() {
                self.seen_request_line = true;
                self.place = Place::Head;
            }
            return;
        }
        match line.first() {
            None => self.head_ends(),
            Some(b' ' | b'\t') => self.note(Violation::BadHeaderLine),
            Some(b'c' | b'C' | b't' | b'T') => self.framing_header(line),
            Some(_) => {}
        }
    }

    fn framing_header(&mut self, line: &[u8]) {
        if let Some(rest) = strip_name(line, b"content-length") {
            let Some(value) = rest.strip_prefix(b":") else { return self.malformed_if_blank(rest) };
            if self.length.is_some() {
                self.note(Violation::RepeatedLength);
            }
            match decimal(value.trim_ascii()) {
                // hyper takes none near 2^64, and calls such a head too large.
                Some(length) if length <= u64::MAX / 2 => self.length = Some(length),
                Some(_) | None => self.note(Violation::BadLength),
            }
        } else if let Some(rest) = strip_name(line, b"transfer-encoding") {
            let Some(value) = rest.strip_prefix(b":") else { return self.malformed_if_blank(rest) };
            if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                self.note(Violation::BadTransferEncoding);
            }
            self.chunked = true;
        }
    }

    /// White space between a framing header's name and its colon.
    fn malformed_if_blank(&mut self, rest: &[u8]) {
        if rest.first().is_none_or(u8::is_ascii_whitespace) {
            self.note(Violation::BadHeaderLine);
        }
    }

    fn head_ends(&mut self) {
        self.heads += 1;
        if self.chunked && self.length.is_some() {
            self.note(Violation::LengthAndTransferEncoding);
        }
        let place = match self.length {
            _ if self.chunked => Place::ChunkSize,
            Some(length) if length > 0 => Place::Body(length),
            _ => Place::Start,
        };
        self.enter(place);
    }

    fn chunk_size_line(&mut self, line: &[u8]) {
        let digits = line.split(|b| *b == b';').next().unwrap_or_default();
        // White space around the size is "bad" in RFC 9112 §7.1.1 only before an extension.
        match hexadecimal(digits.trim_ascii_end()) {
            Some(0) => self.place = Place::Trailers,
            Some(size) => self.place = Place::ChunkData(size),
            None => self.note(Violation::BadChunk),
        }
    }

    fn chunk_end_line(&mut self, line: &[u8]) {
        if line.is_empty() {
            self.place = Place::ChunkSize;
        } else {
            self.note(Violation::BadChunk);
        }
    }

    fn trailer_line(&mut self, line: &[u8]) {
        if line.is_empty() {
            self.enter(Place::Start);
        }
    }
}

fn strip_name<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = line.split_at_checked(name.len())?;
    head.eq_ignore_ascii_case(name).then_some(rest)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    number(digits, 10)
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    number(digits, 16)
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let value = char::from(*digit).to_digit(radix)?;
        sum.checked_mul(u64::from(radix))?.checked_add(u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bytes: &str) -> Fed {
        FramingGuard::default().feed(bytes.as_bytes())
    }

    fn bad_head(bytes: &str, wanted: Violation) {
        match verdict(bytes) {
            Fed::BadHead { violation, .. } => assert_eq!(violation, wanted, "{bytes:?}"),
            other @ (Fed::Fine | Fed::BadBody { .. }) => panic!("{bytes:?} gave {other:?}"),
        }
    }

    #[test]
    fn plain_messages_are_fine_and_leave_it_between_messages() {
        for bytes in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\ncontent-length:0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n\nGET / HTTP/1.1\r\nCookie: x\r\nTE: trailers\r\n\r\n",
        ] {
            let mut guard = FramingGuard::default();
            assert_eq!(guard.feed(bytes.as_bytes()), Fed::Fine, "{bytes:?}");
            assert!(guard.between_messages(), "{bytes:?}");
        }
    }

    #[test]
    fn ambiguous_heads_are_found() {
        use Violation as V;
        bad_head("GET / HTTP/1.1\nHost: a\r\n\r\n", V::BareLineFeed);
        bad_head("GET / HTTP/1.1\r\nHost: a\n\r\n", V::BareLineFeed);
        bad_head("GET / HTTP/1.1\r\nHost: a\r\n\n", V::BareLineFeed);
        bad_head(
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            V::LengthAndTransferEncoding,
        );
        bad_head(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ncontent-length: 3\r\n\r\n",
            V::LengthAndTransferEncoding,
        );
        bad_head("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", V::RepeatedLength);
        bad_head("POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n", V::BadLength);
        bad_head("POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n", V::BadLength);
        bad_head("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", V::BadLength);
        bad_head("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", V::BadLength);
        bad_head("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", V::BadTransferEncoding);
        bad_head(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            V::BadTransferEncoding,
        );
        bad_head("POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n", V::BadHeaderLine);
        bad_head("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", V::BadHeaderLine);
        bad_head("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", V::BadTarget);
        bad_head("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", V::BadTarget);
    }

    #[test]
    fn broken_chunks_are_found() {
        for body in [
            "x\r\n",
            "\r\n",
            "3\nabc",
            "3\r\nabcd\r\n",
            "-1\r\n",
            "0x3\r\n",
            "3 3\r\n",
            "fffffffffffffffff\r\n",
            "0\r\n\n",
        ] {
            let bytes = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            assert!(matches!(verdict(&bytes), Fed::BadBody { .. }), "{body:?} gave {:?}", verdict(&bytes));
        }
    }

    #[test]
    fn a_broken_body_is_good_up_to_the_line_that_is_wrong() {
        let good = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        let bad = format!("{good}x\r\n0\r\n\r\n");
        assert_eq!(verdict(&bad), Fed::BadBody { end: good.len(), violation: Violation::BadChunk });
    }

    #[test]
    fn nothing_beyond_a_bad_head_is_let_through() {
        let head = "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bytes = format!("{head}0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n");
        match verdict(&bytes) {
            Fed::BadHead { end, .. } => assert_eq!(end, head.len()),
            other @ (Fed::Fine | Fed::BadBody { .. }) => panic!("{other:?}"),
        }
    }

    #[test]
    fn framing_lines_longer_than_what_is_kept_are_refused() {
        let blanks = " ".repeat(300);
        for (head, wanted) in [
            (format!("Content-Length:{blanks}100"), Violation::BadLength),
            (format!("transfer-encoding:{blanks}chunked"), Violation::BadTransferEncoding),
        ] {
            let mut guard = FramingGuard::default();
            assert_eq!(guard.feed(b"POST / HTTP/1.1\r\nHost: a\r\n"), Fed::Fine);
            assert_eq!(guard.feed(head.as_bytes()), Fed::Fine);
            let fed = guard.feed(b"\r\n\r\n");
            assert!(matches!(fed, Fed::BadHead { violation, .. } if violation == wanted), "{head:?} gave {fed:?}");
        }
        let mut guard = FramingGuard::default();
        assert_eq!(guard.feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), Fed::Fine);
        let fed = guard.feed(format!("5;{}", "x".repeat(400)).as_bytes());
        assert!(matches!(fed, Fed::BadBody { .. }), "{fed:?}");
    }

    #[test]
    fn long_lines_over_many_reads_keep_their_end() {
        let mut guard = FramingGuard::default();
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(3000), "b".repeat(3000));
        for chunk in long.as_bytes().chunks(100) {
            assert_eq!(guard.feed(chunk), Fed::Fine);
            assert!(guard.partial.len() <= MAX_LINE_KEPT);
        }
        assert!(guard.between_messages());
    }

    proptest::proptest! {
        /// However the bytes are cut into reads, the verdict and the place are the same.
        #[test]
        fn the_verdict_does_not_depend_on_how_bytes_arrive(
            text in "(GET|POST) / HTTP/1.1\r?\n((Content-Length: [0-9]{1,2}|Transfer-Encoding: chunked|X: y)\r?\n){0,3}\r?\n[0-9a-f\r\n;]{0,40}",
            cuts in proptest::collection::vec(1_usize..12, 0..40),
        ) {
            let bytes = text.as_bytes();
            let mut whole = FramingGuard::default();
            let wanted = whole.feed(bytes);
            let mut guard = FramingGuard::default();
            let (mut at, mut got) = (0, Fed::Fine);
            let mut cuts = cuts.into_iter();
            while at < bytes.len() && got == Fed::Fine {
                let end = (at + cuts.next().unwrap_or(1)).min(bytes.len());
                got = match guard.feed(&bytes[at..end]) {
                    Fed::BadHead { end, violation } => Fed::BadHead { end: at + end, violation },
                    other @ (Fed::Fine | Fed::BadBody { .. }) => other,
                };
                at = end;
            }
            // What is good in the last read depends on where it began.
            let without_end = |fed| match fed {
                Fed::BadBody { violation, .. } => Fed::BadBody { end: 0, violation },
                other @ (Fed::Fine | Fed::BadHead { .. }) => other,
            };
            proptest::prop_assert_eq!(without_end(got), without_end(wanted));
            proptest::prop_assert_eq!(guard.place, whole.place);
        }
    }
}
