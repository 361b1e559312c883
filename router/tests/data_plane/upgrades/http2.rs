//! WebSockets and other protocols over a stream of HTTP/2 (RFC 8441).

mod endings;
mod endpoints;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as Socket;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use http::Method;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocket};

use super::{closed, open};
use crate::support::mux::{Mux, Tunnel, asking, websocket};
use crate::support::{PATIENCE, Peer, QUIET, Site, Upstream, eventually};

/// Agrees to the handshake that comes, with more lines. Returns what was asked for.
fn agree(peer: &mut Peer, lines: &str) -> Option<crate::support::Message> {
    let request = peer.request()?;
    let protocol = request.header("upgrade").unwrap().to_owned();
    let accept = request.header("sec-websocket-key").map(|key| derive_accept_key(key.as_bytes()));
    let accept = accept.map(|key| format!("Sec-WebSocket-Accept: {key}\r\n")).unwrap_or_default();
    peer.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n{accept}{lines}\r\n"
    ));
    Some(request)
}

/// An endpoint that agrees to every handshake and sends everything back, until its client has no more to say.
fn echo() -> Upstream {
    Upstream::scripted(|peer| {
        if agree(peer, "").is_none() {
            return;
        }
        let mut buffer = [0; 16 * 1024];
        while let Ok(n @ 1..) = peer.stream.read(&mut buffer) {
            if peer.stream.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
    })
}

/// The same as a library does it, which also answers plain requests.
fn server() -> Upstream {
    Upstream::scripted(|peer| {
        let mut head = [0; 512];
        let n = peer.stream.peek(&mut head).unwrap_or(0);
        if !String::from_utf8_lossy(&head[..n]).to_lowercase().contains("upgrade: websocket") {
            peer.request();
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nplain");
            return;
        }
        let Ok(mut socket) = tungstenite::accept(peer.stream.try_clone().unwrap()) else { return };
        while let Ok(message) = socket.read() {
            if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                return;
            }
        }
    })
}

fn spoken(tunnel: &Tunnel) -> WebSocket<Socket> {
    WebSocket::from_raw_socket(tunnel.socket.try_clone().unwrap(), Role::Client, None)
}

fn pattern(size: u32) -> Vec<u8> {
    (0..size).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A whole conversation, to a clean end.
fn converse(tunnel: &Tunnel) {
    let mut socket = spoken(tunnel);
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
    socket.send(Message::Ping(b"are you there"[..].into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong(b"are you there"[..].into()));
    for size in [1, 125, 126, 65_535, 65_536, 3_000_000] {
        let bytes = pattern(size);
        socket.send(Message::binary(bytes.clone())).unwrap();
        assert!(socket.read().unwrap().into_data() == bytes, "{size}");
    }
    // Many small ones on the way at a time: each is a frame of HTTP/2 of its own.
    let mut other = spoken(tunnel);
    let sending = std::thread::spawn(move || {
        for n in 0..5_000_u32 {
            other.send(Message::text(n.to_string())).unwrap();
        }
    });
    for n in 0..5_000_u32 {
        assert_eq!(socket.read().unwrap(), Message::text(n.to_string()));
    }
    sending.join().unwrap();
    let frame = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
    socket.close(Some(frame.clone())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Close(Some(frame)));
    // The server closes first.
    assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)), "a clean close");
    assert_eq!(tunnel.end(), Ok(()));
}

