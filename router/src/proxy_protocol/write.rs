//! Headers as they are sent.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::v2;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// Two addresses of one family.
enum Pair {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Pair {
    /// Both as IPv4 where they are, in whatever form; else both as IPv6.
    fn new(client: IpAddr, reached: IpAddr) -> Self {
        match (client.to_canonical(), reached.to_canonical()) {
            (IpAddr::V4(client), IpAddr::V4(reached)) => Self::V4(client, reached),
            (client, reached) => Self::V6(mapped(client), mapped(reached)),
        }
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The header of a connection that is the router's own.
pub(crate) fn of_nobody(version: Version) -> Vec<u8> {
    match version {
        Version::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        Version::V2 => [v2::SIGNATURE, &[0x20, 0, 0, 0]].concat(),
    }
}

/// The header of a connection for a client that has no address.
pub(crate) fn of_somebody(version: Version) -> Vec<u8> {
    match version {
        Version::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        Version::V2 => [v2::SIGNATURE, &[0x21, 0, 0, 0]].concat(),
    }
}

/// The header that tells of a client that connected to `reached`.
pub(crate) fn header(version: Version, client: SocketAddr, reached: SocketAddr) -> Vec<u8> {
    let (pair, from, to) = (Pair::new(client.ip(), reached.ip()), client.port(), reached.port());
    let mut header = Vec::with_capacity(64);
    match version {
        Version::V1 => {
            // Writing to memory does not fail.
            let _written: std::io::Result<()> = match pair {
                Pair::V4(client, reached) => write!(header, "PROXY TCP4 {client} {reached} {from} {to}\r\n"),
                Pair::V6(client, reached) => write!(header, "PROXY TCP6 {client} {reached} {from} {to}\r\n"),
            };
        }
        Version::V2 => {
            header.extend_from_slice(v2::SIGNATURE);
            match pair {
                Pair::V4(client, reached) => {
                    header.extend_from_slice(&[0x21, 0x11, 0, 12]);
                    header.extend_from_slice(&client.octets());
                    header.extend_from_slice(&reached.octets());
                }
                Pair::V6(client, reached) => {
                    header.extend_from_slice(&[0x21, 0x21, 0, 36]);
                    header.extend_from_slice(&client.octets());
                    header.extend_from_slice(&reached.octets());
                }
            }
            header.extend_from_slice(&from.to_be_bytes());
            header.extend_from_slice(&to.to_be_bytes());
        }
    }
    header
}
