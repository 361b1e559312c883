//! The endpoint that attackers ask for: it answers at length, or not at all.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::apart::{Apart, Manners};
use crate::error::{Context, Result};
use crate::http;

/// Answers at once.
pub(super) const OK: &str = "/prey/ok";
/// Answers with more than anybody takes.
pub(super) const LARGE: &str = "/prey/large";
/// Takes the request, and never answers.
pub(super) const HANG: &str = "/prey/hang";
/// Takes nothing behind the head.
pub(super) const STALL: &str = "/prey/stall";
/// Becomes a WebSocket, and never ends to speak.
pub(super) const SOCKET: &str = "/prey/socket";

/// What its sockets take that nobody reads, in either direction.
const ROOM: usize = 16 * 1024;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LONG_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
/// The answer to the key of RFC 6455 §1.3.
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// A frame of a WebSocket with 16 KiB.
const FRAME: [u8; 4] = [0x82, 126, 0x40, 0];

/// Starts it on a thread of its own.
pub(super) fn start(address: SocketAddr, core: Option<usize>) -> Result<Apart<()>> {
    let socket = listen(address).context(format_args!("cannot listen on {address}"))?;
    Apart::start("prey", core, Manners::Meek, move |stopped| async move {
        let Ok(listener) = TcpListener::from_std(socket) else { return };
        let serving = async {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    drop(tokio::task::spawn_local(async move {
                        // What fails here is the client's to notice.
                        let _broken: io::Result<()> = serve(stream).await;
                    }));
                }
            }
        };
        tokio::select! {
            () = serving => {}
            _ = stopped => {}
        }
    })
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    // The standard library's queue is short.
    let queue = socket2::SockRef::from(&socket);
    // What the kernel takes for it does not relieve the router.
    queue.set_recv_buffer_size(ROOM)?;
    queue.set_send_buffer_size(ROOM)?;
    queue.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(length) = http::head_length(&buffer) {
                break length;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let asks = |path: &str| {
            let line = buffer.split(|byte| *byte == b'\r').next().unwrap_or_default();
            line.split(|byte| *byte == b' ').nth(1) == Some(path.as_bytes())
        };
        if asks(OK) {
            buffer.drain(..head);
            stream.write_all(ANSWER).await?;
        } else if asks(LARGE) {
            return flood(stream, LONG_ANSWER, &[b'x'; 16 * 1024]).await;
        } else if asks(SOCKET) {
            return flood(stream, SWITCHED, &[FRAME.as_slice(), &[b'x'; 16 * 1024]].concat()).await;
        } else if asks(STALL) {
            // Not even its end is seen, until the router resets the connection.
            drop(buffer);
            return stream.ready(tokio::io::Interest::ERROR).await.map(drop);
        } else {
            drop(buffer);
            return tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop);
        }
    }
}

async fn flood(mut stream: TcpStream, head: &[u8], piece: &[u8]) -> io::Result<()> {
    stream.write_all(head).await?;
    loop {
        stream.write_all(piece).await?;
    }
}
