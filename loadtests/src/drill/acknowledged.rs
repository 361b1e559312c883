//! When every router has a generation in force: told by the routers themselves in etcd where they do that, or else asked
//! of each one's admin. This is the only place that knows which.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use etcd_client::{Client, GetOptions, KeyValue, WatchOptions, WatchStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::error::{Context, Error, Result};
use crate::fleet::{Fleet, read_ready};
use crate::http::Connection;

/// Below this key, each router keeps a value with its `generation`, for as long as it lives.
const LIVE: &str = "/gridrouter/live/routers/";
/// Between two questions to one admin.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How long routers that tell are waited for, once one of them does.
const REGISTERING: Duration = Duration::from_secs(20);
/// How long the first one is waited for.
const FIRST: Duration = Duration::from_secs(1);

/// Where it is known from.
pub(super) enum Acknowledgements {
    /// The routers write it to etcd.
    Live {
        stream: Box<WatchStream>,
        /// The generation of each key.
        told: BTreeMap<Vec<u8>, u64>,
        routers: usize,
        /// Dropping it would end the watch.
        _client: Box<Client>,
    },
    /// Their admins say it.
    Asked(Vec<SocketAddr>),
}

impl Acknowledgements {
    /// Finds out whether the routers tell it in etcd.
    pub(super) async fn find(url: &str, fleet: &Fleet) -> Result<Self> {
        let mut client = Client::connect([url], None).await.context("etcd")?;
        let began = Instant::now();
        loop {
            let listed = client.get(LIVE, Some(GetOptions::new().with_prefix())).await.context("etcd")?;
            let told: BTreeMap<Vec<u8>, u64> = listed.kvs().iter().filter_map(read).collect();
            if told.len() >= fleet.routers.len() {
                let from = listed.header().map_or(0, etcd_client::ResponseHeader::revision) + 1;
                let options = WatchOptions::new().with_prefix().with_start_revision(from);
                let stream = Box::new(client.watch(LIVE, Some(options)).await.context("etcd")?);
                return Ok(Self::Live { stream, told, routers: fleet.routers.len(), _client: Box::new(client) });
            }
            if began.elapsed() > if told.is_empty() { FIRST } else { REGISTERING } {
                return Ok(Self::Asked(fleet.routers.iter().map(|router| router.admin).collect()));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The source, in words.
    pub(super) const fn source(&self) -> &'static str {
        match self {
            Self::Live { .. } => "their keys in etcd",
            Self::Asked(_) => "their admins, asked every 2 ms",
        }
    }

    /// Waits until every router has this generation, or a later one, and says when each had.
    pub(super) async fn of(&mut self, generation: u64, limit: Duration) -> Result<Vec<Instant>> {
        match self {
            Self::Live { stream, told, routers, .. } => live(stream, told, *routers, generation, limit).await,
            Self::Asked(admins) => asked(admins, generation, limit).await,
        }
    }
}

/// A router's key and generation.
fn read(kv: &KeyValue) -> Option<(Vec<u8>, u64)> {
    let json: serde_json::Value = serde_json::from_slice(kv.value()).ok()?;
    Some((kv.key().to_vec(), json.get("generation")?.as_u64()?))
}

async fn live(
    stream: &mut WatchStream,
    told: &mut BTreeMap<Vec<u8>, u64>,
    routers: usize,
    generation: u64,
    limit: Duration,
) -> Result<Vec<Instant>> {
    let began = Instant::now();
    let mut at = vec![began; told.values().filter(|told| **told >= generation).count()];
    while at.len() < routers {
        let message = timeout_at(began + limit, stream.message()).await;
        let message = message.map_err(|_| late(at.len(), routers, generation, limit))?.context("the watch")?;
        let message = message.ok_or_else(|| Error::new("the watch of the routers' keys ended"))?;
        let now = Instant::now();
        for (key, value) in message.events().iter().filter_map(|event| event.kv()).filter_map(read) {
            let before = told.insert(key, value).unwrap_or(0);
            if before < generation && value >= generation {
                at.push(now);
            }
        }
    }
    Ok(at)
}

async fn asked(admins: &[SocketAddr], generation: u64, limit: Duration) -> Result<Vec<Instant>> {
    let mut asking = JoinSet::new();
    for admin in admins.iter().copied() {
        asking.spawn(timeout(limit, until(admin, generation)));
    }
    let mut at = Vec::with_capacity(admins.len());
    while let Some(ended) = asking.join_next().await {
        let outcome = ended.context("who asks")?;
        at.push(outcome.map_err(|_| late(at.len(), admins.len(), generation, limit))??);
    }
    Ok(at)
}

async fn until(admin: SocketAddr, generation: u64) -> Result<Instant> {
    let request = format!("GET /ready HTTP/1.1\r\nhost: {admin}\r\n\r\n");
    let mut connection = Connection::open(admin).await.context("a router's admin")?;
    loop {
        let answer = connection.exchange(request.as_bytes()).await.context("a router's admin")?;
        let now = Instant::now();
        if read_ready(&String::from_utf8_lossy(answer.body))?.generation >= generation {
            return Ok(now);
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn late(some: usize, all: usize, generation: u64, limit: Duration) -> Error {
    Error::new(format!("only {some} of {all} routers have generation {generation} within {limit:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::Cluster;

    const PATIENCE: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn keys_that_routers_keep_are_watched() {
        let cluster = Cluster::single(&[]).await.unwrap();
        let url = cluster.urls().pop().unwrap();
        let mut client = Client::connect([&url], None).await.unwrap();
        let put = async |client: &mut Client, router: &str, generation: u64| {
            let value = format!("{{\"generation\": {generation}, \"digest\": \"00\"}}");
            client.put(format!("{LIVE}{router}"), value, None).await.unwrap();
        };
        put(&mut client, "a", 1).await;
        put(&mut client, "b", 2).await;
        let fleet = Fleet::new(2, &cluster.urls()).unwrap();
        let mut acknowledgements = Acknowledgements::find(&url, &fleet).await.unwrap();
        assert!(matches!(acknowledgements, Acknowledgements::Live { .. }));
        assert_eq!(acknowledgements.of(1, PATIENCE).await.unwrap().len(), 2);
        let before = Instant::now();
        put(&mut client, "a", 3).await;
        put(&mut client, "b", 4).await;
        let at = acknowledgements.of(3, PATIENCE).await.unwrap();
        assert!(at.len() == 2 && at.iter().all(|at| *at >= before), "{at:?}");
        let late = acknowledgements.of(4, Duration::from_millis(50)).await.unwrap_err().to_string();
        assert!(late.starts_with("only 1 of 2 routers have generation 4"), "{late}");
    }
}
