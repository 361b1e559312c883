//! Reading again what was read before: only what has changed since comes from etcd and is parsed.
//!
//! etcd tells which keys were written since a revision, and how many there are by now. It does not tell which ones were
//! deleted; but where those from before and the written ones together are as many as there are, none was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use etcd_client::{GetOptions, TxnOp};

use super::{Documents, Found, OfKinds, base, each};
use crate::ids::{DocumentId, Kind};
use crate::keys::{Keys, end_of};
use crate::store::StoreError;
use crate::store::etcd::client::{self, Etcd, Trouble, write};
use crate::store::etcd::head::Head;
use crate::store::etcd::image::Write;
use crate::store::etcd::writer::Writer;

/// How many documents of a kind may have changed; with more, all are read, page by page. An answer cannot be told how many
/// bytes it may have, and so many documents of the largest size go into one.
const MOST: i64 = 200;

/// What there is, compared with before.
enum Since {
    /// No generation was published.
    Nothing,
    /// These documents were written.
    Written(Box<Written>),
    /// What it started from is no ground for a comparison, or too much was written.
    Unknown,
}

/// What was written between two heads.
struct Written {
    head: Head,
    revision: i64,
    found: BTreeMap<DocumentId, Found>,
    /// How many documents of these kinds there are by now.
    count: usize,
}

impl Writer {
    /// What was read before, as it is in force now. Costs as much as has changed, where nothing was deleted; `more` as in
    /// [`read_kinds_and`](Self::read_kinds_and).
    pub fn read_kinds_again(
        &mut self,
        before: OfKinds,
        more: impl Fn(&Documents) -> BTreeSet<DocumentId>,
    ) -> Result<OfKinds, StoreError> {
        let since = self.runtime.block_on(self.session.read(async |etcd: &Etcd| since(etcd, &before).await))?;
        let kinds = before.kinds.clone();
        let keys = self.session.options.keys.clone();
        let merged = match since {
            Since::Nothing => return Ok(before),
            Since::Written(written) => before.merged(&keys, *written),
            Since::Unknown => None,
        };
        let Some(mut now) = merged else { return self.read_kinds_and(&kinds, more) };
        let (single, at) = (now.ask(&more), now.base.at);
        match self.runtime.block_on(self.session.read(async |etcd: &Etcd| each(etcd, &single, at).await)) {
            Ok(found) => now.add(&keys, found),
            Err(trouble) if trouble.kind == client::Kind::Compacted => return self.read_kinds_and(&kinds, more),
            Err(trouble) => return Err(trouble.into()),
        }
        Ok(OfKinds { single, ..now })
    }
}

/// What was written since.
async fn since(etcd: &Etcd, before: &OfKinds) -> Result<Since, Trouble> {
    let read = etcd.head().await?;
    if read.head.as_ref().map(|(head, _)| head) == before.base.head() {
        return Ok(Since::Nothing);
    }
    let Some((head, revision)) = read.head.filter(|(head, revision)| before.leads_to(head, *revision)) else {
        return Ok(Since::Unknown);
    };
    match written(etcd, &before.kinds, before.base.at, revision).await {
        Ok(Some((writes, count))) => {
            // A key that names no document is told of by reading everything.
            let found = writes.into_iter().map(|write| {
                let id = etcd.keys().document_of(&write.key).ok()?;
                Some((id, (write.value, write.revision)))
            });
            Ok(found
                .collect::<Option<_>>()
                .map_or(Since::Unknown, |found| Since::Written(Box::new(Written { head, revision, found, count }))))
        }
        Ok(None) => Ok(Since::Unknown),
        Err(trouble) if trouble.kind == client::Kind::Compacted => Ok(Since::Unknown),
        Err(trouble) => Err(trouble),
    }
}

/// The keys of these kinds that were written after one revision and up to another, and how many keys there are then;
/// nothing when too many were written.
async fn written(
    etcd: &Etcd,
    kinds: &[Kind],
    after: i64,
    revision: i64,
) -> Result<Option<(Vec<Write>, usize)>, Trouble> {
    let range = |kind: &Kind| {
        let from = etcd.keys().documents_of(*kind);
        let options = GetOptions::new().with_range(end_of(&from)).with_revision(revision);
        TxnOp::get(from, Some(options.with_min_mod_revision(after.saturating_add(1)).with_limit(MOST)))
    };
    let answers = etcd.gets(kinds.iter().map(range).collect()).await?;
    if answers.iter().any(etcd_client::GetResponse::more) {
        return Ok(None);
    }
    let count = answers.iter().map(|answer| usize::try_from(answer.count()).unwrap_or(0)).sum();
    Ok(Some((answers.iter().flat_map(|answer| answer.kvs().iter().map(write)).collect(), count)))
}

impl OfKinds {
    /// Whether a head is a later one of the same history in the same cluster, so that what was not written since is as it
    /// was. What is staged lies over keys that are written later; what cannot be read is not remembered.
    fn leads_to(&self, head: &Head, revision: i64) -> bool {
        let same = |before: &Head| (&before.lineage, &before.cluster) == (&head.lineage, &head.cluster);
        let settled = |head: &Head| head.staged.is_none();
        self.unreadable.is_empty()
            && self.base.head().is_some_and(|before| same(before) && settled(before))
            && settled(head)
            && revision > self.base.at
    }

    /// What was read before with what was written since; nothing when something was deleted. The single documents are to be
    /// read again.
    fn merged(self, keys: &Keys, written: Written) -> Option<Self> {
        let mut now = Self { base: base(written.head, written.revision), single: BTreeSet::new(), ..self };
        let documents = Arc::make_mut(&mut now.documents);
        for id in &self.single {
            documents.remove(id);
        }
        let new = written.found.keys().filter(|id| !documents.contains_key(id)).count();
        if documents.len() + new != written.count {
            return None;
        }
        now.add(keys, written.found);
        Some(now)
    }
}
