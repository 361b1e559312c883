//! Endpoints that speak HTTP/2, which are asked for a tunnel by an extended CONNECT.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream as Socket;
use std::time::Duration;

use h2::Reason;
use h2::ext::Protocol;
use http::{Method, Response};
use tungstenite::protocol::{Message, Role, WebSocket};

use super::super::{ask, closed, open};
use super::endings::rest;
use super::{converse, pattern};
use crate::http2_upstream::over_http2;
use crate::http2_upstream::terms::{config, service, to};
use crate::support::http2::{Call, Http2Upstream, Manner};
use crate::support::mux::{Mux, asking, websocket};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, Site, Upstream, eventually};

fn connecting() -> Manner {
    Manner { connects: true, ..Manner::default() }
}

fn agreed() -> Response<()> {
    Response::builder().header("x-own", "1").header("content-length", "7").body(()).unwrap()
}

/// Sends every message back.
fn echo_on(mut socket: WebSocket<Socket>) {
    while let Ok(message) = socket.read() {
        if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
            return;
        }
    }
}

/// An endpoint that agrees to every tunnel and sends messages back, and answers plain requests.
fn server(manner: Manner) -> Http2Upstream {
    Http2Upstream::new(manner, |mut call: Call| async move {
        if call.request.method() != Method::CONNECT {
            return call.ok("plain").await;
        }
        let head = Response::new(());
        let (socket, _end, abort) = call.agree(head);
        std::thread::spawn(move || {
            echo_on(WebSocket::from_raw_socket(socket, Role::Server, None));
            drop(abort);
        });
    })
}

