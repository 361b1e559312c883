//! Keys under leases: who keeps them, and what comes of whoever does not.

use std::path::Path;
use std::time::{Duration, Instant};

use etcd_client::{Permission, PermissionType};
use gridrouter_config::live::{LiveId, RouterState, RouterStatus};
use gridrouter_config::registrations::Place;
use gridrouter_config::store::Store;
use gridrouter_config::store::etcd::live::{Entry, Holder, Standing, Terms};
use gridrouter_config::store::etcd::{EtcdOptions, EtcdSettings, EtcdStore, Random};

use super::support::proxy::Proxy;
use super::support::server::{Raw, Server};
use super::support::{PATIENCE, eventually, hurried, options};

/// The least that a test's etcd grants.
const LEASE: Duration = Duration::from_secs(3);

fn status(generation: u64) -> RouterStatus {
    RouterStatus {
        id: String::new(),
        address: Some("10.0.0.1:9901".to_owned()),
        version: "1".to_owned(),
        generation,
        digest: "0".repeat(32),
        lineage: "l".to_owned(),
        listed: "00".to_owned(),
        state: RouterState::Ready,
        quarantined: 0,
        since: 1,
        started: 1,
        moves: Vec::new(),
    }
}

fn terms(id: &str, memory: Option<&Path>) -> Terms {
    Terms { id: LiveId::parse(id).unwrap(), lease: LEASE, memory: memory.map(|home| home.join("state/lease")) }
}

fn router(options: &EtcdOptions, id: &str, memory: Option<&Path>) -> Holder {
    Holder::start(options.clone(), Entry::Router(status(1)), terms(id, memory), Random::new()).unwrap()
}

fn standing(holder: &Holder, what: &str, wanted: impl Fn(&Standing) -> bool) -> Standing {
    let start = Instant::now();
    let mut now = holder.standing();
    while !wanted(&now) {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen in time: {now:?}");
        now = holder.wait(&now, Duration::from_secs(1));
    }
    now
}

fn registered(holder: &Holder) -> Standing {
    standing(holder, "registration", |now| now.registered && now.trouble.is_none())
}

fn routers(raw: &mut Raw) -> Vec<RouterStatus> {
    let found = raw.below("/gridrouter/live/routers/", 0);
    let read = |kv: &etcd_client::KeyValue| {
        let status: RouterStatus = serde_json::from_slice(kv.value()).unwrap();
        assert_eq!(kv.key_str().unwrap(), format!("/gridrouter/live/routers/{}", status.id));
        assert_ne!(kv.lease(), 0);
        status
    };
    found.iter().map(read).collect()
}

fn ids(raw: &mut Raw) -> Vec<String> {
    routers(raw).into_iter().map(|status| status.id).collect()
}

/// Revokes whatever lease a key is under.
fn revoke(raw: &mut Raw, key: &str) {
    let lease = raw.below(key, 0)[0].lease();
    raw.client(async |client| client.lease_revoke(lease).await);
}

#[test]
fn a_router_is_there_from_start_to_stop_and_says_what_it_is_told() {
    let server = Server::start();
    let mut raw = server.raw();
    let holder = router(&options(&server.urls()), "one", None);
    assert_eq!(registered(&holder).id.as_str(), "one");
    assert_eq!(routers(&mut raw), [RouterStatus { id: "one".to_owned(), ..status(1) }]);
    holder.tell(Entry::Router(status(2)));
    eventually("the new value", || match routers(&mut raw)[0].generation {
        2 => Ok(()),
        other => Err(other.to_string()),
    });
    let before = raw.revision();
    holder.tell(Entry::Router(status(2)));
    // Longer than the lease: it is kept alive, and nothing is written.
    std::thread::park_timeout(LEASE * 2);
    assert_eq!(raw.revision(), before);
    assert_eq!(ids(&mut raw), ["one"]);
    let start = Instant::now();
    drop(holder);
    assert!(start.elapsed() < PATIENCE / 10);
    assert_eq!(ids(&mut raw), Vec::<String>::new());
}

