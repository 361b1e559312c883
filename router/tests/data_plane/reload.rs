//! Documents that change while requests are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::placement::{Cells, NAMES, cells_of};
use super::support::{Client, Site, Upstream, eventually};

const GRID: &str = "tenant: {from: [{header: x-tenant}]}\ngrid: grid";

fn own(name: &str, body: &str) -> String {
    format!("kind: Route\nname: {name}\npaths: [{{exact: /{name}}}]\nrespond: {{status: 200, body: {body}}}\n")
}

#[test]
fn an_edited_pin_moves_one_tenant_and_fails_no_request() {
    let cells = Cells::new();
    let site = cells
        .site([""; 3])
        .route(GRID)
        .threads(2)
        .document("kind: Tenant\nname: tenant-0\ngrid: grid\ncell: one")
        .start();
    let before = cells_of(&site, 20);
    assert_eq!(before["tenant-0"], "one");
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..3)
        .map(|_| {
            let (mut client, stop) = (site.client(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut served = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get_with("/", "X-Tenant: tenant-0\r\n");
                    assert_eq!(answer.status(), 200, "{answer:?}");
                    served += 1;
                }
                served
            })
        })
        .collect();
    for (from, to) in [("one", "two"), ("two", "three"), ("three", "one"), ("one", "two")] {
        site.edit(
            &format!("name: tenant-0\ngrid: grid\ncell: {from}"),
            &format!("name: tenant-0\ngrid: grid\ncell: {to}"),
        );
        eventually("the tenant has moved", || cells_of(&site, 1)["tenant-0"] == to);
    }
    stop.store(true, Ordering::Relaxed);
    for thread in load {
        assert!(thread.join().unwrap() > 0);
    }
    let mut after = cells_of(&site, 20);
    assert_eq!(after.insert("tenant-0".to_owned(), "one".to_owned()).as_deref(), Some("two"));
    assert_eq!(after, before, "nobody else has moved");
}

#[test]
fn a_removed_pin_lets_the_tenant_go_where_the_placement_says() {
    let cells = Cells::new();
    let unpinned = cells_of(&cells.site([""; 3]).route(GRID).start(), 1)["tenant-0"].clone();
    let other = NAMES.into_iter().find(|cell| *cell != unpinned).unwrap();
    let site = cells.site([""; 3]).route(GRID).start();
    site.change(|| site.write("pin.yaml", &format!("kind: Tenant\nname: tenant-0\ngrid: grid\ncell: {other}\n")));
    assert_eq!(cells_of(&site, 1)["tenant-0"], other);
    site.change(|| std::fs::remove_file(site.directory().join("pin.yaml")).unwrap());
    assert_eq!(cells_of(&site, 1)["tenant-0"], unpinned);
}

#[test]
fn a_syntax_error_changes_nothing_but_what_ready_says() {
    let site = Site::builder().start();
    site.change(|| site.write("a.yaml", &own("a", "one")));
    site.change(|| site.write("b.yaml", &own("b", "one")));
    let (generation, digest) = (site.ready()["generation"].clone(), site.ready()["digest"].clone());
    site.write("a.yaml", "kind: Route\nname: [a\n");
    eventually("the document is quarantined", || !site.ready()["quarantined"].as_array().unwrap().is_empty());
    let ready = site.ready();
    assert_eq!((&ready["generation"], &ready["digest"], &ready["ready"]), (&generation, &digest, &true.into()));
    assert!(ready["quarantined"].to_string().contains("a.yaml"), "{ready}");
    site.get("/a").assert_ok("one");
    site.get("/b").assert_ok("one");
    site.change(|| site.write("b.yaml", &own("b", "two")));
    site.get("/a").assert_ok("one");
    site.get("/b").assert_ok("two");
    site.change(|| site.write("a.yaml", &own("a", "three")));
    site.get("/a").assert_ok("three");
    assert_eq!(site.ready()["quarantined"].as_array().map(Vec::len), Some(0));
}

