//! Copies of requests to the old track, and what the answers to them are compared with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gridrouter_config::track::Track;
use gridrouter_config::tracks::Tracks as Told;
use gridrouter_config::tracks::mirror::{Bodies, MirrorCounts};

use super::super::support::{Site, Upstream, closed_port, eventually};
use super::{Tracks, running, shift, tenant};

/// Copies that one thread has in flight at the most.
const MOST: u64 = 64;

/// A shift that has moved nothing and copies everything.
fn mirroring(lines: &str) -> String {
    shift("Running", "0%", &format!("mirror: {{share: 100%{lines}}}"))
}

fn told(site: &Site) -> MirrorCounts {
    let mut told: Told = serde_json::from_value(site.json("/tracks")).unwrap();
    told.shifts.remove(0).mirror.unwrap()
}

/// The counts once no copy is in flight, and so many were compared or have failed.
#[track_caller]
fn settled(site: &Site, over: u64) -> MirrorCounts {
    let is_over = |counts: &MirrorCounts| counts.in_flight == 0 && counts.compared + counts.failed >= over;
    eventually("all copies are over", || is_over(&told(site)));
    told(site)
}

fn numbers(counts: &MirrorCounts) -> [u64; 6] {
    let MirrorCounts { copies, dropped, failed, compared, status_differs, bodies_differ, .. } = counts;
    [*copies, *dropped, *failed, *compared, *status_differs, *bodies_differ]
}

/// One that takes requests and answers none of them until it is let go.
fn holding() -> (Upstream, Arc<AtomicBool>) {
    let let_go = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&let_go);
    let upstream = Upstream::scripted(move |peer| {
        while peer.request().is_some() {
            while !seen.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            peer.ok("green");
        }
    });
    (upstream, let_go)
}

#[test]
fn clients_never_wait_for_a_copy_and_copies_in_flight_are_bounded() {
    let (blue, (green, let_go)) = (Upstream::ok("blue"), holding());
    let site = Tracks::of(&blue, &green).site(&mirroring(""));
    let mut client = site.client();
    for number in 0..100 {
        client.get_with("/", &tenant(number)).assert_ok("blue");
    }
    // No copy has ever been answered.
    let counts = told(&site);
    assert_eq!(numbers(&counts), [MOST, 100 - MOST, 0, 0, 0, 0]);
    assert_eq!((counts.in_flight, counts.differences.len()), (MOST, 0));
    assert_eq!(blue.connections(), 1, "copies take no connection of requests");
    for _ in 0..MOST {
        green.received();
    }
    green.assert_untouched();
    assert_eq!(green.connections() as u64, MOST);
    // There is room again once they are answered.
    let_go.store(true, Ordering::Relaxed);
    assert_eq!(numbers(&settled(&site, MOST)), [MOST, 100 - MOST, 0, MOST, 0, 0]);
    client.get("/").assert_ok("blue");
    assert_eq!(numbers(&settled(&site, MOST + 1)), [MOST + 1, 100 - MOST, 0, MOST + 1, 0, 0]);
}

#[test]
fn whatever_a_copy_meets_clients_are_answered_by_the_old_track() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    fails(&Tracks { green: closed_port(), ..Tracks::of(&blue, &green) }, "upstream_connect_failed");
    fails(&Tracks { green_is: ", down: true", ..Tracks::of(&blue, &green) }, "no_endpoint_available");
    fails(&Tracks::of(&blue, &Upstream::answering("nonsense\r\n\r\n")), "upstream_protocol_error");
    let closing = Upstream::scripted(|peer| {
        peer.request();
    });
    fails(&Tracks::of(&blue, &closing), "upstream_closed");
}

#[track_caller]
fn fails(tracks: &Tracks, code: &str) {
    let site = tracks.site(&mirroring(", bodies: 100%"));
    let mut client = site.client();
    for _ in 0..10 {
        client.get("/").assert_ok("blue");
    }
    let counts = settled(&site, 10);
    assert_eq!(numbers(&counts), [10, 0, 10, 0, 0, 0], "{code}");
    assert_eq!(counts.differences.len(), 10, "{code}");
    for difference in &counts.differences {
        assert_eq!(difference.failure.as_deref(), Some(code), "{code}");
        assert_eq!((difference.old_status, difference.new_status), (200, None), "{code}");
    }
    let told = || serde_json::from_value::<Told>(site.json("/tracks")).unwrap();
    // A copy that cannot be sent may be over before the request is.
    eventually("all are counted", || told().shifts[0].tracks[&Track::Blue].requests == 10);
    let told = told();
    let tracks = &told.shifts[0].tracks;
    assert_eq!((tracks[&Track::Blue].requests, tracks[&Track::Blue].failed), (10, 0), "{code}");
    assert_eq!((tracks[&Track::Green].requests, tracks[&Track::Green].failed), (0, 0), "{code}");
}

