//! What has to hold in the very moment of a write: the head has not moved, and whoever writes still leads.

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};

use crate::store::etcd::client::{Etcd, Kind, Trouble, header};
use crate::store::etcd::election::Leadership;

#[derive(Debug, Clone, Copy)]
pub(super) struct Fence<'a> {
    /// The revision of the head; 0 where there is none.
    pub(super) head: i64,
    /// The leadership, for a writer that acts under one.
    pub(super) leader: Option<&'a Leadership>,
}

impl Fence<'_> {
    /// For whoever may write without leading.
    pub(super) const fn of_head(head: i64) -> Self {
        Self { head, leader: None }
    }

    /// Does something if all of it holds. Returns the revision at which it was done.
    pub(super) async fn write(&self, etcd: &Etcd, operations: Vec<TxnOp>) -> Result<i64, Trouble> {
        let head = etcd.keys().head();
        // A key that does not exist has the revision 0.
        let mut when = vec![Compare::mod_revision(head.as_str(), CompareOp::Equal, self.head)];
        let mut otherwise = Vec::new();
        if let Some(Leadership { key, create_revision }) = self.leader {
            when.push(Compare::create_revision(key.as_str(), CompareOp::Equal, *create_revision));
            otherwise.push(TxnOp::get(key.as_str(), Some(GetOptions::new().with_keys_only())));
        }
        let answer = etcd.txn(Txn::new().when(when).and_then(operations).or_else(otherwise)).await?;
        if answer.succeeded() {
            return Ok(header(answer.header()).0);
        }
        match self.leader {
            Some(leader) if created(&answer) != leader.create_revision => Err(Trouble::new(
                Kind::Deposed,
                format!("{} is not the one of revision {} any more", leader.key, leader.create_revision),
            )),
            Some(_) | None => {
                let text = format!("{head} is not the one of revision {} any more", self.head);
                Err(Trouble::new(Kind::Moved, text))
            }
        }
    }

    /// Whether whoever writes still leads, or needs not to. No leadership comes back once it is over: no key is created twice
    /// at one revision.
    pub(super) async fn leads(&self, etcd: &Etcd) -> Result<bool, Trouble> {
        let Some(leader) = self.leader else { return Ok(true) };
        let (kvs, ..) = etcd.get(&leader.key, GetOptions::new().with_keys_only()).await?;
        Ok(kvs.first().is_some_and(|kv| kv.create_revision() == leader.create_revision))
    }
}

/// When the key was created that stood in the way; 0 where there is none.
fn created(answer: &TxnResponse) -> i64 {
    let responses = answer.op_responses();
    let found = responses.iter().find_map(|response| match response {
        TxnOpResponse::Get(got) => got.kvs().first().map(etcd_client::KeyValue::create_revision),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
    });
    found.unwrap_or(0)
}
