//! The header fields of a message.
//!
//! A message's head is kept as it was received, in one piece, with a table of where its lines are. A request has a
//! dozen of them, and most are only looked at for their names and passed on: a map would hash each name and keep each
//! value on its own, which costs more than all decisions on the request together. Names are found by looking along the
//! table, first by length. Lines that are passed on are copied out together where they lie together.

use bytes::Bytes;

/// Declares the fields that the router itself knows: variant, and name twice.
macro_rules! known {
    ($($variant:ident $name:literal $bytes:literal;)*) => {
        /// A field that the router itself knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Known {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
            /// Any other.
            Other,
        }

        impl Known {
            /// The name, in lower case.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other => "",
                }
            }

            /// What a name in lower case is.
            pub(crate) fn of(name: &[u8]) -> Self {
                match name {
                    $($bytes => Self::$variant,)*
                    _ => Self::Other,
                }
            }
        }

        #[cfg(test)]
        const KNOWN: &[Known] = &[$(Known::$variant,)*];
    };
}

known! {
    Te "te" b"te";
    Host "host" b"host";
    Date "date" b"date";
    Cookie "cookie" b"cookie";
    Expect "expect" b"expect";
    Upgrade "upgrade" b"upgrade";
    Forwarded "forwarded" b"forwarded";
    Connection "connection" b"connection";
    KeepAlive "keep-alive" b"keep-alive";
    XRequestId "x-request-id" b"x-request-id";
    ContentLength "content-length" b"content-length";
    Http2Settings "http2-settings" b"http2-settings";
    XForwardedFor "x-forwarded-for" b"x-forwarded-for";
    XForwardedHost "x-forwarded-host" b"x-forwarded-host";
    ProxyConnection "proxy-connection" b"proxy-connection";
    XForwardedProto "x-forwarded-proto" b"x-forwarded-proto";
    TransferEncoding "transfer-encoding" b"transfer-encoding";
    ProxyAuthenticate "proxy-authenticate" b"proxy-authenticate";
    ProxyAuthorization "proxy-authorization" b"proxy-authorization";
    XGridrouterMirror "x-gridrouter-mirror" b"x-gridrouter-mirror";
    XGridrouterReject "x-gridrouter-reject" b"x-gridrouter-reject";
}

/// Where a line is in the text.
#[derive(Debug, Clone, Copy)]
struct Line {
    name: u32,
    value: u32,
    value_len: u32,
    name_len: u16,
    known: Known,
    /// Whether name and value are parted by `: ` and ended by CRLF, so that the line can be copied as it is.
    plain: bool,
}

impl Line {
    /// A plain one that begins there. None where that, or its length, is more than can be noted.
    fn plain(begin: usize, name_len: usize, value_len: usize) -> Option<Self> {
        Some(Self {
            name: u32::try_from(begin).ok()?,
            value: u32::try_from(begin + name_len + 2).ok()?,
            value_len: u32::try_from(value_len).ok()?,
            name_len: u16::try_from(name_len).ok()?,
            known: Known::Other,
            plain: true,
        })
    }

    /// The same line so many bytes further on.
    #[inline]
    fn moved_by(self, bytes: u32) -> Self {
        Self { name: self.name.saturating_add(bytes), value: self.value.saturating_add(bytes), ..self }
    }

    fn name(self, text: &[u8]) -> &[u8] {
        let begin = self.name as usize;
        text.get(begin..begin + usize::from(self.name_len)).unwrap_or_default()
    }

    fn value(self, text: &[u8]) -> &[u8] {
        let begin = self.value as usize;
        text.get(begin..begin + self.value_len as usize).unwrap_or_default()
    }

    /// Where the line ends, its CRLF included, if it is plain.
    fn end(self) -> usize {
        self.value as usize + self.value_len as usize + 2
    }
}

