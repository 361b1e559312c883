//! etcd as real processes on loopback: started, killed, paused, cut off and started again on what they have on disk.

pub mod documents;
pub mod publisher;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Client, CompactionOptions, StatusResponse};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Context, Error, Result};
use crate::network::{Link, Weather};
use crate::ports;
use crate::process::{Ending, Process};
use crate::tools::Tool;

/// How long a member may take to answer one question. One that is paused never does.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a cluster may take to agree on a leader: it is seconds, but this machine may be busy.
pub const ELECTION: Duration = Duration::from_mins(1);
/// Between two looks at something that has no event to wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One member of a cluster. Dropping it kills the process.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    client: SocketAddr,
    arguments: Vec<String>,
    home: PathBuf,
    process: Option<Process>,
    runs: usize,
    paused: bool,
    /// What the others' connections to it go through, when it can be cut off.
    link: Option<Link>,
    /// Its identity in the cluster, known after the start.
    id: u64,
}

impl Member {
    /// Where its clients connect.
    pub fn url(&self) -> String {
        format!("http://{}", self.client)
    }

    /// The same, without the scheme.
    pub fn address(&self) -> SocketAddr {
        self.client
    }

    /// Whether it should answer.
    pub fn is_up(&self) -> bool {
        self.process.is_some() && !self.paused
    }

    /// Starts it, on what it has on disk. It takes a moment until it answers.
    pub fn start(&mut self) -> Result<()> {
        self.runs += 1;
        let name = format!("etcd-{}-{}", self.name, self.runs);
        let program = Tool::Etcd.find()?;
        let process = Process::start_to_end(&name, &program, &self.arguments, &self.home, None, Ending::Killed)?;
        (self.process, self.paused) = (Some(process), false);
        Ok(())
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        self.paused = false;
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Stops the process where it is: its connections stay, and nobody is told.
    pub fn pause(&mut self) -> Result<()> {
        self.paused = true;
        self.process.as_ref().map_or(Ok(()), |process| process.signal(Signal::STOP))
    }

    /// Lets a paused process go on.
    pub fn resume(&mut self) -> Result<()> {
        self.paused = false;
        self.process.as_ref().map_or(Ok(()), |process| process.signal(Signal::CONT))
    }

    /// What it says of the cluster, if it answers.
    async fn status(&self) -> Result<StatusResponse> {
        self.ask(async |client| client.status().await).await
    }

    /// Asks it something. A member that cannot reach a majority does not answer every question.
    pub async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut Client) -> std::result::Result<T, etcd_client::Error>,
    ) -> Result<T> {
        let asking = async {
            let mut client = Client::connect([self.url()], None).await?;
            question(&mut client).await
        };
        let silent = |_| Error::new(format!("{} does not answer within {ANSWER:?}", self.name));
        timeout(ANSWER, Box::pin(asking)).await.map_err(silent)?.context(format_args!("etcd member {}", self.name))
    }

    fn log_tail(&self) -> String {
        self.process.as_ref().map(Process::log_tail).unwrap_or_default()
    }
}

/// Members that elect a leader among them, and their directories.
#[derive(Debug)]
pub struct Cluster {
    /// The members.
    pub members: Vec<Member>,
    /// Goes when everything in it has ended.
    _home: TempDir,
}

impl Cluster {
    /// Starts a cluster in which single members can be cut off from the others, and waits until it has a leader.
    pub async fn start(members: usize) -> Result<Self> {
        Self::with(members, true, &[]).await
    }

    /// Starts a cluster of one, with more arguments.
    pub async fn single(more: &[&str]) -> Result<Self> {
        Self::with(1, false, more).await
    }

