//! One key under a lease: granted, put, kept alive, and all of it again when it was lost.
//!
//! etcd's client sends no sign of life by itself, so a timer does, three times within the lease's time. An answer that
//! says the lease is gone, no answer, and the end of the stream all take one path: the next member is asked, for the same
//! lease while it may still live, else for a new one.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn, TxnOp};
use etcd_client::{TxnOpResponse, TxnResponse};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};

use super::super::backoff::{Backoff, Random};
use super::super::client::{Etcd, Kind, Trouble};
use super::super::options::EtcdOptions;
use super::{Board, Entry, Farewell, Terms};
use crate::live::LiveId;

/// The least time from one value to the next. What changes more often is told when the time is over.
const PAUSE: Duration = Duration::from_millis(100);
/// How long taking the key back may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often a key is claimed again that somebody else changed in the same moment.
const CLAIMS: usize = 4;

pub(super) struct Keeper {
    options: EtcdOptions,
    wanted: watch::Receiver<Entry>,
    terms: Terms,
    board: Arc<Board>,
    random: Random,
    /// The id in use, and the one that is taken when the wanted one is somebody else's.
    id: LiveId,
    other: LiveId,
    lease: Option<Lease>,
    /// The lease before this one, in this process or an earlier one: a key under it is ours.
    before: Option<i64>,
    member: usize,
}

/// A lease that was granted.
struct Lease {
    id: i64,
    /// How long it lives without a sign of life.
    ttl: Duration,
    /// Until when it certainly lives.
    until: Instant,
    /// The key and the value under it.
    written: Option<(String, Vec<u8>)>,
}

/// Both ends of the stream that keeps a lease alive.
type Pulse = (LeaseKeeper, LeaseKeepAliveStream);

impl Keeper {
    pub(super) fn new(
        options: EtcdOptions,
        wanted: watch::Receiver<Entry>,
        terms: Terms,
        board: Arc<Board>,
        mut random: Random,
    ) -> Self {
        let before = terms.memory.as_deref().and_then(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
        let (id, other) = (terms.id.clone(), terms.id.other(random.number() as u32));
        let member = usize::try_from(random.number() >> 32).unwrap_or(0);
        Self { options, wanted, terms, board, random, id, other, lease: None, before, member }
    }

    /// Keeps the key until it is told to stop, and takes it back then.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> Farewell {
        // While etcd has no leader no lease ends, and when it has one again every lease gets its whole time. Whoever
        // comes back within a third of it loses nothing, however long etcd was away.
        let third = self.terms.lease / 3;
        let mut backoff = Backoff::new(self.random.clone()).hurried(self.options.hurry).at_most(third);
        let mut failures = 0;
        loop {
            let trouble = tokio::select! {
                ended = self.session(&mut backoff, &mut failures) => match ended {
                    Ok(never) => match never {},
                    Err(trouble) => trouble,
                },
                _ = &mut stopped => break,
            };
            failures += 1;
            // A member that goes away is no trouble as long as the next one answers.
            if failures >= self.options.endpoints.len() || trouble.kind == Kind::Denied {
                self.lost(&trouble);
            }
            self.member = self.member.wrapping_add(1);
            if failures >= self.options.endpoints.len() {
                tokio::select! {
                    () = sleep(backoff.next()) => {}
                    _ = &mut stopped => break,
                }
            }
        }
        // Where it does not work, the lease ends by itself.
        Box::pin(timeout(FAREWELL, self.farewell())).await.ok().and_then(Result::ok).unwrap_or(Farewell::Unanswered)
    }

    fn lost(&self, trouble: &Trouble) {
        let text = format!("{trouble}; {}", trouble.remedy());
        let alive = self.lease.as_ref().is_some_and(|lease| lease.written.is_some() && lease.until > Instant::now());
        self.board.change(|standing| {
            if standing.trouble.is_none() {
                tracing::warn!(id = %standing.id, "registration in etcd is in danger: {text}");
            }
            (standing.registered, standing.trouble) = (alive, Some(text));
        });
    }