#[test]
fn copies_are_counted_exactly_and_alike_answers_make_no_difference() {
    let blue = Upstream::ok("the same");
    let green =
        Upstream::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nthe \r\n4\r\nsame\r\n0\r\n\r\n");
    let site = Tracks::of(&blue, &green).builder().document(&mirroring(", bodies: 100%")).threads(2).start();
    let mut client = site.client();
    for number in 1..=20 {
        client.get_with("/", &tenant(number)).assert_ok("the same");
        settled(&site, number as u64);
    }
    let counts = settled(&site, 20);
    assert_eq!(numbers(&counts), [20, 0, 0, 20, 0, 0]);
    assert_eq!((counts.bodies_compared, counts.differences.len()), (20, 0));
    assert_eq!((counts.old_latency_micros.total(), counts.new_latency_micros.total()), (20, 20));
    assert_eq!(green.connections(), 1, "copies use their connections again");
    for (series, wanted) in [
        ("mirror_copies_total{shift=\"move\",cell=\"one\"}", 20.0),
        ("mirror_compared_total{shift=\"move\",cell=\"one\"}", 20.0),
        ("mirror_bodies_compared_total{shift=\"move\",cell=\"one\"}", 20.0),
        ("mirror_copies_in_flight{shift=\"move\",cell=\"one\"}", 0.0),
        ("mirror_response_seconds_count{shift=\"move\",cell=\"one\",track=\"blue\"}", 20.0),
        ("mirror_response_seconds_count{shift=\"move\",cell=\"one\",track=\"green\"}", 20.0),
        ("track_requests_total{shift=\"move\",cell=\"one\",track=\"green\"}", 0.0),
    ] {
        let value = site.metric(&format!("gridrouter_{series}"));
        assert!((value - wanted).abs() < 0.1, "{series} {value}");
    }
}

#[test]
fn differences_say_what_differed() {
    let blue = Upstream::ok("blue body");
    let green = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            if request.first.contains("/gone") {
                peer.send("HTTP/1.1 404 Gone\r\ncontent-length: 2\r\n\r\nno");
            } else {
                peer.ok("green body");
            }
        }
    });
    let site = Tracks::of(&blue, &green).site(&mirroring(", bodies: 100%"));
    let mut client = site.client();
    client.get_with("/gone?x=1", &tenant(7)).assert_ok("blue body");
    settled(&site, 1);
    client.get_with("/there", &tenant(8)).assert_ok("blue body");
    let counts = settled(&site, 2);
    assert_eq!(numbers(&counts), [2, 0, 0, 2, 1, 1]);
    let [gone, there] = &counts.differences[..] else { panic!("{:?}", counts.differences) };
    let request = |path: &str, tenant: &str| ("all", "GET", path.to_owned(), Some(tenant.to_owned()));
    let of = |one: &gridrouter_config::tracks::mirror::Difference| {
        assert_eq!(one.route, "all");
        assert_eq!(one.method, "GET");
        assert!(one.at > 1_500_000_000_000 && one.old_micros.is_some() && one.new_micros.is_some());
        ("all", "GET", one.path.clone(), one.tenant.clone())
    };
    assert_eq!(of(gone), request("/gone?x=1", "tenant-7"));
    assert_eq!((gone.old_status, gone.new_status, gone.bodies), (200, Some(404), Bodies::NotCompared));
    assert_eq!((gone.old_length, gone.new_length), (None, None));
    assert_eq!(of(there), request("/there", "tenant-8"));
    assert_eq!((there.old_status, there.new_status, there.bodies), (200, Some(200), Bodies::Differ));
    assert_eq!((there.old_length, there.new_length), (Some(9), Some(10)));
    assert_eq!(Some(gone.request_id.as_str()), blue.received().header("x-request-id"));
    assert_eq!(Some(there.request_id.as_str()), blue.received().header("x-request-id"));
}

#[test]
fn the_latest_hundred_differences_are_kept() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::answering("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"));
    let site = Tracks::of(&blue, &green).site(&mirroring(""));
    let mut client = site.client();
    for number in 1..=130 {
        client.get(&format!("/{number}")).assert_ok("blue");
        settled(&site, number);
    }
    let counts = settled(&site, 130);
    assert_eq!(numbers(&counts), [130, 0, 0, 130, 130, 0]);
    let paths: Vec<&str> = counts.differences.iter().map(|one| one.path.as_str()).collect();
    let wanted: Vec<String> = (31..=130).map(|number| format!("/{number}")).collect();
    assert_eq!(paths, wanted);
}

