//! What a certificate says of itself.

use std::fmt::{self, Write};
use std::net::IpAddr;

use aws_lc_rs::digest;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};

/// The most of other names that are looked at.
const MAX_NAMES: usize = 1000;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Whom it was made out to, such as `CN=acme,O=Acme Inc` (RFC 4514).
    pub subject: String,
    /// Who vouches for it.
    pub issuer: String,
    /// The common name in the subject, the last one where there are several.
    pub common_name: Option<String>,
    /// The DNS names in it, in lower case, wildcards among them.
    pub dns: Vec<String>,
    /// The URIs in it.
    pub uris: Vec<String>,
    /// The mail addresses in it.
    pub emails: Vec<String>,
    /// The IP addresses in it.
    pub addresses: Vec<IpAddr>,
    /// From when on it counts, in seconds since 1970.
    pub not_before: u64,
    /// Until when, in seconds since 1970.
    pub not_after: u64,
    /// The serial number in hexadecimal digits.
    pub serial: String,
    /// The SHA-256 of the whole certificate in hexadecimal digits.
    pub fingerprint: String,
    /// Whether it may vouch for others.
    pub is_authority: bool,
    /// The subject in DER, to be compared.
    pub subject_der: Vec<u8>,
    /// Who vouches for it, in DER.
    pub issuer_der: Vec<u8>,
}

pub(super) static NONE: Facts = Facts {
    subject: String::new(),
    issuer: String::new(),
    common_name: None,
    dns: Vec::new(),
    uris: Vec::new(),
    emails: Vec::new(),
    addresses: Vec::new(),
    not_before: 0,
    not_after: 0,
    serial: String::new(),
    fingerprint: String::new(),
    is_authority: false,
    subject_der: Vec::new(),
    issuer_der: Vec::new(),
};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

impl Facts {
    /// Whether it counts at this time, in seconds since 1970.
    pub fn counts_at(&self, now: u64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Reads a certificate. The error says what is wrong with it.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let wrong = |error: x509_cert::der::Error| error.to_string();
        let certificate = CertificateInner::<Raw>::from_der(der).map_err(wrong)?;
        let of = certificate.tbs_certificate();
        let names = of.get_extension::<SubjectAltName>().map_err(wrong)?;
        let basic = of.get_extension::<BasicConstraints>().map_err(wrong)?;
        let validity = of.validity();
        let common_name = of.subject().iter().filter(|one| one.oid == COMMON_NAME).last();
        let mut facts = Self {
            subject: of.subject().to_string(),
            issuer: of.issuer().to_string(),
            common_name: common_name.and_then(|one| text(one.value.value())),
            not_before: validity.not_before.to_unix_duration().as_secs(),
            not_after: validity.not_after.to_unix_duration().as_secs(),
            serial: hex(of.serial_number().as_bytes()),
            fingerprint: hex(digest::digest(&digest::SHA256, der).as_ref()),
            is_authority: basic.is_some_and(|(_, basic)| basic.ca),
            subject_der: of.subject().to_der().map_err(wrong)?,
            issuer_der: of.issuer().to_der().map_err(wrong)?,
            ..Self::default()
        };
        let names = names.into_iter().flat_map(|(_, names)| names.0);
        names.take(MAX_NAMES).for_each(|name| facts.take(name));
        Ok(facts)
    }

    fn take(&mut self, name: GeneralName) {
        match name {
            GeneralName::DnsName(name) => self.dns.push(name.as_str().to_ascii_lowercase()),
            GeneralName::UniformResourceIdentifier(uri) => self.uris.push(uri.as_str().to_owned()),
            GeneralName::Rfc822Name(mail) => self.emails.push(mail.as_str().to_owned()),
            GeneralName::IpAddress(bytes) => {
                let bytes = bytes.as_bytes();
                let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
                self.addresses.extend(four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)));
            }
            GeneralName::OtherName(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EdiPartyName(_)
            | GeneralName::RegisteredId(_) => {}
        }
    }

    /// What people know it by: the first name in it, or else its subject.
    pub fn title(&self) -> &str {
        self.dns.first().or(self.uris.first()).unwrap_or(&self.subject)
    }

    /// Its other names as one text, such as `DNS:a.example.com, URI:spiffe://example/a`. What could be taken for the end of a name
    /// is written as `\\` and two hexadecimal digits.
    pub fn names(&self) -> String {
        let dns = self.dns.iter().map(|name| format!("DNS:{}", visible(name, b",")));
        let uris = self.uris.iter().map(|uri| format!("URI:{}", visible(uri, b",")));
        let emails = self.emails.iter().map(|mail| format!("email:{}", visible(mail, b",")));
        let addresses = self.addresses.iter().map(|address| format!("IP:{address}"));
        dns.chain(uris).chain(emails).chain(addresses).collect::<Vec<_>>().join(", ")
    }

    /// The subject in visible ASCII: other bytes are written as `\\` and two hexadecimal digits (RFC 4514).
    pub fn visible_subject(&self) -> String {
        visible(&self.subject, b"")
    }
}

/// Text in visible ASCII; other bytes, and these too, are written as `\` and two hexadecimal digits.
fn visible(text: &str, these: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && !these.contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _written: fmt::Result = write!(out, "\\{byte:02X}");
        }
    }
    out
}

/// Text as it stands in a subject: UTF-8, or a part of it.
fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string does not fail.
        let _written: fmt::Result = write!(out, "{byte:02x}");
        out
    })
}