    /// One member, until there is trouble.
    async fn session(
        &mut self,
        backoff: &mut Backoff,
        failures: &mut usize,
    ) -> Result<std::convert::Infallible, Trouble> {
        let patience = self.terms.lease / 3;
        let connecting = timeout(patience, Etcd::connect(&self.options, self.member)).await;
        let slow = || Trouble::new(Kind::Failed, format!("etcd did not answer within {patience:?}"));
        let etcd = connecting.map_err(|_| slow())??;
        let (mut keeper, mut answers) = match self.resumed(&etcd).await? {
            Some(pulse) => pulse,
            None => self.granted(&etcd).await?,
        };
        self.write(&etcd).await?;
        let every = self.lease.as_ref().map_or(patience, |lease| lease.ttl / 3);
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut asked, mut stale, mut next) = (None, false, Instant::now() + PAUSE);
        loop {
            tokio::select! {
                answer = answers.message() => {
                    let answer = answer.map_err(|error| etcd.trouble("keep a lease alive in", &error))?;
                    let ended = || Trouble::new(Kind::Failed, format!("etcd at {} ended a lease's stream", etcd.endpoint()));
                    self.alive(answer.ok_or_else(ended)?.ttl(), asked.take(), &etcd)?;
                    (*failures, stale) = (0, stale | self.missing(&etcd).await?);
                    backoff.reset();
                }
                _ = ticks.tick() => {
                    if asked.is_some() {
                        let text = format!("etcd at {} did not answer a sign of life within {every:?}", etcd.endpoint());
                        return Err(Trouble::new(Kind::Failed, text));
                    }
                    asked = Some(Instant::now());
                    etcd.bounded("keep a lease alive in", keeper.keep_alive()).await?;
                }
                changed = self.wanted.changed(), if !stale => {
                    stale = true;
                    if changed.is_err() {
                        // Nobody can want anything else any more; whoever could is about to stop this.
                        std::future::pending::<()>().await;
                    }
                }
                () = sleep_until(next), if stale => {
                    self.write(&etcd).await?;
                    (stale, next) = (false, Instant::now() + PAUSE);
                }
            }
        }
    }

    /// Takes note of a sign of life of the lease.
    fn alive(&mut self, ttl: i64, asked: Option<Instant>, etcd: &Etcd) -> Result<(), Trouble> {
        if ttl <= 0 {
            self.before = self.lease.take().map(|lease| lease.id);
            return Err(Trouble::new(Kind::Failed, format!("etcd at {} ended the lease", etcd.endpoint())));
        }
        if let (Some(lease), Some(asked)) = (&mut self.lease, asked) {
            lease.until = asked + lease.ttl;
        }
        Ok(())
    }

    /// Goes on with the lease at hand, if it still lives. It does for a while when only a connection broke.
    async fn resumed(&mut self, etcd: &Etcd) -> Result<Option<Pulse>, Trouble> {
        let Some(lease) = &mut self.lease else { return Ok(None) };
        let asked = Instant::now();
        let mut client = etcd.client().lease_client();
        match timeout(self.terms.lease / 3, client.keep_alive(lease.id)).await {
            Ok(Ok(pulse)) => {
                lease.until = asked + lease.ttl;
                // Somebody may have deleted the key meanwhile.
                lease.written = None;
                Ok(Some(pulse))
            }
            Ok(Err(etcd_client::Error::LeaseKeepAliveError(_))) => {
                self.before = self.lease.take().map(|lease| lease.id);
                Ok(None)
            }
            Ok(Err(error)) => Err(etcd.trouble("keep a lease alive in", &error)),
            Err(_) => Err(Trouble::new(Kind::Failed, format!("etcd at {} does not answer", etcd.endpoint()))),
        }
    }

    /// A new lease.
    async fn granted(&mut self, etcd: &Etcd) -> Result<Pulse, Trouble> {
        let seconds = i64::try_from(self.terms.lease.as_secs().max(1)).unwrap_or(i64::MAX);
        let asked = Instant::now();
        let mut client = etcd.client().lease_client();
        let granted = etcd.bounded("ask for a lease in", client.grant(seconds, None)).await?;
        // etcd may give more than was asked for, as its own shortest; but not without end.
        let ttl = Duration::from_secs(u64::try_from(granted.ttl().clamp(1, seconds.saturating_mul(10))).unwrap_or(1));
        self.lease = Some(Lease { id: granted.id(), ttl, until: asked + ttl, written: None });
        self.remember(granted.id());
        // Whoever had the wanted id may have gone meanwhile.
        self.id = self.terms.id.clone();
        etcd.bounded("keep a lease alive in", client.keep_alive(granted.id())).await
    }

    /// Keeps the lease for a process after this one, before anything is put under it.
    fn remember(&self, lease: i64) {
        let Some(file) = &self.terms.memory else { return };
        let kept = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(file, lease.to_string()));
        if let Err(error) = kept {
            tracing::warn!("cannot keep the lease in {}: {error}", file.display());
        }
    }

    /// Puts what is wanted under the lease, unless it is there.
    async fn write(&mut self, etcd: &Etcd) -> Result<(), Trouble> {
        let entry = self.wanted.borrow_and_update().clone();
        // First what was ours or nobody's; who is found there decides what to try next.
        let mut expected = self.lease.as_ref().filter(|lease| lease.written.is_some()).map_or(0, |lease| lease.id);
        for _ in 0..CLAIMS {
            let Some(lease) = &self.lease else { break };
            let key = entry.key(etcd.keys(), &self.id);
            let value = entry.value(&self.id).map_err(|error| Trouble::new(Kind::Broken, error.to_string()))?;
            let written = Some((key, value));
            if lease.written == written {
                return Ok(());
            }
            let Some((key, value)) = &written else { break };
            // It is there from before the key is, and stays when the lease ends.
            let note = entry.note(etcd.keys(), &self.id).filter(|_| lease.written.is_none());
            let answer = etcd.txn(claim(key, value, note, expected, lease.id)).await?;
            let ours = lease.id;
            if answer.succeeded() {
                let expired = Some(expected).filter(|found| *found != ours && *found != 0);
                self.claimed(etcd, written, expired).await;
                return Ok(());
            }
            expected = match found(&answer) {
                free @ (None | Some(0)) => free.unwrap_or(0),
                Some(lease) if lease == ours || Some(lease) == self.before => lease,
                Some(_) => {
                    self.give_way();
                    0
                }
            };
        }
        Err(Trouble::new(Kind::Failed, "somebody else writes the same key again and again"))
    }

    /// Somebody else lives under this id. To fight over it would have both flicker.
    fn give_way(&mut self) {
        let taken = std::mem::replace(&mut self.id, self.other.clone());
        if taken == self.other {
            self.other = self.terms.id.other(self.random.number() as u32);
            self.id = self.other.clone();
        }
        tracing::warn!("the id {taken} belongs to somebody else who is alive: {} is taken instead", self.id);
    }

    async fn claimed(&mut self, etcd: &Etcd, written: Option<(String, Vec<u8>)>, expired: Option<i64>) {
        let Some(lease) = &mut self.lease else { return };
        lease.written = written;
        let ours = lease.id;
        // The lease before this one is of no more interest once the key is under this one.
        let fresh = self.before.replace(ours) != Some(ours);
        self.board.change(|standing| {
            let again = standing.registered && standing.trouble.is_none();
            standing.id.clone_from(&self.id);
            (standing.registered, standing.trouble) = (true, None);
            standing.leases += u64::from(fresh);
            if !again {
                tracing::info!(id = %standing.id, endpoint = etcd.endpoint(), "registered in etcd");
            }
        });
        if let Some(expired) = expired {
            // It is an earlier life's and would end by itself.
            let _gone: Result<_, _> =
                etcd.bounded("revoke a lease in", etcd.client().lease_client().revoke(expired)).await;
        }
    }

    /// Whether the key has gone although the lease lives, or is somebody else's by now. Any member may answer: one that
    /// lags behind has the key put once too often.
    async fn missing(&mut self, etcd: &Etcd) -> Result<bool, Trouble> {
        let Some(lease) = &mut self.lease else { return Ok(false) };
        let Some((key, _)) = &lease.written else { return Ok(true) };
        let (kvs, ..) = etcd.get(key, GetOptions::new().with_keys_only().with_serializable()).await?;
        let there = kvs.first().is_some_and(|kv| kv.lease() == lease.id);
        if !there {
            lease.written = None;
        }
        Ok(!there)
    }

    async fn farewell(&mut self) -> Result<Farewell, Trouble> {
        let Some(lease) = self.lease.take() else { return Ok(Farewell::Nothing) };
        let etcd = Etcd::connect(&self.options, self.member).await?;
        match etcd.bounded("revoke a lease in", etcd.client().lease_client().revoke(lease.id)).await {
            Ok(_) => {}
            // It ended by itself meanwhile.
            Err(trouble) if trouble.to_string().contains("lease not found") => {}
            Err(trouble) => return Err(trouble),
        }
        let note = self.wanted.borrow().note(etcd.keys(), &self.id);
        if let Some(note) = note {
            etcd.txn(Txn::new().and_then([TxnOp::delete(note, None)])).await?;
        }
        self.board.change(|standing| standing.registered = false);
        Ok(Farewell::TakenBack)
    }
}

/// Puts a value under a lease if the key is under the expected one; a key that is not there is under lease 0.
fn claim(key: &str, value: &[u8], note: Option<String>, expected: i64, lease: i64) -> Txn {
    let put = TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)));
    let get = TxnOp::get(key, Some(GetOptions::new().with_keys_only()));
    let noted = note.into_iter().map(|note| TxnOp::put(note, "", None));
    Txn::new()
        .when([Compare::lease(key, CompareOp::Equal, expected)])
        .and_then(noted.chain([put]).collect::<Vec<_>>())
        .or_else([get])
}

/// The lease of the key that stood in the way.
fn found(answer: &TxnResponse) -> Option<i64> {
    answer.op_responses().into_iter().find_map(|response| match response {
        TxnOpResponse::Get(got) => got.kvs().first().map(etcd_client::KeyValue::lease),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
    })
}