    async fn with(count: usize, links: bool, more: &[&str]) -> Result<Self> {
        let home = tempfile::tempdir().context("cannot make a temporary directory")?;
        let free = ports::free(count * 3)?;
        let (clients, rest) = free.split_at(count);
        let (peers, advertised) = rest.split_at(count);
        let advertised = if links { advertised } else { peers };
        let names = (0..count).map(|number| format!("m{number}"));
        let all: Vec<String> =
            names.clone().zip(advertised).map(|(name, address)| format!("{name}=http://{address}")).collect();
        let mut members = Vec::new();
        for (((name, client), peer), advertised) in names.zip(clients).zip(peers).zip(advertised) {
            let link = if links { Some(Link::open(*advertised, *peer)?) } else { None };
            let arguments = arguments(&name, *client, *peer, *advertised, &all.join(","), home.path());
            let arguments = arguments.into_iter().chain(more.iter().map(|more| (*more).to_owned())).collect();
            let home = home.path().to_owned();
            let client = *client;
            members.push(Member { name, client, arguments, home, process: None, runs: 0, paused: false, link, id: 0 });
        }
        let mut cluster = Self { members, _home: home };
        for member in &mut cluster.members {
            member.start()?;
        }
        cluster.until_healthy(ELECTION).await?;
        for member in &mut cluster.members {
            let status = member.status().await?;
            member.id = status.header().map_or(0, etcd_client::ResponseHeader::member_id);
        }
        Ok(cluster)
    }

    /// Where clients connect.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(Member::url).collect()
    }

    /// A member, by its place.
    pub fn member(&mut self, number: usize) -> Result<&mut Member> {
        self.members.get_mut(number).ok_or_else(|| Error::new(format!("there is no member {number}")))
    }

    /// The place of the member that leads; nothing while there is none.
    pub async fn leader(&self) -> Option<usize> {
        for member in self.members.iter().filter(|member| member.is_up()) {
            let leader = member.status().await.map_or(0, |status| status.leader());
            if let Some(place) = self.members.iter().position(|member| leader != 0 && member.id == leader) {
                return Some(place);
            }
        }
        None
    }

    /// Waits until every member answers with what a majority agrees on.
    pub async fn until_healthy(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        for place in 0..self.members.len() {
            let member = self.member(place)?;
            loop {
                if let Some(process) = &mut member.process {
                    process.still_runs()?;
                }
                // A reading that a majority has to confirm.
                let answer = member.ask(async |client| client.get("health", None).await).await;
                match answer {
                    Ok(_) => break,
                    Err(error) if Instant::now() > deadline => {
                        return Err(Error::new(format!("{error}; it said:\n{}", member.log_tail())));
                    }
                    Err(_) => sleep(LOOK_AGAIN).await,
                }
            }
        }
        Ok(())
    }

    /// Lets nothing pass between a member and the others; its clients still reach it.
    pub fn cut_off(&self, place: usize) {
        let Some(id) = self.members.get(place).map(|member| member.id) else { return };
        for (number, member) in self.members.iter().enumerate() {
            let weather = if number == place { Weather::Silent } else { Weather::SilentFrom(format!("{id:x}")) };
            if let Some(link) = &member.link {
                link.set(weather);
            }
        }
    }

    /// Ends what [`Cluster::cut_off`] did.
    pub fn reconnect(&self) {
        for link in self.members.iter().filter_map(|member| member.link.as_ref()) {
            link.set(Weather::Fair);
        }
    }

    /// Forgets the whole history up to now, and says up to which revision that was.
    pub async fn compact(&self) -> Result<i64> {
        let compacting = async |client: &mut Client| {
            let now = client.get("health", None).await?.header().map_or(0, etcd_client::ResponseHeader::revision);
            client.compact(now, Some(CompactionOptions::new())).await?;
            Ok(now)
        };
        let began = Instant::now();
        loop {
            let member = self.members.iter().find(|member| member.is_up());
            let member = member.ok_or_else(|| Error::new("no member of etcd runs"))?;
            match member.ask(compacting).await {
                // There may be an election first.
                Err(_) if began.elapsed() < ELECTION => sleep(LOOK_AGAIN).await,
                outcome => return outcome,
            }
        }
    }
}

fn arguments(
    name: &str,
    client: SocketAddr,
    peer: SocketAddr,
    advertised: SocketAddr,
    cluster: &str,
    home: &Path,
) -> Vec<String> {
    let data = home.join(name).display().to_string();
    let (client, peer, advertised) =
        (format!("http://{client}"), format!("http://{peer}"), format!("http://{advertised}"));
    let arguments = [
        ["--name", name],
        ["--data-dir", &data],
        ["--listen-client-urls", &client],
        ["--advertise-client-urls", &client],
        ["--listen-peer-urls", &peer],
        ["--initial-advertise-peer-urls", &advertised],
        ["--initial-cluster", cluster],
        // The default of 2 GiB is soon reached by a million documents, the chunks they came in and their history.
        ["--quota-backend-bytes", "8589934592"],
    ];
    arguments.into_iter().flatten().map(str::to_owned).collect()
}
