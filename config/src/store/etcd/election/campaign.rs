//! The campaign: a lease that is kept alive, and a look at the leader's key twice a second.
//!
//! Looking is all that is done to notice a change: whoever finds no key claims it, whoever finds its own leads, whoever finds
//! another's stands by. A watch would tell half a second sooner and would need all of this besides, for when it is silent,
//! compacted away or ended. So whatever etcd went through, the next look that it answers puts things right.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn, TxnOp,
};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::super::backoff::{Backoff, Random};
use super::super::client::{Etcd, Kind, Trouble, header};
use super::super::options::EtcdOptions;
use super::{Board, Candidacy, Held, Leader, Leadership};

/// The time from one look to the next.
const LOOK: Duration = Duration::from_millis(500);
/// How long giving up a leadership may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// The part of a lease's time that nobody relies on. It covers clocks that do not run at the same pace, and leaves whoever
/// acts a moment to notice.
const MARGIN: u32 = 5;

pub(super) struct Campaign {
    options: EtcdOptions,
    candidacy: Candidacy,
    board: Arc<Board>,
    random: Random,
    lease: Option<Lease>,
    member: usize,
}

/// A lease that was granted.
struct Lease {
    id: i64,
    /// How long it lives without a sign of life.
    ttl: Duration,
    /// When the last sign of life was given that etcd has answered. The lease is at least a whole time older than this.
    asked: Instant,
}

impl Lease {
    /// Until when it certainly lives.
    fn until(&self) -> Instant {
        self.asked + self.ttl.saturating_sub(self.ttl / MARGIN)
    }
}

/// Both ends of the stream that keeps a lease alive.
type Pulse = (LeaseKeeper, LeaseKeepAliveStream);

impl Campaign {
    pub(super) fn new(options: EtcdOptions, candidacy: Candidacy, board: Arc<Board>, mut random: Random) -> Self {
        let member = usize::try_from(random.number() >> 32).unwrap_or(0);
        Self { options, candidacy, board, random, lease: None, member }
    }

