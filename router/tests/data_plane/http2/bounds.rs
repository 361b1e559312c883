//! What clients may make the router do beside answering requests: it is bounded, and who goes too far is told to calm down.

use std::time::{Duration, Instant};

use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, frame, get,
};
use crate::support::{PATIENCE, Site, Upstream, assert_fired, eventually};

const ENHANCE_YOUR_CALM: u32 = 11;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// A name, and the frame to send the n-th time.
type Flood = (&'static str, Box<dyn Fn(u32) -> Vec<u8>>);

/// Sends a frame again and again, at most so often. Returns the code with which the connection ends, and after how many.
fn flood(site: &Site, one: impl Fn(u32) -> Vec<u8>, most: u32) -> Option<u32> {
    let mut raw = Raw::connect(site.address());
    let mut reader = Raw { stream: raw.stream.try_clone().unwrap() };
    let reading = std::thread::spawn(move || reader.next_of(&[GOAWAY]));
    for n in 0..most {
        if !raw.try_send(&one(n)) {
            break;
        }
    }
    // Who goes on for ever is not waited for.
    let _shut: std::io::Result<()> = raw.stream.shutdown(std::net::Shutdown::Write);
    reading.join().unwrap().and_then(|frame| frame.code())
}

#[test]
fn floods_of_frames_that_ask_for_nothing_end_the_connection() {
    let upstream = Upstream::ok("fine");
    let site = Site::of(&upstream);
    let stream = |n: u32| 2 * n + 1;
    let floods: [Flood; 6] = [
        ("PING", Box::new(|_| frame(PING, 0, 0, &[0; 8]))),
        ("SETTINGS", Box::new(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]))),
        ("PRIORITY", Box::new(move |n| frame(PRIORITY, 0, stream(n % 100), &[0, 0, 0, 0, 7]))),
        ("WINDOW_UPDATE", Box::new(|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        ("unknown frames", Box::new(|_| frame(99, 0, 0, b"x"))),
        (
            "rapid reset",
            Box::new(move |n| {
                let asks = frame(HEADERS, END_HEADERS | END_STREAM, stream(n), &get("/", &[]));
                [asks, frame(RST_STREAM, 0, stream(n), &[0, 0, 0, 8])].concat()
            }),
        ),
    ];
    for (what, one) in floods {
        assert_eq!(flood(&site, one, 100_000), Some(ENHANCE_YOUR_CALM), "{what}");
    }
    // An endless list of fields, and pieces of a body that say nothing: the h2 crate's own bounds.
    let list = |n: u32| match n {
        0 => frame(HEADERS, END_STREAM, 1, &get("/", &[])),
        _ => frame(CONTINUATION, 0, 1, &[]),
    };
    assert_eq!(flood(&site, list, 100_000), Some(ENHANCE_YOUR_CALM), "CONTINUATION");
    let pieces = |n: u32| match n {
        0 => frame(HEADERS, END_HEADERS, 1, &get("/", &[])),
        _ => frame(DATA, 0, 1, &[]),
    };
    assert_eq!(flood(&site, pieces, 100_000), Some(ENHANCE_YOUR_CALM), "empty DATA");
    assert!(site.count("gridrouter_http2_floods_total") >= 4, "the h2 crate finds the others first");
    assert_eq!(Raw::connect(site.address()).ask(1, &get("/", &[])).status(), 200);
}

#[test]
fn requests_that_the_router_has_to_take_back_are_counted_like_those_that_clients_do() {
    let upstream = Upstream::scripted(|peer| {
        if peer.request().is_some() {
            peer.ending();
        }
    });
    let site = Site::of(&upstream);
    let mut raw = Raw::connect(site.address());
    // The h2 crate would bear a thousand.
    let ended = (0..600).find_map(|n: u32| {
        let stream = 2 * n + 1;
        raw.ask(stream, &get("/", &[]));
        // More room than there may be, which is wrong on this stream alone.
        raw.try_send(&frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]));
        raw.next_of(&[RST_STREAM, GOAWAY]).filter(|frame| frame.kind == GOAWAY)
    });
    assert_eq!(ended.unwrap().code(), Some(ENHANCE_YOUR_CALM));
    assert_eq!(site.count("gridrouter_http2_floods_total"), 1);
}

/// A page that is left takes its requests back, most of them before their turn has come. That is no attack.
#[test]
fn who_takes_back_some_of_many_requests_has_the_others_answered() {
    let upstream = Upstream::ok("fine");
    let site = Site::of(&upstream);
    let mut raw = Raw::connect(site.address());
    let streams = (0..100).map(|n: u32| 2 * n + 1);
    let asks = streams.clone().flat_map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("/", &[])));
    let is_taken_back = |stream: &u32| stream % 5 < 2;
    let takes_back =
        streams.clone().filter(is_taken_back).flat_map(|stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    raw.send(&asks.chain(takes_back).collect::<Vec<_>>());
    let mut waits: Vec<u32> = streams.filter(|stream| !is_taken_back(stream)).collect();
    while !waits.is_empty() {
        let answer = raw.next_of(&[HEADERS, GOAWAY]).unwrap();
        assert_eq!(answer.kind, HEADERS, "{:?}, {} wait", answer.code(), waits.len());
        // Those that were taken back may have been answered before.
        waits.retain(|stream| *stream != answer.stream);
    }
}

