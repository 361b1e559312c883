//! Connections that a proxy passes on, and the PROXY protocol by which it says whose they are.

use std::time::{Duration, Instant};

use super::support::tls::{Authority, BOTH, Trusting};
use super::support::{Builder, Client, Ending, Message, QUIET, Site, Upstream, assert_fired, eventually};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v1(client: &str) -> Vec<u8> {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let reached = if client.contains(':') { "2001:db8::ffff" } else { "198.51.100.1" };
    format!("PROXY {family} {client} {reached} 4321 443\r\n").into_bytes()
}

/// Version 2, with a field of no meaning behind the addresses.
fn v2(client: &str) -> Vec<u8> {
    let octets = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let client = octets(client.parse().unwrap());
    let family = if client.len() == 4 { 0x11 } else { 0x21 };
    let rest = [&client[..], &client[..], &[1, 2, 3, 4, 4, 0, 3, 9, 9, 9]].concat();
    [V2, &[0x21, family, 0, u8::try_from(rest.len()).unwrap()], &rest].concat()
}

const LOCAL: [u8; 4] = [0x20, 0, 0, 0];

fn behind_proxy(upstream: &Upstream, lines: &str) -> Builder {
    Site::to(upstream).listener(&format!("proxyProtocol: {{from: [127.0.0.0/8]}}\n{lines}")).route("")
}

fn client_of(request: &Message) -> &str {
    request.header("x-forwarded-for").unwrap()
}

fn refused(site: &Site, reason: &str) -> u64 {
    site.count(&format!("gridrouter_connections_refused_total{{reason=\"{reason}\"}}"))
}

fn ended_without_a_word(client: &mut Client) -> bool {
    matches!(client.ending(), Ending::Closed(rest) | Ending::Reset(rest) if rest.is_empty())
}

#[test]
fn the_client_is_whom_the_proxy_names_whichever_thread_serves_it() {
    let upstream = Upstream::ok("ok");
    let site = behind_proxy(&upstream, "").threads(2).start();
    let mut held = Vec::new();
    for n in 0..20 {
        for (client, shown) in [
            (format!("192.0.2.{n}"), format!("192.0.2.{n}")),
            (format!("2001:db8::a{n:x}"), format!("2001:db8::a{n:x}")),
            (format!("::ffff:192.0.2.{n}"), format!("192.0.2.{n}")),
        ] {
            for header in [v1(&client), v2(&client)] {
                let mut connection = site.client();
                connection.send([&header, REQUEST.as_bytes()].concat()).answer().assert_ok("ok");
                assert_eq!(client_of(&upstream.received()), shown);
                // It is said once, for all requests of the connection.
                connection.get_with("/", "X-Forwarded-For: 10.0.0.1\r\n").assert_ok("ok");
                assert_eq!(client_of(&upstream.received()), shown);
                held.push(connection);
            }
        }
    }
}

#[test]
fn a_header_may_come_in_pieces_and_takes_nothing_of_what_follows() {
    let upstream = Upstream::ok("ok");
    let site = behind_proxy(&upstream, "").start();
    for header in [v1("192.0.2.7"), v2("192.0.2.7"), v2("2001:db8::7")] {
        let all = [&header, REQUEST.as_bytes()].concat();
        for cut in 1..header.len() + 3 {
            let mut client = site.client();
            client.send(&all[..cut]);
            client.send(&all[cut..]).answer().assert_ok("ok");
            assert!(client_of(&upstream.received()).ends_with('7'));
        }
        let mut client = site.client();
        for byte in &all {
            client.send([*byte]);
        }
        client.answer().assert_ok("ok");
        assert!(client_of(&upstream.received()).ends_with('7'));
    }
}

