//! Runs a table of cases over one router.

use super::super::support::{Builder, Client, Ending, Message, PATIENCE, QUIET, Site};
use super::endpoint::{Endpoint, OWN, find};
use super::table::{Case, Expected, Then};

/// How the bytes of a case are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// At once.
    Whole,
    /// In many small pieces, which takes other ways through the parsers.
    Pieces,
}

/// Many cases over one router and one endpoint.
struct Run {
    site: Site,
    endpoint: Endpoint,
    /// A well-behaved client, who must notice nothing.
    good: Client,
    wrong: Vec<String>,
    /// What a request that broke off may have been.
    cuts: Vec<Vec<u8>>,
}

/// Runs all cases of a table, each at once and in pieces.
#[track_caller]
pub(super) fn run(cases: &[Case], site: impl FnOnce(Builder) -> Builder) {
    let endpoint = Endpoint::new();
    let site = site(Site::builder().service("all", &[endpoint.address()])).start();
    let good = site.client();
    let mut run = Run { site, endpoint, good, wrong: Vec::new(), cuts: Vec::new() };
    for case in cases {
        if run.wrong.len() > 30 {
            break;
        }
        run.case(case, How::Whole);
        if case.is_for_pieces() {
            run.case(case, How::Pieces);
        }
    }
    // What a request might have left behind had time until here, and a little more.
    assert_eq!(run.good.ending_within(QUIET), Ending::Open(Vec::new()));
    run.reached("after all", &[], How::Whole);
    for half in run.endpoint.halves() {
        if !run.cuts.iter().any(|cut| begins(cut, &half)) {
            run.wrong.push(format!("half a request reached the endpoint: {}", shown(&half)));
        }
    }
    assert!(run.wrong.is_empty(), "{} mistakes:\n{}", run.wrong.len(), run.wrong.join("\n"));
}

/// Whether this is how the other begins, chunk by chunk or as a whole, but not all of it.
fn begins(whole: &[u8], half: &[u8]) -> bool {
    let (whole, half) = (unframed(whole), unframed(half));
    half.len() <= whole.len() && whole.starts_with(&half)
}

impl Run {
    fn case(&mut self, case: &Case, how: How) {
        let before = self.wrong.len();
        self.cuts.extend(case.cut.clone());
        self.endpoint.answers(case.answer.clone());
        let mut client = self.site.client();
        match how {
            How::Whole => {
                client.try_send(&case.sent);
            }
            How::Pieces => {
                // A refused client is not read from to the end.
                let size = case.sent.len().div_ceil(400);
                let _sent = case.sent.chunks(size).all(|piece| client.try_send(piece));
            }
        }
        if case.outcome.then == Then::Cut {
            client.finish_sending();
        }
        let got = self.answers(case, how, &mut client);
        self.goes_on(case, how, &mut client);
        let whole = self.reached(&case.name, &case.received, how);
        if case.answer.is_none() {
            self.belong_together(&got, &whole);
        }
        self.endpoint.answers(None);
        self.good_client();
        for wrong in &mut self.wrong[before..] {
            *wrong = format!("[{}] ({}, {how:?}): {wrong}", case.name, case.source);
        }
    }

    /// Reads as many answers as are to come.
    fn answers(&mut self, case: &Case, how: How, client: &mut Client) -> Vec<Message> {
        let is_interim = |answer: &Expected| how == How::Pieces && answer.status == 100;
        let wanted: Vec<_> = case.outcome.answers.iter().filter(|answer| !is_interim(answer)).collect();
        let mut got: Vec<Message> = Vec::new();
        while got.len() < wanted.len() {
            let Some(mut answer) = client.try_head() else { break };
            let has_body = !case.sent.starts_with(b"HEAD ") && !matches!(answer.status(), 100..200 | 204 | 304);
            // One that ends with a reset ends within its body.
            if has_body && case.outcome.then != Then::Resets {
                client.try_body(&mut answer, true);
            }
            // Whether the body comes before its client is invited depends on how it comes.
            if how == How::Whole || answer.status() != 100 {
                got.push(answer);
            }
        }
        let told = |answer: &Message| Expected { status: answer.status(), reject: answer.reject().map(str::to_owned) };
        let told: Vec<_> = got.iter().map(told).collect();
        if !told.iter().eq(wanted.iter().copied()) {
            self.wrong.push(format!("answered {told:?}, not {wanted:?}"));
        }
        if let Some(gets) = &case.gets {
            let raw: Vec<u8> = got.iter().flat_map(raw).collect();
            if raw != *gets {
                self.wrong.push(format!("the client got\n{}\nnot\n{}", shown(&raw), shown(gets)));
            }
        }
        got
    }

