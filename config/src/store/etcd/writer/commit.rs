//! The life of one change: prepare, stage if it must be, commit, settle.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use etcd_client::{GetOptions, Txn, TxnOp};

use super::fence::Fence;
use super::record::{self, Prepared};
use super::settle::{delete_range, json, put_or_delete, settle};
use super::{About, Base, Change, KEPT, Lost, OPERATIONS, PublishError, Published, Session};
use crate::digest::Digest;
use crate::keys::{self, end_of};
use crate::store::etcd::chunk::{self, Bytes, CHUNK_BYTES, Changed};
use crate::store::etcd::client::{Etcd, Kind, Trouble};
use crate::store::etcd::head::{Head, LAST, Staged};

/// How often to ask what became of a change whose answer was lost.
const QUESTIONS: usize = 5;
/// The highest generation that a store can be adopted above: tools take JSON's numbers for what is exact up to here only,
/// and a generation near the last there can be would have no later ones.
const ABOVE: u64 = 1 << 53;

/// A change ready to be committed.
struct Ready {
    head: Head,
    history: Prepared,
    changes: Vec<Changed>,
    /// Chunks, when the change does not fit into the transaction.
    chunks: Vec<Vec<u8>>,
}

/// Where a change starts, after what was left of earlier ones is settled.
struct Start {
    head: Option<Head>,
    /// The revision of that head, 0 without one.
    revision: i64,
    cluster: String,
}

/// What became of a commit whose answer was lost.
enum Outcome {
    Committed(i64),
    Never,
    Lost,
    Deposed,
    AskAgain,
}

impl Session {
    pub(super) async fn publish(
        &mut self,
        base: &Base,
        wanted: &[Change],
        about: &About,
    ) -> Result<Published, PublishError> {
        let mut ids = BTreeSet::new();
        if let Some(twice) = wanted.iter().find(|change| !ids.insert(&change.id)) {
            return Err(PublishError::Refused(format!("{} is changed twice in one change", twice.id)));
        }
        let Some(start) = self.read(async |etcd| start(etcd, base, about).await).await? else {
            return Err(self.lost(base).await);
        };
        let changed = self.read(async |etcd| compare(etcd, base, &start, wanted).await).await?;
        if changed.is_empty() && about.adopt.is_none() && !about.note {
            return Ok(Published { generation: base.generation(), revision: start.revision, changed: 0 });
        }
        let (writer, lineage) = (self.draw(), self.draw());
        let revision = start.revision;
        let generation = next_generation(base, about).map_err(PublishError::Refused)?;
        let head = next_head(generation, base, start, &changed, about, (writer, lineage));
        let changed = changed.into_iter().map(|(changed, _)| changed).collect();
        let ready = make_ready(head, changed).map_err(PublishError::Refused)?;
        let fence = Fence { head: revision, leader: about.fence.as_ref() };
        match self.stage_and_commit(&ready, fence).await {
            Ok(revision) => {
                self.settle_own(&ready, Fence { head: revision, ..fence }).await;
                let (generation, changed) = (ready.head.generation, ready.changes.len());
                Ok(Published { generation, revision, changed })
            }
            // What was staged may be in force.
            Err(error @ PublishError::Unknown(_)) => Err(error),
            Err(PublishError::Lost(_)) => {
                self.tidy(&ready).await;
                Err(self.lost(base).await)
            }
            Err(error @ (PublishError::Deposed | PublishError::Refused(_) | PublishError::Store(_))) => {
                self.tidy(&ready).await;
                Err(error)
            }
        }
    }

    fn draw(&mut self) -> String {
        format!("{:016x}", self.random.number())
    }

