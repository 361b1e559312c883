//! What is counted of calls.

use gridrouter_config::track::Track;
use gridrouter_config::tracks::Tracks;

use super::super::http2::requests::with_client;
use super::super::shift::running;
use super::super::support::http2::Http2Upstream;
use super::super::support::{Site, eventually};
use super::{begin, call, server, to, unary};

fn ended(site: &Site, status: &str) -> u64 {
    site.count(&format!("gridrouter_grpc_calls_total{{route=\"all\",status=\"{status}\"}}"))
}

#[test]
fn calls_are_counted_by_what_they_ended_with() {
    let upstream = server();
    let site = to(upstream.address())
        .route("limits: [per]")
        .document("kind: Limit\nname: per\nkey: [{header: x-key}]\nfixedWindow: {limit: 2, window: 1h}")
        .start();
    with_client(&site, async |client| {
        for path in ["/ok", "/ok", "/ok", "/trailers/5", "/head/14", "/none", "/html/404"] {
            unary(&client, call(path, &[("x-key", path)])).await;
        }
        // One that its client takes back while it is answered, and one behind it.
        let (answer, mut send) = begin(&client, call("/open", &[("x-key", "/open")])).await;
        let _body = answer.await.unwrap().into_body();
        send.send_reset(h2::Reason::CANCEL);
        unary(&client, call("/trailers/16", &[("x-key", "/trailers/16")])).await;
    });
    site.get("/html/200").assert_ok("<h1>");
    for (status, count) in [
        ("OK", 2),
        ("RESOURCE_EXHAUSTED", 1),
        ("NOT_FOUND", 1),
        ("UNAVAILABLE", 1),
        ("UNKNOWN", 1),
        ("UNIMPLEMENTED", 1),
        ("CANCELLED", 1),
        ("UNAUTHENTICATED", 1),
    ] {
        eventually(status, || ended(&site, status) == count);
    }
    let all: u64 =
        site.admin("/metrics").text().lines().filter(|line| line.starts_with("gridrouter_grpc_calls_total{")).count()
            as u64;
    assert_eq!(all, 8, "a series that says nothing");
}

fn on_two_tracks(blue: &Http2Upstream, green: &Http2Upstream) -> Site {
    let (blue, green) = (blue.address(), green.address());
    Site::builder()
        .document("kind: Grid\nname: grid\ncells: [one]")
        .document("kind: Cell\nname: one")
        .document(&format!(
            "kind: Service\nname: all\ncells: {{one: {{blue: [{{address: {blue}}}], green: [{{address: {green}}}], active: \
             blue}}}}\nprotocol: h2"
        ))
        .route("tenant: {from: [{header: x-tenant}], otherwise: {tenant: nobody}}\ngrid: grid")
        .document(&running("100%"))
        .start()
}

#[test]
fn a_track_that_fails_in_trailers_alone_is_seen() {
    let (blue, green) = (server(), server());
    let site = on_two_tracks(&blue, &green);
    with_client(&site, async |client| {
        for status in [0, 1, 2, 3, 4, 5, 7, 8, 12, 13, 14, 15, 16] {
            unary(&client, call(&format!("/trailers/{status}"), &[])).await;
            unary(&client, call(&format!("/head/{status}"), &[])).await;
        }
        unary(&client, call("/none", &[])).await;
    });
    let counts = || {
        let mut told: Tracks = serde_json::from_value(site.json("/tracks")).unwrap();
        told.shifts[0].tracks.remove(&Track::Green).unwrap()
    };
    eventually("nothing is in flight", || counts().in_flight == 0);
    // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS, twice each, and no status at all.
    assert_eq!((counts().requests, counts().failed), (27, 13));
}
