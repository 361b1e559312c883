//! Which track a request reaches.

use super::super::support::{Site, Upstream, closed_port, eventually};
use super::{Tracks, running, shift, tenant, tracks_of};

fn two() -> (Upstream, Upstream) {
    (Upstream::ok("blue"), Upstream::ok("green"))
}

#[test]
fn nothing_and_everything() {
    let (blue, green) = two();
    let tracks = Tracks::of(&blue, &green);
    assert!(tracks_of(&mut tracks.site(&running("0%")).client(), 50).iter().all(|track| track == "blue"));
    assert!(tracks_of(&mut tracks.site(&running("100%")).client(), 50).iter().all(|track| track == "green"));
}

/// The decision is made for each request, not for each connection.
#[test]
fn a_kept_connection_obeys_with_its_next_request() {
    let (blue, green) = two();
    let site = Tracks::of(&blue, &green).builder().start();
    let mut client = site.client();
    let mut before = tracks_of(&mut client, 100);
    assert!(before.iter().all(|track| track == "blue"));
    let moved = |tracks: &[String]| tracks.iter().filter(|track| *track == "green").count();
    for (share, range) in [("10%", 1..30), ("50%", 30..70), ("100%", 100..101)] {
        site.change(|| site.write("shift.yaml", &running(share)));
        let after = tracks_of(&mut client, 100);
        assert!(range.contains(&moved(&after)), "{share}: {}", moved(&after));
        assert!(before.iter().zip(&after).all(|(old, new)| old == "blue" || new == "green"), "somebody went back");
        before = after;
    }
    site.change(|| site.write("shift.yaml", &shift("RollingBack", "10%", "")));
    assert!((1..30).contains(&moved(&tracks_of(&mut client, 100))));
    site.change(|| site.write("shift.yaml", &shift("RolledBack", "0%", "")));
    assert_eq!(moved(&tracks_of(&mut client, 100)), 0);
}

#[test]
fn testers_are_known_by_header_and_by_tenant() {
    let (blue, green) = two();
    let lines = "testers: {headers: [{name: x-preview, value: me}], tenants: [tenant-3]}";
    let site = Tracks::of(&blue, &green).site(&shift("Paused", "0%", lines));
    let mut client = site.client();
    client.get_with("/", "X-Preview: me\r\n").assert_ok("green");
    client.get_with("/", "X-Preview: you\r\n").assert_ok("blue");
    client.get_with("/", &tenant(3)).assert_ok("green");
    client.get_with("/", &tenant(4)).assert_ok("blue");
    let said = site.json("/explain?host=a&path=/&header=x-tenant:tenant-3");
    assert_eq!((&said["track"], &said["shift"]["by"]), (&"green".into(), &"tester".into()), "{said}");
}

#[test]
fn requests_go_by_themselves_where_the_shift_says_so() {
    let (blue, green) = two();
    let site = Tracks::of(&blue, &green).site(&shift("Running", "50%", "by: request"));
    let mut client = site.client();
    let tracks: Vec<_> = (0..300).map(|_| client.get_with("/", &tenant(1)).text()).collect();
    let moved = tracks.iter().filter(|track| *track == "green").count();
    // Nine times the standard deviation of a fair draw.
    assert!((72..=228).contains(&moved), "{moved}");
}

#[test]
fn explain_says_which_track_and_why() {
    let (blue, green) = two();
    let site = Tracks::of(&blue, &green).site(&running("30%"));
    let mut client = site.client();
    for number in 0..20 {
        let said = site.json(&format!("/explain?host=a&path=/&header=x-tenant:tenant-{number}"));
        client.get_with("/", &tenant(number)).assert_ok(said["track"].as_str().unwrap());
        let shift = &said["shift"];
        assert_eq!((&shift["shift"], &shift["share"], &shift["by"]), (&"move".into(), &"30%".into(), &"tenant".into()));
        let is_green = said["track"] == "green";
        assert_eq!(shift["rank"].as_f64().unwrap() < 30.0, is_green, "{said}");
        assert!(said["why"].to_string().contains("shift move has 30% of the tenants on green"), "{said}");
    }
}

#[test]
fn the_track_in_use_needs_no_shift() {
    let (blue, green) = two();
    let site = Tracks::of(&blue, &green).builder().start();
    site.get("/").assert_ok("blue");
    site.edit("active: blue", "active: green");
    site.get("/").assert_ok("green");
    assert_eq!(site.json("/explain?host=a&path=/")["track"], "green");
    assert!(site.metric("gridrouter_upstream_requests_total{group=\"all/one/green\",status=\"2xx\"}") >= 1.0);
    assert_eq!(site.json("/tracks")["shifts"], serde_json::json!([]));
}

#[test]
fn a_route_without_a_grid_goes_to_the_track_in_use() {
    let (blue, green) = two();
    let site = Site::builder()
        .document(&format!(
            "kind: Service\nname: all\nendpoints: {{blue: [{{address: {}}}], green: [{{address: {}}}], active: green}}",
            blue.address(),
            green.address()
        ))
        .route("")
        .start();
    site.get("/").assert_ok("green");
}

#[test]
fn shifts_that_have_ended_move_nothing() {
    let (blue, green) = two();
    let tracks = Tracks::of(&blue, &green);
    for phase in ["Pending", "Succeeded", "Aborted", "Failed", "RolledBack"] {
        let site = tracks.site(&shift(phase, "100%", "testers: {tenants: [tenant-0]}"));
        site.get_with("/", &tenant(0)).assert_ok("blue");
        assert_eq!(site.json("/tracks")["shifts"], serde_json::json!([]), "{phase}");
    }
}

