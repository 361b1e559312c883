//! What routers that are alive say of themselves. Each keeps one key under a lease: a router that is gone for longer than
//! its lease has none.

use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse};

use super::{Session, Writer};
use crate::keys::end_of;
use crate::live::RouterStatus;
use crate::store::StoreError;
use crate::store::etcd::client::{Etcd, Trouble};

impl Writer {
    /// The routers that are alive, sorted by name.
    pub fn routers(&mut self) -> Result<Vec<RouterStatus>, StoreError> {
        Ok(self.runtime.block_on(self.session.routers())?)
    }

    /// The same, and the names of those that are not alive and did not say farewell: they may run still, cut off from etcd.
    pub fn fleet(&mut self) -> Result<(Vec<RouterStatus>, Vec<String>), StoreError> {
        // The notes first: a router that comes in between is in both, and one that ends in between in neither.
        let notes = self.runtime.block_on(self.session.notes())?;
        let live = self.runtime.block_on(self.session.routers())?;
        let gone = notes.into_iter().filter(|id| !live.iter().any(|router| router.id == *id)).collect();
        Ok((live, gone))
    }

    /// Forgets a router that is not alive: an operator says that it has ended. Whether there was a note of it.
    pub fn forget_router(&mut self, id: &str) -> Result<bool, StoreError> {
        Ok(self.runtime.block_on(self.session.forget_router(id))?)
    }
}

impl Session {
    async fn notes(&mut self) -> Result<Vec<String>, Trouble> {
        self.read(async |etcd: &Etcd| {
            let from = etcd.keys().notes();
            let (found, _) = etcd.range(&from, &end_of(&from), 0).await?;
            let name = |key: &[u8]| String::from_utf8_lossy(key.get(from.len()..).unwrap_or_default()).into_owned();
            Ok(found.iter().map(|kv| name(&kv.key)).collect())
        })
        .await
    }

    async fn forget_router(&mut self, id: &str) -> Result<bool, Trouble> {
        let read = async |etcd: &Etcd| {
            let live = format!("{}{id}", etcd.keys().routers());
            let dead = Compare::create_revision(live, CompareOp::Equal, 0);
            let delete = TxnOp::delete(etcd.keys().note(id), None);
            let answer = etcd.txn(Txn::new().when([dead]).and_then([delete])).await?;
            let deleted = |response| match response {
                TxnOpResponse::Delete(deleted) => deleted.deleted() > 0,
                TxnOpResponse::Put(_) | TxnOpResponse::Get(_) | TxnOpResponse::Txn(_) => false,
            };
            Ok(answer.succeeded() && answer.op_responses().into_iter().any(deleted))
        };
        self.read(read).await
    }

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
    use crate::live::RouterState;

    #[test]
    fn what_a_newer_router_writes_is_read_and_what_nobody_can_read_is_still_a_router() {
        let text = br#"{"id":"a","version":"9","generation":7,"digest":"x","state":"ready","zone":{"name":"z"}}"#;
        let status = read(b"/g/live/routers/a", "/g/live/routers/", text);
        assert_eq!((status.id.as_str(), status.generation, status.state), ("a", 7, RouterState::Ready));
        assert_eq!(status.address, None);
        let strange = read(b"/g/live/routers/b", "/g/live/routers/", b"\xff{");
        assert_eq!((strange.id.as_str(), strange.generation, strange.state), ("b", 0, RouterState::Unknown));
    }
}
