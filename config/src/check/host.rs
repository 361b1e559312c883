//! Host names and patterns of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::HostPattern;
use crate::problem::quoted;

/// The longest host name and the longest label of one, in bytes (RFC 1035).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host that a route serves: a name, an IP address, or `*.` and a name. Case makes no difference.
pub(super) fn pattern(text: &str) -> Result<HostPattern, String> {
    let lower = text.to_ascii_lowercase();
    match lower.strip_prefix("*.") {
        None if lower == "*" => {
            Err("host \"*\" is every host; leave `hosts` out for that, or write *.example.com".to_owned())
        }
        None if lower.starts_with('*') => name(&lower).map(|()| HostPattern::Exact(lower.clone())),
        None => exact(&lower).map(HostPattern::Exact),
        Some("") => Err("host \"*.\" has nothing after the `*.`; write such as *.example.com".to_owned()),
        Some(suffix) if looks_like_ip(suffix) => {
            Err(format!("host {} is a wildcard over an IP address; write the whole address", quoted(text)))
        }
        Some(suffix) => name(suffix).map(|()| HostPattern::Wildcard(suffix.to_owned())),
    }
}

/// One host: a name or an IP address, in lower case.
pub(super) fn exact(lower: &str) -> Result<String, String> {
    if lower.starts_with('*') {
        return Err(format!("host {} is a pattern; write one host", quoted(lower)));
    }
    if let Some(inner) = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err(format!("host {} is not an IPv6 address; write such as [fd00::7]", quoted(lower))),
        };
    }
    if let Ok(address) = lower.parse::<Ipv6Addr>() {
        return Err(format!("host {} needs brackets; write [{address}]", quoted(lower)));
    }
    name(lower).map(|()| lower.to_owned())
}

/// A host as it stands in a `Host` header: a name or address, and a port if there is one.
pub(super) fn authority(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let (host, port) = match lower.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') && !port.starts_with("//") => (host, Some(port)),
        _ => (lower.as_str(), None),
    };
    let host = exact(host)?;
    match port {
        None => Ok(host),
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok(format!("{host}:{number}")),
            _ => Err(format!("host {} has a bad port; write 1 to 65535 or leave it out", quoted(text))),
        },
    }
}

fn looks_like_ip(text: &str) -> bool {
    text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

fn name(lower: &str) -> Result<(), String> {
    let shown = quoted(lower);
    let wrong = |what: &str, help: &str| Err(format!("host {shown} {what}; {help}"));
    if lower.is_empty() {
        return wrong("is empty", "write a name such as shop.example.com");
    }
    if let Some((scheme, rest)) = lower.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        return wrong(&format!("has the scheme {}", quoted(scheme)), &format!("write {host}"));
    }
    if lower.contains('/') {
        return wrong("has a path", "write the path under `paths`");
    }
    if lower.contains('*') {
        return wrong("has a `*` in a wrong place", "only the first label may be `*`, such as *.example.com");
    }
    if let Some((host, port)) = lower.split_once(':') {
        return wrong(
            &format!("has the port {}", quoted(port)),
            &format!("write {host}, as the listener decides the port"),
        );
    }
    if !lower.is_ascii() {
        return wrong("is not ASCII", "write its punycode form, which begins with xn--");
    }
    if let Some(bad) = lower.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.')) {
        return wrong(&format!("has the character {bad:?}"), "use letters, digits, `-` and dots");
    }
    if let Some(short) = lower.strip_suffix('.') {
        return wrong("ends with a dot", &format!("write {short}"));
    }
    labels(lower)
}

fn labels(lower: &str) -> Result<(), String> {
    let shown = quoted(lower);
    if lower.len() > MAX_NAME {
        return Err(format!("host {shown} has {} bytes; {MAX_NAME} are the most", lower.len()));
    }
    for label in lower.split('.') {
        if label.is_empty() {
            return Err(format!("host {shown} has an empty label; remove the dot too many"));
        }
        if label.len() > MAX_LABEL {
            return Err(format!("host {shown} has a label of {} bytes; {MAX_LABEL} are the most", label.len()));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(format!(
                "host {shown} has the label {}; a label begins and ends with a letter or digit",
                quoted(label)
            ));
        }
    }
    // What ends in a number is an address to every client (RFC 3986, WHATWG URL), so it has to be a good one.
    let last = lower.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) && lower.parse::<Ipv4Addr>().is_err() {
        return Err(format!("host {shown} is neither a name nor an IP address; write such as 10.0.0.7"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_hosts_are_brought_to_lower_case() {
        let exact = |text: &str| HostPattern::Exact(text.to_owned());
        assert_eq!(pattern("Shop.Example.COM"), Ok(exact("shop.example.com")));
        assert_eq!(pattern("*.Example.com"), Ok(HostPattern::Wildcard("example.com".to_owned())));
        assert_eq!(pattern("10.0.0.7"), Ok(exact("10.0.0.7")));
        assert_eq!(pattern("[FD00:0::7]"), Ok(exact("[fd00::7]")));
        assert_eq!(pattern("localhost"), Ok(exact("localhost")));
        assert_eq!(pattern("_dmarc.x-1.example"), Ok(exact("_dmarc.x-1.example")));
        assert_eq!(authority("Checkout.internal:8080").as_deref(), Ok("checkout.internal:8080"));
        assert_eq!(authority("[::1]").as_deref(), Ok("[::1]"));
    }

    #[test]
    fn bad_hosts_are_explained() {
        for (bad, part) in [
            ("", "is empty"),
            ("*", "leave `hosts` out"),
            ("*.", "nothing after"),
            ("*.*.example.com", "`*` in a wrong place"),
            ("shop.*.com", "`*` in a wrong place"),
            ("*shop.com", "`*` in a wrong place"),
            ("*.10.0.0.1", "wildcard over an IP address"),
            ("https://shop.com/x", "write shop.com"),
            ("shop.com:8080", "write shop.com, as the listener"),
            ("shop.com/x", "has a path"),
            ("a b", "has the character ' '"),
            ("a..b", "empty label"),
            ("shop.com.", "write shop.com"),
            ("-a.com", "label \"-a\""),
            ("münchen.de", "xn--"),
            ("1.2.3", "neither a name nor an IP"),
            ("::1", "write [::1]"),
            ("[::g]", "not an IPv6"),
        ] {
            assert!(pattern(bad).unwrap_err().contains(part), "{bad}: {:?}", pattern(bad));
        }
        assert!(pattern(&format!("{}.com", "a".repeat(64))).is_err());
        assert!(pattern(&"a.".repeat(130)).is_err());
        assert!(authority("a:0").is_err() && authority("a:+1").is_err() && authority("http://a").is_err());
    }
}
