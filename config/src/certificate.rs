//! What is in certificates and keys: read from PEM, checked, and told. Pure: neither files nor clocks.

mod facts;

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

pub use facts::Facts;

/// A certificate that can be served: its chain fits together, and the key is its own.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate, and behind it those that vouch for it.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: Arc<dyn SigningKey>,
    /// What each certificate of the chain says; never empty, the certificate itself first.
    pub facts: Vec<Facts>,
}

/// A part of a certificate with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The chain.
    Chain,
    /// The key.
    Key,
}

impl Part {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Part::Chain => "chain",
            Part::Key => "key",
        }
    }
}

/// What is wrong with a chain or a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub part: Part,
    /// What.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Fault {
    fn new(part: Part, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { part, message: message.into(), help: help.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.help)
    }
}

impl std::error::Error for Fault {}

impl Pair {
    /// Reads a chain and its key.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self, Fault> {
        let (chain, facts) = read_chain(chain)?.into_iter().unzip();
        let key = read_key(key)?;
        let pair = Self { chain, key, facts };
        match pair.certified().keys_match() {
            Ok(()) => Ok(pair),
            Err(rustls::Error::InconsistentKeys(_)) => Err(Fault::new(
                Part::Key,
                format!("key does not fit the certificate of {}", pair.leaf().title()),
                "write the key that the certificate was asked for with",
            )),
            Err(error) => Err(Fault::new(
                Part::Chain,
                format!("certificate of {} cannot be served: {error}", pair.leaf().title()),
                "ask for another one; an X.509 certificate of version 3 is needed",
            )),
        }
    }

    /// As handshakes take it, without an OCSP response.
    pub fn certified(&self) -> CertifiedKey {
        CertifiedKey::new(self.chain.clone(), Arc::clone(&self.key))
    }

    /// What the certificate itself says.
    pub fn leaf(&self) -> &Facts {
        // Never empty: see `read_chain`.
        self.facts.first().unwrap_or(&facts::NONE)
    }

    /// When the first certificate of the chain expires, in seconds since 1970.
    pub fn expires(&self) -> u64 {
        self.facts.iter().map(|facts| facts.not_after).min().unwrap_or_default()
    }
}

/// Reads a chain: at least one certificate, each vouched for by the next.
pub fn read_chain(pem: &[u8]) -> Result<Vec<(CertificateDer<'static>, Facts)>, Fault> {
    let fault = |message: String, help: &str| Fault::new(Part::Chain, message, help);
    let chain = read_certificates(pem).map_err(|(message, help)| fault(message, help))?;
    if chain.is_empty() {
        let help = if private_keys(pem) > 0 { "this is a key" } else { "it begins with -----BEGIN CERTIFICATE-----" };
        return Err(fault("there is no certificate in it".to_owned(), help));
    }
    for (at, pair) in chain.windows(2).enumerate() {
        let [(_, one), (_, next)] = pair else { continue };
        if one.issuer_der != next.subject_der {
            let (first, second) = (at + 1, at + 2);
            let turned = next.issuer_der == one.subject_der;
            let help =
                if turned { "put each before the one that vouches for it" } else { "remove what does not belong" };
            let (issuer, subject) = (&one.issuer, &next.subject);
            return Err(fault(
                format!("certificate {first} of the chain is vouched for by {issuer}, and {second} is {subject}"),
                help,
            ));
        }
    }
    Ok(chain)
}

/// Reads the certificates of authorities that vouch for clients or for endpoints.
pub fn read_authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (at, (der, facts)) in
        read_certificates(pem).map_err(|(what, help)| format!("{what}; {help}"))?.into_iter().enumerate()
    {
        roots.add(der).map_err(|error| {
            format!("certificate {} ({}) is no authority's: {error}; remove it", at + 1, facts.title())
        })?;
    }
    if roots.is_empty() {
        return Err("there is no certificate in it; it begins with -----BEGIN CERTIFICATE-----".to_owned());
    }
    Ok(roots)
}

type Read = Vec<(CertificateDer<'static>, Facts)>;

fn read_certificates(pem: &[u8]) -> Result<Read, (String, &'static str)> {
    let mut read = Vec::new();
    for (at, der) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let der = der.map_err(|error| (format!("it is not PEM: {}", told(&error)), "export it as PEM again"))?;
        let facts = Facts::read(&der)
            .map_err(|why| (format!("certificate {} cannot be read: {why}", at + 1), "export it as PEM again"))?;
        read.push((der, facts));
    }
    Ok(read)
}

fn private_keys(pem: &[u8]) -> usize {
    PrivateKeyDer::pem_slice_iter(pem).flatten().count()
}

fn read_key(pem: &[u8]) -> Result<Arc<dyn SigningKey>, Fault> {
    let fault = |message: String, help: &str| Fault::new(Part::Key, message, help);
    let plain = "write it as PKCS#8 that is not encrypted: openssl pkcs8 -topk8 -nodes -in KEY";
    let mut keys = PrivateKeyDer::pem_slice_iter(pem);
    let key = match (keys.next(), keys.next()) {
        (Some(Ok(key)), None) => key,
        (Some(_), Some(_)) => {
            return Err(fault(
                "there is more than one key in it".to_owned(),
                "leave the one that belongs to the certificate",
            ));
        }
        (Some(Err(error)), None) => return Err(fault(format!("it is not PEM: {}", told(&error)), plain)),
        (None, _) if memchr::memmem::find(pem, b"ENCRYPTED").is_some() => {
            return Err(fault("the key is encrypted".to_owned(), plain));
        }
        (None, _) => {
            return Err(fault(
                "there is no private key in it".to_owned(),
                "it begins with -----BEGIN PRIVATE KEY-----",
            ));
        }
    };
    // What the library says may quote the key.
    any_supported_type(&key).map_err(|_| {
        fault("this kind of key is not supported".to_owned(), "use RSA, ECDSA (P-256, P-384, P-521) or Ed25519")
    })
}

/// What is wrong with PEM, without a piece of it: it may be of a key.
fn told(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section begins wrongly",
        pem::Error::Base64Decode(_) => "what is between begin and end is not base64",
        pem::Error::Io(_) | pem::Error::NoItemsFound | pem::Error::SectionTooLarge | _ => "it cannot be read",
    }
}

#[cfg(test)]
mod tests;