#[test]
fn a_track_without_an_endpoint_is_not_replaced_silently() {
    let (blue, green) = two();
    let tracks = Tracks { green_is: ", down: true", ..Tracks::of(&blue, &green) };
    let site = tracks.site(&running("100%"));
    site.get("/").assert_reject(503, "no_endpoint_available");
    assert_eq!((blue.connections(), green.connections()), (0, 0));
    let said = site.json("/explain?host=a&path=/");
    assert_eq!((&said["track"], &said["endpoint"]), (&"green".into(), &serde_json::Value::Null));
}

#[test]
fn a_track_without_an_endpoint_falls_back_where_that_is_allowed() {
    let (blue, green) = two();
    let tracks = Tracks { green_is: ", down: true", ..Tracks::of(&blue, &green) };
    let site = tracks.site(&shift("Running", "100%", "onNoEndpoint: fallback"));
    for _ in 0..3 {
        site.get("/").assert_ok("blue");
    }
    assert_eq!(site.json("/explain?host=a&path=/")["track"], "blue");
    eventually("all is counted", || site.json("/tracks")["shifts"][0]["tracks"]["blue"]["requests"] == 3);
    let tracks = site.json("/tracks")["shifts"][0]["tracks"].clone();
    assert_eq!((&tracks["green"]["fallbacks"], &tracks["green"]["requests"]), (&3.into(), &0.into()));
    assert_eq!((&tracks["blue"]["fallbacks"], &tracks["blue"]["failed"]), (&0.into(), &0.into()));
}

#[test]
fn the_old_track_falls_back_too_and_both_may_be_down() {
    let (blue, green) = two();
    let fallback = shift("Running", "0%", "onNoEndpoint: fallback");
    let tracks = Tracks { blue_is: ", down: true", ..Tracks::of(&blue, &green) };
    tracks.site(&fallback).get("/").assert_ok("green");
    let tracks = Tracks { green_is: ", down: true", ..tracks };
    let site = tracks.site(&fallback);
    site.get("/").assert_reject(503, "no_endpoint_available");
    // A request is counted when the last byte of its answer has been handed over.
    eventually("it is counted", || site.json("/tracks")["shifts"][0]["tracks"]["blue"]["failed"] == 1);
    assert_eq!(site.json("/tracks")["shifts"][0]["tracks"]["blue"]["fallbacks"], 0);
}

/// A request whose endpoint cannot be reached is sent to another one of its track. That there is none is told, unless the
/// shift allows the other track.
#[test]
fn a_retry_stays_on_its_track() {
    let (blue, green) = two();
    let tracks = Tracks { green: closed_port(), ..Tracks::of(&blue, &green) };
    let site = tracks.site(&running("100%"));
    for _ in 0..2 {
        site.get("/").assert_reject(502, "upstream_connect_failed");
    }
    assert_eq!(blue.connections(), 0);
    let site = tracks.site(&shift("Running", "100%", "onNoEndpoint: fallback"));
    for _ in 0..2 {
        site.get("/").assert_ok("blue");
        site.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").assert_ok("blue");
    }
    eventually("all is counted", || site.json("/tracks")["shifts"][0]["tracks"]["blue"]["requests"] == 4);
    let on_green = site.json("/tracks")["shifts"][0]["tracks"]["green"].clone();
    assert_eq!(
        (&on_green["requests"], &on_green["fallbacks"], &on_green["inFlight"]),
        (&0.into(), &4.into(), &0.into())
    );
    let group = "gridrouter_upstream_requests_total{group=\"all/one/blue\",status=\"2xx\"} 4\n";
    assert!(site.admin("/metrics").text().contains(group));
}

/// What an endpoint took is not sent to the other track, even if that is allowed: both might do it.
#[test]
fn a_request_that_was_sent_is_not_sent_again_on_the_other_track() {
    let blue = Upstream::ok("blue");
    let green = Upstream::scripted(|peer| {
        peer.request();
    });
    let site = Tracks::of(&blue, &green).site(&shift("Running", "100%", "onNoEndpoint: fallback"));
    site.get("/").assert_reject(502, "upstream_closed");
    assert_eq!(blue.connections(), 0);
}

#[test]
fn a_retry_finds_another_endpoint_of_its_track() {
    let (blue, green) = two();
    let extra = format!("}}, {{address: {}", closed_port());
    let tracks = Tracks { green_is: Box::leak(extra.into_boxed_str()), ..Tracks::of(&blue, &green) };
    let site = tracks.site(&running("100%"));
    for _ in 0..10 {
        site.get("/").assert_ok("green");
    }
}

/// A request that has to wait for its turn keeps the track that it was given, also where that changes meanwhile.
#[test]
fn a_request_that_waits_keeps_its_track() {
    let (blue, green) = two();
    let documents = Tracks::of(&blue, &green).builder().document(&running("0%"));
    let slow = "kind: Limit\nname: slow\nleakyBucketQueue: {rate: 20/m, maxQueueing: 60s}";
    let site = documents.document(slow).start();
    site.edit("grid: grid\n---", "grid: grid\nlimits: [slow]\n---");
    let mut first = site.client();
    first.get_with("/", &tenant(1)).assert_ok("blue");
    let mut waiting = site.client();
    waiting.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", tenant(1)));
    eventually("it waits", || site.metric("gridrouter_limit_queue_depth{limit=\"slow\",values=\"live\"}") >= 1.0);
    site.edit("one: 0%", "one: 100%");
    waiting.answer().assert_ok("blue");
    first.get_with("/", &tenant(1)).assert_ok("green");
}
