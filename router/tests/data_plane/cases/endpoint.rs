//! An endpoint that keeps every byte it receives, and answers as the case at hand says.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::super::support::{Peer, Upstream};

/// Requests to paths that begin so are the runner's own, and not kept.
pub(super) const OWN: &str = "/gridrouter-test/";

/// What reached the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) bytes: Vec<u8>,
    /// Whether it was a whole request; otherwise its connection ended within.
    pub(super) is_whole: bool,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    answer: Option<Vec<u8>>,
}

/// The endpoint.
pub(super) struct Endpoint {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

impl Endpoint {
    pub(super) fn new() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        Self { upstream: Upstream::scripted(move |peer| serve(peer, &shared)), state }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.upstream.address()
    }

    /// What it answers from now on: this once for each connection, or each request in words.
    pub(super) fn answers(&self, answer: Option<Vec<u8>>) {
        self.state.lock().unwrap().answer = answer;
    }

    /// Takes the whole requests that have reached it.
    pub(super) fn whole(&self) -> Vec<Vec<u8>> {
        self.take(true)
    }

    /// Takes what has reached it of requests that broke off.
    pub(super) fn halves(&self) -> Vec<Vec<u8>> {
        self.take(false)
    }

    fn take(&self, whole: bool) -> Vec<Vec<u8>> {
        let mut state = self.state.lock().unwrap();
        let (taken, left) = std::mem::take(&mut state.seen).into_iter().partition(|seen| seen.is_whole == whole);
        state.seen = left;
        let taken: Vec<Seen> = taken;
        taken.into_iter().map(|seen| seen.bytes).collect()
    }
}

fn serve(peer: &mut Peer, state: &Mutex<State>) {
    let mut input: Vec<u8> = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        while let Some(end) = end_of_request(&input) {
            let rest = input.split_off(end);
            let bytes = masked(&std::mem::replace(&mut input, rest));
            let first = String::from_utf8_lossy(&bytes).split(" HTTP/").next().unwrap_or_default().to_owned();
            let own = first.contains(&format!(" {OWN}"));
            let body = if first.starts_with("HEAD ") { "" } else { first.as_str() };
            let echo = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", first.len()).into_bytes();
            let mut state = state.lock().unwrap();
            let answer = state.answer.clone().filter(|_| !own);
            if !own {
                state.seen.push(Seen { bytes, is_whole: true });
            }
            drop(state);
            let ends = answer.as_ref().is_some_and(|answer| answer.ends_with(&[2]));
            let mut answer = answer.unwrap_or(echo);
            answer.retain(|byte| *byte != 2);
            if !peer.try_send(answer) || ends {
                return;
            }
        }
        match peer.stream.read(&mut buffer) {
            Ok(n @ 1..) => input.extend_from_slice(&buffer[..n]),
            Ok(0) | Err(_) => break,
        }
    }
    if !input.is_empty() {
        state.lock().unwrap().seen.push(Seen { bytes: masked(&input), is_whole: false });
    }
}

/// Where a request ends that begins here, read as narrowly as can be.
fn end_of_request(input: &[u8]) -> Option<usize> {
    let head = find(input, b"\r\n\r\n")? + 4;
    let lines = String::from_utf8_lossy(&input[..head]).to_ascii_lowercase();
    if lines.contains("\r\ntransfer-encoding: chunked\r\n") {
        let mut at = head;
        loop {
            let line = find(&input[at..], b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&input[at..at + line]).ok()?, 16).ok()?;
            at += line + 2;
            if size > 0 {
                at += size + 2;
                input.get(at..)?;
                continue;
            }
            while !input.get(at..)?.starts_with(b"\r\n") {
                at += find(&input[at..], b"\r\n")? + 2;
            }
            return Some(at + 2);
        }
    }
    let length = lines.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let end = head + length.map_or(0, |length| length.parse().unwrap_or(usize::MAX / 2));
    (input.len() >= end).then_some(end)
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Request ids differ from run to run.
fn masked(bytes: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"x-request-id: ";
    let Some(begin) = find(bytes, NAME).map(|at| at + NAME.len()) else { return bytes.to_vec() };
    let end = begin + bytes[begin..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if end - begin == 32 { [&bytes[..begin], b"*", &bytes[end..]].concat() } else { bytes.to_vec() }
}