/// The same where it speaks HTTP/1.1.
fn echo_over_http1(socket: Socket) {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let Ok(mut socket) = tungstenite::accept(socket) else { return };
    while let Ok(message) = socket.read() {
        if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
            return;
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn clients_of_both_versions_have_tunnels_on_a_shared_connection() {
    let upstream = server(connecting());
    let site = over_http2(&[upstream.address()]).route("").start();
    let mux = Mux::connect(site.address());
    converse(&mux.websocket("/", &[]));
    eventually("its end", || open(&site) == 0);
    let (mut socket, answer) = tungstenite::client("ws://a.test/chat", connect(site.address())).unwrap();
    assert_eq!(answer.status(), 101);
    for size in [0, 1, 126, 65_536, 2_000_000] {
        let bytes = pattern(size);
        socket.send(Message::binary(bytes.clone())).unwrap();
        assert!(socket.read().unwrap().into_data() == bytes, "{size}");
    }
    site.get("/").assert_ok("plain");
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    eventually("its end", || open(&site) == 0);
    assert_eq!(upstream.connections(), 1);
    assert_eq!(closed(&site, "ended"), 2);
}

#[test]
fn what_is_asked_for_is_said_as_the_rules_say() {
    let upstream = Http2Upstream::new(connecting(), |call: Call| async move {
        let request = &call.request;
        let mut lines: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .filter(|line| !line.starts_with("x-"))
            .collect();
        lines.sort();
        let protocol = request.extensions().get::<Protocol>().map_or("none", Protocol::as_str);
        call.log(format!("{} {protocol} {} {lines:?}", request.method(), request.uri()));
        let (socket, ..) = call.agree(agreed());
        std::thread::spawn(move || (&socket).read_to_end(&mut Vec::new()));
    });
    let site = over_http2(&[upstream.address()]).route("").start();
    let mut client = site.client();
    ask(&mut client, "Sec-WebSocket-Protocol: chat\r\n");
    let answer = client.head();
    assert_eq!((answer.status(), answer.header("upgrade")), (101, Some("websocket")));
    assert_eq!(answer.header("connection"), Some("upgrade"));
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!((answer.header("x-own"), answer.header("content-length")), (Some("1"), None));
    let wanted = "CONNECT websocket http://a.test/ [\"sec-websocket-protocol: chat\", \"sec-websocket-version: 13\"]";
    assert_eq!(upstream.logged(), wanted);
    let mux = Mux::connect(site.address());
    let tunnel = mux.websocket("/", &[("sec-websocket-protocol", "chat")]);
    assert_eq!(upstream.logged(), wanted);
    let headers = &tunnel.answer.headers;
    assert!(headers.get("x-own").unwrap() == "1" && !headers.contains_key("content-length"), "{headers:?}");
}

/// What a client sends before reaches the endpoint after it has agreed, and not a moment before.
#[test]
fn what_is_sent_early_waits_for_the_endpoint_to_agree() {
    let upstream = Http2Upstream::new(connecting(), |mut call: Call| async move {
        call.log("asked");
        let go = std::sync::Arc::clone(&call.go);
        tokio::select! {
            data = call.request.body_mut().data() => panic!("{data:?} came before it agreed"),
            _ = go.acquire() => {}
        }
        let log = call.logger();
        let (socket, ..) = call.agree(Response::new(()));
        std::thread::spawn(move || {
            let mut all = Vec::new();
            (&socket).read_to_end(&mut all).unwrap();
            log(String::from_utf8(all).unwrap());
        });
    });
    let site = over_http2(&[upstream.address()]).route("").start();
    let mut client = site.client();
    ask(&mut client, "");
    client.send("early");
    assert_eq!(upstream.logged(), "asked");
    let mux = Mux::connect(site.address());
    let pending = mux.send(websocket("/", &[]), "early");
    assert_eq!(upstream.logged(), "asked");
    pending.assert_unanswered_for(crate::support::QUIET);
    upstream.go.add_permits(2);
    assert_eq!(client.head().status(), 101);
    client.send(" and late").finish_sending();
    assert_eq!(upstream.logged(), "early and late");
    let tunnel = pending.tunnel();
    (&tunnel.socket).write_all(b" and late").unwrap();
    tunnel.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(upstream.logged(), "early and late");
}

#[test]
fn an_endpoint_that_lets_no_tunnel_pass_is_not_asked_for_one() {
    let deaf = server(Manner::default());
    let site = over_http2(&[deaf.address()]).route("").start();
    for _ in 0..2 {
        let mut client = site.client();
        ask(&mut client, "");
        client.answer().assert_reject(502, "upstream_no_upgrade");
        let answer = Mux::connect(site.address()).send(websocket("/", &[]), "").answer();
        assert_eq!(answer.headers.get("x-gridrouter-reject").unwrap(), "upstream_no_upgrade");
    }
    // That is no fault of its, and others are served.
    site.get("/").assert_ok("plain");
    // Where another one lets them pass, it is asked.
    let other = server(connecting());
    let site = over_http2(&[deaf.address(), other.address()]).route("").start();
    let mux = Mux::connect(site.address());
    for _ in 0..4 {
        converse(&mux.websocket("/", &[]));
    }
}

#[test]
fn an_endpoint_that_declines_gives_an_ordinary_answer() {
    let upstream = Http2Upstream::new(connecting(), |mut call: Call| async move {
        let head = Response::builder().status(403).header("content-length", "2").body(()).unwrap();
        let mut stream = call.respond.send_response(head, false).unwrap();
        stream.send_data("no".into(), true).unwrap();
        // An end, and no reset.
        let body = call.body().await.map(|(body, _)| body.len());
        call.log(format!("{:?}", body.map_err(|error| error.reason())));
    });
    let site = over_http2(&[upstream.address()]).route("").start();
    let mut client = site.client();
    ask(&mut client, "");
    client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text().as_str(), answer.header("upgrade")), (403, "no", None));
    client.assert_closed();
    assert_eq!(upstream.logged(), "Ok(0)", "nothing of what was behind");
    let answer = Mux::connect(site.address()).send(websocket("/", &[]), "early").answer();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (403, &b"no"[..]));
    assert_eq!(upstream.connections(), 1);
    eventually("the places are free", || site.metric("gridrouter_upstream_connections_idle") > 0.5);
}

#[test]
fn a_reset_goes_through_in_both_directions() {
    let upstream = Http2Upstream::new(connecting(), |call: Call| async move {
        let log = call.logger();
        let breaks = call.path() == "/breaks";
        let (socket, end, abort) = call.agree(Response::new(()));
        std::thread::spawn(move || {
            (&socket).write_all(b"\x82\x03one").unwrap();
            if breaks {
                (&socket).read_exact(&mut [0]).unwrap();
                abort.send(()).unwrap();
            }
            log(format!("{:?}", end.recv_timeout(PATIENCE).unwrap()));
        });
    });
    let site = over_http2(&[upstream.address()]).route("").start();
    let mux = Mux::connect(site.address());
    let tunnel = mux.websocket("/", &[]);
    (&tunnel.socket).read_exact(&mut [0; 5]).unwrap();
    tunnel.reset();
    assert_eq!(upstream.logged(), "Err(Some(CANCEL))");
    let tunnel = mux.websocket("/breaks", &[]);
    (&tunnel.socket).read_exact(&mut [0; 5]).unwrap();
    (&tunnel.socket).write_all(b"x").unwrap();
    assert_eq!((rest(&tunnel), tunnel.end()), (Vec::new(), Err(Some(Reason::CANCEL))));
    eventually("they are counted", || closed(&site, "broken") == 2);
    assert_eq!(upstream.connections(), 1);
}

