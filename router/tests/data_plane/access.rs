//! Who may come, how often at the same time, and with how much.

use super::support::{Client, Ending, Site, Upstream, eventually};

fn refused(site: &Site, reason: &str) -> f64 {
    site.metric(&format!("gridrouter_connections_refused_total{{reason=\"{reason}\"}}"))
}

fn live(site: &Site) -> usize {
    let threads = &site.router().shared.threads;
    threads.iter().map(|thread| thread.live.load(std::sync::atomic::Ordering::Relaxed)).sum()
}

/// Closed without a word: by a reset, where the request was on its way already.
#[track_caller]
fn assert_turned_away(mut client: Client) {
    client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let ending = client.ending();
    assert!(matches!(&ending, Ending::Closed(rest) | Ending::Reset(rest) if rest.is_empty()), "{ending:?}");
}

#[test]
fn an_address_may_have_so_many_connections_and_no_more() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).listener("clients: {maxConnections: 3}").route("").threads(2).start();
    let mut seated: Vec<_> = (0..3).map(|_| site.client()).collect();
    for client in &mut seated {
        client.get("/").assert_ok("ok");
    }
    for _ in 0..5 {
        assert_turned_away(site.client());
    }
    eventually("they are counted", || refused(&site, "too_many") > 4.5);
    // Another address has seats of its own.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&site.address().into()).unwrap();
    Client::on(socket.into()).get("/").assert_ok("ok");
    // A seat is free as soon as its connection is gone, in whatever way.
    seated.pop();
    seated.pop().unwrap().abort();
    eventually("seats are given back", || live(&site) <= 1);
    for _ in 0..2 {
        seated.push(site.client());
        seated.last_mut().unwrap().get("/").assert_ok("ok");
    }
    assert_turned_away(site.client());
    for client in &mut seated {
        client.get("/").assert_ok("ok");
    }
}

#[test]
fn a_bound_may_come_change_and_go() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).document(&listener("clients: {maxConnections: 1}")).route("").start();
    let address = || site.router().address("other").unwrap();
    let mut first = Client::connect(address());
    first.get("/").assert_ok("ok");
    assert_turned_away(Client::connect(address()));
    site.edit("maxConnections: 1", "maxConnections: 2");
    let mut second = Client::connect(address());
    second.get("/").assert_ok("ok");
    assert_turned_away(Client::connect(address()));
    site.edit("maxConnections: 2", "deny: [10.0.0.0/8]");
    Client::connect(address()).get("/").assert_ok("ok");
    first.get("/").assert_ok("ok");
    second.get("/").assert_ok("ok");
}

fn listener(lines: &str) -> String {
    format!("kind: Listener\nname: other\naddress: 127.0.0.1:0\n{lines}")
}

#[test]
fn networks_are_allowed_and_denied() {
    let upstream = Upstream::ok("ok");
    for (clients, comes) in [
        ("allow: [127.0.0.0/8]", true),
        ("allow: [10.0.0.0/8, 127.0.0.1]", true),
        ("allow: [10.0.0.0/8]", false),
        ("allow: ['::/0']", false),
        ("deny: [127.0.0.1]", false),
        ("deny: [127.0.0.2, 10.0.0.0/8]", true),
        ("allow: [127.0.0.0/8], deny: [127.0.0.0/24]", false),
        ("deny: [0.0.0.0/0]", false),
    ] {
        let site = Site::to(&upstream).listener(&format!("clients: {{{clients}}}")).route("").start();
        if comes {
            site.get("/").assert_ok("ok");
            upstream.received();
        } else {
            assert_turned_away(site.client());
            eventually("it is counted", || refused(&site, "denied") > 0.5);
        }
    }
    upstream.assert_untouched();
}

/// A trusted proxy may always come, and any number of times: it is its clients who are looked at.
#[test]
fn behind_a_trusted_proxy_it_is_the_client_who_counts() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream)
        .listener(
            "trustedProxies: [127.0.0.0/8]\nclients: {allow: [10.0.0.0/8, 'fd00::/8'], deny: [10.6.0.0/16], maxConnections: 1}",
        )
        .route("")
        .start();
    let (mut client, mut other) = (site.client(), site.client());
    for (by, comes) in [
        ("10.1.2.3", true),
        ("10.6.2.3", false),
        ("11.1.2.3", false),
        ("10.1.2.3, 11.1.2.3", false),
        ("11.1.2.3, 10.1.2.3", true),
        ("fd00::1", true),
        ("2001:db8::1", false),
        ("::ffff:10.1.2.3", true),
        ("unknown", false),
    ] {
        let answer = client.get_with("/", &format!("X-Forwarded-For: {by}\r\n"));
        if comes {
            answer.assert_ok("ok");
        } else {
            answer.assert_reject(403, "client_denied");
        }
    }
    other.get("/").assert_reject(403, "client_denied");
}

#[test]
fn who_is_denied_while_connected_is_refused_with_the_next_request() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).document(&listener("clients: {deny: [10.0.0.0/8]}")).route("").start();
    let mut client = Client::connect(site.router().address("other").unwrap());
    client.get("/").assert_ok("ok");
    site.edit("deny: [10.0.0.0/8]", "deny: [127.0.0.0/8]");
    client.get("/").assert_reject(403, "client_denied");
    assert_turned_away(Client::connect(site.router().address("other").unwrap()));
    site.edit("deny: [127.0.0.0/8]", "deny: [10.0.0.0/8]");
    client.get("/").assert_ok("ok");
}

