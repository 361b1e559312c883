//! Who the client is, and how the endpoint is told.
//!
//! The trust rule: the peer's own `X-Forwarded-For`, `-Proto`, `-Host` and `X-Request-Id` are believed only when its
//! address is in the listener's `trustedProxies`; otherwise they are replaced. From a trusted peer, the peer's address
//! is appended to `X-Forwarded-For`, and what it sent of the others is kept. The client's address, which limits may be
//! keyed by, is the peer's; behind trusted peers it is the last entry of `X-Forwarded-For` that is not itself a trusted
//! proxy.

use std::net::IpAddr;

use gridrouter_config::address::NOBODY;
use ipnet::IpNet;

use super::fields::{Fields, Known};

/// The longest request id that is believed.
const MAX_REQUEST_ID: usize = 128;

/// What is told of a peer that has no address (RFC 7239 §6.2).
const UNKNOWN: &str = "unknown";

/// A peer's address as it is told.
pub(super) fn address_text(peer: IpAddr) -> String {
    if peer == NOBODY { UNKNOWN.to_owned() } else { peer.to_canonical().to_string() }
}

/// Sets the headers that tell the endpoint who the client is. `scheme` is what the client speaks, `id` makes a new request id.
pub fn set(headers: &mut Fields, trusted: bool, peer: &[u8], scheme: &str, id: impl FnOnce() -> [u8; 32]) {
    let (mut id_known, mut proto_known, mut host_known) = (false, false, false);
    if trusted {
        proto_known = has_one(headers, Known::XForwardedProto);
        host_known = has_one(headers, Known::XForwardedHost);
        id_known = has_one(headers, Known::XRequestId)
            && headers.known(Known::XRequestId).all(|id| (1..=MAX_REQUEST_ID).contains(&id.len()));
    }
    let disguises = headers.has_underscores();
    let chain = if trusted { chain(headers) } else { Vec::new() };
    headers.retain(|known, name| {
        let replaced = known == Known::XForwardedFor
            || (known == Known::XForwardedProto && !proto_known)
            || (known == Known::XForwardedHost && !host_known)
            || (known == Known::XRequestId && !id_known)
            // A second notation of the same facts would reach the endpoint unchecked.
            || (known == Known::Forwarded && !trusted)
            // Endpoints believe that nobody waits for the answer.
            || (known == Known::XGridrouterMirror && !trusted)
            || (disguises && known == Known::Other && is_disguised(name));
        !replaced
    });
    match chain.strip_suffix(b", ") {
        // Nothing is known that could be added.
        Some(chain) if peer == UNKNOWN.as_bytes() => headers.append_parts(Known::XForwardedFor.as_str(), &[chain]),
        Some(_) | None => headers.append_parts(Known::XForwardedFor.as_str(), &[&chain, peer]),
    }
    if !proto_known {
        headers.append(Known::XForwardedProto.as_str(), scheme);
    }
    if !host_known {
        headers.copy(Known::Host, Known::XForwardedHost);
    }
    if !id_known {
        headers.append(Known::XRequestId.as_str(), id());
    }
}

/// Whether a name is one that the router answers for, written with `_`: behind CGI and its kin both are the same
/// variable, and the endpoint would take what a client says for what the router says.
fn is_disguised(name: &[u8]) -> bool {
    let Some(plain) = name.contains(&b'_').then(|| name.iter().map(|b| if *b == b'_' { b'-' } else { *b })) else {
        return false;
    };
    let mut room = [0; 20];
    let Some(room) = room.get_mut(..name.len()) else { return false };
    room.iter_mut().zip(plain).for_each(|(to, from)| *to = from);
    Known::of(room) != Known::Other
}

fn has_one(headers: &Fields, known: Known) -> bool {
    let mut lines = headers.known(known);
    lines.next().is_some() && lines.next().is_none()
}

/// The addresses a request came by, each with a comma behind it.
fn chain(headers: &Fields) -> Vec<u8> {
    let mut chain = Vec::new();
    for line in headers.known(Known::XForwardedFor).filter(|line| !line.trim_ascii().is_empty()) {
        chain.extend_from_slice(line);
        chain.extend_from_slice(b", ");
    }
    chain
}

/// The client's address.
pub fn client_address(headers: &Fields, peer: IpAddr, trusted_proxies: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted_proxies.iter().any(|net| net.contains(ip));
    let mut client = peer.to_canonical();
    if !is_trusted(&client) {
        return client;
    }
    for line in headers.known(Known::XForwardedFor).rev() {
        let Ok(text) = str::from_utf8(line) else { return client };
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

    fn map(lines: &[(&'static str, &str)]) -> Fields {
        lines.iter().copied().collect()
    }

    fn id() -> [u8; 32] {
        [b'n'; 32]
    }

    const NEW: &str = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";

    fn value<'a>(headers: &'a Fields, name: &str) -> &'a str {
        str::from_utf8(headers.get(name).unwrap()).unwrap()
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
        set(&mut headers, false, b"1.2.3.4", "http", id);
        let wanted = map(&[
            ("host", "shop"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop"),
            ("x-request-id", NEW),
        ]);
        assert_eq!(headers, wanted);
    }

    #[test]
    fn a_name_in_disguise_is_removed() {
        let mut headers = map(&[
            ("host", "shop"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded_proto", "https"),
            ("content_length", "5"),
            ("x_own", "kept"),
            ("a_name_longer_than_any_that_is_known", "kept"),
        ]);
        set(&mut headers, true, b"10.0.0.1", "http", id);
        let names: Vec<_> = headers.iter().map(|(_, name, _)| str::from_utf8(name).unwrap()).collect();
        let added = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];
        assert_eq!(names, [&["host", "x_own", "a_name_longer_than_any_that_is_known"][..], &added].concat());
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
        set(&mut headers, true, b"10.0.0.1", "http", id);
        assert_eq!(value(&headers, "x-forwarded-for"), "6.6.6.6, 10.0.0.1");
        assert_eq!(value(&headers, "x-forwarded-proto"), "https");
        assert_eq!(value(&headers, "x-forwarded-host"), "www");
        assert_eq!(value(&headers, "x-request-id"), "mine");
        let mut empty = map(&[("host", "shop"), ("x-forwarded-for", "")]);
        set(&mut empty, true, b"10.0.0.1", "http", id);
        assert_eq!(value(&empty, "x-forwarded-for"), "10.0.0.1");
        let mut bare = map(&[("host", "shop")]);
        set(&mut bare, true, b"10.0.0.1", "http", id);
        assert_eq!(value(&bare, "x-forwarded-for"), "10.0.0.1");
        assert_eq!(value(&bare, "x-forwarded-host"), "shop");
        assert_eq!(value(&bare, "x-request-id"), NEW);
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