#[test]
fn endpoints_get_the_handshake_that_they_would_get_over_http1() {
    let upstream = Upstream::scripted(|peer| {
        let lines = "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\nX-Own: 1\r\n";
        agree(peer, lines);
        peer.stream.read_to_end(&mut Vec::new()).unwrap();
    });
    let site = Site::of(&upstream);
    let mux = Mux::connect(site.address());
    let lines = [
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("origin", "http://a.test"),
        ("x-kept", "2"),
    ];
    let tunnel = mux.websocket("/chat?room=1", &lines);
    let request = upstream.received();
    assert_eq!(request.first, "GET /chat?room=1 HTTP/1.1");
    for (name, value) in [
        ("host", "a.test"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("origin", "http://a.test"),
        ("x-kept", "2"),
    ] {
        assert_eq!(request.headers(name), [value], "{name}");
    }
    let [key] = request.headers("sec-websocket-key")[..] else { panic!("one key") };
    assert_ne!(key, "dGhlIHNhbXBsZSBub25jZQ==", "it is the router's own");
    assert_eq!((request.header("content-length"), request.header("transfer-encoding")), (None, None));
    let answer = &tunnel.answer;
    assert_eq!(answer.status, 200);
    for (name, value) in [
        ("sec-websocket-protocol", Some("chat")),
        ("sec-websocket-extensions", Some("permessage-deflate")),
        ("x-own", Some("1")),
        ("sec-websocket-accept", None),
        ("connection", None),
        ("upgrade", None),
        ("content-length", None),
    ] {
        assert_eq!(answer.headers.get(name).map(|value| value.to_str().unwrap()), value, "{name}");
    }
    assert!(answer.headers.contains_key("date"));
    let other = mux.websocket("/", &[]);
    assert_ne!(upstream.received().header("sec-websocket-key"), Some(key));
    drop((tunnel, other));
    eventually("the records", || site.count("gridrouter_route_requests_total{route=\"all\",status=\"1xx\"}") == 2);
}

#[test]
fn a_library_on_each_side_understands_the_other() {
    let upstream = server();
    let site = Site::of(&upstream);
    let mux = Mux::connect(site.address());
    let tunnel = mux.websocket("/", &[]);
    eventually("it is open", || open(&site) == 1);
    converse(&tunnel);
    eventually("its end", || open(&site) == 0);
    assert_eq!((closed(&site, "ended"), closed(&site, "broken")), (1, 0));
    assert!(site.count("gridrouter_tunnel_bytes_total{to=\"client\"}") > 3_000_000);
    assert!(site.count("gridrouter_tunnel_bytes_total{to=\"endpoint\"}") > 3_000_000);
    // And the connection goes on.
    assert_eq!(mux.get("/", &[]).body, b"plain");
    assert_eq!(site.count("gridrouter_connections_accepted_total"), 1);
}

#[test]
fn hundreds_of_tunnels_and_requests_share_a_connection() {
    let upstream = server();
    let site = Site::to(&upstream).listener("http2: {maxStreams: 400}").route("").start();
    let mux = Mux::connect(site.address());
    assert_eq!(mux.get("/", &[]).status, 200);
    let pending: Vec<_> = (0..300).map(|_| mux.send(websocket("/", &[]), "")).collect();
    let mut tunnels: Vec<_> = pending.into_iter().map(|one| spoken_with(one.tunnel())).collect();
    assert_eq!(open(&site), 300);
    for round in 0..3 {
        for (n, (socket, _)) in tunnels.iter_mut().enumerate() {
            socket.send(Message::text(format!("{round} {n}"))).unwrap();
        }
        assert_eq!(mux.get("/", &[]).body, b"plain");
        for (n, (socket, _)) in tunnels.iter_mut().enumerate() {
            assert_eq!(socket.read().unwrap(), Message::text(format!("{round} {n}")));
        }
    }
    // One that has much to say does not hold up the others.
    let (big, rest) = tunnels.split_first_mut().unwrap();
    big.0.send(Message::binary(pattern(2_000_000))).unwrap();
    rest[0].0.send(Message::text("quick")).unwrap();
    assert_eq!(rest[0].0.read().unwrap(), Message::text("quick"));
    assert_eq!(big.0.read().unwrap().len(), 2_000_000);
    drop(tunnels);
    eventually("their ends", || open(&site) == 0);
    assert_eq!(site.count("gridrouter_connections_accepted_total"), 1);
    assert_eq!(site.count("gridrouter_http2_floods_total"), 0);
}

fn spoken_with(tunnel: Tunnel) -> (WebSocket<Socket>, Tunnel) {
    (spoken(&tunnel), tunnel)
}

/// What comes behind the request reaches the endpoint after its 101, and not a moment before.
#[test]
fn what_is_sent_early_waits_for_the_endpoint_to_agree() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::scripted(move |peer| {
        let request = peer.request().unwrap();
        peer.stream.set_read_timeout(Some(QUIET)).unwrap();
        assert!(peer.stream.read(&mut [0]).is_err(), "something came before the 101");
        peer.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        let accept = derive_accept_key(request.header("sec-websocket-key").unwrap().as_bytes());
        // With the first bytes of the other protocol right behind.
        peer.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \
             {accept}\r\n\r\n\u{1}\u{3}abc"
        ));
        let mut all = Vec::new();
        peer.stream.read_to_end(&mut all).unwrap();
        peer.log(&crate::support::Message { body: all, ..Default::default() });
    });
    let site = Site::of(&upstream);
    let mux = Mux::connect(site.address());
    let pending = mux.send(websocket("/", &[]), "early bird");
    upstream.received();
    pending.assert_unanswered_for(2 * QUIET);
    go.send(()).unwrap();
    let tunnel = pending.tunnel();
    let mut first = [0; 5];
    (&tunnel.socket).read_exact(&mut first).unwrap();
    assert_eq!(&first, b"\x01\x03abc");
    (&tunnel.socket).write_all(b" and late").unwrap();
    tunnel.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(upstream.received().text(), "early bird and late");
}

