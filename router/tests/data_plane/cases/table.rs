//! Cases as text: what is sent, and what must come of it.

/// One case.
#[derive(Debug, Default)]
pub(super) struct Case {
    pub(super) name: String,
    /// The section or advisory it comes from.
    pub(super) source: String,
    /// What the client sends.
    pub(super) sent: Vec<u8>,
    /// What the endpoint must have received, all of it. None: nothing.
    pub(super) received: Vec<u8>,
    /// What it may have received at the most, and never all of it.
    pub(super) cut: Option<Vec<u8>>,
    /// What the endpoint answers; the request itself in words, if it is not said.
    pub(super) answer: Option<Vec<u8>>,
    /// What the client must get byte by byte, where that is said.
    pub(super) gets: Option<Vec<u8>>,
    pub(super) outcome: Outcome,
}

/// What the client must get: the answers in order, and how it goes on.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) answers: Vec<Expected>,
    pub(super) then: Then,
}

/// An answer: its status, and its reject code if the router refuses.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) status: u16,
    pub(super) reject: Option<String>,
}

/// How it goes on after the answers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The connection serves another request.
    #[default]
    Open,
    /// It ends cleanly, without another byte.
    Closes,
    /// It is reset: what came must not pass for whole.
    Resets,
    /// The router waits for the rest. If the client sends no more, the connection ends without an answer.
    Waits,
    /// The client sends no more, which is answered, and the connection ends.
    Cut,
}

impl Case {
    /// Whether every byte of it may be sent on its own.
    pub(super) fn is_for_pieces(&self) -> bool {
        self.answer.is_none()
    }
}

/// Reads a table. What is not in its form is a mistake in the table.
pub(super) fn read(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| -> ! { panic!("line {}: {what}: {line}", number + 1) };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            cases.push(Case { name: name.to_owned(), ..Case::default() });
            continue;
        }
        let Some(case) = cases.last_mut() else { wrong("no case begins before this") };
        let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match mark {
            "->" => unescape(&mut case.sent, rest),
            "=>" => unescape(&mut case.received, rest),
            "=|" => unescape(case.cut.get_or_insert_default(), rest),
            "<=" => unescape(case.answer.get_or_insert_default(), rest),
            "<-" => unescape(case.gets.get_or_insert_default(), rest),
            "==" => case.outcome = outcome(rest).unwrap_or_else(|| wrong("no outcome")),
            _ if case.source.is_empty() => line.clone_into(&mut case.source),
            _ => wrong("no mark that is known"),
        }
    }
    for case in &mut cases {
        assert!(!case.source.is_empty(), "{} says not where it comes from", case.name);
        assert!(case.outcome.then == Then::Waits || !case.outcome.answers.is_empty(), "{} has no outcome", case.name);
        if case.sent.is_empty() {
            case.sent = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
            case.received = added(b"GET / HTTP/1.1\r\nhost: a\r\n\x01\r\n");
        } else {
            case.received = added(&case.received);
        }
        case.cut = case.cut.take().map(|cut| added(&cut));
    }
    cases
}

/// `400 bad_host, 200, open`
fn outcome(text: &str) -> Option<Outcome> {
    let mut parts: Vec<&str> = text.split(", ").collect();
    let then = match parts.pop()? {
        "open" => Then::Open,
        "closes" => Then::Closes,
        "resets" => Then::Resets,
        "waits" => Then::Waits,
        "cut" => Then::Cut,
        _ => return None,
    };
    let answer = |part: &str| {
        let (status, reject) = part.split_once(' ').map_or((part, None), |(status, code)| (status, Some(code)));
        Some(Expected { status: status.parse().ok()?, reject: reject.map(str::to_owned) })
    };
    Some(Outcome { answers: parts.into_iter().map(answer).collect::<Option<_>>()?, then })
}

/// Adds a line with its CRLF, unless it ends in a backslash.
fn unescape(out: &mut Vec<u8>, line: &str) {
    if line == "(end)" {
        out.push(2);
        return;
    }
    if line == "+" {
        out.push(1);
        return;
    }
    let (line, end) = match line.strip_suffix('\\') {
        Some(line) => (line, &b""[..]),
        None => (line, &b"\r\n"[..]),
    };
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        rest = escape(out, after);
    }
    out.extend_from_slice(rest.as_bytes());
    out.extend_from_slice(end);
}

fn escape<'a>(out: &mut Vec<u8>, after: &'a str) -> &'a str {
    let (kind, rest) = after.split_at(1);
    match kind {
        "r" => out.push(b'\r'),
        "n" => out.push(b'\n'),
        "t" => out.push(b'\t'),
        "s" => out.push(b' '),
        "0" => out.push(0),
        "x" => {
            let (digits, rest) = rest.split_at(2);
            out.push(u8::from_str_radix(digits, 16).unwrap());
            return rest;
        }
        // `\(text*times)`
        "(" => {
            let (group, rest) = rest.split_once(')').unwrap();
            let (text, times) = group.rsplit_once('*').unwrap();
            let mut once = Vec::new();
            unescape(&mut once, &format!("{text}\\"));
            out.extend(once.repeat(times.parse().unwrap()));
            return rest;
        }
        _ => panic!("no escape: {kind}"),
    }
    rest
}

/// Puts in what the router adds to a request: in the place of each mark, for the host that stands before it.
fn added(bytes: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for (n, part) in bytes.split(|b| *b == 1).enumerate() {
        if n > 0 {
            let text = String::from_utf8_lossy(&out).into_owned();
            let host = text.rsplit("\r\nhost: ").next().and_then(|rest| rest.split("\r\n").next()).unwrap().to_owned();
            let lines = ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: ", &host];
            out.extend_from_slice(format!("{}\r\n{}\r\n{}{}\r\n", lines[0], lines[1], lines[2], lines[3]).as_bytes());
            out.extend_from_slice(b"x-request-id: *\r\n");
        }
        out.extend_from_slice(part);
    }
    out
}

#[test]
fn tables_are_read_to_the_byte() {
    let table = "[a name]\nRFC 1\n# why\n-> GET / HTTP/1.1\n-> X:\\x41\\s\\(ab*2)\\n\\\n->\n=> GET /\n=> host: b\n=> +\n=>\n== 400 bad_host, 200, closes\n";
    let case = &read(table)[0];
    assert_eq!((case.name.as_str(), case.source.as_str()), ("a name", "RFC 1"));
    assert_eq!(case.sent, b"GET / HTTP/1.1\r\nX:A abab\n\r\n");
    let added = "x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: b\r\nx-request-id: *\r\n";
    assert_eq!(String::from_utf8_lossy(&case.received), format!("GET /\r\nhost: b\r\n{added}\r\n"));
    assert_eq!(case.outcome.then, Then::Closes);
    let answers: Vec<_> = case.outcome.answers.iter().map(|a| (a.status, a.reject.as_deref())).collect();
    assert_eq!(answers, [(400, Some("bad_host")), (200, None)]);
}
