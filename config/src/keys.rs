//! Every key that GridRouter has in etcd. No other module knows how one is written.

use crate::ids::{DocumentId, Kind, Name};
use crate::live::LiveId;
use crate::problem::did_you_mean;
use crate::registrations::Place;

/// Where the keys are when nothing else is said.
pub const DEFAULT_PREFIX: &str = "/gridrouter/";

/// For how many generations the history keeps the parts of an entry, which may be large: the entry itself, with who, when,
/// why and which documents, stays for longer.
pub const PARTS_KEPT: u64 = 100;

/// The keys below one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Checks a prefix: printable ASCII that begins with `/`. It ends with `/` too; one that is missing is added.
    pub fn new(prefix: &str) -> Result<Keys, String> {
        if !prefix.starts_with('/') {
            return Err(format!("prefix \"{}\" does not begin with `/`; write /gridrouter/", prefix.escape_debug()));
        }
        if !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("prefix \"{}\" has a blank or is not ASCII", prefix.escape_debug()));
        }
        Ok(Keys { prefix: format!("{}/", prefix.trim_end_matches('/')) })
    }

    /// What every key begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Says which generation is in force.
    pub fn head(&self) -> String {
        format!("{}head", self.prefix)
    }

    /// What the keys of documents begin with.
    pub fn documents(&self) -> String {
        format!("{}config/", self.prefix)
    }

    /// The key of a document.
    pub fn document(&self, id: &DocumentId) -> String {
        format!("{}config/{}", self.prefix, document(id))
    }

    /// What the keys of all documents of a kind begin with.
    pub fn documents_of(&self, kind: Kind) -> String {
        format!("{}config/{}", self.prefix, document_of(kind, ""))
    }

    /// The document that a key below [`Keys::documents`] names.
    pub fn document_of(&self, key: &[u8]) -> Result<DocumentId, String> {
        let text = std::str::from_utf8(key).map_err(|_| "key is not UTF-8, and names no document".to_owned())?;
        let rest = text.strip_prefix(&self.documents()).ok_or("key is not below config/, and names no document")?;
        parse_document(rest)
    }

    /// The range that has the documents and the head, so that one watch tells of both in the order they were written:
    /// from this key up to, not including, the other. The leader's key lies between them; it changes when another controller
    /// leads, which is seldom, and readers pass over it.
    pub fn watched(&self) -> (String, String) {
        (self.documents(), format!("{}\0", self.head()))
    }

    /// What the keys of one writer's staged chunks begin with.
    pub fn staged(&self, generation: u64, writer: &str) -> String {
        format!("{}staged/{generation:020}/{writer}/", self.prefix)
    }

    /// One staged chunk.
    pub fn staged_chunk(&self, generation: u64, writer: &str, chunk: usize) -> String {
        format!("{}{chunk:06}", self.staged(generation, writer))
    }

    /// The staged chunks of all generations up to this one, but for those of one writer in this one: two ranges.
    pub fn staged_litter(&self, generation: u64, writer: &str) -> [(String, String); 2] {
        let (kept, above) = (self.staged(generation, writer), format!("{}staged/{:020}/", self.prefix, generation + 1));
        [(format!("{}staged/", self.prefix), kept.clone()), (end_of(&kept), above)]
    }

    /// What all entries of the history begin with.
    pub fn histories(&self) -> String {
        format!("{}history/", self.prefix)
    }

    /// What a generation changed.
    pub fn history(&self, generation: u64) -> String {
        format!("{}history/{generation:020}", self.prefix)
    }

    /// What the keys of an entry's parts begin with, when it is too big for one value.
    pub fn history_parts(&self, generation: u64, writer: &str) -> String {
        format!("{}/{writer}/", self.history(generation))
    }

    /// One part of an entry.
    pub fn history_part(&self, generation: u64, writer: &str, part: usize) -> String {
        format!("{}{part:06}", self.history_parts(generation, writer))
    }

    /// The parts of entries that nobody needs once a generation is there: those of its own entry but for one writer's,
    /// and those of the entry that is now [`PARTS_KEPT`] generations old.
    pub fn history_litter(&self, generation: u64, writer: &str) -> Vec<(String, String)> {
        let kept = self.history_parts(generation, writer);
        let parts = |generation: u64| format!("{}/", self.history(generation));
        let all = parts(generation);
        let mut litter = vec![(all.clone(), kept.clone()), (end_of(&kept), end_of(&all))];
        if let Some(old) = generation.checked_sub(PARTS_KEPT).filter(|old| *old > 0) {
            litter.push((parts(old), end_of(&parts(old))));
        }
        litter
    }

    /// The entries of all generations before this one: a range.
    pub fn histories_before(&self, generation: u64) -> (String, String) {
        (self.histories(), self.history(generation))
    }

    /// The generation that the key of an entry (not of a part) names.
    pub fn generation_of(&self, key: &[u8]) -> Option<u64> {
        std::str::from_utf8(key).ok()?.strip_prefix(&self.histories())?.parse().ok()
    }

    /// Is there while a controller leads, and says which.
    pub fn leader(&self) -> String {
        format!("{}control/leader", self.prefix)
    }

    /// What the notes of routers begin with.
    pub fn notes(&self) -> String {
        format!("{}control/routers/", self.prefix)
    }

    /// A router's note: under no lease, from before it says that it is alive until it has ended. A router that is not alive and
    /// has one may run still, cut off from etcd.
    pub fn note(&self, id: &str) -> String {
        format!("{}{id}", self.notes())
    }

    /// What the keys of live routers begin with.
    pub fn routers(&self) -> String {
        format!("{}live/routers/", self.prefix)
    }

    /// The key of a live router.
    pub fn router(&self, id: &LiveId) -> String {
        format!("{}{id}", self.routers())
    }

    /// The router that a key below [`Keys::routers`] names.
    pub fn router_of(&self, key: &[u8]) -> Result<LiveId, String> {
        let text = std::str::from_utf8(key).map_err(|_| "key is not UTF-8, and names no router".to_owned())?;
        let rest = text.strip_prefix(&self.routers()).ok_or("key is not below live/routers/, and names no router")?;
        LiveId::parse(rest).map_err(|why| format!("key names no router: {why}"))
    }

    /// What the keys of registered endpoints begin with.
    pub fn endpoints(&self) -> String {
        format!("{}live/endpoints/", self.prefix)
    }

    /// The key of a registered endpoint: `live/endpoints/<service>/<cell>/<track>/<id>`, with `-` for no cell.
    pub fn endpoint(&self, place: &Place, id: &LiveId) -> String {
        format!("{}{place}/{id}", self.endpoints())
    }

    /// The registration that a key below [`Keys::endpoints`] names.
    pub fn endpoint_of(&self, key: &[u8]) -> Result<(Place, LiveId), String> {
        let text = std::str::from_utf8(key).map_err(|_| "key is not UTF-8, and names no endpoint".to_owned())?;
        let rest =
            text.strip_prefix(&self.endpoints()).ok_or("key is not below live/endpoints/, and names no endpoint")?;
        let Some((place, id)) = rest.rsplit_once('/') else {
            return Err("key names no endpoint: it is not service/cell/track/id".to_owned());
        };
        let place = Place::parse(place).map_err(|why| format!("key names no endpoint: {why}"))?;
        Ok((place, LiveId::parse(id).map_err(|why| format!("key names no endpoint: {why}"))?))
    }
}