#[test]
fn a_copy_is_the_request_as_it_was_sent_and_says_that_it_is_one() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    let site = Tracks::of(&blue, &green).site(&mirroring(""));
    site.get_with("/a%20b?c=d", "X-Tenant: t\r\nX-GridRouter-Mirror: 7\r\nX_GridRouter_Mirror: 8\r\nX-Own: 1\r\n");
    let (request, copy) = (blue.received(), green.received());
    assert_eq!(request.header("x-gridrouter-mirror"), None, "a client must not say so");
    assert_eq!(copy.header("x-gridrouter-mirror"), Some("1"));
    assert_eq!(request.first, copy.first);
    assert_eq!(request.header("x-request-id"), copy.header("x-request-id"));
    let lines: Vec<String> = copy.sorted().into_iter().filter(|line| line != "x-gridrouter-mirror: 1").collect();
    assert_eq!(request.sorted(), lines);
    assert!(!lines.iter().any(|line| line.contains("irror")), "{lines:?}");
}

#[test]
fn a_copy_is_not_copied_by_the_next_router() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    let site =
        Tracks::of(&blue, &green).builder().listener("trustedProxies: [127.0.0.0/8]").document(&mirroring("")).start();
    site.get_with("/", "X-GridRouter-Mirror: 1\r\n").assert_ok("blue");
    assert_eq!(blue.received().header("x-gridrouter-mirror"), Some("1"));
    green.assert_untouched();
}

#[test]
fn only_methods_that_are_named_are_copied() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    let tracks = Tracks::of(&blue, &green);
    let site = tracks.site(&mirroring(", bodies: 100%"));
    let mut client = site.client();
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        client.send(request).answer().assert_ok("blue");
    }
    green.assert_untouched();
    assert_eq!(told(&site), MirrorCounts::default());
    let site = tracks.site(&mirroring(", methods: [DELETE]"));
    let mut client = site.client();
    client.get("/").assert_ok("blue");
    client.send("DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n").answer().assert_ok("blue");
    assert!(green.received().first.starts_with("DELETE /x "));
    green.assert_untouched();
}

#[test]
fn a_body_is_copied_when_it_has_come_unless_it_is_too_long() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    let site = Tracks::of(&blue, &green).site(&mirroring(", methods: [GET, POST], maxRequestBody: 8B"));
    let mut client = site.client();
    let post = |rest: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}");
    let chunked = |chunks: &str| post(&format!("Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"));
    for (request, body) in [
        (post("Content-Length: 0\r\n\r\n"), Some("")),
        (post("Content-Length: 8\r\n\r\n12345678"), Some("12345678")),
        (post("Content-Length: 9\r\n\r\n123456789"), None),
        (chunked("3\r\nabc\r\n2\r\nde\r\n"), Some("abcde")),
        (chunked("8\r\n12345678\r\n1\r\n9\r\n"), None),
        (chunked(""), Some("")),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".to_owned(), Some("hi")),
    ] {
        let before = told(&site);
        client.send(&request).answer().assert_ok("blue");
        let sent = blue.received();
        let Some(body) = body else {
            eventually("it is dropped", || told(&site).dropped == before.dropped + 1);
            assert_eq!(told(&site).copies, before.copies, "{request}");
            continue;
        };
        let copy = green.received();
        assert_eq!((copy.first.as_str(), copy.body.as_slice()), (sent.first.as_str(), body.as_bytes()), "{request}");
        assert_eq!(copy.header("transfer-encoding"), None, "{request}");
        assert_eq!(copy.header("content-length"), Some(body.len().to_string().as_str()), "{request}");
        assert_eq!(settled(&site, before.compared + 1).dropped, before.dropped, "{request}");
    }
    green.assert_untouched();
}

#[test]
fn a_body_that_breaks_off_is_not_copied_and_leaves_room_for_the_next() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    let site = Tracks::of(&blue, &green).site(&mirroring(", methods: [POST], maxRequestBody: 1MiB"));
    // Four of these are all that a thread keeps at one time.
    for round in 1..=6 {
        let mut client = site.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhi");
        drop(client);
        eventually("it is dropped", || told(&site).dropped == round);
    }
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    site.client().send(post).answer().assert_ok("blue");
    assert_eq!(green.received().body, b"hi");
    assert_eq!(numbers(&settled(&site, 1)), [1, 6, 0, 1, 0, 0]);
    // Those whose bodies are on their way hold the room.
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let mut client = site.client();
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhi");
            client
        })
        .collect();
    eventually("all are on their way", || blue.connections() >= 5);
    site.client().send(post).answer().assert_ok("blue");
    assert_eq!(numbers(&told(&site)), [1, 7, 0, 1, 0, 0]);
    drop(waiting);
    eventually("their room is given back", || told(&site).dropped == 11);
    site.client().send(post).answer().assert_ok("blue");
    assert_eq!(numbers(&settled(&site, 2)), [2, 11, 0, 2, 0, 0]);
}

