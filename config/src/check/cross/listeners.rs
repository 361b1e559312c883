//! Listeners that want the same socket.

use hashbrown::HashMap;
use std::net::SocketAddr;

use super::{Cross, Of, in_writing_order};
use crate::address::Address;
use crate::model::Listener;
use crate::path::Path;

/// Listeners that may want the same socket.
#[derive(PartialEq, Eq, Hash)]
enum Kind<'a> {
    Port(u16),
    Path(&'a str),
}

pub(super) fn check(cross: &mut Cross<'_>) {
    let mut taken: HashMap<Kind<'_>, Vec<Of<'_, Listener>>> = HashMap::new();
    for listener in cross.listeners.values().copied().collect::<Vec<_>>() {
        let kind = match &listener.model.address {
            // Port 0 is a free port of the system's choice, another one for each.
            Address::Ip(address) if address.port() == 0 => continue,
            Address::Ip(address) => Kind::Port(address.port()),
            Address::Unix(path) => Kind::Path(path),
        };
        let others = taken.entry(kind).or_default();
        if let Some(other) = others.iter().find(|other| overlap(&other.model.address, &listener.model.address)) {
            let (first, second) = in_writing_order(other.entry, listener.entry);
            let message =
                format!("address \"{}\" is taken by listener \"{}\"", address(cross, second), first.source.id.name);
            let help =
                format!("choose another address or port than {} at {}", address(cross, first), first.source.place());
            cross.conflict(second, &Path::Root.key("address"), message, help, vec![first.source.id.clone()]);
        }
        others.push(listener);
    }
}

fn address(cross: &Cross<'_>, entry: &crate::generation::Entry) -> String {
    cross.listeners.get(&entry.source.id.name).map(|one| one.model.address.to_string()).unwrap_or_default()
}

/// The same address, or one of them is every address of the other's family. `[::]` is every address of both: its
/// socket takes IPv4 as well.
fn overlap(one: &Address, other: &Address) -> bool {
    let (Some(one), Some(other)) = (one.socket(), other.socket()) else { return one == other };
    let takes =
        |wide: SocketAddr, narrow: SocketAddr| wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    one.ip() == other.ip() || takes(one, other) || takes(other, one)
}
