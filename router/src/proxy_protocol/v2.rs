//! Version 2: binary.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Bad, Told};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const HEAD: usize = 16;
/// The longest header that is read: addresses take 216 bytes at the most, and what else is told has room for a
/// certificate.
pub(super) const MAX: usize = 4096;
/// A further field: the CRC32c of the whole header, with zeros in its place.
const CRC32C: u8 = 3;

/// Reads a header, whose beginning is as it has to be, as far as it is there.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(usize, Told)>, Bad> {
    // What is wrong is said as soon as it is there.
    let command = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(_) => return Err(Bad::Malformed),
    };
    let Some(&family) = bytes.get(13) else { return Ok(None) };
    // A proxy's own connection may have any: it is to be ignored.
    if matches!(command, Command::Proxy) && (family >> 4 > 3 || family & 15 > 2) {
        return Err(Bad::Malformed);
    }
    let Some(&[high, low]) = bytes.get(14..HEAD) else { return Ok(None) };
    let whole = HEAD + usize::from(u16::from_be_bytes([high, low]));
    if whole > MAX {
        return Err(Bad::TooLong);
    }
    // The addresses' length can be too small for the family; then nothing more has to come.
    let addresses = match (&command, family >> 4) {
        (Command::Local, _) | (_, 0) => 0,
        (_, 1) => 12,
        (_, 2) => 36,
        _ => 216,
    };
    if whole < HEAD + addresses {
        return Err(Bad::Malformed);
    }
    let Some(header) = bytes.get(..whole) else { return Ok(None) };
    let (addresses, fields) = header.get(HEAD..).unwrap_or_default().split_at_checked(addresses).unwrap_or_default();
    match command {
        // All that follows is to be thrown away, whatever it is.
        Command::Local => Ok(Some((whole, Told::Local))),
        Command::Proxy => {
            // Where there is no family nothing says how long addresses of it would be.
            if family >> 4 != 0 {
                check_fields(header, fields)?;
            }
            Ok(Some((whole, told(family, addresses))))
        }
    }
}

enum Command {
    Local,
    Proxy,
}

/// Addresses of connections of TCP. Datagrams are none, and sockets in the file system are nobody's address.
fn told(family: u8, addresses: &[u8]) -> Told {
    let client = match family {
        0x11 => pair::<4, Ipv4Addr>(addresses),
        0x21 => pair::<16, Ipv6Addr>(addresses),
        _ => None,
    };
    client.unwrap_or(Told::Unknown)
}

/// Two addresses of `N` bytes, and two ports.
fn pair<const N: usize, T: From<[u8; N]> + Into<IpAddr>>(addresses: &[u8]) -> Option<Told> {
    let (&client, rest) = addresses.split_first_chunk::<N>()?;
    let (&reached, ports) = rest.split_first_chunk::<N>()?;
    let &[from, from_low, to, to_low] = ports else { return None };
    let address = |ip: [u8; N], port| SocketAddr::new(T::from(ip).into(), u16::from_be_bytes(port));
    Some(Told::Client { client: address(client, [from, from_low]), reached: address(reached, [to, to_low]) })
}

/// Passes over the further fields, and compares the checksum if there is one.
fn check_fields(header: &[u8], fields: &[u8]) -> Result<(), Bad> {
    let (mut rest, mut is_checked) = (fields, false);
    while let [kind, high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = behind.split_at_checked(length).ok_or(Bad::Malformed)?;
        if *kind == CRC32C {
            if std::mem::replace(&mut is_checked, true) {
                return Err(Bad::Malformed);
            }
            let told: [u8; 4] = value.try_into().map_err(|_| Bad::Malformed)?;
            let at = header.len() - next.len() - told.len();
            let zeroed = header.iter().enumerate().map(|(n, byte)| if n >= at && n < at + 4 { 0 } else { *byte });
            if crc32c(zeroed) != u32::from_be_bytes(told) {
                return Err(Bad::Checksum);
            }
        }
        rest = next;
    }
    if rest.is_empty() { Ok(()) } else { Err(Bad::Malformed) }
}

/// CRC-32 with Castagnoli's polynomial (RFC 4960, appendix B), bit by bit: it is asked for once a connection, and rarely.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let divide = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
    !bytes.fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| divide(crc)))
}

#[cfg(test)]
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc32c(bytes.iter().copied())
}