/// The part of a document's key that is the same below every prefix: `route/checkout`.
pub fn document(id: &DocumentId) -> String {
    document_of(id.kind, id.name.as_str())
}

/// The same of a kind and a name.
pub fn document_of(kind: Kind, name: &str) -> String {
    let kind = match kind {
        Kind::Listener => "listener",
        Kind::Certificate => "certificate",
        Kind::Grid => "grid",
        Kind::Cell => "cell",
        Kind::Service => "service",
        Kind::Route => "route",
        Kind::Limit => "limit",
        Kind::Plan => "plan",
        Kind::Shift => "shift",
        Kind::Move => "move",
        Kind::Tenant => "tenant",
    };
    [kind, "/", name].concat()
}

/// Reads what [`document`] writes.
pub fn parse_document(text: &str) -> Result<DocumentId, String> {
    let Some((word, name)) = text.split_once('/') else {
        return Err(format!("key names no document: \"{}\" is not kind/name", text.escape_debug()));
    };
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str().to_ascii_lowercase() == word) else {
        let known: Vec<String> = Kind::ALL.iter().map(|kind| kind.as_str().to_ascii_lowercase()).collect();
        let hint = did_you_mean(word, known.iter().map(String::as_str)).map(|hint| format!("; {hint}"));
        return Err(format!("key names the unknown kind \"{}\"{}", word.escape_debug(), hint.unwrap_or_default()));
    };
    let name = if kind == Kind::Tenant { Name::tenant(name) } else { Name::parse(name) };
    Ok(DocumentId { kind, name: name.map_err(|why| format!("key names no document: {why}"))? })
}

