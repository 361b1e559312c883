//! TLS on a listener.

use std::time::Duration;

use http::HeaderName;

use super::super::Check;
use super::super::certificate::absolute;
use crate::certificate::read_authorities;
use crate::model::{
    Authorities, CipherPolicy, ClientCertificateMode, ClientCertificates, ForwardedCertificate, ListenerTls, TlsVersion,
};
use crate::path::Path;
use crate::problem::quoted;
use crate::raw;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn check(check: &mut Check<'_>, raw: &raw::ListenerTls) -> Option<ListenerTls> {
    let at = Path::Root.key("tls");
    let certificates = check.references(&at.key("certificates"), &raw.certificates);
    let default = raw.default.as_ref().map(|text| check.reference(&at.key("default"), text));
    let handshake_timeout =
        check.duration(&at.key("handshakeTimeout"), raw.handshake_timeout.as_ref(), HANDSHAKE_TIMEOUT);
    let clients = raw.client_certificates.as_ref().map(|raw| clients(check, &at.key("clientCertificates"), raw));
    Some(ListenerTls {
        certificates: certificates?,
        default: default.map_or(Some(None), |name| name.map(Some))?,
        minimum_version: raw.minimum_version.unwrap_or(TlsVersion::Tls12),
        ciphers: raw.ciphers.unwrap_or(CipherPolicy::Compatible),
        client_certificates: clients.map_or(Some(None), |clients| clients.map(Some))?,
        handshake_timeout: handshake_timeout?,
    })
}

fn clients(check: &mut Check<'_>, at: &Path<'_>, raw: &raw::ClientCertificates) -> Option<ClientCertificates> {
    let authorities = authorities(check, &at.key("authorities"), &raw.authorities);
    let forward = forward(check, &at.key("forward"), raw.forward.as_ref());
    Some(ClientCertificates {
        mode: raw.mode.unwrap_or(ClientCertificateMode::Required),
        authorities: authorities?,
        forward: forward?,
    })
}

/// Certificates of authorities: the path of a file, or PEM that can be read.
pub(in crate::check) fn authorities(
    check: &mut Check<'_>,
    at: &Path<'_>,
    raw: &raw::Authorities,
) -> Option<Authorities> {
    match raw {
        raw::Authorities::File(path) => check.take(&at.key("file"), absolute(path)).map(Authorities::File),
        raw::Authorities::Inline(pem) => {
            let read = read_authorities(pem.as_bytes()).map(|_| Authorities::Inline(pem.clone()));
            check.take(&at.key("inline"), read)
        }
    }
}

fn forward(
    check: &mut Check<'_>,
    at: &Path<'_>,
    raw: Option<&raw::ForwardedCertificate>,
) -> Option<ForwardedCertificate> {
    let Some(raw) = raw else { return Some(ForwardedCertificate::default()) };
    let fields = [
        ("subject", &raw.subject),
        ("san", &raw.san),
        ("fingerprint", &raw.fingerprint),
        ("certificate", &raw.certificate),
    ];
    let mut names: Vec<Option<HeaderName>> = Vec::new();
    let mut good = true;
    for (field, text) in fields {
        let path = at.key(field);
        let name = text.as_ref().and_then(|text| check.edited_name(&path, text));
        good &= name.is_some() == text.is_some();
        if name.is_some() && names.contains(&name) {
            let text = text.as_deref().unwrap_or_default();
            check.wrong_but(&path, format!("header {} is used twice", quoted(text)), "write another name");
            good = false;
        }
        names.push(name);
    }
    let mut names = names.into_iter();
    let mut next = || names.next().flatten();
    let forward = ForwardedCertificate { subject: next(), san: next(), fingerprint: next(), certificate: next() };
    good.then_some(forward)
}