/// Makes a name lower case, eight bytes at a time. Returns whether it has an underscore.
fn lower(name: &mut [u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut underscores = 0;
    let mut eight = |bytes: [u8; 8]| {
        let all = u64::from_le_bytes(bytes);
        // The top bit of some byte is set if any is an underscore.
        let other = all ^ (ONES * u64::from(b'_'));
        underscores |= other.wrapping_sub(ONES) & !other & (ONES << 7);
        // The top bit of each byte tells whether it is A or above, and whether it is above Z.
        let above = |limit: u64| (all & !(ONES << 7)).wrapping_add(ONES * limit);
        let upper = above(0x80 - u64::from(b'A')) & !above(0x7f - u64::from(b'Z')) & !all & (ONES << 7);
        (all | upper >> 2).to_le_bytes()
    };
    if name.len() < 8 {
        name.make_ascii_lowercase();
        return name.contains(&b'_');
    }
    for chunk in name.as_chunks_mut().0 {
        *chunk = eight(*chunk);
    }
    // What is left over, together with some that are lower case by now.
    if let Some(last) = name.last_chunk_mut() {
        *last = eight(*last);
    }
    underscores != 0
}

/// A line, and the beginning of another one, made once for many messages.
#[derive(Debug)]
pub(crate) struct TwoLines {
    text: Box<[u8]>,
    first: Line,
    /// As far as it is there.
    second: Line,
}

impl TwoLines {
    /// Of fields that are not [`Known`], with the first one's value and what the second one's begins with. None if they are too
    /// long.
    pub(crate) fn new(first: &str, value: &[u8], second: &str, begins: &[u8]) -> Option<Self> {
        let mut text = format!("{first}: ").into_bytes();
        text.extend_from_slice(value);
        text.extend_from_slice(b"\r\n");
        let first = Line::plain(0, first.len(), value.len())?;
        let second_begins = text.len();
        text.extend_from_slice(second.as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(begins);
        Some(Self { text: text.into(), first, second: Line::plain(second_begins, second.len(), begins.len())? })
    }
}

/// The header fields of a message, in the order received.
#[derive(Debug, Default, Clone)]
pub struct Fields {
    text: Vec<u8>,
    lines: Vec<Line>,
    /// Whether some name has, or had, an underscore.
    underscores: bool,
}

impl Fields {
    /// None.
    pub const fn new() -> Self {
        Self { text: Vec::new(), lines: Vec::new(), underscores: false }
    }

    /// None, with room for lines of so many bytes together.
    pub(crate) fn with_room(lines: usize, bytes: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), lines: Vec::with_capacity(lines), underscores: false }
    }

    /// Adds a line of a field that is not [`Known`], with a value that is written in place. Neither may contain what
    /// ends a line.
    pub(crate) fn append_written(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.text.len();
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b": ");
        write(&mut self.text);
        self.text.extend_from_slice(b"\r\n");
        self.note_written(begin, name.len());
    }

    /// Adds two lines at once, as far as they are in `lines`, and the rest of the second's value, which is written in
    /// place and has at most so many bytes.
    pub(crate) fn append_two(&mut self, lines: &TwoLines, most: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let Ok(begin) = u32::try_from(self.text.len()) else { return };
        self.text.reserve(lines.text.len() + most + 2);
        self.text.extend_from_slice(&lines.text);
        let before = self.text.len();
        write(&mut self.text);
        let written = self.text.len().saturating_sub(before);
        self.text.extend_from_slice(b"\r\n");
        let mut second = lines.second.moved_by(begin);
        second.value_len = second.value_len.saturating_add(written as u32);
        self.lines.extend_from_slice(&[lines.first.moved_by(begin), second]);
    }

    /// Notes the line that begins there and ends with the text.
    fn note_written(&mut self, begin: usize, name_len: usize) {
        let value_len = self.text.len().saturating_sub(begin + name_len + 4);
        self.lines.extend(Line::plain(begin, name_len, value_len));
    }

    /// Those of a head: `head` is all of it, `lines` are parts of it. Room is made for `more` lines.
    ///
    /// Of a line that is not a part of `head` nothing is kept.
    pub(crate) fn of_head(head: &[u8], lines: &[httparse::Header<'_>], more: usize) -> Self {
        // Without the empty line at its end: lines that are added are neighbours of the last then.
        let head = if head.ends_with(b"\r\n\r\n") { head.get(..head.len() - 2).unwrap_or(head) } else { head };
        let mut text = Vec::with_capacity(head.len() + more * 48);
        text.extend_from_slice(head);
        let mut fields = Self { text, lines: Vec::with_capacity(lines.len() + more), underscores: false };
        let base = head.as_ptr() as usize;
        for line in lines {
            let name = (line.name.as_ptr() as usize).wrapping_sub(base);
            let value = if line.value.is_empty() {
                name + line.name.len() + 2
            } else {
                (line.value.as_ptr() as usize).wrapping_sub(base)
            };
            fields.note(name, line.name.len(), value, line.value.len());
        }
        fields
    }

    fn note(&mut self, name: usize, name_len: usize, value: usize, value_len: usize) {
        let parting = name + name_len;
        let Some((bytes, rest)) = self.text.get_mut(name..).and_then(|line| line.split_at_mut_checked(name_len)) else {
            return;
        };
        self.underscores |= lower(bytes);
        let known = Known::of(bytes);
        let plain = value == parting + 2
            && rest.starts_with(b": ")
            && rest.get(value_len + 2..).is_some_and(|end| end.starts_with(b"\r\n"));
        let (Ok(name), Ok(value), Ok(value_len), Ok(name_len)) =
            (u32::try_from(name), u32::try_from(value), u32::try_from(value_len), u16::try_from(name_len))
        else {
            return;
        };
        self.lines.push(Line { name, value, value_len, name_len, known, plain });
    }

    /// The first value of a field; `name` in lower case.
    pub fn get(&self, name: impl AsRef<str>) -> Option<&[u8]> {
        let name = name.as_ref().as_bytes();
        self.lines.iter().find(|line| self.is_named(line, name)).map(|line| line.value(&self.text))
    }

    /// The values of a field, line by line; `name` in lower case.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> + Clone {
        let name = name.as_bytes();
        self.lines.iter().filter(move |line| self.is_named(line, name)).map(|line| line.value(&self.text))
    }

    fn is_named(&self, line: &Line, name: &[u8]) -> bool {
        usize::from(line.name_len) == name.len() && line.name(&self.text) == name
    }

    /// The values of a field, line by line.
    pub fn known(&self, known: Known) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
        self.lines.iter().filter(move |line| line.known == known).map(|line| line.value(&self.text))
    }

    /// Whether there is a line of this field.
    pub fn has(&self, known: Known) -> bool {
        self.lines.iter().any(|line| line.known == known)
    }

    /// How many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Tells each line: what it is, its name, and its value, which is a part of what all of them share.
    pub(crate) fn share(self, mut each: impl FnMut(Known, &[u8], Bytes)) {
        let text = Bytes::from(self.text);
        for line in &self.lines {
            let value = line.value as usize..line.value as usize + line.value_len as usize;
            if value.end <= text.len() {
                each(line.known, line.name(&text), text.slice(value));
            }
        }
    }

    /// All lines: what they are, name and value.
    pub fn iter(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.lines.iter().map(|line| (line.known, line.name(&self.text), line.value(&self.text)))
    }

    /// Adds a line; `name` in lower case. Neither may contain what ends a line, which the types that configuration is
    /// made of see to.
    pub fn append(&mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) {
        self.append_parts(name.as_ref(), &[value.as_ref()]);
    }

    /// Adds a line with a value made of several parts.
    pub(crate) fn append_parts(&mut self, name: &str, parts: &[&[u8]]) {
        let begin = self.text.len();
        let value_len = parts.iter().map(|part| part.len()).sum::<usize>();
        self.text.reserve(name.len() + value_len + 4);
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b": ");
        for part in parts {
            self.text.extend_from_slice(part);
        }
        self.text.extend_from_slice(b"\r\n");
        self.note(begin, name.len(), begin + name.len() + 2, value_len);
    }

    /// Adds the lines of others.
    pub(crate) fn extend(&mut self, others: &Self) {
        let Ok(by) = u32::try_from(self.text.len()) else { return };
        self.text.extend_from_slice(&others.text);
        let moved = |line: &Line| Line { name: line.name + by, value: line.value + by, ..*line };
        self.lines.extend(others.lines.iter().map(moved));
        self.underscores |= others.underscores;
    }

    /// Adds a line of the field `to` with the first value of `from`, if there is one.
    pub(crate) fn copy(&mut self, from: Known, to: Known) {
        let Some(line) = self.lines.iter().find(|line| line.known == from) else { return };
        let (from, len, begin, name) = (line.value as usize, line.value_len as usize, self.text.len(), to.as_str());
        self.text.reserve(name.len() + len + 4);
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b": ");
        self.text.extend_from_within(from..from + len);
        self.text.extend_from_slice(b"\r\n");
        self.note(begin, name.len(), begin + name.len() + 2, len);
    }

    /// Makes a field have this one value; `name` in lower case.
    pub fn insert(&mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) {
        self.remove(name.as_ref());
        self.append(name, value);
    }

    /// Makes a field have this one value.
    pub(crate) fn set(&mut self, known: Known, value: &[u8]) {
        self.retain(|line, _| line != known);
        self.append(known.as_str(), value);
    }

    /// Removes a field; `name` in lower case.
    pub fn remove(&mut self, name: impl AsRef<str>) {
        let name = name.as_ref().as_bytes();
        self.retain(|_, line| line != name);
    }

    /// Keeps the lines for which `keep` says so, told what they are and their names.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Known, &[u8]) -> bool) {
        let text = &self.text;
        self.lines.retain(|line| keep(line.known, line.name(text)));
    }

    /// Whether some name has, or had, an underscore: known from reading the names, so that nobody has to look again.
    pub(crate) fn has_underscores(&self) -> bool {
        self.underscores
    }

    /// Removes the lines whose names have one.
    #[cold]
    pub(crate) fn drop_underscores(&mut self) {
        self.retain(|_, name| !name.contains(&b'_'));
        self.underscores = false;
    }

    /// Writes all lines but those of which `skip` says so. Neighbours are copied together.
    pub(crate) fn write(&self, out: &mut Vec<u8>, skip: impl Fn(Known) -> bool) {
        let mut run = 0..0;
        for line in &self.lines {
            if skip(line.known) {
                continue;
            }
            if line.plain && run.end == line.name as usize {
                run.end = line.end();
                continue;
            }
            out.extend_from_slice(self.text.get(run).unwrap_or_default());
            run = 0..0;
            if line.plain {
                run = line.name as usize..line.end();
            } else {
                for part in [line.name(&self.text), b": ", line.value(&self.text), b"\r\n"] {
                    out.extend_from_slice(part);
                }
            }
        }
        out.extend_from_slice(self.text.get(run).unwrap_or_default());
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Self {
        let mut fields = Self::new();
        for (name, value) in lines {
            fields.append(name, value);
        }
        fields
    }
}

