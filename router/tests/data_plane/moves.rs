//! Tenants on their way from one cell to another: what a fence keeps away, for how long, and when it is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Client, Message, PATIENCE, Site, Upstream, eventually};

/// Two cells, a tenant in one of them, and its move to the other.
struct Cells {
    old: Upstream,
    new: Upstream,
}

impl Cells {
    fn start() -> Self {
        Self { old: Upstream::ok("old"), new: Upstream::ok("new") }
    }

    /// With more fields of the move.
    fn site(&self, phase: &str, lines: &str) -> Site {
        self.limited(phase, lines, "key: [tenant]\ntokenBucket: {rate: 1/h, burst: 2}")
    }

    /// With this limit for all.
    fn limited(&self, phase: &str, lines: &str, limit: &str) -> Site {
        let (old, new) = (self.old.address(), self.new.address());
        Site::builder()
            .document("kind: Grid\nname: grid\ncells: [a, b]")
            .document("kind: Cell\nname: a")
            .document("kind: Cell\nname: b")
            .document(&format!(
                "kind: Service\nname: all\ncells: {{a: {{blue: [{{address: {old}}}]}}, b: {{blue: [{{address: {new}}}]}}}}"
            ))
            .document(&format!("kind: Limit\nname: few\n{limit}"))
            .route("tenant: {from: [{header: x-tenant}]}\ngrid: grid\nlimits: [few]")
            .document("kind: Tenant\nname: acme\ngrid: grid\ncell: a")
            .document("kind: Tenant\nname: other\ngrid: grid\ncell: a")
            .document(&format!(
                "kind: Move\nname: m\ntenant: acme\ngrid: grid\nfrom: a\nto: b\nwasPinned: true\nretryAfter: 7s\n{lines}\n\
                 state: {{phase: {phase}, started: 1, since: 1, deadline: 9}}"
            ))
            .start()
    }
}

fn send(client: &mut Client, method: &str, tenant: &str) {
    client.send(format!("{method} / HTTP/1.1\r\nHost: a.test\r\nX-Tenant: {tenant}\r\nContent-Length: 0\r\n\r\n"));
}

fn ask(site: &Site, method: &str, tenant: &str) -> Message {
    let mut client = site.client();
    send(&mut client, method, tenant);
    client.answer()
}

pub(crate) fn flip(site: &Site) {
    let documents = std::fs::read_to_string(site.directory().join("documents.yaml")).unwrap();
    let (before, phase) = documents.rsplit_once("phase: ").unwrap();
    let (_, after) = phase.split_once(',').unwrap();
    let moved = before.replacen("name: acme\ngrid: grid\ncell: a", "name: acme\ngrid: grid\ncell: b", 1);
    site.change(|| site.write("documents.yaml", &format!("{moved}phase: Succeeded,{after}")));
}

fn seen(site: &Site) -> Value {
    site.json("/snapshot")["moves"].clone()
}

#[test]
fn a_fence_for_writes_lets_reads_pass_and_charges_nothing_to_what_it_keeps_away() {
    for phase in ["Fencing", "Fenced", "Flipping", "RollingBack"] {
        let cells = Cells::start();
        let site = cells.site(phase, "");
        for _ in 0..3 {
            let refused = ask(&site, "POST", "acme");
            refused.assert_reject(503, "tenant_fenced");
            assert_eq!(refused.header("retry-after"), Some("7"), "{phase}");
        }
        ask(&site, "GET", "acme").assert_ok("old");
        ask(&site, "POST", "other").assert_ok("old");
        // The limit is of two, and this is the second.
        ask(&site, "OPTIONS", "acme").assert_ok("old");
        ask(&site, "GET", "acme").assert_reject(429, "limit_exceeded");
        let moves = seen(&site);
        assert_eq!(
            (&moves[0]["name"], &moves[0]["phase"], &moves[0]["cell"]),
            (&"m".into(), &phase.into(), &"a".into())
        );
    }
    for phase in ["Succeeded", "RolledBack", "Failed"] {
        let cells = Cells::start();
        let site = cells.site(phase, "");
        ask(&site, "POST", "acme").assert_ok("old");
        assert_eq!(seen(&site), serde_json::json!([]));
    }
}

/// What is kept away was not asked: it has no permit to give back, and nothing to tell of limits.
#[test]
fn what_a_fence_keeps_away_gives_back_nobodys_permit() {
    for hold in ["", "hold: 50ms"] {
        let cells = Cells::start();
        let site = cells.limited("Fenced", hold, "key: [route]\nconcurrency: {limit: 1}");
        let mut under_way = site.client();
        under_way.send("POST / HTTP/1.1\r\nHost: a.test\r\nX-Tenant: other\r\nContent-Length: 2\r\n\r\n");
        eventually("it is under way", || cells.old.connections() > 0);
        for _ in 0..3 {
            let refused = ask(&site, "POST", "acme");
            refused.assert_reject(503, "tenant_fenced");
            assert_eq!((refused.header("ratelimit"), refused.header("ratelimit-policy")), (None, None));
        }
        ask(&site, "GET", "other").assert_reject(429, "limit_exceeded");
        under_way.send("ok");
        under_way.answer().assert_ok("old");
        let counted = ["allowed", "refused"].map(|verdict| {
            site.metric(&format!(
                "gridrouter_limit_requests_total{{limit=\"few\",values=\"live\",verdict=\"{verdict}\"}}"
            ))
        });
        assert_eq!(counted.map(|count| count as u32), [1, 1]);
    }
}

