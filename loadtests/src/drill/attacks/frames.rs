//! HTTP/2 as an attacker speaks it: any frame, whether it makes sense or not.

/// Kinds of frames (RFC 9113 §6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// What a frame's head has.
const HEAD: usize = 9;
/// The setting of a stream's first window.
const INITIAL_WINDOW: u8 = 4;

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.extend_from_slice(&[a, b, c, kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What a client begins with: windows of this size for answers.
pub(super) fn preface(window: u32) -> Vec<u8> {
    let [a, b, c, d] = window.to_be_bytes();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[0, INITIAL_WINDOW, a, b, c, d])].concat()
}

/// The window of a stream, or of the connection, becomes so much larger.
pub(super) fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// A client's stream, counted from nought.
pub(super) const fn stream(number: u32) -> u32 {
    2 * (number % (1 << 29)) + 1
}

/// The fields of a request, none of which goes to a table.
pub(super) fn request(method: &str, path: &str) -> Vec<u8> {
    // Of the static table: `:scheme: http`, and the names of `:method`, `:path` and `:authority`.
    let mut fields = vec![0x86];
    for (name, value) in [(2, method), (4, path), (1, "prey.example.com")] {
        fields.push(name);
        text(value.as_bytes(), &mut fields);
    }
    fields
}

/// A field that does not go to a table.
pub(super) fn field(name: &[u8], value: &[u8], fields: &mut Vec<u8>) {
    fields.push(0);
    text(name, fields);
    text(value, fields);
}

/// A field that goes to the table, where it is [`LAST`] until another one does.
pub(super) fn kept_field(name: &[u8], value: &[u8], fields: &mut Vec<u8>) {
    fields.push(0x40);
    text(name, fields);
    text(value, fields);
}

/// The field that went to the table last.
pub(super) const LAST: u8 = 0x80 + 62;

/// A string of any length, as it is (RFC 7541 §5.2).
fn text(bytes: &[u8], fields: &mut Vec<u8>) {
    let mut rest = bytes.len();
    if rest < 127 {
        fields.push(rest as u8);
    } else {
        fields.push(127);
        rest -= 127;
        while rest >= 128 {
            fields.push((rest % 128) as u8 | 0x80);
            rest /= 128;
        }
        fields.push(rest as u8);
    }
    fields.extend_from_slice(bytes);
}

/// A whole request without a body.
pub(super) fn get(number: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &request("GET", path))
}

/// The head of a request whose body comes.
pub(super) fn post(number: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream(number), &request("POST", path))
}

/// Fields of any size: as many frames as that takes.
pub(super) fn list(number: u32, fields: &[u8]) -> Vec<u8> {
    let pieces: Vec<&[u8]> = fields.chunks(16 * 1024).collect();
    let last = pieces.len().saturating_sub(1);
    let frames = pieces.iter().enumerate().map(|(n, piece)| {
        let (kind, flags) = if n == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
        frame(kind, if n == last { flags | END_HEADERS } else { flags }, stream(number), piece)
    });
    frames.collect::<Vec<_>>().concat()
}

/// What a router says on a connection, as far as it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// The code of GOAWAY and of RST_STREAM.
    pub(super) code: u32,
}

/// Finds the frames in what a router sends.
#[derive(Debug, Default)]
pub(super) struct Reader {
    kept: Vec<u8>,
    skip: usize,
}

impl Reader {
    /// Takes what came, and tells each frame of it. Payloads are passed over but for codes.
    pub(super) fn take(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Said)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
            let wanted = self.wanted();
            let taken = (wanted - self.kept.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(taken);
            self.kept.extend_from_slice(head);
            bytes = rest;
            if self.kept.len() < self.wanted() {
                continue;
            }
            tell(self.said());
            self.skip = self.length().saturating_sub(self.kept.len() - HEAD);
            self.kept.clear();
        }
    }

    /// How much of the frame that has begun is looked at.
    fn wanted(&self) -> usize {
        match self.kept.get(3) {
            Some(&GOAWAY) if self.kept.len() >= HEAD => HEAD + 8.min(self.length()),
            Some(&RST_STREAM) if self.kept.len() >= HEAD => HEAD + 4.min(self.length()),
            Some(_) | None => HEAD,
        }
    }

    fn length(&self) -> usize {
        match self.kept.get(..3) {
            Some(&[a, b, c]) => u32::from_be_bytes([0, a, b, c]) as usize,
            Some(_) | None => 0,
        }
    }

    fn said(&self) -> Said {
        let number = |at: usize| match self.kept.get(at..at + 4) {
            Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
            Some(_) | None => 0,
        };
        let byte = |at: usize| self.kept.get(at).copied().unwrap_or_default();
        let kind = byte(3);
        let code = number(if kind == GOAWAY { HEAD + 4 } else { HEAD });
        Said { kind, flags: byte(4), stream: number(5), code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_they_come() {
        let bytes = [
            frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]),
            frame(DATA, 1, 5, &[1; 300]),
            frame(RST_STREAM, 0, 7, &[0, 0, 0, 8]),
            frame(GOAWAY, 0, 0, &[0, 0, 0, 9, 0, 0, 0, 11, b'x', b'y']),
            frame(SETTINGS, ACK, 0, &[]),
        ]
        .concat();
        let expected =
            [(SETTINGS, 0, 0, 0), (DATA, 1, 5, 0), (RST_STREAM, 0, 7, 8), (GOAWAY, 0, 0, 11), (SETTINGS, ACK, 0, 0)];
        for size in 1..bytes.len() {
            let (mut reader, mut seen) = (Reader::default(), Vec::new());
            for piece in bytes.chunks(size) {
                reader.take(piece, |said| seen.push((said.kind, said.flags, said.stream, said.code)));
            }
            assert_eq!(seen, expected, "{size}");
        }
    }

    #[test]
    fn lists_have_one_beginning_and_one_end() {
        let bytes = list(1, &vec![0; 40_000]);
        let (mut reader, mut seen) = (Reader::default(), Vec::new());
        reader.take(&bytes, |said| seen.push((said.kind, said.flags)));
        assert_eq!(seen, [(HEADERS, END_STREAM), (CONTINUATION, 0), (CONTINUATION, END_HEADERS)]);
        let mut long = Vec::new();
        text(&[b'x'; 3_900], &mut long);
        assert_eq!(long.get(..3), Some(&[0x7f, 0xbd, 0x1d][..]));
    }
}
