//! When every router has a generation in force: told by the routers themselves, in etcd.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{Client, GetOptions, KeyValue, WatchOptions, WatchStream};
use gridrouter_config::keys::{DEFAULT_PREFIX, Keys};
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{Context, Error, Result};
use crate::fleet::Fleet;

/// How long the routers' keys are waited for.
const REGISTERING: Duration = Duration::from_mins(1);

/// What the routers' keys begin with: each keeps a value with its `generation` there, for as long as it lives.
fn live() -> String {
    Keys::new(DEFAULT_PREFIX).map(|keys| keys.routers()).unwrap_or_default()
}

/// The routers' keys, watched.
pub(super) struct Acknowledgements {
    stream: Box<WatchStream>,
    /// The generation of each key.
    told: BTreeMap<Vec<u8>, u64>,
    routers: usize,
    /// Dropping it would end the watch.
    _client: Box<Client>,
}

impl Acknowledgements {
    /// Waits until all routers are there.
    pub(super) async fn find(url: &str, fleet: &Fleet) -> Result<Self> {
        let mut client = Client::connect([url], None).await.context("etcd")?;
        let (began, routers) = (Instant::now(), fleet.routers.len());
        loop {
            let listed = client.get(live(), Some(GetOptions::new().with_prefix())).await.context("etcd")?;
            let told: BTreeMap<Vec<u8>, u64> = listed.kvs().iter().filter_map(read).collect();
            if told.len() >= routers {
                let from = listed.header().map_or(0, etcd_client::ResponseHeader::revision) + 1;
                let options = WatchOptions::new().with_prefix().with_start_revision(from);
                let stream = Box::new(client.watch(live(), Some(options)).await.context("etcd")?);
                return Ok(Self { stream, told, routers, _client: Box::new(client) });
            }
            if began.elapsed() > REGISTERING {
                return Err(Error::new(format!("only {} of {routers} routers have a key in etcd", told.len())));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until every router has this generation, or a later one, and says when each had.
    pub(super) async fn of(&mut self, generation: u64, limit: Duration) -> Result<Vec<Instant>> {
        let began = Instant::now();
        let mut at = vec![began; self.told.values().filter(|told| **told >= generation).count()];
        while at.len() < self.routers {
            let (some, all) = (at.len(), self.routers);
            let late = || format!("only {some} of {all} routers have generation {generation} within {limit:?}");
            let message = timeout_at(began + limit, self.stream.message()).await.map_err(|_| Error::new(late()))?;
            let message = message.context("the watch")?;
            let message = message.ok_or_else(|| Error::new("the watch of the routers' keys ended"))?;
            let now = Instant::now();
            for (key, value) in message.events().iter().filter_map(|event| event.kv()).filter_map(read) {
                let before = self.told.insert(key, value).unwrap_or(0);
                if before < generation && value >= generation {
                    at.push(now);
                }
            }
        }
        Ok(at)
    }
}

/// A router's key and generation.
fn read(kv: &KeyValue) -> Option<(Vec<u8>, u64)> {
    let json: serde_json::Value = serde_json::from_slice(kv.value()).ok()?;
    Some((kv.key().to_vec(), json.get("generation")?.as_u64()?))
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
            client.put(format!("{}{router}", live()), value, None).await.unwrap();
        };
        put(&mut client, "a", 1).await;
        put(&mut client, "b", 2).await;
        let fleet = Fleet::new(2, &cluster.urls()).unwrap();
        let mut acknowledgements = Acknowledgements::find(&url, &fleet).await.unwrap();
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