    fn goes_on(&mut self, case: &Case, how: How, client: &mut Client) {
        let refused = case.outcome.answers.iter().any(|answer| answer.reject.is_some());
        let ending = match case.outcome.then {
            // Whether the rest of a refused request came soon enough for the connection to go on is not asserted.
            Then::Open if how == How::Pieces && refused => return,
            Then::Open => {
                client.try_send(format!("GET {OWN}probe HTTP/1.1\r\nHost: a\r\n\r\n"));
                let probed = client.try_head().map(|mut answer| {
                    client.try_body(&mut answer, true);
                    (answer.status(), answer.text())
                });
                if probed != Some((200, format!("GET {OWN}probe"))) {
                    self.wrong.push(format!("the connection does not go on: {probed:?}"));
                }
                return;
            }
            Then::Waits => client.finish_sending().ending(),
            // Where that is right, it comes at once; a mistake should not take the patience of all cases together.
            Then::Closes | Then::Resets | Then::Cut => client.ending_within(PATIENCE / 4),
        };
        let fine = match (&ending, case.outcome.then) {
            (Ending::Closed(rest), Then::Closes | Then::Waits | Then::Cut) => rest.is_empty(),
            (Ending::Reset(_), Then::Resets) => true,
            (Ending::Open(_) | Ending::Reset(_) | Ending::Closed(_), _) => false,
        };
        if !fine {
            self.wrong.push(format!("ended with {ending:?}"));
        }
    }

    /// Checks what reached the endpoint.
    fn reached(&mut self, name: &str, wanted: &[u8], how: How) -> Vec<Vec<u8>> {
        let whole = self.endpoint.whole();
        let all = whole.concat();
        let same = match how {
            How::Whole => all == wanted,
            // Where chunks are cut is nobody's business.
            How::Pieces => unframed(&all) == unframed(wanted),
        };
        if !same {
            self.wrong.push(format!("{name}: the endpoint received\n{}\nnot\n{}", shown(&all), shown(wanted)));
        }
        whole
    }

    /// Every answer belongs to its own request: the endpoint says in each what was asked.
    fn belong_together(&mut self, got: &[Message], whole: &[Vec<u8>]) {
        let answers = got.iter().filter(|answer| answer.status() == 200);
        for (answer, request) in answers.zip(whole) {
            let asked = String::from_utf8_lossy(request).split(" HTTP/").next().unwrap_or_default().to_owned();
            if !asked.starts_with("HEAD ") && answer.text() != asked {
                self.wrong.push(format!("{asked:?} was answered with {:?}", answer.text()));
            }
        }
    }

    /// Another client's request is answered as if nothing had happened.
    fn good_client(&mut self) {
        let answer = self.good.get(&format!("{OWN}good"));
        if (answer.status(), answer.text()) != (200, format!("GET {OWN}good")) {
            self.wrong.push(format!("another client got {answer:?}"));
        }
    }
}

/// An answer as it was on the wire, without its date.
fn raw(message: &Message) -> Vec<u8> {
    let lines = message.lines.iter().filter(|line| !line.starts_with("date: "));
    let mut raw = Vec::new();
    let mut add = |line: &str| raw.extend([line.as_bytes(), b"\r\n"].concat());
    std::iter::once(&message.first).chain(lines).for_each(|line| add(line));
    add("");
    raw.extend_from_slice(&message.raw_body);
    if message.header("transfer-encoding").is_some() {
        message.trailers.iter().for_each(|line| raw.extend([line.as_bytes(), b"\r\n"].concat()));
        raw.extend_from_slice(b"\r\n");
    }
    raw
}

/// Requests, whole or broken off, without what says how their bodies are cut into chunks.
fn unframed(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = find(bytes, b"\r\n\r\n") {
        let (head, rest) = bytes.split_at(end + 4);
        out.extend_from_slice(head);
        bytes = rest;
        let lines = String::from_utf8_lossy(head).to_ascii_lowercase();
        if lines.contains("\r\ntransfer-encoding: chunked\r\n") {
            bytes = without_chunks(bytes, &mut out);
        } else {
            let length = lines.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            let (body, rest) = bytes.split_at(bytes.len().min(length));
            out.extend_from_slice(body);
            bytes = rest;
        }
    }
    out.extend_from_slice(bytes);
    out
}

/// The data of a chunked body, as far as it is there, and then its trailers. Returns what is behind it.
fn without_chunks<'a>(mut bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    while let Some(end) = find(bytes, b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|line| usize::from_str_radix(line, 16).ok());
        let Some(size) = size else { break };
        bytes = &bytes[end + 2..];
        if size == 0 {
            // An empty line ends the trailers, or stands for there being none.
            let end = if bytes.starts_with(b"\r\n") { Some(2) } else { find(bytes, b"\r\n\r\n").map(|end| end + 4) };
            let (trailers, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            out.extend_from_slice(trailers);
            return rest;
        }
        let (data, rest) = bytes.split_at(bytes.len().min(size));
        out.extend_from_slice(data);
        bytes = rest.strip_prefix(b"\r\n").unwrap_or(rest);
    }
    bytes
}

#[test]
fn how_a_body_is_cut_into_chunks_makes_no_difference() {
    let head = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    let of = |body: &str| String::from_utf8(unframed(format!("{head}{body}").as_bytes())).unwrap();
    assert_eq!(of("3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n"), format!("{head}abc0123456789\r\n"));
    assert_eq!(of("8\r\nabc01234\r\n3\r\n567\r\n2\r\n89\r\n0\r\n\r\n"), of("3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n"));
    assert_eq!(
        of("1\r\na\r\n0\r\nx: y\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        format!("{head}ax: y\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    );
    assert_eq!(of("5\r\nab"), format!("{head}ab"), "what broke off");
}

fn shown(bytes: &[u8]) -> String {
    let text: String = bytes.iter().take(2000).map(|b| std::ascii::escape_default(*b).to_string()).collect();
    text.replace("\\r\\n", "\\r\\n\n")
}
