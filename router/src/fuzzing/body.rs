//! Bodies in chunks: the same in whatever pieces they come, as the grammar has them, and as they are written again.

use bytes::BytesMut;
use http::HeaderMap;

use super::cursor::Cursor;
use super::literal;
use crate::http1::body::{Decoded, Decoder};
use crate::http1::encode;

/// What was read of a body.
#[derive(Debug, Default, PartialEq)]
struct Read {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// Whether it is over, and what is behind it then.
    rest: Option<Vec<u8>>,
    wrong: bool,
}

fn read(pieces: &[&[u8]]) -> Read {
    let (mut read, mut input, mut decoder) = (Read::default(), BytesMut::new(), Decoder::new(0, true));
    for piece in pieces {
        input.extend_from_slice(piece);
        while !read.wrong && !decoder.is_done() {
            match decoder.decode(&mut input) {
                Ok(Decoded::Data(data)) => read.data.extend_from_slice(&data),
                Ok(Decoded::Trailers(trailers)) => read.trailers = Some(trailers),
                Ok(Decoded::End) => decoder = Decoder::Done,
                Ok(Decoded::Missing) => break,
                Err(_) => read.wrong = true,
            }
        }
    }
    read.rest = decoder.is_done().then(|| input.to_vec());
    read
}

pub(super) fn check(bytes: &[u8]) {
    let pieces = Cursor(bytes).pieces();
    let (all, apart) = (pieces.concat(), read(&pieces));
    let whole = read(&[&all]);
    assert_eq!(apart, whole);
    let Some(rest) = &whole.rest else { return };
    let literal = literal::chunked(&all);
    assert_eq!(literal, Some((whole.data.clone(), all.len() - rest.len())), "{}", all.escape_ascii());
    let mut out = Vec::new();
    for chunk in whole.data.chunks(7) {
        encode::chunk_size(&mut out, chunk.len());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    encode::last_chunk(&mut out, whole.trailers.as_ref());
    let again = read(&[&out]);
    assert_eq!((again.wrong, &again.data, again.rest.as_deref()), (false, &whole.data, Some(&[][..])));
    for (name, value) in again.trailers.iter().flatten() {
        let sent = whole.trailers.as_ref().is_some_and(|sent| sent.get_all(name).iter().any(|one| one == value));
        assert!(sent, "{name} was not sent");
    }
}
