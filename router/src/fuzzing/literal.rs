//! HTTP/1.1 read as its grammar stands in RFC 9112, and by nothing that the router uses: two readers that agree on every
//! byte cannot be made to disagree about where a message ends.

/// A head, as the grammar has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// What blanks part in its first line.
    pub(super) start: Vec<Vec<u8>>,
    /// Names in lower case, and values.
    pub(super) lines: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Unsaid,
    Length(u64),
    Chunked,
}

/// The lines of a text that each end in CRLF. None when it has another CR, LF or NUL.
fn lines(text: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        let (line, after) = rest.split_at(at);
        found.push(line);
        rest = after.get(2..)?;
    }
    let odd = |line: &&[u8]| line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    (rest.is_empty() && !found.iter().any(odd)).then_some(found)
}

fn field(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(begin, |last| last + 1);
    let fine = !name.is_empty() && name.iter().all(is_token);
    fine.then(|| Some((name.to_ascii_lowercase(), value.get(begin..end)?.to_vec())))?
}

/// Exactly one head, with the empty line behind it.
pub(super) fn head(bytes: &[u8], parts: usize) -> Option<Head> {
    let lines = lines(bytes)?;
    let (last, lines) = lines.split_last()?;
    let (start, lines) = lines.split_first().filter(|_| last.is_empty())?;
    let start: Vec<Vec<u8>> = start.splitn(parts, |byte| *byte == b' ').map(<[u8]>::to_vec).collect();
    let lines = lines.iter().map(|line| field(line)).collect::<Option<_>>()?;
    Some(Head { start, lines })
}

impl Head {
    fn values<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.lines.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// Where the body ends; nothing when readers may disagree about it.
    pub(super) fn framing(&self) -> Option<Framing> {
        let lengths: Vec<&[u8]> = self.values(b"content-length").collect();
        let codings: Vec<&[u8]> = self.values(b"transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Some(Framing::Unsaid),
            ([length], []) if length.iter().all(u8::is_ascii_digit) => {
                str::from_utf8(length).ok()?.parse().ok().map(Framing::Length)
            }
            ([], [coding]) => coding.eq_ignore_ascii_case(b"chunked").then_some(Framing::Chunked),
            _ => None,
        }
    }
}

/// A body in chunks with its trailers, and how many bytes it has on the wire; nothing when it is none, or not all of it.
pub(super) fn chunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut data, mut at) = (Vec::new(), 0);
    let line_end = |from: usize| Some(from + bytes.get(from..)?.windows(2).position(|two| two == b"\r\n")?);
    loop {
        let end = line_end(at)?;
        let size = bytes.get(at..end)?.split(|byte| *byte == b';').next()?;
        let size = u64::from_str_radix(str::from_utf8(size).ok()?.trim_end_matches([' ', '\t']), 16).ok()?;
        at = end + 2;
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        data.extend_from_slice(bytes.get(at..end)?);
        at = bytes.get(end..end + 2).filter(|two| two == b"\r\n").map(|_| end + 2)?;
    }
    while line_end(at)? != at {
        field(bytes.get(at..line_end(at)?)?)?;
        at = line_end(at)? + 2;
    }
    Some((data, at + 2))
}
