//! What happens to shifts, and when every router has heard of it: told by etcd as it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use etcd_client::{Client, WatchOptions, WatchResponse};
use gridrouter_config::ids::Kind;
use gridrouter_config::keys::{DEFAULT_PREFIX, Keys};
use gridrouter_config::raw::{Document, ShiftPhase};
use gridrouter_config::track::Track;
use gridrouter_config::units::Percent;
use serde_json::Value;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::drill::holds_within;
use crate::error::{Context, Error, Result};

/// A moment by both clocks: this program's, and the one that everybody shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::drill) struct Moment {
    /// By this program's clock.
    pub(in crate::drill) instant: Instant,
    /// In milliseconds since 1970.
    pub(in crate::drill) wall: i64,
}

impl Moment {
    /// Now.
    pub(in crate::drill) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), wall: i64::try_from(since.as_millis()).unwrap_or(i64::MAX) }
    }

    /// The moment that was so many milliseconds since 1970, a little before this one, by this program's clock.
    pub(in crate::drill) fn back_to(self, wall: i64) -> Instant {
        let back = Duration::from_millis(u64::try_from(self.wall - wall).unwrap_or(0));
        self.instant.checked_sub(back).unwrap_or(self.instant)
    }
}

/// A shift's document as one generation has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::drill) struct Change {
    /// The generation.
    pub(in crate::drill) generation: u64,
    /// The shift.
    pub(in crate::drill) shift: String,
    /// The track that it moves traffic to.
    pub(in crate::drill) to: Track,
    /// Its phase.
    pub(in crate::drill) phase: ShiftPhase,
    /// The share of that track, in hundredths of a percent: the same in all cells, which are one wave.
    pub(in crate::drill) share: u16,
    /// When it was decided that the share is this one, in milliseconds since 1970: before anybody could know of it.
    pub(in crate::drill) since: i64,
    /// When it was paused or ended, in milliseconds since 1970.
    pub(in crate::drill) stopped: Option<i64>,
    /// Why it is in this phase.
    pub(in crate::drill) reason: String,
    /// When etcd told of it here.
    pub(in crate::drill) at: Moment,
}

/// A router that has a generation in force.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Acknowledged {
    router: Vec<u8>,
    generation: u64,
    at: Moment,
}

#[derive(Debug, Default)]
struct Seen {
    changes: Vec<Change>,
    acknowledged: Vec<Acknowledged>,
    trouble: Option<String>,
}

/// All that was told so far.
#[derive(Debug)]
pub(in crate::drill) struct Timeline {
    seen: Arc<Mutex<Seen>>,
    routers: usize,
    task: AbortHandle,
}

