//! Messages of a connection, one behind the other: they are the same in whatever pieces they come, a reader that goes by
//! the grammar finds the same in them, and what is written of them is read as the same again.

use bytes::BytesMut;
use http::{Method, StatusCode, Uri, Version};

use super::cursor::Cursor;
use super::literal::{self, Framing};
use crate::http::fields::{Fields, Known};
use crate::http1::body::{Decoded, Decoder};
use crate::http1::encode::{self, Start};
use crate::http1::{Scan, request, response};

/// What is read of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Request { method: Method, uri: Uri, version: Version, fields: Fields, body: Decoder, keep_alive: bool },
    Response { status: StatusCode, fields: Fields, body: Decoder, keep_alive: bool },
    Data(Vec<u8>),
    Trailers(Vec<(String, Vec<u8>)>),
}

/// Which side of a connection is read.
#[derive(Debug, Clone, Copy)]
enum Side {
    Requests,
    /// Answers, all of them to HEAD or none.
    Responses {
        to_head: bool,
    },
}

/// A reader of one connection.
struct Reader {
    side: Side,
    input: BytesMut,
    scan: Scan,
    body: Decoder,
    events: Vec<Event>,
    wrong: bool,
}

impl Reader {
    fn new(side: Side) -> Self {
        let (input, scan) = (BytesMut::new(), Scan::default());
        Self { side, input, scan, body: Decoder::Done, events: Vec::new(), wrong: false }
    }

    fn of(side: Side, pieces: &[&[u8]]) -> Self {
        let mut reader = Self::new(side);
        for piece in pieces {
            reader.feed(piece);
        }
        reader
    }

    fn feed(&mut self, piece: &[u8]) {
        self.input.extend_from_slice(piece);
        while !self.wrong && self.step() {}
    }

    /// Takes what comes next; false when there is nothing more.
    fn step(&mut self) -> bool {
        if self.body.is_done() { self.head() } else { self.data() }
    }

    fn head(&mut self) -> bool {
        let (before, side) = (self.input.clone(), self.side);
        let found =
            match side {
                Side::Requests => {
                    request::parse(&mut self.input, &mut self.scan).map(|head| {
                        head.map(|request::Head { method, uri, version, fields, body, keep_alive, .. }| {
                            Event::Request { method, uri, version, fields, body, keep_alive }
                        })
                    })
                }
                Side::Responses { to_head } => response::parse(&mut self.input, &mut self.scan, to_head).map(|head| {
                    head.map(|response::Head { status, fields, body, keep_alive }| Event::Response {
                        status,
                        fields,
                        body,
                        keep_alive,
                    })
                }),
            };
        match found {
            Ok(Some(event)) => {
                let taken = before.len() - self.input.len();
                agrees(&event, before.get(..taken).unwrap_or_default(), side);
                if let Event::Request { body, .. } | Event::Response { body, .. } = &event {
                    self.body = *body;
                }
                self.events.push(event);
                true
            }
            Ok(None) => false,
            Err(_) => {
                self.wrong = true;
                false
            }
        }
    }

    fn data(&mut self) -> bool {
        match self.body.decode(&mut self.input) {
            Ok(Decoded::Data(data)) => {
                assert!(!data.is_empty(), "a piece of nothing");
                match self.events.last_mut() {
                    Some(Event::Data(all)) => all.extend_from_slice(&data),
                    _ => self.events.push(Event::Data(data.to_vec())),
                }
                true
            }
            Ok(Decoded::Trailers(map)) => {
                let lines = map.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
                self.events.push(Event::Trailers(lines.collect()));
                true
            }
            Ok(Decoded::End) => true,
            Ok(Decoded::Missing) => false,
            Err(_) => {
                self.wrong = true;
                false
            }
        }
    }
}

/// Lines without those that say a length, which is written anew.
fn plain<'a>(lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(&'a [u8], &'a [u8])> {
    lines.filter(|(name, _)| *name != b"content-length").collect()
}

