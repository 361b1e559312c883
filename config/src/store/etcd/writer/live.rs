//! What routers that are alive say of themselves. Each keeps one key under a lease: a router that is gone for longer than
//! its lease has none.

use serde::{Deserialize, Serialize};

use super::{Session, Writer};
use crate::keys::end_of;
use crate::store::StoreError;
use crate::store::etcd::client::{Etcd, Trouble};

/// What a router has in force. Fields that this version does not know are left alone, and one that is missing has its
/// default: a router may be older or newer than the program that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouterStatus {
    /// Its name, unique among routers.
    pub id: String,
    /// Where its admin endpoints are, if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its version.
    pub version: String,
    /// The generation in force, 0 before the first.
    pub generation: u64,
    /// The digest of what is in force, as [`super::super::Digest`] is written.
    pub digest: String,
    /// How it is, such as `ready` or `draining`; empty when what it wrote cannot be read.
    pub state: String,
    /// Documents that it refused.
    pub quarantined: u64,
    /// Since when this generation is in force, in seconds since 1970.
    pub since: u64,
    /// When the router was started, in seconds since 1970.
    pub started: u64,
}

impl Writer {
    /// The routers that are alive, sorted by name.
    pub fn routers(&mut self) -> Result<Vec<RouterStatus>, StoreError> {
        Ok(self.runtime.block_on(self.session.routers())?)
    }
}

impl Session {
    async fn routers(&mut self) -> Result<Vec<RouterStatus>, Trouble> {
        self.read(async |etcd: &Etcd| {
            let from = etcd.keys().routers();
            let (found, _) = etcd.range(&from, &end_of(&from), 0).await?;
            Ok(found.iter().map(|kv| read(&kv.key, &from, kv.value.as_deref().unwrap_or_default())).collect())
        })
        .await
    }
}

/// A router is there even if what it wrote cannot be read; leaving it out would take it for one that is gone.
fn read(key: &[u8], from: &str, value: &[u8]) -> RouterStatus {
    let named = key.strip_prefix(from.as_bytes()).unwrap_or(key);
    let status: RouterStatus = serde_json::from_slice(value).unwrap_or_default();
    // The key is what etcd keeps unique.
    RouterStatus { id: String::from_utf8_lossy(named).into_owned(), ..status }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_router_writes_is_read_and_what_nobody_can_read_is_still_a_router() {
        let text = br#"{"id":"a","version":"9","generation":7,"digest":"x","state":"ready","zone":{"name":"z"}}"#;
        let status = read(b"/g/live/routers/a", "/g/live/routers/", text);
        assert_eq!((status.id.as_str(), status.generation, status.state.as_str()), ("a", 7, "ready"));
        assert_eq!(status.address, None);
        let strange = read(b"/g/live/routers/b", "/g/live/routers/", b"\xff{");
        assert_eq!((strange.id.as_str(), strange.generation, strange.state.as_str()), ("b", 0, ""));
    }
}
