//! Endpoints as they are connected to: those that have names once for each address.

use std::sync::Arc;

use gridrouter_config::address::{Address, EndpointAddress};
use gridrouter_config::model::Endpoint;
use gridrouter_config::resolved::Resolved;
use hashbrown::HashSet;

use crate::balance::smooth_weighted_round_robin::PeerConfig;

/// The largest number that weights are multiplied by, so that they can be shared: up to eight addresses share them exactly.
const MOST_PARTS: u32 = 840;

/// One place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) address: Address,
    /// The name that has it.
    pub(super) name: Option<Arc<str>>,
    pub(super) peer: PeerConfig,
}

/// All places, in the document's order, none of them twice. The addresses of a name share its weight; each of them takes as many
/// connections as the endpoint may.
pub(super) fn expand(endpoints: &[Endpoint], resolved: &Resolved) -> Vec<Expanded> {
    let count = |endpoint: &Endpoint| match &endpoint.address {
        EndpointAddress::Socket(_) => 1,
        EndpointAddress::Name(name, _) => resolved.of(name).len().max(1) as u32,
    };
    let parts = endpoints.iter().map(count).fold(1, |parts, n| least_common_multiple(parts, n).min(MOST_PARTS));
    let mut seen = HashSet::new();
    let mut places = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let weight = (endpoint.weight * parts / count(endpoint)).max(1);
        let peer = PeerConfig {
            weight,
            backup: endpoint.backup,
            down: endpoint.down,
            max_connections: endpoint.max_connections,
        };
        let mut add = |address: Address, name: Option<&Arc<str>>| {
            if seen.insert(address.clone()) {
                places.push(Expanded { address, name: name.cloned(), peer });
            }
        };
        match &endpoint.address {
            EndpointAddress::Socket(address) => add(address.clone(), None),
            EndpointAddress::Name(name, port) => {
                resolved.of(name).iter().for_each(|ip| add(std::net::SocketAddr::new(*ip, *port).into(), Some(name)));
            }
        }
    }
    places
}

fn least_common_multiple(a: u32, b: u32) -> u32 {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor.max(1) * b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str, weight: u32) -> Endpoint {
        let address = EndpointAddress::parse(address).unwrap();
        Endpoint { address, weight, backup: false, down: false, max_connections: 0 }
    }

    fn expanded(endpoints: &[(&str, u32)], names: &[(&str, &[&str])]) -> Vec<(String, u32)> {
        let endpoints: Vec<_> = endpoints.iter().map(|(address, weight)| endpoint(address, *weight)).collect();
        let addresses = |all: &[&str]| all.iter().map(|address| address.parse().unwrap()).collect();
        let resolved = names.iter().map(|(name, all)| (Arc::from(*name), addresses(all))).collect();
        expand(&endpoints, &resolved).into_iter().map(|one| (one.address.to_string(), one.peer.weight)).collect()
    }

    fn told(places: &[(&str, u32)]) -> Vec<(String, u32)> {
        places.iter().map(|(address, weight)| ((*address).to_owned(), *weight)).collect()
    }

    #[test]
    fn where_there_are_no_names_nothing_is_changed() {
        let listed = [("10.0.0.1:80", 3), ("unix:/run/a.sock", 1)];
        assert_eq!(expanded(&listed, &[("a", &["10.0.0.9", "10.0.0.8"])]), told(&listed));
    }

    #[test]
    fn the_addresses_of_a_name_share_its_weight() {
        let all = expanded(&[("10.0.0.1:80", 2), ("a:80", 4), ("b:81", 1)], &[("a", &["10.0.0.2", "fd00::2"])]);
        assert_eq!(all, told(&[("10.0.0.1:80", 4), ("10.0.0.2:80", 4), ("[fd00::2]:80", 4)]));
        let all = expanded(
            &[("a:80", 1), ("b:80", 1)],
            &[("a", &["10.0.0.1", "10.0.0.2"]), ("b", &["10.0.0.3", "10.0.0.4", "10.0.0.5"])],
        );
        assert_eq!(all.iter().map(|one| one.1).collect::<Vec<_>>(), [3, 3, 2, 2, 2]);
    }

    #[test]
    fn an_address_is_there_once() {
        let all = expanded(
            &[("10.0.0.1:80", 1), ("a:80", 1), ("a:81", 1), ("b:80", 1)],
            &[("a", &["10.0.0.1"]), ("b", &["10.0.0.1", "10.0.0.2"])],
        );
        let addresses: Vec<_> = all.into_iter().map(|one| one.0).collect();
        assert_eq!(addresses, ["10.0.0.1:80", "10.0.0.1:81", "10.0.0.2:80"]);
    }

    #[test]
    fn weights_stay_within_bounds_whatever_names_have() {
        let many: Vec<String> = (0..127).map(|n| format!("10.0.0.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let all = expanded(&[("a:80", 10_000), ("b:80", 1)], &[("a", &many), ("b", &many[..113])]);
        assert!(all.iter().all(|(_, weight)| (1..=8_400_000).contains(weight)));
        assert_eq!(expanded(&[("a:80", 1)], &[]), []);
    }
}
