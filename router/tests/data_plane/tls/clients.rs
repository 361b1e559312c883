//! Certificates of clients.

use super::OK;
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, Raw, fields, frame};
use crate::support::tls::{Authority, BOTH, Pair, TLS12, TLS13, Trusting, indented};
use crate::support::{Client, Site, Upstream, eventually};

/// A site whose listener `web` asks for certificates, as said, and whose listener `plain` does not even speak TLS.
fn site(upstream: &Upstream, root: &Authority, partners: &Authority, mode: &str, route: &str) -> Site {
    let pem = indented(&partners.pem, 8);
    Site::to(upstream)
        .route(route)
        .document(&root.certify(&["shop.test"]).document("shop"))
        .document("kind: Listener\nname: plain\naddress: 127.0.0.1:0")
        .listener(&format!(
            "tls:\n  clientCertificates:\n    mode: {mode}\n    authorities:\n      inline: |\n{pem}    forward: \
             {{subject: x-client, san: x-client-names, fingerprint: x-client-print, certificate: client-cert}}"
        ))
        .start()
}

/// A listener that lets nobody in without a certificate.
fn strict(partners: &Authority) -> String {
    let tls = "tls:\n  clientCertificates:\n    authorities:\n      inline: |";
    format!("kind: Listener\nname: strict\naddress: 127.0.0.1:0\n{tls}\n{}", indented(&partners.pem, 8))
}

fn partner(authority: &Authority, host: &str) -> Pair {
    authority.certify_with(&[host], |params| params.distinguished_name.push(rcgen::DnType::CommonName, host))
}

#[test]
fn a_required_certificate_has_to_be_there_and_good() {
    let (upstream, root, partners) = (Upstream::answering(OK), Authority::new("root"), Authority::new("partners"));
    let site = site(&upstream, &root, &partners, "required", "");
    let (good, forged) = (partner(&partners, "acme.test"), partner(&Authority::new("partners"), "acme.test"));
    for versions in [&TLS12, &TLS13] {
        let mut connection = Trusting::new(&root, versions, Some(&good)).connect(site.address(), "shop.test");
        connection.get("/");
        for bad in [None, Some(&forged)] {
            // In TLS 1.3 a client learns of it with what it reads first.
            let connected = Trusting::new(&root, versions, bad).try_connect(site.address(), "shop.test");
            assert!(connected.and_then(|mut one| one.try_get("/", "")).is_err());
        }
    }
    let failed = "gridrouter_tls_handshake_failures_total{reason=\"client_certificate\"}";
    eventually("they are counted", || site.count(failed) == 4);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn endpoints_are_told_of_a_certificate_and_of_no_other() {
    let (upstream, root, partners) = (Upstream::answering(OK), Authority::new("root"), Authority::new("partners"));
    let site = site(&upstream, &root, &partners, "optional", "");
    let good = partner(&partners, "acme.test");
    let forged = "x-client: CN=root\r\nX-Client-Names: DNS:root\r\nx_client_print: 00\r\nClient-Cert: :AA:\r\n\
                  connection: x-client\r\n";
    let names = ["x-client", "x-client-names", "x-client-print", "x_client_print", "client-cert"];
    // With a certificate, also when its session is resumed.
    for (versions, resumed) in [(&TLS12, false), (&TLS12, true), (&TLS13, false), (&TLS13, true)] {
        let client = Trusting::new(&root, versions, Some(&good));
        if resumed {
            client.connect(site.address(), "shop.test").get("/");
            upstream.received();
        }
        let mut connection = client.connect(site.address(), "shop.test");
        assert_eq!(connection.is_resumed(), resumed);
        connection.try_get("/", forged).unwrap();
        let told = upstream.received();
        assert!(told.header("x-client").unwrap().contains("CN=acme.test"), "{told:?}");
        assert_eq!(told.header("x-client-names"), Some("DNS:acme.test"));
        assert_eq!(told.header("x-client-print").map(str::len), Some(64));
        assert!(told.header("client-cert").unwrap().len() > 100 && told.header("x_client_print").is_none());
    }
    // Without one.
    Trusting::new(&root, &BOTH, None).connect(site.address(), "shop.test").try_get("/", forged).unwrap();
    let told = upstream.received();
    assert!(names.iter().all(|name| told.header(name).is_none()), "{told:?}");
    // By a listener in clear.
    Client::connect(site.router().address("plain").unwrap()).get_with("/", forged);
    let told = upstream.received();
    assert!(names.iter().all(|name| told.header(name).is_none()), "{told:?}");
}

/// Whoever takes trailers for headers would believe them.
#[test]
fn what_only_the_router_may_say_is_no_trailer_either() {
    let (upstream, root, partners) = (Upstream::answering(OK), Authority::new("root"), Authority::new("partners"));
    let site = site(&upstream, &root, &partners, "optional", "");
    let plain = site.router().address("plain").unwrap();
    Client::connect(plain)
        .send(
            "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Client: CN=root\r\n\
             Client-Cert: :AA:\r\nX-Sum: 7\r\n\r\n",
        )
        .answer();
    assert_eq!(upstream.received().trailers, ["x-sum: 7"]);
    let mut raw = Raw::connect(plain);
    let head = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "shop.test")];
    let trailers = [("x-client", "CN=root"), ("client-cert", ":AA:"), ("x-sum", "8")];
    raw.send(&frame(HEADERS, END_HEADERS, 1, &fields(&head)));
    raw.send(&frame(DATA, 0, 1, b"abc"));
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&trailers)));
    assert_eq!(raw.status(), 200);
    assert_eq!(upstream.received().trailers, ["x-sum: 8"]);
}

