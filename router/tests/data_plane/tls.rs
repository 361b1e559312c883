//! TLS on listeners: which certificate a client gets, resuming, certificates of clients, and clients that do not speak it.

mod clients;
mod hostile;
mod rotation;
mod upstreams;

use std::io::Read;

use crate::support::tls::{Authority, BOTH, TLS12, TLS13, Trusting};
use crate::support::{Site, Upstream, eventually};

#[test]
fn each_client_gets_the_certificate_for_its_host() {
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let exact = root.certify(&["shop.test"]);
    let wildcard = root.certify(&["*.shop.test"]);
    let fallback = root.certify(&["other.test"]);
    let site = Site::to(&upstream)
        .route("")
        .document(&exact.document("exact"))
        .document(&wildcard.document("wildcard"))
        .document(&fallback.document("fallback"))
        .listener("tls: {default: fallback}")
        .start();
    let client = Trusting::new(&root, &BOTH, None);
    for (host, pair) in
        [("SHOP.test", &exact), ("a.shop.test", &wildcard), ("b.shop.test", &wildcard), ("other.test", &fallback)]
    {
        let mut connection = client.connect(site.address(), host);
        assert!(connection.shows(pair), "{host}");
        assert_eq!(connection.stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(connection.get("/").1, b"hi");
        // Once more on the same connection.
        assert_eq!(connection.get("/again").1, b"hi");
    }
    // A wildcard stands for one label; the rest gets the default, which is not for it.
    let error = client.try_connect(site.address(), "a.b.shop.test").unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
    eventually("all are counted", || {
        site.count("gridrouter_tls_handshakes_total{version=\"1.3\",resumed=\"false\"}") == 4
            && site.count("gridrouter_tls_handshake_failures_total{reason=\"refused_by_client\"}") == 1
    });
    assert!(site.count("gridrouter_tls_certificate_expiry_timestamp_seconds{certificate=\"exact\"}") > 1_000_000_000);
    let told = upstream.received();
    assert_eq!(told.header("x-forwarded-proto"), Some("https"));
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[test]
fn a_client_of_an_unknown_host_is_refused_where_there_is_no_default() {
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let site = Site::to(&upstream)
        .route("")
        .document(&root.certify(&["shop.test"]).document("shop"))
        .document(&root.certify(&["other.test"]).document("other"))
        .listener("tls: {certificates: [shop]}")
        .start();
    for versions in [&TLS12, &TLS13] {
        let client = Trusting::new(&root, versions, None);
        assert_eq!(client.connect(site.address(), "shop.test").get("/").1, b"hi");
        // One of a certificate that is not the listener's, and one that names no host at all.
        for host in ["other.test", "127.0.0.1"] {
            let error = client.try_connect(site.address(), host).err().unwrap().to_string();
            assert!(error.contains("UnrecognisedName") || error.contains("UnrecognizedName"), "{error}");
        }
    }
    let unknown = "gridrouter_tls_handshake_failures_total{reason=\"unknown_name\"}";
    eventually("they are counted", || site.count(unknown) == 4);
}

#[test]
fn sessions_are_resumed_in_both_versions_on_every_thread() {
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let site = Site::to(&upstream)
        .route("")
        .threads(2)
        .document(&root.certify(&["shop.test"]).document("shop"))
        .listener("tls: {}")
        .start();
    for versions in [&TLS12, &TLS13] {
        let client = Trusting::new(&root, versions, None);
        let mut first = client.connect(site.address(), "shop.test");
        assert!(!first.is_resumed());
        first.get("/");
        for _ in 0..10 {
            let mut next = client.connect(site.address(), "shop.test");
            assert!(next.is_resumed());
            next.get("/");
        }
    }
    for version in ["1.2", "1.3"] {
        let series = format!("gridrouter_tls_handshakes_total{{version=\"{version}\",resumed=\"true\"}}");
        eventually("they are counted", || site.count(&series) == 10);
    }
}

#[test]
fn routers_with_one_file_of_keys_resume_each_others_sessions() {
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let place = tempfile::tempdir().unwrap();
    let keys = place.path().join("keys");
    std::fs::write(&keys, format!("{}\n{}\n", "ab".repeat(32), "cd".repeat(32))).unwrap();
    let start = |shared: bool| {
        let site = Site::to(&upstream).route("").listener("tls: {}");
        let site = site.document(&root.certify(&["shop.test"]).document("shop"));
        if shared { site.ticket_keys(&keys) } else { site }.start()
    };
    let (one, other, stranger) = (start(true), start(true), start(false));
    for versions in [&TLS12, &TLS13] {
        let client = Trusting::new(&root, versions, None);
        client.connect(one.address(), "shop.test").get("/");
        let mut at_other = client.connect(other.address(), "shop.test");
        assert!(at_other.is_resumed());
        at_other.get("/");
        assert!(!client.connect(stranger.address(), "shop.test").is_resumed());
    }
}

#[test]
fn an_old_version_is_refused_where_it_is_too_old() {
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let site = Site::to(&upstream)
        .route("")
        .document(&root.certify(&["shop.test"]).document("shop"))
        .listener("tls: {minimumVersion: tls1.3, ciphers: modern}")
        .start();
    let error = Trusting::new(&root, &TLS12, None).try_connect(site.address(), "shop.test").err().unwrap();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    let mut new = Trusting::new(&root, &TLS13, None).connect(site.address(), "shop.test");
    assert_eq!(new.get("/").1, b"hi");
    let chosen = new.stream.conn.negotiated_cipher_suite().unwrap().suite();
    assert!(format!("{chosen:?}").contains("AES_256_GCM"), "{chosen:?}");
}

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            let length = request.body.len();
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")).send(&request.body);
        }
    });
    let root = Authority::new("root");
    let site = Site::to(&upstream)
        .route("")
        .document(&root.certify(&["shop.test"]).document("shop"))
        .listener("tls: {}")
        .start();
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    for versions in [&TLS12, &TLS13] {
        let mut connection = Trusting::new(&root, versions, None).connect(site.address(), "shop.test");
        for _ in 0..2 {
            connection.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\ncontent-length: {}\r\n\r\n", body.len()));
            connection.send(&body);
            assert!(connection.try_answer().unwrap().1 == body);
        }
    }
}

