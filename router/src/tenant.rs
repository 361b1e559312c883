//! The tenant stage: whose request it is.
//!
//! A rule names places to look, in order. The first that holds something decides: a tenant's id, or that the request
//! must be refused. An empty value is as good as none. What is ambiguous is never guessed: a header, query parameter
//! or cookie that is there twice with different values is [`Found::Invalid`], because whoever else reads the request
//! may pick the other one. In the common case nothing is allocated: an id is borrowed from the request unless it was
//! percent-encoded.

mod percent;

use std::borrow::Cow;
use std::str;

use gridrouter_config::certificate::Facts as Certificate;
use gridrouter_config::ids::MAX_NAME_BYTES;
use gridrouter_config::model::{CertificateField, Otherwise, TenantRule, TenantSource};
use http::HeaderName;

use crate::http::fields::{Fields, Known};

/// What a request says about its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// It is this tenant's.
    Tenant(Cow<'a, str>),
    /// It names none, and the rule has no default.
    Missing,
    /// What it says is no tenant's id, or is ambiguous.
    Invalid,
}

/// A value that a source holds, or that the request must be refused for it.
pub(crate) type Value<'a> = Result<Cow<'a, str>, Refused>;

/// The value is no id, or there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// What of a request may say whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The host, in lower case and without port.
    pub host: &'a str,
    /// The path, in normal form and not decoded.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a Fields,
    /// The client's certificate, if it has shown one.
    pub certificate: Option<&'a Certificate>,
}

/// Finds the tenant of a request.
pub fn find<'a>(rule: &'a TenantRule, asked: &Asked<'a>) -> Found<'a> {
    let Asked { host, path, query, headers, certificate } = *asked;
    for source in &rule.from {
        let value = match source {
            TenantSource::Header(name) => header(headers, name),
            TenantSource::HostLabel(index) => host_label(host, *index).map(|label| Ok(Cow::Borrowed(label))),
            TenantSource::PathSegment(index) => path_segment(path, *index).map(decoded),
            TenantSource::Query(name) => query.and_then(|query| parameter(query, name)),
            TenantSource::Cookie(name) => cookie(headers, name),
            TenantSource::ClientCertificate(field) => certificate.and_then(|certificate| said(certificate, *field)),
        };
        match value {
            Some(Ok(id)) if is_id(&id) => return Found::Tenant(id),
            Some(Ok(id)) if id.is_empty() => {}
            Some(Ok(_) | Err(Refused)) => return Found::Invalid,
            None => {}
        }
    }
    match &rule.otherwise {
        Otherwise::Tenant(name) => Found::Tenant(Cow::Borrowed(name.as_str())),
        Otherwise::Reject => Found::Missing,
    }
}

/// As [`Name::tenant`](gridrouter_config::ids::Name::tenant) checks it, without allocating.
fn is_id(id: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte > b' ' && byte != 0x7f)
}

fn header<'a>(headers: &'a Fields, name: &'a HeaderName) -> Option<Value<'a>> {
    let mut lines = headers.get_all(name.as_str());
    let first = lines.next()?;
    // Compared as bytes: there is nearly always one line, and only that is looked at as text.
    Some(if lines.all(|line| line == first) { text(first) } else { Err(Refused) })
}

/// A label of a host that is not an address. A host whose last label is a number is an address (WHATWG URL, "ends in a
/// number"), and so is one with a colon.
fn host_label(host: &str, index: u8) -> Option<&str> {
    let last = host.rsplit('.').next().unwrap_or(host);
    let is_address = host.contains(':') || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()));
    if is_address { None } else { host.split('.').nth(usize::from(index)) }
}

fn path_segment(path: &str, index: u8) -> Option<&str> {
    path.strip_prefix('/')?.split('/').nth(usize::from(index))
}

/// The value of a query parameter.
pub(crate) fn parameter<'a>(query: &'a str, name: &str) -> Option<Value<'a>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    only(pairs.filter(|(key, _)| percent::is_form(key, name)).map(|(_, value)| decoded_form(value)))
}

/// The value of a cookie. Cookies are `name=value`, separated by `;` and blanks, on any number of lines (RFC 6265 §5.4, RFC 9113 §8.2.3).
pub(crate) fn cookie<'a>(headers: &'a Fields, name: &str) -> Option<Value<'a>> {
    let pairs = headers.known(Known::Cookie).flat_map(|line| line.split(|&byte| byte == b';'));
    only(pairs.filter_map(|pair| {
        let value = pair.trim_ascii_start().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(text(value.trim_ascii_end()))
    }))
}

/// What a client's certificate says. One that has several names is as good as one that says two things.
fn said(certificate: &Certificate, field: CertificateField) -> Option<Value<'_>> {
    let names = match field {
        CertificateField::SanDns => &certificate.dns,
        CertificateField::SanUri => &certificate.uris,
        CertificateField::SanEmail => &certificate.emails,
        CertificateField::CommonName => {
            return certificate.common_name.as_ref().map(|name| Ok(Cow::Borrowed(name.as_str())));
        }
    };
    only(names.iter().map(|name| Ok(Cow::Borrowed(name.as_str()))))
}

/// The value that all of these are; none if there are none.
fn only<'a>(mut values: impl Iterator<Item = Value<'a>>) -> Option<Value<'a>> {
    let first = values.next()?;
    Some(if values.all(|value| value == first) { first } else { Err(Refused) })
}

fn text(bytes: &[u8]) -> Value<'_> {
    str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Refused)
}

fn decoded(encoded: &str) -> Value<'_> {
    percent::decode(encoded).ok_or(Refused)
}

fn decoded_form(encoded: &str) -> Value<'_> {
    percent::decode_form(encoded).ok_or(Refused)
}

#[cfg(test)]
mod tests;
