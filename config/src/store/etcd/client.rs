//! One connection to one member of the cluster, with a time limit on everything.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, Error, GetOptions, GetResponse, KeyValue, KvClient, ResponseHeader, Txn, TxnOp, TxnOpResponse, TxnResponse,
    WatchOptions, WatchStream,
};

use super::chunk::{self, Bytes};
use super::head::{Head, Staged};
use super::image::Write;
use super::options::EtcdOptions;
use crate::ids::DocumentId;
use crate::keys::{Keys, end_of};

/// gRPC's own limit is 4 MiB, which two large documents in one message would break; etcd's servers send what they have.
const MESSAGE_BYTES: usize = 512 * 1024 * 1024;
/// How much of a listing is asked for at a time: little enough not to hold up etcd, much enough not to ask often.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
const FIRST_PAGE: usize = 500;
const LARGEST_PAGE: usize = 50_000;

/// Why something could not be had from etcd.
#[derive(Debug)]
pub(super) struct Trouble {
    text: String,
    pub(super) kind: Kind,
}

/// What kind of trouble, as far as it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The revision that was asked for is no more.
    Compacted,
    /// A wrong password or certificate, or a missing right: trying again is no help until somebody mends it.
    Denied,
    /// The store is not followed on purpose.
    Held,
    /// What the store says of its generation cannot be read, or is not there.
    Broken,
    /// Somebody else moved the head.
    Moved,
    /// Whoever writes is not the leader any more.
    Deposed,
    /// The head was published in another cluster.
    Foreign,
    /// Everything else: somebody may try again.
    Failed,
}

