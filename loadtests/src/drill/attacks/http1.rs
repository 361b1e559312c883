//! Attackers who speak HTTP/1.1, or as much of it as hurts.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::ground::{Ground, Pace, crowd};
use super::prey;

/// How many of a crowd come a second.
const COMING: u32 = 500;
/// What the socket of somebody takes who does not read.
const LITTLE: u32 = 16 * 1024;

/// The beginning of a request.
fn head(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: prey.example.com\r\n{fields}")
}

/// Sends bytes and says so. Nothing when the router takes no more.
async fn send(ground: &Ground, stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8], frames: u64) -> io::Result<()> {
    stream.write_all(bytes).await?;
    ground.sent(bytes.len(), frames);
    Ok(())
}

/// Sends `begins`, and then `again` at intervals, until the router ends it.
async fn trickle(ground: &Ground, mut stream: TcpStream, begins: &[u8], again: &[u8], every: Duration) {
    if send(ground, &mut stream, begins, 1).await.is_err() {
        return ground.stopped("reset");
    }
    let (mut reads, mut writes) = stream.split();
    let sends = async {
        if again.is_empty() {
            std::future::pending::<()>().await;
        }
        loop {
            sleep(every).await;
            if send(ground, &mut writes, again, 0).await.is_err() {
                // How it ended is heard.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = ground.hears(&mut reads) => {}
        () = sends => {}
    }
}

/// A thousand heads, byte by byte.
pub(super) async fn slow_heads(ground: Rc<Ground>) {
    crowd(ground, 1_000, COMING, |ground, _| async move {
        let Ok(stream) = ground.connect(ground.clear).await else { return };
        let begins = head("GET", prey::OK, "x-slow: ");
        trickle(&ground, stream, begins.as_bytes(), b"y", Duration::from_millis(500)).await;
    })
    .await;
}

/// A thousand bodies that stop, or all but stop.
pub(super) async fn slow_bodies(ground: Rc<Ground>) {
    crowd(ground, 1_000, COMING, |ground, number| async move {
        let Ok(stream) = ground.connect(ground.clear).await else { return };
        let begins = head("POST", prey::HANG, "content-length: 1000000\r\n\r\nbeginning");
        let again: &[u8] = if number % 2 == 0 { b"y" } else { b"" };
        trickle(&ground, stream, begins.as_bytes(), again, Duration::from_secs(1)).await;
    })
    .await;
}

/// Five hundred who want more than anybody can take, and take nothing.
pub(super) async fn slow_readers(ground: Rc<Ground>) {
    reads_nothing(ground, 500, prey::LARGE, "\r\n").await;
}

/// The same through tunnels.
pub(super) async fn sockets(ground: Rc<Ground>) {
    let fields = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                  sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    reads_nothing(ground, 200, prey::SOCKET, fields).await;
}

async fn reads_nothing(ground: Rc<Ground>, size: u32, path: &'static str, fields: &'static str) {
    crowd(ground, size, COMING, move |ground, _| async move {
        let Ok(mut stream) = ground.connect_with(ground.clear, Some(LITTLE)).await else { return };
        if send(&ground, &mut stream, head("GET", path, fields).as_bytes(), 1).await.is_err() {
            return;
        }
        // What is there to be read says nothing; that nothing more will come does.
        loop {
            sleep(Duration::from_millis(250)).await;
            match stream.ready(Interest::READABLE | Interest::ERROR).await {
                Ok(ready) if !ready.is_error() && !ready.is_read_closed() => {}
                _ if matches!(stream.take_error(), Ok(None)) => return ground.stopped("closed"),
                _ => return ground.stopped("reset"),
            }
        }
    })
    .await;
}

/// Five thousand who never say anything.
pub(super) async fn silent(ground: Rc<Ground>) {
    crowd(ground, 5_000, 4_000, |ground, _| async move {
        let Ok(mut stream) = ground.connect(ground.clear).await else { return };
        ground.hears(&mut stream).await;
    })
    .await;
}

/// A thousand heads of the greatest size that is taken, none of which ends.
pub(super) async fn large_heads(ground: Rc<Ground>) {
    crowd(ground, 1_000, COMING, |ground, _| async move {
        let Ok(stream) = ground.connect(ground.clear).await else { return };
        let begins = head("GET", prey::OK, &format!("x-large: {}\r\n", "y".repeat(300)).repeat(98)) + "x-last: ";
        trickle(&ground, stream, begins.as_bytes(), b"y", Duration::from_secs(1)).await;
    })
    .await;
}

/// Heads without end: 200 of them a second, in lines that are many, long, or none.
pub(super) async fn endless_heads(ground: Rc<Ground>) {
    let many = head("GET", prey::OK, &"x: y\r\n".repeat(10_000));
    let long = head("GET", prey::OK, &format!("x: {}\r\n", "y".repeat(60_000)));
    let name = head("GET", prey::OK, &"x".repeat(60_000));
    let target = format!("GET /{}", "x".repeat(60_000));
    sends_much(ground, Rc::new([many, long, name, target])).await;
}

/// What is wrong at the end of a body: trailers without end, chunks that are mostly said to be something, lengths.
pub(super) async fn endless_trailers(ground: Rc<Ground>) {
    let begins = || head("POST", prey::HANG, "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
    let many = begins() + "0\r\n" + &"x: y\r\n".repeat(10_000);
    let long = begins() + "0\r\nx: " + &"y".repeat(60_000);
    let extension = begins() + "1;" + &"e".repeat(60_000);
    let length = begins() + &"0".repeat(60_000);
    sends_much(ground, Rc::new([many, long, extension, length])).await;
}

async fn sends_much(ground: Rc<Ground>, kinds: Rc<[String; 4]>) {
    crowd(ground, 40, COMING, move |ground, number| {
        let kinds = Rc::clone(&kinds);
        async move {
            let Some(bytes) = kinds.get(number as usize % kinds.len()) else { return };
            let Ok(stream) = ground.connect(ground.clear).await else { return };
            trickle(&ground, stream, bytes.as_bytes(), b"", Duration::MAX).await;
        }
    })
    .await;
}

/// Bodies in chunks of one byte, each with an extension: 20,000 chunks a second.
pub(super) async fn tiny_chunks(ground: Rc<Ground>) {
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(100));
    crowd(ground, 20, COMING, move |ground, _| {
        let chunk = chunk.clone();
        async move {
            let Ok(mut stream) = ground.connect(ground.clear).await else { return };
            let begins = head("POST", prey::HANG, "transfer-encoding: chunked\r\n\r\n");
            if send(&ground, &mut stream, begins.as_bytes(), 0).await.is_err() {
                return;
            }
            floods(&ground, stream, &chunk, 1_000).await;
        }
    })
    .await;
}

/// Requests behind each other, whose answers nobody reads: 10,000 a second, as far as they are taken.
pub(super) async fn pipelined(ground: Rc<Ground>) {
    crowd(ground, 50, COMING, |ground, _| async move {
        let Ok(stream) = ground.connect_with(ground.clear, Some(LITTLE)).await else { return };
        let (_reads, writes) = stream.into_split();
        let request = head("GET", prey::OK, "\r\n");
        floods(&ground, writes, &request, 200).await;
    })
    .await;
}

async fn floods(ground: &Ground, mut stream: impl AsyncWriteExt + Unpin, one: &str, a_second: u32) {
    let pace = Pace::new(a_second);
    loop {
        let due = pace.due().await;
        if send(ground, &mut stream, one.repeat(due as usize).as_bytes(), due.into()).await.is_err() {
            return ground.stopped("reset");
        }
    }
}

/// Connections that come and go, 1,500 a second, in every way of going.
pub(super) async fn churn(ground: Rc<Ground>) {
    let (pace, number) = (Pace::new(1_500), Cell::new(0_u32));
    loop {
        for _ in 0..pace.due().await {
            let Ok(mut stream) = ground.connect(ground.clear).await else { continue };
            let turn = number.replace(number.get().wrapping_add(1)) % 4;
            let said = match turn {
                0 | 1 => String::new(),
                2 => "GET / HT".to_owned(),
                _ => head("GET", prey::HANG, "\r\n"),
            };
            let _gone = send(&ground, &mut stream, said.as_bytes(), 1).await;
            if turn > 0 {
                let _gone = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
        }
    }
}
