//! Checked names.

use std::fmt;
use std::sync::Arc;

/// The kinds of document, in the order people think of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Kind {
    /// A socket that clients connect to.
    Listener,
    /// A certificate with its key.
    Certificate,
    /// A set of cells and the placement policy over them.
    Grid,
    /// One isolated copy of the services.
    Cell,
    /// A named backend.
    Service,
    /// A match on the request, and what happens to it.
    Route,
    /// A named rate or concurrency policy.
    Limit,
    /// Limit values that many tenants share.
    Plan,
    /// A stepwise move of traffic from one track to the other.
    Shift,
    /// A tenant's way from one cell to another.
    Move,
    /// A customer.
    Tenant,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 11] = [
        Kind::Listener,
        Kind::Certificate,
        Kind::Grid,
        Kind::Cell,
        Kind::Service,
        Kind::Route,
        Kind::Limit,
        Kind::Plan,
        Kind::Shift,
        Kind::Move,
        Kind::Tenant,
    ];

    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Listener => "Listener",
            Kind::Certificate => "Certificate",
            Kind::Grid => "Grid",
            Kind::Cell => "Cell",
            Kind::Service => "Service",
            Kind::Route => "Route",
            Kind::Limit => "Limit",
            Kind::Plan => "Plan",
            Kind::Shift => "Shift",
            Kind::Move => "Move",
            Kind::Tenant => "Tenant",
        }
    }

    /// The kind of this word, which is case-sensitive.
    pub fn parse(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A checked name of a document: lower-case letters, digits, `-`, `.` and `_`, 1 to 128 bytes, beginning and ending
/// with a letter or digit. Tenants' names are opaque instead: see [`Name::tenant`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// The longest name and the longest tenant id, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

impl Name {
    /// Checks a name. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Name, String> {
        check_length(text)?;
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = text.as_bytes();
        if let Some(bad) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '.' | '_')) {
            return Err(format!(
                "name \"{}\" has the character {bad:?}; use lower-case letters, digits, `-`, `.` and `_`",
                text.escape_debug()
            ));
        }
        if !edge(bytes.first()) || !edge(bytes.last()) {
            return Err(format!("name \"{text}\" must begin and end with a letter or digit"));
        }
        Ok(Name(text.into()))
    }

    /// Checks a tenant's id: 1 to 128 bytes without control characters or blanks.
    pub fn tenant(text: &str) -> Result<Name, String> {
        check_length(text)?;
        if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(format!("tenant id \"{}\" has a blank or control character", text.escape_debug()));
        }
        Ok(Name(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_length(text: &str) -> Result<(), String> {
    match text.len() {
        0 => Err("name is empty".to_owned()),
        1..=MAX_NAME_BYTES => Ok(()),
        n => Err(format!("name has {n} bytes; {MAX_NAME_BYTES} are the most")),
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What identifies a document: its kind and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct DocumentId {
    /// The kind.
    pub kind: Kind,
    /// The name, unique within its kind.
    pub name: Name,
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "eu-1", "a.b_c", "0"] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "Eu", "a b", "ä", &"x".repeat(129)] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tenant_ids_are_opaque() {
        for good in ["Acme Inc".replace(' ', "_").as_str(), "ACME", "änne", "a/b:c", &"x".repeat(128)] {
            assert!(Name::tenant(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\n", "\u{7f}", &"x".repeat(129)] {
            assert!(Name::tenant(bad).is_err(), "{bad:?}");
        }
    }
}
