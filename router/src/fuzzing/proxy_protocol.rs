//! Headers of the PROXY protocol: read as somebody else who follows the specification would, in pieces as at once, and read
//! as they were written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::cursor::Cursor;
use crate::proxy_protocol::{MAX, Told, Version, header, of_nobody, of_somebody, parse};

/// What begins a header of version 2 (section 2.2).
const SIGNATURE: [u8; 12] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A];
/// PP2_TYPE_CRC32C (section 2.2.3).
const CHECKSUM: u8 = 0x03;

/// What a second reader makes of bytes.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    /// A header of so many bytes.
    Whole(usize, Told),
    /// The beginning of one, perhaps.
    More,
    /// None, whatever follows.
    Wrong,
}

fn read(bytes: &[u8]) -> Reading {
    if bytes.starts_with(b"PROXY ") {
        read_line(bytes)
    } else if bytes.starts_with(&SIGNATURE) {
        read_binary(bytes)
    } else if b"PROXY ".starts_with(bytes) || SIGNATURE.starts_with(bytes) {
        Reading::More
    } else {
        Reading::Wrong
    }
}

/// Version 1 (section 2.1): a line of 107 bytes at the most, its end included.
fn read_line(bytes: &[u8]) -> Reading {
    let Some((length, line)) = (0..bytes.len().min(107)).find_map(|at| {
        // A line that has one of the two alone is none of this protocol.
        let ends = matches!(bytes[at], b'\r' | b'\n');
        ends.then(|| (at + 2, &bytes[..at]))
    }) else {
        return if bytes.len() < 107 { Reading::More } else { Reading::Wrong };
    };
    match (bytes[length - 2], bytes.get(length - 1)) {
        _ if length > 107 => return Reading::Wrong,
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) => return Reading::More,
        _ => return Reading::Wrong,
    }
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let told = match words[..] {
        [_, b"UNKNOWN", ..] => Some(Told::Unknown),
        [_, b"TCP4", client, reached, from, to] => both(v4(client), v4(reached), from, to),
        [_, b"TCP6", client, reached, from, to] => both(v6(client), v6(reached), from, to),
        _ => None,
    };
    told.map_or(Reading::Wrong, |told| Reading::Whole(length, told))
}

fn both<T: Into<IpAddr>>(client: Option<T>, reached: Option<T>, from: &[u8], to: &[u8]) -> Option<Told> {
    let of = |address: Option<T>, port: &[u8]| Some(SocketAddr::new(address?.into(), decimal(port, 65_535)?));
    Some(Told::Client { client: of(client, from)?, reached: of(reached, to)? })
}

