//! Follows the store: list at the revision of the head, watch from the next, and again when the watch ends.
//!
//! Everything that ends a watch takes one path: look at the head again, list again if what was missed cannot be told,
//! watch again. A session with one member lasts until something is wrong with it; the next one tries the next member.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{KeyValue, WatchResponse, WatchStream};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::backoff::{Backoff, Random};
use super::chunk::Bytes;
use super::client::{Etcd, HeadRead, Kind, Trouble, write};
use super::gate::{Anchor, judge};
use super::head::Head;
use super::image::{Relisting, Write};
use super::options::EtcdOptions;
use super::shared::Shared;
use super::writer::record;
use crate::ids::DocumentId;

/// Who keeps [`Shared`] as the store is.
pub(super) struct Follower {
    options: EtcdOptions,
    shared: Arc<Shared>,
    random: Random,
    anchor: Option<Anchor>,
    /// Whether the store that is found is followed without a look at the anchor.
    accept: bool,
    /// The cluster and the revision up to which everything is known; none before the first listing, or when it has to be
    /// listed again.
    position: Option<Position>,
    /// The position that cannot be resumed from because the history between it and now was compacted.
    behind: Option<Position>,
    /// The revision of the head that was listed again because its digest did not fit.
    verified: i64,
    /// Whether the newest head is not followed. The watch goes on, because the next one may be.
    refused: bool,
}

/// Up to where the store is known.
struct Position {
    cluster: String,
    /// Everything up to this revision was taken in.
    seen: i64,
    /// The head at that revision.
    head: Option<HeadMark>,
}

/// What tells a head from every other: the act of writing it, and when it was written.
type HeadMark = (String, i64);

fn mark(head: &Head, revision: i64) -> HeadMark {
    (head.writer.clone(), revision)
}

impl Follower {
    pub(super) fn new(options: EtcdOptions, shared: Arc<Shared>, random: Random) -> Self {
        let anchor = options.anchor.as_deref().and_then(Anchor::load);
        let accept = options.accept;
        Self { options, shared, random, anchor, accept, position: None, behind: None, verified: 0, refused: false }
    }

