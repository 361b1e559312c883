//! The digest of a set of documents.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::Xxh3;

/// A digest of documents that can be kept up to date change by change: the sum of the hashes of every document with its
/// name, whatever their order. A router that has in force what a store holds, as `gridctl` writes it, has the store's
/// digest. It notices what got lost or mixed up, not forgery.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(u128);

impl Digest {
    /// The digest of one document, named as in [`crate::keys::document`]: xxh3-128 of the name, a zero byte, which no
    /// name has, and the document's JSON.
    pub fn of(key: &str, json: &[u8]) -> Digest {
        let mut hash = Xxh3::new();
        hash.update(key.as_bytes());
        hash.update(&[0]);
        hash.update(json);
        Digest(hash.digest128())
    }

    /// Adds documents.
    pub fn add(&mut self, other: Digest) {
        self.0 = self.0.wrapping_add(other.0);
    }

    /// Takes documents away again.
    pub fn remove(&mut self, other: Digest) {
        self.0 = self.0.wrapping_sub(other.0);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
        number.map(Digest).ok_or("a digest has 32 hexadecimal digits")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_depend_on_the_order_and_changes_can_be_taken_back() {
        let (mut one, mut other) = (Digest::default(), Digest::default());
        one.add(Digest::of("a", b"1"));
        one.add(Digest::of("b", b"2"));
        other.add(Digest::of("b", b"2"));
        other.add(Digest::of("a", b"old"));
        other.remove(Digest::of("a", b"old"));
        assert_ne!(one, other);
        other.add(Digest::of("a", b"1"));
        assert_eq!(one, other);
        assert_eq!(one.to_string().parse(), Ok(one));
        assert!("00".parse::<Digest>().is_err());
    }
}