#[test]
fn a_listener_that_is_gone_is_no_fault() {
    let (upstream, root, partners) = (Upstream::answering(OK), Authority::new("root"), Authority::new("partners"));
    let site = Site::to(&upstream)
        .route("")
        .document(&root.certify(&["shop.test"]).document("shop"))
        .document(&strict(&partners))
        .start();
    let client = Trusting::new(&root, &BOTH, Some(&partner(&partners, "acme.test")));
    client.connect(site.router().address("strict").unwrap(), "shop.test").get("/");
    site.edit("name: strict", "name: other");
    client.connect(site.router().address("other").unwrap(), "shop.test").get("/");
    assert_eq!(site.ready()["certificateFaults"], serde_json::json!([]));
}

#[test]
fn the_tenant_is_whom_the_certificate_names() {
    let (upstream, root, partners) = (Upstream::answering(OK), Authority::new("root"), Authority::new("partners"));
    let route = "tenant: {from: [{clientCertificate: san-dns}]}\nrequestHeaders: {set: {x-route: all}}";
    let site = site(&upstream, &root, &partners, "optional", route);
    let good = partner(&partners, "acme.test");
    let mut connection = Trusting::new(&root, &BOTH, Some(&good)).connect(site.address(), "shop.test");
    assert!(connection.get("/").0.starts_with("HTTP/1.1 200"));
    let two = partners.certify(&["acme.test", "bolt.test"]);
    let mut connection = Trusting::new(&root, &BOTH, Some(&two)).connect(site.address(), "shop.test");
    assert!(connection.get("/").0.contains("bad_tenant"));
    let mut connection = Trusting::new(&root, &BOTH, None).connect(site.address(), "shop.test");
    assert!(connection.get("/").0.contains("no_tenant"));
}

#[test]
fn a_session_of_one_listener_opens_no_other_with_stricter_rules() {
    let (upstream, root, partners) = (Upstream::answering(OK), Authority::new("root"), Authority::new("partners"));
    let site = Site::to(&upstream)
        .route("")
        .document(&root.certify(&["shop.test"]).document("shop"))
        .listener("tls: {}")
        .document(&strict(&partners))
        .document("kind: Listener\nname: open\naddress: 127.0.0.1:0\ntls: {}")
        .start();
    for versions in [&TLS12, &TLS13] {
        let client = Trusting::new(&root, versions, None);
        client.connect(site.address(), "shop.test").get("/");
        let strict = site.router().address("strict").unwrap();
        let connected = client.try_connect(strict, "shop.test");
        assert!(connected.and_then(|mut one| one.try_get("/", "")).is_err());
        // One that asks for nothing either may resume it.
        client.connect(site.address(), "shop.test").get("/");
        assert!(client.connect(site.router().address("open").unwrap(), "shop.test").is_resumed());
    }
}