    /// Takes part until it is told to stop, and gives up what it has then.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        // As for every lease: whoever comes back within a third of its time loses nothing.
        let third = self.candidacy.lease / 3;
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
            self.member = self.member.wrapping_add(1);
            // A member that goes away is no trouble as long as the next one answers.
            let all = failures >= self.options.endpoints.len();
            if all || trouble.kind == Kind::Denied {
                self.trouble(&trouble);
            }
            if all {
                tokio::select! {
                    () = sleep(backoff.next()) => {}
                    _ = &mut stopped => break,
                }
            }
        }
        // Where it does not work, the lease ends by itself.
        let _answered: Result<_, _> = timeout(FAREWELL, self.farewell()).await;
    }

    fn trouble(&self, trouble: &Trouble) {
        let text = format!("{trouble}; {}", trouble.remedy());
        self.board.change(|state| {
            if state.held.is_none() {
                // Who else leads is not known any more.
                state.leader = None;
            }
            state.trouble = Some(text);
        });
    }

    /// One member, until there is trouble.
    async fn session(&mut self, backoff: &mut Backoff, failures: &mut usize) -> Result<Infallible, Trouble> {
        let connecting = Box::pin(Etcd::connect(&self.options, self.member));
        let etcd = self.soon(connecting).await?;
        let mut pulse = match self.resumed(&etcd).await? {
            Some(pulse) => pulse,
            None => self.granted(&etcd).await?,
        };
        loop {
            self.look(&etcd).await?;
            *failures = 0;
            backoff.reset();
            sleep(LOOK).await;
            if self.lease.as_ref().is_none_or(|lease| lease.asked.elapsed() >= lease.ttl / 3) {
                self.beat(&etcd, &mut pulse).await?;
            }
        }
    }

    /// Bounds what must not outlast the lease: after a third of its time the next member is asked.
    async fn soon<T>(&self, what: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        let patience = self.candidacy.lease / 3;
        let slow = || Trouble::new(Kind::Failed, format!("etcd did not answer within {patience:?}"));
        timeout(patience, what).await.map_err(|_| slow())?
    }

    /// A sign of life of the lease.
    async fn beat(&mut self, etcd: &Etcd, (keeper, answers): &mut Pulse) -> Result<(), Trouble> {
        let asked = Instant::now();
        let asking = async {
            keeper.keep_alive().await?;
            answers.message().await
        };
        let answer = self.soon(etcd.bounded("keep a lease alive in", asking)).await?;
        let ended = || Trouble::new(Kind::Failed, format!("etcd at {} ended a lease's stream", etcd.endpoint()));
        if answer.ok_or_else(ended)?.ttl() <= 0 {
            self.dropped();
            return Err(Trouble::new(Kind::Failed, format!("etcd at {} ended the lease", etcd.endpoint())));
        }
        self.prolonged(asked);
        Ok(())
    }

    /// The lease lives a whole time from a question that was answered.
    fn prolonged(&mut self, asked: Instant) {
        let Some(lease) = &mut self.lease else { return };
        lease.asked = asked;
        let until = lease.until();
        // Nothing anybody waits for has changed.
        if let Some(held) = &mut self.board.lock().held {
            held.until = until;
        }
    }

    /// The lease has ended, and every key under it is gone.
    fn dropped(&mut self) {
        self.lease = None;
        self.board.change(|state| (state.held, state.leader) = (None, None));
    }

    /// Goes on with the lease at hand, if it still lives. It does for a while when only a connection broke.
    async fn resumed(&mut self, etcd: &Etcd) -> Result<Option<Pulse>, Trouble> {
        let Some(lease) = &self.lease else { return Ok(None) };
        let (asked, id) = (Instant::now(), lease.id);
        let mut client = etcd.client().lease_client();
        // The stream begins with a sign of life and its answer.
        let begun = async {
            match client.keep_alive(id).await {
                Ok(pulse) => Ok(Some(pulse)),
                Err(etcd_client::Error::LeaseKeepAliveError(_)) => Ok(None),
                Err(error) => Err(etcd.trouble("keep a lease alive in", &error)),
            }
        };
        let pulse = self.soon(begun).await?;
        if pulse.is_some() {
            self.prolonged(asked);
        } else {
            self.dropped();
        }
        Ok(pulse)
    }

    /// A new lease.
    async fn granted(&mut self, etcd: &Etcd) -> Result<Pulse, Trouble> {
        let seconds = i64::try_from(self.candidacy.lease.as_secs().max(1)).unwrap_or(i64::MAX);
        let asked = Instant::now();
        let mut client = etcd.client().lease_client();
        let granting = etcd.bounded("ask for a lease in", client.grant(seconds, None));
        let granted = self.soon(granting).await?;
        // As in `live`: whatever etcd answers, nobody believes in its lease for ever.
        let ttl = Duration::from_secs(u64::try_from(granted.ttl().clamp(1, seconds.saturating_mul(10))).unwrap_or(1));
        self.lease = Some(Lease { id: granted.id(), ttl, asked });
        self.soon(etcd.bounded("keep a lease alive in", client.keep_alive(granted.id()))).await
    }

    /// Looks who leads, and claims the key when nobody does.
    async fn look(&mut self, etcd: &Etcd) -> Result<(), Trouble> {
        let key = etcd.keys().leader();
        let (mut kvs, ..) = self.soon(etcd.get(&key, GetOptions::new())).await?;
        match kvs.pop() {
            Some(found) => self.found(key, &found),
            None => self.claim(etcd, key).await?,
        }
        Ok(())
    }

    /// Somebody leads. The key is this candidate's own if it is under its lease: also one that was claimed without an answer.
    fn found(&self, key: String, found: &KeyValue) {
        let leader = Leader::read(found.value());
        let own = self.lease.as_ref().filter(|lease| lease.id == found.lease());
        let held = own.map(|lease| {
            let leadership = Leadership { key, create_revision: found.create_revision() };
            Held { leadership, until: lease.until() }
        });
        self.say(held, Some(leader));
    }

    fn say(&self, held: Option<Held>, leader: Option<Leader>) {
        self.board.change(|state| {
            let (had, has) = (state.held.is_some(), held.is_some());
            (state.held, state.leader, state.trouble) = (held, leader, None);
            if had != has {
                tracing::info!(id = %self.candidacy.id, leads = has, "the election has another outcome");
            }
        });
    }

    async fn claim(&mut self, etcd: &Etcd, key: String) -> Result<(), Trouble> {
        // Whoever had the key has it no more, also if that was this candidate.
        self.say(None, None);
        let Some(lease) = &self.lease else { return Ok(()) };
        let leader = Leader {
            id: self.candidacy.id.to_string(),
            host: self.candidacy.host.clone(),
            since: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        };
        let value = serde_json::to_vec(&leader).map_err(|error| Trouble::new(Kind::Broken, error.to_string()))?;
        let free = Compare::create_revision(key.as_str(), CompareOp::Equal, 0);
        let put = TxnOp::put(key.as_str(), value, Some(PutOptions::new().with_lease(lease.id)));
        let answer = self.soon(etcd.txn(Txn::new().when([free]).and_then([put]))).await?;
        if answer.succeeded() {
            let leadership = Leadership { key, create_revision: header(answer.header()).0 };
            self.say(Some(Held { leadership, until: lease.until() }), Some(leader));
        }
        // Who was faster shows at the next look.
        Ok(())
    }

    /// Ends the lease, and the leadership with it.
    async fn farewell(&mut self) -> Result<(), Trouble> {
        let Some(lease) = self.lease.take() else { return Ok(()) };
        // Nobody here may rely on it from the moment that it is given up.
        self.board.change(|state| (state.held, state.leader) = (None, None));
        let etcd = Etcd::connect(&self.options, self.member).await?;
        etcd.bounded("revoke a lease in", etcd.client().lease_client().revoke(lease.id)).await.map(drop)
    }
}
