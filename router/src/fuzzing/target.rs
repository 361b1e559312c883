//! What a request is addressed to: host and path in one form, and the same once the request is written anew.

use bytes::BytesMut;
use http::{Uri, Version};

use super::cursor::Cursor;
use super::path;
use crate::http::fields::Known;
use crate::http::target;
use crate::http1::{Scan, encode, request};

/// What must hold of a host that may be routed on.
fn is_bare(host: &str) {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = address {
        assert!(address.parse::<std::net::Ipv6Addr>().is_ok(), "{host}");
    } else {
        let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        assert!(host.bytes().all(fine) && host.split('.').all(|label| !label.is_empty()), "{host}");
    }
    assert!(host.len() <= 253 && !host.bytes().any(|byte| byte.is_ascii_uppercase()), "{host}");
}

pub(super) fn check(bytes: &[u8]) {
    let mut cursor = Cursor(bytes);
    let is_secure = cursor.byte() & 1 == 1;
    let Ok(Some(head)) = request::parse(&mut BytesMut::from(cursor.0), &mut Scan::default()) else { return };
    let request::Head { method, uri, version, fields, .. } = &head;
    let Ok(found) = target::check(method, uri, *version, fields, is_secure) else { return };
    assert!(!["CONNECT", "TRACE", "PRI"].iter().any(|never| never.eq_ignore_ascii_case(method.as_str())));
    path::is_normal(&found.path);
    path::check(uri.path().as_bytes());
    assert_eq!(found.query, uri.query());
    if found.host.is_empty() {
        assert_eq!((*version, fields.has(Known::Host)), (Version::HTTP_10, false));
        return;
    }
    is_bare(&found.host);
    let said = fields.known(Known::Host).next().unwrap_or_default().to_ascii_lowercase();
    let rest = said.strip_prefix(found.host.as_bytes());
    let rest = rest.map(|rest| rest.strip_prefix(b".").unwrap_or(rest));
    let is_port =
        |rest: &[u8]| rest.is_empty() || rest.strip_prefix(b":").is_some_and(|p| p.iter().all(u8::is_ascii_digit));
    assert!(rest.is_some_and(is_port), "{} of {}", found.host, said.escape_ascii());
    // As an endpoint reads it: the target in origin form, in normal form.
    let query = found.query.map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(sent) = Uri::try_from(format!("{}{query}", found.path)) else {
        panic!("{}{query} is no target", found.path)
    };
    let mut out = Vec::new();
    encode::request_head(&mut out, method, &sent, fields);
    let Ok(Some(again)) = request::parse(&mut BytesMut::from(&*out), &mut Scan::default()) else {
        panic!("not read again: {}", out.escape_ascii())
    };
    let second = target::check(&again.method, &again.uri, again.version, &again.fields, is_secure);
    assert_eq!(second.as_ref(), Ok(&found), "{}", out.escape_ascii());
}