/// What was sent in the belief that there is a tunnel reaches nobody.
#[test]
fn an_endpoint_that_declines_gives_an_ordinary_answer() {
    for (line, status) in [("403 Forbidden", 403), ("302 Found\r\nLocation: /login", 302), ("500 Oh", 500)] {
        let upstream = Upstream::answering(format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\nX-Own: 1\r\n\r\nno"));
        let site = Site::of(&upstream);
        let mux = Mux::connect(site.address());
        let answer = mux.send(websocket("/", &[]), "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").answer();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, &b"no"[..]));
        assert_eq!(answer.headers.get("x-own").unwrap(), "1");
        assert_eq!(answer.headers.get("location").map(|to| to.to_str().unwrap()), (status == 302).then_some("/login"));
        upstream.received();
        upstream.assert_untouched();
        // Nor is the endpoint's connection used again: it may believe in a tunnel.
        assert_eq!(mux.get("/", &[]).status, status);
        assert_eq!(upstream.connections(), 2);
        assert_eq!(site.count("gridrouter_tunnels_opened_total"), 0);
    }
}

/// A status of success would say that there is a tunnel (RFC 8441 §5).
#[test]
fn an_answer_that_only_looks_like_consent_is_none() {
    for status in ["200 OK", "204 No Content", "206 Partial Content"] {
        let length = if status.starts_with("204") { "" } else { "Content-Length: 2\r\n" };
        let body = if length.is_empty() { "" } else { "no" };
        let upstream = Upstream::answering(format!("HTTP/1.1 {status}\r\n{length}\r\n{body}"));
        let site = Site::of(&upstream);
        let mux = Mux::connect(site.address());
        let answer = mux.send(websocket("/", &[]), "").answer();
        assert_eq!(
            (answer.status.as_u16(), answer.headers.get("x-gridrouter-reject").unwrap().to_str().unwrap()),
            (502, "upstream_no_upgrade"),
            "{status}"
        );
        // That is no fault of the endpoint's, which serves others.
        assert!(status.starts_with(mux.get("/", &[]).status.as_str()));
    }
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.send(super::AGREED);
        peer.ending();
    });
    let site = Site::of(&upstream);
    let answer = Mux::connect(site.address()).send(websocket("/", &[]), "").answer();
    assert_eq!(answer.headers.get("x-gridrouter-reject").unwrap(), "upstream_protocol_error", "another's key");
}

