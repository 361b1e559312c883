//! Endpoints that register themselves in etcd, and the router's own presence there.

use std::time::{Duration, Instant};

use super::support::etcd::{InEtcd, Raw, Server, publish, routers};
use super::support::{Upstream, eventually};

const LISTENER: &str = "kind: Listener\nname: web\naddress: 127.0.0.1:0\n---\n";
const ALL: &str = "kind: Route\nname: all\nservice: all\n---\n";

/// A service whose endpoints register, and a route to it.
fn registering() -> String {
    format!("{LISTENER}{ALL}kind: Service\nname: all\nendpoints: {{blue: []}}\n")
}

fn register(raw: &mut Raw, rest: &str, upstream: &Upstream) {
    let value = format!("{{\"address\": \"{}\"}}", upstream.address());
    raw.put(format!("/gridrouter/live/endpoints/{rest}"), value);
}

fn deregister(raw: &mut Raw, rest: &str) {
    let key = format!("/gridrouter/live/endpoints/{rest}");
    raw.client(async |client| client.delete(key, None).await);
}

#[test]
fn requests_reach_an_endpoint_while_it_is_registered() {
    let server = Server::start();
    let (one, two) = (Upstream::ok("one"), Upstream::ok("two"));
    let mut raw = server.raw();
    let generation = publish(&server, &registering());
    let router = InEtcd::start(&server, "r", None);
    router.get("/").assert_reject(503, "no_endpoint_available");
    register(&mut raw, "all/-/blue/one", &one);
    eventually("the first endpoint", || router.get("/").status() == 200);
    router.get("/").assert_ok("one");
    register(&mut raw, "all/-/blue/two", &two);
    register(&mut raw, "all/-/green/three", &Upstream::ok("three"));
    eventually("the second endpoint", || router.get("/").text() == "two");
    eventually("all of them", || router.ready()["registeredEndpoints"] == 3);
    assert_eq!(router.metric("gridrouter_registered_endpoints"), Some(3.0));
    deregister(&mut raw, "all/-/blue/one");
    eventually("one endpoint less", || router.ready()["registeredEndpoints"] == 2);
    one.drain();
    for _ in 0..10 {
        router.get("/").assert_ok("two");
    }
    one.assert_untouched();
    deregister(&mut raw, "all/-/blue/two");
    eventually("no endpoint", || router.get("/").status() == 503);
    router.get("/").assert_reject(503, "no_endpoint_available");
    // All of it without a generation.
    assert_eq!(router.ready()["generation"], generation);
}

#[test]
fn what_is_registered_in_a_cell_serves_its_tenants() {
    let server = Server::start();
    let (a, b, listed) = (Upstream::ok("a"), Upstream::ok("b"), Upstream::ok("listed"));
    let mut raw = server.raw();
    let grid = format!(
        "kind: Grid\nname: g\ncells: [a, b]\n---\nkind: Cell\nname: a\n---\nkind: Cell\nname: b\n---\n\
         kind: Service\nname: all\ncells: {{a: {{blue: []}}, b: {{blue: [{{address: {}}}]}}}}\n---\n\
         kind: Tenant\nname: ta\ngrid: g\ncell: a\n---\nkind: Tenant\nname: tb\ngrid: g\ncell: b\n---\n\
         kind: Route\nname: all\nservice: all\ngrid: g\ntenant: {{from: [{{query: tenant}}]}}\n",
        listed.address()
    );
    publish(&server, &format!("{LISTENER}{grid}"));
    let router = InEtcd::start(&server, "r", None);
    register(&mut raw, "all/a/blue/x", &a);
    register(&mut raw, "all/b/blue/x", &b);
    eventually("cell a", || router.get("/?tenant=ta").status() == 200);
    router.get("/?tenant=ta").assert_ok("a");
    eventually("both in cell b", || router.get("/?tenant=tb").text() == "b");
    eventually("both in cell b", || router.get("/?tenant=tb").text() == "listed");
    // The document says that the endpoint is out of use, and it wins.
    register(&mut raw, "all/b/blue/y", &listed);
    let down = format!(
        "kind: Service\nname: all\ncells: {{a: {{blue: []}}, b: {{blue: [{{address: {}, down: true}}]}}}}\n",
        listed.address()
    );
    publish(&server, &down);
    eventually("the document", || router.ready()["generation"] == 2);
    for _ in 0..10 {
        router.get("/?tenant=tb").assert_ok("b");
    }
}