/// Equal when the same names have the same values in the same order.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        let sorted = |fields: &Self| {
            let mut lines: Vec<_> = fields.iter().map(|(_, name, value)| (name.to_owned(), value.to_owned())).collect();
            lines.sort_by(|a, b| a.0.cmp(&b.0));
            lines
        };
        sorted(self) == sorted(other)
    }
}

impl Eq for Fields {}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn parsed(head: &str) -> Fields {
        let mut lines = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut lines);
        assert!(request.parse(head.as_bytes()).unwrap().is_complete());
        Fields::of_head(head.as_bytes(), request.headers, 2)
    }

    fn written(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write(&mut out, |_| false);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_found_and_passed_on() {
        let fields =
            parsed("GET / HTTP/1.1\r\nHost: a\r\nX-Two:1\r\nx-two:  2 \r\nEmpty:\r\nBlank: \r\nLast: z\r\n\r\n");
        assert_eq!(fields.get("host"), Some(&b"a"[..]));
        assert_eq!(fields.get_all("x-two").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!((fields.get("empty"), fields.get("blank")), (Some(&b""[..]), Some(&b""[..])));
        assert_eq!(fields.get("none"), None);
        assert!(fields.has(Known::Host) && !fields.has(Known::Date));
        assert_eq!(written(&fields), "host: a\r\nx-two: 1\r\nx-two: 2\r\nempty: \r\nblank: \r\nlast: z\r\n");
    }

    #[test]
    fn edits_show_in_what_is_written() {
        let mut fields = parsed("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nA: 3\r\nC: 4\r\n\r\n");
        fields.remove("a");
        fields.append("d", "5");
        fields.insert("c", "6");
        fields.set(Known::Host, b"b");
        fields.append_parts("e", &[b"7", b", ", b"8"]);
        assert_eq!(written(&fields), "b: 2\r\nd: 5\r\nc: 6\r\nhost: b\r\ne: 7, 8\r\n");
        let mut more = parsed("GET / HTTP/1.1\r\nX: 1\r\n\r\n");
        more.extend(&fields);
        assert_eq!(written(&more), format!("x: 1\r\n{}", written(&fields)));
        assert_eq!(more.get("host"), Some(&b"b"[..]));
        let mut out = Vec::new();
        fields.write(&mut out, |known| known == Known::Host);
        assert_eq!(out, b"b: 2\r\nd: 5\r\nc: 6\r\ne: 7, 8\r\n");
    }

    #[test]
    fn names_become_lower_case() {
        for length in 0..40 {
            for seed in 0..40_usize {
                let mut name: Vec<u8> = (0..length).map(|at| ((at * 7 + seed * 11) % 256) as u8).collect();
                let wanted = name.to_ascii_lowercase();
                let underscores = lower(&mut name);
                assert_eq!((underscores, &name), (wanted.contains(&b'_'), &wanted));
                if let Some(byte) = name.get_mut(seed) {
                    *byte = b'_';
                    assert!(lower(&mut name), "{name:?}");
                }
            }
        }
    }

    #[test]
    fn every_known_name_is_known() {
        for known in KNOWN {
            assert_eq!(Known::of(known.as_str().as_bytes()), *known);
        }
        assert_eq!(Known::of(b"x-other"), Known::Other);
        assert_eq!(Known::of(&[b'x'; 300]), Known::Other);
    }

    proptest::proptest! {
        /// Whatever is done to it, it is what a plain list of lines would be.
        #[test]
        fn it_behaves_as_a_list(
            head in proptest::collection::vec(("[a-c]{1,2}", "[ -~]{0,5}", "(:|: |:  )", "( |)"), 0..6),
            edits in proptest::collection::vec((0..3_u8, "[a-c]{1,2}", "[!-~]{0,4}"), 0..6),
        ) {
            let mut text = "GET / HTTP/1.1\r\n".to_owned();
            let mut list: Vec<(String, String)> = Vec::new();
            for (name, value, parting, end) in head {
                write!(text, "{name}{parting}{value}{end}\r\n").unwrap();
                list.push((name, value.trim_matches(' ').to_owned()));
            }
            let mut fields = parsed(&format!("{text}\r\n"));
            for (what, name, value) in edits {
                match what {
                    0 => {
                        fields.append(&name, &value);
                        list.push((name, value));
                    }
                    1 => {
                        fields.insert(&name, &value);
                        list.retain(|(other, _)| *other != name);
                        list.push((name, value));
                    }
                    _ => {
                        fields.remove(&name);
                        list.retain(|(other, _)| *other != name);
                    }
                }
            }
            let wanted: Vec<_> = list.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            proptest::prop_assert_eq!(written(&fields), wanted.concat());
        }
    }
}
