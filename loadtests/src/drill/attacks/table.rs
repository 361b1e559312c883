//! All attacks.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::ground::Ground;
use super::{floods, hoards, http1, secure};

/// An attack that runs until it is dropped.
pub(super) type Running = Pin<Box<dyn Future<Output = ()>>>;

/// An attack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attack {
    /// Its name.
    pub(super) name: &'static str,
    /// How long it has to last for the router's answer to be due, in seconds; nothing where that comes at once.
    pub(super) lasts: u64,
    /// What the router has to be seen to do about it, one of these; nothing where it only has to bear it.
    pub(super) stops: &'static [&'static str],
    /// Does it.
    pub(super) run: fn(Rc<Ground>) -> Running,
}

macro_rules! attacks {
    ($($name:literal, $lasts:expr, $stops:expr, $run:path;)*) => {
        &[$(Attack { name: $name, lasts: $lasts, stops: &$stops, run: |ground| Box::pin($run(ground)) }),*]
    };
}

/// The end of a head's time and of a handshake's, of a body's, and of idleness, with what it takes to be seen.
const HEAD: u64 = 12;
const BODY: u64 = 36;
const IDLE: u64 = 80;
/// Until answers that nobody reads have filled what the kernels take for them.
const FULL: u64 = 12;
/// Until a crowd is there.
const CROWD: u64 = 8;
const CALM: &str = "GOAWAY ENHANCE_YOUR_CALM";

pub(super) const ATTACKS: &[Attack] = attacks! {
    "slow-heads", HEAD, ["408"], http1::slow_heads;
    "slow-bodies", BODY, ["408"], http1::slow_bodies;
    "slow-readers", BODY, ["reset", "closed"], http1::slow_readers;
    "websocket-slow-readers", BODY, ["reset", "closed"], http1::sockets;
    "silent", IDLE, ["closed"], http1::silent;
    "large-heads", HEAD, ["408"], http1::large_heads;
    "endless-heads", 0, ["431"], http1::endless_heads;
    "endless-trailers", 0, ["400", "431"], http1::endless_trailers;
    "tiny-chunks", 0, [], http1::tiny_chunks;
    "pipelined", FULL + BODY, ["reset"], http1::pipelined;
    "churn", 0, [], http1::churn;
    "tls-silent", HEAD, ["closed", "reset"], secure::silent;
    "tls-half-hellos", HEAD, ["closed", "reset"], secure::half_hellos;
    "tls-half-handshakes", HEAD, ["closed", "reset"], secure::half_handshakes;
    "tls-large-hellos", HEAD, ["closed", "reset"], secure::large_hellos;
    "tls-handshakes", 0, [], secure::handshakes;
    "tls-new-keys", 0, ["closed"], secure::new_keys;
    "h2-silent", IDLE, ["GOAWAY NO_ERROR"], hoards::silent;
    "h2-rapid-reset", 0, [CALM], floods::rapid_reset;
    "h2-made-you-reset", 0, [CALM], floods::made_you_reset;
    "h2-behind-the-end", 0, ["GOAWAY PROTOCOL_ERROR", "GOAWAY STREAM_CLOSED", CALM], floods::behind_the_end;
    "h2-empty-continuations", 0, [CALM], floods::empty_continuations;
    "h2-continuations", 0, [CALM], floods::continuations;
    "h2-pings", 0, [CALM], floods::pings;
    "h2-settings", 0, [CALM], floods::settings;
    "h2-acknowledgements", 0, ["GOAWAY PROTOCOL_ERROR"], floods::acknowledgements;
    "h2-priorities", 0, [CALM], floods::priorities;
    "h2-window-updates", 0, [CALM], floods::window_updates;
    "h2-unknown-frames", 0, [CALM], floods::unknown_frames;
    "h2-promises", 0, ["GOAWAY PROTOCOL_ERROR"], floods::promises;
    "h2-ended-again", 0, [CALM], floods::ended_again;
    "h2-empty-data", 0, [CALM], floods::empty_data;
    "h2-padding", 0, [CALM], floods::padding;
    "h2-tiny-data", 0, [], floods::tiny_data;
    "h2-too-many-streams", 0, ["RST_STREAM REFUSED_STREAM"], floods::too_many_streams;
    "h2-bomb", 0, [CALM, "GOAWAY COMPRESSION_ERROR", "RST_STREAM PROTOCOL_ERROR"], hoards::bomb;
    "h2-largest-heads", CROWD, ["RST_STREAM REFUSED_STREAM"], hoards::largest_heads;
    "h2-largest-heads-from-table", CROWD, ["RST_STREAM REFUSED_STREAM"], hoards::largest_heads_from_table;
    "h2-no-room", BODY, ["RST_STREAM CANCEL"], hoards::no_room;
    "h2-little-room", BODY, ["RST_STREAM CANCEL"], hoards::little_room;
    "h2-room-for-a-byte", 0, [CALM], hoards::room_for_a_byte;
    "h2-room-in-time", BODY, ["RST_STREAM CANCEL", CALM], hoards::room_in_time;
    "h2-uploads", CROWD, [], hoards::uploads;
    "h2-uploads-in-bytes", 0, [CALM], hoards::uploads_in_bytes;
};