/// A tunnel lasts: requests have to find places, too.
#[test]
fn tunnels_leave_places_for_requests() {
    let upstream = server(Manner { max_streams: Some(4), ..connecting() });
    let site = over_http2(&[upstream.address()]).threads(1).route("").start();
    let mux = Mux::connect(site.address());
    let first: Vec<_> = (0..3).map(|_| mux.websocket("/", &[])).collect();
    assert_eq!(mux.get("/", &[]).body, b"plain");
    assert_eq!(upstream.connections(), 1);
    let fourth = mux.websocket("/", &[]);
    assert_eq!(upstream.connections(), 2);
    assert_eq!(mux.get("/", &[]).body, b"plain");
    drop(first);
    eventually("they ended", || open(&site) == 1);
    converse(&mux.websocket("/", &[]));
    drop(fourth);
    assert_eq!(upstream.connections(), 2);
}

/// With all places of all connections taken, one waits for the next that is free.
#[test]
fn a_tunnel_waits_for_a_place() {
    let upstream = server(Manner { max_streams: Some(1), ..connecting() });
    let site = over_http2(&[upstream.address()]).threads(1).route("timeouts: {connect: 10s}").start();
    let mux = Mux::connect(site.address());
    let mut all: Vec<_> = (0..16).map(|_| mux.websocket("/", &[])).collect();
    let pending = mux.send(websocket("/", &[]), "");
    pending.assert_unanswered_for(Duration::from_millis(500));
    drop(all.pop());
    converse(&pending.tunnel());
    assert_eq!(upstream.connections(), 16);
}

/// As browsers do: a connection of HTTP/1.1 beside the one of HTTP/2.
#[test]
fn where_it_may_be_either_http1_stands_in() {
    let root = Authority::new("root");
    let pair = root.certify(&["shop.internal"]);
    for connects in [false, true] {
        let tls = Some(config(&pair, &["h2", "http/1.1"]));
        let upstream = server(Manner { tls, connects, http1: Some(echo_over_http1), ..Manner::default() });
        let site =
            service(&[upstream.address()], &root, "auto").threads(1).route("timeouts: {upstreamIdle: 60s}").start();
        site.get("/").assert_ok("plain");
        let mux = Mux::connect(site.address());
        for _ in 0..2 {
            let (mut socket, _) = tungstenite::client("ws://a.test/", connect(site.address())).unwrap();
            socket.send(Message::text("hello")).unwrap();
            assert_eq!(socket.read().unwrap(), Message::text("hello"));
            converse(&mux.websocket("/", &[]));
        }
        site.get("/").assert_ok("plain");
        assert_eq!(upstream.connections(), if connects { 1 } else { 5 });
    }
    // One that speaks nothing else.
    let tls = Some(config(&pair, &["h2"]));
    let upstream = server(Manner { tls, ..Manner::default() });
    let site = to(upstream.address(), &root, "auto").start();
    let answer = Mux::connect(site.address()).send(websocket("/", &[]), "").answer();
    assert_eq!(answer.headers.get("x-gridrouter-reject").unwrap(), "upstream_no_upgrade");
}

/// CONNECT has no room for another method (RFC 8441 §4).
#[test]
fn another_method_than_get_is_not_made_one() {
    let upstream = server(connecting());
    let site = over_http2(&[upstream.address()]).route("upgrades: [tcp]").start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
    client.answer().assert_reject(502, "upstream_no_upgrade");
    let mux = Mux::connect(site.address());
    let tunnel = mux.send(asking(Method::CONNECT, Some("tcp"), "/", &[]), "").tunnel();
    converse(&tunnel);
}

/// An endpoint of HTTP/1.1 in a service that is auto, in clear.
#[test]
fn in_clear_either_is_http1() {
    let upstream: Upstream = super::server();
    let auto = format!(
        "kind: Service\nname: all\nendpoints: {{blue: [{{address: \"{}\"}}]}}\nprotocol: auto",
        upstream.address()
    );
    let site = Site::builder().document(&auto).route("").start();
    converse(&Mux::connect(site.address()).websocket("/", &[]));
}