/// A head that was taken is one by the grammar, and says the same.
fn agrees(event: &Event, bytes: &[u8], side: Side) {
    let to_head = matches!(side, Side::Responses { to_head: true });
    let mut bytes = bytes;
    if matches!(event, Event::Request { .. }) {
        while let Some(rest) = bytes.strip_prefix(b"\r\n") {
            bytes = rest;
        }
    }
    let literal = literal::head(bytes, if matches!(event, Event::Request { .. }) { 4 } else { 3 });
    let Some(literal) = literal else { panic!("no head by the grammar: {}", bytes.escape_ascii()) };
    let framing = literal.framing();
    assert!(framing.is_some(), "nobody knows where it ends: {}", bytes.escape_ascii());
    let fields = match event {
        Event::Request { method, uri, fields, body, .. } => {
            assert_eq!(literal.start.len(), 3, "{literal:?}");
            assert_eq!(literal.start[0], method.as_str().as_bytes());
            let target = String::from_utf8_lossy(&literal.start[1]);
            // In absolute form the scheme is one in any case, and a path may go without saying.
            assert!(uri.scheme().is_some() || target == uri.to_string(), "{literal:?}");
            let wanted = match framing {
                Some(Framing::Length(length)) => Decoder::new(length, false),
                Some(Framing::Chunked) => Decoder::new(0, true),
                Some(Framing::Unsaid) | None => Decoder::Done,
            };
            assert_eq!(*body, wanted, "{literal:?}");
            fields
        }
        Event::Response { status, fields, body, .. } => {
            assert_eq!(literal.start[1], status.as_str().as_bytes());
            let bodiless = to_head || status.is_informational() || status.as_u16() == 204 || status.as_u16() == 304;
            match (framing, body) {
                (_, Decoder::Done) if bodiless => {}
                (Some(Framing::Length(0)), Decoder::Done) | (Some(Framing::Unsaid), Decoder::UntilEnd) => {}
                (Some(Framing::Length(said)), Decoder::Length(length)) if !bodiless => assert_eq!(said, *length),
                (Some(Framing::Chunked), Decoder::ChunkSize) if !bodiless => {}
                other => panic!("{other:?}: {literal:?}"),
            }
            fields
        }
        Event::Data(_) | Event::Trailers(_) => return,
    };
    let ours = plain(fields.iter().map(|(_, name, value)| (name, value)));
    let theirs = plain(literal.lines.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
    assert_eq!(ours, theirs);
    for (known, name, _) in fields.iter() {
        assert_eq!(known, Known::of(name));
    }
}

/// What is written of a head is read as the same.
fn written(event: &Event) {
    let mut out = Vec::new();
    match event {
        Event::Request { method, uri, fields, body, .. } => {
            // What is received in absolute form is always sent on in origin form.
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            let origin = Uri::try_from(format!("{}{query}", uri.path()));
            let uri = origin.as_ref().ok().filter(|_| uri.scheme().is_some()).unwrap_or(uri);
            encode::request_head(&mut out, method, uri, fields);
            let again = Reader::of(Side::Requests, &[&out]);
            assert!(!again.wrong, "{}", out.escape_ascii());
            let Some(Event::Request { method: second, uri: target, fields: lines, body: framing, .. }) =
                again.events.first()
            else {
                panic!("not read again: {}", out.escape_ascii())
            };
            let wanted = uri.path_and_query().map_or("/", |target| target.as_str());
            assert_eq!((second, framing, target.to_string().as_str()), (method, body, wanted));
            assert_eq!(lines, fields);
        }
        Event::Response { status, fields, body, .. } => {
            let framing = match body {
                Decoder::Length(length) => encode::Framing::Length(*length),
                Decoder::ChunkSize => encode::Framing::Chunked,
                Decoder::Done => encode::Framing::None,
                Decoder::UntilEnd | Decoder::ChunkData(_) | Decoder::ChunkEnd | Decoder::Trailers => {
                    encode::Framing::ToEnd
                }
            };
            // As the pipeline does: how a body ends is said by whoever writes it.
            let mut fields = fields.clone();
            fields.retain(|known, _| known != Known::TransferEncoding);
            let start = Start { version: Version::HTTP_11, status: *status, framing, future: encode::Future::Lasts };
            encode::response_head(&mut out, start, &fields, b"now");
            let to_head = *body == Decoder::Done;
            let again = Reader::of(Side::Responses { to_head }, &[&out]);
            let Some(Event::Response { status: second, body: framing, .. }) = again.events.first() else {
                panic!("not read again: {}", out.escape_ascii())
            };
            assert_eq!((second, framing), (status, body), "{}", out.escape_ascii());
        }
        Event::Data(_) | Event::Trailers(_) => {}
    }
}

fn check(side: Side, cursor: &mut Cursor<'_>) {
    let pieces = cursor.pieces();
    let mut apart = Reader::of(side, &pieces);
    let whole = Reader::of(side, &[&pieces.concat()]);
    if whole.wrong && !apart.wrong {
        // A beginning that can be no head is not looked at again before a line ends.
        assert!(apart.body.is_done());
        apart.feed(b"\r\n\r\n");
    }
    assert_eq!(apart.wrong, whole.wrong, "{:?} and {:?}", apart.events, whole.events);
    assert_eq!(apart.events, whole.events);
    if !whole.wrong {
        assert_eq!(apart.input, whole.input);
    }
    whole.events.iter().for_each(written);
}

pub(super) fn requests(bytes: &[u8]) {
    check(Side::Requests, &mut Cursor(bytes));
}

pub(super) fn responses(bytes: &[u8]) {
    let mut cursor = Cursor(bytes);
    let to_head = cursor.byte() & 1 == 1;
    check(Side::Responses { to_head }, &mut cursor);
}
