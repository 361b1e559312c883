//! Endpoints and ingresses that have names, which a DNS server of the test resolves.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};

use super::support::dns::{Dns, Reply};
use super::support::tls::Authority;
use super::support::{Builder, Client, Site, eventually};

/// Endpoints at several addresses of the loopback network, on one port: each answers with its own address.
fn endpoints(ips: &[&str]) -> u16 {
    loop {
        let first = TcpListener::bind((ips[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others: Result<Vec<_>, _> = ips[1..].iter().map(|ip| TcpListener::bind((*ip, port))).collect();
        let Ok(others) = others else { continue };
        for socket in std::iter::once(first).chain(others) {
            std::thread::spawn(move || {
                let body = socket.local_addr().unwrap().ip().to_string();
                while let Ok((stream, _)) = socket.accept() {
                    let body = body.clone();
                    std::thread::spawn(move || {
                        let mut peer = Client::on(stream);
                        while peer.try_request().is_some() {
                            let length = body.len();
                            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"));
                        }
                    });
                }
            });
        }
        return port;
    }
}

fn site(dns: &Dns, endpoints: &str) -> Builder {
    Site::builder()
        .nameserver(dns.address)
        .document(&format!("kind: Service\nname: all\nbalance: {{maxFails: 0}}\nendpoints: {{blue: [{endpoints}]}}"))
        .route("")
}

/// Who answers so many requests, and how often.
fn answers(site: &Site, requests: usize) -> BTreeMap<String, usize> {
    let (mut client, mut answers) = (site.client(), BTreeMap::new());
    for _ in 0..requests {
        let answer = client.get("/");
        let who = if answer.status() == 200 { answer.text() } else { answer.status().to_string() };
        *answers.entry(who).or_default() += 1;
    }
    answers
}

fn all(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(who, times)| ((*who).to_owned(), *times)).collect()
}

fn failures(site: &Site, name: &str) -> u64 {
    site.count(&format!("gridrouter_name_failures_total{{name=\"{name}\"}}"))
}

#[test]
fn all_addresses_of_a_name_share_its_weight_and_are_there_from_the_start() {
    let (dns, port) = (Dns::new(), endpoints(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]));
    dns.addresses("orders.test", &["127.0.0.2", "127.0.0.1"]);
    let listed = format!("{{address: 'orders.test:{port}', weight: 2}}, {{address: '127.0.0.3:{port}', weight: 2}}");
    let site = site(&dns, &listed).start();
    assert_eq!(answers(&site, 40), all(&[("127.0.0.1", 10), ("127.0.0.2", 10), ("127.0.0.3", 20)]));
    let shown = &site.json("/names")["orders.test"];
    assert_eq!(shown["addresses"], serde_json::json!(["127.0.0.1", "127.0.0.2"]));
    assert!(shown["ageSeconds"].as_u64().is_some() && shown["error"].is_null(), "{shown}");
    assert!((site.metric("gridrouter_name_addresses{name=\"orders.test\"}") - 2.0).abs() < 0.1);
}

#[test]
fn a_name_that_moves_takes_its_requests_along_and_loses_none() {
    let (dns, port) = (Dns::new(), endpoints(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]));
    dns.addresses("a.test", &["127.0.0.1", "127.0.0.2"]);
    let site = site(&dns, &format!("{{address: 'a.test:{port}'}}")).start();
    assert_eq!(answers(&site, 4), all(&[("127.0.0.1", 2), ("127.0.0.2", 2)]));
    let generation = site.ready()["generation"].clone();
    for addresses in [&["127.0.0.3", "127.0.0.2"][..], &["127.0.0.3"], &["127.0.0.1"]] {
        dns.addresses("a.test", addresses);
        let mut client = site.client();
        eventually("it has moved", || {
            assert_eq!(client.get("/").status(), 200);
            answers(&site, 6).keys().map(String::as_str).eq({
                let mut sorted = addresses.to_vec();
                sorted.sort_unstable();
                sorted
            })
        });
    }
    assert_eq!(site.ready()["generation"], generation);
    // What it says is asked for again when it has ended, and no more often.
    let (before, began) = (dns.asked(), std::time::Instant::now());
    eventually("it is asked again", || dns.asked() > before + 3);
    let most = 2.0 * (began.elapsed().as_secs_f64() + 2.0);
    assert!(((dns.asked() - before) as f64) < most, "asked {} times", dns.asked() - before);
}

#[test]
fn the_last_good_answer_is_kept_whatever_dns_says() {
    let (dns, port) = (Dns::new(), endpoints(&["127.0.0.1", "127.0.0.2"]));
    dns.addresses("a.test", &["127.0.0.1"]);
    let site = site(&dns, &format!("{{address: 'a.test:{port}'}}")).start();
    for reply in [Reply::NoName, Reply::Nothing, Reply::Trouble, Reply::Silence] {
        let before = failures(&site, "a.test");
        dns.say("a.test", reply.clone());
        eventually("it fails", || failures(&site, "a.test") > before);
        assert_eq!(answers(&site, 5), all(&[("127.0.0.1", 5)]), "{reply:?}");
        assert!(site.json("/names")["a.test"]["error"].is_string());
        dns.addresses("a.test", &["127.0.0.1"]);
        eventually("it is well again", || site.json("/names")["a.test"]["error"].is_null());
    }
    dns.addresses("a.test", &["127.0.0.2"]);
    eventually("it is asked again", || answers(&site, 5) == all(&[("127.0.0.2", 5)]));
    assert!(site.json("/names")["a.test"]["error"].is_null());
}

