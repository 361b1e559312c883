//! What is counted of the tracks.

use std::time::{Duration, Instant};

use gridrouter_config::track::Track;
use gridrouter_config::tracks::{TrackCounts, Tracks as Told};

use super::super::support::{PATIENCE, Site, Upstream, closed_port, eventually};
use super::{Tracks, running, shift, tenant, tracks_of};

fn told(site: &Site) -> Told {
    serde_json::from_value(site.json("/tracks")).unwrap()
}

/// The counts of blue and green, once nothing is in flight any more.
#[track_caller]
fn settled(site: &Site) -> [TrackCounts; 2] {
    let counts = || {
        let mut told = told(site);
        let tracks = &mut told.shifts[0].tracks;
        [Track::Blue, Track::Green].map(|track| tracks.remove(&track).unwrap())
    };
    eventually("nothing is in flight", || counts().iter().all(|counts| counts.in_flight == 0));
    counts()
}

#[test]
fn every_request_is_counted_once_on_its_track() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    let site = Tracks::of(&blue, &green).builder().document(&running("30%")).threads(2).start();
    let mut moved = 0;
    for _ in 0..4 {
        let tracks = tracks_of(&mut site.client(), 50);
        moved += tracks.iter().filter(|track| *track == "green").count() as u64;
    }
    let [on_blue, on_green] = settled(&site);
    assert_eq!((on_blue.requests, on_green.requests), (200 - moved, moved));
    assert_eq!((on_blue.failed, on_green.failed, on_blue.fallbacks, on_green.fallbacks), (0, 0, 0, 0));
    assert_eq!((on_blue.latency_micros.total(), on_green.latency_micros.total()), (200 - moved, moved));
    let p99 = on_green.latency_micros.quantile(0.99).unwrap();
    assert!(p99 > 0 && u128::from(p99) < PATIENCE.as_micros(), "{p99}");
    let said = told(&site);
    let one = &said.shifts[0];
    assert_eq!((said.generation, one.shift.as_str(), one.started), (1, "move", 1));
    assert_eq!((one.service.as_str(), one.cell.as_str(), one.share.as_str()), ("all", "one", "30%"));
    assert_eq!(one.to, Track::Green);
    assert!(said.router_started > 1_500_000_000_000);
    for (metric, wanted) in [
        ("requests_total{", moved),
        ("failed_requests_total{", 0),
        ("fallbacks_total{", 0),
        ("requests_in_flight{", 0),
        ("requests_leaving{", 0),
        ("response_seconds_count{", moved),
        ("response_seconds_bucket{le=\"+Inf\",", moved),
    ] {
        let series = format!("gridrouter_track_{metric}shift=\"move\",cell=\"one\",track=\"green\"}}");
        let text = site.admin("/metrics").text();
        assert!(text.contains(&format!("{series} {wanted}\n")), "{series} {wanted} in {text}");
    }
}

#[test]
fn a_shift_that_nobody_asked_for_yet_is_told_with_zeros() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    let site = Tracks::of(&blue, &green).site(&running("30%"));
    assert_eq!(settled(&site), [TrackCounts::default(), TrackCounts::default()]);
}

#[test]
fn what_the_endpoint_did_wrong_is_a_failure() {
    let blue = Upstream::ok("blue");
    let failing = [
        ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", 500),
        ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", 503),
        ("nonsense\r\n\r\n", 502),
    ];
    for (answer, status) in failing {
        let green = Upstream::answering(answer);
        let site = Tracks::of(&blue, &green).site(&running("100%"));
        assert_eq!(site.get("/").status(), status);
        let [_, on_green] = settled(&site);
        assert_eq!((on_green.requests, on_green.failed), (1, 1), "{answer}");
    }
    for answer in ["HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 429 No\r\ncontent-length: 0\r\n\r\n"] {
        let green = Upstream::answering(answer);
        let site = Tracks::of(&blue, &green).site(&running("100%"));
        site.get("/");
        let [_, on_green] = settled(&site);
        assert_eq!((on_green.requests, on_green.failed), (1, 0), "{answer}");
    }
}

