//! The PROXY protocol, versions 1 and 2: a header ahead of everything else on a connection, by which a proxy says whose
//! connection it passes on. Pure.

mod v1;
mod v2;
mod write;

use std::net::SocketAddr;

pub(crate) use write::{Version, header, of_nobody, of_somebody};

/// The longest header that is read.
pub(crate) const MAX: usize = v2::MAX;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// The connection is passed on for a client.
    Client {
        /// Where the client comes from.
        client: SocketAddr,
        /// What it connected to.
        reached: SocketAddr,
    },
    /// The connection is passed on for somebody who has no address that could be told.
    Unknown,
    /// The connection is the proxy's own: it looks whether somebody is here.
    Local,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// They begin with something else.
    Missing,
    /// They begin as one, and go on with what does not belong there.
    Malformed,
    /// It is longer than it may be.
    TooLong,
    /// Its checksum is not that of its bytes.
    Checksum,
}

/// Reads the header that `bytes` begin with: how long it is and what it says. Nothing while more has to come.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(usize, Told)>, Bad> {
    let begins = |signature: &[u8]| bytes.iter().zip(signature).all(|(byte, expected)| byte == expected);
    if begins(v1::SIGNATURE) {
        v1::parse(bytes)
    } else if begins(v2::SIGNATURE) {
        v2::parse(bytes)
    } else {
        Err(Bad::Missing)
    }
}

#[cfg(test)]
mod tests;