#[test]
fn an_answer_that_is_too_long_for_udp_comes_by_tcp() {
    let (dns, port) = (Dns::new(), endpoints(&["127.0.0.1"]));
    let many: Vec<IpAddr> =
        (1..=100).map(|n| IpAddr::from([127, 0, 1, n])).chain(["127.0.0.1".parse().unwrap()]).collect();
    dns.say("a.test", Reply::TooLong(many, 60));
    let site = site(&dns, &format!("{{address: 'a.test:{port}'}}")).start();
    assert!((site.metric("gridrouter_name_addresses{name=\"a.test\"}") - 101.0).abs() < 0.1);
    site.get("/").assert_ok("127.0.0.1");
}

#[test]
fn a_router_starts_without_dns_and_serves_what_it_can() {
    let (dns, port) = (Dns::new(), endpoints(&["127.0.0.1"]));
    dns.say("a.test", Reply::Silence);
    let site = site(&dns, &format!("{{address: 'a.test:{port}'}}"))
        .document("kind: Route\nname: own\npaths: [{prefix: /own}]\nrespond: {status: 200, body: own}")
        .start();
    site.get("/own").assert_ok("own");
    site.get("/").assert_reject(503, "no_endpoint_available");
    assert_eq!(site.ready()["namesUnresolved"], serde_json::json!(["a.test"]));
    dns.addresses("a.test", &["127.0.0.1"]);
    eventually("it is resolved", || site.get("/").status() == 200);
    assert_eq!(site.ready()["namesUnresolved"], serde_json::json!([]));
}

#[test]
fn a_router_that_starts_again_without_dns_remembers() {
    let (dns, port, state) = (Dns::new(), endpoints(&["127.0.0.1"]), tempfile::tempdir().unwrap());
    let start = || site(&dns, &format!("{{address: 'a.test:{port}'}}")).state(state.path()).start();
    dns.addresses("a.test", &["127.0.0.1"]);
    let first = start();
    first.get("/").assert_ok("127.0.0.1");
    eventually("it is kept", || state.path().join("resolved.json").exists());
    drop(first);
    dns.say("a.test", Reply::Silence);
    start().get("/").assert_ok("127.0.0.1");
    std::fs::write(state.path().join("resolved.json"), "{\"a.test\": [\"127.0").unwrap();
    dns.addresses("a.test", &["127.0.0.1"]);
    start().get("/").assert_ok("127.0.0.1");
}

#[test]
fn an_edit_that_brings_a_name_loses_no_request() {
    let (dns, port) = (Dns::new(), endpoints(&["127.0.0.1", "127.0.0.2"]));
    dns.addresses("a.test", &["127.0.0.2"]);
    let site = site(&dns, &format!("{{address: '127.0.0.1:{port}'}}")).start();
    let asking = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = site.client();
            while asking.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(client.get("/").status(), 200);
            }
        });
        site.edit("127.0.0.1:", "a.test:");
        assert_eq!(answers(&site, 3), all(&[("127.0.0.2", 3)]));
        site.edit("a.test:", "127.0.0.1:");
        asking.store(false, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(site.json("/names"), serde_json::json!({}));
}

/// A name that a global balancer serves moves a whole cell, and no other.
#[test]
fn the_name_of_an_ingress_moves_its_cell() {
    let (dns, port) = (Dns::new(), endpoints(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]));
    dns.addresses("eu.test", &["127.0.0.1"]);
    dns.addresses("us.test", &["127.0.0.3"]);
    let cell = |name: &str| format!("kind: Cell\nname: {name}\ningress: [{{address: '{name}.test:{port}'}}]");
    let pin = |tenant: &str, cell: &str| format!("kind: Tenant\nname: {tenant}\ngrid: shop\ncell: {cell}");
    let site = Site::builder()
        .nameserver(dns.address)
        .document(&cell("eu"))
        .document(&cell("us"))
        .document("kind: Grid\nname: shop\ncells: [eu, us]")
        .document("kind: Service\nname: orders\nhost: orders.test")
        .document("kind: Route\nname: orders\ngrid: shop\nservice: orders\ntenant: {from: [{header: x-tenant}]}")
        .document(&pin("acme", "eu"))
        .document(&pin("umbrella", "us"))
        .start();
    let ask = |tenant: &str| site.get_with("/", &format!("x-tenant: {tenant}\r\n")).text();
    assert_eq!((ask("acme"), ask("umbrella")), ("127.0.0.1".to_owned(), "127.0.0.3".to_owned()));
    dns.addresses("eu.test", &["127.0.0.2"]);
    eventually("it has moved", || ask("acme") == "127.0.0.2");
    assert_eq!(ask("umbrella"), "127.0.0.3");
}

#[test]
fn a_certificate_has_to_be_for_the_name() {
    let (dns, root) = (Dns::new(), Authority::new("root"));
    let (documents, pem) = (root.certify(&["a.test"]).document("a"), super::support::tls::indented(&root.pem, 6));
    let inner = Site::builder()
        .document(&documents)
        .listener("tls: {default: a}")
        .document("kind: Route\nname: own\nrespond: {status: 200, body: inner}")
        .start();
    let address: SocketAddr = inner.address();
    dns.addresses("a.test", &["127.0.0.1"]);
    dns.addresses("b.test", &["127.0.0.1"]);
    let outer = Site::builder()
        .nameserver(dns.address)
        .document(&format!(
            "kind: Service\nname: all\nbalance: {{maxFails: 0}}\nendpoints: {{blue: [{{address: 'a.test:{}'}}]}}\n\
             tls:\n  authorities:\n    inline: |\n{pem}",
            address.port()
        ))
        .route("")
        .start();
    outer.get("/").assert_ok("inner");
    outer.edit("'a.test:", "'b.test:");
    outer.get("/").assert_reject(502, "upstream_tls_failed");
}
