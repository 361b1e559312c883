//! Free ports below 32768: above that the kernel picks the ports of outgoing connections, and a listener may find its
//! own taken by one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::error::{Error, Result};

const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;

/// How many ports were looked at so far: what was handed out and is not yet listened on must not be handed out again.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);

/// `count` different loopback addresses that nobody listens on. Five digits each, so that texts that name them have
/// equal lengths.
pub fn free(count: usize) -> Result<Vec<SocketAddr>> {
    let span = u32::from(LAST - FIRST);
    // Two runs at a time start from different places.
    let start = std::process::id().wrapping_mul(97) % span;
    let mut held = Vec::with_capacity(count);
    for _ in 0..span {
        if held.len() == count {
            break;
        }
        let step = LOOKED_AT.fetch_add(1, Relaxed) % span;
        let port = FIRST + u16::try_from((start + step) % span).unwrap_or(0);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((SocketAddr::from((Ipv4Addr::LOCALHOST, port)), listener));
        }
    }
    if held.len() < count {
        return Err(Error::new(format!("found only {} of {count} free ports from {FIRST} to {LAST}", held.len())));
    }
    Ok(held.into_iter().map(|(address, _)| address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ_and_are_not_ephemeral() {
        let twice = [free(10).unwrap(), free(10).unwrap()].concat();
        let mut ports: Vec<u16> = twice.iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
        assert!(ports.iter().all(|port| (10_000..32_768).contains(port)));
    }
}
