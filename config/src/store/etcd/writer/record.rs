//! The history: who changed what, and what it was before.

use etcd_client::{GetOptions, Txn, TxnOp, TxnOpResponse};
use serde::{Deserialize, Serialize};

use super::HISTORY_BYTES;
use crate::digest::Digest;
use crate::keys::end_of;
use crate::store::etcd::chunk::{self, Changed};
use crate::store::etcd::client::{Etcd, Kind, Trouble};
use crate::store::etcd::head::{Head, Staged};

/// Documents that an entry names; the others are in its parts.
const NAMED: usize = 100;
/// The most of what changed that is in the entry itself, and stays as long as that: ten thousand entries have to leave etcd
/// most of its room.
const INLINE_BYTES: usize = 16 * 1024;
/// Entries that are read at once: their values, those of older versions among them, have to fit into one message.
const AT_ONCE: usize = 10;

/// A generation, as the history has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// The generation.
    pub generation: u64,
    /// Who published it.
    pub author: String,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// When, in seconds since 1970.
    pub time: u64,
    /// The digest of its documents.
    pub digest: Digest,
    /// The act of publishing it.
    pub writer: String,
    /// How many documents it changed.
    pub changed: usize,
    /// Which, as `Kind/name`; the first hundred.
    #[serde(default)]
    pub documents: Vec<String>,
    /// What was in them before and after, when that is little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inline: Option<String>,
    /// Where it is, or was, when it is more. With neither, it was too much to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<Staged>,
}

/// An entry ready to be written: its value, and its parts.
pub(super) struct Prepared {
    pub(super) entry: Vec<u8>,
    pub(super) parts: Vec<Vec<u8>>,
}

/// Puts an entry together.
pub(super) fn prepare(head: &Head, changes: &[Changed]) -> Result<Prepared, String> {
    let mut parts = chunk::history(changes)?;
    if parts.iter().map(Vec::len).sum::<usize>() > HISTORY_BYTES {
        parts.clear();
    }
    let small = matches!(parts.as_slice(), [one] if one.len() <= INLINE_BYTES);
    let inline = if small { parts.pop().and_then(|bytes| String::from_utf8(bytes).ok()) } else { None };
    let history = History {
        generation: head.generation,
        author: head.author.clone(),
        message: head.message.clone(),
        time: head.time,
        digest: head.digest,
        writer: head.writer.clone(),
        changed: changes.len(),
        documents: changes.iter().take(NAMED).map(|change| change.id.to_string()).collect(),
        inline,
        parts: (!parts.is_empty()).then(|| Staged { writer: head.writer.clone(), chunks: parts.len() }),
    };
    let entry =
        serde_json::to_vec(&history).map_err(|error| format!("the history cannot be written as JSON: {error}"))?;
    Ok(Prepared { entry, parts })
}

/// The last entries, the newest first. One that cannot be read is left out.
pub(super) async fn newest(etcd: &Etcd, most: usize) -> Result<Vec<History>, Trouble> {
    // A head that cannot be read says nothing of where they end.
    let last = etcd.head().await.ok().and_then(|read| read.head).map(|(head, _)| head.generation);
    let some = last.and_then(|last| last.checked_sub(u64::try_from(most).ok()?));
    let mut generations = match some {
        Some(before) => generations(etcd, before + 1).await?,
        None => Vec::new(),
    };
    // Generations are left out where a store was adopted above another one.
    if generations.len() < most {
        generations = self::generations(etcd, 0).await?;
    }
    generations.truncate(most);
    let mut found = Vec::new();
    for generations in generations.chunks(AT_ONCE) {
        let get = |generation: &u64| TxnOp::get(etcd.keys().history(*generation), None);
        let answer = etcd.txn(Txn::new().and_then(generations.iter().map(get).collect::<Vec<_>>())).await?;
        for response in answer.op_responses() {
            if let TxnOpResponse::Get(one) = response {
                found.extend(one.kvs().first().and_then(|kv| serde_json::from_slice::<History>(kv.value()).ok()));
            }
        }
    }
    Ok(found)
}

/// The generations from this one on that have an entry, the newest first. The parts lie between the entries, so these are
/// the keys alone.
async fn generations(etcd: &Etcd, first: u64) -> Result<Vec<u64>, Trouble> {
    let all = etcd.keys().histories();
    let options = GetOptions::new().with_range(end_of(&all)).with_keys_only();
    let (keys, ..) = etcd.get(&etcd.keys().history(first), options).await?;
    // They are in the order of their numbers, which have leading zeros. Sorting them the other way would make etcd read all
    // values.
    Ok(keys.iter().rev().filter_map(|kv| etcd.keys().generation_of(kv.key())).collect())
}

/// One entry, if the history has it and it can be read.
pub(in crate::store::etcd) async fn entry(etcd: &Etcd, generation: u64) -> Result<Option<History>, Trouble> {
    let (kvs, ..) = etcd.get(&etcd.keys().history(generation), GetOptions::new()).await?;
    Ok(kvs.first().and_then(|kv| serde_json::from_slice(kv.value()).ok()))
}

/// What a generation changed, if the history still knows.
pub(super) async fn changes(etcd: &Etcd, generation: u64) -> Result<Option<Vec<Changed>>, Trouble> {
    let Some(history) = entry(etcd, generation).await? else { return Ok(None) };
    let damaged = |why: String| Trouble::new(Kind::Broken, format!("{} {why}", etcd.keys().history(generation)));
    if let Some(inline) = &history.inline {
        return chunk::read_history([inline.as_bytes()]).map(Some).map_err(damaged);
    }
    let Some(Staged { writer, chunks }) = &history.parts else {
        return Ok((history.changed == 0).then(Vec::new));
    };
    let from = etcd.keys().history_parts(generation, writer);
    let (parts, _) = etcd.range(&from, &end_of(&from), 0).await?;
    if parts.is_empty() {
        // They are swept long before the entry.
        return Ok(None);
    }
    if parts.len() != *chunks {
        return Err(damaged(format!("has {} of {chunks} parts", parts.len())));
    }
    let parts = parts.iter().map(|part| part.value.as_deref().unwrap_or_default());
    chunk::read_history(parts).map(Some).map_err(damaged)
}
