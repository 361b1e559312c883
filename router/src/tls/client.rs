//! A client's certificate, and how endpoints are told of it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gridrouter_config::certificate::Facts;
use gridrouter_config::model::ForwardedCertificate;
use http::{HeaderMap, HeaderName};
use rustls::pki_types::CertificateDer;

use crate::http::fields::{Fields, Known};

/// A client's certificate, which one of the listener's authorities vouches for.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    pub(crate) facts: Facts,
    /// As a structured field says it (RFC 9440).
    encoded: String,
}

impl ClientCertificate {
    /// Reads one. `None` if it cannot be read, though its signature is good.
    pub(crate) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let facts = Facts::read(der).ok()?;
        Some(Self { facts, encoded: format!(":{}:", BASE64_STANDARD.encode(der)) })
    }
}

/// Removes what a client says by the names that only the router may use, `_` for `-` or not, and tells of its certificate.
pub(crate) fn set(
    fields: &mut Fields,
    reserved: &[HeaderName],
    forward: Option<&ForwardedCertificate>,
    client: Option<&ClientCertificate>,
) {
    fields.retain(|known, name| known != Known::Other || !reserved.iter().any(|one| is_like(one.as_str(), name)));
    for one in reserved.iter().filter(|one| Known::of(one.as_str().as_bytes()) != Known::Other) {
        fields.remove(one.as_str());
    }
    let (Some(forward), Some(client)) = (forward, client) else { return };
    let mut add = |name: &Option<HeaderName>, value: &dyn Fn() -> String| {
        if let Some(name) = name {
            fields.append(name.as_str(), value());
        }
    };
    add(&forward.subject, &|| client.facts.visible_subject());
    add(&forward.san, &|| client.facts.names());
    add(&forward.fingerprint, &|| client.facts.fingerprint.clone());
    add(&forward.certificate, &|| client.encoded.clone());
}

/// Removes from a request's trailers what only the router may say: an endpoint that takes them for headers would believe it.
pub(crate) fn take_out(trailers: &mut HeaderMap, reserved: &[HeaderName]) {
    let is_reserved = |name: &HeaderName| reserved.iter().any(|one| is_like(one.as_str(), name.as_str().as_bytes()));
    let found: Vec<HeaderName> = trailers.keys().filter(|name| is_reserved(name)).cloned().collect();
    for name in found {
        trailers.remove(name);
    }
}

/// Whether a name is this one to endpoints behind CGI and its kin, to which `_` and `-` are the same.
fn is_like(one: &str, name: &[u8]) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == name.len() && one.bytes().zip(name).all(|(a, b)| plain(a) == plain(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say_by_these_names_is_removed() {
        let mut fields: Fields =
            [("x-client", "forged"), ("X_Client", "forged"), ("x-other", "kept")].into_iter().collect();
        let reserved = [HeaderName::from_static("x-client")];
        set(&mut fields, &reserved, None, None);
        assert_eq!(fields.iter().count(), 1);
        assert!(fields.get("x-other").is_some());
    }

    #[test]
    fn what_clients_say_by_these_names_in_trailers_is_removed() {
        let line = |name| (HeaderName::from_static(name), http::HeaderValue::from_static("forged"));
        let mut trailers: HeaderMap = ["x-client", "x_client", "x-client", "x-other"].map(line).into_iter().collect();
        take_out(&mut trailers, &[HeaderName::from_static("x-client")]);
        assert_eq!(trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-other"]);
    }

    #[test]
    fn endpoints_are_told() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI("urn:a,DNS:b.example".try_into().unwrap()));
        params.distinguished_name.push(rcgen::DnType::CommonName, "ä\r\nx: y");
        let made = params.self_signed(&key).unwrap();
        let client = ClientCertificate::read(made.der()).unwrap();
        let name = |text: &'static str| Some(HeaderName::from_static(text));
        let forward = ForwardedCertificate {
            subject: name("x-subject"),
            san: name("x-san"),
            fingerprint: None,
            certificate: name("client-cert"),
        };
        let mut fields = Fields::new();
        set(&mut fields, &[], Some(&forward), Some(&client));
        let text = |name: &str| String::from_utf8(fields.get(name).unwrap().to_vec()).unwrap();
        assert_eq!(text("x-san"), "DNS:a.example, URI:urn:a\\2CDNS:b.example");
        assert!(text("x-subject").contains("\\C3\\A4"), "{}", text("x-subject"));
        assert!(text("x-subject").bytes().all(|byte| matches!(byte, b' '..=b'~')));
        assert!(text("client-cert").starts_with(':') && text("client-cert").ends_with(':'));
        assert_eq!(fields.iter().count(), 3);
    }
}