#[test]
fn a_route_says_which_protocols_pass() {
    let upstream = echo();
    let refused = |site: &Site, protocol: &'static str, path: &str, lines: &[(&str, &str)]| {
        let request = asking(Method::CONNECT, Some(protocol), path, lines);
        let answer = Mux::connect(site.address()).send(request, "").answer();
        let code = answer.headers.get("x-gridrouter-reject").map(|code| code.to_str().unwrap().to_owned());
        (answer.status.as_u16(), code.unwrap_or_default())
    };
    let version = [("sec-websocket-version", "13")];
    let site = Site::to(&upstream)
        .route("paths: [{prefix: /tcp}]\nupgrades: [TCP]")
        .document("kind: Route\nname: fixed\npaths: [{prefix: /fixed}]\nrespond: {status: 200, body: hi}")
        .document("kind: Route\nname: gone\npaths: [{prefix: /gone}]\nrespond: {status: 410, body: hi}")
        .document("kind: Route\nname: moved\npaths: [{prefix: /moved}]\nredirect: {host: b.test}")
        .start();
    let not_supported = || (501, "upgrade_not_supported".to_owned());
    assert_eq!(refused(&site, "websocket", "/tcp", &version), not_supported());
    assert_eq!(refused(&site, "tcp, h2c", "/tcp", &[]), (400, "malformed_request".to_owned()));
    assert_eq!(refused(&site, "h2c", "/tcp", &[]), not_supported());
    assert_eq!(refused(&site, "tcp", "/fixed", &[]), not_supported());
    assert_eq!(refused(&site, "tcp", "/gone", &[]), (410, String::new()));
    assert_eq!(refused(&site, "tcp", "/moved", &[]), (302, String::new()));
    assert_eq!(refused(&site, "tcp", "/none", &[]), (404, "no_route".to_owned()));
    upstream.assert_untouched();
    let mux = Mux::connect(site.address());
    let tunnel = mux.send(asking(Method::CONNECT, Some("Tcp"), "/tcp", &[]), "early").tunnel();
    assert_eq!(upstream.received().headers("upgrade"), ["tcp"]);
    (&tunnel.socket).write_all(b" and late").unwrap();
    tunnel.socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = Vec::new();
    (&tunnel.socket).read_to_end(&mut all).unwrap();
    assert_eq!((&*all, tunnel.end()), (&b"early and late"[..], Ok(())));
    eventually("its end", || closed(&site, "ended") == 1);
    // What is no opening handshake is none here either.
    let site = Site::to(&upstream).route("").start();
    for lines in [&[][..], &[version[0], version[0]]] {
        assert_eq!(refused(&site, "websocket", "/", lines), (400, "malformed_request".to_owned()));
    }
}

/// The same routes, tenants and limits as over HTTP/1.1.
#[test]
fn it_is_a_get_to_routes_and_limits() {
    let upstream = echo();
    let site = Site::to(&upstream)
        .document("kind: Limit\nname: one\nkey: [route]\nconcurrency: {limit: 1}")
        .route("methods: [GET]\nlimits: [one]\ntimeouts: {request: 400ms}")
        .start();
    let mux = Mux::connect(site.address());
    let first = mux.websocket("/", &[]);
    assert_eq!(mux.send(websocket("/", &[]), "").answer().status, 429);
    // The request's time was until the 101.
    first.assert_open_for(std::time::Duration::from_millis(900));
    drop(first);
    eventually("the permit", || {
        let pending = mux.send(websocket("/", &[]), "");
        pending.status() == 200
    });
}

#[test]
fn who_does_not_read_stops_who_sends_and_is_given_up() {
    let upstream = Upstream::scripted(|peer| {
        agree(peer, "");
        let block = [&[0x82, 0x7e, 0xff, 0xfc][..], &vec![b'x'; 65_532]].concat();
        while peer.stream.write_all(&block).is_ok() {}
    });
    let site = Site::to(&upstream).route("").listener("timeouts: {bodyWrite: 500ms}").start();
    let mux = Mux::connect(site.address());
    let tunnel = mux.websocket("/", &[]);
    eventually("it is given up", || closed(&site, "stalled") == 1);
    // The client's window, what h2 holds, and the socket in the test.
    let passed = site.count("gridrouter_tunnel_bytes_total{to=\"client\"}");
    assert!(passed < 1_500_000, "{passed}");
    // The others on the connection notice nothing.
    let again = mux.websocket("/", &[]);
    drop((tunnel, again));
}

