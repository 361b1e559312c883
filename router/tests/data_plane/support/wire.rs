//! HTTP/1.1 messages on a bare socket, read without leniency.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// One message as it was on the wire.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    /// The request or status line.
    pub(crate) first: String,
    /// The header lines as `name: value`, in order.
    pub(crate) lines: Vec<String>,
    /// The body as on the wire: with its chunk framing, where it has one.
    pub(crate) raw_body: Vec<u8>,
    /// The body without framing.
    pub(crate) body: Vec<u8>,
    /// Trailer lines.
    pub(crate) trailers: Vec<String>,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// The value of a header that is there at most once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.headers(name);
        assert!(all.len() <= 1, "{name} is there {} times: {:?}", all.len(), self.lines);
        all.first().copied()
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let pairs = self.lines.iter().filter_map(|line| line.split_once(": ").or(line.split_once(':')));
        pairs.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The header lines in alphabetical order, those excepted that differ from run to run.
    pub(crate) fn sorted(&self) -> Vec<String> {
        let varying = |line: &&String| !line.starts_with("x-request-id: ") && !line.starts_with("date: ");
        let mut lines: Vec<_> = self.lines.iter().filter(varying).cloned().collect();
        lines.sort();
        lines
    }

    /// The reject's code; none if it was no reject.
    pub(crate) fn reject(&self) -> Option<&str> {
        self.header("x-gridrouter-reject")
    }

    #[track_caller]
    pub(crate) fn assert_reject(&self, status: u16, code: &str) {
        assert_eq!((self.status(), self.reject()), (status, Some(code)), "{self:?}");
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["error"]["code"], code);
    }

    #[track_caller]
    pub(crate) fn assert_ok(&self, body: &str) {
        assert_eq!((self.status(), self.text().as_str()), (200, body), "{self:?}");
    }
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Cleanly, after these bytes.
    Closed(Vec<u8>),
    /// By a reset, after these bytes.
    Reset(Vec<u8>),
    /// Not at all within the time.
    Open(Vec<u8>),
}

/// A bare socket that speaks HTTP by hand.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect_timeout(&address, PATIENCE).unwrap())
    }

    pub(crate) fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::at(stream)
    }

    /// One whose socket is set up.
    pub(crate) fn at(stream: TcpStream) -> Self {
        Self { stream, unread: Vec::new() }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends to someone who may have closed already.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    pub(crate) fn finish_sending(&mut self) -> &mut Self {
        self.stream.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Sends a GET and reads the answer.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Message {
        self.get_with(path, "")
    }

    /// Sends a GET with more header lines, each ended by CRLF, and reads the answer.
    #[track_caller]
    pub(crate) fn get_with(&mut self, path: &str, lines: &str) -> Message {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n")).answer()
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> std::io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let n = self.stream.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..n]);
        Ok(n > 0)
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        let rest = self.unread.split_off(n);
        std::mem::replace(&mut self.unread, rest)
    }

    /// Reads exactly `n` bytes.
    #[track_caller]
    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        while self.unread.len() < n {
            assert!(self.fill().unwrap(), "ended after {:?}", String::from_utf8_lossy(&self.unread));
        }
        self.take(n)
    }

    /// Reads up to and with the next CRLF; none at the end.
    fn try_line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8(self.take(at)).unwrap();
                self.take(2);
                assert!(!line.contains(['\r', '\n']), "a bare CR or LF in {line:?}");
                return Ok(Some(line));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads exactly `n` bytes; none if the connection ends before.
    pub(crate) fn try_bytes(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.unread.len() < n {
            self.fill().ok().filter(|more| *more)?;
        }
        Some(self.take(n))
    }

    /// Reads a head as bytes.
    pub(crate) fn raw_head(&mut self) -> Vec<u8> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                return self.take(at + 4);
            }
            assert!(self.fill().unwrap(), "the connection ended");
        }
    }

    /// Reads a head; none if the connection ends before it.
    pub(crate) fn try_head(&mut self) -> Option<Message> {
        let first = self.try_line().ok()??;
        let mut message = Message { first, ..Message::default() };
        loop {
            let line = self.try_line().ok()??;
            if line.is_empty() {
                return Some(message);
            }
            message.lines.push(line);
        }
    }

    #[track_caller]
    pub(crate) fn head(&mut self) -> Message {
        self.try_head().expect("the connection ended")
    }

    /// Reads one chunk: its size line, its data, its end.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        self.try_chunk().expect("the connection ended")
    }

    fn try_chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.try_line().ok()??, 16).unwrap();
        if size == 0 {
            return Some(Vec::new());
        }
        let data = self.try_bytes(size)?;
        assert_eq!(self.try_bytes(2)?, b"\r\n");
        Some(data)
    }

    /// Reads the body of `message` by its framing; `to_end` if a message without framing lasts to the end. None if the
    /// connection ends before the body does.
    pub(crate) fn try_body(&mut self, message: &mut Message, to_end: bool) -> Option<()> {
        let length = message.header("content-length").map(|length| length.parse::<usize>().unwrap());
        let chunked = message.header("transfer-encoding").is_some_and(|coding| coding == "chunked");
        assert!(length.is_none() || !chunked, "two framings: {message:?}");
        if chunked {
            loop {
                let chunk = self.try_chunk()?;
                message.raw_body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                if chunk.is_empty() {
                    break;
                }
                message.raw_body.extend_from_slice(&chunk);
                message.raw_body.extend_from_slice(b"\r\n");
                message.body.extend_from_slice(&chunk);
            }
            loop {
                let line = self.try_line().ok()??;
                if line.is_empty() {
                    break;
                }
                message.trailers.push(line);
            }
        } else if let Some(length) = length {
            message.body = self.try_bytes(length)?;
            message.raw_body = message.body.clone();
        } else if to_end {
            let Ending::Closed(rest) = self.ending() else { panic!("no clean end of {message:?}") };
            message.body = rest;
            message.raw_body = message.body.clone();
        }
        Some(())
    }

    /// Reads the answer to a request other than HEAD.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Message {
        let mut message = self.head();
        let bodiless = message.status() < 200 || matches!(message.status(), 204 | 304);
        if !bodiless {
            self.try_body(&mut message, true).expect("the connection ended within the body");
        }
        message
    }

    /// Reads a request; none if the connection ends before one.
    pub(crate) fn try_request(&mut self) -> Option<Message> {
        let mut message = self.try_head()?;
        self.try_body(&mut message, false)?;
        Some(message)
    }

    /// Reads to the end, whatever it is.
    pub(crate) fn ending(&mut self) -> Ending {
        self.ending_within(PATIENCE)
    }

    pub(crate) fn ending_within(&mut self, time: Duration) -> Ending {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).unwrap();
            let read = self.fill();
            self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
            match read {
                Ok(true) => {}
                Ok(false) => return Ending::Closed(std::mem::take(&mut self.unread)),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ending::Open(std::mem::take(&mut self.unread));
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ending::Reset(std::mem::take(&mut self.unread)),
            }
        }
    }

    /// Asserts that the connection ends cleanly without another byte.
    #[track_caller]
    pub(crate) fn assert_closed(&mut self) {
        assert_eq!(self.ending(), Ending::Closed(Vec::new()));
    }

    /// Closes with a reset.
    pub(crate) fn abort(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}