    async fn stage_and_commit(&mut self, ready: &Ready, fence: Fence<'_>) -> Result<i64, PublishError> {
        let etcd = self.connected().await?;
        let (generation, writer) = (ready.head.generation, ready.head.writer.as_str());
        let chunks = ready.chunks.iter().enumerate();
        let chunks = chunks.map(|(n, chunk)| (etcd.keys().staged_chunk(generation, writer, n), chunk));
        let parts = ready.history.parts.iter().enumerate();
        let parts = parts.map(|(n, part)| (etcd.keys().history_part(generation, writer, n), part));
        for (key, value) in chunks.chain(parts) {
            // Fenced, so that a writer that slept through others' changes stops at once. One that dies here leaves litter
            // that no head names.
            fence.write(etcd, vec![TxnOp::put(key, value.as_slice(), None)]).await.map_err(lost_or)?;
        }
        match fence.write(etcd, commit_operations(etcd, ready)?).await {
            Ok(revision) => Ok(revision),
            Err(trouble) if trouble.kind == Kind::Failed => self.find_out(ready, fence, trouble).await,
            Err(trouble) => Err(lost_or(trouble)),
        }
    }

    async fn find_out(&mut self, ready: &Ready, fence: Fence<'_>, trouble: Trouble) -> Result<i64, PublishError> {
        let mut last = trouble;
        for _ in 0..QUESTIONS {
            self.forget();
            let outcome = match self.connected().await {
                Ok(etcd) => outcome(etcd, ready, fence).await,
                Err(trouble) => Err(trouble),
            };
            match outcome {
                Ok(Outcome::Committed(revision)) => return Ok(revision),
                Ok(Outcome::Never) => return Err(PublishError::Store(last.into())),
                Ok(Outcome::Lost) => return Err(lost_or(Trouble::new(Kind::Moved, "the head moved on"))),
                Ok(Outcome::Deposed) => return Err(PublishError::Deposed),
                Ok(Outcome::AskAgain) => {}
                Err(trouble) => last = trouble,
            }
        }
        Err(PublishError::Unknown(last.into()))
    }

    /// It is in force. Settling is for those who come later, and whoever comes next would do it too.
    async fn settle_own(&mut self, ready: &Ready, fence: Fence<'_>) {
        if ready.head.staged.is_none() {
            return;
        }
        let settled = match self.connected().await {
            Ok(etcd) => settle(etcd, ready.head.clone(), fence).await.map(drop),
            Err(trouble) => Err(trouble),
        };
        if let Err(trouble) = settled {
            tracing::warn!("a change is in force and not settled yet, the next writer does it: {trouble}");
        }
    }

    /// Takes away what was staged for nothing; if that fails, the next writer does.
    async fn tidy(&mut self, ready: &Ready) {
        if ready.chunks.is_empty() && ready.history.parts.is_empty() {
            return;
        }
        let Ok(etcd) = self.connected().await else { return };
        let (generation, writer) = (ready.head.generation, ready.head.writer.as_str());
        let staged = etcd.keys().staged(generation, writer);
        let parts = etcd.keys().history_parts(generation, writer);
        let sweep = [delete_range(&staged, &end_of(&staged)), delete_range(&parts, &end_of(&parts))];
        if let Err(trouble) = etcd.txn(Txn::new().and_then(sweep)).await {
            tracing::debug!(%trouble, "staged chunks are left for the next writer to sweep");
        }
    }

    /// Who was faster.
    async fn lost(&mut self, base: &Base) -> PublishError {
        let least = base.generation() + 1;
        let found = self
            .read(async |etcd| {
                let head = etcd.head().await?.head.map(|(head, _)| head);
                let newest = head.as_ref().map_or(0, |head| head.generation);
                let mut since = Vec::new();
                for generation in (least.max(newest.saturating_sub(9))..=newest).rev() {
                    since.extend(record::entry(etcd, generation).await?);
                }
                Ok((head, since))
            })
            .await;
        match found {
            Ok((head, since)) => PublishError::Lost(Box::new(Lost { base: base.generation(), head, since })),
            Err(trouble) => trouble.into(),
        }
    }
}

