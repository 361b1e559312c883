//! As much of HTTP/1.1 as the load generator and the upstream need. It is strict where a proxy could be wrong, and
//! costs two system calls a request.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::tls::Client;

/// A head longer than this is no answer of any server used here.
const LONGEST_HEAD: usize = 64 * 1024;
/// Room that is made before each read: a small answer arrives in one read, a 64 KiB one in few.
const READ: usize = 16 * 1024;

/// How many bytes the head at the start of `bytes` has, with the empty line, when it is complete.
pub fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The value of a header in a head, or nothing when it is absent.
pub fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (key, value) = line.split_at(colon);
        if !key.eq_ignore_ascii_case(name.as_bytes()) {
            return None;
        }
        std::str::from_utf8(value.get(1..)?).ok().map(str::trim)
    })
}

/// How a message's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes.
    Length(usize),
    /// With the last chunk.
    Chunked,
    /// With the connection (answers only).
    Close,
}

/// The framing that a head announces.
pub fn framing(head: &[u8]) -> Option<Framing> {
    if header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Some(Framing::Chunked);
    }
    match header(head, "content-length") {
        Some(value) => value.parse().ok().map(Framing::Length),
        None => Some(Framing::Close),
    }
}

/// Takes whole chunks from the front of `bytes`. Returns how many bytes were taken, how many of them were data, and
/// whether the last chunk was among them; nothing when this is no chunked body.
pub fn take_chunks(bytes: &[u8]) -> Option<(usize, usize, bool)> {
    let (mut at, mut data) = (0, 0);
    loop {
        let rest = bytes.get(at..)?;
        let Some(line) = rest.windows(2).position(|window| window == b"\r\n") else {
            return (rest.len() < 1024).then_some((at, data, false));
        };
        let size = std::str::from_utf8(rest.get(..line)?).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        let end = at.checked_add(line)?.checked_add(size)?.checked_add(4)?;
        // Trailers are not understood here: the empty line must follow the last chunk.
        let Some(chunk) = bytes.get(at..end) else { return Some((at, data, false)) };
        if !chunk.ends_with(b"\r\n") {
            return None;
        }
        (at, data) = (end, data + size);
        if size == 0 {
            return Some((at, data, true));
        }
    }
}

/// Why a request got no whole answer.
#[derive(Debug)]
pub enum Failed {
    /// The connection could not be opened.
    Connect(io::Error),
    /// The connection broke.
    Broken(io::Error),
    /// The connection was closed before the first byte of an answer.
    Closed,
    /// The connection was closed or reset within the answer, whose status was this (0 within the head).
    CutShort(u16),
    /// What came is no answer.
    Malformed(&'static str),
    /// Nothing came in time.
    TooLate,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Connect(error) => write!(f, "cannot connect: {error}"),
            Failed::Broken(error) => write!(f, "the connection broke: {error}"),
            Failed::Closed => f.write_str("the connection was closed without an answer"),
            Failed::CutShort(0) => f.write_str("the answer's head was cut short"),
            Failed::CutShort(status) => write!(f, "the body of a {status} was cut short"),
            Failed::Malformed(what) => write!(f, "malformed answer: {what}"),
            Failed::TooLate => f.write_str("no answer in time"),
        }
    }
}

/// An answer, until the connection is used again.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The status line and the headers.
    pub head: &'a [u8],
    /// The body, without its framing.
    pub body: &'a [u8],
    /// Whether the connection may be used again.
    pub keeps_alive: bool,
}

impl Answer<'_> {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name)
    }
}