#[test]
fn of_many_values_the_last_one_is_told_and_few_are_written() {
    let server = Server::start();
    let mut raw = server.raw();
    let holder = router(&options(&server.urls()), "one", None);
    registered(&holder);
    let (before, start) = (raw.revision(), Instant::now());
    for generation in 2..5_000 {
        holder.tell(Entry::Router(status(generation)));
    }
    eventually("the last value", || match routers(&mut raw)[0].generation {
        4_999 => Ok(()),
        other => Err(other.to_string()),
    });
    let most = 3 + i64::try_from(start.elapsed().as_millis() / 100).unwrap();
    assert!(raw.revision() - before <= most, "{} writes", raw.revision() - before);
}

#[test]
fn a_lease_that_is_revoked_and_a_key_that_is_deleted_come_back() {
    let server = Server::start();
    let mut raw = server.raw();
    let holder = router(&options(&server.urls()), "one", None);
    assert_eq!(registered(&holder).leases, 1);
    revoke(&mut raw, "/gridrouter/live/routers/one");
    standing(&holder, "a new lease", |now| now.leases == 2 && now.registered);
    assert_eq!(ids(&mut raw), ["one"]);
    // The lease lives on without its key.
    raw.delete_below("/gridrouter/");
    eventually("the key", || if ids(&mut raw) == ["one"] { Ok(()) } else { Err("it is not there".to_owned()) });
    holder.tell(Entry::Router(status(7)));
    eventually("the value", || if routers(&mut raw)[0].generation == 7 { Ok(()) } else { Err("old".to_owned()) });
}

#[test]
fn a_router_comes_back_with_etcd() {
    let mut server = Server::start();
    let holder = router(&options(&server.urls()), "one", None);
    registered(&holder);
    for _ in 0..2 {
        server.kill();
        let trouble = standing(&holder, "trouble", |now| now.trouble.is_some()).trouble.unwrap();
        assert!(trouble.contains(&server.url()), "{trouble}");
        holder.tell(Entry::Router(status(9)));
        assert!(server.run());
        registered(&holder);
        assert_eq!(routers(&mut server.raw())[0].generation, 9);
    }
    server.pause();
    standing(&holder, "trouble", |now| now.trouble.is_some());
    standing(&holder, "the end of the lease", |now| !now.registered);
    server.resume();
    registered(&holder);
    assert_eq!(ids(&mut server.raw()), ["one"]);
}

#[test]
fn a_connection_that_breaks_costs_neither_lease_nor_key() {
    let server = Server::start();
    let (proxy, mut raw) = (Proxy::to(server.port()), server.raw());
    let holder = router(&options(&[proxy.url()]), "one", None);
    registered(&holder);
    let lease = |raw: &mut Raw| raw.below("/gridrouter/live/routers/one", 0)[0].lease();
    let before = lease(&mut raw);
    proxy.cut();
    standing(&holder, "trouble", |now| now.trouble.is_some());
    proxy.heal();
    assert_eq!(registered(&holder).leases, 1);
    assert_eq!(lease(&mut raw), before);
    // Nothing answers, and nobody says so: noticed before the lease ends, or when it has.
    proxy.silence();
    standing(&holder, "trouble", |now| now.trouble.is_some());
    eventually("the end of the lease", || if ids(&mut raw).is_empty() { Ok(()) } else { Err("alive".to_owned()) });
    proxy.heal();
    registered(&holder);
    assert_eq!(ids(&mut raw), ["one"]);
}

#[test]
fn two_of_one_name_do_not_fight() {
    let server = Server::start();
    let (options, mut raw) = (options(&server.urls()), server.raw());
    let first = router(&options, "one", None);
    registered(&first);
    let second = router(&options, "one", None);
    let other = registered(&second).id;
    assert!(other.as_str().starts_with("one-"), "{other}");
    for generation in 2..5 {
        first.tell(Entry::Router(status(generation)));
        second.tell(Entry::Router(status(generation * 10)));
    }
    eventually("both values", || {
        let found: Vec<(String, u64)> = routers(&mut raw).into_iter().map(|r| (r.id, r.generation)).collect();
        let wanted = [("one".to_owned(), 4), (other.to_string(), 40)];
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    });
    drop(second);
    assert_eq!(ids(&mut raw), ["one"]);
}

