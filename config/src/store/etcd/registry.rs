//! Follows the endpoints that register themselves below `live/endpoints/`.
//!
//! It has a connection and a watch of its own beside that of the documents, on the same thread: a storm of one holds up
//! nothing of the other, and what is wrong with one says nothing of the other. The rules of life are the same: the watch
//! has to show progress itself, and whatever ends it has everything listed again, which is little.
//!
//! What is told of is at most ten times a second another set of endpoints, however many come and go: the first change at
//! once, those that follow together. A store that is held (`gate.rs`) changes nothing here either.

mod file;

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{GetOptions, WatchOptions, WatchStream};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};

use self::file::File;
use super::backoff::{Backoff, Random};
use super::client::{Etcd, Kind, Trouble};
use super::gate::{Anchor, judge};
use super::head::Head;
use super::options::EtcdOptions;
use super::shared::Shared;
use crate::keys::end_of;
use crate::registrations::{Book, Registrations};

/// The least time from one set of endpoints to the next. Each costs the router a snapshot.
const BATCH: Duration = Duration::from_millis(100);
/// How often a held store is looked at again.
const HELD: Duration = Duration::from_secs(1);

/// What is known of registered endpoints, in [`super::shared::State`].
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) now: Arc<Registrations>,
    /// Grows with every change.
    pub(super) version: u64,
    /// Whether etcd was asked for them, whatever came of it.
    pub(super) tried: bool,
}

impl Shared {
    /// Tells that other endpoints are registered.
    fn register(&self, now: Arc<Registrations>) {
        self.change(|state| {
            state.registry.now = now;
            state.registry.version += 1;
        });
        self.ring();
    }

    /// Tells that it is known now what is registered, or that it cannot be known.
    fn tried(&self) {
        if !self.change(|state| std::mem::replace(&mut state.registry.tried, true)) {
            self.ring();
        }
    }
}

/// Who keeps [`Registry`] as the store is.
pub(super) struct Registrar {
    options: EtcdOptions,
    shared: Arc<Shared>,
    random: Random,
    book: Book,
    /// What was told last.
    now: Arc<Registrations>,
    /// What was in force when the process began, until something is followed.
    anchor: Option<Anchor>,
    file: File,
    /// When the next change may be told.
    next: Instant,
    /// Whether there may be something to tell.
    due: bool,
}

impl Registrar {
    /// Begins with what was known last.
    pub(super) fn new(options: EtcdOptions, shared: Arc<Shared>, mut random: Random) -> Self {
        // Other members and other delays than those of the thread's other half.
        let random = Random::seeded(random.number());
        let anchor = options.anchor.as_deref().filter(|_| !options.accept).and_then(Anchor::load);
        let file = File::new(options.registrations.clone());
        let now = Arc::new(file.load());
        if now.count() > 0 {
            shared.register(Arc::clone(&now));
        }
        let next = Instant::now();
        Self { options, shared, random, book: Book::default(), now, anchor, file, next, due: false }
    }