/// A dangling reference is the document's fault that has it, not that of the document it should be.
#[test]
fn a_document_that_others_need_is_not_missed_when_it_goes_bad() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).route("").start();
    site.write("documents.yaml", "kind: Route\nname: all\nservice: all\n");
    eventually("the fault is seen", || !site.ready()["quarantined"].as_array().unwrap().is_empty());
    site.get("/").assert_ok("ok");
}

#[test]
fn deleted_documents_are_gone() {
    let site = Site::builder().start();
    site.change(|| site.write("a.yaml", &own("a", "one")));
    let mut client = site.client();
    client.get("/a").assert_ok("one");
    site.change(|| std::fs::remove_file(site.directory().join("a.yaml")).unwrap());
    client.get("/a").assert_reject(404, "no_route");
}

#[test]
fn listeners_come_and_go() {
    let site = Site::builder().document(&own("a", "one")).start();
    assert!(site.router().address("more").is_none());
    site.change(|| site.write("more.yaml", "kind: Listener\nname: more\naddress: 127.0.0.1:0\n"));
    eventually("it listens", || site.router().address("more").is_some());
    let address = site.router().address("more").unwrap();
    let mut kept = Client::connect(address);
    kept.get("/a").assert_ok("one");
    Client::connect(address).get("/a").assert_ok("one");
    site.change(|| std::fs::remove_file(site.directory().join("more.yaml")).unwrap());
    eventually("it no longer listens", || {
        std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(1)).is_err()
    });
    site.get("/a").assert_ok("one");
}

#[test]
fn a_listener_may_move() {
    let site = Site::builder().document(&own("a", "one")).start();
    let old = site.address();
    site.change(|| site.write("listener.yaml", "kind: Listener\nname: web\naddress: 127.0.0.2:0\n"));
    eventually("it has moved", || site.router().address("web").is_some_and(|address| address.ip() != old.ip()));
    site.get("/a").assert_ok("one");
    eventually("it no longer listens where it was", || {
        std::net::TcpStream::connect_timeout(&old, std::time::Duration::from_secs(1)).is_err()
    });
}

#[test]
fn endpoints_come_and_go_without_a_failed_request() {
    let (old, new) = (Upstream::ok("old"), Upstream::ok("new"));
    let site = Site::to(&old).route("").start();
    let mut client = site.client();
    client.get("/").assert_ok("old");
    site.edit(&old.address().to_string(), &new.address().to_string());
    client.get("/").assert_ok("new");
}

/// A request goes by what was in force when it began.
#[test]
fn an_answer_under_way_survives_the_end_of_its_route() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::scripted(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha");
        wait.lock().unwrap().recv_timeout(super::support::PATIENCE).unwrap();
        peer.send("lf");
    });
    let site = Site::to(&upstream).route("").start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").head();
    site.change(|| site.write("documents.yaml", "# nothing\n"));
    go.send(()).unwrap();
    assert_eq!(client.bytes(4), b"half");
    client.get("/").assert_reject(404, "no_route");
}

#[test]
fn a_router_boots_from_the_last_good_generation() {
    let state = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let upstream = Upstream::ok("ok");
    let first = Site::to(&upstream).route("").state(state.path()).start();
    first.get("/").assert_ok("ok");
    let (generation, digest) = (first.ready()["generation"].as_u64().unwrap(), first.ready()["digest"].clone());
    first.stop();
    // The directory of the second one is gone before it starts.
    let gone = directory.path().to_owned();
    drop(directory);
    let second = Site::boot_from(&gone, state.path());
    let ready = second.ready();
    assert_eq!(ready["origin"], "last-known-good");
    assert_eq!((ready["generation"].as_u64(), &ready["digest"]), (Some(generation), &digest));
    assert!(ready["storeError"].is_string(), "{ready}");
    second.get("/").assert_ok("ok");
    // The directory is back, and what it holds comes into force.
    std::fs::create_dir_all(&gone).unwrap();
    let back = format!("kind: Listener\nname: web\naddress: 127.0.0.1:0\n---\n{}", own("back", "here"));
    std::fs::write(gone.join("all.yaml"), back).unwrap();
    eventually("the store is read again", || second.ready()["origin"] == "store");
    eventually("its documents are in force", || second.get("/back").status() == 200);
    assert!(second.ready()["generation"].as_u64().unwrap() > generation);
    std::fs::remove_dir_all(&gone).unwrap();
}

