//! Routers that take their configuration from a real etcd.

// The tests of the stores start the same servers, and more of what those can do.
#[allow(dead_code, reason = "shared with the tests of the stores")]
#[path = "../../../../config/tests/store/support/server.rs"]
mod server;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use gridrouter::lifecycle::{Options, Router};
use gridrouter_config::codec::parse;
use gridrouter_config::live::{LiveId, RouterStatus};
use gridrouter_config::store::etcd::writer::{About, Change, Writer};
use gridrouter_config::store::etcd::{EtcdOptions, EtcdSettings, Random};
use serde_json::Value;

use super::{Client, Message};
pub(crate) use server::{Raw, Server};

/// Starting a server may take a while on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A loopback port that nobody listens on, below those that the kernel gives to outgoing connections.
fn free_port() -> u16 {
    static STEP: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(137);
    loop {
        let step = u32::from(STEP.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from((start + step) % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub(crate) fn options(server: &Server) -> EtcdOptions {
    let settings = EtcdSettings { endpoints: server.urls(), ..EtcdSettings::default() };
    let options = settings.check().unwrap().with_lease(Duration::from_secs(3));
    options.with_watch_times(Duration::from_millis(300), Duration::from_secs(3), 20)
}

/// Publishes documents as one generation.
pub(crate) fn publish(server: &Server, documents: &str) -> u64 {
    let parsed = parse("test", documents.as_bytes());
    assert!(parsed.broken.is_empty(), "{:?}", parsed.broken);
    let changes: Vec<Change> = parsed.documents.iter().map(|document| Change::put(document).unwrap()).collect();
    let mut writer = Writer::new(options(server), Random::new()).unwrap();
    let base = writer.base().unwrap();
    writer.publish(&base, &changes, &About::default()).unwrap().generation
}

/// The routers that etcd tells of.
pub(crate) fn routers(raw: &mut Raw) -> Vec<RouterStatus> {
    let found = raw.below("/gridrouter/live/routers/", 0);
    found.iter().map(|kv| serde_json::from_slice(kv.value()).unwrap()).collect()
}

/// A router whose documents are in etcd; its listener is called `web`.
pub(crate) struct InEtcd(Option<Router>);

impl InEtcd {
    pub(crate) fn start(server: &Server, id: &str, state: Option<&Path>) -> Self {
        let kept = |name: &str| state.map(|state| state.join(name));
        let etcd = options(server).with_anchor(kept("anchor")).with_registrations(kept("registrations"));
        let options = Options {
            config: "/nowhere".into(),
            etcd: Some(etcd),
            id: Some(LiveId::parse(id).unwrap()),
            state: state.map(Path::to_owned),
            threads: 1,
            admin: Some(local(0)),
            drain: PATIENCE,
            limit_bytes: gridrouter::lifecycle::LIMIT_BYTES,
            tls_ticket_keys: None,
            nameservers: Vec::new(),
        };
        Self(Some(Router::start(&options).unwrap()))
    }

    pub(crate) fn router(&self) -> &Router {
        self.0.as_ref().unwrap()
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Message {
        self.client().get(path)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.router().address("web").unwrap())
    }

    /// Stops the router, and waits for its end.
    pub(crate) fn stop(&mut self) {
        if let Some(router) = self.0.take() {
            router.stop();
        }
    }

    pub(crate) fn admin(&self, path: &str) -> Message {
        Client::connect(self.router().admin().unwrap()).get(path)
    }

    pub(crate) fn ready(&self) -> Value {
        serde_json::from_slice(&self.admin("/ready").body).unwrap()
    }

    /// The value of a metric with exactly these labels, as written.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.admin("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }
}

impl Drop for InEtcd {
    fn drop(&mut self) {
        self.stop();
    }
}