#[test]
fn who_makes_room_for_one_byte_at_a_time_is_sent_away() {
    let upstream = Upstream::scripted(|peer| {
        if peer.request().is_some() {
            peer.ok(&"y".repeat(100_000));
        }
    });
    let site = Site::of(&upstream);
    let mut raw = Raw::connect(site.address());
    raw.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    raw.ask(1, &get("/", &[]));
    let mut frames = 0;
    let ended = loop {
        let more = [frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])].concat();
        if !raw.try_send(&more) {
            break None;
        }
        match raw.next_of(&[DATA, GOAWAY]).unwrap() {
            sent if sent.kind == DATA => frames += 1,
            ended => break ended.code(),
        }
    };
    assert_eq!(ended, Some(ENHANCE_YOUR_CALM), "after {frames} frames");
    assert!(frames < 20_000, "{frames}");
}

/// Few bytes that stand for many: each refers to a long field in the table.
#[test]
fn a_list_that_grows_when_it_is_unpacked_is_refused() {
    let upstream = Upstream::ok("fine");
    let site = Site::of(&upstream);
    let mut list = get("/", &[]);
    // A field of 3,900 bytes goes to the table, and then is named 10,000 times.
    list.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0xbd, 0x1d]);
    list.extend_from_slice(&[b'y'; 3_900]);
    list.extend_from_slice(&[0x80 + 62; 10_000]);
    let mut raw = Raw::connect(site.address());
    raw.ask(1, &list);
    assert_eq!(raw.next_of(&[HEADERS, GOAWAY]).unwrap().code(), Some(ENHANCE_YOUR_CALM));
    upstream.assert_untouched();
}

#[test]
fn a_list_that_never_ends_is_given_the_time_of_a_head() {
    let upstream = Upstream::ok("fine");
    let site = Site::to(&upstream).listener("timeouts: {head: 400ms}").route("").start();
    for half in [
        frame(HEADERS, END_STREAM, 1, &get("/", &[])),
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &get("/", &[]))[..20].to_vec(),
    ] {
        let mut raw = Raw::connect(site.address());
        raw.send(&half);
        let began = Instant::now();
        assert_eq!(raw.next_of(&[GOAWAY]).unwrap().code(), Some(ENHANCE_YOUR_CALM));
        assert_fired(began, Duration::from_millis(400));
        assert!(raw.ends_within(PATIENCE));
    }
    upstream.assert_untouched();
    // Nor has one that begins like HTTP/2 more time than a head of HTTP/1.1.
    let mut raw = Raw::silent(site.address());
    raw.send(b"PRI * HTTP/2.0\r\n\r\nSM");
    assert!(raw.ends_within(PATIENCE));
}

#[test]
fn idle_connections_end() {
    let upstream = Upstream::ok("fine");
    let site = Site::to(&upstream).listener("timeouts: {idle: 300ms}").route("").start();
    let mut raw = Raw::connect(site.address());
    assert_eq!(raw.ask(1, &get("/", &[])).status(), 200);
    let began = Instant::now();
    assert_eq!(raw.next_of(&[GOAWAY]).unwrap().code(), Some(0));
    assert_fired(began, Duration::from_millis(300));
    assert!(raw.ends_within(PATIENCE));
    // So do those that say nothing behind the preface, and those that say nothing at all.
    assert!(Raw::connect(site.address()).ends_within(PATIENCE));
    assert!(Raw::silent(site.address()).ends_within(PATIENCE));
    let idle = || site.count("gridrouter_connections_closed_total{reason=\"idle\"}");
    eventually("they are counted as idle", || idle() == 3);
}

#[test]
fn answers_that_nobody_takes_are_cut() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let site = Site::to(&upstream).listener("timeouts: {bodyWrite: 300ms}").route("").start();
    // A window of nothing.
    let mut raw = Raw::connect_with(site.address(), &[0, 4, 0, 0, 0, 0]);
    let began = Instant::now();
    assert_eq!(raw.ask(1, &get("/", &[])).status(), 200);
    let cut = raw.next_of(&[DATA, RST_STREAM]).unwrap();
    assert_eq!((cut.kind, cut.code()), (RST_STREAM, Some(CANCEL)));
    assert_fired(began, Duration::from_millis(300));
    // Who takes it after a while gets it.
    raw.ask(3, &get("/", &[]));
    assert_eq!(raw.status(), 200);
    raw.send(&frame(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 5]));
    assert_eq!(raw.next_of(&[DATA]).unwrap().payload, b"hello");
}

