//! Who may connect, and how often at the same time.
//!
//! A connection pays for this once, when it is accepted; a request does not know of it. The counts are shared by all
//! threads, in shards, and there are none where no listener has a bound.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use gridrouter_config::model;

use super::worker::Shared;

/// Shards of the counts: more than threads that accept at the same moment.
const SHARDS: usize = 64;

/// A listener and an address: of IPv6 the network of 64 bits, which is what one client is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    listener: u32,
    is_v6: bool,
    network: u64,
}

impl Key {
    fn new(listener: u32, client: IpAddr) -> Self {
        match client {
            IpAddr::V4(v4) => Self { listener, is_v6: false, network: u32::from(v4).into() },
            IpAddr::V6(v6) => Self { listener, is_v6: true, network: (u128::from(v6) >> 64) as u64 },
        }
    }
}

/// How many connections each address has, where a listener bounds that.
#[derive(Debug)]
pub(crate) struct Seats {
    shards: Box<[Mutex<HashMap<Key, u32>>]>,
    hasher: RandomState,
}

impl Default for Seats {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl Seats {
    fn with<T>(&self, key: Key, change: impl FnOnce(Entry<'_, Key, u32>) -> T) -> Option<T> {
        let shard = self.shards.get(self.hasher.hash_one(key) as usize % SHARDS)?;
        // A count is a number: it is right whatever thread panicked.
        let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
        Some(change(counts.entry(key)))
    }

    /// Counts one more, unless there are `most` already.
    fn take(&self, key: Key, most: u32) -> bool {
        let taken = self.with(key, |entry| match entry {
            Entry::Occupied(count) if *count.get() >= most => false,
            entry @ (Entry::Occupied(_) | Entry::Vacant(_)) => {
                *entry.or_insert(0) += 1;
                true
            }
        });
        taken.unwrap_or(true)
    }

    fn give_back(&self, key: Key) {
        self.with(key, |entry| match entry {
            Entry::Occupied(mut count) if *count.get() > 1 => *count.get_mut() -= 1,
            Entry::Occupied(count) => {
                count.remove();
            }
            Entry::Vacant(_) => {}
        });
    }
}

/// One of the connections that an address may have. It is given back when this is dropped.
pub(crate) type Seat = Box<Seated>;

#[derive(Debug)]
pub(crate) struct Seated {
    shared: Arc<Shared>,
    key: Key,
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.shared.seats.give_back(self.key);
    }
}

/// Why a client may not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwelcome {
    /// The listener does not admit its address.
    Denied,
    /// Its address has as many connections as it may.
    TooMany,
    /// It comes from a proxy that should say whose connection it is, and says nothing of that.
    Unannounced,
    /// It comes from such a proxy, and what that says cannot be understood.
    Misannounced,
    /// It comes from such a proxy, which did not say it in time.
    Late,
}

/// Whether a peer may connect. Trusted proxies may: what counts is whom they bring, which their requests say.
pub(crate) fn welcome(
    shared: &Arc<Shared>,
    document: &model::Listener,
    listener: u32,
    peer: IpAddr,
) -> Result<Option<Seat>, Unwelcome> {
    let clients = &document.clients;
    if clients.admit_all() && clients.max_connections.is_none() {
        return Ok(None);
    }
    let peer = peer.to_canonical();
    if document.trusted_proxies.iter().any(|network| network.contains(&peer)) {
        return Ok(None);
    }
    if !clients.admit(peer) {
        return Err(Unwelcome::Denied);
    }
    let Some(most) = clients.max_connections else { return Ok(None) };
    let key = Key::new(listener, peer);
    if shared.seats.take(key, most) {
        Ok(Some(Box::new(Seated { shared: Arc::clone(shared), key })))
    } else {
        Err(Unwelcome::TooMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> Key {
        Key::new(1, address.parse().unwrap())
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_client() {
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
        assert_ne!(key("0.0.0.1"), key("0:0:0:1::"));
        assert_ne!(key("10.0.0.1"), Key::new(2, "10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn seats_are_taken_up_to_the_bound_and_nothing_is_left_of_those_given_back() {
        let seats = Seats::default();
        let (one, other) = (key("10.0.0.1"), key("10.0.0.2"));
        assert!(seats.take(one, 2) && seats.take(one, 2) && !seats.take(one, 2));
        assert!(seats.take(other, 1) && !seats.take(other, 1));
        seats.give_back(one);
        assert!(seats.take(one, 2) && !seats.take(one, 2));
        // Whoever lowers the bound waits for those that are there.
        seats.give_back(one);
        assert!(!seats.take(one, 1));
        for key in [one, other] {
            seats.give_back(key);
        }
        assert!(seats.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn threads_never_seat_more_than_the_bound() {
        let (seats, key) = (Seats::default(), key("10.0.0.1"));
        let most = std::sync::atomic::AtomicU32::new(0);
        let now = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        if seats.take(key, 3) {
                            let there = now.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                            most.fetch_max(there, std::sync::atomic::Ordering::SeqCst);
                            now.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                            seats.give_back(key);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert!(seats.take(key, 1));
    }
}