#[test]
fn what_is_no_header_ends_the_connection_without_a_word() {
    let upstream = Upstream::ok("ok");
    let site = behind_proxy(&upstream, "").start();
    let (mut missing, mut bad) = (0, 0);
    for bytes in [REQUEST.as_bytes(), b"proxy TCP4", b"\r\n\r\nGET / HTTP/1.1", b"\x16\x03\x01"] {
        assert!(ended_without_a_word(site.client().send(bytes)), "{bytes:?}");
        missing += 1;
    }
    let lines = [
        &b"PROXY TCP4 a b 1 2\r\n"[..],
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        &[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(),
    ];
    let binary = [[0x31, 0x11, 0, 12], [0x21, 0x11, 0, 3], [0x21, 0x11, 0xff, 0xff]].map(|rest| [V2, &rest].concat());
    for bytes in lines.into_iter().chain(binary.iter().map(Vec::as_slice)) {
        assert!(ended_without_a_word(site.client().send(bytes)), "{bytes:?}");
        bad += 1;
    }
    eventually("they are counted", || {
        (refused(&site, "proxy_header_missing"), refused(&site, "proxy_header_bad")) == (missing, bad)
    });
    upstream.assert_untouched();
}

#[test]
fn whoever_connects_and_says_nothing_is_waited_for_for_as_long_as_for_a_head() {
    let upstream = Upstream::ok("ok");
    let site = behind_proxy(&upstream, "timeouts: {head: 300ms}").start();
    // As a balancer does that looks whether somebody listens.
    for begun in ["", "PROXY TC"] {
        site.client().send(begun);
    }
    let began = Instant::now();
    let mut slow: Vec<_> = ["", "PROXY TCP4 192.0.2.1"].map(|begun| (begun, site.client())).into();
    for (begun, client) in &mut slow {
        client.send(begun.as_bytes());
    }
    for (_, client) in &mut slow {
        assert!(ended_without_a_word(client));
    }
    assert_fired(began, Duration::from_millis(300));
    eventually("they are counted", || refused(&site, "proxy_header_late") == 2);
    assert_eq!((refused(&site, "proxy_header_missing"), refused(&site, "proxy_header_bad")), (0, 0));
    // The time is for the header, not for the request behind it.
    let mut patient = site.client();
    patient.send(v1("192.0.2.1"));
    assert_eq!(patient.ending_within(Duration::from_millis(600)), Ending::Open(Vec::new()));
    patient.send(REQUEST).answer().assert_ok("ok");
}

#[test]
fn a_balancers_own_connections_are_served_as_its_own() {
    let upstream = Upstream::ok("ok");
    let site = behind_proxy(&upstream, "clients: {deny: [192.0.2.0/24], maxConnections: 1}").start();
    let mut held = Vec::new();
    for header in [[V2, &LOCAL].concat(), [V2, &[0x21, 0, 0, 0]].concat(), b"PROXY UNKNOWN a b c\r\n".to_vec()] {
        for _ in 0..2 {
            let mut client = site.client();
            client.send([&header, REQUEST.as_bytes()].concat()).answer().assert_ok("ok");
            assert_eq!(client_of(&upstream.received()), "127.0.0.1");
            held.push(client);
        }
    }
    // One that only shows itself.
    site.client().send([V2, &LOCAL].concat());
}

#[test]
fn who_may_come_and_how_often_is_asked_of_the_client() {
    let upstream = Upstream::ok("ok");
    let clients = "clients: {allow: [192.0.2.0/24, '2001:db8::/32'], deny: [192.0.2.66], maxConnections: 2}";
    let site = behind_proxy(&upstream, clients).threads(2).start();
    let with = |client: &str| {
        let mut connection = site.client();
        connection.try_send([&v2(client), REQUEST.as_bytes()].concat());
        connection
    };
    for denied in ["10.0.0.1", "192.0.2.66", "::ffff:192.0.2.66", "fd00::1"] {
        assert!(ended_without_a_word(&mut with(denied)), "{denied}");
    }
    eventually("they are counted", || refused(&site, "denied") == 4);
    for [one, same, third] in
        [["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"], ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"]]
    {
        let mut held = [with(one), with(same)];
        for client in &mut held {
            client.answer().assert_ok("ok");
        }
        assert!(ended_without_a_word(&mut with(third)));
    }
    with("192.0.2.2").answer().assert_ok("ok");
    eventually("they are counted", || refused(&site, "too_many") == 2);
}

#[test]
fn limits_and_trusted_proxies_are_about_whom_the_proxy_names() {
    let upstream = Upstream::ok("ok");
    let limit = "kind: Limit\nname: one\nkey: [clientIp]\ntokenBucket: {rate: 1/h, burst: 1}";
    // The balancer's own address is trusted, which must not let its clients say who they are.
    let lines = "trustedProxies: [127.0.0.0/8, 192.0.2.0/24]\nlimits: [one]";
    let site = behind_proxy(&upstream, lines).document(limit).start();
    let ask = |client: &str, says: &str| {
        let mut connection = site.client();
        connection.send(v2(client));
        connection.get_with("/", &format!("X-Forwarded-For: {says}\r\n"))
    };
    ask("203.0.113.1", "10.0.0.1").assert_ok("ok");
    assert_eq!(client_of(&upstream.received()), "203.0.113.1");
    ask("203.0.113.1", "10.0.0.2").assert_reject(429, "limit_exceeded");
    ask("203.0.113.2", "10.0.0.1").assert_ok("ok");
    assert_eq!(client_of(&upstream.received()), "203.0.113.2");
    // A proxy behind the balancer is believed.
    ask("192.0.2.9", "10.0.0.1").assert_ok("ok");
    assert_eq!(client_of(&upstream.received()), "10.0.0.1, 192.0.2.9");
    ask("192.0.2.10", "10.0.0.1").assert_reject(429, "limit_exceeded");
}

/// Whoever is not listed cannot pass for somebody else.
#[test]
fn nobody_elses_header_is_read() {
    let upstream = Upstream::ok("ok");
    for lines in ["proxyProtocol: {from: [10.0.0.0/8]}", ""] {
        let site = Site::to(&upstream).listener(lines).route("").start();
        site.get("/").assert_ok("ok");
        assert_eq!(client_of(&upstream.received()), "127.0.0.1");
        assert_eq!(site.exchange([&v1("192.0.2.1"), REQUEST.as_bytes()].concat()).status(), 400);
        assert_eq!(site.exchange([&v2("192.0.2.1"), REQUEST.as_bytes()].concat()).status(), 400);
    }
    upstream.assert_untouched();
}

#[test]
fn the_header_comes_before_tls() {
    let (upstream, root) = (Upstream::ok("ok"), Authority::new("root"));
    let site = behind_proxy(&upstream, "tls: {}").document(&root.certify(&["shop.test"]).document("shop")).start();
    let client = Trusting::new(&root, &BOTH, None);
    for header in [v1("192.0.2.1"), v2("192.0.2.1")] {
        let mut connection = client.try_connect_behind(&header, site.address(), "shop.test").unwrap();
        connection.get("/");
        let request = upstream.received();
        assert_eq!((client_of(&request), request.header("x-forwarded-proto")), ("192.0.2.1", Some("https")));
    }
    assert!(client.try_connect(site.address(), "shop.test").is_err());
    eventually("it is counted", || refused(&site, "proxy_header_missing") == 1);
    let clear = site.exchange([&v1("192.0.2.1"), REQUEST.as_bytes()].concat());
    assert_eq!((clear.status(), clear.text().contains("plain_http")), (400, true));
}

#[test]
fn an_edit_holds_for_the_connections_that_come_after_it() {
    let upstream = Upstream::ok("ok");
    let listener = "kind: Listener\nname: other\naddress: 127.0.0.1:0\nproxyProtocol: {from: [127.0.0.1]}";
    let site = Site::to(&upstream).document(listener).route("").start();
    let mut before = Client::connect(site.router().address("other").unwrap());
    before.send([&v1("192.0.2.1"), REQUEST.as_bytes()].concat()).answer().assert_ok("ok");
    site.edit("from: [127.0.0.1]", "from: [10.0.0.1]");
    Client::connect(site.router().address("other").unwrap()).get("/").assert_ok("ok");
    before.get("/").assert_ok("ok");
    for client in ["192.0.2.1", "127.0.0.1", "192.0.2.1"] {
        assert_eq!(client_of(&upstream.received()), client);
    }
    assert_eq!(before.ending_within(QUIET), Ending::Open(Vec::new()));
}