/// A client says what it has taken, frame by frame, and that is no flood.
#[test]
fn who_takes_much_may_say_so_often() {
    const MEGABYTES: usize = 64;
    let upstream = Upstream::scripted(|peer| {
        agree(peer, "");
        let block = vec![b'x'; 1024 * 1024 - 10];
        for _ in 0..MEGABYTES {
            peer.send([&[0x82, 0x7f][..], &(block.len() as u64).to_be_bytes()].concat()).send(&block);
        }
        peer.ending();
    });
    let site = Site::of(&upstream);
    let mux = Mux::connect(site.address());
    let tunnel = mux.websocket("/", &[]);
    let mut buffer = vec![0; 1024 * 1024];
    for _ in 0..MEGABYTES {
        (&tunnel.socket).read_exact(&mut buffer).unwrap();
    }
    assert_eq!((open(&site), site.count("gridrouter_http2_floods_total")), (1, 0));
}

/// What an endpoint does not take is taken from the client no further than its window, and what sockets hold.
#[test]
fn little_is_on_the_way_to_an_endpoint_that_does_not_read() {
    /// More than the sockets may hold, and much less than could be sent meanwhile.
    const MOST: usize = 24 * 1024 * 1024;
    let upstream = Upstream::scripted(|peer| {
        agree(peer, "");
        std::thread::park_timeout(PATIENCE);
    });
    let site = Site::to(&upstream).route("timeouts: {responseBody: 5s}").start();
    let mux = Mux::connect(site.address());
    let tunnel = mux.websocket("/", &[]);
    tunnel.socket.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let (piece, mut sent) = (vec![0; 64 * 1024], 0);
    while sent < 4 * MOST
        && let Ok(n @ 1..) = (&tunnel.socket).write(&piece)
    {
        sent += n;
    }
    assert!(sent < MOST, "{sent}");
    assert_eq!(open(&site), 1, "it is held up, and not given up");
}

/// Small messages that nobody takes cost the connection nothing but their window.
#[test]
fn an_endpoint_that_does_not_read_stops_its_client_and_nobody_else() {
    let upstream = Upstream::scripted(|peer| {
        // So that little is enough to hold it up.
        socket2::SockRef::from(&peer.stream).set_recv_buffer_size(4096).unwrap();
        let stalls = agree(peer, "").unwrap().first.contains("/stalls");
        let mut buffer = [0; 16 * 1024];
        while !stalls && let Ok(n @ 1..) = peer.stream.read(&mut buffer) {
            if peer.stream.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
        if stalls {
            peer.log(&crate::support::Message::default());
            // Until the router gives it up.
            std::thread::park_timeout(PATIENCE);
        }
    });
    let site = Site::to(&upstream).route("timeouts: {responseBody: 3s}").start();
    let mux = Mux::connect_with(site.address(), 6);
    let stalled = mux.websocket("/stalls", &[]);
    stalled.socket.set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    // Until nothing is taken any more.
    let messages = b"\x81\x80mask".repeat(1_000);
    while (&stalled.socket).write(&messages).is_ok_and(|n| n > 0) {}
    let other = mux.websocket("/", &[]);
    (&other.socket).write_all(b"hello").unwrap();
    let mut back = [0; 5];
    (&other.socket).read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
    eventually("it is given up", || closed(&site, "stalled") == 1);
    assert_eq!(stalled.end(), Err(Some(h2::Reason::CANCEL)));
    assert_eq!(site.count("gridrouter_http2_floods_total"), 0);
}