#[test]
fn without_documents_and_without_a_last_good_generation_a_router_does_not_start() {
    let state = tempfile::tempdir().unwrap();
    let options = gridrouter::lifecycle::Options {
        config: state.path().join("nowhere"),
        etcd: None,
        id: None,
        state: Some(state.path().to_owned()),
        threads: 1,
        admin: None,
        drain: std::time::Duration::ZERO,
        limit_bytes: gridrouter::lifecycle::LIMIT_BYTES,
        tls_ticket_keys: None,
        nameservers: Vec::new(),
    };
    let error = gridrouter::lifecycle::Router::start(&options).unwrap_err();
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn a_renamed_listener_keeps_its_sockets_and_connections() {
    let site = Site::builder().document(&own("a", "a")).start();
    let address = site.address();
    let mut client = site.client();
    assert_eq!(client.get("/a").status(), 200);
    let rename = |name: &str| {
        let text = format!("kind: Listener\nname: {name}\naddress: {address}\n");
        site.change(|| site.write("listener.yaml", &text));
        eventually("the listener has its new name", || site.router().address(name) == Some(address));
    };
    rename("other");
    assert_eq!(super::support::Client::connect(address).get("/a").status(), 200, "new connections are taken");
    let answer = client.get("/a");
    assert_eq!(answer.status(), 200, "connections that are there are served");
    rename("third");
    assert_eq!(super::support::Client::connect(address).get("/a").status(), 200);
    assert_eq!(site.ready()["listenersRefused"], serde_json::json!([]));
}

#[test]
fn a_listener_that_cannot_listen_is_reported_and_tried_again() {
    let site = Site::builder().document(&own("a", "a")).start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    site.change(|| site.write("more.yaml", &format!("kind: Listener\nname: more\naddress: {address}\n")));
    eventually("it is reported", || site.ready()["listenersRefused"][0].as_str().is_some_and(|s| s.contains("more")));
    drop(taken);
    eventually("it listens", || site.router().address("more") == Some(address));
    assert_eq!(super::support::Client::connect(address).get("/a").status(), 200);
    assert_eq!(site.ready()["listenersRefused"], serde_json::json!([]));
}

#[test]
fn an_emptied_directory_takes_nothing_out_of_force() {
    let site = Site::builder().document(&own("a", "a")).start();
    for file in ["listener.yaml", "documents.yaml"] {
        std::fs::remove_file(site.directory().join(file)).unwrap();
    }
    eventually("it is reported", || {
        site.ready()["storeError"].as_str().is_some_and(|text| text.contains("no documents"))
    });
    assert_eq!(site.get("/a").status(), 200);
    let listener = "kind: Listener\nname: web\naddress: 127.0.0.1:0\n";
    site.change(|| site.write("listener.yaml", &format!("{listener}---\n{}", own("b", "b"))));
    assert_eq!(site.get("/b").status(), 200);
    assert_eq!(site.get("/a").status(), 404);
}

/// Whom a listener trusts applies to the next request of connections that are open.
#[test]
fn an_open_connection_obeys_its_listener_as_edited() {
    let upstream = Upstream::ok("ok");
    let site = Site::of(&upstream);
    let mut client = site.client();
    let chain = |client: &mut Client| {
        client.get_with("/", "X-Forwarded-For: 9.9.9.9\r\n").assert_ok("ok");
        upstream.received().header("x-forwarded-for").unwrap().to_owned()
    };
    assert_eq!(chain(&mut client), "127.0.0.1");
    let trusting = "kind: Listener\nname: web\naddress: 127.0.0.1:0\ntrustedProxies: [127.0.0.0/8]\n";
    site.change(|| site.write("listener.yaml", trusting));
    assert_eq!(chain(&mut client), "9.9.9.9, 127.0.0.1");
}