/// Whom the listener does not admit takes nothing of what others share.
#[test]
fn who_is_denied_meets_no_limit() {
    let upstream = Upstream::ok("ok");
    let limit = "kind: Limit\nname: two\nkey: [{constant: all}]\ntokenBucket: {rate: 1/h, burst: 1}";
    let site = Site::to(&upstream)
        .listener("trustedProxies: [127.0.0.0/8]\nclients: {deny: [10.0.0.0/8]}\nlimits: [two]")
        .route("")
        .document(limit)
        .start();
    for _ in 0..5 {
        site.get_with("/", "X-Forwarded-For: 10.0.0.1\r\n").assert_reject(403, "client_denied");
    }
    site.get_with("/", "X-Forwarded-For: 11.0.0.1\r\n").assert_ok("ok");
}

const LARGE: &str = "maxBody: 10B";

#[test]
fn a_body_may_be_as_large_as_its_route_says() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream)
        .route(LARGE)
        .document("kind: Route\nname: free\npaths: [{prefix: /free}]\nservice: all")
        .start();
    let mut client = site.client();
    let with = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
    };
    for (path, length) in [("/", 0), ("/", 10), ("/free", 11), ("/free", 100_000)] {
        client.send(with(path, length)).answer().assert_ok("ok");
        assert_eq!(upstream.received().body.len(), length);
    }
    // A small one is read and thrown away, so that the connection goes on; nothing of it is sent on.
    client.send(with("/", 11)).answer().assert_reject(413, "body_too_large");
    client.get("/").assert_ok("ok");
    assert_eq!(upstream.received().first, "GET / HTTP/1.1");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000000\r\n\r\n");
    let answer = client.answer();
    answer.assert_reject(413, "body_too_large");
    assert_eq!(answer.header("connection"), Some("close"));
    upstream.assert_untouched();
}

#[test]
fn who_waits_to_send_too_large_a_body_is_not_invited() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).route(LARGE).start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n");
    client.answer().assert_reject(413, "body_too_large");
    upstream.assert_untouched();
}

/// How large it is shows only while it comes: the endpoint must not take what it got for whole.
#[test]
fn a_body_in_chunks_is_cut_off_where_it_is_too_large() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).route(LARGE).start();
    let post = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = site.client();
    client.send(format!("{post}a\r\n0123456789\r\n0\r\n\r\n")).answer().assert_ok("ok");
    assert_eq!(upstream.received().text(), "0123456789");
    for body in ["b\r\n0123456789a\r\n0\r\n\r\n", "5\r\n01234\r\n5\r\n56789\r\n1\r\na\r\n0\r\n\r\n"] {
        for apart in [false, true] {
            let mut client = site.client();
            client.send(post);
            if apart {
                body.bytes().all(|byte| client.try_send([byte]));
            } else {
                client.try_send(body);
            }
            let answer = client.answer();
            answer.assert_reject(413, "body_too_large");
            assert_eq!(answer.header("connection"), Some("close"));
        }
    }
    upstream.assert_untouched();
    // The endpoint is not to blame: it stays in use.
    site.get("/").assert_ok("ok");
}

#[test]
fn names_with_underscores_are_dropped_refused_or_passed() {
    let upstream = Upstream::ok("ok");
    let lines = "x_own: 1\r\nA-Much-Longer_Name: 2\r\nX_Forwarded_For: 6.6.6.6\r\nX-Own: 3\r\n";
    let passed = |site: &Site| {
        site.get_with("/", lines).assert_ok("ok");
        let request = upstream.received();
        assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!((request.header("x_forwarded_for"), request.header("x-own")), (None, Some("3")));
        request.header("x_own").is_some() && request.header("a-much-longer_name").is_some()
    };
    assert!(!passed(&Site::to(&upstream).route("").start()));
    assert!(!passed(&Site::to(&upstream).listener("underscoreHeaders: drop").route("").start()));
    assert!(passed(&Site::to(&upstream).listener("underscoreHeaders: pass").route("").start()));
    let site = Site::to(&upstream).listener("underscoreHeaders: reject").route("").start();
    let mut client = site.client();
    client.get_with("/", lines).assert_reject(400, "bad_header_name");
    client.get_with("/", "abcdefgh_: 1\r\n").assert_reject(400, "bad_header_name");
    client.get_with("/", "x-own: a_b\r\n").assert_ok("ok");
    assert_eq!(upstream.received().header("x-own"), Some("a_b"));
    upstream.assert_untouched();
}

/// What is dropped is dropped before anything is decided on it.
#[test]
fn a_dropped_header_matches_no_route() {
    let (upstream, other) = (Upstream::ok("ok"), Upstream::ok("other"));
    let route = "kind: Route\nname: other\nheaders: [{name: x_own}]\nservice: other";
    for (policy, wanted) in [("drop", "ok"), ("pass", "other")] {
        let site = Site::to(&upstream)
            .service("other", &[other.address()])
            .listener(&format!("underscoreHeaders: {policy}"))
            .route("")
            .document(route)
            .start();
        site.get_with("/", "x_own: 1\r\n").assert_ok(wanted);
    }
}