/// A router that was killed finds its own key, which still lives.
#[test]
fn a_router_that_starts_again_takes_its_own_name() {
    let server = Server::start();
    let (options, mut raw) = (options(&server.urls()), server.raw());
    let home = tempfile::tempdir().unwrap();
    let first = router(&options, "one", Some(home.path()));
    registered(&first);
    // The state directory goes from one to the other, as in an upgrade in which both run for a while.
    let second = router(&options, "one", Some(home.path()));
    assert_eq!(registered(&second).id.as_str(), "one");
    let displaced = standing(&first, "another name", |now| now.id.as_str() != "one" && now.registered);
    assert_eq!(ids(&mut raw), ["one".to_owned(), displaced.id.to_string()]);
    drop(first);
    assert_eq!(ids(&mut raw), ["one"]);
}

#[test]
fn what_was_not_taken_back_ends_with_its_lease() {
    let server = Server::start();
    let (proxy, mut raw) = (Proxy::to(server.port()), server.raw());
    let place = Place::parse("checkout/eu-1/blue").unwrap();
    let endpoint = serde_json::from_str("{\"address\": \"10.0.0.1:80\", \"weight\": 4}").unwrap();
    let entry = Entry::Endpoint(place, endpoint);
    let holder = Holder::start(options(&[proxy.url()]), entry, terms("a", None), Random::new()).unwrap();
    registered(&holder);
    let below = "/gridrouter/live/endpoints/checkout/eu-1/blue/a";
    assert_eq!(raw.below(below, 0)[0].value(), b"{\"address\":\"10.0.0.1:80\",\"weight\":4}");
    proxy.cut();
    let start = Instant::now();
    drop(holder);
    assert!(start.elapsed() < PATIENCE / 10, "{:?}", start.elapsed());
    assert_eq!(raw.below(below, 0).len(), 1);
    eventually("its end", || if raw.below(below, 0).is_empty() { Ok(()) } else { Err("alive".to_owned()) });
}

/// A router that may read and not write serves all the same, and says what is missing.
#[test]
fn a_missing_right_is_told() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.client(async |client| {
        client.user_add("root", "root", None).await?;
        client.user_grant_role("root", "root").await?;
        client.role_add("reader").await?;
        let read = Permission::new(PermissionType::Read, "/gridrouter/").with_prefix();
        client.role_grant_permission("reader", read).await?;
        client.user_add("router", "secret", None).await?;
        client.user_grant_role("router", "reader").await?;
        client.auth_enable().await
    });
    let (user, password) = (Some("router".to_owned()), Some("secret".to_owned()));
    let options = hurried(EtcdSettings { endpoints: server.urls(), user, password, ..EtcdSettings::default() });
    let holder = router(&options, "one", None);
    let trouble = standing(&holder, "trouble", |now| now.trouble.is_some()).trouble.unwrap();
    assert!(trouble.contains("check the user") && !trouble.contains("secret"), "{trouble}");
    let mut store = EtcdStore::start(options, Random::new()).unwrap();
    assert!(store.list().is_ok());
}

#[test]
fn another_member_keeps_the_lease_when_one_dies() {
    let mut members = Server::cluster();
    let urls: Vec<String> = members.iter().map(Server::url).collect();
    let holder = router(&options(&urls), "one", None);
    registered(&holder);
    for index in 0..3 {
        members[index].kill();
        // Longer than the lease.
        std::thread::park_timeout(LEASE * 2);
        let mut raw = members[(index + 1) % 3].raw();
        eventually("the key", || if ids(&mut raw) == ["one"] { Ok(()) } else { Err("it is not there".to_owned()) });
        assert!(members[index].run());
        eventually("the member", || registered_members(&urls[index]));
    }
}

fn registered_members(url: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = etcd_client::Client::connect([url], None).await.map_err(|error| error.to_string())?;
        client.get("x", None).await.map(drop).map_err(|error| error.to_string())
    })
}