#[test]
fn registrations_wait_for_their_document_and_bad_ones_harm_nobody() {
    let server = Server::start();
    let (early, good) = (Upstream::ok("early"), Upstream::ok("good"));
    let mut raw = server.raw();
    publish(&server, &registering());
    let router = InEtcd::start(&server, "r", None);
    register(&mut raw, "all/-/blue/good", &good);
    register(&mut raw, "later/-/blue/early", &early);
    raw.put("/gridrouter/live/endpoints/all/-/blue/bad", "{\"address\": \"nowhere\"}");
    raw.put("/gridrouter/live/endpoints/x", "");
    eventually("the faults", || router.ready()["registrationFaults"].as_array().unwrap().len() == 3);
    eventually("the good one", || router.get("/").text() == "good");
    let faults = router.ready()["registrationFaults"].to_string();
    assert!(faults.contains("there is no Service") && faults.contains("later/-/blue"), "{faults}");
    assert_eq!(router.metric("gridrouter_registration_faults"), Some(3.0));
    publish(
        &server,
        "kind: Service\nname: later\nendpoints: {blue: []}\n---\n\
         kind: Route\nname: later\nservice: later\npaths: [{exact: /later}]\n",
    );
    eventually("the early one", || router.get("/later").text() == "early");
    eventually("the faults left", || router.ready()["registrationFaults"].as_array().unwrap().len() == 2);
}

#[test]
fn a_storm_of_registrations_makes_few_snapshots() {
    let server = Server::start();
    let upstream = Upstream::ok("ok");
    let mut raw = server.raw();
    publish(&server, &registering());
    let router = InEtcd::start(&server, "r", None);
    register(&mut raw, "all/-/blue/steady", &upstream);
    eventually("the endpoint", || router.ready()["registeredEndpoints"] == 1);
    let (before, start) = (router.ready()["reloads"].as_u64().unwrap(), Instant::now());
    let storm = std::thread::spawn(move || {
        for n in 0..2_000 {
            let id = format!("all/-/green/{}", n % 20);
            if n % 40 < 20 { register(&mut raw, &id, &upstream) } else { deregister(&mut raw, &id) }
        }
        register(&mut raw, "all/-/green/last", &upstream);
        (raw, upstream)
    });
    while !storm.is_finished() {
        router.get("/").assert_ok("ok");
    }
    let _kept = storm.join().unwrap();
    eventually("the last one", || router.ready()["registeredEndpoints"] == 2);
    let snapshots = router.ready()["reloads"].as_u64().unwrap() - before;
    let most = 3 + u64::try_from(start.elapsed().as_millis() / 100).unwrap();
    assert!(snapshots <= most, "{snapshots} snapshots in {:?}", start.elapsed());
}

#[test]
fn a_router_that_starts_without_etcd_knows_who_was_registered() {
    let mut server = Server::start();
    let (upstream, state) = (Upstream::ok("ok"), tempfile::tempdir().unwrap());
    publish(&server, &registering());
    let router = InEtcd::start(&server, "r", Some(state.path()));
    register(&mut server.raw(), "all/-/blue/a", &upstream);
    eventually("the endpoint", || router.get("/").status() == 200);
    server.kill();
    router.get("/").assert_ok("ok");
    drop(router);
    let router = InEtcd::start(&server, "r", Some(state.path()));
    router.get("/").assert_ok("ok");
    let ready = router.ready();
    assert_eq!((&ready["origin"], &ready["registeredEndpoints"]), (&"last-known-good".into(), &1.into()));
    assert_eq!((&ready["storeReachable"], &ready["presence"]["registered"]), (&false.into(), &false.into()));
    assert_eq!(router.metric("gridrouter_config_origin{origin=\"last-known-good\"}"), Some(1.0));
    assert_eq!(router.metric("gridrouter_config_store_reachable"), Some(0.0));
    assert!(server.run());
    eventually("etcd", || router.ready()["origin"] == "store");
    let mut raw = server.raw();
    eventually("the router in etcd", || {
        routers(&mut raw).iter().any(|router| router.state.as_str() == "ready" && router.generation == 1)
    });
    // The endpoint's key has no lease in this test, and is there.
    router.get("/").assert_ok("ok");
    deregister(&mut raw, "all/-/blue/a");
    eventually("no endpoint", || router.get("/").status() == 503);
}

