//! The records that a file consists of: a line with what kind of record it is, how long it is and what it hashes to, and
//! the payload. What was torn, cut or damaged is noticed at the record it is in.

use std::io::{self, BufRead, Read, Write};

use xxhash_rust::xxh3::Xxh3;

use super::error::ErrorKind;

/// No line before a payload is longer than this.
const MAX_LINE_BYTES: u64 = 128;
/// No record that we write is longer than this.
const MAX_PAYLOAD_BYTES: usize = 64 * 1024 * 1024;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Documents that are added or changed, as JSON.
    Documents,
    /// Tenants of the table, one a line; the first line is the place that they are kept below.
    Tenants,
    /// Documents that are no more, as JSON.
    Removed,
    /// The records since the last one of this kind are a generation, named in JSON.
    Generation,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Documents, Kind::Tenants, Kind::Removed, Kind::Generation];

    const fn word(self) -> &'static str {
        match self {
            Kind::Documents => "documents",
            Kind::Tenants => "tenants",
            Kind::Removed => "removed",
            Kind::Generation => "generation",
        }
    }
}

fn line(kind: Kind, payload: &[u8]) -> String {
    let mut hash = Xxh3::new();
    hash.update(kind.word().as_bytes());
    hash.update(payload);
    format!("{} {} {:032x}\n", kind.word(), payload.len(), hash.digest128())
}

pub(super) fn write(to: &mut impl Write, kind: Kind, payload: &[u8]) -> io::Result<()> {
    to.write_all(line(kind, payload).as_bytes())?;
    to.write_all(payload)?;
    to.write_all(b"\n")
}

/// The next record; nothing at the end of the file.
pub(super) fn read(from: &mut impl BufRead) -> Result<Option<(Kind, Vec<u8>)>, ErrorKind> {
    let failed = |source: io::Error| ErrorKind::Io { doing: "read", source };
    let mut first = Vec::new();
    from.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut first).map_err(failed)?;
    if first.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(&first).map_err(|_| ErrorKind::Damaged("a record has no head"))?;
    let mut words = text.trim_end().split(' ');
    let word = words.next().unwrap_or_default();
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word);
    let length = words.next().and_then(|word| word.parse::<usize>().ok()).filter(|length| *length <= MAX_PAYLOAD_BYTES);
    let (Some(kind), Some(length)) = (kind, length) else { return Err(ErrorKind::Damaged("a record has no head")) };
    let mut payload = Vec::new();
    from.by_ref().take(length as u64 + 1).read_to_end(&mut payload).map_err(failed)?;
    if payload.pop() != Some(b'\n') || payload.len() != length {
        return Err(ErrorKind::Damaged("its last record is cut off"));
    }
    // Comparing the whole line leaves no two ways of writing the same head.
    if line(kind, &payload) != text {
        return Err(ErrorKind::Damaged("a checksum is wrong"));
    }
    Ok(Some((kind, payload)))
}