#[test]
fn the_end_is_announced() {
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let site = Site::to(&upstream)
        .route("")
        .document(&root.certify(&["shop.test"]).document("shop"))
        .listener("tls: {}\ntimeouts: {idle: 300ms}")
        .start();
    let client = Trusting::new(&root, &BOTH, None);
    // After the last answer, after silence, and when the router stops. Without the announcement reading is an error.
    let mut asked = client.connect(site.address(), "shop.test");
    asked.try_get("/", "connection: close\r\n").unwrap();
    assert_eq!(asked.stream.read(&mut [0]).unwrap(), 0);
    let mut idle = client.connect(site.address(), "shop.test");
    idle.get("/");
    assert_eq!(idle.stream.read(&mut [0]).unwrap(), 0);
    let mut silent = client.connect(site.address(), "shop.test");
    assert_eq!(silent.stream.read(&mut [0]).unwrap(), 0);
    site.stop();
}

#[test]
fn a_router_that_stops_ends_idle_connections_and_answers_those_under_way() {
    let upstream = Upstream::scripted(|peer| {
        while peer.request().is_some() {
            std::thread::park_timeout(std::time::Duration::from_millis(300));
            peer.ok("late");
        }
    });
    let root = Authority::new("root");
    let site = Site::to(&upstream)
        .route("")
        .drain(crate::support::PATIENCE)
        .document(&root.certify(&["shop.test"]).document("shop"))
        .listener("tls: {}")
        .start();
    let client = Trusting::new(&root, &BOTH, None);
    let (mut idle, mut asks) =
        (client.connect(site.address(), "shop.test"), client.connect(site.address(), "shop.test"));
    asks.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    upstream.received();
    let stopping = std::thread::spawn(move || site.stop());
    assert_eq!(idle.stream.read(&mut [0]).unwrap(), 0);
    let (head, body) = asks.try_answer().unwrap();
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, b"late");
    assert_eq!(stopping.join().unwrap(), 0);
}
