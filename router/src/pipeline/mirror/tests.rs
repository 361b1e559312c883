use std::net::SocketAddr;

use gridrouter_config::model::UpstreamProtocol;
use gridrouter_config::track::Track;

use super::*;
use crate::balance::smooth_weighted_round_robin::{PeerConfig, Policy};

fn group(peers: &[PeerConfig]) -> Arc<EndpointGroup> {
    let endpoint = |id| EndpointPlan {
        address: SocketAddr::from(([127, 0, 0, 1], 1)).into(),
        id,
        tls: None,
        proxy_protocol: None,
        name: None,
        protocol: UpstreamProtocol::Http1,
    };
    Arc::new(EndpointGroup {
        id: 0,
        label: "a".into(),
        track: Track::Green,
        endpoints: (0..peers.len() as u32).map(endpoint).collect(),
        peers: peers.into(),
        policy: Policy { max_fails: 1, fail_timeout_secs: 10 },
    })
}

fn peer(weight: u32, backup: bool, down: bool) -> PeerConfig {
    PeerConfig { weight, backup, down, max_connections: 1 }
}

/// How many of 1,000 evenly spread dice lead to each endpoint.
fn dealt(peers: &[PeerConfig]) -> Vec<usize> {
    let group = group(peers);
    let mut dealt = vec![0; peers.len()];
    for number in 0..1_000 {
        if let Some(found) = endpoint(&group, u64::MAX / 1_000 * number + 1_000) {
            dealt[found.id as usize] += 1;
        }
    }
    dealt
}

#[test]
fn copies_go_to_endpoints_in_use_by_their_weights() {
    let (plain, backup, down) = (peer(1, false, false), peer(5, true, false), peer(5, false, true));
    assert_eq!(dealt(&[plain, down, peer(3, false, false), backup]), [250, 0, 750, 0]);
    assert_eq!(dealt(&[down, backup]), [0, 1_000], "only where there is nothing else");
    assert_eq!(dealt(&[down]), [0]);
    assert_eq!(dealt(&[]), [0; 0]);
    assert_eq!(endpoint(&group(&[plain, plain]), u64::MAX).unwrap().id, 1);
}
