//! Endpoints that register themselves, as a reader sees them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gridrouter_config::registrations::Registrations;
use gridrouter_config::store::Store;
use gridrouter_config::store::etcd::{EtcdOptions, EtcdStore, Random};

use super::support::proxy::Proxy;
use super::support::server::{Raw, Server};
use super::support::{PATIENCE, options, publish, put, writer};

/// Follows a store and counts what it is told.
struct Watcher {
    store: EtcdStore,
    now: Arc<Registrations>,
    /// How many other sets of endpoints were seen.
    sets: usize,
}

impl Watcher {
    fn new(options: &EtcdOptions) -> Self {
        let mut store = EtcdStore::start(options.clone(), Random::new()).unwrap();
        let _unreachable = store.list();
        Self { now: store.registrations().unwrap(), store, sets: 0 }
    }

    fn look(&mut self) {
        let _unreachable = self.store.list();
        let now = self.store.registrations().unwrap();
        self.sets += usize::from(!now.same_endpoints(&self.now));
        self.now = now;
    }

    fn ports(&self) -> BTreeMap<String, Vec<u16>> {
        let ports = |endpoints: &[gridrouter_config::model::Endpoint]| {
            endpoints.iter().map(|endpoint| endpoint.address.socket().unwrap().port()).collect()
        };
        self.now.groups().map(|(place, endpoints)| (place.to_string(), ports(endpoints))).collect()
    }

    #[track_caller]
    fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !wanted(self) {
            assert!(start.elapsed() < PATIENCE, "{what} did not happen in time: {:?}", self.now);
            if self.store.wait(Duration::from_secs(1)).unwrap() {
                self.look();
            }
        }
    }

    #[track_caller]
    fn until_ports(&mut self, wanted: &[(&str, &[u16])]) {
        let wanted: BTreeMap<String, Vec<u16>> =
            wanted.iter().map(|(place, ports)| ((*place).to_owned(), ports.to_vec())).collect();
        self.until(&format!("{wanted:?}"), |watcher| watcher.ports() == wanted);
    }
}

fn key(rest: &str) -> String {
    format!("/gridrouter/live/endpoints/{rest}")
}

fn value(port: u16) -> String {
    format!("{{\"address\": \"10.0.0.1:{port}\"}}")
}

fn delete(raw: &mut Raw, rest: &str) {
    let key = key(rest);
    raw.client(async |client| client.delete(key, None).await);
}

#[test]
fn endpoints_come_and_go_without_a_generation() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.put(key("s/c/blue/a"), value(1));
    let mut watcher = Watcher::new(&options(&server.urls()));
    // What is there at the start is known at once.
    assert_eq!(watcher.ports()["s/c/blue"], [1]);
    raw.put(key("s/c/blue/b"), value(2));
    raw.put(key("s/-/green/b"), value(3));
    watcher.until_ports(&[("s/c/blue", &[1, 2]), ("s/-/green", &[3])]);
    delete(&mut raw, "s/c/blue/a");
    watcher.until_ports(&[("s/c/blue", &[2]), ("s/-/green", &[3])]);
    raw.put(key("s/c/blue/bad"), "{");
    watcher.until("the fault", |watcher| watcher.now.faulty() == 1);
    assert_eq!(watcher.now.faults()[0].key, "/gridrouter/live/endpoints/s/c/blue/bad");
    // Documents and registrations do not disturb each other.
    publish(&mut writer(&options(&server.urls())), &[put("a", "1")]);
    delete(&mut raw, "s/c/blue/bad");
    watcher.until("the fault's end", |watcher| watcher.now.faulty() == 0);
    assert_eq!(watcher.ports()["s/c/blue"], [2]);
}

#[test]
fn a_storm_of_flapping_registrations_makes_few_sets_and_ends_right() {
    let server = Server::start();
    let mut raw = server.raw();
    let mut watcher = Watcher::new(&options(&server.urls()));
    raw.put(key("s/c/blue/quiet"), value(1));
    watcher.until_ports(&[("s/c/blue", &[1])]);
    let (start, before) = (Instant::now(), watcher.sets);
    let storm = std::thread::spawn(move || {
        for n in 0..2_000_u16 {
            let id = format!("s/c/blue/{}", n % 50);
            if n % 100 < 50 {
                raw.put(key(&id), value(1_000 + n % 50));
            } else {
                delete(&mut raw, &id);
            }
        }
        raw.put(key("s/c/blue/last"), value(9));
    });
    watcher.until_ports(&[("s/c/blue", &[1, 9])]);
    let most = 2 + usize::try_from(start.elapsed().as_millis() / 100).unwrap();
    let sets = watcher.sets - before;
    assert!(sets <= most, "{sets} sets in {:?}", start.elapsed());
    storm.join().unwrap();
}