impl Trouble {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { text: text.into(), kind }
    }

    /// What to do about it.
    pub(super) fn remedy(&self) -> &'static str {
        match self.kind {
            Kind::Compacted | Kind::Failed => "it is tried again",
            Kind::Denied => "check the user, its password, its rights below the prefix, and the certificates",
            Kind::Held => super::gate::REMEDY,
            Kind::Broken => {
                "what is in force stays; put back what was there; gridctl apply --adopt replaces a head that cannot be read"
            }
            Kind::Moved => "read it again and repeat the change",
            Kind::Deposed => "the leader does what is to be done",
            Kind::Foreign => "if this store is right, publish with the option that adopts it, and routers follow it",
        }
    }

    fn from(doing: &str, endpoint: &str, error: &Error) -> Self {
        let text = explain(error);
        let lower = text.to_lowercase();
        let any = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let kind = if any(&["has been compacted"]) {
            Kind::Compacted
        } else if any(&["authentication failed", "permission denied", "invalid auth token", "user name", "certificate"])
        {
            Kind::Denied
        } else {
            Kind::Failed
        };
        Self { text: format!("cannot {doing} etcd at {endpoint}: {text}"), kind }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What happened, down to the cause: "transport error" alone helps nobody.
fn explain(error: &Error) -> String {
    let (mut text, mut cause) = match error {
        Error::GRpcStatus(status) => (status.message().to_owned(), status.source()),
        Error::TransportError(error) => (error.to_string(), error.source()),
        Error::InvalidArgs(_)
        | Error::InvalidUri(_)
        | Error::IoError(_)
        | Error::WatchError(_)
        | Error::Utf8Error(_)
        | Error::LeaseKeepAliveError(_)
        | Error::ElectError(_)
        | Error::InvalidMetadataValue(_)
        | Error::EndpointError(_)
        | Error::EndpointsNotManaged
        | Error::Internal(_) => (error.to_string(), None),
    };
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// A connection to one member.
pub(super) struct Etcd {
    client: Client,
    kv: KvClient,
    endpoint: String,
    keys: Keys,
    patience: Duration,
}

/// The head as it was read, and what the answer said of the store.
pub(super) struct HeadRead {
    /// The head, with the revision it was written at.
    pub(super) head: Option<(Head, i64)>,
    /// The store's revision.
    pub(super) revision: i64,
    /// The cluster, in hexadecimal.
    pub(super) cluster: String,
}

impl Etcd {
    /// Connects to one of the endpoints. It is a connection only when a request has been answered: nothing is sent here
    /// but the name and password of a user.
    pub(super) async fn connect(options: &EtcdOptions, index: usize) -> Result<Self, Trouble> {
        let Some(endpoint) = options.endpoints.get(index % options.endpoints.len().max(1)) else {
            return Err(Trouble::new(Kind::Failed, "etcd has no endpoints"));
        };
        let patience = options.request_timeout;
        let connecting = Client::connect([endpoint], Some(options.connect()));
        let client = limited("connect to", endpoint, options.connect_timeout + patience, connecting).await?;
        let kv = client.kv_client().max_decoding_message_size(MESSAGE_BYTES);
        Ok(Self { client, kv, endpoint: endpoint.clone(), keys: options.keys.clone(), patience })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// A key, or what the options say; with the store's revision and cluster.
    pub(super) async fn get(&self, key: &str, options: GetOptions) -> Result<(Vec<KeyValue>, i64, String), Trouble> {
        let mut kv = self.kv.clone();
        let mut answer = limited("read", &self.endpoint, self.patience, kv.get(key, Some(options))).await?;
        let (revision, cluster) = header(answer.header());
        Ok((answer.take_kvs(), revision, cluster))
    }

    /// The head, from a majority of the cluster.
    pub(super) async fn head(&self) -> Result<HeadRead, Trouble> {
        self.head_at(0).await
    }

    /// The head as it was at a revision; now is 0.
    pub(super) async fn head_at(&self, revision: i64) -> Result<HeadRead, Trouble> {
        let options = GetOptions::new().with_revision(revision);
        let (kvs, revision, cluster) = self.get(&self.keys.head(), options).await?;
        let head = kvs.first().map(|kv| self.parse_head(kv.value(), kv.mod_revision())).transpose()?;
        Ok(HeadRead { head, revision, cluster })
    }

    /// Reads a head. One that cannot be read is a reason to change nothing.
    pub(super) fn parse_head(&self, value: &[u8], revision: i64) -> Result<(Head, i64), Trouble> {
        let head = Head::parse(value)
            .map_err(|why| Trouble::new(Kind::Broken, format!("{} at revision {revision} {why}", self.keys.head())))?;
        Ok((head, revision))
    }

    /// Every key of a range, read page by page as it was at one revision (0: now, whatever that is when the first page is
    /// read). Returns the revision.
    pub(super) async fn range(&self, from: &str, to: &str, revision: i64) -> Result<(Vec<Write>, i64), Trouble> {
        let mut found = Vec::new();
        let at = self.each(from, to, revision, 0, &mut |write| found.push(write)).await?;
        Ok((found, at))
    }

    /// The documents' keys as they were at a revision, or now (0), one by one: with a million of them, a page at a time is
    /// in memory. With `since`, only those that were written at that revision or later. Returns the revision.
    pub(super) async fn documents(
        &self,
        revision: i64,
        since: i64,
        each: &mut impl FnMut(Write),
    ) -> Result<i64, Trouble> {
        let from = self.keys.documents();
        self.each(&from, &end_of(&from), revision, since, each).await
    }

    async fn each(
        &self,
        from: &str,
        to: &str,
        revision: i64,
        since: i64,
        each: &mut impl FnMut(Write),
    ) -> Result<i64, Trouble> {
        let (mut at, mut limit, mut bytes, mut count) = (revision, FIRST_PAGE, 0, 0);
        let mut from = from.as_bytes().to_vec();
        loop {
            let options = GetOptions::new().with_range(to).with_limit(i64::try_from(limit).unwrap_or(i64::MAX));
            let options = options.with_revision(at).with_min_mod_revision(since);
            let mut kv = self.kv.clone();
            let mut answer =
                limited("list", &self.endpoint, self.patience, kv.get(from.as_slice(), Some(options))).await?;
            if at == 0 {
                at = header(answer.header()).0;
            }
            let more = answer.more();
            let page = answer.take_kvs();
            let Some(last) = page.last().filter(|_| more).map(|kv| kv.key().to_vec()) else {
                page.iter().map(write).for_each(each);
                return Ok(at);
            };
            count += page.len();
            bytes += page.iter().map(|kv| kv.key().len() + kv.value().len()).sum::<usize>();
            page.iter().map(write).for_each(&mut *each);
            from = last;
            from.push(0);
            limit = (PAGE_BYTES / (bytes / count.max(1)).max(1)).clamp(100, LARGEST_PAGE);
        }
    }

    /// A staged change, which lies over the documents' keys.
    pub(super) async fn staged(&self, head: &Head, revision: i64) -> Result<Vec<(DocumentId, Bytes)>, Trouble> {
        let Some(Staged { writer, chunks }) = &head.staged else { return Ok(Vec::new()) };
        let from = self.keys.staged(head.generation, writer);
        let (found, _) = match self.range(&from, &end_of(&from), revision).await {
            Err(trouble) if trouble.kind == Kind::Compacted => self.range(&from, &end_of(&from), 0).await?,
            other => other?,
        };
        let torn = |why: &str| {
            let text =
                format!("staged change of generation {} (revision {revision}) below {from} {why}", head.generation);
            Trouble::new(Kind::Broken, text)
        };
        if found.len() != *chunks {
            return Err(torn(&format!("has {} of {chunks} chunks", found.len())));
        }
        let mut changes = Vec::new();
        for write in &found {
            changes.extend(chunk::read_staged(write.value.as_deref().unwrap_or_default()).map_err(|why| torn(&why))?);
        }
        Ok(changes)
    }

    pub(super) async fn txn(&self, txn: Txn) -> Result<TxnResponse, Trouble> {
        let mut kv = self.kv.clone();
        limited("write to", &self.endpoint, self.patience, kv.txn(txn)).await
    }

    /// Several reads at once, and nothing else: an answer to each.
    pub(super) async fn gets(&self, gets: Vec<TxnOp>) -> Result<Vec<GetResponse>, Trouble> {
        let asked = gets.len();
        if asked == 0 {
            return Ok(Vec::new());
        }
        let answers = self.txn(Txn::new().and_then(gets)).await?.op_responses().into_iter();
        let answers: Vec<GetResponse> = answers
            .filter_map(|answer| match answer {
                TxnOpResponse::Get(found) => Some(found),
                TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
            })
            .collect();
        if answers.len() == asked {
            Ok(answers)
        } else {
            Err(Trouble::new(Kind::Failed, format!("etcd answered {} of {asked} questions", answers.len())))
        }
    }

    /// Watches documents and head, from a revision on.
    pub(super) async fn watch(&self, from: i64) -> Result<WatchStream, Trouble> {
        let (first, end) = self.keys.watched();
        let options = WatchOptions::new().with_range(end).with_start_revision(from);
        let mut watch = self.client.watch_client().max_decoding_message_size(MESSAGE_BYTES);
        limited("watch", &self.endpoint, self.patience, watch.watch(first, Some(options))).await
    }

    /// Bounds what is done with a watch.
    pub(super) async fn on_watch<T>(&self, doing: impl Future<Output = Result<T, Error>>) -> Result<T, Trouble> {
        limited("watch", &self.endpoint, self.patience, doing).await
    }

    /// For what is not said here.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Bounds what is done with the client.
    pub(super) async fn bounded<T>(
        &self,
        doing: &str,
        what: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Trouble> {
        limited(doing, &self.endpoint, self.patience, what).await
    }

    pub(super) fn trouble(&self, doing: &str, error: &Error) -> Trouble {
        Trouble::from(doing, &self.endpoint, error)
    }
}

/// An event or listed key.
pub(super) fn write(kv: &KeyValue) -> Write {
    // A deleted key is told with version 0. The client's own type of an event panics on types it does not know.
    let value = (kv.version() != 0).then(|| Arc::from(kv.value()));
    Write { key: kv.key().to_vec(), value, revision: kv.mod_revision() }
}

/// The revision and the cluster that an answer tells.
pub(super) fn header(header: Option<&ResponseHeader>) -> (i64, String) {
    header.map_or((0, String::new()), |header| (header.revision(), format!("{:016x}", header.cluster_id())))
}

async fn limited<T>(
    doing: &str,
    endpoint: &str,
    patience: Duration,
    what: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
    let Ok(outcome) = tokio::time::timeout(patience, what).await else {
        let text = format!("cannot {doing} etcd at {endpoint}: no answer within {patience:?}");
        return Err(Trouble::new(Kind::Failed, text));
    };
    outcome.map_err(|error| Trouble::from(doing, endpoint, &error))
}