#[test]
fn an_answer_that_breaks_off_and_an_endpoint_that_is_not_there_are_failures() {
    let blue = Upstream::ok("blue");
    let green = Upstream::scripted(|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    });
    let site = Tracks::of(&blue, &green).site(&running("100%"));
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    client.ending();
    let [_, on_green] = settled(&site);
    assert_eq!((on_green.requests, on_green.failed, on_green.latency_micros.total()), (1, 1, 1));
    let site = Tracks { green: closed_port(), ..Tracks::of(&blue, &green) }.site(&running("100%"));
    site.get("/").assert_reject(502, "upstream_connect_failed");
    let [_, on_green] = settled(&site);
    assert_eq!((on_green.requests, on_green.failed, on_green.latency_micros.total()), (1, 1, 0));
    let site = Tracks { green_is: ", down: true", ..Tracks::of(&blue, &green) }.site(&running("100%"));
    site.get("/").assert_reject(503, "no_endpoint_available");
    let [_, on_green] = settled(&site);
    assert_eq!((on_green.requests, on_green.failed, on_green.latency_micros.total()), (1, 1, 0));
}

#[test]
fn refusals_of_limits_and_clients_that_leave_say_nothing_of_a_track() {
    let blue = Upstream::ok("blue");
    let green = Upstream::scripted(|peer| {
        peer.request();
        peer.ending();
    });
    let limit = "kind: Limit\nname: few\ntokenBucket: {rate: 1/h, burst: 1}";
    let site = Tracks::of(&blue, &green).builder().document(&running("100%")).document(limit).start();
    site.edit("grid: grid\n---", "grid: grid\nlimits: [few]\n---");
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    green.received();
    let in_flight = told(&site).shifts[0].tracks[&Track::Green].in_flight;
    assert_eq!(in_flight, 1);
    client.abort();
    site.get("/").assert_reject(429, "limit_exceeded");
    let [on_blue, on_green] = settled(&site);
    assert_eq!((on_blue.requests, on_blue.failed, on_green.failed), (0, 0, 0));
    // On a machine that is busy enough, the client has not left soon.
    assert!(on_green.latency_micros.quantile(0.0).is_none_or(|waited| waited >= 1_000_000), "{on_green:?}");
}

/// Of a track that hangs, nothing else would ever be heard.
#[test]
fn a_client_that_gives_up_says_how_long_it_has_waited() {
    let blue = Upstream::ok("blue");
    let green = Upstream::scripted(|peer| {
        peer.request();
        peer.ending();
    });
    let site = Tracks::of(&blue, &green).site(&running("100%"));
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    green.received();
    let since = Instant::now();
    eventually("a second and more has passed", || since.elapsed() > Duration::from_millis(1_100));
    client.abort();
    let [_, on_green] = settled(&site);
    assert_eq!((on_green.requests, on_green.failed), (1, 0));
    assert!(on_green.latency_micros.quantile(0.5).is_some_and(|waited| waited >= 1_000_000), "{on_green:?}");
}

#[test]
fn counts_grow_through_a_run_and_begin_anew_with_the_next() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    let site = Tracks::of(&blue, &green).builder().start();
    for (step, share) in ["100%", "50%", "100%"].into_iter().enumerate() {
        site.change(|| site.write("shift.yaml", &running(share)));
        site.get_with("/", &tenant(1));
        let all: u64 = settled(&site).iter().map(|counts| counts.requests).sum();
        assert_eq!(all, step as u64 + 1);
    }
    // One that has ended is told for as long as its document is there.
    site.change(|| site.write("shift.yaml", &shift("Aborted", "0%", "")));
    site.get_with("/", &tenant(1)).assert_ok("blue");
    assert_eq!(settled(&site).iter().map(|counts| counts.requests).sum::<u64>(), 3);
    assert_eq!(told(&site).shifts[0].share, "0%");
    site.change(|| site.write("shift.yaml", &running("0%").replace("started: 1", "started: 2")));
    assert_eq!(settled(&site), [TrackCounts::default(), TrackCounts::default()]);
    assert_eq!(told(&site).shifts[0].started, 2);
    site.change(|| std::fs::remove_file(site.directory().join("shift.yaml")).unwrap());
    assert_eq!(told(&site).shifts, []);
}
