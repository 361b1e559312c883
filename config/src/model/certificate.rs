use std::path::PathBuf;

use super::HostPattern;
use crate::ids::Name;

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// The certificate's name.
    pub name: Name,
    /// The hosts that it is chosen for; empty: the DNS names in it.
    pub hosts: Vec<HostPattern>,
    /// Where it is.
    pub source: CertificateSource,
}

/// Where a certificate is.
#[derive(Debug, Clone, PartialEq)]
pub enum CertificateSource {
    /// In files of each router.
    Files {
        /// The chain in PEM.
        chain: PathBuf,
        /// The key in PEM.
        key: PathBuf,
        /// An OCSP response in DER.
        ocsp: Option<PathBuf>,
    },
    /// In the document. It has been read once: the key fits the certificate.
    Inline {
        /// The chain in PEM.
        chain: String,
        /// The key in PEM.
        key: Secret,
    },
}

/// Text that is shown to nobody.
#[derive(Clone, PartialEq)]
pub struct Secret(pub(crate) String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}
