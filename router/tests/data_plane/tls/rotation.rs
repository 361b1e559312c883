//! Certificates that change while they are in use.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::OK;
use crate::support::tls::{Authority, BOTH, Pair, TLS12, TLS13, Trusting};
use crate::support::{Site, Upstream, eventually};

fn write(place: &Path, pair: &Pair) {
    std::fs::write(place.join("chain.pem"), &pair.chain).unwrap();
    std::fs::write(place.join("key.pem"), &pair.key).unwrap();
}

/// A site whose certificate is in files.
fn site(upstream: &Upstream, place: &Path) -> Site {
    let place = place.display();
    Site::to(upstream)
        .route("")
        .document(&format!("kind: Certificate\nname: shop\nfiles: {{chain: {place}/chain.pem, key: {place}/key.pem}}"))
        .listener("tls: {}")
        .threads(2)
        .start()
}

#[test]
fn files_are_read_again_and_the_last_good_ones_stay() {
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let place = tempfile::tempdir().unwrap();
    // There is nothing yet.
    let site = site(&upstream, place.path());
    let client = Trusting::new(&root, &BOTH, None);
    assert!(client.try_connect(site.address(), "shop.test").is_err());
    assert!(site.ready()["certificateFaults"][0].as_str().unwrap().contains("No such file"));
    let (first, second) = (root.certify(&["shop.test"]), root.certify(&["shop.test"]));
    write(place.path(), &first);
    let shows = |pair: &Pair| client.try_connect(site.address(), "shop.test").is_ok_and(|one| one.shows(pair));
    eventually("the first is served", || shows(&first));
    eventually("nothing is wrong", || site.ready()["certificateFaults"] == serde_json::json!([]));
    // A key that does not fit.
    std::fs::write(place.path().join("key.pem"), &second.key).unwrap();
    eventually("it is told", || {
        site.ready()["certificateFaults"].to_string().contains("key does not fit the certificate of shop.test")
    });
    assert_eq!(site.count("gridrouter_tls_certificate_broken{certificate=\"shop\"}"), 1);
    assert!(Trusting::new(&root, &BOTH, None).connect(site.address(), "shop.test").shows(&first));
    write(place.path(), &second);
    let fresh = Trusting::new(&root, &BOTH, None);
    eventually("the second is served", || {
        Trusting::new(&root, &BOTH, None).try_connect(site.address(), "shop.test").is_ok_and(|one| one.shows(&second))
    });
    eventually("nothing is wrong", || site.count("gridrouter_tls_certificate_broken{certificate=\"shop\"}") == 0);
    assert_eq!(fresh.connect(site.address(), "shop.test").get("/").1, b"hi");
}

/// Connections that go on, and new ones that resume, while certificates change: 25 times, or as often as
/// `GRIDROUTER_ROTATIONS` says.
#[test]
fn changing_certificates_lose_no_connection_and_no_session() {
    let rotations: usize = std::env::var("GRIDROUTER_ROTATIONS").map_or(25, |text| text.parse().unwrap());
    let (upstream, root) = (Upstream::answering(OK), Authority::new("root"));
    let pair = root.certify(&["shop.test"]);
    let site = Site::to(&upstream).route("").threads(2).document(&pair.document("shop")).listener("tls: {}").start();
    let (stop, kept, resumed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut threads = Vec::new();
    for versions in [&TLS12, &TLS13] {
        let client = Trusting::new(&root, versions, None);
        let (address, stopping, count) = (site.address(), Arc::clone(&stop), Arc::clone(&kept));
        let one = client.clone();
        threads.push(std::thread::spawn(move || {
            let mut connection = one.connect(address, "shop.test");
            while !stopping.load(Ordering::Relaxed) {
                assert_eq!(connection.get("/").1, b"hi");
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::park_timeout(std::time::Duration::from_millis(5));
            }
        }));
        let (address, stopping, count) = (site.address(), Arc::clone(&stop), Arc::clone(&resumed));
        threads.push(std::thread::spawn(move || {
            client.connect(address, "shop.test").get("/");
            while !stopping.load(Ordering::Relaxed) {
                let mut connection = client.connect(address, "shop.test");
                assert!(connection.is_resumed(), "a session was lost");
                assert_eq!(connection.get("/").1, b"hi");
                count.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut before = pair.document("shop");
    for turn in 0..rotations {
        let next = root.certify(&["shop.test"]);
        site.edit(&before, &next.document("shop"));
        before = next.document("shop");
        eventually("the next one is served", || {
            Trusting::new(&root, &BOTH, None).connect(site.address(), "shop.test").shows(&next)
        });
        assert!(threads.iter().all(|thread| !thread.is_finished()), "a client has lost something after {turn} changes");
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(kept.load(Ordering::Relaxed) > rotations && resumed.load(Ordering::Relaxed) > rotations);
}
