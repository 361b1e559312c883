//! Addresses of sockets: an IP address and a port, or a place in the file system.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::problem::quoted;

/// What an address in the file system begins with.
const UNIX: &str = "unix:";
/// The longest path of a socket, in bytes. The kernel takes 107; a router gives a new socket a name that is a little longer
/// until it is ready.
const MAX_PATH: usize = 100;

/// Whoever comes through a socket in the file system has no address. In its place stands the one that nobody can come
/// from, which documents call `unix`.
pub const NOBODY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The address of a socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// An absolute path.
    Unix(Arc<str>),
}

impl Address {
    /// The IP address and port, unless it is in the file system.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Reads an IP address with a port, or `unix:` with an absolute path. The error says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix(UNIX) {
            Some(path) => unix(path).map(|path| Self::Unix(path.into())),
            None => ip(text).map(Self::Ip),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{path}"),
        }
    }
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointAddress {
    /// At the address of a socket.
    Socket(Address),
    /// At the addresses that a name has, in small letters, and a port.
    Name(Arc<str>, u16),
}

impl EndpointAddress {
    /// The IP address and port, if that is what was said.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => address.socket(),
            Self::Name(..) => None,
        }
    }

    /// Reads an address of a socket, or a name with a port. The error says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.rsplit_once(':') {
            Some((host, port)) if is_name(host) => {
                let number = port.parse().ok().filter(|_| port.bytes().all(|digit| digit.is_ascii_digit()));
                let wrong = || format!("address {} has a bad port; write such as {host}:8080", quoted(text));
                Ok(Self::Name(host.to_ascii_lowercase().into(), number.ok_or_else(wrong)?))
            }
            None if is_name(text) => Err(format!("address {} has no port; write {text}:8080", quoted(text))),
            Some(_) | None => Address::parse(text).map(Self::Socket),
        }
    }
}

impl From<SocketAddr> for EndpointAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address.into())
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// Whether a text can be a name in DNS, and nothing else: its last part is no number, as an address's is. A dot at the end
/// keeps the system's search list out of it.
fn is_name(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let good = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = labels.rsplit('.').next().unwrap_or_default();
    labels.len() <= 253
        && labels.split('.').all(good)
        && last.bytes().any(|byte| byte.is_ascii_alphabetic())
        && labels != "unix"
}

fn unix(path: &str) -> Result<&str, String> {
    let shown = quoted(path);
    if !path.starts_with('/') {
        return Err(format!("path {shown} is not absolute; write such as unix:/run/gridrouter/web.sock"));
    }
    if path.len() > MAX_PATH {
        return Err(format!("path {shown} has {} bytes; {MAX_PATH} are the most for a socket", path.len()));
    }
    if path.ends_with('/') || path.contains('\0') {
        return Err(format!("path {shown} is no file's; write such as unix:/run/gridrouter/web.sock"));
    }
    Ok(path)
}

fn ip(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let shown = quoted(text);
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = inner.parse::<IpAddr>() {
        return Err(format!("address {shown} has no port; write {}", SocketAddr::new(ip, 8080)));
    }
    if text.contains("://") {
        return Err(format!("address {shown} is a URL; write IP address and port alone, such as 10.0.0.7:8080"));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let number = port.bytes().all(|b| b.is_ascii_digit());
    if host.parse::<IpAddr>().is_ok() || host.starts_with('[') {
        return Err(format!(
            "address {shown} has a bad port or bracket; write such as 10.0.0.7:8080 or [fd00::7]:8080"
        ));
    }
    if number && host.bytes().any(|b| b.is_ascii_alphabetic()) {
        return Err(format!(
            "address {shown} has a host name where only an IP address can be; write such as 10.0.0.7:8080 or [fd00::7]:8080"
        ));
    }
    Err(format!("address {shown} is not an IP address and port; write such as 10.0.0.7:8080 or [fd00::7]:8080"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["10.0.0.7:80", "[fd00::7]:80", "[::]:0", "[::ffff:10.0.0.7]:80", "unix:/run/a.sock", "unix:/ü b"]
        {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse("[FD00:0::7]:80").unwrap().to_string(), "[fd00::7]:80");
    }

    #[test]
    fn endpoints_may_have_names() {
        for (text, read) in [
            ("a:80", "a:80"),
            ("Orders.Eu-1.example.COM:8080", "orders.eu-1.example.com:8080"),
            ("orders.example.com.:8080", "orders.example.com.:8080"),
            ("_http._tcp.a1:1", "_http._tcp.a1:1"),
            ("10.0.0.7:80", "10.0.0.7:80"),
            ("[fd00::7]:80", "[fd00::7]:80"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
        ] {
            assert_eq!(EndpointAddress::parse(text).unwrap().to_string(), read);
        }
        for (text, says) in [
            ("orders.example.com", "has no port; write orders.example.com:8080"),
            ("orders.example.com:", "bad port"),
            ("orders.example.com:+1", "bad port"),
            ("orders.example.com:65536", "bad port"),
            ("10.0.0.300:80", "is not an IP address"),
            ("10.0.0:80", "is not an IP address"),
            ("-a.example.com:80", "host name"),
            ("a..b:80", "host name"),
            ("ü.example:80", "host name"),
            ("http://a:80", "is a URL"),
            ("unix:a", "is not absolute"),
        ] {
            let error = EndpointAddress::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write() {
        for (text, says) in [
            ("10.0.0.7", "has no port; write 10.0.0.7:8080"),
            ("fd00::7", "has no port; write [fd00::7]:8080"),
            ("[fd00::7]", "has no port; write [fd00::7]:8080"),
            ("[fd00::7]:x", "bad port or bracket"),
            ("10.0.0.7:65536", "bad port or bracket"),
            ("[fd00::7:80", "bad port or bracket"),
            ("fe80::1%eth0:80", "host name"),
            ("http://a:80", "is a URL"),
            ("unix:run/a.sock", "is not absolute"),
            ("unix:", "is not absolute"),
            ("unix:/run/", "is no file's"),
            ("unix:/run/a\0b", "is no file's"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(Address::parse(&format!("unix:/{}", "a".repeat(99))).is_ok());
        assert!(Address::parse(&format!("unix:/{}", "a".repeat(100))).unwrap_err().contains("101 bytes"));
    }
}