#[test]
fn a_router_tells_what_it_has_in_force_for_as_long_as_it_lives() {
    let server = Server::start();
    let mut raw = server.raw();
    publish(&server, &registering());
    let router = InEtcd::start(&server, "r", None);
    eventually("the router in etcd", || routers(&mut raw).len() == 1);
    // What others see in etcd it learns of itself a moment later.
    eventually("it knows", || router.ready()["presence"]["registered"] == true);
    let ready = router.ready();
    let told = routers(&mut raw).remove(0);
    assert_eq!((told.id.as_str(), told.generation), ("r", 1));
    assert_eq!(
        (told.digest.as_str(), told.since),
        (ready["digest"].as_str().unwrap(), ready["since"].as_u64().unwrap())
    );
    assert_eq!(told.address, router.router().admin().map(|address| address.to_string()));
    assert_eq!((told.state.as_str(), told.quarantined), ("ready", 0));
    assert_eq!(ready["presence"], serde_json::json!({"id": "r", "registered": true, "trouble": null}));
    assert_eq!(router.metric("gridrouter_presence_registered"), Some(1.0));
    assert_eq!(router.metric("gridrouter_config_generation"), Some(1.0));
    assert_eq!(router.metric("gridrouter_config_origin{origin=\"store\"}"), Some(1.0));
    assert!(router.metric("gridrouter_config_age_seconds").is_some());
    assert!(router.metric("gridrouter_config_store_silent_seconds").unwrap() < 60.0);
    // A second one of the same name, and a change that both take over.
    let second = InEtcd::start(&server, "r", None);
    eventually("both routers", || routers(&mut raw).len() == 2);
    publish(
        &server,
        "kind: Route\nname: bad\nservice: missing\n---\nkind: Route\nname: x\nservice: all\nhosts: [x.y]\n",
    );
    eventually("the change", || routers(&mut raw).iter().all(|r| r.generation == 2 && r.quarantined == 1));
    let told = routers(&mut raw);
    assert_eq!(told[0].digest, told[1].digest);
    assert_ne!(told[0].id, told[1].id);
    drop(second);
    assert_eq!(routers(&mut raw).len(), 1);
    // The store is emptied: the router stays, and says that it is held.
    raw.delete_below("/gridrouter/");
    eventually("the state", || routers(&mut raw).iter().any(|router| router.state.as_str() == "held"));
    assert_eq!(router.ready()["held"], true);
    drop(router);
    assert_eq!(routers(&mut raw).len(), 0);
}

#[test]
fn a_router_has_no_generation_before_one_was_published() {
    let server = Server::start();
    let mut raw = server.raw();
    let _router = InEtcd::start(&server, "r", None);
    eventually("the router in etcd", || routers(&mut raw).len() == 1);
    assert_eq!(routers(&mut raw)[0].generation, 0);
    assert_eq!(publish(&server, "kind: Cell\nname: a\n"), 1);
    eventually("the first generation", || routers(&mut raw)[0].generation == 1);
}

#[test]
fn a_router_that_is_about_to_end_says_so() {
    let server = Server::start();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow = Upstream::scripted(move |peer| {
        peer.request();
        wait.lock().unwrap().recv_timeout(super::support::PATIENCE).unwrap();
        peer.ok("late");
    });
    let mut raw = server.raw();
    publish(&server, &registering());
    register(&mut raw, "all/-/blue/slow", &slow);
    let mut router = InEtcd::start(&server, "r", None);
    eventually("the router in etcd", || routers(&mut raw).len() == 1);
    let mut client = router.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.received();
    let stopping = std::thread::spawn(move || router.stop());
    eventually("the state", || routers(&mut raw).iter().any(|router| router.state.as_str() == "draining"));
    go.send(()).unwrap();
    client.answer().assert_ok("late");
    stopping.join().unwrap();
    assert_eq!(routers(&mut raw).len(), 0);
}

/// Whoever changes something waits for this. The bound is one for a busy machine; the median is printed.
#[test]
fn a_generation_is_acknowledged_at_once() {
    let server = Server::start();
    let mut raw = server.raw();
    publish(&server, &registering());
    let _routers: Vec<InEtcd> = (0..8).map(|n| InEtcd::start(&server, &format!("r{n}"), None)).collect();
    eventually("the routers in etcd", || routers(&mut raw).len() == 8);
    let mut took: Vec<Duration> = (0..20)
        .map(|n| {
            // The values of the last one may still be held back.
            std::thread::park_timeout(Duration::from_millis(150));
            let generation = publish(&server, &format!("kind: Route\nname: n\nservice: all\nhosts: [h{n}.test]\n"));
            let start = Instant::now();
            while routers(&mut raw).iter().any(|router| router.generation != generation) {
                assert!(start.elapsed() < super::support::PATIENCE);
            }
            start.elapsed()
        })
        .collect();
    took.sort();
    println!("commit to acknowledgement by all eight: median {:?}, worst {:?}", took[10], took[19]);
    assert!(took[10] < Duration::from_secs(2), "{took:?}");
}
