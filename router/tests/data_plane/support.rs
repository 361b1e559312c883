//! What the tests are written with: a site (a router with its documents), clients and endpoints.

pub(crate) mod dns;
pub(crate) mod etcd;
pub(crate) mod frames;
pub(crate) mod http2;
pub(crate) mod mux;
mod site;
pub(crate) mod tls;
mod upstream;
mod wire;

pub(crate) use site::{Builder, Site};
pub(crate) use upstream::{Peer, Upstream, closed_port};
pub(crate) use wire::{Client, Ending, Message};

use std::time::{Duration, Instant};

/// How long anything may take that is expected to happen: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long is listened for something that must not happen.
pub(crate) const QUIET: Duration = Duration::from_millis(120);

/// Waits until `ready` says so.
pub(crate) fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Asserts that a configured time ran out neither early nor absurdly late.
pub(crate) fn assert_fired(began: Instant, configured: Duration) {
    let took = began.elapsed();
    assert!(took >= configured.mul_f64(0.75), "fired after {took:?}, before {configured:?}");
    assert!(took <= configured + Duration::from_secs(8), "fired after {took:?}, long after {configured:?}");
}
