//! What is done to etcd, one thing after the other, in an order that the seed decides.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::checks::Checks;
use super::editor::Pace;
use super::{Play, USUAL};
use crate::error::{Error, Result};
use crate::etcd::ELECTION;

/// How long the routers may take to come up to what was committed. The longest delay between two tries is 30 s.
pub(super) const CATCHING_UP: Duration = Duration::from_secs(75);
/// A storm is 500 changes a second: so many at once, so often.
const STORM: Pace = Pace::Every(Duration::from_millis(36), 20);
/// Long enough to be in the middle of it.
const RUSH: Duration = Duration::from_millis(150);

/// One thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A member crashes and comes back.
    MemberKilled,
    /// A member stops where it is and goes on.
    MemberPaused,
    /// The member that leads crashes and comes back.
    LeaderKilled,
    /// Nothing passes between the member that leads and the others.
    LeaderCutOff,
    /// All members crash and come back.
    ClusterRestarted,
    /// The history is forgotten.
    Compacted,
    /// The history is forgotten while the member that a router watches is paused.
    CompactedBehindARouter,
    /// Two of three members crash, a router is restarted, and the two come back.
    QuorumLost,
    /// Two of three members stop where they are, in the middle of a change, and go on: nobody can say for a while whether
    /// that change was committed.
    MajorityPaused,
    /// As many changes as etcd takes.
    Storm,
}

impl Fault {
    /// All of them.
    pub(super) const ALL: [Fault; 10] = [
        Fault::MemberKilled,
        Fault::MemberPaused,
        Fault::LeaderKilled,
        Fault::LeaderCutOff,
        Fault::ClusterRestarted,
        Fault::Compacted,
        Fault::CompactedBehindARouter,
        Fault::QuorumLost,
        Fault::MajorityPaused,
        Fault::Storm,
    ];
}

/// How long things last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Without anything being done.
    pub(super) quiet: Duration,
    /// A member is away.
    pub(super) away: Duration,
    /// A member is paused or cut off: long enough, in the full form, that whoever it serves gives it up.
    pub(super) silent: Duration,
    /// Nobody has a majority.
    pub(super) no_quorum: Duration,
    /// A storm.
    pub(super) storm: Duration,
    /// Whether routers are waited for after every fault, so that each meets them in good order.
    pub(super) catch_up: bool,
}

impl Play {
    /// Does one thing, and undoes it.
    pub(super) async fn strike(&mut self, fault: Fault, times: Times, checks: &mut Checks) -> Result<()> {
        let began = Instant::now();
        let (committed, changed) = (self.committed(), self.changed.load(Relaxed));
        let said = match fault {
            Fault::MemberKilled => {
                let victim = self.any_member();
                self.killed(&[victim], times.away).await?;
                format!("member {victim} killed")
            }
            Fault::LeaderKilled => {
                let victim = self.leader().await?;
                self.killed(&[victim], times.away).await?;
                format!("leader {victim} killed")
            }
            Fault::ClusterRestarted => {
                self.killed(&[0, 1, 2], Duration::ZERO).await?;
                "all members killed and started again".to_owned()
            }
            Fault::MemberPaused => {
                let victim = self.any_member();
                self.cluster.member(victim)?.pause()?;
                sleep(times.silent).await;
                self.cluster.member(victim)?.resume()?;
                format!("member {victim} paused for {:?}", times.silent)
            }
            Fault::MajorityPaused => self.majority_paused(times).await?,
            Fault::LeaderCutOff => {
                let victim = self.leader().await?;
                self.rush().await;
                self.cluster.cut_off(victim);
                sleep(times.silent).await;
                self.cluster.reconnect();
                format!("leader {victim} cut off from the others for {:?}", times.silent)
            }
            Fault::Compacted => format!("compacted to revision {}", self.cluster.compact().await?),
            Fault::CompactedBehindARouter => self.compacted_behind_a_router(times).await?,
            Fault::QuorumLost => self.quorum_lost(times, checks).await?,
            Fault::Storm => {
                self.pace(STORM);
                sleep(times.storm).await;
                let seconds = began.elapsed().as_secs_f64();
                let rate = (self.changed.load(Relaxed) - changed) as f64 / seconds;
                let generations = (self.committed() - committed) as f64 / seconds;
                let each = times.storm;
                format!("{rate:.0} changes in {generations:.0} generations a second for {each:?}")
            }
        };
        self.pace(USUAL);
        self.cluster.until_healthy(ELECTION).await?;
        self.fleet.still_run()?;
        if times.catch_up {
            let took = self.caught_up(CATCHING_UP).await;
            let what = format!("{said}: every router comes up to what is committed then");
            match took {
                Some(took) => checks.check(what, true, format_args!("{:.1} s later", took.as_secs_f64())),
                None => checks.check(what, false, format_args!("not within {CATCHING_UP:?}")),
            }
        } else {
            checks.note(&format!("{fault:?}"), said);
        }
        sleep(times.quiet).await;
        Ok(())
    }

