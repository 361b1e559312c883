//! The head: what says which generation is in force.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Lineages that a head remembers to have taken the place of.
const REPLACED: usize = 16;
/// The last generation there can be.
pub(super) const LAST: u64 = i64::MAX as u64;

/// What `head` holds. Fields that this version does not know are left alone: a newer gridctl may have written it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The generation in force, counted from 1.
    pub generation: u64,
    /// Who published it.
    pub author: String,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// When, in seconds since 1970.
    pub time: u64,
    /// Digest of its documents.
    pub digest: Digest,
    /// How many documents it has.
    pub documents: u64,
    /// The history that this generation belongs to, drawn at random when the first one was published. A store that was
    /// emptied and filled again has another, whatever its generations are called.
    pub lineage: String,
    /// Lineages that this one takes the place of, by the word of an operator; the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<String>,
    /// The etcd cluster that it was published in, in hexadecimal: a backup that is restored makes another cluster.
    pub cluster: String,
    /// The act of publishing it, drawn at random: tells a writer whose answer was lost whether it was its own.
    pub writer: String,
    /// Where the change is, when it was too big for one transaction and is not yet settled into the documents' keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Staged>,
}

/// Chunks of changes that lie over the documents' keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Staged {
    /// The writer in the chunks' keys.
    pub writer: String,
    /// How many there are.
    pub chunks: usize,
}

impl Head {
    /// Reads a head. The error says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Head, String> {
        let head: Head =
            serde_json::from_slice(bytes).map_err(|error| format!("is not what gridctl writes: {error}"))?;
        if head.generation > LAST {
            return Err(format!(
                "is not what gridctl writes: its generation is {}, and {LAST} is the last there can be",
                head.generation
            ));
        }
        Ok(head)
    }

    /// Notes that an operator put this lineage in the place of others.
    pub(super) fn replace(&mut self, lineages: impl IntoIterator<Item = String>) {
        let older = std::mem::take(&mut self.replaces);
        for lineage in lineages.into_iter().chain(older) {
            if lineage != self.lineage && !self.replaces.contains(&lineage) && self.replaces.len() < REPLACED {
                self.replaces.push(lineage);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn head(generation: u64, lineage: &str) -> Head {
        Head {
            generation,
            author: "ann".to_owned(),
            message: String::new(),
            time: 1,
            digest: Digest::of("", &generation.to_le_bytes()),
            documents: 0,
            lineage: lineage.to_owned(),
            replaces: Vec::new(),
            cluster: "c".to_owned(),
            writer: "w".to_owned(),
            staged: None,
        }
    }

    #[test]
    fn a_head_survives_being_written_and_read() {
        let mut head = head(3, "x");
        head.staged = Some(Staged { writer: "w".to_owned(), chunks: 2 });
        let text = serde_json::to_string(&head).unwrap();
        assert_eq!(Head::parse(text.as_bytes()).unwrap(), head);
        assert!(Head::parse(text.replace("\"time\"", "\"newer\":1,\"time\"").as_bytes()).is_ok());
        assert!(Head::parse(b"{}").unwrap_err().contains("missing field"));
        assert!(Head::parse(b"\xff").is_err());
        let beyond = text.replace("\"generation\":3", "\"generation\":9223372036854775808");
        assert!(Head::parse(beyond.as_bytes()).unwrap_err().contains("9223372036854775807 is the last there can be"));
    }

    #[test]
    fn replaced_lineages_are_bounded_and_named_once() {
        let mut head = head(3, "own");
        head.replace((0..40).map(|n| format!("{}", n % 20)));
        head.replace(["own".to_owned(), "new".to_owned()]);
        assert_eq!(head.replaces.len(), REPLACED);
        assert_eq!(head.replaces[0], "new");
    }
}
