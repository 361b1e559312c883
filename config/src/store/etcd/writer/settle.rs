//! Settling a staged change into the documents' keys.

use etcd_client::{DeleteOptions, TxnOp};

use super::fence::Fence;
use super::{OPERATIONS, Session};
use crate::ids::DocumentId;
use crate::keys::end_of;
use crate::store::etcd::chunk::{Bytes, CHUNK_BYTES};
use crate::store::etcd::client::{Etcd, Kind, Trouble};
use crate::store::etcd::head::Head;

impl Session {
    /// Settles what a writer left.
    pub(super) async fn finish(&mut self) -> Result<bool, Trouble> {
        self.read(async |etcd| match etcd.head().await?.head {
            Some((head, revision)) if head.staged.is_some() => {
                settle(etcd, head, Fence::of_head(revision)).await.map(|_| true)
            }
            Some(_) | None => Ok(false),
        })
        .await
    }
}

/// Writes a staged change into the documents' keys, then makes the head name it no more. To readers nothing changes, at
/// no moment: what is staged lies over the keys until the very transaction that deletes it. Returns the head as it is
/// then, with its revision.
pub(super) async fn settle(etcd: &Etcd, head: Head, fence: Fence<'_>) -> Result<(Head, i64), Trouble> {
    let Some(staged) = head.staged.clone() else { return Ok((head, fence.head)) };
    let changes = etcd.staged(&head, fence.head).await?;
    let mut rest = changes.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at_checked(batch(rest)).unwrap_or((rest, &[]));
        let operations = now.iter().map(|(id, value)| put_or_delete(etcd.keys().document(id), value.as_deref()));
        fence.write(etcd, operations.collect()).await?;
        rest = later;
    }
    let chunks = etcd.keys().staged(head.generation, &staged.writer);
    let settled = Head { staged: None, ..head };
    let operations =
        vec![TxnOp::put(etcd.keys().head(), json(&settled)?, None), delete_range(&chunks, &end_of(&chunks))];
    let revision = fence.write(etcd, operations).await?;
    Ok((settled, revision))
}

/// How many changes go into the next transaction: one at least.
fn batch(changes: &[(DocumentId, Bytes)]) -> usize {
    let mut bytes = 0;
    let fits = |(_, value): &&(DocumentId, Bytes)| {
        bytes += value.as_ref().map_or(0, |value| value.len());
        bytes <= CHUNK_BYTES
    };
    changes.iter().take(OPERATIONS).take_while(fits).count().max(1)
}

pub(super) fn put_or_delete(key: String, value: Option<&[u8]>) -> TxnOp {
    match value {
        Some(value) => TxnOp::put(key, value, None),
        None => TxnOp::delete(key, None),
    }
}

pub(super) fn delete_range(from: &str, to: &str) -> TxnOp {
    TxnOp::delete(from, Some(DeleteOptions::new().with_range(to)))
}

pub(super) fn json(head: &Head) -> Result<Vec<u8>, Trouble> {
    serde_json::to_vec(head)
        .map_err(|error| Trouble::new(Kind::Failed, format!("the head cannot be written as JSON: {error}")))
}
