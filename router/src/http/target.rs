//! What a request is addressed to, checked before anything is decided on it: RFC 9112 §3.2 and RFC 9110 §7.2, as
//! strictly as a gateway must read them.

use std::borrow::Cow;

use http::{Method, Uri, Version};

use super::fields::{Fields, Known};
use super::path;
use super::reject::Reject;

/// The longest method: registered ones have up to 17 letters.
const MAX_METHOD: usize = 64;
/// The longest name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// A checked target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// The host: lower case, without port and trailing dot; empty for an HTTP/1.0 request without one.
    pub host: Cow<'a, str>,
    /// The path in normal form.
    pub path: Cow<'a, str>,
    /// The query, as received.
    pub query: Option<&'a str>,
}

/// Checks method, version, host and path of a request. `is_secure` says whether it came by TLS.
pub fn check<'a>(
    method: &Method,
    uri: &'a Uri,
    version: Version,
    headers: &'a Fields,
    is_secure: bool,
) -> Result<Target<'a>, (Reject, &'static str)> {
    if !is_routed(method.as_str()) {
        return Err((Reject::MethodNotAllowed, "CONNECT, TRACE, PRI and very long methods are never routed"));
    }
    let Asked { host, hosts, expects_more } = Asked::in_(headers);
    let host = host_header(version, host, hosts)?;
    if let Some(authority) = uri.authority() {
        let spoken = if is_secure { &http::uri::Scheme::HTTPS } else { &http::uri::Scheme::HTTP };
        if uri.scheme() != Some(spoken) {
            return Err((Reject::MalformedRequest, "the target has a scheme other than the connection's"));
        }
        if !authority.as_str().eq_ignore_ascii_case(host) {
            return Err((Reject::BadHost, "the target's authority differs from the Host header"));
        }
    }
    if expects_more {
        return Err((Reject::ExpectationFailed, "an expectation other than 100-continue"));
    }
    let path = path::normalise(uri.path()).map_err(|bad| (Reject::BadPath, bad.as_str()))?;
    Ok(Target { host: bare_host(host)?, path, query: uri.query() })
}

/// Whether a method may be sent on. CONNECT and TRACE may not, in any case: methods are case-sensitive, but not every
/// endpoint knows that. PRI begins the preface of HTTP/2, and nothing else (RFC 9113 §3.4).
fn is_routed(method: &str) -> bool {
    match method.len() {
        3 => !method.eq_ignore_ascii_case("PRI"),
        5 => !method.eq_ignore_ascii_case("TRACE"),
        7 => !method.eq_ignore_ascii_case("CONNECT"),
        length => length <= MAX_METHOD,
    }
}

/// What the fields say that is looked at here, found in one look at each of them.
#[derive(Default)]
struct Asked<'a> {
    /// The last `Host`, and how many there are.
    host: Option<&'a [u8]>,
    hosts: usize,
    /// There is an expectation other than 100-continue.
    expects_more: bool,
}

impl<'a> Asked<'a> {
    fn in_(headers: &'a Fields) -> Self {
        let mut asked = Self::default();
        for (known, _, value) in headers.iter() {
            if known == Known::Host {
                asked.host = Some(value);
                asked.hosts += 1;
            } else if known == Known::Expect {
                asked.expects_more |= !value.eq_ignore_ascii_case(b"100-continue");
            }
        }
        asked
    }
}

fn host_header(version: Version, host: Option<&[u8]>, hosts: usize) -> Result<&str, (Reject, &'static str)> {
    match host {
        Some(_) if hosts > 1 => Err((Reject::BadHost, "there is more than one Host header")),
        // RFC 9110 §4.2.1: an http URI has a host.
        Some([]) => Err((Reject::BadHost, "the Host header is empty")),
        Some(host) => str::from_utf8(host).map_err(|_| (Reject::BadHost, "the Host header is not ASCII")),
        None if version == Version::HTTP_10 => Ok(""),
        None => Err((Reject::BadHost, "there is no Host header")),
    }
}

/// A host without its port and trailing dot, in lower case.
fn bare_host(host: &str) -> Result<Cow<'_, str>, (Reject, &'static str)> {
    const BAD: (Reject, &str) = (Reject::BadHost, "the Host header is not a host");
    if host.is_empty() {
        return Ok(Cow::Borrowed(""));
    }
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(BAD)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| BAD)?;
        if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
            return Err(BAD);
        }
        let bare = host.get(..host.len() - port.len()).ok_or(BAD)?;
        return Ok(lower(bare));
    }
    let bare = match memchr::memchr(b':', host.as_bytes()).and_then(|at| host.split_at_checked(at)) {
        Some((bare, port)) if port.strip_prefix(':').is_some_and(is_port) => bare,
        Some(_) => return Err(BAD),
        None => host,
    };
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    let fine = !bare.is_empty() && !bare.ends_with('.') && bare.len() <= MAX_NAME;
    let Some(upper) = has_upper_case(bare).filter(|_| fine) else { return Err(BAD) };
    Ok(if upper { Cow::Owned(bare.to_ascii_lowercase()) } else { Cow::Borrowed(bare) })
}

