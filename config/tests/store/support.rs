pub(crate) mod proxy;
pub(crate) mod reader;
pub(crate) mod server;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use gridrouter_config::codec::{SourceDocument, parse};
use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::store::etcd::writer::{About, Change, Published, Writer};
use gridrouter_config::store::etcd::{EtcdOptions, EtcdSettings, Random};

/// Long enough for a busy machine; a test that works never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A loopback port that nobody listens on, below those that the kernel gives to outgoing connections. The next call, here
/// or in another test process, begins elsewhere.
pub(crate) fn free_port() -> u16 {
    static STEP: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(131);
    loop {
        let step = u32::from(STEP.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from((start + step) % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Tries again until it works; what was wrong last is in the panic.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) => assert!(start.elapsed() < PATIENCE, "{what} did not happen in time: {why}"),
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub(crate) fn id(kind: Kind, name: &str) -> DocumentId {
    DocumentId { kind, name: Name::tenant(name).unwrap() }
}

/// A route that answers by itself, and so needs no other document.
pub(crate) fn route(name: &str, body: &str) -> String {
    format!(
        "{{\"kind\": \"Route\", \"name\": \"{name}\", \"hosts\": [\"{name}.test\"], \"respond\": {{\"status\": 200, \"body\": \"{body}\"}}}}"
    )
}

pub(crate) fn document(text: &str) -> SourceDocument {
    let mut parsed = parse("test", text.as_bytes());
    let problems: Vec<_> = parsed.broken.iter().flat_map(|broken| &broken.problems).collect();
    assert!(problems.is_empty(), "{problems:?}");
    std::sync::Arc::into_inner(parsed.documents.remove(0)).unwrap()
}

pub(crate) fn put(name: &str, body: &str) -> Change {
    Change::put(&document(&route(name, body))).unwrap()
}

pub(crate) fn delete(name: &str) -> Change {
    Change::delete(id(Kind::Route, name))
}

/// Quick to notice and quick to come back.
pub(crate) fn options(endpoints: &[String]) -> EtcdOptions {
    let settings = EtcdSettings {
        endpoints: endpoints.to_vec(),
        connect_timeout: Some("2s".to_owned()),
        request_timeout: Some("10s".to_owned()),
        ..EtcdSettings::default()
    };
    hurried(settings)
}

pub(crate) fn hurried(settings: EtcdSettings) -> EtcdOptions {
    settings.check().unwrap().with_watch_times(Duration::from_millis(300), Duration::from_secs(3), 20)
}

pub(crate) fn writer(options: &EtcdOptions) -> Writer {
    Writer::new(options.clone(), Random::new()).unwrap()
}

pub(crate) fn by(author: &str) -> About {
    About { author: author.to_owned(), ..About::default() }
}

/// Publishes from whatever is in force.
pub(crate) fn publish(writer: &mut Writer, changes: &[Change]) -> Published {
    let base = writer.base().unwrap();
    writer.publish(&base, changes, &by("test")).unwrap()
}
