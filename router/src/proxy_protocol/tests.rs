use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn client(client: &str, reached: &str) -> Told {
    Told::Client { client: client.parse().unwrap(), reached: reached.parse().unwrap() }
}

/// A header of version 2 with this length in it.
fn v2_saying(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family], &length.to_be_bytes(), rest].concat()
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    v2_saying(command, family, u16::try_from(rest.len()).unwrap(), rest)
}

const FOUR: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0x1f, 0x90, 1, 0xbb];

fn six() -> Vec<u8> {
    let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets().to_vec();
    [ip("2001:db8::1"), ip("2001:db8::2"), vec![0x1f, 0x90, 1, 0xbb]].concat()
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// The header with the right checksum in its field.
fn summed(family: u8, addresses: &[u8], before: &[u8], behind: &[u8]) -> Vec<u8> {
    let mut header = v2(0x21, family, &[addresses, before, &field(3, &[0; 4]), behind].concat());
    let at = 16 + addresses.len() + before.len() + 3;
    let sum = v2::checksum(&header).to_be_bytes();
    header[at..at + 4].copy_from_slice(&sum);
    header
}

fn good() -> Vec<(Vec<u8>, Told)> {
    let v4 = client("192.0.2.1:8080", "198.51.100.2:443");
    let v6 = client("[2001:db8::1]:8080", "[2001:db8::2]:443");
    let line = |text: &str| text.as_bytes().to_vec();
    let long = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535 and more that nobody reads, up to the hundredth\
         \r\n";
    vec![
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\r\n"), v4),
        (line("PROXY TCP6 2001:db8::1 2001:db8::2 8080 443\r\n"), v6),
        (line("PROXY TCP6 ::ffff:192.0.2.1 ::1 0 65535\r\n"), client("[::ffff:192.0.2.1]:0", "[::1]:65535")),
        (line("PROXY UNKNOWN\r\n"), Told::Unknown),
        (line(long), Told::Unknown),
        (v2(0x21, 0x11, FOUR), v4),
        (v2(0x21, 0x21, &six()), v6),
        (v2(0x21, 0x11, &[FOUR, &field(0xea, b"\x01vpce-1"), &field(4, &[])].concat()), v4),
        (v2(0x21, 0x11, &[FOUR, &field(0x20, &[0; 4096 - 16 - 12 - 3])].concat()), v4),
        (summed(0x11, FOUR, &[], &[]), v4),
        (summed(0x21, &six(), &field(1, b"h2"), &field(4, b"--")), v6),
        (v2(0x20, 0, &[]), Told::Local),
        (v2(0x20, 0x11, FOUR), Told::Local),
        (v2(0x20, 0x21, b"whatever"), Told::Local),
        (v2(0x20, 0x4F, b"of no family that there is"), Told::Local),
        (v2(0x21, 0, &[]), Told::Unknown),
        (v2(0x21, 0, b"\x01 no fields"), Told::Unknown),
        // Datagrams and sockets in the file system.
        (v2(0x21, 0x12, FOUR), Told::Unknown),
        (v2(0x21, 0x10, FOUR), Told::Unknown),
        (v2(0x21, 0x31, &[b'/'; 216]), Told::Unknown),
    ]
}

#[test]
fn good_headers_are_read_to_their_end_and_wanted_to_their_last_byte() {
    for (header, told) in good() {
        let shown = String::from_utf8_lossy(&header).into_owned();
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Ok(None), "{cut} of {shown:?}");
        }
        assert_eq!(parse(&header), Ok(Some((header.len(), told))), "{shown:?}");
        let more = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(&more), Ok(Some((header.len(), told))), "{shown:?}");
    }
}