    /// Follows the store for ever.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.random.clone()).hurried(self.options.hurry);
        // Routers spread over the members.
        let mut member = usize::try_from(self.random.number() >> 32).unwrap_or(0);
        let mut failures: usize = 0;
        loop {
            let established = Instant::now();
            let session = Box::pin(self.session(member, &mut backoff, &mut failures));
            let trouble = match session.await {
                Ok(never) => match never {},
                Err(trouble) => trouble,
            };
            failures += 1;
            let first_round = failures < self.options.endpoints.len() && !self.shared.has_listed();
            tracing::debug!(%trouble, failures, lasted = ?established.elapsed(), "etcd session ended");
            // A member that goes away is no trouble as long as the next one answers.
            let on_purpose = matches!(trouble.kind, Kind::Held | Kind::Broken | Kind::Denied);
            if on_purpose
                || (failures > 1 && trouble.kind != Kind::Compacted)
                || !first_round && !self.shared.has_listed()
            {
                self.shared.fail(trouble.to_string(), trouble.remedy());
            }
            member = member.wrapping_add(1);
            if !first_round {
                sleep(backoff.next_of(failures, self.options.endpoints.len())).await;
            }
        }
    }

    /// One member, until there is trouble.
    async fn session(
        &mut self,
        member: usize,
        backoff: &mut Backoff,
        failures: &mut usize,
    ) -> Result<std::convert::Infallible, Trouble> {
        let etcd = Etcd::connect(&self.options, member).await?;
        let read = etcd.head().await?;
        let seen = if let Some(seen) = self.resumed(&etcd, &read).await? {
            seen
        } else {
            // Whatever comes of the listing: nothing that was known before may be resumed from any more.
            let known = self.position.take().or(self.behind.take()).filter(|_| !self.refused);
            let known = known.filter(|known| known.cluster == read.cluster && known.seen <= read.revision);
            self.list(&etcd, read, known.map(|known| known.seen)).await?
        };
        let mut stream = etcd.watch(seen.saturating_add(1)).await?;
        let mut ticks = interval_at(Instant::now() + self.options.progress, self.options.progress);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = stream.message() => {
                    heard = Instant::now();
                    let response = message.map_err(|error| etcd.trouble("watch", &error))?;
                    let response = response.ok_or_else(|| {
                        Trouble::new(Kind::Failed, format!("the watch of etcd at {} ended", etcd.endpoint()))
                    })?;
                    self.alive(&etcd, &response)?;
                    *failures = 0;
                    if !response.created() {
                        backoff.reset();
                    }
                    self.take(&etcd, &response).await?;
                    if !self.refused {
                        self.shared.fine(etcd.endpoint());
                    }
                }
                _ = ticks.tick() => ask(&etcd, &mut stream, heard.elapsed(), self.options.silence).await?,
            }
        }
    }

    /// The revision that can be resumed from: nothing when the store may be another than before. A lower revision or
    /// another cluster was restored or replaced; and so may be one that has come as far again meanwhile, which shows by
    /// the head that it had then.
    async fn resumed(&self, etcd: &Etcd, now: &HeadRead) -> Result<Option<i64>, Trouble> {
        let Some(known) = self.position.as_ref().filter(|_| !self.refused) else { return Ok(None) };
        if known.cluster != now.cluster || known.seen > now.revision {
            return Ok(None);
        }
        let head = now.head.as_ref().map(|(head, revision)| mark(head, *revision));
        if head == known.head {
            return Ok(Some(known.seen));
        }
        let then = match etcd.head_at(known.seen).await {
            Err(trouble) if trouble.kind == Kind::Compacted => return Ok(None),
            other => other?,
        };
        let then = then.head.as_ref().map(|(head, revision)| mark(head, *revision));
        Ok((then == known.head).then_some(known.seen))
    }

    /// Checks that the watch still is one.
    fn alive(&mut self, etcd: &Etcd, response: &WatchResponse) -> Result<(), Trouble> {
        if !response.canceled() {
            return Ok(());
        }
        // What was missed cannot be told any more, or why it was cancelled is not known: look at everything again.
        let position = self.position.take();
        let endpoint = etcd.endpoint();
        if response.compact_revision() > 0 {
            self.behind = position;
            let text = format!("the watch of etcd at {endpoint} fell behind revision {}", response.compact_revision());
            return Err(Trouble::new(Kind::Compacted, text));
        }
        let denied = response.cancel_reason().contains("permission denied");
        let kind = if denied { Kind::Denied } else { Kind::Failed };
        Err(Trouble::new(kind, format!("etcd at {endpoint} cancelled the watch: {}", response.cancel_reason())))
    }

    /// Takes in what a watch tells. A head counts when everything written in its transaction is known, in whatever order
    /// it is told.
    async fn take(&mut self, etcd: &Etcd, response: &WatchResponse) -> Result<(), Trouble> {
        let head_key = self.options.keys.head().into_bytes();
        let documents = self.options.keys.documents().into_bytes();
        let mut head: Option<Write> = None;
        let mut news = false;
        for kv in response.events().iter().filter_map(|event| event.kv()) {
            if let Some(complete) = head.take_if(|head| head.revision != kv.mod_revision()) {
                self.take_head(etcd, &complete).await?;
            }
            if kv.key() == head_key {
                head = Some(write(kv));
            } else if kv.key().starts_with(&documents) {
                news |= self.shared.change(|state| state.image.note(write(kv)));
            }
        }
        match head {
            Some(head) => self.take_head(etcd, &head).await?,
            None if news => self.shared.announce(),
            None => {}
        }
        let seen = response.events().iter().filter_map(|event| event.kv()).map(KeyValue::mod_revision).max();
        if let (Some(position), Some(seen)) = (&mut self.position, seen) {
            position.seen = position.seen.max(seen);
        }
        Ok(())
    }

    /// A head that is not followed is told, and the watch goes on.
    async fn take_head(&mut self, etcd: &Etcd, written: &Write) -> Result<(), Trouble> {
        let revision = written.revision;
        let head = written.value.as_deref().map(|value| etcd.parse_head(value, revision)).transpose();
        let outcome = match head {
            Ok(head) => self.commit(etcd, head.map(|(head, _)| head), revision).await,
            Err(trouble) => Err(trouble),
        };
        match outcome {
            Err(trouble) if matches!(trouble.kind, Kind::Held | Kind::Broken) => {
                self.refused = true;
                self.shared.fail(trouble.to_string(), trouble.remedy());
                Ok(())
            }
            Err(trouble) => Err(trouble),
            Ok(()) => {
                self.refused = false;
                Ok(())
            }
        }
    }

    /// A new head: what was written up to it is in force.
    async fn commit(&mut self, etcd: &Etcd, head: Option<Head>, revision: i64) -> Result<(), Trouble> {
        judge(self.anchor.as_ref(), head.as_ref()).map_err(|why| held(etcd, &why))?;
        let Some(head) = head else { return Ok(()) };
        let staged = etcd.staged(&head, revision).await?;
        let (changed, accepted) = self.shared.change(|state| {
            let changed = state.image.commit(staged, revision);
            let fits = state.image.verify(&head, revision);
            let accepted = fits || self.verified == revision;
            state.unsettled = !accepted;
            let before = state.generation;
            if accepted {
                state.is_at(&head);
            }
            (changed || before != state.generation, accepted)
        });
        if !accepted {
            // Either somebody wrote without gridctl, or an event is missing. The store knows.
            let read = HeadRead { head: Some((head, revision)), revision: 0, cluster: self.cluster() };
            self.list(etcd, read, None).await?;
            return Ok(());
        }
        if let Some(position) = &mut self.position {
            position.head = Some(mark(&head, revision));
        }
        self.follow(&head, changed);
        Ok(())
    }

    /// Lists at the revision of the head, and returns the revision that the watch begins behind. What is known was right at
    /// the revision `since`, if there is one.
    async fn list(&mut self, etcd: &Etcd, read: HeadRead, since: Option<i64>) -> Result<i64, Trouble> {
        let anchor = if self.accept { None } else { self.anchor.as_ref() };
        judge(anchor, read.head.as_ref().map(|(head, _)| head)).map_err(|why| held(etcd, &why))?;
        let Some((head, head_revision)) = read.head else {
            // Nothing was published here yet. What may lie there is not in force.
            let mut listing = Relisting::new(self.options.keys.clone(), &[], 0);
            let at = etcd.documents(0, 0, &mut |write| listing.add(write)).await?.min(read.revision);
            self.shared.change(|state| {
                state.image.replace(listing);
                (state.generation, state.unsettled) = (None, false);
                state.lineage = Arc::default();
            });
            self.settled(Position { cluster: read.cluster, seen: at, head: None });
            return Ok(at);
        };
        if let Some((anchor, ancestor)) = anchor.and_then(|anchor| Some((anchor, anchor.ancestor(&head)?)))
            // What the history has forgotten cannot be compared.
            && let Some(then) = record::entry(etcd, ancestor).await?
        {
            anchor.descends(then.digest).map_err(|why| held(etcd, &why))?;
        }
        let staged = etcd.staged(&head, head_revision).await?;
        let at = match self.catch_up(etcd, &head, head_revision, &staged, since).await? {
            Some(at) => at,
            None => self.list_all(etcd, &head, head_revision, &staged).await?,
        };
        // What is listed may be younger than the look at the head, and another head may have been written in between: the
        // watch begins behind the look, and tells of it.
        let at = at.min(read.revision.max(head_revision));
        self.verified = head_revision;
        self.settled(Position { cluster: read.cluster, seen: at, head: Some(mark(&head, head_revision)) });
        self.follow(&head, false);
        Ok(at)
    }

    /// What was written since a revision is enough where the digest says so: nothing was deleted meanwhile, or what is
    /// deleted is known. Returns the revision that the store was read at, or nothing when all of it has to be.
    async fn catch_up(
        &mut self,
        etcd: &Etcd,
        head: &Head,
        head_revision: i64,
        staged: &[(DocumentId, Bytes)],
        since: Option<i64>,
    ) -> Result<Option<i64>, Trouble> {
        let Some(since) = since else { return Ok(None) };
        let mut writes = Vec::new();
        let at = etcd.documents(0, since.saturating_add(1), &mut |write| writes.push(write)).await?;
        let (now, later): (Vec<_>, Vec<_>) = writes.into_iter().partition(|write| write.revision <= head_revision);
        let fits = self.shared.change(|state| {
            for write in now {
                state.image.note(write);
            }
            state.image.commit(staged.to_vec(), head_revision);
            for write in later {
                state.image.note(write);
            }
            let fits = state.image.verify(head, head_revision);
            state.unsettled = !fits;
            if fits {
                state.is_at(head);
            }
            fits
        });
        Ok(fits.then_some(at))
    }

    /// Every document of a generation.
    async fn list_all(
        &mut self,
        etcd: &Etcd,
        head: &Head,
        head_revision: i64,
        staged: &[(DocumentId, Bytes)],
    ) -> Result<i64, Trouble> {
        let begin = || Relisting::new(self.options.keys.clone(), staged, head_revision);
        let mut listing = begin();
        let at = match self.read(etcd, head_revision, &mut listing).await {
            // The head's revision is no more: what is there now has to do, as far as it is not newer.
            Err(trouble) if trouble.kind == Kind::Compacted => {
                listing = begin();
                self.read(etcd, 0, &mut listing).await?
            }
            other => other?,
        };
        let found = listing.count();
        if at > head_revision && !self.accept && self.anchor.is_some() && found < head.documents {
            let why = format!(
                "generation {} (revision {head_revision}) has {} documents, and {found} of them are left: the others \
                 were deleted without gridctl",
                head.generation, head.documents
            );
            return Err(held(etcd, &why));
        }
        self.shared.change(|state| {
            state.image.replace(listing);
            state.image.verify(head, head_revision);
            state.unsettled = false;
            state.is_at(head);
        });
        Ok(at)
    }

    /// Reads all documents at a revision. Who waits for them is told now and then that they are coming.
    async fn read(&self, etcd: &Etcd, revision: i64, listing: &mut Relisting) -> Result<i64, Trouble> {
        let mut count = 0_usize;
        let each = &mut |write| {
            if count.is_multiple_of(500) {
                self.shared.moving();
            }
            count += 1;
            listing.add(write);
        };
        etcd.documents(revision, 0, each).await
    }

    fn settled(&mut self, position: Position) {
        (self.accept, self.refused) = (false, false);
        self.position = Some(position);
        self.shared.announce();
    }

    fn cluster(&self) -> String {
        self.position.as_ref().map(|position| position.cluster.clone()).unwrap_or_default()
    }

    /// Tells that a generation is in force, and remembers it.
    fn follow(&mut self, head: &Head, changed: bool) {
        // The end of a settled change moves the head and says nothing new.
        if changed {
            self.shared.announce();
        }
        let anchor = Anchor::of(head);
        self.shared.change(|state| state.anchor = Some(anchor.clone()));
        if self.anchor.as_ref() == Some(&anchor) {
            return;
        }
        if let Some(path) = &self.options.anchor
            && let Err(error) = anchor.save(path)
        {
            tracing::warn!("cannot keep what is in force from etcd in {}: {error}", path.display());
        }
        self.anchor = Some(anchor);
    }
}

/// Asks the watch itself how far it has come: no other request proves that it is alive.
async fn ask(etcd: &Etcd, stream: &mut WatchStream, silent: Duration, most: Duration) -> Result<(), Trouble> {
    if silent >= most {
        let text = format!("the watch of etcd at {} has said nothing for {silent:.1?}", etcd.endpoint());
        return Err(Trouble::new(Kind::Failed, text));
    }
    etcd.on_watch(stream.request_progress()).await
}

fn held(etcd: &Etcd, why: &str) -> Trouble {
    Trouble::new(
        Kind::Held,
        format!("etcd at {} is not followed below {}: {why}", etcd.endpoint(), etcd.keys().prefix()),
    )
}