#[test]
fn copies_are_made_only_of_the_old_tracks_requests_while_the_shift_is_under_way() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    let mirror = "mirror: {share: 100%}";
    let tracks = Tracks::of(&blue, &green);
    for (phase, share, mirror, answer, copied) in [
        ("Running", "0%", mirror, "blue", true),
        ("Paused", "0%", mirror, "blue", true),
        ("Running", "0%", "mirror: {share: 0%}", "blue", false),
        ("Running", "0%", "", "blue", false),
        ("RollingBack", "0%", mirror, "blue", false),
        ("Aborted", "0%", mirror, "blue", false),
        ("Running", "100%", mirror, "green", false),
    ] {
        let site = tracks.site(&shift(phase, share, mirror));
        site.get("/").assert_ok(answer);
        blue.drain();
        if copied {
            assert_eq!(green.received().header("x-gridrouter-mirror"), Some("1"), "{phase} {share}");
            continue;
        }
        let copies = |message: &super::super::support::Message| message.header("x-gridrouter-mirror").is_some();
        assert!(!green.drain().iter().any(copies), "{phase} {share} {mirror}");
        let said: Told = serde_json::from_value(site.json("/tracks")).unwrap();
        let copies = said.shifts.first().and_then(|shift| shift.mirror.as_ref()).map_or(0, |mirror| mirror.copies);
        assert_eq!(copies, 0, "{phase} {share} {mirror}");
    }
    let site = tracks.site(&running("0%"));
    assert!(!site.admin("/metrics").text().contains("gridrouter_mirror_copies_total{"));
}

#[test]
fn a_share_of_the_requests_is_copied() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    let site = Tracks::of(&blue, &green).site(&shift("Running", "0%", "mirror: {share: 20%}"));
    let mut client = site.client();
    for number in 0..1_000 {
        client.get_with("/", &tenant(number % 3)).assert_ok("blue");
    }
    let copies = told(&site);
    // 200 ± 12.6: eight times that is never seen.
    assert!((100..=300).contains(&(copies.copies + copies.dropped)), "{copies:?}");
}

#[test]
fn a_client_that_leaves_says_nothing_of_its_copy() {
    let blue = Upstream::scripted(|peer| {
        peer.request();
        peer.ending();
    });
    let green = Upstream::ok("green");
    let site = Tracks::of(&blue, &green).site(&mirroring(", bodies: 100%"));
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    blue.received();
    green.received();
    client.abort();
    eventually("the request is over", || {
        let said: Told = serde_json::from_value(site.json("/tracks")).unwrap();
        said.shifts[0].tracks[&Track::Blue].in_flight == 0 && told(&site).in_flight == 0
    });
    assert_eq!(numbers(&told(&site)), [1, 0, 0, 0, 0, 0]);
}

#[test]
fn streams_are_compared_by_their_heads_and_not_held_for_it() {
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n";
    let open = move || {
        Upstream::scripted(move |peer| {
            peer.request();
            peer.send(stream);
            peer.ending();
        })
    };
    let (blue, green) = (open(), open());
    let site = Tracks::of(&blue, &green).site(&mirroring(", bodies: 100%"));
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    let counts = settled(&site, 1);
    assert_eq!((numbers(&counts), counts.bodies_compared), ([1, 0, 0, 1, 0, 0], 0));
}

#[test]
fn a_bad_answer_to_a_copy_ejects_no_endpoint() {
    let (blue, green) = (Upstream::ok("blue"), Upstream::ok("green"));
    let bad = closed_port();
    let tracks = Tracks::of(&blue, &green);
    let site = tracks.builder().document(&mirroring("")).start();
    site.edit("green: [{address", &format!("green: [{{address: {bad}}}, {{address"));
    let mut client = site.client();
    for _ in 0..40 {
        client.get("/").assert_ok("blue");
    }
    let counts = settled(&site, 40);
    assert!(counts.failed > 0 && counts.compared > 0 && counts.failed + counts.compared == 40, "{counts:?}");
    // The balancer of the new track has never been asked nor told: it begins with both.
    let documents = std::fs::read_to_string(site.directory().join("documents.yaml")).unwrap();
    site.change(|| site.write("documents.yaml", &documents.replace("{one: 0%}", "{one: 100%}")));
    let explained = site.json("/explain?path=/&host=a.test").to_string();
    assert!(explained.contains("\"available\":true"), "{explained}");
    assert!(!explained.contains("\"fails\":1") && !explained.contains("\"available\":false"), "{explained}");
}
