//! TLS with endpoints.

use std::net::SocketAddr;

use super::OK;
use crate::support::tls::{Authority, Pair, SecureUpstream, indented};
use crate::support::{Builder, Site, Upstream, eventually};

/// A service with one endpoint, and these lines about TLS.
fn to(address: SocketAddr, tls: &str) -> Builder {
    Site::builder()
        .document(&format!("kind: Service\nname: all\nendpoints: {{blue: [{{address: \"{address}\"}}]}}\n{tls}"))
        .route("")
}

fn trusting(root: &Authority, more: &str) -> String {
    format!("tls:\n{more}  authorities:\n    inline: |\n{}", indented(&root.pem, 6))
}

#[test]
fn connections_are_checked_kept_and_resumed() {
    let root = Authority::new("root");
    let pair = root.certify(&["shop.internal"]);
    for keeps in [true, false] {
        let upstream = SecureUpstream::start(&pair, None, keeps);
        let site = to(upstream.address, &trusting(&root, "  serverName: shop.internal\n")).start();
        for _ in 0..5 {
            site.get("/").assert_ok("hi");
        }
        let seen = upstream.seen();
        assert!(seen.iter().all(|one| one.name.as_deref() == Some("shop.internal")), "{seen:?}");
        if keeps {
            assert_eq!(seen.len(), 1);
        } else {
            assert_eq!(seen.len(), 5);
            assert!(seen.iter().skip(1).all(|one| one.is_resumed), "{seen:?}");
        }
    }
}

#[test]
fn large_bodies_pass_whole() {
    let root = Authority::new("root");
    let upstream = SecureUpstream::start(&root.certify(&["127.0.0.1"]), None, true);
    // No name: the certificate is for the address.
    let site = to(upstream.address, &trusting(&root, "")).start();
    let answer = site.get("/large");
    assert!(answer.body.len() == 1_000_000 && answer.body.iter().all(|byte| *byte == 7));
    let body: Vec<u8> = (0..2_000_000_u32).map(|n| (n >> 4) as u8).collect();
    for _ in 0..2 {
        let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len());
        assert!(site.exchange([head.as_bytes(), &body].concat()).body == body);
    }
    assert!(upstream.seen().iter().all(|one| one.name.is_none()));
}

#[test]
fn an_endpoint_whose_certificate_is_not_good_gets_no_request() {
    let (root, other) = (Authority::new("root"), Authority::new("other"));
    let good = root.certify(&["shop.internal"]);
    let name = "  serverName: shop.internal\n";
    let bad: [(&Pair, String); 4] = [
        (&other.certify(&["shop.internal"]), trusting(&root, name)),
        (&good, trusting(&root, "  serverName: other.internal\n")),
        (&good, trusting(&root, "")),
        // The system knows nothing of these authorities.
        (&good, "tls: {serverName: shop.internal}".to_owned()),
    ];
    for (pair, tls) in bad {
        let upstream = SecureUpstream::start(pair, None, true);
        let site = to(upstream.address, &tls).start();
        site.get("/").assert_reject(502, "upstream_tls_failed");
        assert_eq!(upstream.seen(), []);
    }
    let upstream = SecureUpstream::start(&other.certify(&["else.internal"]), None, true);
    let site = to(upstream.address, "tls: {serverName: shop.internal, verify: false}").start();
    site.get("/").assert_ok("hi");
    // One that does not speak it at all.
    let plain = Upstream::scripted(|peer| {
        peer.try_send(OK);
    });
    to(plain.address(), &trusting(&root, name)).start().get("/").assert_reject(502, "upstream_tls_failed");
}

#[test]
fn a_certificate_is_shown_to_endpoints_that_ask_for_one() {
    let (root, partners) = (Authority::new("root"), Authority::new("partners"));
    let upstream = SecureUpstream::start(&root.certify(&["shop.internal"]), Some(&partners), true);
    let tls = trusting(&root, "  serverName: shop.internal\n  clientCertificate: own\n");
    let site = to(upstream.address, &tls).document(&partners.certify(&["router.internal"]).document("own")).start();
    site.get("/").assert_ok("hi");
    assert!(upstream.seen()[0].shows_certificate);
    // Without it the endpoint ends the connection, and what it took of the request is not known.
    let site = to(upstream.address, &trusting(&root, "  serverName: shop.internal\n")).start();
    assert_eq!(site.get("/").status(), 502);
}

#[test]
fn other_terms_are_other_connections() {
    let root = Authority::new("root");
    let upstream = SecureUpstream::start(&root.certify(&["shop.internal"]), None, true);
    let site = to(upstream.address, "tls: {serverName: shop.internal, verify: false}").start();
    site.get("/").assert_ok("hi");
    site.edit("verify: false", "verify: true");
    eventually("the endpoint is not believed any more", || site.get("/").reject() == Some("upstream_tls_failed"));
    site.edit("verify: true", "verify: false");
    eventually("it is again", || site.get("/").status() == 200);
}
