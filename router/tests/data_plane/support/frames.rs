//! A client that speaks HTTP/2 frame by frame, so that it can say what no library would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code that a GOAWAY or RST_STREAM has.
    pub(crate) fn code(&self) -> Option<u32> {
        let at = match self.kind {
            GOAWAY => 4,
            RST_STREAM => 0,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().unwrap()))
    }

    /// The status that a list of fields begins with.
    pub(crate) fn status(&self) -> Option<u16> {
        assert_eq!(self.kind, HEADERS);
        let (first, rest) = self.payload.split_first()?;
        match first {
            0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500].get(usize::from(first - 0x88)).copied(),
            // A value of its own under the name of the eighth entry, its digits in five or six bits each.
            0x48 | 0x08 | 0x18 => {
                let (length, value) = rest.split_first()?;
                let value = value.get(..usize::from(length & 0x7f))?;
                if length & 0x80 == 0 {
                    return std::str::from_utf8(value).ok()?.parse().ok();
                }
                let bits: Vec<u8> = value.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
                let (mut status, mut at) = (0, 0);
                for _ in 0..3 {
                    let take = |n: usize| {
                        bits.get(at..at + n).map(|bits| bits.iter().fold(0_u16, |all, bit| all << 1 | u16::from(*bit)))
                    };
                    let (digit, length) = match take(5)? {
                        short @ 0..=2 => (short, 5),
                        _ => (take(6)?.checked_sub(0x16)?, 6),
                    };
                    (status, at) = (status * 10 + digit, at + length);
                }
                Some(status)
            }
            _ => None,
        }
    }
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// A list of fields, each as it is, without Huffman's code and without the dynamic table.
pub(crate) fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in list {
        bytes.push(0);
        for text in [name, value] {
            integer(&mut bytes, text.len());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// An integer behind one bit (RFC 7541 §5.1).
fn integer(into: &mut Vec<u8>, mut n: usize) {
    if n < 127 {
        into.push(n as u8);
        return;
    }
    into.push(127);
    n -= 127;
    while n >= 128 {
        into.push((n % 128 + 128) as u8);
        n /= 128;
    }
    into.push(n as u8);
}

/// The fields of a plain request, with more.
pub(crate) fn get<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<u8> {
    let plain = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a.test")];
    fields(&[&plain[..], more].concat())
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    /// One on which nothing was said.
    pub(crate) fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// One that has said the preface and these settings, and nothing else.
    pub(crate) fn connect_with(address: SocketAddr, settings: &[u8]) -> Self {
        let mut raw = Self::silent(address);
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat());
        raw
    }

    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> &mut Self {
        self.stream.write_all(bytes).unwrap();
        self
    }

    /// Sends to somebody who may have closed already.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// A request without a body.
    pub(crate) fn ask(&mut self, stream: u32, list: &[u8]) -> &mut Self {
        self.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, list))
    }

    /// The next frame; none at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]), payload })
    }

    /// The next frame that is one of these kinds; none if the connection ends before.
    pub(crate) fn next_of(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }

    /// The status of the next answer.
    #[track_caller]
    pub(crate) fn status(&mut self) -> u16 {
        let frame = self.next_of(&[HEADERS, RST_STREAM, GOAWAY]).expect("the connection ended without an answer");
        assert_eq!(frame.kind, HEADERS, "{frame:?}");
        frame.status().unwrap_or_else(|| panic!("{frame:?} has no status"))
    }

    /// Whether the connection ends, and no later than after this time.
    pub(crate) fn ends_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    use std::io::ErrorKind as K;
                    return !matches!(error.kind(), K::WouldBlock | K::TimedOut);
                }
            }
        }
    }
}
