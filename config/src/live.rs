//! What routers and endpoints say of themselves in etcd, under leases: names and values of what lies below `live/`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::raw::MovePhase;

/// The longest id, in bytes.
const MAX_ID_BYTES: usize = 128;

/// The checked name of a router or of a registration: 1 to 128 bytes of letters, digits and `-`, `.`, `_`, `:`, `[`, `]`.
/// An address is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LiveId(String);

impl LiveId {
    /// Checks an id. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<LiveId, String> {
        match text.len() {
            0 => return Err("id is empty".to_owned()),
            1..=MAX_ID_BYTES => {}
            n => return Err(format!("id has {n} bytes; {MAX_ID_BYTES} are the most")),
        }
        match text.chars().find(|c| !allowed(*c)) {
            None => Ok(LiveId(text.to_owned())),
            Some(bad) => Err(format!(
                "id \"{}\" has the character {bad:?}; use letters, digits, `-`, `.`, `_`, `:`, `[` and `]`",
                text.escape_debug()
            )),
        }
    }

    /// The id that comes closest to a text, such as the name of a host: what is not allowed becomes `-`.
    pub fn resembling(text: &str) -> LiveId {
        let close: String = text.chars().map(|c| if allowed(c) { c } else { '-' }).take(MAX_ID_BYTES).collect();
        LiveId(if close.is_empty() { "unnamed".to_owned() } else { close })
    }

    /// Another id for the same thing, where this one is taken. A long id loses its end.
    #[must_use]
    pub fn other(&self, number: u32) -> LiveId {
        let kept: String = self.0.chars().take(MAX_ID_BYTES - 9).collect();
        LiveId(format!("{kept}-{number:08x}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | ':' | '[' | ']')
}

impl fmt::Display for LiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a router says of itself. Fields that this version does not know are left alone, and one that is missing has its
/// default: routers may be newer, or older.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouterStatus {
    /// Its id, as in the key.
    pub id: String,
    /// Where its admin endpoints listen, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The version of the program.
    pub version: String,
    /// The generation in force in it; 0 before the first.
    pub generation: u64,
    /// The digest of the documents in force in it, in hexadecimal. Two routers with the same generation and different
    /// digests diverge.
    pub digest: String,
    /// The history in etcd that the generation belongs to, as in the head; empty before the first, and in one that does not
    /// tell. A generation of another history is another generation, whatever its number.
    pub lineage: String,
    /// The digest of what etcd held at that generation, as the router read it: that of the head, unless something is
    /// missing. It differs from `digest` where documents were refused. Empty in one that does not tell.
    pub listed: String,
    /// How it is.
    pub state: RouterState,
    /// Documents that it refused.
    pub quarantined: usize,
    /// When the generation came into force in it, in seconds since 1970.
    pub since: u64,
    /// When the router was started, in seconds since 1970.
    pub started: u64,
    /// The moves of tenants that are under way in it. One that it refused, or does not know of, is not here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<MoveSeen>,
}

/// How a move of a tenant stands in a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveSeen {
    /// The move's name.
    pub name: String,
    /// When it was begun, as its document says: two of one name are told apart by that.
    pub started: u64,
    /// The phase that the router has in force.
    pub phase: MovePhase,
    /// The cell that the router has the tenant on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// Whether no request is on its way any more that came before the fence was up and that the fence keeps away.
    #[serde(default)]
    pub clean: bool,
}

/// How a router is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouterState {
    /// It serves what the store has.
    Ready,
    /// It is about to end.
    Draining,
    /// It serves the last good generation on its disk, because it could not read the store.
    LastKnownGood,
    /// It keeps what it has and does not follow the store, which was emptied, restored or replaced.
    Held,
    /// A state that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl RouterState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            RouterState::Ready => "ready",
            RouterState::Draining => "draining",
            RouterState::LastKnownGood => "last-known-good",
            RouterState::Held => "held",
            RouterState::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        for good in ["a", "Host-1.example", "10.0.0.5:8080", "[fd00::7]:8080", &"x".repeat(128)] {
            assert_eq!(LiveId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a/b", "a b", "ä", "a\0", &"x".repeat(129)] {
            assert!(LiveId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_text_resembles_an_id_and_every_id_has_others() {
        for text in ["", "a/b c", "ä", &"ö".repeat(500), "host"] {
            let id = LiveId::resembling(text);
            assert_eq!(LiveId::parse(id.as_str()).unwrap(), id);
            let other = id.other(7);
            assert_eq!(LiveId::parse(other.as_str()).unwrap(), other);
            assert_ne!(other, id);
        }
    }

    #[test]
    fn a_routers_status_survives_and_one_of_a_newer_router_is_understood() {
        let status = RouterStatus {
            id: "r".to_owned(),
            address: None,
            version: "1".to_owned(),
            generation: 7,
            digest: "00".to_owned(),
            lineage: "l".to_owned(),
            listed: "00".to_owned(),
            state: RouterState::LastKnownGood,
            quarantined: 1,
            since: 2,
            started: 1,
            moves: vec![MoveSeen {
                name: "m".to_owned(),
                started: 5,
                phase: MovePhase::Fenced,
                cell: Some("c".to_owned()),
                clean: true,
            }],
        };
        let text = serde_json::to_string(&status).unwrap();
        assert!(text.contains("\"state\":\"last-known-good\"") && !text.contains("address"), "{text}");
        assert_eq!(serde_json::from_str::<RouterStatus>(&text).unwrap(), status);
        let newer = text.replace("last-known-good", "levitating").replace("{\"id\"", "{\"more\":1,\"id\"");
        assert_eq!(serde_json::from_str::<RouterStatus>(&newer).unwrap().state, RouterState::Unknown);
    }
}