/// A client's connection. After a failure it must be dropped.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    body: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Connects to `address`.
    pub async fn open(address: SocketAddr) -> Result<Self, Failed> {
        Self::open_with(address, None).await
    }

    /// Connects to `address`, by TLS if there is a client of it.
    pub async fn open_with(address: SocketAddr, tls: Option<&Client>) -> Result<Self, Failed> {
        let stream = TcpStream::connect(address).await.map_err(Failed::Connect)?;
        stream.set_nodelay(true).map_err(Failed::Connect)?;
        let stream = match tls {
            None => Stream::Clear(stream),
            Some(client) => Stream::Tls(Box::new(client.handshake(stream).await.map_err(Failed::Connect)?)),
        };
        Ok(Self { stream, buffer: Vec::new(), body: Vec::new() })
    }

    /// What kind of handshake there was; nothing without TLS.
    pub fn handshake(&self) -> Option<HandshakeKind> {
        match &self.stream {
            Stream::Clear(_) => None,
            Stream::Tls(stream) => stream.get_ref().1.handshake_kind(),
        }
    }

    /// Sends a whole request and reads the whole answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, Failed> {
        self.buffer.clear();
        self.body.clear();
        self.write(request).await.map_err(Failed::Broken)?;
        let head = loop {
            if self.read().await? == 0 {
                return Err(if self.buffer.is_empty() { Failed::Closed } else { Failed::CutShort(0) });
            }
            if let Some(length) = head_length(&self.buffer) {
                break length;
            }
            if self.buffer.len() > LONGEST_HEAD {
                return Err(Failed::Malformed("endless head"));
            }
        };
        let status = self.status().ok_or(Failed::Malformed("status line"))?;
        let bytes = self.buffer.get(..head).unwrap_or_default();
        let asked_to_close = header(bytes, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let framing = match framing(bytes).ok_or(Failed::Malformed("content-length"))? {
            Framing::Length(_) | Framing::Chunked | Framing::Close
                if matches!(status, 204 | 304) || request.starts_with(b"HEAD ") =>
            {
                Framing::Length(0)
            }
            framing @ (Framing::Length(_) | Framing::Chunked | Framing::Close) => framing,
        };
        let body = match framing {
            Framing::Length(length) => {
                self.buffer.reserve((head + length).saturating_sub(self.buffer.len()));
                while self.buffer.len() < head + length {
                    self.read_on(status).await?;
                }
                if self.buffer.len() > head + length {
                    return Err(Failed::Malformed("bytes after the answer"));
                }
                self.buffer.get(head..).unwrap_or_default()
            }
            Framing::Chunked => {
                self.read_chunks(head, status).await?;
                self.body.as_slice()
            }
            Framing::Close => {
                while self.read().await? != 0 {}
                self.buffer.get(head..).unwrap_or_default()
            }
        };
        let keeps_alive = !asked_to_close && framing != Framing::Close;
        Ok(Answer { status, head: self.buffer.get(..head).unwrap_or_default(), body, keeps_alive })
    }

    async fn read(&mut self) -> Result<usize, Failed> {
        self.buffer.reserve(READ);
        let read = match &mut self.stream {
            Stream::Clear(stream) => stream.read_buf(&mut self.buffer).await,
            Stream::Tls(stream) => stream.read_buf(&mut self.buffer).await,
        };
        read.map_err(Failed::Broken)
    }

    async fn write(&mut self, request: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Clear(stream) => stream.write_all(request).await,
            Stream::Tls(stream) => {
                stream.write_all(request).await?;
                stream.flush().await
            }
        }
    }

    /// Reads more of a body. However the connection ends within one, closed or reset, it cuts it short.
    async fn read_on(&mut self, status: u16) -> Result<(), Failed> {
        match self.read().await {
            Ok(0) | Err(Failed::Broken(_)) => Err(Failed::CutShort(status)),
            Ok(_) => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    fn status(&self) -> Option<u16> {
        let line = self.buffer.strip_prefix(b"HTTP/1.")?;
        let digits = line.get(2..5)?;
        std::str::from_utf8(digits).ok()?.parse().ok().filter(|status| (200..600).contains(status))
    }

    async fn read_chunks(&mut self, head: usize, status: u16) -> Result<(), Failed> {
        let mut at = head;
        loop {
            let rest = self.buffer.get(at..).unwrap_or_default();
            let (taken, _, last) = take_chunks(rest).ok_or(Failed::Malformed("chunk"))?;
            unchunk(rest.get(..taken).unwrap_or_default(), &mut self.body);
            at += taken;
            if last {
                let clean = at == self.buffer.len();
                return if clean { Ok(()) } else { Err(Failed::Malformed("bytes after the answer")) };
            }
            self.read_on(status).await?;
        }
    }
}

/// Copies the data of whole chunks, as [`take_chunks`] found them.
fn unchunk(mut chunks: &[u8], data: &mut Vec<u8>) {
    while let Some(line) = chunks.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(chunks.get(..line).unwrap_or_default()).unwrap_or_default();
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        let start = line + 2;
        data.extend_from_slice(chunks.get(start..start + size).unwrap_or_default());
        chunks = chunks.get(start + size + 2..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_case() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Served-By:a/b\r\n\r\n";
        assert_eq!(head_length(head), Some(head.len()));
        assert_eq!(head_length(&head[..head.len() - 1]), None);
        assert_eq!(header(head, "x-served-by"), Some("a/b"));
        assert_eq!(header(head, "x-served"), None);
        assert_eq!(framing(head), Some(Framing::Length(5)));
        assert_eq!(framing(b"HTTP/1.1 200 OK\r\n\r\n"), Some(Framing::Close));
        assert_eq!(framing(b"X\r\ncontent-length: x\r\n\r\n"), None);
    }

    #[test]
    fn chunks_are_taken_whole() {
        let body = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(take_chunks(body), Some((body.len(), 13, true)));
        for cut in 0..body.len() {
            let (taken, _, last) = take_chunks(&body[..cut]).unwrap();
            assert!(taken <= cut && !last);
        }
        assert_eq!(take_chunks(b"zz\r\n"), None);
        assert_eq!(take_chunks(b"1\r\nabc\r\n"), None);
        assert_eq!(take_chunks(b"ffffffffffffffff\r\n"), None);
        let mut data = Vec::new();
        unchunk(body, &mut data);
        assert_eq!(data, b"abc0123456789");
    }
}