/// What became of a commit: its history is in the same transaction as its head, and stays when others move the head. It
/// may even be on its way still: moving the head without changing anything makes sure that it does not arrive later.
async fn outcome(etcd: &Etcd, ready: &Ready, fence: Fence<'_>) -> Result<Outcome, Trouble> {
    // Asked first: once the leadership is over the commit cannot arrive any more, and what is read after that is final.
    let leads = fence.leads(etcd).await?;
    let head = etcd.head().await?.head;
    let entry = record::entry(etcd, ready.head.generation).await?;
    let revision = head.as_ref().map_or(0, |(_, revision)| *revision);
    if entry.is_some_and(|entry| entry.writer == ready.head.writer) {
        return Ok(Outcome::Committed(revision));
    }
    if !leads {
        return Ok(Outcome::Deposed);
    }
    let Some((head, _)) = head else {
        // There is none to move. The first publication of all may have to be looked after by hand.
        return Ok(if fence.head == 0 { Outcome::AskAgain } else { Outcome::Lost });
    };
    if revision != fence.head {
        return Ok(Outcome::Lost);
    }
    match fence.write(etcd, vec![TxnOp::put(etcd.keys().head(), json(&head)?, None)]).await {
        Ok(_) => Ok(Outcome::Never),
        // The commit itself may have come before whatever happened, so everything is asked again.
        Err(trouble) if matches!(trouble.kind, Kind::Moved | Kind::Deposed) => Ok(Outcome::AskAgain),
        Err(trouble) => Err(trouble),
    }
}

/// Where the change starts; nothing when another generation is in force than the one it is based on.
async fn start(etcd: &Etcd, base: &Base, about: &About) -> Result<Option<Start>, Trouble> {
    if let Some(unreadable) = base.unreadable.filter(|_| about.adopt.is_some()) {
        let (kvs, _, cluster) = etcd.get(&etcd.keys().head(), GetOptions::new()).await?;
        let same = kvs.first().is_some_and(|kv| kv.mod_revision() == unreadable);
        return Ok(same.then_some(Start { head: None, revision: unreadable, cluster }));
    }
    let read = etcd.head().await?;
    let cluster = read.cluster;
    let Some((head, revision)) = read.head else {
        return Ok(base.head.is_none().then_some(Start { head: None, revision: 0, cluster }));
    };
    let known = base.head.as_ref();
    let same = known.is_some_and(|known| {
        (known.generation, known.digest, &known.lineage) == (head.generation, head.digest, &head.lineage)
    });
    if !same {
        return Ok(None);
    }
    if head.cluster != cluster && about.adopt.is_none() {
        let text = format!(
            "generation {} was published in the etcd cluster {}, and this is {cluster}: a restored backup, or a copy",
            head.generation, head.cluster
        );
        return Err(Trouble::new(Kind::Foreign, text));
    }
    match settle(etcd, head, Fence { head: revision, leader: about.fence.as_ref() }).await {
        Err(trouble) if trouble.kind == Kind::Moved => Ok(None),
        Err(trouble) => Err(trouble),
        Ok((head, revision)) => Ok(Some(Start { head: Some(head), revision, cluster })),
    }
}

/// What really changes, with what is there now. That is what was in force, but where somebody wrote without a head.
async fn compare(etcd: &Etcd, base: &Base, start: &Start, wanted: &[Change]) -> Result<Vec<(Changed, Bytes)>, Trouble> {
    let ids: Vec<_> = wanted.iter().map(|change| &change.id).collect();
    // A base that was staged when it was read has been settled by now.
    let staged = base.head.as_ref().is_some_and(|head| head.staged.is_some());
    let now = Session::texts(etcd, &ids, if staged { start.revision } else { base.at }).await?;
    let changed = wanted.iter().zip(now).filter_map(|(change, now)| {
        let foreign = base.foreign.get(&change.id);
        let before = foreign.map_or_else(|| now.clone(), |foreign| foreign.before.clone());
        // What somebody wrote becomes part of the generation, and is told like any other change.
        let same = now == change.after && foreign.is_none();
        let changed = Changed { id: change.id.clone(), before, after: change.after.clone() };
        (!same).then_some((changed, now))
    });
    Ok(changed.collect())
}