/// Whether a name has letters in upper case; none when it is no name: it has a byte that no name has, it begins with a
/// dot, or two dots follow each other.
///
/// A byte's traits are ANDed with what must not come here. That is never `BAD`, and after a dot no `DOT`: a dot has one
/// bit more than `DOT`, which lies where `DOT` does when it is moved by one.
fn has_upper_case(name: &str) -> Option<bool> {
    const BAD: u8 = 1;
    const DOT: u8 = 2;
    const UPPER: u8 = 16;
    const TRAITS: [u8; 256] = {
        let mut traits = [BAD; 256];
        let mut byte = 0;
        while byte < 128 {
            traits[byte] = match byte as u8 {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => 0,
                b'A'..=b'Z' => UPPER,
                b'.' => DOT | DOT << 1,
                _ => BAD,
            };
            byte += 1;
        }
        traits
    };
    let (mut seen, mut wrong, mut not_here) = (0, 0, DOT);
    for &byte in name.as_bytes() {
        let traits = TRAITS[usize::from(byte)];
        seen |= traits;
        wrong |= traits & (not_here | BAD);
        not_here = traits >> 1;
    }
    (wrong == 0).then_some(seen & UPPER != 0)
}

fn is_port(port: &str) -> bool {
    port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

fn lower(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(method: &str, uri: &str, version: Version, hosts: &[&str]) -> Result<(String, String), Reject> {
        let headers: Fields = hosts.iter().map(|host| ("host", host)).collect();
        let uri: Uri = uri.parse().unwrap();
        let method: Method = method.parse().unwrap();
        check(&method, &uri, version, &headers, false)
            .map(|t| (t.host.into_owned(), t.path.into_owned()))
            .map_err(|(reject, _)| reject)
    }

    #[test]
    fn hosts() {
        let host = |host: &str| checked("GET", "/", Version::HTTP_11, &[host]).map(|(host, _)| host);
        for (given, wanted) in [
            ("example.com", "example.com"),
            ("EXAMPLE.com:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com:", "example.com"),
            ("[::1]:80", "[::1]"),
            ("[FD00::1]", "[fd00::1]"),
            ("10.0.0.1:1", "10.0.0.1"),
            ("a_b", "a_b"),
        ] {
            assert_eq!(host(given).as_deref(), Ok(wanted), "{given}");
        }
        for bad in [
            "a..", "a b", "a/b", "a@b", "a:b", "a:99999", "a:+80", "..", ".a", "a..b", "[::1", "[zz]", "[::1]x", "a,b",
            "::1",
        ] {
            assert_eq!(host(bad), Err(Reject::BadHost), "{bad}");
        }
    }

    #[test]
    fn exactly_one_host_and_the_same_as_in_the_target() {
        let v11 = Version::HTTP_11;
        assert_eq!(checked("GET", "/", v11, &[]), Err(Reject::BadHost));
        assert_eq!(checked("GET", "/", Version::HTTP_10, &[]), Ok((String::new(), "/".into())));
        assert_eq!(checked("GET", "/", v11, &["a", "a"]), Err(Reject::BadHost));
        assert_eq!(checked("GET", "http://a/x", v11, &["a"]), Ok(("a".into(), "/x".into())));
        assert_eq!(checked("GET", "http://b/x", v11, &["a"]), Err(Reject::BadHost));
        assert_eq!(checked("GET", "http://u@a/x", v11, &["a"]), Err(Reject::BadHost));
        assert_eq!(checked("GET", "https://a/x", v11, &["a"]), Err(Reject::MalformedRequest));
    }

    #[test]
    fn methods_and_paths() {
        let v11 = Version::HTTP_11;
        assert_eq!(checked("TRACE", "/", v11, &["a"]), Err(Reject::MethodNotAllowed));
        assert_eq!(checked("CONNECT", "a:80", v11, &["a:80"]), Err(Reject::MethodNotAllowed));
        assert_eq!(checked("OPTIONS", "*", v11, &["a"]), Err(Reject::BadPath));
        assert_eq!(checked("GET", "/a/../b", v11, &["a"]), Ok(("a".into(), "/b".into())));
    }

    proptest::proptest! {
        #[test]
        fn names_are_what_the_rules_say(name in "[a-cA-C0-1._ é-]{0,8}") {
            let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            let good = name.bytes().all(fine) && !name.starts_with('.') && !name.contains("..");
            let wanted = good.then(|| name.bytes().any(|b| b.is_ascii_uppercase()));
            proptest::prop_assert_eq!(has_upper_case(&name), wanted);
        }
    }
}
