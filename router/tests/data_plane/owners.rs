//! Endpoints that are told by the PROXY protocol whose requests a connection carries.

use std::fmt::Write as _;

use super::support::tls::Authority;
use super::support::{Builder, Client, Message, Peer, Site, Upstream, eventually};

/// Reads the header ahead of a connection, as text where it is that and else in hexadecimal digits.
fn header(peer: &mut Peer) -> String {
    let mut bytes = peer.bytes(12);
    if bytes.starts_with(b"PROXY ") {
        while !bytes.ends_with(b"\r\n") {
            bytes.extend(peer.bytes(1));
        }
        return String::from_utf8(bytes).unwrap();
    }
    bytes.extend(peer.bytes(4));
    bytes.extend(peer.bytes(usize::from(u16::from_be_bytes([bytes[14], bytes[15]]))));
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// An endpoint that answers with the header of the connection and its number.
fn telling() -> Upstream {
    Upstream::scripted(|peer| {
        let header = header(peer);
        let body = format!("{} {header}", peer.number);
        while peer.request().is_some() {
            peer.ok(&body);
        }
    })
}

fn site(upstream: &Upstream, version: &str) -> Builder {
    let address = upstream.address();
    Site::builder()
        .document(&format!(
            "kind: Service\nname: all\nendpoints: {{blue: [{{address: '{address}'}}]}}\nproxyProtocol: {version}"
        ))
        .route("")
}

/// The connection's number and the header that came with it.
fn told(answer: &Message) -> (usize, String) {
    let text = answer.text();
    let (number, header) = text.split_once(' ').unwrap();
    (number.parse().unwrap(), header.to_owned())
}

#[test]
fn an_endpoint_is_told_the_clients_address_to_the_byte() {
    let upstream = telling();
    for version in ["v1", "v2"] {
        let site = site(&upstream, version).start();
        let mut client = site.client();
        let (from, to) = (client.stream.local_addr().unwrap().port(), site.address().port());
        let expected = match version {
            "v1" => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n"),
            _ => format!("0d0a0d0a000d0a515549540a2111000c7f0000017f000001{from:04x}{to:04x}"),
        };
        assert_eq!(told(&client.get("/")).1, expected);
    }
}

#[test]
fn whom_a_balancer_names_is_passed_on() {
    let upstream = telling();
    let site = site(&upstream, "v1").listener("proxyProtocol: {from: [127.0.0.1]}").start();
    let to = site.address().port();
    for (client, family, reached) in [("192.0.2.7", "TCP4", "127.0.0.1"), ("2001:db8::7", "TCP6", "::ffff:127.0.0.1")] {
        let mut connection = site.client();
        let here = if family == "TCP4" { "198.51.100.1" } else { "2001:db8::1" };
        connection.send(format!("PROXY {family} {client} {here} 1234 443\r\n"));
        let expected = format!("PROXY {family} {client} {reached} 1234 {to}\r\n");
        assert_eq!(told(&connection.get("/")).1, expected);
    }
}

#[test]
fn a_connection_carries_the_requests_of_one_clients_connection_only() {
    let upstream = telling();
    let site = site(&upstream, "v1").start();
    let mut clients: Vec<Client> = (0..4).map(|_| site.client()).collect();
    let mut first = Vec::new();
    for client in &mut clients {
        first.push(told(&client.get("/")));
    }
    for _ in 0..3 {
        for (client, first) in clients.iter_mut().zip(&first) {
            assert_eq!(told(&client.get("/")), *first);
        }
    }
    assert_eq!(upstream.connections(), 4);
    let mut headers: Vec<_> = first.into_iter().map(|(_, header)| header).collect();
    headers.dedup();
    assert_eq!(headers.len(), 4);
    drop(clients);
    // Nobody gets what another client has left behind.
    for n in 4..8 {
        assert_eq!(told(&site.get("/")).0, n);
    }
}

#[test]
fn no_more_connections_are_kept_than_of_any_other_endpoint() {
    let upstream = telling();
    let site = site(&upstream, "v2").start();
    for _ in 0..270 {
        site.get("/");
    }
    eventually("the oldest are closed", || {
        let kept = site.metric("gridrouter_upstream_connections_idle");
        kept > 0.5 && kept < 256.5
    });
    let mut client = site.client();
    let first = told(&client.get("/"));
    assert_eq!(told(&client.get("/")), first);
}

#[test]
fn services_at_one_address_do_not_share_connections() {
    let plain = Upstream::scripted(|peer| {
        let mut first = peer.bytes(5);
        if first == b"PROXY" {
            while !first.ends_with(b"\r\n") {
                first.extend(peer.bytes(1));
            }
        } else {
            // The rest of a request's line.
            peer.raw_head();
            peer.ok("plain");
        }
        while peer.request().is_some() {
            peer.ok(if first.starts_with(b"PROXY") { "told" } else { "plain" });
        }
    });
    let address = plain.address();
    let site = site(&plain, "v1")
        .document(&format!("kind: Service\nname: plain\nendpoints: {{blue: [{{address: '{address}'}}]}}"))
        .document("kind: Route\nname: plain\npaths: [{prefix: /plain}]\nservice: plain")
        .start();
    let mut client = site.client();
    for _ in 0..3 {
        client.get("/plain").assert_ok("plain");
        client.get("/").assert_ok("told");
    }
    assert_eq!(plain.connections(), 2);
}

#[test]
fn the_header_comes_ahead_of_tls() {
    let upstream = Upstream::scripted(|peer| {
        let header = header(peer);
        let hello = peer.bytes(1);
        peer.log(&Message { first: format!("{} {}", header.len() > 20, hello[0]), ..Message::default() });
    });
    let (address, root) = (upstream.address(), Authority::new("root"));
    let pem = super::support::tls::indented(&root.pem, 6);
    let site = Site::builder()
        .document(&format!(
            "kind: Service\nname: all\nendpoints: {{blue: [{{address: '{address}'}}]}}\nproxyProtocol: v1\n\
             tls:\n  serverName: a.test\n  authorities:\n    inline: |\n{pem}"
        ))
        .route("")
        .start();
    assert_eq!(site.get("/").status(), 502);
    assert_eq!(upstream.received().first, "true 22");
}
