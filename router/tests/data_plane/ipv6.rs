//! IPv6 wherever an address may be, and IPv4 in the clothes of IPv6.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::support::{Client, Site, Upstream, eventually};

/// A listener for both families, and the addresses to reach it by.
fn both(lines: &str) -> String {
    format!("kind: Listener\nname: both\naddress: \"[::]:0\"\n{lines}")
}

fn connect(site: &Site, ip: &str) -> Client {
    let port = site.router().address("both").unwrap().port();
    Client::connect(SocketAddr::new(ip.parse().unwrap(), port))
}

fn refused(site: &Site, reason: &str) -> f64 {
    site.metric(&format!("gridrouter_connections_refused_total{{reason=\"{reason}\"}}"))
}

#[test]
fn a_listener_for_both_families_shows_ipv4_clients_as_such() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).document(&both("")).route("").threads(2).start();
    for (ip, shown) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.0.0.1", "127.0.0.1")] {
        connect(&site, ip).get("/").assert_ok("ok");
        assert_eq!(upstream.received().header("x-forwarded-for"), Some(shown));
    }
}

#[test]
fn networks_of_ipv4_hold_on_a_listener_for_both_families() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).document(&both("clients: {deny: [127.0.0.0/8]}")).route("").start();
    connect(&site, "::1").get("/").assert_ok("ok");
    connect(&site, "127.0.0.1");
    eventually("it is turned away", || refused(&site, "denied") > 0.5);
    site.edit("deny: [127.0.0.0/8]", "allow: [127.0.0.0/8]");
    connect(&site, "127.0.0.1").get("/").assert_ok("ok");
    connect(&site, "::1");
    eventually("it is turned away", || refused(&site, "denied") > 1.5);
    site.edit("allow: [127.0.0.0/8]", "deny: ['::1/128']");
    connect(&site, "127.0.0.1").get("/").assert_ok("ok");
    connect(&site, "::1");
    eventually("it is turned away", || refused(&site, "denied") > 2.5);
}

#[test]
fn trusted_proxies_and_balancers_may_have_either_family() {
    let upstream = Upstream::ok("ok");
    for (trusted, ip) in [("127.0.0.1", "127.0.0.1"), ("'::1'", "::1"), ("'::/64'", "::1")] {
        let site = Site::to(&upstream).document(&both(&format!("trustedProxies: [{trusted}]"))).route("").start();
        connect(&site, ip).get_with("/", "X-Forwarded-For: 2001:db8::1\r\n").assert_ok("ok");
        let told = format!("2001:db8::1, {ip}");
        assert_eq!(upstream.received().header("x-forwarded-for"), Some(told.as_str()));
        let site =
            Site::to(&upstream).document(&both(&format!("proxyProtocol: {{from: [{trusted}]}}"))).route("").start();
        let mut client = connect(&site, ip);
        client.send("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n").get("/").assert_ok("ok");
        assert_eq!(upstream.received().header("x-forwarded-for"), Some("2001:db8::1"));
        // The other family is nobody's that is listed.
        let other = if ip == "::1" { "127.0.0.1" } else { "::1" };
        connect(&site, other).get("/").assert_ok("ok");
        assert_eq!(upstream.received().header("x-forwarded-for"), Some(other));
    }
}

#[test]
fn limits_count_a_network_of_64_bits_as_one_client_and_ipv4_as_itself() {
    let upstream = Upstream::ok("ok");
    let limit = "kind: Limit\nname: one\nkey: [clientIp]\ntokenBucket: {rate: 1/h, burst: 1}";
    let site = Site::to(&upstream)
        .document(&both("limits: [one]\ntrustedProxies: ['::1', 127.0.0.1]"))
        .document(limit)
        .route("")
        .start();
    for (by, client, passes) in [
        ("::1", "2001:db8::1", true),
        ("127.0.0.1", "2001:db8::ffff:ffff:ffff:ffff", false),
        ("::1", "2001:db8:0:1::1", true),
        ("::1", "192.0.2.1", true),
        ("127.0.0.1", "::ffff:192.0.2.1", false),
        ("127.0.0.1", "::ffff:192.0.2.2", true),
        ("::1", "192.0.2.2", false),
    ] {
        let answer = connect(&site, by).get_with("/", &format!("X-Forwarded-For: {client}\r\n"));
        assert_eq!(answer.status(), if passes { 200 } else { 429 }, "{client} by {by}");
    }
}

#[test]
fn endpoints_ingresses_and_hosts_may_be_ipv6() {
    let socket = TcpListener::bind("[::1]:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in socket.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
            let answer =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{host}", host.len());
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let site = Site::builder()
        .service("all", &[address])
        .route("")
        .document(&format!("kind: Cell\nname: far\ningress: [{{address: '{address}'}}]"))
        .document("kind: Grid\nname: shop\ncells: [far]")
        .document("kind: Service\nname: orders\nhost: orders.test")
        .document(
            "kind: Route\nname: orders\npaths: [{prefix: /orders}]\ngrid: shop\nservice: orders\n\
             tenant: {from: [{header: x-tenant}]}",
        )
        .document(&both(""))
        .start();
    let mut client = connect(&site, "::1");
    client.get("/").assert_ok("a.test");
    client.get_with("/orders", "x-tenant: acme\r\n").assert_ok("orders.test");
    let literal = client.send("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n").answer();
    literal.assert_ok("[::1]:8080");
    // HTTP/1.0 without a host: the endpoint's own address is sent.
    let own = connect(&site, "::1").send("GET / HTTP/1.0\r\n\r\n").answer();
    own.assert_ok(&address.to_string());
}

#[test]
fn a_bound_on_connections_is_one_for_a_network_and_one_for_ipv4() {
    let upstream = Upstream::ok("ok");
    let site = Site::to(&upstream).document(&both("clients: {maxConnections: 1}")).route("").threads(2).start();
    let (mut six, mut four) = (connect(&site, "::1"), connect(&site, "127.0.0.1"));
    six.get("/").assert_ok("ok");
    four.get("/").assert_ok("ok");
    for (n, ip) in [(0.5, "::1"), (1.5, "127.0.0.1")] {
        connect(&site, ip);
        eventually("it is turned away", || refused(&site, "too_many") > n);
    }
}