    /// Follows them for ever.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.random.clone()).hurried(self.options.hurry);
        let mut member = usize::try_from(self.random.number() >> 32).unwrap_or(0);
        let (mut told, mut failures) = (false, 0);
        loop {
            let session = Box::pin(self.session(member, &mut backoff, &mut told));
            let trouble = match session.await {
                Ok(never) => match never {},
                Err(trouble) => trouble,
            };
            // That etcd is away is told by those who follow the documents. A missing right is only noticed here.
            if trouble.kind == Kind::Denied && !std::mem::replace(&mut told, true) {
                tracing::warn!("registered endpoints cannot be followed: {trouble}; {}", trouble.remedy());
            } else {
                tracing::debug!(%trouble, "the session that follows registered endpoints ended");
            }
            self.shared.tried();
            member = member.wrapping_add(1);
            failures += 1;
            sleep(backoff.next_of(failures, self.options.endpoints.len())).await;
        }
    }

    /// One member, until there is trouble.
    async fn session(
        &mut self,
        member: usize,
        backoff: &mut Backoff,
        told: &mut bool,
    ) -> Result<std::convert::Infallible, Trouble> {
        let etcd = Etcd::connect(&self.options, member).await?;
        let below = self.options.keys.endpoints();
        let (found, seen) = etcd.range(&below, &end_of(&below), 0).await?;
        let all = found.iter().map(|write| (&*write.key, write.value.as_deref().unwrap_or_default(), write.revision));
        self.book.replace(&self.options.keys, all);
        self.tell(&etcd).await?;
        self.shared.tried();
        let mut stream = watch(&etcd, &below, seen.saturating_add(1)).await?;
        let mut ticks = interval_at(Instant::now() + self.options.progress, self.options.progress);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = stream.message() => {
                    heard = Instant::now();
                    let response = message.map_err(|error| etcd.trouble("watch", &error))?;
                    let ended = || format!("the watch of endpoints at {} ended", etcd.endpoint());
                    let response = response.ok_or_else(|| Trouble::new(Kind::Failed, ended()))?;
                    if response.canceled() {
                        return Err(Trouble::new(Kind::Failed, format!("{}: {}", ended(), response.cancel_reason())));
                    }
                    if !response.created() {
                        backoff.reset();
                        *told = false;
                    }
                    for kv in response.events().iter().filter_map(|event| event.kv()) {
                        // A deleted key is told with version 0.
                        let value = (kv.version() != 0).then(|| kv.value());
                        self.book.note(&self.options.keys, kv.key(), value, kv.mod_revision());
                        self.due = true;
                    }
                }
                () = sleep_until(self.next), if self.due => self.tell(&etcd).await?,
                () = sleep_until(self.file.due()), if self.file.is_due() => self.file.save(),
                _ = ticks.tick() => ask(&etcd, &mut stream, heard.elapsed(), self.options.silence).await?,
            }
        }
    }

    /// Tells what is registered now, if the store is one that is followed.
    async fn tell(&mut self, etcd: &Etcd) -> Result<(), Trouble> {
        self.next = Instant::now() + BATCH;
        if self.held(etcd).await? {
            self.due = true;
            self.next = Instant::now() + HELD / self.options.hurry.max(1);
            return Ok(());
        }
        self.due = false;
        if let Some(now) = self.book.settle(&self.now) {
            self.now = Arc::new(now);
            self.shared.register(Arc::clone(&self.now));
            self.file.changed(&self.now);
        }
        Ok(())
    }

    /// Whether the store was emptied, restored or replaced. What follows the documents may not have noticed yet, so that
    /// the head is looked at here too: keys below it went in the same moment.
    async fn held(&self, etcd: &Etcd) -> Result<bool, Trouble> {
        if self.shared.held() {
            return Ok(true);
        }
        // Asked for before the head, which is never older than what was followed.
        let anchor = self.shared.change(|state| state.anchor.clone()).or_else(|| self.anchor.clone());
        let (kvs, ..) = etcd.get(&self.options.keys.head(), GetOptions::new()).await?;
        // One that cannot be read is the documents' trouble alone.
        let Ok(head) = kvs.first().map(|kv| Head::parse(kv.value())).transpose() else { return Ok(false) };
        Ok(judge(anchor.as_ref(), head.as_ref()).is_err())
    }
}

async fn watch(etcd: &Etcd, below: &str, from: i64) -> Result<WatchStream, Trouble> {
    let options = WatchOptions::new().with_range(end_of(below)).with_start_revision(from);
    let mut watch = etcd.client().watch_client();
    etcd.on_watch(watch.watch(below, Some(options))).await
}

/// Asks the watch itself how far it has come: no other request proves that it is alive.
async fn ask(etcd: &Etcd, stream: &mut WatchStream, silent: Duration, most: Duration) -> Result<(), Trouble> {
    if silent >= most {
        let text = format!("the watch of endpoints at {} has said nothing for {silent:.1?}", etcd.endpoint());
        return Err(Trouble::new(Kind::Failed, text));
    }
    etcd.on_watch(stream.request_progress()).await
}
