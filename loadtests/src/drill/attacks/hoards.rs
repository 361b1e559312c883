//! Attackers who make the router keep as much as it lets them, on connections of HTTP/2.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::frames::{
    DATA, HEADERS, LAST, Said, WINDOW_UPDATE, field, frame, get, kept_field, list, post, preface, request, stream,
    window_update,
};
use super::ground::{Ground, Pace, crowd};
use super::prey;

/// Requests that a connection may have at a time, by default.
const STREAMS: u32 = 128;
/// What one stream of a body may hold, and all of a connection, by default.
const STREAM_WINDOW: usize = 64 * 1024;
const CONNECTION_WINDOW: usize = 1024 * 1024;
/// How many connections come a second.
const COMING: u32 = 20;
/// How much they say at once.
const PIECE: usize = 32 * 1024;

/// Holds a connection after `says`, and answers the frames that come as `answer` does.
async fn holds(ground: &Ground, window: u32, says: &[u8], frames: u32, answer: impl Fn(Said) -> Option<Vec<u8>>) {
    let Ok(mut stream) = ground.connect(ground.clear).await else { return };
    let (mut reads, mut writes) = stream.split();
    let (tell, mut told) = mpsc::unbounded_channel();
    let sends = async {
        let begins = preface(window);
        if writes.write_all(&begins).await.is_ok() && in_pieces(&mut writes, says).await.is_ok() {
            ground.sent(begins.len() + says.len(), frames.into());
        }
        while let Some(bytes) = told.recv().await {
            let bytes: Vec<u8> = bytes;
            if writes.write_all(&bytes).await.is_err() {
                break;
            }
            ground.sent(bytes.len(), 1);
        }
        // How it ended is heard.
        std::future::pending::<()>().await;
    };
    let hears = ground.hears_frames(&mut reads, |said| drop(answer(said).map(|bytes| tell.send(bytes))));
    tokio::select! {
        () = hears => {}
        () = sends => {}
    }
}

/// The kernel takes all that there is room for at once, and nobody else has a turn meanwhile.
async fn in_pieces(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(PIECE) {
        to.write_all(piece).await?;
        yield_now().await;
    }
    Ok(())
}

/// A thousand who say that they speak HTTP/2, and nothing more.
pub(super) async fn silent(ground: Rc<Ground>) {
    crowd(ground, 1_000, 500, |ground, _| async move { holds(&ground, 65_535, &[], 1, |_| None).await }).await;
}

/// A field that is named again and again: few bytes that stand for megabytes. Each list is more than may be.
pub(super) async fn bomb(ground: Rc<Ground>) {
    crowd(ground, 50, 200, |ground, _| async move {
        let mut fields = request("GET", prey::OK);
        kept_field(b"x", &[b'y'; 3_900], &mut fields);
        fields.extend_from_slice(&[LAST; 4_000]);
        // Each of these has a table of its own: what is wrong with one ends the connection.
        let says: Vec<u8> = (0..STREAMS).flat_map(|n| list(n, &fields)).collect();
        holds(&ground, 65_535, &says, STREAMS, |_| None).await;
    })
    .await;
}

/// As many requests as may be, each with a head as large as may be, by few bytes; none is ever answered.
pub(super) async fn largest_heads_from_table(ground: Rc<Ground>) {
    crowd(ground, 100, COMING, |ground, _| async move {
        let lists = (0..STREAMS).flat_map(|n| {
            let mut fields = request("GET", prey::HANG);
            if n == 0 {
                kept_field(b"x", &[b'y'; 3_900], &mut fields);
            }
            fields.extend([LAST].repeat(if n == 0 { 7 } else { 8 }));
            list(n, &fields)
        });
        let says: Vec<u8> = lists.collect();
        holds(&ground, 65_535, &says, STREAMS, |_| None).await;
    })
    .await;
}

/// The same, in full.
pub(super) async fn largest_heads(ground: Rc<Ground>) {
    let mut fields = request("GET", prey::HANG);
    for _ in 0..80 {
        field(b"x", &[b'y'; 380], &mut fields);
    }
    // Made once: an attacker has it in a file.
    let says: Rc<[u8]> = (0..STREAMS).map(|n| list(n, &fields)).collect::<Vec<_>>().concat().into();
    crowd(ground, 100, COMING, move |ground, _| {
        let says = Rc::clone(&says);
        async move { holds(&ground, 65_535, &says, STREAMS, |_| None).await }
    })
    .await;
}

