use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A certificate with its key, for listeners with TLS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// The certificate's name.
    pub name: String,
    /// The hosts that it is chosen for by clients that name one (SNI): exact names and wildcards such as
    /// `*.example.com`. Default: the DNS names in the certificate itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Files that each router reads by itself, and again when they change. Either these or `inline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<CertificateFiles>,
    /// The certificate and its key themselves. Whoever may read the documents can read the key then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<CertificateInline>,
}

/// Files with a certificate, on each router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateFiles {
    /// PEM file with the certificate, and behind it those that vouch for it, each for the one before. An absolute path.
    pub chain: String,
    /// PEM file with the certificate's private key: PKCS#8, PKCS#1 or SEC1, not encrypted. An absolute path.
    pub key: String,
    /// File with an OCSP response (DER) that is shown with the certificate. An absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<String>,
}

/// A certificate as text.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateInline {
    /// The certificate in PEM, and behind it those that vouch for it, each for the one before.
    pub chain: String,
    /// The certificate's private key in PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: String,
}

impl std::fmt::Debug for CertificateInline {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateInline").field("chain", &self.chain).finish_non_exhaustive()
    }
}