fn next_generation(base: &Base, about: &About) -> Result<u64, String> {
    let above = about.adopt.as_ref().map_or(0, |adopt| adopt.above);
    if above > ABOVE {
        return Err(format!("the store cannot be adopted above generation {above}; {ABOVE} is the most"));
    }
    let next = base.generation().max(above).checked_add(1).filter(|next| *next <= LAST);
    next.ok_or_else(|| format!("there is no generation after {}", base.generation()))
}

fn next_head(
    generation: u64,
    base: &Base,
    start: Start,
    changes: &[(Changed, Bytes)],
    about: &About,
    (writer, lineage): (String, String),
) -> Head {
    let (mut digest, mut documents) = (base.digest, base.documents);
    for (change, now) in changes {
        let key = keys::document(&change.id);
        if let Some(now) = now {
            digest.remove(Digest::of(&key, now));
            documents = documents.saturating_sub(1);
        }
        if let Some(after) = &change.after {
            digest.add(Digest::of(&key, after));
            documents += 1;
        }
    }
    let adopt = about.adopt.clone().unwrap_or_default();
    let (lineage, older) = match start.head {
        // A store that was adopted is another one from here on: it is never taken for the one it was copied from.
        Some(head) if about.adopt.is_some() => (lineage, [vec![head.lineage], head.replaces].concat()),
        Some(head) => (head.lineage, head.replaces),
        None => (lineage, Vec::new()),
    };
    let mut head = Head {
        generation,
        author: about.author.clone(),
        message: about.message.clone(),
        time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        digest,
        documents,
        lineage,
        replaces: Vec::new(),
        cluster: start.cluster,
        writer,
        staged: None,
    };
    head.replace(adopt.replaces.into_iter().chain(older));
    head
}

fn make_ready(mut head: Head, changes: Vec<Changed>) -> Result<Ready, String> {
    let history = record::prepare(&head, &changes)?;
    let size = |change: &Changed| change.after.as_ref().map_or(0, |after| after.len());
    let bytes = changes.iter().map(size).sum::<usize>() + history.entry.len();
    let mut chunks = Vec::new();
    if changes.len() > OPERATIONS || bytes > CHUNK_BYTES * 2 {
        chunks = chunk::staged(&changes)?;
        head.staged = Some(Staged { writer: head.writer.clone(), chunks: chunks.len() });
    }
    Ok(Ready { head, history, changes, chunks })
}

/// Everything that happens at once: the change, its history, and the end of what nobody names any more.
fn commit_operations(etcd: &Etcd, ready: &Ready) -> Result<Vec<TxnOp>, Trouble> {
    let (keys, generation, writer) = (etcd.keys(), ready.head.generation, ready.head.writer.as_str());
    let mut operations = vec![
        TxnOp::put(keys.head(), json(&ready.head)?, None),
        TxnOp::put(keys.history(generation), ready.history.entry.as_slice(), None),
    ];
    let litter = keys.staged_litter(generation, writer).into_iter().chain(keys.history_litter(generation, writer));
    let oldest = generation.saturating_sub(KEPT);
    let old = (oldest > 0).then(|| keys.histories_before(oldest + 1));
    operations.extend(litter.chain(old).map(|(from, to)| delete_range(&from, &to)));
    if ready.head.staged.is_none() {
        let changes = ready.changes.iter();
        operations.extend(changes.map(|change| put_or_delete(keys.document(&change.id), change.after.as_deref())));
    }
    Ok(operations)
}

fn lost_or(trouble: Trouble) -> PublishError {
    match trouble.kind {
        Kind::Moved => PublishError::Lost(Box::new(Lost { base: 0, head: None, since: Vec::new() })),
        Kind::Compacted | Kind::Denied | Kind::Held | Kind::Broken | Kind::Deposed | Kind::Failed | Kind::Foreign => {
            trouble.into()
        }
    }
}