/// A number in its one form: no sign, no leading zeros.
fn decimal(text: &[u8], most: u32) -> Option<u16> {
    if text.is_empty() || text.len() > 5 || (text.len() > 1 && text[0] == b'0') {
        return None;
    }
    let mut number = 0;
    for byte in text {
        number = number * 10 + u32::from(byte.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    u16::try_from(number).ok().filter(|_| number <= most)
}

fn v4(text: &[u8]) -> Option<Ipv4Addr> {
    let parts: Option<Vec<u8>> =
        text.split(|byte| *byte == b'.').map(|part| decimal(part, 255).map(|number| number as u8)).collect();
    <[u8; 4]>::try_from(parts?).ok().map(Ipv4Addr::from)
}

/// RFC 4291, section 2.2: eight groups of up to four digits, of which one `::` stands for one or more, and the last two may be
/// written as an address of version 4.
fn v6(text: &[u8]) -> Option<Ipv6Addr> {
    let groups = |side: &[u8], may_end_in_v4: bool| -> Option<Vec<u16>> {
        if side.is_empty() {
            return Some(Vec::new());
        }
        let (mut groups, parts) = (Vec::new(), side.split(|byte| *byte == b':').collect::<Vec<_>>());
        for (number, part) in parts.iter().enumerate() {
            if may_end_in_v4 && number + 1 == parts.len() && part.contains(&b'.') {
                let [a, b, c, d] = v4(part)?.octets();
                groups.extend([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
            } else {
                let digits = (1..=4).contains(&part.len()) && part.iter().all(u8::is_ascii_hexdigit);
                groups.push(u16::from_str_radix(str::from_utf8(part).ok().filter(|_| digits)?, 16).ok()?);
            }
        }
        Some(groups)
    };
    let gap = text.windows(2).position(|pair| pair == b"::");
    let whole = match gap {
        None => groups(text, true)?,
        Some(at) => {
            let (before, behind) = (groups(&text[..at], false)?, groups(&text[at + 2..], true)?);
            let zeros = 8_usize.checked_sub(before.len() + behind.len()).filter(|zeros| *zeros > 0)?;
            [before, vec![0; zeros], behind].concat()
        }
    };
    <[u16; 8]>::try_from(whole).ok().map(Ipv6Addr::from)
}

/// Version 2 (section 2.2), of at most [`MAX`] bytes, which is this router's own bound.
fn read_binary(bytes: &[u8]) -> Reading {
    let length = match bytes {
        [_, _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, ..] => usize::from(*high) << 8 | usize::from(*low),
        _ => return Reading::More,
    };
    let (version, command, family, transport) = (bytes[12] >> 4, bytes[12] & 15, bytes[13] >> 4, bytes[13] & 15);
    if version != 2 || command > 1 || 16 + length > MAX {
        return Reading::Wrong;
    }
    // All of a proxy's own is to be thrown away, its family too.
    let is_own = command == 0;
    if !is_own && (family > 3 || transport > 2 || length < [0, 12, 36, 216][usize::from(family)]) {
        return Reading::Wrong;
    }
    if bytes.len() < 16 + length {
        return Reading::More;
    }
    let (whole, block) = (&bytes[..16 + length], &bytes[16..16 + length]);
    let told = match (is_own, family, transport) {
        (true, ..) => Told::Local,
        // Nothing says how long addresses are that have no family.
        (_, 0, _) => Told::Unknown,
        (_, family, transport) => {
            if !fields_are_good(whole, 16 + [0, 12, 36, 216][usize::from(family)]) {
                return Reading::Wrong;
            }
            let port = |at: usize| u16::from(block[at]) << 8 | u16::from(block[at + 1]);
            let four = |at: usize| IpAddr::from([block[at], block[at + 1], block[at + 2], block[at + 3]]);
            let six = |at: usize| IpAddr::from(std::array::from_fn::<u8, 16, _>(|number| block[at + number]));
            match (family, transport) {
                (1, 1) => Told::Client { client: (four(0), port(8)).into(), reached: (four(4), port(10)).into() },
                (2, 1) => Told::Client { client: (six(0), port(32)).into(), reached: (six(16), port(34)).into() },
                _ => Told::Unknown,
            }
        }
    };
    Reading::Whole(whole.len(), told)
}

/// Whether the further fields fill the header to its end, and each checksum among them is right.
fn fields_are_good(whole: &[u8], mut at: usize) -> bool {
    while at < whole.len() {
        if whole.len() - at < 3 {
            return false;
        }
        let (kind, length) = (whole[at], usize::from(whole[at + 1]) << 8 | usize::from(whole[at + 2]));
        at += 3;
        if whole.len() - at < length {
            return false;
        }
        if kind == CHECKSUM && (length != 4 || whole[at..at + 4] != checksum(whole, at)) {
            return false;
        }
        at += length;
    }
    true
}

/// CRC32c of a header whose checksum stands at `at`: the polynomial from its highest bit on, and bytes turned round, where
/// the other reader does the opposite.
fn checksum(whole: &[u8], at: usize) -> [u8; 4] {
    let mut remainder = u32::MAX;
    for (number, byte) in whole.iter().enumerate() {
        let byte = if (at..at + 4).contains(&number) { 0 } else { *byte };
        remainder ^= u32::from(byte.reverse_bits()) << 24;
        for _ in 0..8 {
            let carry = remainder >> 31 == 1;
            remainder <<= 1;
            if carry {
                remainder ^= 0x1EDC_6F41;
            }
        }
    }
    (!remainder.reverse_bits()).to_be_bytes()
}

pub(super) fn check(bytes: &[u8]) {
    reads_alike(bytes);
    built(&mut Cursor(bytes));
    written(&mut Cursor(bytes));
}

/// The two readers agree, and more bytes change nothing once there is an answer.
fn reads_alike(bytes: &[u8]) {
    let whole = parse(bytes);
    match (&whole, read(bytes)) {
        (Ok(Some((length, told))), Reading::Whole(wanted, meant)) => {
            assert_eq!((*length, *told), (wanted, meant));
            assert!(*length <= bytes.len() && *length <= MAX, "{length} of {}", bytes.len());
        }
        (Err(_), Reading::Wrong) => {}
        // What is wrong may show before the second reader looks, which is at the sixteenth byte.
        (Err(_), Reading::More) => {
            assert_eq!(read(&[bytes, &[0; 16]].concat()), Reading::Wrong, "{}", bytes.escape_ascii());
        }
        (Ok(None), Reading::More) => assert!(bytes.len() < MAX),
        (said, meant) => panic!("{said:?}, and not {meant:?}"),
    }
    let mut answered = None;
    for cut in 0..=bytes.len() {
        let so_far = parse(&bytes[..cut]);
        match (&so_far, &whole) {
            // Less than a whole header is none.
            (Ok(None), Ok(Some((length, _)))) => assert!(cut < *length, "{cut}"),
            (Ok(None), _) => {}
            (said, _) => assert_eq!(said, &whole, "{cut}"),
        }
        assert!(answered.is_none() || so_far != Ok(None), "{cut}");
        if so_far != Ok(None) {
            // And from there on nothing changes: the last one is looked at above, all between are the same.
            answered = Some(cut);
            if cut > 256 {
                break;
            }
        }
    }
}

/// A header of version 2 that is put together as the specification says, with a checksum and whatever fields.
fn built(cursor: &mut Cursor<'_>) {
    let family = cursor.pick(&[0x11, 0x21, 0x12, 0x22, 0x10, 0x31, 0x32]);
    let addresses = match family >> 4 {
        1 => 12,
        2 => 36,
        _ => 216,
    };
    let mut block: Vec<u8> = (0..addresses).map(|_| cursor.byte()).collect();
    let mut sum = None;
    for _ in 0..cursor.below(4) {
        let length = cursor.below(40);
        let kind = cursor.byte();
        if kind.is_multiple_of(2) && sum.is_none() {
            block.extend([CHECKSUM, 0, 4]);
            sum = Some(16 + block.len());
            block.extend([0; 4]);
        } else {
            // Any other kind of field.
            block.extend([kind | 0x20, 0, length as u8]);
            block.extend((0..length).map(|_| cursor.byte()));
        }
    }
    let length = u16::try_from(block.len()).unwrap_or_default().to_be_bytes();
    let mut header = [&SIGNATURE[..], &[0x21, family], &length, &block].concat();
    if let Some(at) = sum {
        let sum = checksum(&header, at);
        header[at..at + 4].copy_from_slice(&sum);
    }
    let meant = read(&header);
    let Reading::Whole(length, told) = meant else { panic!("{meant:?} of {}", header.escape_ascii()) };
    assert_eq!(length, header.len());
    reads_alike(&header);
    assert_eq!(matches!(told, Told::Client { .. }), matches!(family, 0x11 | 0x21));
    // With a checksum, no byte may be another one and still tell of another client.
    if sum.is_some() {
        let at = 16 + cursor.below(addresses);
        header[at] ^= 1 << cursor.below(8);
        assert!(parse(&header).is_err(), "{}", header.escape_ascii());
    }
}

/// What is written is what is read, and what comes behind it is left alone.
fn written(cursor: &mut Cursor<'_>) {
    let version = cursor.pick(&[Version::V1, Version::V2]);
    let mut address = || {
        let mut octets: [u8; 16] = std::array::from_fn(|_| cursor.byte());
        let ip: IpAddr = match cursor.below(3) {
            0 => [octets[0], octets[1], octets[2], octets[3]].into(),
            1 => octets.into(),
            _ => {
                octets[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]);
                octets.into()
            }
        };
        SocketAddr::new(ip, u16::from_be_bytes([cursor.byte(), cursor.byte()]))
    };
    let (client, reached) = (address(), address());
    let as_one = |socket: SocketAddr| (socket.ip().to_canonical(), socket.port());
    let nobody = if version == Version::V1 { Told::Unknown } else { Told::Local };
    let others = [(of_nobody(version), nobody), (of_somebody(version), Told::Unknown)];
    let read_back = |mut header: Vec<u8>| {
        let length = header.len();
        header.extend_from_slice(cursor.0);
        reads_alike(&header);
        let Ok(Some((taken, told))) = parse(&header) else { panic!("not read: {}", header.escape_ascii()) };
        assert_eq!(taken, length, "{}", header.escape_ascii());
        told
    };
    for (header, meant) in others {
        assert_eq!(read_back(header), meant);
    }
    let Told::Client { client: from, reached: to } = read_back(header(version, client, reached)) else {
        panic!("nothing is told of {client} and {reached}")
    };
    assert_eq!((as_one(from), as_one(to)), (as_one(client), as_one(reached)));
    assert_eq!(from.is_ipv4(), to.is_ipv4());
}