    fn any_member(&mut self) -> usize {
        self.dice.below(self.cluster.members.len())
    }

    async fn leader(&mut self) -> Result<usize> {
        let began = Instant::now();
        loop {
            match self.cluster.leader().await {
                Some(leader) => return Ok(leader),
                None if began.elapsed() > ELECTION => return Err(Error::new("the cluster has no leader")),
                None => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Publishes so fast that what happens next happens in the middle of a change.
    async fn rush(&self) {
        self.pace(STORM);
        sleep(RUSH).await;
    }

    async fn killed(&mut self, victims: &[usize], away: Duration) -> Result<()> {
        self.rush().await;
        for victim in victims {
            self.cluster.member(*victim)?.kill()?;
        }
        sleep(away).await;
        for victim in victims {
            self.cluster.member(*victim)?.start()?;
        }
        Ok(())
    }

    async fn compacted_behind_a_router(&mut self, times: Times) -> Result<String> {
        let store = self.router(0)?.ready().await?.store;
        let watched =
            self.cluster.members.iter().position(|member| store.contains(&format!("watched at {}", member.url())));
        // It follows nobody at the moment: then it does not matter which one.
        let victim = watched.unwrap_or(0);
        self.cluster.member(victim)?.pause()?;
        let committed = self.committed();
        let began = Instant::now();
        // Something to miss.
        while self.committed() < committed + 3 && began.elapsed() < ELECTION {
            sleep(Duration::from_millis(20)).await;
        }
        let compacted = self.cluster.compact().await;
        sleep(times.silent.saturating_sub(began.elapsed())).await;
        self.cluster.member(victim)?.resume()?;
        Ok(format!("compacted to revision {} while member {victim}, watched by a router, was paused", compacted?))
    }

    /// All members but one.
    fn majority(&mut self) -> Vec<usize> {
        let left = self.any_member();
        (0..self.cluster.members.len()).filter(|member| *member != left).collect()
    }

    async fn majority_paused(&mut self, times: Times) -> Result<String> {
        let victims = self.majority();
        self.rush().await;
        for victim in &victims {
            self.cluster.member(*victim)?.pause()?;
        }
        sleep(times.silent).await;
        for victim in &victims {
            self.cluster.member(*victim)?.resume()?;
        }
        Ok(format!("members {victims:?} paused for {:?}", times.silent))
    }

    async fn quorum_lost(&mut self, times: Times, checks: &mut Checks) -> Result<String> {
        let victims = self.majority();
        self.rush().await;
        for victim in &victims {
            self.cluster.member(*victim)?.kill()?;
        }
        let began = Instant::now();
        let committed = self.committed();
        self.router_restarted(checks).await?;
        sleep(times.no_quorum.saturating_sub(began.elapsed())).await;
        let during = self.committed() - committed;
        // The answer to the change that was just being made may come later than the end of the majority.
        checks.check("nothing is committed without a majority", during <= 1, format_args!("{during} changes"));
        for victim in &victims {
            self.cluster.member(*victim)?.start()?;
        }
        Ok(format!("members {victims:?} killed for {:.1} s", began.elapsed().as_secs_f64()))
    }

    /// Restarts a router while etcd is no help.
    async fn router_restarted(&mut self, checks: &mut Checks) -> Result<()> {
        let number = self.dice.below(self.fleet.routers.len());
        // A client of a router that ends has to go elsewhere, and there is no elsewhere here.
        self.end_traffic(number);
        let before = self.router(number)?.ready().await?;
        self.router(number)?.stop().await?;
        // A change that was committed before etcd failed may reach the router until it stops, and the answer to the last
        // one may not have reached the one who made it.
        let newest = self.committed() + 1;
        let router = self.router(number)?;
        let began = Instant::now();
        router.start().await?;
        let took = began.elapsed();
        let after = router.ready().await?;
        self.begin_traffic(number)?;
        let same = after.generation > before.generation || after.digest == before.digest;
        checks.check(
            "a router that is restarted without etcd serves the generation that it had",
            (before.generation..=newest).contains(&after.generation) && same && after.origin == "last-known-good",
            format_args!(
                "generation {} before, {} after, from {}, after {} ms",
                before.generation,
                after.generation,
                after.origin,
                took.as_millis()
            ),
        );
        Ok(())
    }
}
