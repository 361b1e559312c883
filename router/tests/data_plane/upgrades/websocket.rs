//! A client and a server that others wrote, with the router between them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message, WebSocket};

use super::{closed, open};
use crate::support::tls::{Authority, BOTH, Pair, Trusting, indented};
use crate::support::{PATIENCE, Site, eventually};

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

/// A server that sends every message back, in clear or with TLS.
fn server(pair: Option<&Pair>) -> SocketAddr {
    let config = pair.map(|pair| {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(&BOTH).unwrap().with_no_client_auth();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        Arc::new(builder.with_single_cert(vec![pair.der()], key).unwrap())
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            let stream: Box<dyn Both + Send> = match &config {
                None => Box::new(socket),
                Some(config) => Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), socket)),
            };
            std::thread::spawn(move || {
                let Ok(mut socket) = tungstenite::accept(stream) else { return };
                while let Ok(message) = socket.read() {
                    if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn talk(stream: impl Both, site: &Site) {
    let (mut socket, answer) = tungstenite::client("ws://shop.test/chat?room=1", stream).unwrap();
    assert_eq!(answer.status(), 101);
    eventually("it is open", || open(site) == 1);
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
    socket.send(Message::Ping(b"are you there"[..].into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong(b"are you there"[..].into()));
    for size in [1, 125, 126, 65_535, 65_536, 5_000_000] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        socket.send(Message::binary(bytes.clone())).unwrap();
        assert!(socket.read().unwrap().into_data() == bytes, "{size}");
    }
    close(&mut socket);
    eventually("its end", || open(site) == 0);
    assert_eq!(closed(site, "ended") + closed(site, "broken"), 1);
}

fn close(socket: &mut WebSocket<impl Both>) {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
    socket.close(Some(frame.clone())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Close(Some(frame)));
    assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)), "a clean close");
}

fn connect(site: &Site) -> TcpStream {
    let stream = TcpStream::connect(site.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn in_clear() {
    let site = Site::builder().service("all", &[server(None)]).route("").start();
    talk(connect(&site), &site);
}

#[test]
fn with_tls_on_both_sides() {
    let root = Authority::new("root");
    let (front, back) = (root.certify(&["shop.test"]), root.certify(&["shop.internal"]));
    let address = server(Some(&back));
    let site = Site::builder()
        .document(&format!(
            "kind: Service\nname: all\nendpoints: {{blue: [{{address: \"{address}\"}}]}}\ntls:\n  serverName: \
             shop.internal\n  authorities:\n    inline: |\n{}",
            indented(&root.pem, 6)
        ))
        .route("")
        .document(&front.document("shop"))
        .listener("tls: {}")
        .start();
    for versions in [&crate::support::tls::TLS12, &crate::support::tls::TLS13] {
        let site_closed = closed(&site, "ended") + closed(&site, "broken");
        let stream = Trusting::new(&root, versions, None).connect(site.address(), "shop.test").stream;
        let (mut socket, _) = tungstenite::client("ws://shop.test/", stream).unwrap();
        for size in [10, 70_000, 3_000_000] {
            socket.send(Message::binary(vec![7; size])).unwrap();
            assert_eq!(socket.read().unwrap().into_data().len(), size);
        }
        close(&mut socket);
        eventually("its end", || closed(&site, "ended") + closed(&site, "broken") == site_closed + 1);
    }
}

/// As a library sees it: told by the router, it answers, and everything ends cleanly.
#[test]
fn a_client_is_told_that_the_router_goes_away() {
    let site = Site::builder().service("all", &[server(None)]).route("").drain(PATIENCE).start();
    let (mut socket, _) = tungstenite::client("ws://shop.test/", connect(&site)).unwrap();
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
    let stopping = std::thread::spawn(move || site.stop());
    let Message::Close(Some(frame)) = socket.read().unwrap() else { panic!("no goodbye") };
    assert_eq!(frame.code, CloseCode::Away);
    assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
    assert_eq!(stopping.join().unwrap(), 0, "nobody was cut off");
}
