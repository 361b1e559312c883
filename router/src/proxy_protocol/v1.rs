//! Version 1: a line of text.

use std::net::{IpAddr, SocketAddr};

use super::{Bad, Told};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// The longest line, with its end.
const MAX: usize = 107;

/// Reads a line, whose beginning is as it has to be, as far as it is there.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(usize, Told)>, Bad> {
    let within = bytes.get(..MAX).unwrap_or(bytes);
    let Some(end) = within.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if within.len() < MAX { Ok(None) } else { Err(Bad::TooLong) };
    };
    let line = within.get(..end).unwrap_or_default();
    match (within.get(end), within.get(end + 1)) {
        (Some(b'\r'), Some(b'\n')) => {}
        (Some(b'\r'), None) if end + 1 < MAX => return Ok(None),
        (Some(b'\r'), None) => return Err(Bad::TooLong),
        _ => return Err(Bad::Malformed),
    }
    // Whatever follows that word is to be ignored, even what is no text.
    let is_unknown = line.strip_prefix(b"PROXY UNKNOWN").is_some_and(|rest| matches!(rest.first(), None | Some(b' ')));
    if is_unknown {
        return Ok(Some((end + 2, Told::Unknown)));
    }
    let text = str::from_utf8(line).map_err(|_| Bad::Malformed)?;
    Ok(Some((end + 2, told(text).ok_or(Bad::Malformed)?)))
}

fn told(line: &str) -> Option<Told> {
    let mut words = line.split(' ');
    let (_proxy, family) = (words.next()?, words.next()?);
    let mut ip = || words.next()?.parse::<IpAddr>().ok();
    let (client, reached) = (ip()?, ip()?);
    let fits = match family {
        "TCP4" => client.is_ipv4() && reached.is_ipv4(),
        "TCP6" => client.is_ipv6() && reached.is_ipv6(),
        _ => false,
    };
    let mut port = || port(words.next()?);
    let (from, to) = (port()?, port()?);
    let whole = fits && words.next().is_none();
    whole.then(|| Told::Client { client: SocketAddr::new(client, from), reached: SocketAddr::new(reached, to) })
}

/// A port, without a sign and without leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text == "0" || text.bytes().next().is_some_and(|first| matches!(first, b'1'..=b'9'));
    if plain { text.parse().ok() } else { None }
}