/// The first key behind all those that begin with `prefix`, whose last byte is no 0xff.
pub fn end_of(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    // Every prefix here ends with a slash, and the byte after a slash is `0`.
    match end.pop() {
        Some('/') => end.push('0'),
        Some(last) => end.push(char::from_u32(u32::from(last) + 1).unwrap_or(char::MAX)),
        None => end.push('\0'),
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("/grid").unwrap()
    }

    fn id(kind: Kind, name: &str) -> DocumentId {
        DocumentId { kind, name: Name::tenant(name).unwrap() }
    }

    #[test]
    fn a_documents_key_names_it() {
        for id in [id(Kind::Route, "check.out"), id(Kind::Tenant, "A/b:ç"), id(Kind::Listener, "0")] {
            let key = keys().document(&id);
            assert_eq!(keys().document_of(key.as_bytes()).unwrap(), id);
        }
        assert_eq!(keys().document(&id(Kind::Route, "a")), "/grid/config/route/a");
        assert_eq!(keys().documents_of(Kind::Route), "/grid/config/route/");
    }

    #[test]
    fn other_keys_name_none_and_the_text_says_why() {
        let why = |key: &[u8]| keys().document_of(key).unwrap_err();
        assert_eq!(why(b"/grid/config/rote/a"), "key names the unknown kind \"rote\"; did you mean \"route\"?");
        assert!(why(b"/grid/config/Route/a").contains("unknown kind \"Route\""));
        assert!(why(b"/grid/config/route/A").contains("use lower-case letters"));
        assert!(why(b"/grid/config/route").contains("is not kind/name"));
        assert!(why(b"/grid/config/route/").contains("name is empty"));
        assert!(why(b"/grid/config/route/\xff").contains("not UTF-8"));
        assert!(why(b"/other/config/route/a").contains("not below config/"));
    }

    #[test]
    fn live_keys_name_routers_and_endpoints() {
        let id = LiveId::parse("10.0.0.5:8080").unwrap();
        assert_eq!(keys().router_of(keys().router(&id).as_bytes()).unwrap(), id);
        for place in ["checkout/eu-1/blue", "checkout/-/green"] {
            let place = Place::parse(place).unwrap();
            let key = keys().endpoint(&place, &id);
            assert_eq!(key, format!("/grid/live/endpoints/{place}/{id}"));
            assert_eq!(keys().endpoint_of(key.as_bytes()).unwrap(), (place, id.clone()));
        }
        for bad in [
            "",
            "a",
            "a/b",
            "a/b/blue",
            "a/b/blue/",
            "a/b/red/c",
            "A/b/blue/c",
            "a/--/blue/c",
            "a/b/blue/c/d",
            "//blue/c",
        ] {
            let why = keys().endpoint_of(format!("/grid/live/endpoints/{bad}").as_bytes()).unwrap_err();
            assert!(why.starts_with("key names no endpoint"), "{why}");
        }
        assert!(keys().endpoint_of(b"/grid/live/endpoints/a/b/blue/\xff").unwrap_err().contains("not UTF-8"));
        assert!(keys().endpoint_of(b"/grid/config/route/a").is_err());
        assert!(keys().router_of(b"/grid/live/routers/a/b").is_err());
    }

    #[test]
    fn prefixes_are_checked() {
        assert_eq!(Keys::new("/a/b//").unwrap().prefix(), "/a/b/");
        assert_eq!(Keys::new("/").unwrap().head(), "/head");
        for bad in ["", "grid", "/a b", "/ä"] {
            assert!(Keys::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_range_has_documents_and_head_and_nothing_else_that_changes_often() {
        let (from, to) = keys().watched();
        let within = |key: &str| key >= from.as_str() && key < to.as_str();
        assert!(within(&keys().head()) && within(&keys().document(&id(Kind::Tenant, "z"))));
        for key in [keys().history(1), keys().staged_chunk(1, "w", 0), "/grid/live/routers/a".to_owned()] {
            assert!(!within(&key), "{key}");
        }
    }

    #[test]
    fn litter_is_everything_up_to_a_generation_but_what_one_writer_put_there() {
        let keys = keys();
        let within = |ranges: &[(String, String)], key: String| ranges.iter().any(|(a, b)| *a <= key && key < *b);
        let staged = keys.staged_litter(7, "me");
        assert!(within(&staged, keys.staged_chunk(6, "me", 0)));
        assert!(within(&staged, keys.staged_chunk(7, "he", 0)));
        assert!(within(&staged, keys.staged_chunk(7, "you", 0)));
        assert!(!within(&staged, keys.staged_chunk(7, "me", 999_999)));
        assert!(!within(&staged, keys.staged_chunk(8, "a", 0)));
        let history = keys.history_litter(7, "me");
        assert!(within(&history, keys.history_part(7, "you", 0)));
        assert!(!within(&history, keys.history_part(7, "me", 3)));
        assert!(!within(&history, keys.history(7)) && !within(&history, keys.history(8)));
        let later = keys.history_litter(7 + PARTS_KEPT, "me");
        assert!(within(&later, keys.history_part(7, "you", 3)) && !within(&later, keys.history(7)));
        assert!(!within(&later, keys.history_part(8, "a", 0)) && !within(&later, keys.history_part(6, "z", 0)));
        let (from, to) = keys.histories_before(7);
        assert!(from < keys.history(6) && keys.history_part(6, "x", 1) < to && keys.history(7) >= to);
        assert_eq!(keys.generation_of(keys.history(6).as_bytes()), Some(6));
        assert_eq!(keys.generation_of(keys.history_part(6, "x", 1).as_bytes()), None);
    }
}