#[test]
fn what_was_registered_last_stays_while_etcd_is_away() {
    let mut server = Server::start();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("state/registrations");
    let options = options(&server.urls()).with_registrations(Some(file.clone()));
    let mut raw = server.raw();
    raw.put(key("s/c/blue/a"), value(1));
    let mut watcher = Watcher::new(&options);
    watcher.until_ports(&[("s/c/blue", &[1])]);
    raw.put(key("s/c/blue/b"), value(2));
    watcher.until_ports(&[("s/c/blue", &[1, 2])]);
    server.kill();
    watcher.until("an error", |watcher| {
        watcher.store.heard().is_some_and(|heard| heard.elapsed() > Duration::from_secs(1))
    });
    assert_eq!(watcher.ports()["s/c/blue"], [1, 2]);
    drop(watcher);
    // A process that starts now knows them from the file.
    let mut restarted = Watcher::new(&options);
    assert!(restarted.store.list().is_err());
    assert_eq!(restarted.ports()["s/c/blue"], [1, 2]);
    assert!(server.run());
    delete(&mut server.raw(), "s/c/blue/a");
    restarted.until_ports(&[("s/c/blue", &[2])]);
    drop(restarted);
    // What is torn is nothing.
    std::fs::write(&file, "{\"s/c").unwrap();
    server.kill();
    assert_eq!(Watcher::new(&options).ports().len(), 0);
}

#[test]
fn what_was_missed_is_read_again_and_a_silent_watch_is_given_up() {
    let server = Server::start();
    let (proxy, mut raw) = (Proxy::to(server.port()), server.raw());
    raw.put(key("s/c/blue/a"), value(1));
    raw.put(key("t/c/blue/a"), value(1));
    let mut watcher = Watcher::new(&options(&[proxy.url()]));
    watcher.until_ports(&[("s/c/blue", &[1]), ("t/c/blue", &[1])]);
    let before = Arc::clone(&watcher.now);
    proxy.cut();
    delete(&mut raw, "s/c/blue/a");
    raw.put(key("s/c/blue/b"), value(2));
    let now = raw.revision();
    raw.compact(now);
    proxy.heal();
    watcher.until_ports(&[("s/c/blue", &[2]), ("t/c/blue", &[1])]);
    let changed: Vec<_> = watcher.now.differing(&before).into_iter().map(ToString::to_string).collect();
    assert_eq!(changed, ["s"]);
    proxy.silence();
    raw.put(key("s/c/blue/c"), value(3));
    // Longer than a watch may say nothing.
    std::thread::park_timeout(Duration::from_secs(4));
    proxy.heal();
    watcher.until_ports(&[("s/c/blue", &[2, 3]), ("t/c/blue", &[1])]);
}

#[test]
fn a_store_that_is_held_takes_no_endpoint_away() {
    let server = Server::start();
    let home = tempfile::tempdir().unwrap();
    let options = options(&server.urls())
        .with_anchor(Some(home.path().join("anchor")))
        .with_registrations(Some(home.path().join("registrations")));
    let mut raw = server.raw();
    publish(&mut writer(&options), &[put("a", "1")]);
    raw.put(key("s/c/blue/a"), value(1));
    let mut watcher = Watcher::new(&options);
    watcher.until_ports(&[("s/c/blue", &[1])]);
    for _ in 0..5 {
        raw.delete_below("/gridrouter/");
        raw.put(key("s/c/blue/foreign"), value(2));
        std::thread::park_timeout(Duration::from_millis(300));
        watcher.look();
        assert_eq!(watcher.ports()["s/c/blue"], [1]);
    }
    drop(watcher);
    let restarted = Watcher::new(&options);
    assert_eq!(restarted.ports()["s/c/blue"], [1]);
    // An operator says that the store is right.
    drop(restarted.store);
    let mut accepting = Watcher::new(&options.clone().accepting(true));
    accepting.until_ports(&[("s/c/blue", &[2])]);
}
