//! Who the client is, and how the endpoint is told.
//!
//! The trust rule: the peer's own `X-Forwarded-For`, `-Proto`, `-Host` and `X-Request-Id` are believed only when its
//! address is in the listener's `trustedProxies`; otherwise they are replaced. From a trusted peer, the peer's address
//! is appended to `X-Forwarded-For`, and what it sent of the others is kept. The client's address, which limits may be
//! keyed by, is the peer's; behind trusted peers it is the last entry of `X-Forwarded-For` that is not itself a trusted
//! proxy.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

/// The chain of addresses a request came by.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme the client used.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host the client asked for.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The request's id, for logs everywhere.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is believed.
const MAX_REQUEST_ID: usize = 128;

/// Sets the headers that tell the endpoint who the client is. `id` makes a new request id.
pub fn set(headers: &mut HeaderMap, trusted: bool, peer: HeaderValue, id: impl FnOnce() -> HeaderValue) {
    if trusted {
        let chain = chain(headers, &peer).unwrap_or(peer);
        headers.insert(X_FORWARDED_FOR, chain);
        if !has_one(headers, &X_FORWARDED_PROTO) {
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
        }
        if !has_one(headers, &X_FORWARDED_HOST) {
            set_host(headers);
        }
        let known = has_one(headers, &X_REQUEST_ID)
            && headers.get(X_REQUEST_ID).is_some_and(|id| (1..=MAX_REQUEST_ID).contains(&id.len()));
        if !known {
            headers.insert(X_REQUEST_ID, id());
        }
    } else {
        headers.insert(X_FORWARDED_FOR, peer);
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
        set_host(headers);
        headers.insert(X_REQUEST_ID, id());
        // A second notation of the same facts would reach the endpoint unchecked.
        headers.remove(header::FORWARDED);
    }
}

fn has_one(headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut lines = headers.get_all(name).iter();
    lines.next().is_some() && lines.next().is_none()
}

fn set_host(headers: &mut HeaderMap) {
    match headers.get(header::HOST).cloned() {
        Some(host) => headers.insert(X_FORWARDED_HOST, host),
        None => headers.remove(X_FORWARDED_HOST),
    };
}

/// The chain with the peer appended; `None` when there is none yet.
fn chain(headers: &HeaderMap, peer: &HeaderValue) -> Option<HeaderValue> {
    let mut chain = Vec::new();
    for line in headers.get_all(X_FORWARDED_FOR) {
        if !line.as_bytes().trim_ascii().is_empty() {
            chain.extend_from_slice(line.as_bytes());
            chain.extend_from_slice(b", ");
        }
    }
    if chain.is_empty() {
        return None;
    }
    chain.extend_from_slice(peer.as_bytes());
    HeaderValue::from_bytes(&chain).ok()
}

/// The client's address.
pub fn client_address(headers: &HeaderMap, peer: IpAddr, trusted_proxies: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted_proxies.iter().any(|net| net.contains(ip));
    let mut client = peer.to_canonical();
    if !is_trusted(&client) {
        return client;
    }
    let lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().collect();
    for line in lines.into_iter().rev() {
        let Ok(text) = line.to_str() else { return client };
        for entry in text.rsplit(',') {
            // What is not an address was not written by a proxy that can be trusted: what came before it counts.
            let Ok(ip) = entry.trim().parse::<IpAddr>() else { return client };
            client = ip.to_canonical();
            if !is_trusted(&client) {
                return client;
            }
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    fn id() -> HeaderValue {
        HeaderValue::from_static("new")
    }

    #[test]
    fn what_a_stranger_says_is_replaced() {
        let mut headers = map(&[
            ("host", "shop"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-request-id", "mine"),
            ("forwarded", "for=6.6.6.6"),
        ]);
        set(&mut headers, false, HeaderValue::from_static("1.2.3.4"), id);
        let wanted = map(&[
            ("host", "shop"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop"),
            ("x-request-id", "new"),
        ]);
        assert_eq!(headers, wanted);
    }

    #[test]
    fn what_a_trusted_proxy_says_is_kept() {
        let mut headers = map(&[
            ("host", "shop"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "www"),
            ("x-request-id", "mine"),
        ]);
        set(&mut headers, true, HeaderValue::from_static("10.0.0.1"), id);
        assert_eq!(headers[X_FORWARDED_FOR], "6.6.6.6, 10.0.0.1");
        assert_eq!(headers[X_FORWARDED_PROTO], "https");
        assert_eq!(headers[X_FORWARDED_HOST], "www");
        assert_eq!(headers[X_REQUEST_ID], "mine");
        let mut empty = map(&[("host", "shop"), ("x-forwarded-for", "")]);
        set(&mut empty, true, HeaderValue::from_static("10.0.0.1"), id);
        assert_eq!(empty[X_FORWARDED_FOR], "10.0.0.1");
        let mut bare = map(&[("host", "shop")]);
        set(&mut bare, true, HeaderValue::from_static("10.0.0.1"), id);
        assert_eq!(bare[X_FORWARDED_FOR], "10.0.0.1");
        assert_eq!(bare[X_FORWARDED_HOST], "shop");
        assert_eq!(bare[X_REQUEST_ID], "new");
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_trusted() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let address = |peer: &str, chain: &[(&'static str, &str)]| {
            client_address(&map(chain), peer.parse().unwrap(), &trusted).to_string()
        };
        assert_eq!(address("9.9.9.9", &[("x-forwarded-for", "1.1.1.1")]), "9.9.9.9");
        assert_eq!(address("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, 2.2.2.2, 10.0.0.9")]), "2.2.2.2");
        assert_eq!(address("10.0.0.1", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "fd00::1")]), "1.1.1.1");
        assert_eq!(address("::ffff:10.0.0.1", &[("x-forwarded-for", "1.1.1.1, junk, 10.0.0.9")]), "10.0.0.9");
        assert_eq!(address("10.0.0.1", &[]), "10.0.0.1");
    }
}
