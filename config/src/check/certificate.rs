//! Certificates by themselves. What is in files, only routers can see: they look at those.

use std::path::PathBuf;

use super::value::all;
use super::{Check, host};
use crate::certificate::Pair;
use crate::model::{Certificate, CertificateSource, Secret};
use crate::path::Path;
use crate::problem::quoted;
use crate::raw;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Certificate) -> Option<Certificate> {
    let root = Path::Root;
    let at = root.key("hosts");
    check.unique(&at, &raw.hosts, |text| quoted(text), |text| text.to_ascii_lowercase());
    let hosts = all(raw.hosts.iter().enumerate().map(|(n, text)| check.take(&at.index(n), host::pattern(text))));
    let source = match (&raw.files, &raw.inline) {
        (Some(files), None) => self::files(check, files),
        (None, Some(inline)) => self::inline(check, inline),
        (None, None) => {
            let help = "write `files: {chain: …, key: …}`, or the PEM itself under `inline`";
            check.wrong_but(&root, "certificate has neither `files` nor `inline`", help);
            None
        }
        (Some(_), Some(_)) => {
            check.wrong_but(&root.key("inline"), "certificate has both `files` and `inline`", "remove one of the two");
            None
        }
    };
    Some(Certificate { name: check.source.id.name.clone(), hosts: hosts?, source: source? })
}

fn files(check: &mut Check<'_>, raw: &raw::CertificateFiles) -> Option<CertificateSource> {
    let at = Path::Root.key("files");
    let chain = check.take(&at.key("chain"), absolute(&raw.chain));
    let key = check.take(&at.key("key"), absolute(&raw.key));
    let ocsp = raw.ocsp.as_ref().map(|text| check.take(&at.key("ocsp"), absolute(text)));
    Some(CertificateSource::Files { chain: chain?, key: key?, ocsp: ocsp.map_or(Some(None), |path| path.map(Some))? })
}

fn inline(check: &mut Check<'_>, raw: &raw::CertificateInline) -> Option<CertificateSource> {
    let at = Path::Root.key("inline");
    match Pair::read(raw.chain.as_bytes(), raw.key.as_bytes()) {
        Ok(_) => Some(CertificateSource::Inline { chain: raw.chain.clone(), key: Secret(raw.key.clone()) }),
        Err(fault) => {
            check.wrong_but(&at.key(fault.part.as_str()), fault.message, fault.help);
            None
        }
    }
}

/// The path of a file on each router. Where a router was started says nothing about its files.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    if text.starts_with("-----BEGIN") {
        return Err("this is PEM and not a path; write it under `inline`".to_owned());
    }
    if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
        return Err(format!(
            "{} is not the absolute path of a file; write such as /etc/gridrouter/tls/shop.pem",
            quoted(text)
        ));
    }
    Ok(PathBuf::from(text))
}