#[test]
fn a_fence_for_all_keeps_reads_away_too() {
    let cells = Cells::start();
    let site = cells.site("Fenced", "fence: all");
    for method in ["GET", "HEAD", "OPTIONS", "PUT"] {
        let mut client = site.client();
        send(&mut client, method, "acme");
        assert_eq!(client.head().reject(), Some("tenant_fenced"), "{method}");
    }
    ask(&site, "GET", "other").assert_ok("old");
}

#[test]
fn a_request_that_waits_goes_to_the_new_cell_once_the_fence_is_gone() {
    let cells = Cells::start();
    let site = cells.site("Fenced", "hold: 60s");
    let mut waiting: Vec<Client> = (0..2).map(|_| site.client()).collect();
    for client in &mut waiting {
        send(client, "POST", "acme");
    }
    cells.old.assert_untouched();
    cells.new.assert_untouched();
    flip(&site);
    for client in &mut waiting {
        client.answer().assert_ok("new");
        // The connection goes on.
        send(client, "POST", "other");
        client.answer().assert_ok("old");
    }
    assert!(cells.old.drain().iter().all(|request| request.header("x-tenant") == Some("other")));
    assert_eq!(cells.new.drain().len(), 2);
}

#[test]
fn a_request_waits_no_longer_than_it_may() {
    let cells = Cells::start();
    let site = cells.site("Fenced", "hold: 300ms");
    let began = Instant::now();
    let refused = ask(&site, "POST", "acme");
    refused.assert_reject(503, "tenant_fenced");
    assert_eq!(refused.header("retry-after"), Some("7"));
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(cells.old.drain().is_empty());
}

#[test]
fn a_client_that_leaves_while_it_waits_is_counted_and_its_request_goes_nowhere() {
    let cells = Cells::start();
    let site = cells.site("Fenced", "hold: 60s");
    let mut client = site.client();
    send(&mut client, "POST", "acme");
    // It has been read when another one, which came later, was answered.
    ask(&site, "GET", "acme").assert_ok("old");
    drop(client);
    eventually("the client's leave", || {
        site.metric("gridrouter_client_connections") == 0.0 || {
            flip(&site);
            true
        }
    });
    cells.new.assert_untouched();
}

#[test]
fn a_fence_is_up_when_what_came_before_it_has_ended() {
    let answer = Arc::new(AtomicBool::new(false));
    let may = Arc::clone(&answer);
    let old = Upstream::scripted(move |peer| {
        while peer.request().is_some() {
            let began = Instant::now();
            while !may.load(Ordering::Relaxed) && began.elapsed() < PATIENCE {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            peer.ok("old");
        }
    });
    let cells = Cells { old, new: Upstream::ok("new") };
    let site = cells.site("RolledBack", "");
    let mut under_way = site.client();
    send(&mut under_way, "POST", "acme");
    cells.old.received();
    let mut others = site.client();
    send(&mut others, "POST", "other");
    cells.old.received();
    site.edit("phase: RolledBack", "phase: Fencing");
    eventually("the fence", || seen(&site)[0]["phase"] == "Fencing");
    ask(&site, "POST", "acme").assert_reject(503, "tenant_fenced");
    assert_eq!(seen(&site)[0]["clean"], false);
    answer.store(true, Ordering::Relaxed);
    under_way.answer().assert_ok("old");
    eventually("the end of what was under way", || seen(&site)[0]["clean"] == true);
    others.answer().assert_ok("old");
    // Another phase has to be told by every thread anew.
    site.edit("phase: Fencing", "phase: Fenced");
    eventually("the next phase", || seen(&site)[0]["phase"] == "Fenced" && seen(&site)[0]["clean"] == true);
}

#[test]
fn reads_under_way_do_not_hold_up_a_fence_for_writes() {
    let old = Upstream::scripted(|peer| {
        peer.request();
        // It never answers; the end of the router ends it.
        peer.try_request();
    });
    let cells = Cells { old, new: Upstream::ok("new") };
    let site = cells.site("RolledBack", "");
    let mut client = site.client();
    send(&mut client, "GET", "acme");
    cells.old.received();
    site.edit("phase: RolledBack", "phase: Fencing");
    eventually("the fence", || seen(&site)[0]["clean"] == true);
    let cells =
        Cells { old: Upstream::scripted(|peer| drop((peer.request(), peer.try_request()))), new: Upstream::ok("new") };
    let site = cells.site("RolledBack", "fence: all");
    let mut client = site.client();
    send(&mut client, "GET", "acme");
    cells.old.received();
    site.edit("phase: RolledBack", "phase: Fencing");
    eventually("the fence", || seen(&site)[0]["phase"] == "Fencing");
    assert_eq!(seen(&site)[0]["clean"], false);
    drop(client);
    eventually("the client's leave", || seen(&site)[0]["clean"] == true);
}