#[test]
fn what_is_no_header_is_refused_and_why_is_known_as_soon_as_it_can_be() {
    let line = |text: &str| text.as_bytes().to_vec();
    let wrong_sum = {
        let mut header = summed(0x11, FOUR, &[], &[]);
        header[17] ^= 1;
        header
    };
    let cases: Vec<(Vec<u8>, Bad)> = vec![
        (line("GET / HTTP/1.1\r\n\r\n"), Bad::Missing),
        (line("PROXYTCP4"), Bad::Missing),
        (line("proxy TCP4 192.0.2.1 198.51.100.2 8080 443\r\n"), Bad::Missing),
        (line("\r\n\r\nGET"), Bad::Missing),
        (vec![22, 3, 1], Bad::Missing),
        (line("PROXY \r\n"), Bad::Malformed),
        (line("PROXY TCP5 192.0.2.1 198.51.100.2 8080 443\r\n"), Bad::Malformed),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 8080\r\n"), Bad::Malformed),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 8080 443 1\r\n"), Bad::Malformed),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 8080 443 \r\n"), Bad::Malformed),
        (line("PROXY TCP4  192.0.2.1 198.51.100.2 8080 443\r\n"), Bad::Malformed),
        (line("PROXY  TCP4 192.0.2.1 198.51.100.2 8080 443\r\n"), Bad::Malformed),
        (line("PROXY TCP4 192.0.2.1 2001:db8::1 8080 443\r\n"), Bad::Malformed),
        (line("PROXY TCP6 192.0.2.1 198.51.100.2 8080 443\r\n"), Bad::Malformed),
        (line("PROXY TCP4 192.0.2.01 198.51.100.2 8080 443\r\n"), Bad::Malformed),
        (line("PROXY TCP4 192.0.2.256 198.51.100.2 8080 443\r\n"), Bad::Malformed),
        (line("PROXY TCP4 a.example 198.51.100.2 8080 443\r\n"), Bad::Malformed),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n"), Bad::Malformed),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 +80 443\r\n"), Bad::Malformed),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 080 443\r\n"), Bad::Malformed),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n"), Bad::Malformed),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\n"), Bad::Malformed),
        (line("PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\r\r\n"), Bad::Malformed),
        (b"PROXY TCP4 \xff\r\n".to_vec(), Bad::Malformed),
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat(), Bad::TooLong),
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 92], b"\r"].concat(), Bad::TooLong),
        (v2(0x11, 0x11, FOUR), Bad::Malformed),
        (v2(0x22, 0x11, FOUR), Bad::Malformed),
        (v2(0x21, 0x13, FOUR), Bad::Malformed),
        (v2(0x21, 0x41, FOUR), Bad::Malformed),
        (v2(0x21, 0x11, &FOUR[1..]), Bad::Malformed),
        (v2(0x21, 0x21, FOUR), Bad::Malformed),
        (v2(0x21, 0x31, &six()), Bad::Malformed),
        (v2_saying(0x21, 0x11, 4081, &[]), Bad::TooLong),
        (v2_saying(0x20, 0x00, u16::MAX, &[]), Bad::TooLong),
        // Fields that claim more than there is, or are none.
        (v2(0x21, 0x11, &[FOUR, &[4, 0, 1]].concat()), Bad::Malformed),
        (v2(0x21, 0x11, &[FOUR, &[4, 255, 255, 0]].concat()), Bad::Malformed),
        (v2(0x21, 0x11, &[FOUR, &[4, 0]].concat()), Bad::Malformed),
        (v2(0x21, 0x11, &[FOUR, &field(3, &[0; 3])].concat()), Bad::Malformed),
        (v2(0x21, 0x11, &[FOUR, &field(3, &[0; 4])].concat()), Bad::Checksum),
        (wrong_sum, Bad::Checksum),
    ];
    for (bytes, bad) in cases {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(parse(&bytes), Err(bad), "{shown:?}");
        for cut in 0..bytes.len() {
            let early = parse(&bytes[..cut]);
            assert!(early == Ok(None) || early == Err(bad), "{cut} of {shown:?}: {early:?}");
        }
    }
}

/// RFC 3720, appendix B.4.
#[test]
fn the_checksum_is_castagnolis() {
    assert_eq!(v2::checksum(&[0; 32]), 0x8A91_36AA);
    assert_eq!(v2::checksum(b"123456789"), 0xE306_9283);
}

#[test]
fn headers_are_written_to_the_byte() {
    let told =
        |version, client: &str, reached: &str| header(version, client.parse().unwrap(), reached.parse().unwrap());
    let v4 = ("192.0.2.1:8080", "198.51.100.2:443");
    let v6 = ("[2001:db8::1]:8080", "[2001:db8::2]:443");
    assert_eq!(told(Version::V1, v4.0, v4.1), b"PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\r\n");
    assert_eq!(told(Version::V1, v6.0, v6.1), b"PROXY TCP6 2001:db8::1 2001:db8::2 8080 443\r\n");
    assert_eq!(told(Version::V2, v4.0, v4.1), v2(0x21, 0x11, FOUR));
    assert_eq!(told(Version::V2, v6.0, v6.1), v2(0x21, 0x21, &six()));
    assert_eq!(of_nobody(Version::V1), b"PROXY UNKNOWN\r\n");
    assert_eq!(of_nobody(Version::V2), v2(0x20, 0, &[]));
    assert_eq!(of_somebody(Version::V1), b"PROXY UNKNOWN\r\n");
    assert_eq!(of_somebody(Version::V2), v2(0x21, 0, &[]));
    // A client of IPv4 on a socket for both, and families that differ.
    let mapped = told(Version::V1, "[::ffff:192.0.2.1]:8080", "[::ffff:198.51.100.2]:443");
    assert_eq!(mapped, b"PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\r\n");
    let mixed = told(Version::V1, v4.0, v6.1);
    assert_eq!(mixed, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 8080 443\r\n");
}

fn address(is_v6: bool) -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<(u32, u16)>().prop_map(|(ip, port)| SocketAddr::from((Ipv4Addr::from(ip), port)));
    let v6 = any::<(u128, u16)>().prop_map(|(ip, port)| SocketAddr::from((Ipv6Addr::from(ip), port)));
    if is_v6 { v6.boxed() } else { v4.boxed() }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        (client, reached) in any::<bool>().prop_flat_map(|is_v6| (address(is_v6), address(is_v6))),
        version in prop_oneof![Just(Version::V1), Just(Version::V2)],
        behind in any::<Vec<u8>>(),
    ) {
        let header = header(version, client, reached);
        let length = header.len();
        let read = parse(&[header, behind].concat());
        prop_assert_eq!(read, Ok(Some((length, Told::Client { client, reached }))));
    }

    #[test]
    fn any_bytes_have_an_answer_that_more_of_them_do_not_change(
        bytes in prop_oneof![
            any::<Vec<u8>>(),
            any::<Vec<u8>>().prop_map(|rest| [SIGNATURE, &rest].concat()),
            "PROXY [A-Z0-9 .:\r\n]{0,120}".prop_map(String::into_bytes),
        ],
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = parse(&bytes);
        let early = parse(&bytes[..cut.index(bytes.len() + 1)]);
        prop_assert!(early == Ok(None) || early == whole, "{early:?} and then {whole:?}");
        if let Ok(Some((end, _))) = whole {
            prop_assert!(end <= bytes.len() && end <= MAX);
        }
    }
}