#[test]
fn uploads_that_do_not_come_are_given_up() {
    let upstream = Upstream::ok("fine");
    let site = Site::to(&upstream).listener("timeouts: {bodyRead: 300ms}").route("").start();
    let mut raw = Raw::connect(site.address());
    let began = Instant::now();
    raw.send(&frame(HEADERS, END_HEADERS, 1, &get("/", &[])));
    assert_eq!(raw.status(), 408);
    assert_fired(began, Duration::from_millis(300));
}

#[test]
fn streams_above_the_bound_are_refused() {
    let upstream = Upstream::scripted(|peer| {
        if peer.request().is_some() {
            peer.ending();
        }
    });
    let site = Site::to(&upstream).listener("http2: {maxStreams: 3}").route("").start();
    let mut raw = Raw::connect(site.address());
    for stream in [1, 3, 5, 7] {
        raw.ask(stream, &get("/", &[]));
    }
    let refused = raw.next_of(&[RST_STREAM]).unwrap();
    assert_eq!((refused.stream, refused.code()), (7, Some(REFUSED_STREAM)));
    eventually("three are passed on", || upstream.connections() == 3);
}

/// They are kept for as long as their requests are answered: all of a connection together have a bound, too. Who is turned away
/// was not looked at, and may come again.
#[test]
fn heads_of_requests_under_way_have_a_bound_together() {
    let upstream = Upstream::scripted(|peer| {
        if peer.request().is_some() {
            peer.ending();
        }
    });
    let site = Site::to(&upstream).listener("http2: {maxStreams: 30}").route("").start();
    let mut raw = Raw::connect(site.address());
    let large = get("/", &[("x", &"y".repeat(11_000))]);
    // 30 times 1.5 KiB.
    for stream in [1, 3, 5, 7, 9] {
        raw.ask(stream, &large);
    }
    let refused = raw.next_of(&[RST_STREAM]).unwrap();
    assert_eq!((refused.stream, refused.code()), (9, Some(REFUSED_STREAM)));
    // Small ones have room between them.
    raw.ask(11, &get("/", &[]));
    (0..5).for_each(|_| drop(upstream.received()));
    raw.send(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    let mut stream = 11;
    eventually("there is room again", || {
        stream += 2;
        raw.ask(stream, &large);
        !upstream.drain().is_empty()
    });
}

#[test]
fn it_can_be_turned_off() {
    let upstream = Upstream::ok("fine");
    let site = Site::to(&upstream).listener("http2: {enabled: false}").route("").start();
    site.exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").assert_reject(400, "malformed_request");
    // Nor is it begun behind a request.
    let site = Site::of(&upstream);
    let mut client = site.client();
    client.get("/").assert_ok("fine");
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").answer().assert_reject(400, "malformed_request");
}

/// What the router itself answers by its own accord pays for nothing: a client that waits for each answer goes too far as well.
#[test]
fn pings_in_turns_are_a_flood_too() {
    let upstream = Upstream::ok("fine");
    let site = Site::of(&upstream);
    let mut raw = Raw::connect(site.address());
    let four = frame(PING, 0, 0, &[7; 8]).repeat(4);
    let ended = (0..10_000).find_map(|_| {
        raw.try_send(&four);
        (0..4).find(|_| raw.next_of(&[PING, GOAWAY]).is_none_or(|frame| frame.kind == GOAWAY)).map(drop)
    });
    assert_eq!(ended, Some(()));
}

/// A client that was told to leave may have asked before it heard of that.
#[test]
fn what_comes_with_the_goodbye_is_answered() {
    let upstream = Upstream::scripted(|peer| {
        if peer.request().is_some() {
            // Longer than a client has that has nothing on its way.
            std::thread::park_timeout(Duration::from_secs(3));
            peer.ok("late");
        }
    });
    let site = Site::to(&upstream).listener("timeouts: {idle: 300ms}").route("").start();
    let mut raw = Raw::connect(site.address());
    assert_eq!(raw.next_of(&[GOAWAY]).unwrap().code(), Some(0));
    raw.ask(1, &get("/", &[]));
    assert_eq!(raw.status(), 200);
    assert_eq!(raw.next_of(&[DATA]).unwrap().payload, b"late");
}

/// A router that stops says so at once, also to a client that waits for an answer and says nothing.
#[test]
fn who_waits_is_told_to_leave() {
    let upstream = Upstream::scripted(|peer| {
        if peer.request().is_some() {
            peer.ending();
        }
    });
    let site = Site::to(&upstream).route("").drain(PATIENCE).start();
    let mut raw = Raw::connect(site.address());
    raw.ask(1, &get("/", &[]));
    upstream.received();
    let stopping = std::thread::spawn(move || site.stop());
    assert_eq!(raw.next_of(&[GOAWAY]).unwrap().code(), Some(0));
    drop(raw);
    stopping.join().unwrap();
}