impl Timeline {
    /// Watches from now on; so many routers there are.
    pub(in crate::drill) async fn watch(url: &str, routers: usize) -> Result<Self> {
        let keys = Keys::new(DEFAULT_PREFIX).map_err(Error::new)?;
        let mut client = Box::new(Client::connect([url], None).await.context("etcd")?);
        let options = WatchOptions::new().with_prefix();
        let mut stream = Box::new(client.watch(keys.prefix(), Some(options)).await.context("etcd")?);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let own = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            // Dropping the client would end the watch.
            let _client = client;
            let trouble = loop {
                match stream.message().await {
                    Ok(Some(message)) => note(&keys, &message, &own),
                    Ok(None) => break "the watch ended".to_owned(),
                    Err(error) => break error.to_string(),
                }
            };
            lock(&own).trouble = Some(trouble);
        });
        Ok(Self { seen, routers, task: task.abort_handle() })
    }

    /// Every change of a shift, in order.
    pub(in crate::drill) fn changes(&self) -> Vec<Change> {
        lock(&self.seen).changes.clone()
    }

    /// The generation of the last change; 0 before there was one.
    pub(in crate::drill) fn last(&self) -> u64 {
        lock(&self.seen).changes.last().map_or(0, |last| last.generation)
    }

    /// Waits for the first change of a shift that is under way after a generation. What is still written of one that has
    /// ended, such as its closing report, is none.
    pub(in crate::drill) async fn begun(&self, shift: &str, after: u64, limit: Duration) -> Result<Change> {
        let begins = |change: &Change| change.shift == shift && change.generation > after && change.stopped.is_none();
        self.first(limit, begins).await
    }

    /// Waits for the first change of the same shift, from this one on, for which something holds.
    pub(in crate::drill) async fn until(
        &self,
        begun: &Change,
        limit: Duration,
        holds: impl Fn(&Change) -> bool,
    ) -> Result<Change> {
        let ours = |change: &Change| change.shift == begun.shift && change.generation >= begun.generation;
        self.first(limit, |change| ours(change) && holds(change)).await
    }

    async fn first(&self, limit: Duration, holds: impl Fn(&Change) -> bool) -> Result<Change> {
        let mut found = None;
        holds_within(limit, async || {
            let seen = lock(&self.seen);
            found = seen.changes.iter().find(|change| holds(change)).cloned();
            found.is_some() || seen.trouble.is_some()
        })
        .await;
        found.ok_or_else(|| {
            let seen = lock(&self.seen);
            let last =
                seen.changes.last().map(|last| format!("{} is {} {}", last.shift, last.phase.as_str(), last.reason));
            let trouble = seen.trouble.as_deref().unwrap_or("nothing is wrong with the watch");
            Error::new(format!("a shift did not get on within {limit:?}: {}; {trouble}", last.unwrap_or_default()))
        })
    }

    /// When the last router had this generation or a later one in force, if all have.
    pub(in crate::drill) fn everywhere(&self, generation: u64) -> Option<Moment> {
        let seen = lock(&self.seen);
        let (mut first, mut last) = (BTreeSet::new(), None);
        for one in seen.acknowledged.iter().filter(|one| one.generation >= generation) {
            if first.insert(&one.router) {
                last = Some(one.at);
            }
        }
        last.filter(|_| first.len() >= self.routers)
    }

    /// Waits until all routers have this generation.
    pub(in crate::drill) async fn until_everywhere(&self, generation: u64, limit: Duration) -> Result<Moment> {
        let all = holds_within(limit, async || self.everywhere(generation).is_some()).await;
        let everywhere = self.everywhere(generation).filter(|_| all);
        everywhere.ok_or_else(|| Error::new(format!("not all routers have generation {generation} within {limit:?}")))
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes what a message tells. What one transaction has written comes in one message.
fn note(keys: &Keys, message: &WatchResponse, seen: &Mutex<Seen>) {
    let at = Moment::now();
    let values = || message.events().iter().filter_map(|event| event.kv()).filter(|kv| !kv.value().is_empty());
    let generation = |value: &[u8]| serde_json::from_slice::<Value>(value).ok()?.get("generation")?.as_u64();
    let heads: BTreeMap<i64, u64> = values()
        .filter(|kv| kv.key() == keys.head().as_bytes())
        .filter_map(|kv| Some((kv.mod_revision(), generation(kv.value())?)))
        .collect();
    let mut seen = lock(seen);
    for kv in values() {
        if kv.key().starts_with(keys.routers().as_bytes()) {
            if let Some(generation) = generation(kv.value()) {
                seen.acknowledged.push(Acknowledged { router: kv.key().to_vec(), generation, at });
            }
        } else if kv.key().starts_with(keys.documents_of(Kind::Shift).as_bytes())
            && let Some(generation) = heads.get(&kv.mod_revision())
            && let Some(change) = change(kv.value(), *generation, at)
            && is_news(&seen.changes, &change)
        {
            seen.changes.push(change);
        }
    }
}

/// Whether a change says something new of where the traffic goes. A shift that has ended is written once more for its closing
/// report, maybe while the next one is under way.
fn is_news(before: &[Change], change: &Change) -> bool {
    let known = before.iter().rev().find(|known| known.shift == change.shift);
    let says = |change: &Change| (change.phase, change.share, change.since, change.stopped);
    known.is_none_or(|known| says(known) != says(change))
}

/// Reads a shift's document. One that was not started yet moves nothing.
fn change(document: &[u8], generation: u64, at: Moment) -> Option<Change> {
    let Document::Shift(shift) = serde_json::from_slice(document).ok()? else { return None };
    let (phase, since) = shift.state.as_ref().map_or((ShiftPhase::Pending, 0), |state| (state.phase, state.since));
    let share = shift.state.as_ref().and_then(|state| state.shares.values().next());
    let share = share.and_then(|share| Percent::parse(share).ok()).map_or(0, Percent::hundredths);
    let stopped = shift.state.as_ref().and_then(|state| i64::try_from(state.stopped?).ok());
    let reason = shift.state.map(|state| state.reason).unwrap_or_default();
    let since = i64::try_from(since).ok()?;
    Some(Change { generation, shift: shift.name, to: shift.to, phase, share, since, stopped, reason, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_are_read() {
        let at = Moment::now();
        let fresh = br#"{"kind":"Shift","name":"x","service":"s","to":"green","waves":[{"cells":["a"]}],"steps":[{"weight":"100%"}]}"#;
        let read = change(fresh, 3, at).unwrap();
        assert_eq!((read.phase, read.share, read.since, read.to), (ShiftPhase::Pending, 0, 0, Track::Green));
        let state = br#","state":{"phase":"Running","shares":{"a":"1%","b":"1%"},"started":7,"since":9}}"#;
        let running = [&fresh[..fresh.len() - 1], &state[..]].concat();
        let read = change(&running, 4, at).unwrap();
        assert_eq!((read.generation, read.phase, read.share, read.since), (4, ShiftPhase::Running, 100, 9));
        assert_eq!(change(b"{}", 1, at), None);
    }

    #[test]
    fn a_closing_report_is_no_change() {
        let at = Moment::now();
        let read = |generation, state: &str| {
            let text = r#"{"kind":"Shift","name":"x","service":"s","to":"green","waves":[{"cells":["a"]}],"steps":[{"weight":"100%"}],"state":"#;
            change(format!("{text}{state}}}").as_bytes(), generation, at).unwrap()
        };
        let running = r#"{"phase":"Running","shares":{"a":"1%"},"started":7,"since":9}"#;
        let ended = r#"{"phase":"Succeeded","shares":{"a":"100%"},"started":7,"since":9,"stopped":11}"#;
        let report = r#"{"phase":"Succeeded","shares":{"a":"100%"},"started":7,"since":9,"stopped":11,"report":{"requests":3,"failed":0,"oldRequests":1,"oldFailed":0}}"#;
        let before = [read(1, running), read(2, ended)];
        assert!(is_news(&before[..1], &before[1]) && is_news(&[], &before[0]));
        assert!(!is_news(&before, &read(3, report)));
        // Begun again.
        assert!(is_news(&before, &read(4, running)));
    }

    #[test]
    fn a_moment_is_found_again_by_the_other_clock() {
        let at = Moment::now();
        assert_eq!(at.back_to(at.wall - 40) + Duration::from_millis(40), at.instant);
        assert_eq!(at.back_to(at.wall + 40), at.instant);
    }
}