/// As many long answers as may be, for none of which there is room.
pub(super) async fn no_room(ground: Rc<Ground>) {
    reads_nothing(ground, 0).await;
}

/// The same, where there is some room: each stream's, but not the connection's.
pub(super) async fn little_room(ground: Rc<Ground>) {
    reads_nothing(ground, 65_535).await;
}

async fn reads_nothing(ground: Rc<Ground>, window: u32) {
    crowd(ground, 50, COMING, move |ground, _| async move {
        let says: Vec<u8> = (0..STREAMS).flat_map(|n| get(n, prey::LARGE)).collect();
        holds(&ground, window, &says, STREAMS, |_| None).await;
    })
    .await;
}

/// Long answers, for which room is made byte by byte: as soon as there is a byte, for one more.
pub(super) async fn room_for_a_byte(ground: Rc<Ground>) {
    crowd(ground, 20, COMING, |ground, _| async move {
        let says: Vec<u8> = (0..STREAMS).flat_map(|n| get(n, prey::LARGE)).collect();
        let more = |said: Said| {
            let goes_on = matches!(said.kind, HEADERS | DATA);
            goes_on.then(|| [window_update(said.stream, 1), window_update(0, 1)].concat())
        };
        holds(&ground, 0, &says, STREAMS, more).await;
    })
    .await;
}

/// Room byte by byte again, but in time: 2,000 bytes a second in all.
pub(super) async fn room_in_time(ground: Rc<Ground>) {
    crowd(ground, 20, COMING, |ground, _| async move {
        let Ok(mut connection) = ground.connect(ground.clear).await else { return };
        let (mut reads, mut writes) = connection.split();
        let sends = async {
            let says: Vec<u8> = (0..STREAMS).flat_map(|n| get(n, prey::LARGE)).collect();
            let begins = [preface(0), says].concat();
            let mut is_open = writes.write_all(&begins).await.is_ok();
            ground.sent(begins.len(), STREAMS.into());
            let (pace, mut turn) = (Pace::new(100), 0);
            while is_open {
                for _ in 0..pace.due().await {
                    turn = (turn + 1) % STREAMS;
                    let bytes = window_update(stream(turn), 1);
                    is_open = writes.write_all(&bytes).await.is_ok();
                    ground.sent(bytes.len(), 1);
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = ground.hears_frames(&mut reads, |_| {}) => {}
            () = sends => {}
        }
    })
    .await;
}

/// Bodies that fill all windows there are, for an endpoint that takes none of it.
pub(super) async fn uploads(ground: Rc<Ground>) {
    crowd(ground, 100, COMING, |ground, _| async move {
        let mut says = Vec::with_capacity(CONNECTION_WINDOW + 64 * 1024);
        let streams = (CONNECTION_WINDOW / STREAM_WINDOW) as u32;
        for n in 0..streams {
            says.extend(post(n, prey::STALL));
            for _ in 0..STREAM_WINDOW / (16 * 1024) {
                says.extend(frame(DATA, 0, stream(n), &[b'x'; 16 * 1024 - 1]));
            }
        }
        // Not before there is room for all of it.
        let waits = Cell::new(Some(says));
        let begins = |said: Said| if said.kind == WINDOW_UPDATE { waits.take() } else { None };
        holds(&ground, 65_535, &[], streams, begins).await;
    })
    .await;
}

/// The same in pieces of one byte, each of which is kept for itself.
pub(super) async fn uploads_in_bytes(ground: Rc<Ground>) {
    crowd(ground, 20, COMING, |ground, _| async move {
        let mut says = Vec::new();
        for n in 0..STREAMS {
            says.extend(post(n, prey::STALL));
            says.extend(frame(DATA, 0, stream(n), b"x").repeat(500));
        }
        holds(&ground, 65_535, &says, STREAMS, |_| None).await;
    })
    .await;
}
