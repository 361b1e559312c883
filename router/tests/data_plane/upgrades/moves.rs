//! Tunnels whose track is left, and tunnels of tenants that move.

use std::time::{Duration, Instant};

use super::{closed, echo, echoes, tunnel};
use crate::shift::{Tracks, shift, tenant};
use crate::support::{Ending, QUIET, Site, Upstream, assert_fired, eventually};

const DRAIN: Duration = Duration::from_secs(1);

fn count(site: &Site, what: &str) -> serde_json::Value {
    site.json("/tracks")["shifts"][0]["tracks"]["blue"][what].clone()
}

fn restart() -> Ending {
    Ending::Closed(vec![0x88, 2, 0x03, 0xf4])
}

#[test]
fn a_tunnel_leaves_its_track_when_the_time_to_drain_is_over() {
    let (blue, green) = (echo(), echo());
    let site = Tracks::of(&blue, &green).builder().start();
    let to = |share| site.change(|| site.write("shift.yaml", &shift("Running", share, "drain: 1s")));
    to("0%");
    let mut client = tunnel(&site, &tenant(1));
    assert_eq!((count(&site, "inFlight"), count(&site, "leaving")), (1.into(), 0.into()));
    let began = Instant::now();
    to("100%");
    eventually("it has to leave", || count(&site, "leaving") == 1);
    echoes(&mut client, "\u{1}\u{1}x");
    assert_eq!(client.ending(), restart());
    assert_fired(began, DRAIN);
    eventually("it left", || count(&site, "leaving") == 0 && count(&site, "inFlight") == 0);
    assert_eq!((count(&site, "requests"), count(&site, "failed")), (1.into(), 0.into()));
    assert_eq!(closed(&site, "left"), 1);
    // Its client comes back, to the other track.
    drop(client);
    let _again = tunnel(&site, &tenant(1));
    assert_eq!((blue.connections(), green.connections()), (1, 1));
}

#[test]
fn a_tunnel_that_began_before_the_shift_leaves_with_the_last_share() {
    let (blue, green) = (echo(), echo());
    let site = Tracks::of(&blue, &green).builder().start();
    let mut client = tunnel(&site, &tenant(1));
    let to = |share| site.change(|| site.write("shift.yaml", &shift("Running", share, "drain: 1s")));
    to("99%");
    assert_eq!(client.ending_within(DRAIN + QUIET), Ending::Open(Vec::new()));
    to("100%");
    assert_eq!(client.ending(), restart());
}

/// A version that is tried out is not to take part in a conversation.
#[test]
fn a_handshake_is_not_copied_to_the_other_track() {
    let (blue, green) = (echo(), Upstream::ok("green"));
    let site = Tracks::of(&blue, &green).site(&shift("Running", "0%", "mirror: {share: 100%}"));
    let mut client = tunnel(&site, &tenant(1));
    echoes(&mut client, "hello");
    green.assert_quiet_for(QUIET);
    assert_eq!(site.json("/tracks")["shifts"][0]["mirror"]["copies"], 0);
}

pub(super) fn moving(old: &Upstream, phase: &str, fence: &str) -> Site {
    Site::builder()
        .document("kind: Grid\nname: grid\ncells: [a, b]")
        .document("kind: Cell\nname: a")
        .document("kind: Cell\nname: b")
        .document(&format!(
            "kind: Service\nname: all\ncells: {{a: {{blue: [{{address: {0}}}]}}, b: {{blue: [{{address: {0}}}]}}}}",
            old.address()
        ))
        .route("tenant: {from: [{header: x-tenant}]}\ngrid: grid\nupgrades: [websocket]")
        .document("kind: Tenant\nname: acme\ngrid: grid\ncell: a")
        .document(&format!(
            "kind: Move\nname: m\ntenant: acme\ngrid: grid\nfrom: a\nto: b\nwasPinned: true\nfence: {fence}\n\
             state: {{phase: {phase}, started: 1, since: 1, deadline: 9}}"
        ))
        .start()
}

/// Nobody can say what passes through a tunnel: one that is open keeps a fence from being up, and so has to go.
#[test]
fn a_tunnel_of_a_tenant_that_moves_is_closed_before_the_fence_is_up() {
    for fence in ["writes", "all"] {
        let old = echo();
        let site = moving(&old, "RolledBack", fence);
        let mut acme = tunnel(&site, "X-Tenant: acme\r\n");
        let mut other = tunnel(&site, "X-Tenant: other\r\n");
        site.edit("phase: RolledBack", "phase: Fencing");
        assert_eq!(acme.ending(), restart(), "{fence}");
        drop(acme);
        eventually("the fence", || site.json("/snapshot")["moves"][0]["clean"] == true);
        assert_eq!(closed(&site, "fenced"), 1);
        echoes(&mut other, "still here");
        // Nor does another one come in, although its method is one that reads.
        let mut client = site.client();
        super::ask(&mut client, "X-Tenant: acme\r\n");
        client.answer().assert_reject(503, "tenant_fenced");
        let plain = site.client().get_with("/", "X-Tenant: acme\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n");
        // What is no tunnel is what its method says; the endpoint agrees to what it was not asked for.
        assert_eq!(plain.status(), if fence == "all" { 503 } else { 502 });
    }
}

/// A handshake that waits for the end of a fence, as others may, gets its tunnel in the new cell.
#[test]
fn a_handshake_that_waits_for_a_fence_goes_to_the_new_cell() {
    let upstream = echo();
    let site = moving(&upstream, "Fenced", "writes\nhold: 60s");
    let mut client = site.client();
    super::ask(&mut client, "X-Tenant: acme\r\n");
    client.send("early");
    assert_eq!(client.ending_within(QUIET), Ending::Open(Vec::new()));
    upstream.assert_untouched();
    crate::moves::flip(&site);
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.bytes(5), b"early");
    echoes(&mut client, "and late");
}
